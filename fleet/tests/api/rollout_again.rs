//! What is told, offered, judged or started again: reverts that were never seen, waves that are tried once more, a bundle in a
//! second shadow run, devices that two rollouts have, plans that were authorized.

use longshore_fleet::app::now;
use longshore_fleet::auth;
use longshore_fleet::jobs::executor::{self, Scope};
use longshore_fleet::store::{device, rollout, set_meta};
use longshore_fleet_core::rollout::RolloutState;
use longshore_stats::Counters;
use longshore_stats::shadow::{Compared, ShadowTable};
use longshore_trust::{AssignmentVersion, Digest, Generation, UnixMs};
use longshore_wire::v1::{CommandAction, Mode, UpdateState};
use serde_json::{Value, json};

use crate::copies::copies;
use crate::rollout_depth::{act, plan, planned, show, simple, tick, tick_at};
use crate::support::{Device, Fleet, PASSWORD};

async fn offline(fleet: &Fleet, device: &Device<'_>) {
    let mut tx = fleet.app.store.write().await.unwrap();
    device::set_offline(&mut tx, &device.id).await.unwrap();
    tx.commit().await.unwrap();
}
/// Long enough from now that a device that is not connected counts as away.
fn soon() -> UnixMs {
    now().plus_ms(120_000)
}
/// A fleet, its old version and a newer one with a way back.
async fn two_versions() -> (Fleet, Digest, Digest) {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    (fleet, old, new)
}
async fn started(fleet: &Fleet, version: &str, policy: &str) -> String {
    let id = planned(fleet, version, policy).await;
    let state = act(fleet, &id, "start", json!({})).await;
    assert_eq!(state["state"], "running", "{state}");
    tick(fleet).await;
    id
}
fn times(log: &Value, code: &str) -> usize {
    log["log"].as_array().unwrap().iter().filter(|line| line["code"] == code).count()
}
/// A rollout of 1.1.0 to everybody that completed.
async fn completed(fleet: &Fleet, devices: &[&Device<'_>]) -> String {
    let id = started(fleet, "1.1.0", &simple("", "")).await;
    for device in devices {
        device.take(UpdateState::Committed).await;
    }
    for _ in 0..3 {
        tick(fleet).await;
    }
    assert_eq!(show(fleet, &id).await["state"], "completed");
    id
}

#[tokio::test]
async fn a_revert_that_another_models_assignment_overtook_is_signed_once_more() {
    let (fleet, old, _) = two_versions().await;
    let device = fleet.device(1, Some(old)).await;
    let id = completed(&fleet, &[&device]).await;
    act(&fleet, &id, "revert", json!({})).await;
    tick(&fleet).await;
    let unseen = device.assignment().await.unwrap();
    assert_eq!(unseen.slots[0].sha256, old);
    tick(&fleet).await;
    assert_eq!(device.assignment().await.unwrap().version, unseen.version, "it waits to be answered");
    // It took an assignment of another model, and will refuse this one as old.
    device.hello(1, 1, AssignmentVersion(unseen.version.0 + 3)).await;
    tick(&fleet).await;
    let again = device.take(UpdateState::Committed).await;
    assert!(again.version.0 > unseen.version.0 + 3, "{again:?}");
    assert_eq!(again.slots[0].sha256, old);
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["state"], "reverted");
}

#[tokio::test]
async fn a_device_that_slept_through_a_revert_and_never_saw_it_is_told_when_it_is_back() {
    let (fleet, old, new) = two_versions().await;
    let device = fleet.device(1, Some(old)).await;
    let id = completed(&fleet, &[&device]).await;
    offline(&fleet, &device).await;
    act(&fleet, &id, "revert", json!({})).await;
    for _ in 0..2 {
        tick_at(&fleet, soon()).await;
    }
    assert_eq!(show(&fleet, &id).await["state"], "reverted");
    let unseen = device.assignment().await.unwrap();
    tick(&fleet).await;
    assert_eq!(device.assignment().await.unwrap().version, unseen.version);
    // Another model's assignment reached it first.
    device.hello(1, 1, AssignmentVersion(unseen.version.0 + 1)).await;
    device.say(new, AssignmentVersion(unseen.version.0 - 1), UpdateState::Committed, Some(new), None).await;
    tick(&fleet).await;
    let again = device.take(UpdateState::Committed).await;
    assert_eq!(again.slots[0].sha256, old);
    assert!(again.version.0 > unseen.version.0 + 1, "{again:?}");
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["waves"][0]["devices"][0]["state"], "rolled_back", "{shown}");
    tick(&fleet).await;
    assert_eq!(device.assignment().await.unwrap().version, again.version, "once");
}

