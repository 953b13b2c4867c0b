//! What forms do.

use axum::http::StatusCode;

use crate::app::Server;
use crate::browser::Browser;

#[tokio::test]
async fn a_dangerous_act_needs_the_typed_word() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let asked = browser.get("/devices/meter-003/revoke").await;
    assert!(asked.text.contains("data-confirm=\"meter-003\""));
    let csrf = asked.csrf();
    let wrong = browser.post("/devices/meter-003/revoke", &format!("csrf={csrf}&confirm=meter-004")).await;
    assert_eq!(wrong.status, StatusCode::OK);
    assert!(wrong.text.contains("Nothing was done") && wrong.text.contains("meter-004"));
    let revoked =
        async || server.app.store.view_device("meter-003").await.unwrap().unwrap().revoked_at.is_some();
    assert!(!revoked().await);

    let right = browser.post("/devices/meter-003/revoke", &format!("csrf={csrf}&confirm=meter-003")).await;
    assert_eq!(right.status, StatusCode::SEE_OTHER, "{}", right.text);
    assert_eq!(right.header("location"), "/devices/meter-003?note=revoke");
    assert!(revoked().await);
    let page = browser.get("/devices/meter-003?note=revoke").await.text;
    assert!(page.contains("The device is revoked") && !page.contains("/revoke\""));
}

#[tokio::test]
async fn an_alias_is_moved_by_the_same_way_as_by_a_program() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let csrf = browser.get("/models/meter-digits").await.csrf();
    let moved = browser
        .post("/models/meter-digits/aliases", &format!("csrf={csrf}&alias=champion&version=1.2.0"))
        .await;
    assert_eq!(moved.header("location"), "/models/meter-digits?note=alias", "{}", moved.text);
    let aliases = server.app.store.view_aliases("meter-digits").await.unwrap();
    assert!(aliases.iter().any(|a| a.alias == "champion" && a.version == "1.2.0"));
    assert!(server.app.store.view_audit(1).await.unwrap()[0].object.contains("meter-digits"));

    let refused = browser
        .post("/models/meter-digits/aliases", &format!("csrf={csrf}&alias=champion&version=9.9.9"))
        .await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("The alias was not moved"));
}

#[tokio::test]
async fn a_policy_that_is_refused_comes_back_with_its_text_and_the_reason() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let csrf = browser.get("/rollouts/new").await.csrf();
    let page = browser
        .post(
            "/rollouts/new",
            &format!("csrf={csrf}&what=meter-digits%401.1.0&policy=name+%3D+%22mine%22%0D%0Aspeed+%3D+9"),
        )
        .await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Not planned."), "{}", page.text);
    assert!(page.text.contains("name = &#34;mine&#34;") && page.text.contains("speed = 9"), "{}", page.text);
    assert!(page.text.contains("line 2"), "{}", page.text);
}

#[tokio::test]
async fn starting_beside_another_rollout_asks_to_take_its_place() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let page = browser.get("/rollouts/r-4/start").await.text;
    assert!(
        page.contains("name=\"supersede\"") && page.contains("r-3 of version 1.2.0, which is paused"),
        "{page}"
    );
    let csrf = browser.get("/rollouts/r-4/start").await.csrf();
    let refused =
        browser.post("/rollouts/r-4/start", &format!("csrf={csrf}&confirm=meter-digits%401.1.0")).await;
    assert!(refused.text.contains("one rollout of a model at a time"), "{}", refused.text);
    let started = browser
        .post("/rollouts/r-4/start", &format!("csrf={csrf}&confirm=meter-digits%401.1.0&supersede=yes"))
        .await;
    assert_eq!(started.header("location"), "/rollouts/r-4?note=start", "{}", started.text);
    let state = async |id| server.app.store.view_rollout(id).await.unwrap().unwrap().state;
    assert_eq!(state("r-4").await, "running");
    assert_eq!(state("r-3").await, "superseded");
}

