//! `cargo xtask bench sim`: the policy `careful` over 10,000 and 100,000 simulated devices, side by side.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::rounded;
use crate::run::{command, output};

/// Time and memory of both sizes, and the ratio of the times a device.
///
/// # Errors
/// When a run fails.
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
    let of = |v: &Value| v["us_a_device"].as_f64().unwrap_or(f64::NAN);
    let ratio = rounded(of(&large) / of(&small));
    Ok(json!({ "runs": [small, large], "time_a_device_ratio": ratio }))
}