#[tokio::test]
async fn what_a_restored_record_says_of_a_device_counts_once_the_device_has_told_the_rest() {
    let (fleet, old, new) = two_versions().await;
    let device = fleet.device(1, Some(old)).await;
    let id = started(&fleet, "1.1.0", &simple("", "min_rows = 100")).await;
    device.take(UpdateState::Committed).await;
    tick(&fleet).await;
    let mut tx = fleet.app.store.write().await.unwrap();
    set_meta(&mut tx, "epoch", "2").await.unwrap();
    tx.commit().await.unwrap();
    device.count(new, 200, 198).await;
    for _ in 0..3 {
        tick(&fleet).await;
    }
    assert_eq!(show(&fleet, &id).await["state"], "running", "it has said nothing since the restore");
    // It had been given receipts for nine messages, and this record holds none of them.
    device.hello(10, 1, AssignmentVersion(1)).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["state"], "running", "it has not told again what it had told");
    device.told_up_to(9).await;
    for _ in 0..3 {
        tick(&fleet).await;
    }
    assert_eq!(show(&fleet, &id).await["state"], "completed");
}

/// Rows that both versions answered, all of them alike.
fn in_shadow(rows: u64) -> Counters {
    let mut table = ShadowTable::new(3);
    for _ in 0..rows {
        let row = Compared { active: Some(0), candidate: Some(0), agree: true, nan: false, steps: Some(0.0) };
        table.insert(&row);
    }
    Counters { shadow: Some(table), ..Counters::with_classes(3) }
}
fn beside() -> String {
    simple("", "shadow_agreement = 0.9").replace("rest = true }", "rest = true }\nshadow = \"1m\"")
}

#[tokio::test]
async fn rows_of_an_earlier_shadow_run_prove_nothing_in_a_later_one() {
    let (fleet, old, new) = two_versions().await;
    let device = fleet.device(1, Some(old)).await;
    let first = started(&fleet, "1.1.0", &beside()).await;
    let a = device.assignment().await.unwrap();
    device.say(new, a.version, UpdateState::Shadowing, Some(old), None).await;
    device.counted(new, in_shadow(500)).await;
    act(&fleet, &first, "halt", json!({})).await;
    device.say(new, a.version, UpdateState::Cancelled, Some(old), None).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &first).await["state"], "halted");

    let second = started(&fleet, "1.1.0", &beside()).await;
    let a = device.assignment().await.unwrap();
    assert_eq!(a.slots[0].mode, Mode::Shadow);
    device.say(new, a.version, UpdateState::Shadowing, Some(old), None).await;
    for _ in 0..3 {
        tick_at(&fleet, soon()).await;
    }
    let wave = show(&fleet, &second).await["waves"][0].clone();
    assert_eq!(wave["state"], "shadowing", "it has answered nothing in this run: {wave}");
    device.counted(new, in_shadow(500)).await;
    for _ in 0..3 {
        tick_at(&fleet, soon()).await;
    }
    assert_eq!(show(&fleet, &second).await["waves"][0]["state"], "offering");
}

#[tokio::test]
async fn a_wave_that_failed_in_shadow_is_tried_again_in_shadow_and_with_new_counts() {
    let (fleet, old, new) = two_versions().await;
    let device = fleet.device(1, Some(old)).await;
    let policy = beside().replace("on_fail = \"pause\"", "on_fail = \"pause\"\nmax_failed_devices = 0");
    let id = started(&fleet, "1.1.0", &policy).await;
    let a = device.assignment().await.unwrap();
    device.say(new, a.version, UpdateState::Shadowing, Some(old), None).await;
    device.counted(new, in_shadow(500)).await;
    device.say(new, a.version, UpdateState::Failed, Some(old), Some("shadow.crash")).await;
    for _ in 0..2 {
        tick(&fleet).await;
    }
    let shown = show(&fleet, &id).await;
    assert_eq!(
        (&shown["state"], &shown["waves"][0]["state"]),
        (&json!("paused"), &json!("failed")),
        "{shown}"
    );
    assert_eq!(act(&fleet, &id, "resume", json!({ "wave": "retry" })).await["state"], "running");
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["waves"][0]["state"], "shadowing", "it has not earned more");
    let again = device.assignment().await.unwrap();
    assert_eq!(again.slots[0].mode, Mode::Shadow);
    assert!(again.version > a.version);
    device.say(new, again.version, UpdateState::Shadowing, Some(old), None).await;
    for _ in 0..3 {
        tick_at(&fleet, soon()).await;
    }
    let wave = show(&fleet, &id).await["waves"][0].clone();
    assert_eq!(wave["state"], "shadowing", "what it answered before it failed is not counted again: {wave}");
}

