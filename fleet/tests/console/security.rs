//! Who may see and do what.

use axum::http::StatusCode;

use crate::app::Server;
use crate::browser::Browser;
use crate::pages::{ALWAYS, FILLED};

const FORMS: [&str; 13] = [
    "/alerts/1/acknowledge",
    "/alerts/1/resolve",
    "/alerts/1/silence",
    "/alerts/deliveries/2/retry",
    "/alerts/silences/1/end",
    "/logout",
    "/rollouts/new",
    "/rollouts/r-3/resume",
    "/rollouts/r-3/revert",
    "/rollouts/r-4/start",
    "/models/meter-digits/aliases",
    "/models/meter-digits/1.1.0/retire",
    "/devices/meter-003/revoke",
];

#[tokio::test]
async fn every_page_and_every_form_needs_a_session() {
    let server = Server::filled().await;
    let browser = Browser::new(&server);
    for path in ALWAYS.into_iter().chain(FILLED).chain(["/nowhere", "/devices/nobody"]) {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
        assert!(
            page.header("location").starts_with("/login?next=%2F"),
            "{path}: {}",
            page.header("location")
        );
        assert!(page.text.is_empty(), "{path}");
    }
    for path in FORMS {
        let page = browser.post(path, "csrf=&confirm=meter-003&alias=a&version=1.1.0&what=a&policy=b").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
    }
    assert_eq!(browser.get("/live").await.status, StatusCode::UNAUTHORIZED);
    let fragment = browser.fragment("/devices?q=a").await;
    assert_eq!(fragment.status, StatusCode::UNAUTHORIZED);
    assert_eq!(fragment.header("hx-redirect"), "/login?next=%2Fdevices%3Fq%3Da");
    // What is the same in every copy of the program is open.
    assert_eq!(browser.get("/login").await.status, StatusCode::OK);
    assert_eq!(browser.get("/assets/console.css").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_form_without_the_token_of_the_session_does_nothing() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    for path in FORMS {
        for csrf in ["", "0123456789abcdef0123456789abcdef"] {
            let form =
                format!("csrf={csrf}&confirm=meter-003&wave=retry&alias=a&version=1.1.0&what=a%401&policy=b");
            let page = browser.post(path, &form).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
            assert!(page.text.contains("Nothing was done"), "{path}");
        }
    }
    let device = server.app.store.view_device("meter-003").await.unwrap().unwrap();
    assert!(device.revoked_at.is_none());
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "still signed in");
}

#[tokio::test]
async fn signing_in_and_out() {
    let server = Server::empty().await;
    let browser = Browser::signed_in(&server).await;
    let wrong = browser.post("/login", "name=admin&password=wrong").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains("User name or password is wrong.") && !wrong.text.contains("wrong\""));
    let right = browser.post("/login", "name=admin&password=correct+horse&next=//evil.example").await;
    assert_eq!(right.header("location"), "/");
    let cookie = right.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");

    let csrf = browser.get("/").await.csrf();
    let out = browser.post("/logout", &format!("csrf={csrf}")).await;
    assert_eq!((out.status, out.header("location")), (StatusCode::SEE_OTHER, "/login"));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER, "the session has ended on the server");
}

#[tokio::test]
async fn browser_files_are_kept_for_ever_under_their_hash_only() {
    let server = Server::empty().await;
    let browser = Browser::signed_in(&server).await;
    let page = browser.get("/").await.text;
    let mut files = 0;
    for url in page.split('"').filter(|part| part.starts_with("/assets/")) {
        let file = browser.get(url).await;
        assert_eq!(file.status, StatusCode::OK, "{url}");
        assert!(file.header("cache-control").contains("immutable"), "{url}");
        let plain = browser.get(url.split('?').next().unwrap()).await;
        assert_eq!(plain.header("cache-control"), "no-cache", "{url}");
        assert!(!plain.header("etag").is_empty());
        files += 1;
    }
    assert_eq!(files, 6);
}
