//! `longshore policy` without a server: the commands of docs/rollouts.md, and what they say about mistakes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn longshore(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("LONGSHORE_URL")
        .env_remove("LONGSHORE_TOKEN")
        .output()
        .unwrap()
}
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_shipped_policy_is_shown_and_right() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["careful", "fast", "emergency"] {
        let shown = longshore(dir.path(), &["policy", "show", name]);
        assert!(shown.status.success());
        let file = dir.path().join("p.toml");
        std::fs::write(&file, &shown.stdout).unwrap();
        let checked = longshore(dir.path(), &["policy", "check", "p.toml"]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
        assert!(text(&checked.stdout).starts_with(&format!("{name}: ")), "{}", text(&checked.stdout));
    }
    let json = longshore(dir.path(), &["--json", "policy", "show", "fast"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["policy"]["name"], "fast");
    let none = longshore(dir.path(), &["policy", "show", "none"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("careful, fast, emergency"), "{}", text(&none.stderr));
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = "name = \"x\"\npriority = 5000\n[[wave]]\nselect = { count = 0 }\n[gate]\ndeadline = \"1h\"\non_fail = \"pause\"\n[window]\ncron = \"often\"\nduration = \"1h\"\n";
    std::fs::write(dir.path().join("p.toml"), wrong).unwrap();
    let said = longshore(dir.path(), &["policy", "check", "p.toml"]);
    assert_eq!(said.status.code(), Some(1));
    let lines: Vec<String> =
        text(&said.stdout).lines().map(|l| l.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(lines, ["p.toml:2", "p.toml:4", "p.toml:9"], "{}", text(&said.stdout));
    let json = longshore(dir.path(), &["--json", "policy", "check", "p.toml"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json["ok"].as_bool(), json["mistakes"].as_array().unwrap().len()), (Some(false), 3));
    let gone = longshore(dir.path(), &["policy", "check", "none.toml"]);
    assert_eq!(gone.status.code(), Some(2));
}
