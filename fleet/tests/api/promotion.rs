//! What a promotion record says: of the devices of its rollout, of the plan as it was agreed on, and of who approved it then.

use longshore_fleet::app::now;
use longshore_trust::Digest;
use longshore_wire::v1::{Mode, UpdateState};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

use crate::rollout_depth::{act, planned, show, simple, tick, tick_at};
use crate::support::{Device, Fleet};

/// The whole answer, and the record in it.
async fn record(fleet: &Fleet, id: &str) -> (Value, Value) {
    let answer = fleet.get(&format!("/rollouts/{id}/record")).await.json;
    let text = answer["record"].as_str().unwrap_or_else(|| panic!("{answer}"));
    (answer.clone(), serde_json::from_str(text).unwrap())
}
/// Starts a plan for one device, and sees it through.
async fn complete(fleet: &Fleet, id: &str, device: &Device<'_>, new: Digest) {
    act(fleet, id, "start", json!({})).await;
    tick(fleet).await;
    device.take(UpdateState::Committed).await;
    device.count(new, 100, 99).await;
    tick_at(fleet, now().plus_ms(30_000)).await;
    let shown = show(fleet, id).await;
    assert_eq!(shown["state"], "completed", "{shown}");
}

#[tokio::test]
async fn approvers_are_those_whose_signatures_hold_under_the_metadata_that_was_planned_with() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    // Third version: somebody else signed it too, whose signature means nothing.
    fleet.sign_again(13).await;
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    // Fourth version, by the time the rollout completes.
    fleet.release("1.2.0", 3, &[new]).await;
    complete(&fleet, &id, &device, new).await;
    let (_, record) = record(&fleet, &id).await;
    let approved = json!({ "role": "models/m", "version": 3, "keys": [Fleet::approver()] });
    assert_eq!(record["approved"], approved);
}

#[tokio::test]
async fn the_plan_is_handed_out_as_it_was_hashed_whatever_this_program_would_write() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.device(1, Some(old)).await;
    let id = planned(&fleet, "1.1.0", &simple("", "")).await;
    // As another version of this program planned it: with a field that this one does not know.
    let options = SqliteConnectOptions::new().filename(fleet.database());
    let database = SqlitePool::connect_with(options).await.unwrap();
    let text: String =
        sqlx::query_scalar("SELECT plan FROM rollout_plan").fetch_one(&database).await.unwrap();
    let plan: Value = serde_json::from_str(&text).unwrap();
    let zeros = Digest::default().to_hex();
    let unhashed = text.replace(plan["hash"].as_str().unwrap(), &zeros);
    let unhashed = unhashed.replacen("\"bytes\":", "\"of_another_version\":1.50,\"bytes\":", 1);
    let hash = Digest::of(unhashed.as_bytes()).to_hex();
    sqlx::query("UPDATE rollout_plan SET plan = ?1")
        .bind(unhashed.replace(&zeros, &hash))
        .execute(&database)
        .await
        .unwrap();
    complete(&fleet, &id, &device, new).await;
    let (answer, record) = record(&fleet, &id).await;
    assert_eq!((record["plan_hash"].as_str(), answer["plan"].as_str()), (Some(&*hash), Some(&*unhashed)));
    // What does not have its hash is not handed out.
    sqlx::query("UPDATE rollout_plan SET plan = replace(plan, '1.50', '1.51')")
        .execute(&database)
        .await
        .unwrap();
    assert_eq!(fleet.get(&format!("/rollouts/{id}/record")).await.status, 500);
}

#[tokio::test]
async fn figures_of_the_shadow_run_are_those_of_its_devices_in_this_rollout() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let device = fleet.labelled(1, Some(old), r#"{"site":"ams"}"#).await;
    let other = fleet.labelled(2, Some(old), r#"{"site":"rtm"}"#).await;
    // It has been in shadow there before, in a rollout that came to nothing.
    device.shadow(new, 1_000).await;
    let policy = simple("", "").replace("rest = true }", "labels = { site = \"ams\" } }\nshadow = \"10m\"");
    let id = planned(&fleet, "1.1.0", &policy).await;
    act(&fleet, &id, "start", json!({})).await;
    tick(&fleet).await;
    let a = device.assignment().await.unwrap();
    assert_eq!(a.slots[0].mode, Mode::Shadow);
    device.say(new, a.version, UpdateState::Shadowing, Some(old), None).await;
    device.shadow(new, 50).await;
    // Another rollout of the same model has the other device.
    other.shadow(new, 7).await;
    for minutes in [1, 12, 13] {
        tick_at(&fleet, now().plus_ms(minutes * 60_000)).await;
    }
    device.take(UpdateState::Committed).await;
    device.count(new, 100, 99).await;
    tick_at(&fleet, now().plus_ms(14 * 60_000)).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "completed", "{shown}");
    let (_, record) = record(&fleet, &id).await;
    let shadow = &record["shadow"];
    assert_eq!((&shadow["rows"], &shadow["agreed"]), (&json!(50), &json!(50)), "{shadow}");
    assert_eq!((&shadow["matrix"], &shadow["agreement"]["n"]), (&json!([[1, 1, 50]]), &json!(50)));
}
