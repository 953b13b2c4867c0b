//! `cargo xtask bench sim`: the policy `careful` over 10,000 and 100,000 simulated devices, side by side.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::rounded;
use crate::run::{command, output};

/// Most events, checks and instructions a device, large fleet over small: what grows faster than the fleet shows here.
const WORK_RATIO: f64 = 1.3;
/// Longest runs, seconds, and most memory of the large one, MiB.
const SMALL_S: f64 = 60.0;
const LARGE_S: f64 = 120.0;
const LARGE_MIB: u64 = 2_000_000_000 >> 20;

/// Work, time and memory of both sizes, and their ratios a device. Why the mark is on work and not on time:
/// `docs/adr/0011-work-a-device-not-time-a-device.md`.
///
/// # Errors
/// When a run fails or a mark is missed.
pub fn run(_: &Path) -> Result<Value> {
    let program = crate::sim::program(false)?.display().to_string();
    let measure = |devices: u64| -> Result<Value> {
        let start = Instant::now();
        let printed =
            output(command(&program, &["run", "--devices", &devices.to_string(), "--seed", "1", "--json"]))?;
        let seconds = start.elapsed().as_secs_f64();
        let told: Value =
            serde_json::from_str(printed.lines().last().context("the simulator printed nothing")?)?;
        let state = told["rollouts"][0]["state"].as_str().unwrap_or_default();
        ensure!(state == "completed", "the rollout over {devices} devices is {state}");
        let events = told["events"].as_u64().unwrap_or(0);
        Ok(json!({
            "devices": devices, "seconds": rounded(seconds), "events": events, "checks": told["checks"],
            "peak_mib": told["peak_kib"].as_u64().unwrap_or(0) / 1024, "simulated_hours": told["hours"],
            "us_a_device": rounded(seconds * 1e6 / devices as f64),
        }))
    };
    let (small, large) = (measure(10_000)?, measure(100_000)?);
    let ratio = |what: &str| {
        let a_device =
            |v: &Value| v[what].as_f64().unwrap_or(f64::NAN) / v["devices"].as_f64().unwrap_or(f64::NAN);
        rounded(a_device(&large) / a_device(&small))
    };
    let instructions = instructions(&program)?;
    let mut work = vec![("events", ratio("events")), ("checks", ratio("checks"))];
    work.extend(instructions.map(|ratio| ("instructions", ratio)));
    for (what, ratio) in work {
        ensure!(
            ratio <= WORK_RATIO,
            "{what} a device: {ratio} times as many in the large fleet (mark {WORK_RATIO})"
        );
    }
    for (run, most) in [(&small, SMALL_S), (&large, LARGE_S)] {
        let seconds = run["seconds"].as_f64().unwrap_or(f64::NAN);
        ensure!(seconds <= most, "{} devices took {seconds} s (mark {most})", run["devices"]);
    }
    let mib = large["peak_mib"].as_u64().unwrap_or(u64::MAX);
    ensure!(mib <= LARGE_MIB, "100000 devices took {mib} MiB (mark {LARGE_MIB})");
    Ok(json!({
        "runs": [small, large], "events_a_device_ratio": ratio("events"), "checks_a_device_ratio": ratio("checks"),
        "instructions_a_device_ratio": instructions, "time_a_device_ratio": ratio("seconds"),
    }))
}

/// Instructions a device, of 20,000 devices over 2,000, as valgrind counts them; `None` where there is no valgrind.
fn instructions(program: &str) -> Result<Option<f64>> {
    if command("valgrind", &["--version"]).output().is_err() {
        eprintln!("instructions are not counted: install valgrind (Debian: apt install valgrind)");
        return Ok(None);
    }
    let count = |devices: u64| -> Result<f64> {
        let devices_text = devices.to_string();
        let tool = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];
        let simulate = [program, "run", "--devices", &devices_text, "--seed", "1", "--json"];
        let run = command("valgrind", &[&tool[..], &simulate[..]].concat()).output().context("valgrind")?;
        let told = String::from_utf8_lossy(&run.stderr);
        ensure!(run.status.success(), "under valgrind, {devices} devices: {told}");
        let refs = told.lines().find_map(|l| l.split_once("refs:")).context("valgrind counted nothing")?.1;
        Ok(refs.trim().replace(',', "").parse::<f64>().context("what valgrind counted")? / devices as f64)
    };
    Ok(Some(rounded(count(20_000)? / count(2_000)?)))
}
