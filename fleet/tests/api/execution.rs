//! The executor with a database, a director and devices: from a plan to its end, whatever happens on the way.

use longshore_fleet::app::now;
use longshore_fleet::jobs::executor::{self, Scope};
use longshore_trust::{Digest, UnixMs};
use longshore_wire::v1::{CommandAction, Commit, UpdateState};
use serde_json::{Value, json};

use crate::support::{Device, Fleet, POLICY};

async fn tick(fleet: &Fleet) {
    executor::tick(&fleet.app, Scope::All, now()).await.unwrap();
}
async fn tick_in(fleet: &Fleet, ms: u64) {
    executor::tick(&fleet.app, Scope::All, now().plus_ms(ms)).await.unwrap();
}
async fn show(fleet: &Fleet, id: &str) -> Value {
    fleet.get(&format!("/rollouts/{id}")).await.json
}
async fn start(fleet: &Fleet, version: &str, policy: &str) -> String {
    let body = json!({ "model": "m", "version": version, "policy": policy });
    let planned = fleet.post("/rollouts", body).await.json;
    let id = planned["id"].as_str().unwrap_or_else(|| panic!("{planned}")).to_owned();
    let started = fleet.post(&format!("/rollouts/{id}/start"), json!({})).await.json;
    assert_eq!(started["state"], "running", "{started}");
    tick(fleet).await;
    id
}

/// The canary and the others.
async fn canary<'a>(
    fleet: &Fleet,
    id: &str,
    devices: &'a [Device<'a>],
) -> (&'a Device<'a>, Vec<&'a Device<'a>>) {
    let shown = show(fleet, id).await;
    let name = shown["waves"][0]["devices"][0]["device"].as_str().unwrap().to_owned();
    let (canary, others): (Vec<_>, Vec<_>) = devices.iter().partition(|d| d.id.as_str() == name);
    (canary[0], others)
}

async fn three<'a>(fleet: &'a Fleet, old: Digest) -> Vec<Device<'a>> {
    let mut out = Vec::new();
    for n in 1..=3 {
        out.push(fleet.device(n, Some(old)).await);
    }
    out
}

#[tokio::test]
async fn a_good_version_passes_its_canary_and_goes_everywhere() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let devices = three(&fleet, old).await;
    let id = start(&fleet, "1.1.0", POLICY).await;
    let (canary, others) = canary(&fleet, &id, &devices).await;

    let offered = canary.take(UpdateState::Probation).await;
    assert!(matches!(offered.probation.commit, Commit::Lease { lease_ms: 60_000 }));
    assert_eq!(offered.slots[0].manifest_path, "m/1.1.0/manifest.json");
    assert!(offered.targets_versions.iter().any(|t| t.role == "models/m" && t.version == 2));
    for other in &others {
        assert!(other.assignment().await.is_none(), "the rest waits for the canary");
    }
    canary.count(new, 200, 198).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["waves"][0]["state"], "soaking");
    tick_in(&fleet, 25_000).await;
    let commands = canary.commands().await;
    assert!(
        commands.iter().any(|c| c.action == CommandAction::Commit { version: offered.version }),
        "{commands:?}"
    );
    assert_eq!(show(&fleet, &id).await["waves"][0]["state"], "passed");
    canary.take(UpdateState::Committed).await;
    for other in &others {
        let a = other.take(UpdateState::Committed).await;
        assert_eq!(a.probation.commit, Commit::Local);
        other.count(new, 100, 99).await;
    }
    tick_in(&fleet, 30_000).await;
    let done = show(&fleet, &id).await;
    assert_eq!(done["state"], "completed", "{done}");
    its_record_is_sealed(&fleet, &id, new).await;
    let fleet_view = fleet.get("/fleet").await.json;
    assert_eq!(fleet_view["rows_counted"], 3 * 400 + 200 + 2 * 100);

    // A device that joins later gets what all have.
    let late = fleet.device(9, None).await;
    tick_in(&fleet, 31_000).await;
    tick_in(&fleet, 32_000).await;
    assert_eq!(late.assignment().await.unwrap().slots[0].sha256, new);
}

