//! Second persons, schedules, priorities, quarantine, windows and shadow runs, plans of reverts.

use longshore_fleet::app::now;
use longshore_fleet::auth;
use longshore_fleet::jobs::executor::{self, Scope};
use longshore_trust::UnixMs;
use longshore_wire::v1::{CommandAction, Mode, UpdateState};
use serde_json::{Value, json};

use crate::support::{Fleet, PASSWORD};

pub async fn tick_at(fleet: &Fleet, at: UnixMs) {
    executor::tick(&fleet.app, Scope::All, at).await.unwrap();
}
pub async fn tick(fleet: &Fleet) {
    tick_at(fleet, now()).await;
}
pub async fn plan(fleet: &Fleet, version: &str, policy: &str) -> Value {
    fleet.post("/rollouts", json!({ "model": "m", "version": version, "policy": policy })).await.json
}
pub async fn planned(fleet: &Fleet, version: &str, policy: &str) -> String {
    let plan = plan(fleet, version, policy).await;
    plan["id"].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned()
}
pub async fn act(fleet: &Fleet, id: &str, action: &str, body: Value) -> Value {
    fleet.post(&format!("/rollouts/{id}/{action}"), body).await.json
}
pub async fn show(fleet: &Fleet, id: &str) -> Value {
    fleet.get(&format!("/rollouts/{id}")).await.json
}

/// One wave for all, that only looks at whether devices come up.
pub fn simple(head: &str, gate: &str) -> String {
    format!(
        "name = \"simple\"\n{head}\n[[wave]]\nselect = {{ rest = true }}\n[gate]\ndeadline = \"1h\"\non_fail = \"pause\"\n{gate}\n"
    )
}

#[tokio::test]
async fn a_plan_waits_for_the_yes_of_a_second_person() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    auth::create_admin(&fleet.app.store, "second", PASSWORD, now()).await.unwrap();
    let id = planned(&fleet, "1.1.0", &simple("authorize = true", "")).await;
    let path = format!("/rollouts/{id}/authorize");

    let own = fleet.post(&path, json!({})).await;
    assert_eq!((own.status.as_u16(), &own.json["code"]), (409, &json!("rollout.same_person")));
    assert_eq!(act(&fleet, &id, "start", json!({})).await["state"], "awaiting_authorization");
    tick(&fleet).await;
    assert!(device.assignment().await.is_none(), "one person's word is not enough");
    assert_eq!(act(&fleet, &id, "start", json!({})).await["code"], "rollout.state");

    let yes = fleet.post_as("second", &path, json!({})).await.json;
    assert_eq!((&yes["state"], &yes["authorized_by"]), (&json!("running"), &json!("second")), "{yes}");
    tick(&fleet).await;
    assert!(device.assignment().await.is_some());
    // A policy that does not ask takes no yes.
    fleet.release("1.2.0", 3, &[old]).await;
    let other = planned(&fleet, "1.2.0", &simple("", "")).await;
    let refused = fleet.post_as("second", &format!("/rollouts/{other}/authorize"), json!({})).await;
    assert_eq!(refused.json["code"], "rollout.state");
}

#[tokio::test]
async fn a_start_can_be_scheduled_and_what_forbids_it_by_then_is_told() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let begin = now().plus_ms(3_600_000);
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    let scheduled = act(&fleet, &id, "start", json!({ "at": begin.0 })).await;
    assert_eq!((&scheduled["state"], &scheduled["start_at"]), (&json!("scheduled"), &json!(begin.0)));
    tick(&fleet).await;
    assert!(device.assignment().await.is_none());
    tick_at(&fleet, begin.plus_ms(1)).await;
    assert_eq!(show(&fleet, &id).await["state"], "running");
    assert!(device.assignment().await.is_some());

    // By its time another rollout has the device.
    fleet.release("1.2.0", 3, &[old]).await;
    let second = planned(&fleet, "1.2.0", &simple("", "")).await;
    assert_eq!(act(&fleet, &second, "start", json!({ "at": begin.0 })).await["state"], "scheduled");
    tick_at(&fleet, begin.plus_ms(2)).await;
    let told = show(&fleet, &second).await;
    assert_eq!(told["state"], "planned", "{told}");
    assert!(told["reason"].as_str().unwrap().contains(&id), "{told}");
    let far = now().plus_ms(90 * 86_400_000);
    assert_eq!(act(&fleet, &second, "start", json!({ "at": far.0 })).await["code"], "rollout.state");
}

