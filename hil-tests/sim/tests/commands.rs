//! The program as people and pipelines call it; every command of docs/simulation.md is executed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}
fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longshore-sim")).args(args).current_dir(root()).output().unwrap()
}
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_commands_of_the_guide_run_as_they_stand() {
    let guide = std::fs::read_to_string(root().join("docs/simulation.md")).unwrap();
    let commands: Vec<&str> = guide
        .lines()
        .filter(|l| l.starts_with("longshore-sim "))
        .map(|l| l.split('#').next().unwrap().trim())
        .collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for command in commands {
        let args: Vec<&str> = command.split_whitespace().skip(1).collect();
        let out = sim(&args);
        assert!(out.status.success(), "{command}: {}{}", text(&out.stdout), text(&out.stderr));
    }
    for (rule, _) in longshore_sim::oracle::RULES {
        assert!(guide.contains(&format!("| `{rule}` |")), "the guide does not tell of the rule {rule}");
    }
}

#[test]
fn without_further_ado_it_plays_careful_and_answers_json() {
    let out = sim(&["run", "--devices", "50", "--seed", "1", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["devices"], 50);
    assert!(told["broken"].is_null() && told["checks"].as_u64() > Some(1_000), "{told}");
}

#[test]
fn a_run_that_fails_is_made_small_and_can_be_played_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let scenario = dir.path().join("wrong.toml");
    let noise = "[[at]]\ntime = \"1h\"\nact = \"session_loss\"\n".repeat(4);
    let told = format!(
        "devices = 40\nexpect = \"halted\"\n[[at]]\ntime = \"10m\"\nact = \"start\"\n{noise}[faults]\nloss = 0.1\n"
    );
    std::fs::write(&scenario, told).unwrap();
    let failed = sim(&["run", "--scenario", scenario.to_str().unwrap(), "--seed", "5", "--out", out]);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    assert!(text(&failed.stdout).contains("was to end as halted"), "{}", text(&failed.stdout));
    let small = dir.path().join("sim-failure-5.toml");
    let kept = longshore_sim::Scenario::parse(&std::fs::read_to_string(&small).unwrap()).unwrap();
    assert!(kept.at.len() <= 1 && kept.faults.loss == 0.0, "{kept:?}");
    let again = sim(&["replay", small.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stdout).contains("was to end as halted"), "{}", text(&again.stdout));
}

#[test]
fn what_cannot_be_played_is_refused_with_a_reason() {
    let out = sim(&["run", "--devices", "0"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("1 to 1000000"), "{}", text(&out.stderr));
    let out = sim(&["replay", "no-such-file.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("no-such-file.toml"), "{}", text(&out.stderr));
}