/// What completed is written down once, and the audit log names its hash.
async fn its_record_is_sealed(fleet: &Fleet, id: &str, bundle: Digest) {
    let answer = fleet.get(&format!("/rollouts/{id}/record")).await.json;
    let (text, plan) = (answer["record"].as_str().unwrap(), answer["plan"].as_str().unwrap());
    let at = answer["entry"].as_u64().unwrap();
    let entry = fleet.get(&format!("/audit/entries?cursor={at}&limit=1")).await.json["items"][0].clone();
    assert_eq!((&entry["action"], &entry["object"]), (&json!("rollout.record"), &json!(id)), "{entry}");
    let sealed = format!("sha256:{}", Digest::of(text.as_bytes()));
    assert!(entry["detail"].as_str().unwrap().starts_with(&sealed), "{entry}");
    let record: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        record["plan_hash"],
        Digest::of(plan.as_bytes()).to_hex(),
        "the plan is the one that is named"
    );
    assert_eq!(record["bundle"], bundle.to_hex());
    assert_eq!(record["devices"], json!({ "committed": 3 }));
    assert_eq!((&record["candidate"]["rows"], &record["candidate"]["correct"]), (&json!(400), &json!(396)));
    let did: Vec<&str> =
        record["people"].as_array().unwrap().iter().filter_map(|p| p["action"].as_str()).collect();
    assert_eq!(did, ["rollout.plan", "rollout.start"]);
    let gates = record["waves"][0]["verdict"]["gates"].as_array().unwrap();
    assert!(gates.iter().any(|g| g["gate"] == "accuracy" && g["outcome"] == "pass"), "{record}");
    assert_eq!(record["approved"]["role"], "models/m");
    assert!(!record["approved"]["keys"].as_array().unwrap().is_empty(), "{record}");
    // Later ticks write no second one.
    tick_in(fleet, 31_000).await;
    assert_eq!(fleet.get(&format!("/rollouts/{id}/record")).await.json, answer);
    let all = fleet.get("/audit/search?action=rollout.record").await.json;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
}

#[tokio::test]
async fn a_bad_version_is_taken_back_without_any_offline_key() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.2.0", 2, &[old]).await;
    let devices = three(&fleet, old).await;
    let id = start(&fleet, "1.2.0", POLICY).await;
    let (canary, others) = canary(&fleet, &id, &devices).await;
    let offered = canary.take(UpdateState::Probation).await;
    canary.count(new, 300, 231).await;
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(
        (&shown["state"], &shown["waves"][0]["state"]),
        (&json!("reverting"), &json!("failed")),
        "{shown}"
    );
    let gates = shown["waves"][0]["gates"].as_array().unwrap();
    let accuracy = gates.iter().find(|g| g["gate"] == "accuracy").unwrap();
    assert_eq!(accuracy["verdict"], "fail");
    assert!(accuracy["numbers"]["harm_lower"].as_f64().unwrap() > 0.02);

    let back = canary.take(UpdateState::Committed).await;
    assert_eq!(back.slots[0].sha256, old);
    assert!(back.version > offered.version && back.generation > offered.generation);
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "reverted", "{shown}");
    let none = fleet.get(&format!("/rollouts/{id}/record")).await;
    assert_eq!((none.status.as_u16(), &none.json["code"]), (404, &json!("rollout.no_record")));
    assert_eq!(shown["waves"][0]["devices"][0]["state"], "rolled_back");
    for other in others {
        assert!(other.assignment().await.is_none(), "nobody else ever saw it");
    }
}

#[tokio::test]
async fn a_first_version_has_nothing_to_be_compared_with_and_still_passes() {
    let fleet = Fleet::new().await;
    let new = fleet.release("1.0.0", 1, &[]).await;
    let device = fleet.device(1, None).await;
    let policy = POLICY.replace("select = { count = 1 }", "select = { ring = \"x\" }\noptional = true");
    let id = start(&fleet, "1.0.0", &policy).await;
    device.take(UpdateState::Committed).await;
    device.count(new, 150, 10).await;
    tick_in(&fleet, 5_000).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "completed", "{shown}");
    let gates = shown["waves"][1]["gates"].as_array().unwrap();
    assert_eq!(gates.iter().find(|g| g["gate"] == "accuracy").unwrap()["verdict"], "not_applicable");
}

#[tokio::test]
async fn a_halted_rollout_is_really_halted() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let devices = three(&fleet, old).await;
    let id = start(&fleet, "1.1.0", POLICY).await;
    let (canary, others) = canary(&fleet, &id, &devices).await;
    let offered = canary.take(UpdateState::Probation).await;
    tick(&fleet).await;
    assert_eq!(fleet.post(&format!("/rollouts/{id}/halt"), json!({})).await.json["state"], "halting");
    tick(&fleet).await;
    assert!(
        canary.commands().await.iter().any(|c| c.action == CommandAction::Halt { version: offered.version })
    );
    canary
        .say(offered.slots[0].sha256, offered.version, UpdateState::RolledBack, Some(old), Some("halt"))
        .await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["state"], "halted");
    for ms in [60_000, 600_000, 86_400_000] {
        tick_in(&fleet, ms).await;
    }
    for other in others {
        assert!(other.assignment().await.is_none());
    }
}

