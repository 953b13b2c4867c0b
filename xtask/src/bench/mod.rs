//! `cargo xtask bench`: figures, each with the command that made it, as JSON, one line a name.
//!
//! Release builds, real processes. Absolute times say little on a shared machine: what is compared is compared side by
//! side in one run, and quoted as ratio or difference of medians.

mod agent;
mod api;
mod simulation;
mod swap;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use longshore_hil_tests::script::{await_state, build, enrol, make_keys, release, roll_out, set_up_fleet};
use longshore_hil_tests::stage::Stage;
use serde_json::{Value, json};

use crate::run::{cargo, output, root, run};
use crate::{assets, prerequisites};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure: agent, api, swap, ingest, console, rollout, stats, trust, monitoring, gates, sim [default: all]
    names: Vec<String>,
    /// Use the programs in this directory instead of building for release; the figures name it
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What to measure with: a directory of programs.
type Bench = (&'static str, fn(&Path) -> Result<Value>);
const BENCHES: &[Bench] = &[
    ("agent", agent::run),
    ("api", api::run),
    ("swap", swap::run),
    ("ingest", ingest),
    ("console", console),
    ("rollout", rollout),
    ("stats", stats),
    ("trust", trust),
    ("monitoring", monitoring),
    ("gates", gates),
    ("sim", simulation::run),
];
/// What needs no program of ours, only a crate.
const WITHOUT_PROGRAMS: &[&str] = &["console", "rollout", "stats", "trust", "monitoring", "gates", "sim"];

/// Everything at once, without soak: a benchmark is no rollout.
const AT_ONCE: &str = r#"name = "bench"
[[wave]]
select = { rest = true }
soak = "100ms"
[gate]
min_devices = 1
success = 0.9
max_failed_devices = 1
deadline = "120s"
on_fail = "halt"
on_inconclusive = "pause"
"#;

/// Measures and prints one JSON object a name.
///
/// # Errors
/// When a measurement fails.
pub fn main(args: &Args) -> Result<()> {
    if let Some(unknown) = args.names.iter().find(|n| !BENCHES.iter().any(|(name, _)| name == n)) {
        bail!(
            "there is no benchmark {unknown:?}; there are agent, api, swap, ingest, console, rollout, stats, trust, \
             monitoring, gates, sim"
        );
    }
    let is_light = |n: &String| WITHOUT_PROGRAMS.contains(&n.as_str());
    let programs = match &args.programs {
        Some(directory) => directory.canonicalize().with_context(|| directory.display().to_string())?,
        None => {
            if args.names.is_empty() || !args.names.iter().all(is_light) {
                build_programs()?;
            }
            root().join("target/release")
        }
    };
    for (name, bench) in BENCHES {
        if !args.names.is_empty() && !args.names.iter().any(|n| n == name) {
            continue;
        }
        let figures = bench(&programs).with_context(|| format!("benchmark {name}"))?;
        let by = programs.file_name().map(|n| n.to_string_lossy());
        println!(
            "{}",
            json!({ "bench": name, "commit": commit(), "cores": cores(), "programs": by, "figures": figures })
        );
    }
    Ok(())
}

fn build_programs() -> Result<()> {
    prerequisites::c_compiler()?;
    assets::main()?;
    run(cargo(&[
        "build",
        "--release",
        "--bins",
        "-p",
        "longshore-agent",
        "-p",
        "longshore-fleet",
        "-p",
        "longshore",
    ]))
}

fn ingest(_: &Path) -> Result<Value> {
    in_crate("longshore-fleet", "ingest")
}

fn console(_: &Path) -> Result<Value> {
    in_crate("longshore-fleet", "console")
}
fn rollout(_: &Path) -> Result<Value> {
    in_crate("longshore-fleet", "rollout")
}
fn stats(_: &Path) -> Result<Value> {
    in_crate("longshore-stats", "stats")
}
fn trust(_: &Path) -> Result<Value> {
    in_crate("longshore-agent", "trust")
}
fn monitoring(_: &Path) -> Result<Value> {
    in_crate("longshore-agent", "monitoring")
}

/// Fails when a mark is missed; its table goes to standard error.
fn gates(_: &Path) -> Result<Value> {
    in_crate("longshore-fleet-core", "gates")
}

/// A benchmark that lies in its crate and prints JSON. What it tells people meanwhile is shown.
fn in_crate(package: &str, name: &str) -> Result<Value> {
    let mut bench = cargo(&["bench", "--quiet", "-p", package, "--bench", name]);
    bench.stderr(Stdio::inherit());
    let printed = output(bench)?;
    let last = printed.lines().rev().find(|l| l.starts_with('{')).context("the benchmark printed no JSON")?;
    Ok(serde_json::from_str(last)?)
}

/// A fleet with one device that serves 1.0.0 of the example, by the given programs.
fn one_device(programs: &Path, versions: &[&str]) -> Result<Stage> {
    let dir = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?.keep();
    let mut stage = Stage::with_programs(dir, programs.to_owned())?;
    make_keys(&stage)?;
    set_up_fleet(&mut stage)?;
    enrol(&mut stage, 1)?;
    for version in versions {
        build(&stage, version)?;
        release(&stage, version)?;
    }
    let rollout = roll_out(&stage, versions[0], AT_ONCE)?;
    await_state(&mut stage, &rollout, "completed", Duration::from_secs(60))?;
    Ok(stage)
}

fn commit() -> String {
    output(crate::run::command("git", &["rev-parse", "--short", "HEAD"]))
        .unwrap_or_default()
        .trim()
        .to_owned()
}
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The `q` quantile of measurements, by rank.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
