//! `docs/guides/quickstart.md`, run as it stands: every `sh` block, in order, in one shell.

use std::process::Command;

use longshore_hil_tests::{bin_dir, output, root, shell_blocks};

#[test]
fn the_quick_start_does_what_it_says() {
    let text = std::fs::read_to_string(root().join("docs/guides/quickstart.md")).unwrap();
    let script = shell_blocks(&text);
    assert!(script.contains("rollout start") && script.contains("curl"), "the blocks were not found");
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
    shell.args([
        "-c",
        &format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"),
    ]);
    shell.current_dir(dir.path()).env("PATH", path).env("REPO", root());
    shell.env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME");
    let said = output(shell).unwrap_or_else(|e| {
        let log = |name| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        panic!("{e:#}\n--- fleet.log\n{}\n--- agent.log\n{}", log("fleet.log"), log("agent.log"))
    });
    for part in ["approved", "\"probabilities\"", "bench-1", "meter-digits@1.0.0 committed"] {
        assert!(said.contains(part), "{part:?} is not in what the commands printed:\n{said}");
    }
}