#[tokio::test]
async fn a_failed_wave_waits_for_a_person_who_retries_or_skips_it() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let devices = three(&fleet, old).await;
    let policy = POLICY.replace("\"revert\"", "\"pause\"");
    let id = start(&fleet, "1.1.0", &policy).await;
    let (canary, others) = canary(&fleet, &id, &devices).await;
    let a = canary.assignment().await.unwrap();
    canary.say(new, a.version, UpdateState::Failed, Some(old), Some("trial.golden_mismatch")).await;
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(shown["state"], "paused");
    assert!(shown["reason"].as_str().unwrap().starts_with("gate: wave 0 failed"), "{shown}");
    assert_eq!(shown["waves"][0]["devices"][0]["code"], "trial.golden_mismatch");

    fleet.post(&format!("/rollouts/{id}/resume"), json!({ "wave": "retry" })).await;
    tick(&fleet).await;
    let again = canary.assignment().await.unwrap();
    assert!(again.version > a.version, "the loop guard of a device wants a new version");
    canary.say(new, again.version, UpdateState::Failed, Some(old), Some("trial.golden_mismatch")).await;
    tick(&fleet).await;
    assert_eq!(show(&fleet, &id).await["state"], "paused");

    fleet.post(&format!("/rollouts/{id}/resume"), json!({ "wave": "skip" })).await;
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    assert_eq!((&shown["state"], &shown["waves"][0]["skipped"]), (&json!("running"), &json!(true)));
    assert_eq!(shown["waves"][1]["state"], "offering");
    assert!(others[0].assignment().await.is_some());
}

#[tokio::test]
async fn a_step_that_is_asked_for_again_does_nothing_again() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let devices = three(&fleet, old).await;
    let id = start(&fleet, "1.1.0", POLICY).await;
    let (canary, _) = canary(&fleet, &id, &devices).await;
    let first = canary.assignment().await.unwrap();
    let etag = show(&fleet, &id).await["etag"].clone();
    for _ in 0..5 {
        tick(&fleet).await;
    }
    assert_eq!(canary.assignment().await.unwrap().version, first.version);
    assert_eq!(show(&fleet, &id).await["etag"], etag);
}

#[tokio::test]
async fn leases_are_renewed_while_the_wave_is_open_also_when_it_is_paused() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    let devices = three(&fleet, old).await;
    let id = start(&fleet, "1.1.0", POLICY).await;
    let (canary, _) = canary(&fleet, &id, &devices).await;
    let offered = canary.take(UpdateState::Probation).await;
    tick(&fleet).await;
    fleet.post(&format!("/rollouts/{id}/pause"), json!({})).await;
    tick_in(&fleet, 21_000).await;
    let renewals = |commands: Vec<longshore_wire::v1::Command>| {
        commands.iter().filter(|c| c.action == CommandAction::RenewLease { version: offered.version }).count()
    };
    assert_eq!(renewals(canary.commands().await), 1);
    tick_in(&fleet, 42_000).await;
    assert_eq!(renewals(canary.commands().await), 2);
}

#[tokio::test]
async fn nothing_waits_for_ever() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    three(&fleet, old).await;
    let id = start(&fleet, "1.1.0", POLICY).await;
    tick_in(&fleet, 3_600_001).await;
    let shown = show(&fleet, &id).await;
    assert_eq!(
        (&shown["state"], &shown["waves"][0]["state"]),
        (&json!("paused"), &json!("inconclusive")),
        "{shown}"
    );
    let week = UnixMs(8 * 86_400_000).0;
    tick_in(&fleet, week).await;
    tick_in(&fleet, week + 3_600_000).await;
    assert_eq!(show(&fleet, &id).await["state"], "halted");
}

#[tokio::test]
async fn gates_are_told_latency_golden_outputs_and_what_changed_without_the_version() {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    let new = fleet.release("1.1.0", 2, &[old]).await;
    let mut devices = Vec::new();
    for n in 1..=8 {
        devices.push(fleet.device(n, Some(old)).await);
    }
    let policy = POLICY.replace(
        "accuracy_drop = 0.02",
        "accuracy_drop = 0.02\nlatency_p99_ratio = 1.5\ngolden_deviation = 1e-3",
    );
    let id = start(&fleet, "1.1.0", &policy).await;
    let (canary, others) = canary(&fleet, &id, &devices).await;
    let offered = canary.take(UpdateState::Probation).await;
    canary.tried(&id, &offered, 0.5).await;
    // The canary lost ten points, and so did everybody else in the same time: that is not the version's doing.
    canary.count_within(new, 400, 350, 10_000.0).await;
    for other in &others {
        other.count(old, 400, 350).await;
    }
    tick(&fleet).await;
    let shown = show(&fleet, &id).await;
    let gates = shown["waves"][0]["gates"].as_array().unwrap();
    let of =
        |name: &str| gates.iter().find(|g| g["gate"] == name).unwrap_or_else(|| panic!("{name}: {shown}"));
    let latency = of("latency_p99_ratio");
    assert!((latency["value"].as_f64().unwrap() - 20.0).abs() < 0.8, "{latency}");
    assert_eq!(
        (&latency["verdict"], &shown["waves"][0]["state"]),
        (&json!("fail"), &json!("failed")),
        "{shown}"
    );
    let accuracy = of("accuracy");
    assert_eq!(accuracy["numbers"]["control_devices"], 7.0, "{accuracy}");
    assert!(accuracy["value"].as_f64().unwrap().abs() < 0.02, "{accuracy}");
    assert_eq!(of("golden_deviation")["numbers"]["devices"], 1.0, "{shown}");
}
