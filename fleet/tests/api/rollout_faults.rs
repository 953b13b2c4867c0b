//! What goes wrong around rollouts: reports of other times, an old record, impossible policies, a rollout in another's place.

use longshore_fleet::app::now;
use longshore_fleet::store::{ingest, set_meta};
use longshore_trust::{AssignmentVersion, Generation};
use longshore_wire::v1::{CommandAction, UpdateState};
use serde_json::json;

use crate::rollout_depth::{act, plan, planned, show, simple, tick};
use crate::support::{Fleet, POLICY};

#[tokio::test]
async fn reports_of_other_times_and_rollouts_change_nothing() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let id = planned(&fleet, "1.1.0", POLICY).await;
    act(&fleet, &id, "start", json!({})).await;
    tick(&fleet).await;
    let offered = device.assignment().await.unwrap();
    let state = async || show(&fleet, &id).await["waves"][0]["devices"][0]["state"].clone();
    // Months late: about an assignment of long ago, and of a rollout that is no more.
    device.say(new, AssignmentVersion(0), UpdateState::Failed, Some(old), None).await;
    tick(&fleet).await;
    assert_eq!(state().await, "offered");
    // Never offered: a version from the future.
    device.say(new, AssignmentVersion(offered.version.0 + 7), UpdateState::Committed, Some(new), None).await;
    tick(&fleet).await;
    assert_ne!(state().await, "committed");
    // Committed with something else than what was offered.
    let again = device.assignment().await.unwrap();
    device.say(new, again.version, UpdateState::Committed, Some(old), None).await;
    tick(&fleet).await;
    assert_ne!(state().await, "committed");
}

#[tokio::test]
async fn a_record_that_is_older_than_what_devices_hold_goes_on_after_them() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let mut device = fleet.device(1, Some(old)).await;
    // Restored: the record knows of nothing, the device holds generation 41 and assignment 17.
    let mut tx = fleet.app.store.write().await.unwrap();
    set_meta(&mut tx, "epoch", "2").await.unwrap();
    tx.commit().await.unwrap();
    device.generation = Generation((1 << 32) + 41);
    device.hello(1, 1, AssignmentVersion(17)).await;
    device.say(old, AssignmentVersion(17), UpdateState::Committed, Some(old), None).await;
    let fleet_view = fleet.get("/fleet").await.json;
    assert_eq!(fleet_view["devices_ahead"], 1, "{fleet_view}");
    let audit = fleet.get("/audit/search?action=fleet.behind_devices").await;
    assert!(audit.json.to_string().contains("older than what devices hold"), "{}", audit.json);
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    act(&fleet, &id, "start", json!({})).await;
    tick(&fleet).await;
    let a = device.assignment().await.unwrap();
    assert!(a.generation > device.generation && a.version > AssignmentVersion(17), "{a:?}");
    // A device that lies cannot use the numbers up.
    device.generation = Generation(u64::MAX >> 1);
    device.say(old, AssignmentVersion(18), UpdateState::Committed, Some(old), None).await;
    let next = plan(&fleet, "1.1.0", &simple("", "")).await;
    assert!(next["generation"].as_u64().unwrap() < 1 << 33, "{next}");
}

#[tokio::test]
async fn all_that_is_wrong_with_a_policy_is_said_at_once() {
    let fleet = Fleet::new().await;
    let wrong = fleet
        .post("/policies/check", json!({ "policy": "priority = 5000\nname = \"x\"\n[[wave]]\nselect = { count = 0 }\n[gate]\ndeadline = \"1h\"\non_fail = \"explode\"\n" }))
        .await
        .json;
    let lines: Vec<_> =
        wrong["mistakes"].as_array().unwrap().iter().map(|m| m["line"].as_u64().unwrap()).collect();
    assert_eq!((&wrong["ok"], lines), (&json!(false), vec![1, 7]), "{wrong}");
    let right = fleet.post("/policies/check", json!({ "policy": simple("", "") })).await.json;
    assert_eq!(right["ok"], true, "{right}");
    assert!(right["lint"].to_string().contains("there is no canary"));
}

#[tokio::test]
async fn presence_is_counted_once_an_hour() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let mut tx = fleet.app.store.write().await.unwrap();
    for n in 0..4u64 {
        ingest::seen(&mut tx, &device.id, now().plus_ms(n * 60_000)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let rehearsal = plan(&fleet, "1.1.0", &simple("", "")).await["rehearsal"].clone();
    assert_eq!(
        (&rehearsal["waves"][0]["unknown"], &rehearsal["bytes"]),
        (&json!(0), &json!(200)),
        "{rehearsal}"
    );
    assert!(rehearsal["eta_ms"].is_u64(), "{rehearsal}");
}

#[tokio::test]
async fn what_another_rollout_took_the_place_of_is_revoked() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    fleet.release("1.2.0", 3, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let first = planned(&fleet, "1.1.0", POLICY).await;
    act(&fleet, &first, "start", json!({})).await;
    tick(&fleet).await;
    let offered = device.assignment().await.unwrap();
    let second = planned(&fleet, "1.2.0", POLICY).await;
    assert_eq!(act(&fleet, &second, "start", json!({ "supersede": true })).await["state"], "running");
    tick(&fleet).await;
    assert_eq!(show(&fleet, &first).await["state"], "superseded");
    let halts = device
        .commands()
        .await
        .into_iter()
        .filter(|c| c.action == CommandAction::Halt { version: offered.version });
    assert_eq!(halts.count(), 1);
    tick(&fleet).await;
    let halts = device
        .commands()
        .await
        .into_iter()
        .filter(|c| c.action == CommandAction::Halt { version: offered.version });
    assert_eq!(halts.count(), 1, "once");
}

#[tokio::test]
async fn a_policy_that_cannot_be_met_and_a_wave_of_nobody_are_refused_before_anything_starts() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    fleet.device(1, Some(old)).await;
    let impossible = simple("", "min_devices = 3").replace("rest = true", "count = 2");
    let refused = plan(&fleet, "1.1.0", &impossible).await;
    assert_eq!(refused["code"], "policy.invalid");
    assert!(refused["detail"].as_str().unwrap().contains("could never pass"), "{refused}");
    let nobody = simple("", "").replace("rest = true", "where = 'site == \"moon\"'");
    let refused = plan(&fleet, "1.1.0", &nobody).await;
    assert!(
        refused["detail"].as_str().unwrap().contains("wave 0 (where site == \"moon\") selects no device"),
        "{refused}"
    );
}