#[tokio::test]
async fn the_rollout_of_the_higher_priority_has_the_device() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let urgent = fleet.release("1.2.0", 3, &[old]).await;
    let (one, two) = (fleet.device(1, Some(old)).await, fleet.device(2, Some(old)).await);
    let low = planned(&fleet, "1.1.0", &simple("", "")).await;
    assert_eq!(act(&fleet, &low, "start", json!({})).await["state"], "running");
    tick(&fleet).await;
    let before = one.assignment().await.unwrap();

    let same = plan(&fleet, "1.2.0", &simple("", "")).await;
    assert!(same["lint"].to_string().contains("cannot start before"), "{same}");
    let refused = act(&fleet, same["id"].as_str().unwrap(), "start", json!({})).await;
    assert_eq!(refused["code"], "rollout.occupied");
    assert!(refused["detail"].as_str().unwrap().contains(&low), "{refused}");

    let high = plan(&fleet, "1.2.0", &simple("priority = 10", "")).await;
    assert!(high["lint"].to_string().contains("takes them over"), "{high}");
    let high = high["id"].as_str().unwrap().to_owned();
    assert_eq!(act(&fleet, &high, "start", json!({})).await["state"], "running");
    for _ in 0..3 {
        tick(&fleet).await;
    }
    for device in [&one, &two] {
        let has = device.take(UpdateState::Committed).await;
        assert_eq!(has.slots[0].sha256, urgent);
        assert!(has.version > before.version);
    }
    for _ in 0..3 {
        tick(&fleet).await;
    }
    assert_eq!(show(&fleet, &high).await["state"], "completed");
    assert_eq!(
        one.assignment().await.unwrap().slots[0].sha256,
        urgent,
        "the other one does not take it back"
    );
    let log = show(&fleet, &low).await["log"].to_string();
    assert!(log.contains("takes over 2 of its devices"), "{log}");
}

#[tokio::test]
async fn two_rollouts_of_a_model_run_side_by_side_when_they_share_no_device() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    fleet.release("1.2.0", 3, &[old]).await;
    fleet.labelled(1, Some(old), r#"{"site":"ams"}"#).await;
    fleet.labelled(2, Some(old), r#"{"site":"ber"}"#).await;
    for (version, site) in [("1.1.0", "ams"), ("1.2.0", "ber")] {
        let policy = simple("", "").replace("rest = true", &format!("where = 'site == \"{site}\"'"));
        let id = planned(&fleet, version, &policy).await;
        assert_eq!(act(&fleet, &id, "start", json!({})).await["state"], "running");
    }
}

#[tokio::test]
async fn a_device_that_keeps_failing_is_quarantined_until_it_is_released() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let (bad, good) = (fleet.device(1, Some(old)).await, fleet.device(2, Some(old)).await);
    for (n, version) in ["1.1.0", "1.2.0", "1.3.0"].into_iter().enumerate() {
        fleet.release(version, n as u64 + 2, &[old]).await;
        let id = planned(&fleet, version, &simple("", "success = 0.4")).await;
        act(&fleet, &id, "start", json!({})).await;
        tick(&fleet).await;
        let a = bad.assignment().await.unwrap();
        bad.say(a.slots[0].sha256, a.version, UpdateState::Failed, Some(old), Some("trial.crash")).await;
        good.take(UpdateState::Committed).await;
        for _ in 0..3 {
            tick(&fleet).await;
        }
        assert_eq!(show(&fleet, &id).await["state"], "completed");
    }
    let shown = fleet.get("/devices/dev-1").await.json;
    let why = shown["quarantine"].as_str().unwrap_or_else(|| panic!("{shown}"));
    assert!(why.contains("3 times in a row") && why.contains("trial.crash"), "{why}");
    assert_eq!(fleet.get("/devices/dev-2").await.json["quarantine"], Value::Null);

    fleet.release("1.4.0", 9, &[old]).await;
    let plan_without = plan(&fleet, "1.4.0", &simple("", "")).await;
    assert_eq!(plan_without["rehearsal"]["verdicts"], json!({ "compatible": 1, "quarantined": 1 }));
    let released = fleet.post("/devices/dev-1/release", json!({})).await.json;
    assert_eq!(released["released"], true);
    assert_eq!(fleet.post("/devices/dev-1/release", json!({})).await.json["released"], false);
    let plan_with = plan(&fleet, "1.4.0", &simple("", "")).await;
    assert_eq!(plan_with["rehearsal"]["verdicts"], json!({ "compatible": 2 }));
    assert_eq!(fleet.post("/devices/none/release", json!({})).await.status.as_u16(), 404);
}