#[tokio::test]
async fn pausing_is_one_click_and_resuming_says_what_becomes_of_the_wave() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let csrf = browser.get("/").await.csrf();
    let form = format!("csrf={csrf}&confirm=meter-digits%401.2.0");
    let unsaid = browser.post("/rollouts/r-3/resume", &form).await;
    assert!(unsaid.text.contains("Nothing was done"), "{}", unsaid.text);
    let resumed = browser.post("/rollouts/r-3/resume", &format!("{form}&wave=skip")).await;
    assert_eq!(resumed.header("location"), "/rollouts/r-3?note=resume", "{}", resumed.text);
    let text = browser.get("/rollouts/r-3").await.text;
    assert!(text.contains("skipped by a person") && text.contains("action=\"/rollouts/r-3/pause\""));
    let paused = browser.post("/rollouts/r-3/pause", &format!("csrf={csrf}")).await;
    assert_eq!(paused.header("location"), "/rollouts/r-3?note=pause", "{}", paused.text);
    assert_eq!(server.app.store.view_rollout("r-3").await.unwrap().unwrap().state, "paused");
}

#[tokio::test]
async fn an_alert_is_taken_on_with_a_note_and_leaves_the_count() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let inbox = browser.get("/alerts").await;
    assert!(
        inbox.text.contains("1 alert fires") && inbox.text.contains("class=\"count\">1<"),
        "{}",
        inbox.text
    );
    assert!(inbox.text.find("pixel_9") < inbox.text.find("12 devices of 120"), "what fires comes first");
    assert!(browser.get("/").await.text.contains("/alerts/1"), "the overview names it");
    let shown = browser.get("/alerts/1").await;
    for part in ["0.800 to 1.000", "Compare the cohorts", "answered 404", "came back", "two features"] {
        assert!(shown.text.to_lowercase().contains(&part.to_lowercase()), "{part}: {}", shown.text);
    }
    let csrf = shown.csrf();
    let taken = browser.post("/alerts/1/acknowledge", &format!("csrf={csrf}&note=cleaning+the+lens")).await;
    assert_eq!(taken.header("location"), "/alerts/1?note=acknowledge", "{}", taken.text);
    let after = browser.get("/alerts/1?note=acknowledge").await.text;
    assert!(after.contains("cleaning the lens") && after.contains("You have taken the alert on"));
    let inbox = browser.get("/alerts").await.text;
    assert!(inbox.contains("Nothing fires") && !inbox.contains("class=\"count\""), "{inbox}");
    // Who had it open before does not overwrite what happened since.
    let stale = browser.post("/alerts/1/resolve", &format!("csrf={csrf}&note=over&etag=1")).await;
    assert!(stale.text.contains("has changed since you opened this page"), "{}", stale.text);
    let silenced = browser.post("/alerts/1/silence", &format!("csrf={csrf}&note=works&hours=4")).await;
    assert_eq!(silenced.header("location"), "/alerts/1?note=silence", "{}", silenced.text);
    assert!(browser.get("/alerts/1").await.text.contains(">silenced<"));
}

#[tokio::test]
async fn what_was_given_up_is_tried_again_and_a_silence_is_ended() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let page = browser.get("/alerts/deliveries?state=dead").await;
    assert!(page.text.contains("answered 404") && !page.text.contains("answered 204"));
    let csrf = page.csrf();
    let again = browser.post("/alerts/deliveries/2/retry", &format!("csrf={csrf}")).await;
    assert_eq!(again.header("location"), "/alerts/deliveries?state=dead&note=retry", "{}", again.text);
    assert!(browser.get("/alerts/deliveries?state=dead").await.text.contains("No delivery is in this state"));
    let ended = browser.post("/alerts/silences/1/end", &format!("csrf={csrf}")).await;
    assert_eq!(ended.header("location"), "/alerts/silences?note=unsilence", "{}", ended.text);
    assert!(browser.get("/alerts/silences").await.text.contains(">ended<"));
}

