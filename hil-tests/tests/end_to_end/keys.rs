//! Key ceremonies with real processes: made on files alone, published by the fleet, followed by a device.

use std::time::Duration;

use longshore_hil_tests::script::{ALL_AT_ONCE, MODEL, await_state, build, release, roll_out};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{bin_dir, output, root, shell_blocks};
use serde_json::Value;

use crate::fleet;

/// A new key in `keys/offline` (or `online`), by its name.
fn new_key(stage: &Stage, role: &str, file: &str) {
    stage.json(&["keys", "new", "--role", role, "--out", file, "--no-passphrase"]).unwrap();
}
fn rotate(stage: &Stage, role: &str, draft: &str, more: &[&str]) -> Value {
    let mut args = vec!["keys", "rotate", role, "--draft", draft];
    args.extend(more);
    stage.json(&args).unwrap()
}
fn sign_and_submit(stage: &Stage, draft: &str) -> Value {
    let signed = stage.json(&["keys", "sign", draft, "--keys", "keys/offline", "--yes"]).unwrap();
    assert_eq!(signed["complete"], true, "{signed}");
    stage.json(&["keys", "submit", draft]).unwrap()
}
fn deliver(stage: &mut Stage, version: &str) {
    build(stage, version).unwrap();
    release(stage, version).unwrap();
    let rollout = roll_out(stage, version, ALL_AT_ONCE).unwrap();
    await_state(stage, &rollout, "completed", Duration::from_secs(60)).unwrap();
}
fn trusted(stage: &Stage, role: &str) -> u64 {
    stage.status(1).unwrap()["trust"][role].as_u64().unwrap_or(0)
}

#[test]
fn a_solo_fleet_is_raised_to_two_of_three_and_its_device_follows() {
    let mut stage = fleet(1);
    deliver(&mut stage, "1.0.0");
    assert_eq!(stage.api("/api/v1/fleet").unwrap()["solo"], true);

    stage.json(&["keys", "status"]).unwrap();
    for role in ["root", "targets", "release"] {
        let files = [2, 3].map(|n| format!("keys/offline/{role}-{n}"));
        for file in &files {
            new_key(&stage, role, &format!("{file}.key"));
        }
        let [b, c] = files.map(|f| format!("{f}.pub"));
        rotate(&stage, role, "raise.draft", &["--add", &b, "--add", &c, "--threshold", "2"]);
    }
    let published = sign_and_submit(&stage, "raise.draft");
    let roles: Vec<&str> =
        published["published"].as_array().unwrap().iter().map(|p| p["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["root", "targets", &format!("models/{MODEL}")]);
    assert_eq!(stage.api("/api/v1/fleet").unwrap()["solo"], false);
    let status = stage.json(&["keys", "status"]).unwrap();
    assert!(
        status["roles"].as_array().unwrap().iter().all(|r| {
            let online = ["snapshot", "timestamp", "director", "time"].contains(&r["role"].as_str().unwrap());
            r["threshold"] == if online { 1 } else { 2 }
        }),
        "{status}"
    );

    // A timer sees it coming: root expires within 400 days, with and without the server.
    let code = |args: &[&str]| stage.longshore(args).output().unwrap().status.code();
    assert_eq!(code(&["keys", "status", "--within", "400"]), Some(4));
    assert_eq!(code(&["keys", "status", "--within", "400", "--offline"]), Some(4));
    assert_eq!(code(&["keys", "status", "--offline"]), Some(0));

    // One key alone approves nothing any more; two do, and the device takes what they approved.
    build(&stage, "1.1.0").unwrap();
    stage.json(&["publish", "bundles/1.1.0", "--wait"]).unwrap();
    let bundle = format!("{MODEL}@1.1.0");
    let one = stage.json(&["approve", &bundle, "--key", "keys/offline/release-3.key", "--yes"]).unwrap();
    assert_eq!(one["state"], "pending");
    let two = stage.json(&["approve", &bundle, "--key", "keys/offline/release-1.key", "--yes"]).unwrap();
    assert_eq!(two["state"], "published");
    let rollout = roll_out(&stage, "1.1.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();
    assert_eq!(trusted(&stage, "root"), 2);
    stage.strike();
}

#[test]
fn every_online_key_is_rotated_and_a_device_follows_the_new_director() {
    let mut stage = fleet(1);
    deliver(&mut stage, "1.0.0");
    stage.json(&["keys", "status"]).unwrap();
    for role in ["snapshot", "timestamp", "director", "time"] {
        new_key(&stage, role, &format!("keys/{role}-2.key"));
        let (add, remove) = (format!("keys/{role}-2.pub"), format!("keys/online/{role}.key"));
        rotate(&stage, role, "online.draft", &["--add", &add, "--remove", &remove]);
    }
    let signed = stage.json(&["keys", "sign", "online.draft", "--keys", "keys/offline", "--yes"]).unwrap();
    assert_eq!(signed["complete"], true);
    // The server must hold the new keys before it serves a root that names them.
    let refused = stage.json(&["keys", "submit", "online.draft"]).unwrap_err().to_string();
    assert!(refused.contains("online"), "{refused}");
    for role in ["snapshot", "timestamp", "director", "time"] {
        let file = format!("{role}-2.key");
        std::fs::copy(stage.dir.join("keys").join(&file), stage.dir.join("fleet/online").join(&file))
            .unwrap();
    }
    stage.json(&["keys", "submit", "online.draft"]).unwrap();
    for role in ["snapshot", "timestamp", "director", "time"] {
        std::fs::remove_file(stage.dir.join("fleet/online").join(format!("{role}.key"))).unwrap();
    }
    deliver(&mut stage, "1.1.0");
    assert_eq!(trusted(&stage, "root"), 2);
    stage.kill("fleet").unwrap();
    stage.start_fleet().unwrap();
    deliver(&mut stage, "1.2.0");
    stage.strike();
}

/// `docs/guides/keys.md`: every `sh` block, in order, in one shell.
#[test]
fn the_runbook_does_what_it_says() {
    let mut stage = fleet(1);
    deliver(&mut stage, "1.0.0");
    let script = shell_blocks(&std::fs::read_to_string(root().join("docs/guides/keys.md")).unwrap());
    assert!(script.contains("keys revoke") && script.contains("keys renew"), "the blocks were not found");
    let mut shell = std::process::Command::new("bash");
    let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
    shell.args(["-c", &format!("set -euo pipefail\n{script}")]).current_dir(&stage.dir);
    shell.env("PATH", path).env("XDG_CONFIG_HOME", stage.dir.join("config"));
    let said = output(shell).unwrap();
    for part in ["the fleet is no longer marked as solo", "2 of 3", " leaves", "no change but its validity"] {
        assert!(said.contains(part), "{part:?} is not in what the commands printed:\n{said}");
    }
    build(&stage, "1.1.0").unwrap();
    stage.json(&["publish", "bundles/1.1.0", "--wait"]).unwrap();
    let bundle = format!("{MODEL}@1.1.0");
    let one = stage.json(&["approve", &bundle, "--keys", "keys/offline", "--yes"]).unwrap();
    assert_eq!(one["state"], "pending");
    let gone = stage.json(&["approve", &bundle, "--key", "holder-3/release-3.key", "--yes"]);
    assert!(gone.unwrap_err().to_string().contains("none of the keys at hand is a release key"));
    let two = stage.json(&["approve", &bundle, "--key", "holder-2/release-2.key", "--yes"]).unwrap();
    assert_eq!(two["state"], "published");
    let rollout = roll_out(&stage, "1.1.0", ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60)).unwrap();
    assert_eq!(trusted(&stage, "root"), 4);
    stage.strike();
}
