//! What pages show.

use axum::http::StatusCode;
use longshore_fleet::events::FleetEvent;

use crate::app::Server;
use crate::browser::{Browser, Page};
use crate::fill::HOSTILE;

/// Pages that exist with an empty database.
pub const ALWAYS: [&str; 10] = [
    "/",
    "/devices",
    "/models",
    "/rollouts",
    "/rollouts/new",
    "/alerts",
    "/alerts/deliveries",
    "/alerts/silences",
    "/drift",
    "/audit",
];
/// Pages that exist in the filled database.
pub const FILLED: [&str; 46] = [
    "/devices?status=quarantined",
    "/rollouts/r-4/authorize",
    "/alerts?state=active&severity=critical&model=meter-digits&rule=drift",
    "/alerts?after=0.9",
    "/alerts/1",
    "/alerts/2",
    "/alerts/3",
    "/alerts/deliveries?state=dead&before=99",
    "/alerts/silences?before=99",
    "/drift/meter-digits/1.1.0",
    "/models/meter-digits/1.1.0/quality",
    "/models/meter-digits/1.1.0/fairness?cohort=fleet",
    "/audit?q=rollout&actor=admin&action=rollout&before=99",
    "/devices?status=silent",
    "/devices?q=meter-00&model=meter-digits&version=1.1.0",
    "/devices?after=meter-040",
    "/devices?before=meter-060",
    "/devices?status=nonsense&after=zzz",
    "/devices/meter-003",
    "/devices/meter-017",
    "/devices/meter-002?before=1000",
    "/devices/meter-003/revoke",
    "/models/meter-digits",
    "/models/meter-digits/1.1.0",
    "/models/meter-digits/1.3.0",
    "/models/meter-digits/1.4.0",
    "/models/meter-digits/1.1.0/deprecate",
    "/models/meter-digits/1.1.0/retire",
    "/rollouts?state=open",
    "/rollouts?model=meter-digits&before=99999999999999",
    "/rollouts/r-3",
    "/rollouts/r-3?wave=1&state=rolled_back",
    "/rollouts/r-4",
    "/rollouts/r-3/devices/meter-001",
    "/models/meter-digits/compare",
    "/models/meter-digits/compare?a=1.0.0&b=1.1.0",
    "/history",
    "/history?model=meter-digits&version=1.1.0&at=2026-01-31T12:00",
    "/history?model=meter-digits&version=1.1.0&after=meter-040",
    "/history?model=meter-digits&at=yesterday",
    "/history?device=meter-003",
    "/history?device=meter-003&before=99999999999999.1",
    "/rollouts/r-3/resume",
    "/rollouts/r-3/revert",
    "/rollouts/r-4/start",
    "/rollouts/new?model=meter-digits&version=1.1.0&policy=fast",
];

/// What every page has to be, whoever reads it with whatever.
pub fn is_well_made(path: &str, page: &Page) {
    let text = &page.text;
    assert_eq!(page.status, StatusCode::OK, "{path}: {text}");
    assert_eq!(text.matches("<h1").count(), 1, "{path} has one title");
    assert!(text.contains("<html lang=\"en\">") && text.contains("<main"), "{path}");
    assert!(text.contains("<title>") && text.contains("class=\"skip\"") && text.contains("<nav"), "{path}");
    assert_eq!(
        text.matches("<table").count(),
        text.matches("<caption").count(),
        "{path}: every table says what it is"
    );
    assert_eq!(
        text.matches("<thead><tr><th").count(),
        text.matches("<table").count(),
        "{path}: every table has heads"
    );
    for field in text
        .split("<input ")
        .skip(1)
        .chain(text.split("<select ").skip(1))
        .chain(text.split("<textarea ").skip(1))
    {
        let tag = field.split('>').next().unwrap();
        let id = tag.split("id=\"").nth(1).and_then(|t| t.split('"').next());
        let hidden = tag.contains("type=\"hidden\"")
            || tag.contains("type=\"radio\"")
            || tag.contains("type=\"checkbox\"");
        assert!(
            hidden || id.is_some_and(|id| text.contains(&format!("for=\"{id}\""))),
            "{path}: no label for <{tag}>"
        );
    }
    // What is renewed must not be what listens: every renewal would listen once more.
    let live = text.contains("id=\"live\"");
    assert_eq!(text.matches("hx-trigger=").count(), usize::from(live), "{path}");
    assert_eq!(
        text.contains("<main class=\"main\" id=\"main\" tabindex=\"-1\" sse-connect="),
        live,
        "{path}"
    );
    let mut ids: Vec<&str> = text.split(" id=\"").skip(1).filter_map(|t| t.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "{path}: ids are unique");
}