#[tokio::test]
async fn of_two_operators_the_slower_is_told_and_sees_what_the_other_did() {
    let server = Server::filled().await;
    let (one, two) = (Browser::signed_in(&server).await, Browser::again(&server).await);
    let (seen_one, seen_two) = (one.get("/rollouts/r-3/resume").await, two.get("/rollouts/r-3/resume").await);
    let etag = |text: &str| {
        text.split("name=\"etag\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let form = |page: &crate::browser::Page, wave: &str| {
        format!("csrf={}&confirm=meter-digits%401.2.0&wave={wave}&etag={}", page.csrf(), etag(&page.text))
    };
    let done = one.post("/rollouts/r-3/resume", &form(&seen_one, "skip")).await;
    assert_eq!(done.header("location"), "/rollouts/r-3?note=resume", "{}", done.text);
    let late = two.post("/rollouts/r-3/resume", &form(&seen_two, "retry")).await;
    assert!(
        late.text.contains("Nothing was done") && late.text.contains("changed meanwhile"),
        "{}",
        late.text
    );
    assert!(late.text.contains("It is <span class=\"badge busy\">running</span> now"), "{}", late.text);
    // Both see the same now.
    let shown = [one.get("/rollouts/r-3").await.text, two.get("/rollouts/r-3").await.text];
    assert!(shown.iter().all(|t| t.contains("skipped by a person")));
    // Putting the brake on is never refused for being late.
    let paused = two.post("/rollouts/r-3/pause", &format!("csrf={}", seen_two.csrf())).await;
    assert_eq!(paused.header("location"), "/rollouts/r-3?note=pause", "{}", paused.text);
}

#[tokio::test]
async fn a_version_is_retired_for_a_reason_that_its_page_tells() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let asked = browser.get("/models/meter-digits/1.0.0/retire").await;
    assert!(asked.text.contains("name=\"reason\""), "{}", asked.text);
    let form = format!("csrf={}&confirm=meter-digits%401.0.0", asked.csrf());
    let unsaid = browser.post("/models/meter-digits/1.0.0/retire", &format!("{form}&reason=")).await;
    assert!(unsaid.text.contains("Nothing was done") && unsaid.text.contains("Say why"), "{}", unsaid.text);
    let done =
        browser.post("/models/meter-digits/1.0.0/retire", &format!("{form}&reason=reads+7+for+1")).await;
    assert_eq!(done.header("location"), "/models/meter-digits/1.0.0?note=retire", "{}", done.text);
    let page = browser.get("/models/meter-digits/1.0.0").await.text;
    assert!(page.contains("Reads 7 for 1.") && page.contains("It still runs on"), "{page}");
    let overview = browser.get("/").await.text;
    assert!(overview.contains("meter-digits 1.0.0 is retired and still runs on 20 devices"), "{overview}");
}

#[tokio::test]
async fn a_rehearsal_shows_the_waves_and_keeps_nothing() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let csrf = browser.get("/rollouts/new").await.csrf();
    let policy = "name+%3D+%22two%22%0A%5B%5Bwave%5D%5D%0Aselect+%3D+%7B+count+%3D+3+%7D%0A%5B%5Bwave%5D%5D%0Aselect+%3D+%7B+rest+%3D+true+%7D%0A%5Bgate%5D%0Adeadline+%3D+%221h%22%0Aon_fail+%3D+%22halt%22";
    let form = format!("csrf={csrf}&what=meter-digits%401.1.0&policy={policy}&do=rehearse");
    let before = server.app.store.view_rollouts("", "", None, 50).await.unwrap().len();
    let page = browser.post("/rollouts/new", &form).await;
    crate::pages::is_well_made("/rollouts/new", &page);
    assert!(page.text.contains("Rehearsal: meter-digits 1.1.0 to 24 devices"), "{}", page.text);
    assert!(page.text.contains("96</span>") && page.text.contains("name = &#34;two&#34;"), "{}", page.text);
    assert_eq!(server.app.store.view_rollouts("", "", None, 50).await.unwrap().len(), before);
    let planned = browser.post("/rollouts/new", &form.replace("rehearse", "plan")).await;
    assert!(planned.header("location").ends_with("?note=planned"), "{}", planned.text);
    assert_eq!(server.app.store.view_rollouts("", "", None, 50).await.unwrap().len(), before + 1);
}

#[tokio::test]
async fn a_device_in_quarantine_is_listed_says_why_and_is_released_by_a_person() {
    let server = Server::filled().await;
    let browser = Browser::signed_in(&server).await;
    let list = browser.get("/devices?status=quarantined").await.text;
    assert!(list.contains("/devices/meter-050") && !list.contains("/devices/meter-051"), "{list}");
    assert!(browser.get("/").await.text.contains("/devices?status=quarantined"), "the overview says so");
    let page = browser.get("/devices/meter-050").await;
    assert!(
        page.text.contains("In quarantine") && page.text.contains("3 assignments in a row"),
        "{}",
        page.text
    );
    let done = browser.post("/devices/meter-050/release", &format!("csrf={}", page.csrf())).await;
    assert_eq!(done.header("location"), "/devices/meter-050?note=release", "{}", done.text);
    assert!(!browser.get("/devices/meter-050").await.text.contains("In quarantine"));
    assert!(!browser.get("/devices?status=quarantined").await.text.contains("/devices/meter-050"));
}