#[tokio::test]
async fn a_wave_begins_in_shadow() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let policy = simple("", "").replace("rest = true }", "rest = true }\nshadow = \"10m\"");
    let id = planned(&fleet, "1.1.0", &policy).await;
    act(&fleet, &id, "start", json!({})).await;
    tick(&fleet).await;
    let a = device.assignment().await.unwrap();
    assert_eq!((a.slots[0].mode, a.slots[0].sha256), (Mode::Shadow, new));
    device.say(new, a.version, UpdateState::Shadowing, Some(old), None).await;
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(
        (&shown["waves"][0]["state"], &shown["waves"][0]["devices"][0]["state"]),
        (&json!("shadowing"), &json!("shadowing"))
    );
    // A device cannot serve what it was to run in shadow.
    device.say(new, a.version, UpdateState::Committed, Some(new), None).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["waves"][0]["devices"][0]["state"], "shadowing");
    assert_eq!(act(&fleet, &id, "halt", json!({})).await["state"], "halting");
    tick(&fleet).await;
    assert!(device.commands().await.iter().any(|c| c.action == CommandAction::Halt { version: a.version }));
}

#[tokio::test]
async fn outside_its_window_a_device_is_offered_nothing() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let hour = (now().0 / 3_600_000) % 24;
    let window = |hour: u64| format!("[window]\ncron = \"0 {hour} * * *\"\nduration = \"1h\"");
    let policy = simple("", "").replace("\"1h\"", "\"30h\"");
    let text = format!("{policy}{}", window((hour + 2) % 24));
    let id = planned(&fleet, "1.1.0", &text).await;
    let lint = act(&fleet, &id, "start", json!({})).await;
    assert_eq!(lint["state"], "running");
    tick(&fleet).await;
    assert!(device.assignment().await.is_none());
    let opens = UnixMs((now().0 / 3_600_000 + 2) * 3_600_000);
    tick_at(&fleet, opens.plus_ms(1)).await;
    let pending = fleet.app.store.pending_for(&device.id, opens).await.unwrap();
    assert!(pending.assignment.is_some());
    let a = device.assignment().await.unwrap();
    assert_eq!(a.activate_by, opens.plus_ms(3_600_000));
    assert!(a.not_after > a.activate_by);
    let rehearsal = fleet.get(&format!("/rollouts/{id}/rehearsal")).await.json;
    assert!(rehearsal["lint"].to_string().contains("taken in UTC"), "{rehearsal}");
}

#[tokio::test]
async fn a_revert_is_in_the_history_with_its_plan() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    act(&fleet, &id, "start", json!({})).await;
    tick(&fleet).await;
    let taken = device.take(UpdateState::Committed).await;
    for _ in 0..3 {
        tick(&fleet).await;
    }
    assert_eq!(act(&fleet, &id, "revert", json!({})).await["state"], "reverting");
    tick(&fleet).await;
    let back = device.take(UpdateState::Committed).await;
    assert_eq!(back.slots[0].sha256, old);
    assert!(back.generation > taken.generation);
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "reverted", "{shown}");
    let reverts = shown["reverts"].as_array().unwrap();
    assert_eq!((reverts.len(), &reverts[0]["devices"]), (1, &json!(1)), "{shown}");
    assert_eq!(reverts[0]["generation"], back.generation.0);
    assert!(shown["log"].to_string().contains("revert_planned"));
}