/// Nothing runs or is styled from within the page, and nothing of what devices and people write becomes markup.
pub fn holds_the_policy(path: &str, page: &Page) {
    let text = page.text.to_lowercase();
    assert!(!text.contains(&HOSTILE.to_lowercase()), "{path}: a hostile text got through");
    assert!(!text.contains("<img"), "{path}");
    for tag in text.split('<').skip(1).map(|t| t.split('>').next().unwrap()) {
        assert!(!tag.contains(" style="), "{path}: <{tag}>");
        // Not in escaped text, where quotes are written otherwise.
        for handler in [" onerror=", " onclick=", " onload=", " onsubmit=", " hx-on"] {
            assert!(!tag.contains(handler), "{path}: <{tag}>");
        }
        assert!(!tag.starts_with("script") || tag.contains("src=\"/assets/"), "{path}: <{tag}>");
        assert!(!tag.contains("javascript:"), "{path}: <{tag}>");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(page.header("cache-control"), "no-store", "{path}");
}

#[tokio::test]
async fn every_page_renders_with_an_empty_database_and_teaches_the_next_step() {
    let server = Server::empty().await;
    let browser = Browser::signed_in(&server).await;
    for path in ALWAYS {
        let page = browser.get(path).await;
        is_well_made(path, &page);
        holds_the_policy(path, &page);
    }
    assert!(browser.get("/").await.text.contains("longshore publish"));
    assert!(browser.get("/devices").await.text.contains("longshore-agent enroll"));
    assert!(browser.get("/models").await.text.contains("longshore approve"));
}

#[tokio::test]
async fn every_page_renders_with_a_filled_database_and_escapes_what_others_wrote() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    for path in ALWAYS.into_iter().chain(FILLED) {
        let page = browser.get(path).await;
        is_well_made(path, &page);
        holds_the_policy(path, &page);
    }
    // It is there, as text.
    assert!(browser.get("/devices/meter-003").await.text.contains("alert("));
}

#[tokio::test]
async fn the_overview_says_what_needs_a_person() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let text = browser.get("/").await.text;
    for part in [
        "/rollouts/r-3",
        "Rollout of meter-digits 1.2.0: gate: wave 1 failed",
        "meter-017",
        "12 devices not heard of",
        "Trust metadata “targets”",
        "1.3.0",
        "solo fleet",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn lists_are_paged_on_the_server_in_both_directions() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let rows = |page: &Page| page.text.matches("<th scope=\"row\"").count();
    let first = browser.get("/devices").await;
    assert_eq!(rows(&first), 50);
    assert!(first.text.contains("120 devices") && !first.text.contains("rel=\"prev\""));
    assert!(first.text.contains("/devices?after=meter-049"));
    let last = browser.get("/devices?after=meter-099").await;
    assert_eq!(rows(&last), 20);
    assert!(!last.text.contains("rel=\"next\"") && last.text.contains("/devices?before=meter-100"));
    let before = browser.get("/devices?before=meter-100").await;
    assert_eq!(rows(&before), 50);
    assert!(
        before.text.contains("meter-099")
            && before.text.contains("meter-050")
            && !before.text.contains("meter-049<")
    );
    let silent = browser.get("/devices?status=silent").await;
    assert_eq!(rows(&silent), 12);
    let trouble = browser.get("/devices?status=trouble").await;
    assert_eq!(rows(&trouble), 1);
    assert_eq!(rows(&browser.get("/devices?model=meter-digits&version=1.2.0").await), 4);
    assert!(browser.get("/devices?q=site%3Dnowhere").await.text.contains("No device matches"));
}

#[tokio::test]
async fn a_rollout_shows_its_gates_with_their_numbers_and_what_can_be_done() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let text = browser.get("/rollouts/r-3").await.text;
    for part in [
        "accuracy lost",
        "8.1 points",
        "2.0 points",
        "95.0 %",
        "/rollouts/r-3/resume",
        "/rollouts/r-3/revert",
        "1 not heard of",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("/rollouts/r-3/start"));
}

#[tokio::test]
async fn what_a_waiting_device_answered_with_the_version_before_is_not_of_the_rollout() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let cells = |page: &str| {
        let line = page.split("<tbody>").last().unwrap().split("</tr>").next().unwrap().to_owned();
        line.split("<td class=\"num\">")
            .skip(2)
            .map(|c| c.split('<').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(cells(&browser.get("/rollouts/r-4").await.text), ["0", "–", "0"]);
    assert_eq!(cells(&browser.get("/rollouts/r-3?wave=0").await.text)[0], "400");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_missing() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    for path in [
        "/devices/nobody",
        "/devices/%3Cscript%3E",
        "/models/none",
        "/models/meter-digits/9.9.9",
        "/rollouts/none",
        "/alerts/none",
        "/alerts/77",
        "/rollouts/r-3/explode",
        "/models/meter-digits/1.0.0/explode",
        "/nowhere",
        "/assets/none.js",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!page.text.contains("<script>"), "{path}");
        assert!(page.header("content-security-policy").contains("'self'"), "{path}");
    }
}

#[tokio::test]
async fn an_open_page_is_told_of_changes_until_the_server_stops() {
    use futures_util::StreamExt as _;
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let response = browser.stream("/live?rollout=r-3").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("event: changed"));
    server.app.events.publish(FleetEvent::Rollout("r-3".parse().unwrap()));
    let second = body.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&second).contains("event: changed"));
    server.app.stop.cancel();
    assert!(body.next().await.is_none(), "the stream ends with the server");
}