#[tokio::test]
async fn a_version_that_is_retired_in_mid_wave_pauses_the_rollout_once() {
    let (fleet, old, _) = two_versions().await;
    for n in 1..=4 {
        fleet.device(n, Some(old)).await;
    }
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    act(&fleet, &id, "start", json!({})).await;
    let why = json!({ "reason": "answers 7 for every 1" });
    let retired = fleet.post("/models/m/versions/1.1.0/retire", why).await.json;
    assert_eq!(retired["state"], "retired", "{retired}");
    for _ in 0..3 {
        tick(&fleet).await;
    }
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "paused", "{shown}");
    assert_eq!(times(&shown, "paused"), 1, "{}", shown["log"]);
}

#[tokio::test]
async fn what_was_authorized_is_what_starts() {
    let (fleet, old, _) = two_versions().await;
    fleet.release("1.2.0", 3, &[old]).await;
    fleet.device(1, Some(old)).await;
    auth::create_admin(&fleet.app.store, "second", PASSWORD, now()).await.unwrap();
    let running = started(&fleet, "1.1.0", &simple("", "")).await;
    let id = planned(&fleet, "1.2.0", &simple("authorize = true", "")).await;
    let authorize = format!("/rollouts/{id}/authorize");
    let yes = fleet.post_as("second", &authorize, json!({})).await.json;
    assert_eq!((&yes["state"], &yes["authorized_by"]), (&json!("planned"), &json!("second")), "{yes}");
    // Nobody said yes to taking another's place.
    let asked = act(&fleet, &id, "start", json!({ "supersede": true })).await;
    assert_eq!((&asked["state"], &asked["authorized_by"]), (&json!("awaiting_authorization"), &Value::Null));
    assert!(asked["reason"].as_str().unwrap().contains("another start"), "{asked}");
    assert_eq!(show(&fleet, &running).await["state"], "running");
    let yes = fleet.post_as("second", &authorize, json!({})).await.json;
    assert_eq!(yes["state"], "running", "{yes}");
    assert_eq!(show(&fleet, &running).await["state"], "superseded");

    // Nor to another time.
    fleet.release("1.3.0", 4, &[old]).await;
    act(&fleet, &id, "halt", json!({})).await;
    tick_at(&fleet, soon()).await;
    let id = planned(&fleet, "1.3.0", &simple("authorize = true", "")).await;
    let authorize = format!("/rollouts/{id}/authorize");
    let (night, noon) = (now().plus_ms(3_600_000), now().plus_ms(7_200_000));
    act(&fleet, &id, "start", json!({ "at": night.0 })).await;
    assert_eq!(fleet.post_as("second", &authorize, json!({})).await.json["state"], "scheduled");
    let same = act(&fleet, &id, "start", json!({ "at": night.0 })).await;
    assert_eq!(same["state"], "scheduled", "the same once more is the same: {same}");
    assert_eq!(act(&fleet, &id, "start", json!({ "at": noon.0 })).await["state"], "awaiting_authorization");
    tick_at(&fleet, noon.plus_ms(1)).await;
    assert_eq!(show(&fleet, &id).await["state"], "awaiting_authorization");
}

