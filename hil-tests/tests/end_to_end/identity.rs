//! An identity's whole life with real processes: it is renewed again and again while the agent is killed, comes back after
//! it has expired, moves to another board, and ends with a signed receipt.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_hil_tests::output;
use longshore_hil_tests::script::{
    ALL_AT_ONCE, await_state, build, enrol, make_keys, release, roll_out, set_up_fleet,
};
use longshore_hil_tests::stage::Stage;
use serde_json::Value;

/// Life of a certificate; in earnest a year.
const LIFE: Duration = Duration::from_secs(15);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
fn device(stage: &Stage, name: &str) -> Value {
    stage.api(&format!("/api/v1/devices/{name}")).unwrap()
}
fn online(stage: &Stage, name: &str) -> bool {
    device(stage, name)["online"] == true
}
fn certificate(state: &Path) -> String {
    std::fs::read_to_string(state.join("identity/cert.pem")).unwrap_or_default()
}
fn agent(stage: &Stage, i: usize, command: &str) -> Command {
    let mut agent = stage.program("longshore-agent");
    agent.args([command, "--config"]).arg(stage.device_dir(i).join("agent.toml"));
    agent
}
fn join(stage: &Stage, i: usize, token: &[&str]) {
    let device_url = format!("https://localhost:{}", stage.ports.device);
    let mut args = vec!["devices", "token", "--device-url", &device_url];
    args.extend(token);
    let made = stage.json(&args).unwrap();
    let file = stage.device_dir(i).join("token");
    std::fs::write(&file, made["token"].as_str().unwrap()).unwrap();
    let mut enrol = agent(stage, i, "enroll");
    enrol.args(["--device", &Stage::device(i), "--token-file"]).arg(&file);
    output(enrol).unwrap();
}

#[test]
fn an_identity_is_renewed_comes_back_moves_and_ends() {
    let dir = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap().keep();
    let mut stage = Stage::new(dir).unwrap();
    stage.fleet_config = format!("[certificates]\nlife_s = {}\n", LIFE.as_secs());
    make_keys(&stage).unwrap();
    set_up_fleet(&mut stage).unwrap();
    enrol(&mut stage, 2).unwrap();
    let (one, two) = (Stage::device(1), Stage::device(2));
    let states = [1, 2].map(|i| stage.device_dir(i).join("state"));
    build(&stage, "1.0.0").unwrap();
    release(&stage, "1.0.0").unwrap();
    let rollout = roll_out(&stage, "1.0.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();

    // Renewed while it works, more than once.
    for round in 1..=2 {
        let before = certificate(&states[0]);
        until(&format!("renewal {round}"), || certificate(&states[0]) != before);
    }
    until("the link with the new certificate", || online(&stage, &one));

    // Killed at any moment of it.
    let mut last = certificate(&states[1]);
    let mut renewed = 0;
    for kill in 0..8 {
        std::thread::sleep(Duration::from_millis(900 + 370 * kill));
        stage.kill(&two).unwrap();
        stage.start_agent(2).unwrap();
        let now = certificate(&states[1]);
        renewed += usize::from(now != last);
        last = now;
    }
    println!("killed 8 times, in {renewed} of the spans it was renewed");
    until("the link after all the kills", || online(&stage, &two));

    // Asleep for longer than its certificate lives.
    stage.kill(&two).unwrap();
    let asleep = certificate(&states[1]);
    std::thread::sleep(LIFE + Duration::from_secs(2));
    stage.start_agent(2).unwrap();
    until("a new certificate for an expired one", || certificate(&states[1]) != asleep);
    until("the link after the sleep", || online(&stage, &two));

    // The board is swapped: nothing of the old one is left, the new one gets what it should run.
    stage.kill(&two).unwrap();
    std::fs::remove_dir_all(&states[1]).unwrap();
    join(&stage, 2, &["--replace", &two]);
    stage.start_agent(2).unwrap();
    until("the new board serves", || {
        stage
            .status(2)
            .is_ok_and(|s| s["models"][0]["version"] == "1.0.0" && s["models"][0]["state"] == "committed")
    });
    assert!(online(&stage, &two));

    // Decommissioned: it tells, forgets, and does nothing any more.
    stage.json(&["devices", "decommission", &one, "--yes"]).unwrap();
    until("the receipt", || device(&stage, &one)["standing"] == "decommissioned");
    let receipts = device(&stage, &one)["wipe"]["receipts"].clone();
    assert_eq!((&receipts[0]["stage"], &receipts[1]["stage"]), (&"begun".into(), &"done".into()));
    until("the last file", || {
        states[0].join("decommissioned.json").exists() && !states[0].join("wipe.json").exists()
    });
    let mut left: Vec<_> = std::fs::read_dir(&states[0]).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["decommissioned.json", "lock"]);
    assert!(
        agent(&stage, 1, "run").status().unwrap().success(),
        "there is nothing to run, and that is no failure"
    );
    // It has ended by itself.
    stage.kill(&one).unwrap();
    // As a new device under its old name, with a new token.
    join(&stage, 1, &[]);
    stage.start_agent(1).unwrap();
    until("the device is back", || device(&stage, &one)["standing"] == "active" && online(&stage, &one));
    stage.strike();
}
