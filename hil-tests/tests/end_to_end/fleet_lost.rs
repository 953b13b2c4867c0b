//! The fleet goes away, for long or for good: devices go on, and nothing they hold is lost.

use std::time::{Duration, Instant};

use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::script::{
    ALL_AT_ONCE, MODEL, await_state, build, build_as, release, roll_out, settle,
};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{output, root};

use crate::fleet;

#[test]
fn devices_keep_serving_while_the_fleet_is_down_and_an_older_backup_loses_nothing() {
    let mut stage = fleet(2);
    build(&stage, "1.0.0").unwrap();
    release(&stage, "1.0.0").unwrap();
    let rollout = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();

    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let sockets = [stage.socket(1), stage.socket(2)];
    let load = Load::start(&sockets, rows.clone(), Duration::from_millis(10));
    std::thread::sleep(Duration::from_secs(2));
    back_up(&stage);
    // Counted and receipted after the backup: only the devices' replay rings still hold these rows.
    std::thread::sleep(Duration::from_secs(5));
    stage.kill("fleet").unwrap();
    let before = load.tally.served();
    std::thread::sleep(Duration::from_secs(4));
    assert!(load.tally.served() > before + 100, "devices answer without a fleet");
    let tally = load.stop();
    assert_eq!((tally.aborted(), tally.refused()), (0, 0));

    restore(&stage);
    stage.start_fleet().unwrap();
    let totals = settle(&mut stage, 2).unwrap();
    assert_eq!((totals.counted, totals.journalled), (tally.served(), tally.served()));
    stage.strike();
}

fn back_up(stage: &Stage) {
    let mut backup = stage.program("longshore-fleet");
    backup.args(["backup", "--data", "fleet", "--out", "backup"]);
    output(backup).unwrap();
}

/// The fleet that is not running is lost, and the backup takes its place.
fn restore(stage: &Stage) {
    std::fs::rename(stage.dir.join("fleet"), stage.dir.join("lost")).unwrap();
    let mut restore = stage.program("longshore-fleet");
    restore.args(["restore", "--from", "backup", "--data", "fleet"]);
    output(restore).unwrap();
}

/// Version that each device serves, and the number of the last assignment it accepted.
fn held(stage: &Stage) -> Vec<(String, u64)> {
    let of = |i: usize| {
        let status = stage.status(i).unwrap();
        let version = status["models"][0]["version"].as_str().unwrap_or_default().to_owned();
        (version, status["assignment_version"].as_u64().unwrap())
    };
    vec![of(1), of(2)]
}

/// Waits until the fleet says of both devices that they serve `version`.
fn until_told(stage: &Stage, version: &str) {
    let begun = Instant::now();
    let told = |i| {
        let device = stage.api(&format!("/api/v1/devices/{}", Stage::device(i))).unwrap();
        let models = device["models"].as_array().unwrap();
        models.iter().any(|m| m["model"] == MODEL && m["version"] == version)
    };
    while !(told(1) && told(2)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the fleet never learns that {version} is served");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_fleet_from_before_a_rollout_learns_what_devices_hold_and_takes_nothing_back() {
    let mut stage = fleet(2);
    for (weights, version) in [("1.0.0", "1.0.0"), ("1.1.0", "1.1.0"), ("1.1.0", "1.3.0")] {
        build_as(&stage, weights, version).unwrap();
        release(&stage, version).unwrap();
    }
    let first = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &first, "completed", Duration::from_secs(60)).unwrap();
    back_up(&stage);
    let second = roll_out(&stage, "1.1.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &second, "completed", Duration::from_secs(60)).unwrap();
    let before = held(&stage);
    assert!(before.iter().all(|(v, _)| v == "1.1.0"), "{before:?}");

    stage.kill("fleet").unwrap();
    restore(&stage);
    stage.start_fleet().unwrap();
    assert!(stage.json(&["rollout", "show", &second]).is_err(), "the backup knows nothing of the rollout");
    until_told(&stage, "1.1.0");
    let fleet = stage.api("/api/v1/fleet").unwrap();
    assert_eq!(fleet["devices_ahead"], 2, "the fleet says that devices know more than it does: {fleet}");
    // Whatever the restored fleet has sent by now: nothing fell.
    for ((version, assigned), (_, known)) in held(&stage).iter().zip(&before) {
        assert!(version == "1.1.0" && assigned >= known, "{version} {assigned}, before {known}");
    }
    // And it is obeyed again: its numbers go on after those that it has forgotten.
    let third = roll_out(&stage, "1.3.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &third, "completed", Duration::from_secs(90)).unwrap();
    until_told(&stage, "1.3.0");
    for ((version, assigned), (_, known)) in held(&stage).iter().zip(&before) {
        assert!(version == "1.3.0" && assigned > known, "{version} {assigned}, before {known}");
    }
    let fleet = stage.api("/api/v1/fleet").unwrap();
    assert_eq!(fleet["devices_ahead"], 0, "{fleet}");
    stage.strike();
}