#[tokio::test]
async fn nothing_takes_the_place_of_a_rollout_that_is_being_taken_back() {
    let (fleet, old, _) = two_versions().await;
    fleet.release("1.2.0", 3, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let id = completed(&fleet, &[&device]).await;
    act(&fleet, &id, "revert", json!({})).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["state"], "reverting");
    let next = planned(&fleet, "1.2.0", &simple("", "")).await;
    let refused = act(&fleet, &next, "start", json!({ "supersede": true })).await;
    assert_eq!(refused["code"], "rollout.state", "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("wait for its end"), "{refused}");
    assert_eq!(show(&fleet, &id).await["state"], "reverting");
}

/// An urgent rollout that wants everybody, and has offered its version to its first device alone: which one that is.
async fn urgent(fleet: &Fleet) -> (String, String) {
    let policy = simple("priority = 10", "")
        .replace("[[wave]]", "[[wave]]\nselect = { count = 1 }\nsoak = \"10m\"\n[[wave]]");
    let id = started(fleet, "1.2.0", &policy).await;
    let first = show(fleet, &id).await["waves"][0]["devices"][0]["device"].clone();
    (id, first.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_revert_reaches_a_device_that_another_rollout_only_claims() {
    let (fleet, old, _) = two_versions().await;
    fleet.release("1.2.0", 3, &[old]).await;
    let (one, two) = (fleet.device(1, Some(old)).await, fleet.device(2, Some(old)).await);
    let id = started(&fleet, "1.1.0", &simple("", "min_rows = 1000")).await;
    let offers = [one.take(UpdateState::Probation).await, two.take(UpdateState::Probation).await];
    tick(&fleet).await;
    let (high, has) = urgent(&fleet).await;
    let claimed = if one.id.as_str() == has { &two } else { &one };
    assert_eq!(act(&fleet, &id, "revert", json!({})).await["state"], "reverting");
    for _ in 0..2 {
        tick(&fleet).await;
    }
    let back = claimed.assignment().await.unwrap();
    assert_eq!(back.slots[0].sha256, old, "the urgent one has offered it nothing yet");
    assert!(back.version > offers[0].version.max(offers[1].version));
    let other = if one.id.as_str() == has { &one } else { &two };
    assert_eq!(
        other.assignment().await.unwrap().rollout.unwrap().as_str(),
        high,
        "that one is not its own any more"
    );
}

#[tokio::test]
async fn a_halt_reaches_a_device_that_another_rollout_only_claims() {
    let (fleet, old, _) = two_versions().await;
    fleet.release("1.2.0", 3, &[old]).await;
    let (one, two) = (fleet.device(1, Some(old)).await, fleet.device(2, Some(old)).await);
    let id = started(&fleet, "1.1.0", &simple("", "min_rows = 1000")).await;
    let before = [one.assignment().await.unwrap(), two.assignment().await.unwrap()];
    let (_, has) = urgent(&fleet).await;
    let (claimed, offer) = if one.id.as_str() == has { (&two, &before[1]) } else { (&one, &before[0]) };
    act(&fleet, &id, "halt", json!({})).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["state"], "halting", "it waits for the device that is its own");
    let told = claimed.commands().await;
    assert!(told.iter().any(|c| c.action == CommandAction::Halt { version: offer.version }), "{told:?}");
}

#[tokio::test]
async fn late_devices_get_what_was_started_last_whatever_was_planned_last() {
    let (fleet, old, new) = two_versions().await;
    let urgent = fleet.release("1.2.0", 3, &[old, new]).await;
    let device = fleet.device(1, Some(old)).await;
    // Planned first, started last.
    let first = planned(&fleet, "1.2.0", &simple("", "")).await;
    completed(&fleet, &[&device]).await;
    // A clock of milliseconds tells both starts apart.
    let begun = now();
    while now() <= begun {
        tokio::task::yield_now().await;
    }
    let state = act(&fleet, &first, "start", json!({})).await;
    assert_eq!(state["state"], "running", "{state}");
    tick(&fleet).await;
    device.take(UpdateState::Committed).await;
    for _ in 0..3 {
        tick(&fleet).await;
    }
    assert_eq!(show(&fleet, &first).await["state"], "completed");
    let late = fleet.device(9, Some(old)).await;
    for _ in 0..2 {
        tick(&fleet).await;
    }
    assert_eq!(late.assignment().await.unwrap().slots[0].sha256, urgent);
}

#[tokio::test]
async fn a_device_cannot_use_up_the_generations_of_an_epoch_with_two_reports() {
    let (fleet, old, _) = two_versions().await;
    let mut device = fleet.device(1, Some(old)).await;
    // The greatest generation of the epoch, then the next after what that made of the record.
    for told in [(1 << 32) - 1, 1 << 32, (1 << 33) - 1] {
        device.generation = Generation(told);
        device.say(old, AssignmentVersion(1), UpdateState::Committed, Some(old), None).await;
    }
    let next = plan(&fleet, "1.1.0", &simple("", "")).await["generation"].as_u64().unwrap();
    assert!(next <= 1 << 32, "{next}");
    // After a restore there are as many again.
    let mut tx = fleet.app.store.write().await.unwrap();
    set_meta(&mut tx, "epoch", "2").await.unwrap();
    tx.commit().await.unwrap();
    let next = plan(&fleet, "1.1.0", &simple("", "")).await["generation"].as_u64().unwrap();
    assert!(next > 1 << 32 && next < (1 << 32) + 10, "{next}");
}

#[tokio::test]
async fn looking_at_a_rollout_waits_for_no_writer_and_what_was_decided_meanwhile_holds() {
    let (fleet, old, _) = two_versions().await;
    let device = fleet.device(1, Some(old)).await;
    let id = started(&fleet, "1.1.0", &simple("", "min_rows = 1000")).await;
    device.take(UpdateState::Committed).await;
    for _ in 0..2 {
        tick(&fleet).await;
    }
    // Somebody writes and takes his time: there is nothing to do, and that is found out beside him.
    let writing = fleet.app.store.write().await.unwrap();
    let looked = tokio::time::timeout(std::time::Duration::from_secs(30), tick(&fleet)).await;
    assert!(looked.is_ok(), "it waits for the writer without having anything to write");
    drop(writing);

    // Somebody pauses between the look and the deed.
    let other = fleet.device(2, Some(old)).await;
    let mut pausing = fleet.app.store.write().await.unwrap();
    let app = fleet.app.clone();
    let looking = tokio::spawn(async move { executor::tick(&app, Scope::All, now()).await });
    // Long enough that it has looked and waits; the outcome is the same when it has not.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let rollout = id.parse().unwrap();
    rollout::set_state(&mut pausing, &rollout, RolloutState::Paused, "operator: paused", now())
        .await
        .unwrap();
    pausing.commit().await.unwrap();
    looking.await.unwrap().unwrap();
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "paused");
    assert!(other.assignment().await.is_none(), "{shown}");
    assert!(!shown["log"].to_string().contains("late_device"), "{}", shown["log"]);
}

#[tokio::test]
async fn between_the_parts_of_a_large_step_others_have_their_turn_and_their_word_holds() {
    let (fleet, old, _) = two_versions().await;
    fleet.device(1, Some(old)).await;
    copies(&fleet.database(), 450).await;
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    act(&fleet, &id, "start", json!({})).await;
    let offered = async || {
        let shown = show(&fleet, &id).await;
        shown["waves"][0]["device_counts"]["offered"].as_u64().unwrap_or(0)
    };
    let app = fleet.app.clone();
    let looking = tokio::spawn(async move { executor::tick(&app, Scope::All, now()).await });
    // A person waits for every turn, and pauses once some were offered it.
    let before = loop {
        let mut tx = fleet.app.store.write().await.unwrap();
        let some = offered().await;
        if some > 0 {
            let id = id.parse().unwrap();
            rollout::set_state(&mut tx, &id, RolloutState::Paused, "operator: paused", now()).await.unwrap();
            tx.commit().await.unwrap();
            break some;
        }
    };
    looking.await.unwrap().unwrap();
    assert!(before < 450, "nobody had a turn before all {before} were offered it");
    tick(&fleet).await;
    assert_eq!(offered().await, before, "it is paused");

    // Nobody was forgotten, and nobody is offered it twice.
    let resumed = act(&fleet, &id, "resume", json!({ "wave": "retry" })).await;
    assert_eq!(resumed["state"], "running", "{resumed}");
    while executor::tick(&fleet.app, Scope::All, now()).await.unwrap() {}
    assert_eq!(offered().await, 450);
    let attempts: (i64, i64) = {
        let pool = sqlx::SqlitePool::connect_with(
            sqlx::sqlite::SqliteConnectOptions::new().filename(fleet.database()).read_only(true),
        )
        .await
        .unwrap();
        sqlx::query_as("SELECT count(*), count(DISTINCT device) FROM assignment")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(attempts, (450, 450));
}

#[tokio::test]
async fn whoever_takes_generations_all_the_time_keeps_nobody_from_planning() {
    let (fleet, old, _) = two_versions().await;
    fleet.device(1, Some(old)).await;
    let app = fleet.app.clone();
    let taking = tokio::spawn(async move {
        loop {
            let mut tx = app.store.write().await.unwrap();
            rollout::next_generation(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    let policy = simple("", "");
    let made = plan(&fleet, "1.1.0", &policy);
    let made = tokio::time::timeout(std::time::Duration::from_secs(60), made).await;
    taking.abort();
    let made = made.expect("it waits for a moment in which nobody takes one");
    assert_eq!(made["state"], "planned", "{made}");
}
