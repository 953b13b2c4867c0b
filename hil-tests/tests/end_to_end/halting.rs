//! A halt halts, with and without the fleet: what is not committed goes back, what commits locally stays.

use std::time::{Duration, Instant};

use longshore_hil_tests::script::{ALL_AT_ONCE, MODEL, await_state, build_as, release, roll_out};
use longshore_hil_tests::stage::Stage;
use serde_json::{Value, json};

use crate::fleet;

/// The lease of a canary. Its device must be back so long, and a little, after the last word of the fleet.
const LEASE: Duration = Duration::from_secs(10);
const A_LITTLE: Duration = Duration::from_secs(20);

/// A canary that stays on its lease for longer than any of these tests.
const CANARY: &str = r#"name = "canary"
[[wave]]
select = { count = 1 }
soak = "5m"
probation = "1s"
lease = "10s"
[[wave]]
select = { rest = true }
[gate]
min_devices = 1
deadline = "10m"
on_fail = "halt"
on_inconclusive = "pause"
"#;

/// Two devices that run 1.0.0, and 1.1.0 approved.
fn stage() -> Stage {
    let mut stage = fleet(2);
    for version in ["1.0.0", "1.1.0"] {
        build_as(&stage, version, version).unwrap();
        release(&stage, version).unwrap();
    }
    let first = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &first, "completed", Duration::from_secs(60)).unwrap();
    stage
}

fn model(stage: &Stage, device: usize) -> Value {
    let status = stage.status(device).unwrap();
    let found = status["models"].as_array().and_then(|m| m.iter().find(|m| m["model"] == MODEL).cloned());
    // A device that was enrolled a moment ago has none.
    found.unwrap_or_default()
}
fn runs(stage: &Stage, device: usize, version: &str, state: &str) -> bool {
    let model = model(stage, device);
    model["version"] == version && model["state"] == state
}
fn until(stage: &mut Stage, what: &str, mut done: impl FnMut(&Stage) -> bool) {
    let begun = Instant::now();
    while !done(stage) {
        let told = [1, 2].map(|i| model(stage, i));
        assert!(begun.elapsed() < Duration::from_secs(90), "never {what}: {told:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Starts the rollout with the canary and waits until its device answers with the new version; device and rollout.
fn canary(stage: &mut Stage) -> (usize, String) {
    let rollout = roll_out(stage, "1.1.0", CANARY).unwrap();
    until(stage, "a canary on probation", |s| [1, 2].iter().any(|i| runs(s, *i, "1.1.0", "probation")));
    let device = if runs(stage, 1, "1.1.0", "probation") { 1 } else { 2 };
    (device, rollout)
}

#[test]
fn a_halt_takes_back_what_is_not_committed_and_starts_nothing_more() {
    let mut stage = stage();
    let (device, rollout) = canary(&mut stage);
    stage.json(&["rollout", "halt", &rollout, "--yes"]).unwrap();
    await_state(&mut stage, &rollout, "halted", Duration::from_secs(60)).unwrap();
    until(&mut stage, "back", |s| runs(s, device, "1.0.0", "rolled_back"));
    let why = model(&stage, device)["reason"].as_str().unwrap().to_owned();
    assert!(why.starts_with("halt: "), "{why}");
    assert_eq!(model(&stage, 3 - device)["version"], "1.0.0", "the other wave never began");
    // A device that comes late gets what the fleet runs, not what was halted.
    longshore_hil_tests::script::enrol_one(&mut stage, 3).unwrap();
    until(&mut stage, "served on a device that is new", |s| runs(s, 3, "1.0.0", "committed"));
    let shown = stage.json(&["rollout", "show", &rollout]).unwrap();
    assert_eq!(shown["state"], "halted", "{shown}");
    stage.strike();
}

#[test]
fn a_canary_goes_back_within_its_lease_when_the_fleet_is_dead() {
    let mut stage = stage();
    let (device, rollout) = canary(&mut stage);
    stage.kill("fleet").unwrap();
    let begun = Instant::now();
    until(&mut stage, "back", |s| runs(s, device, "1.0.0", "rolled_back"));
    let took = begun.elapsed();
    eprintln!("back {:.1} s after the fleet was killed, lease {} s", took.as_secs_f64(), LEASE.as_secs());
    assert!(took <= LEASE + A_LITTLE, "{took:?}");
    let why = model(&stage, device)["reason"].as_str().unwrap().to_owned();
    assert!(why.starts_with("lease.lapsed"), "{why}");
    // That the fleet was away is not held against the version: when it is back, the canary tries again, and nobody else.
    stage.start_fleet().unwrap();
    until(&mut stage, "tried again", |s| runs(s, device, "1.1.0", "probation"));
    assert_eq!(model(&stage, 3 - device)["version"], "1.0.0");
    stage.json(&["rollout", "halt", &rollout, "--yes"]).unwrap();
    await_state(&mut stage, &rollout, "halted", Duration::from_secs(60)).unwrap();
    until(&mut stage, "back again", |s| runs(s, device, "1.0.0", "rolled_back"));
    stage.strike();
}

#[test]
fn devices_that_commit_locally_keep_the_version_when_the_fleet_is_dead() {
    let mut stage = stage();
    let slow = ALL_AT_ONCE.replace("500ms", "8s");
    let rollout = roll_out(&stage, "1.1.0", &slow).unwrap();
    until(&mut stage, "on probation", |s| [1, 2].iter().all(|i| runs(s, *i, "1.1.0", "probation")));
    stage.kill("fleet").unwrap();
    until(&mut stage, "committed alone", |s| [1, 2].iter().all(|i| runs(s, *i, "1.1.0", "committed")));
    let status = stage.status(1).unwrap();
    assert_eq!(status["link"]["up"], json!(false), "{status}");
    stage.start_fleet().unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();
    stage.strike();
}
