//! The agent of a foreign CPU, cross-built as shipped and run by user emulation.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use longshore_hil_tests::{output, root};
use serde_json::Value;

use super::engine::trial;
use super::example_bundle;

const TRIPLE: &str = "aarch64-unknown-linux-musl";
const EMULATOR: &str = "qemu-aarch64-static";

/// The cross-built agent: `CROSS_BUILT_AGENT`, which `cargo xtask test --slow` sets, or built now.
fn cross_built() -> Result<PathBuf> {
    if let Some(agent) = std::env::var_os("CROSS_BUILT_AGENT") {
        return Ok(agent.into());
    }
    let mut build = Command::new("cargo");
    build.current_dir(root()).args(["xtask", "cross", TRIPLE]);
    println!("{}", output(build)?);
    let mut ask = Command::new("cargo");
    ask.current_dir(root()).args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&output(ask)?)?;
    let target = metadata["target_directory"].as_str().context("cargo names no target directory")?;
    Ok(Path::new(target).join("cross").join(TRIPLE).join("edge/longshore-agent"))
}

fn emulator() -> Result<PathBuf> {
    let mut ask = Command::new(EMULATOR);
    ask.arg("--version");
    output(ask)
        .with_context(|| format!("{EMULATOR} is needed; on Debian, apt-get install qemu-user-static"))?;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|p| p.join(EMULATOR)).find(|p| p.is_file()).context("it has gone again")
}

#[test]
#[ignore = "slow: cross-builds the agent and needs qemu-user-static"]
fn the_aarch64_agent_runs_doctor_and_a_bundle_test() -> Result<()> {
    let agent = cross_built()?;
    let emulator = emulator()?;

    let folder = tempfile::tempdir()?;
    let config = folder.path().join("agent.toml");
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(&config, format!("state_dir = {:?}\nrun_dir = {:?}\n", place("state"), place("run")))?;
    std::fs::create_dir(folder.path().join("state"))?;
    std::fs::create_dir(folder.path().join("run"))?;
    let mut doctor = Command::new(&emulator);
    // Variables of this test would be settings of the agent.
    doctor.env_clear().arg(&agent).args(["doctor", "--config"]).arg(&config);
    let said = output(doctor)?;
    println!("{said}");
    ensure!(said.contains("state directory") && said.contains("kernel"), "doctor checks too little: {said}");

    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        let bundle = folder.path().join(version);
        example_bundle(version, &bundle)?;
        let verdict = trial(&[&emulator, &agent], &bundle)?;
        println!("{version}: {verdict:?}");
        let report =
            verdict.map_err(|reason| anyhow::anyhow!("{version}: {}: {}", reason.code, reason.detail))?;
        ensure!(report.golden_rows == 16, "{version}: {} golden rows instead of 16", report.golden_rows);
    }
    Ok(())
}
