//! `cargo xtask demo`: the main job on real data, with real processes. A model is signed, published, rolled out to five
//! devices, served, counted, replaced by a better one, and a worse one is taken back, while things are killed on the way.

mod drift;
mod script;
mod verdict;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::run::{cargo, run};
use crate::{assets, prerequisites};
use longshore_hil_tests::stage::Stage;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Args {
    /// End by itself instead of waiting at the console
    #[arg(long)]
    headless: bool,
    /// Print one JSON line with the totals; exit code 0 only if they are right
    #[arg(long)]
    json: bool,
    /// Leave the fleet running when done, with its files in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Use the programs in this directory instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// How many devices
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=50))]
    devices: u16,
}

/// Builds, plays, judges.
///
/// # Errors
/// When a step fails or the totals are wrong.
pub fn main(args: &Args) -> Result<()> {
    let programs = match &args.programs {
        Some(dir) => std::path::absolute(dir)?,
        None => build()?,
    };
    let dir = match &args.keep {
        Some(dir) => std::path::absolute(dir)?,
        None => tempfile::Builder::new().prefix("longshore-demo-").tempdir()?.keep(),
    };
    let mut stage = Stage::with_programs(dir, programs)?;
    let progress = Progress::new(script::STEPS);
    let played = script::play(&mut stage, usize::from(args.devices), &progress);
    progress.end();
    let verdict = match played {
        Ok(verdict) => verdict,
        Err(e) => {
            if args.json {
                println!("{}", serde_json::json!({ "ok": false, "error": format!("{e:#}") }));
            }
            return Err(e.context(format!("the demo failed; its files are in {}", stage.dir.display())));
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&verdict)?);
    } else {
        eprint!("{}", verdict.for_people());
    }
    anyhow::ensure!(verdict.ok, "the totals are wrong; the demo's files are in {}", stage.dir.display());
    finish(stage, args)
}

/// Builds all programs; where they are.
fn build() -> Result<PathBuf> {
    prerequisites::c_compiler()?;
    assets::main()?;
    run(cargo(&["build", "--profile", "quick", "--workspace", "--bins"]))?;
    Ok(longshore_hil_tests::bin_dir())
}

/// Stops everything, waits for a person, or leaves it running.
fn finish(stage: Stage, args: &Args) -> Result<()> {
    if args.headless && args.keep.is_none() {
        stage.strike();
        return Ok(());
    }
    let password = std::fs::read_to_string(stage.dir.join("admin-password")).unwrap_or_default();
    eprintln!("\nConsole:  {}   (name: admin, password: {})", stage.url(), password.trim());
    eprintln!("Look at   Rollouts: 1.2.0, and the gate that took it back");
    eprintln!("          Models: meter-digits, and what each version did in the field");
    eprintln!("          Alerts: drift at site=amsterdam, who was told, and what to do");
    eprintln!("          Drift: meter-digits 1.1.0, what changed, how sure that is, and where");
    eprintln!("          Devices: meter-1, and its timeline");
    if args.keep.is_some() {
        eprintln!("The fleet goes on running; its files are in {}", stage.dir.display());
        eprintln!("Stop it with: pkill -f {}", stage.dir.display());
        stage.leave_running();
        return Ok(());
    }
    eprintln!("Press Enter to stop and remove everything.");
    std::io::stdin().read_line(&mut String::new())?;
    stage.strike();
    Ok(())
}

/// A bar for people at a terminal, plain lines for logs.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
}

impl Progress {
    fn new(steps: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(steps) };
        bar.set_style(
            ProgressStyle::with_template("{bar:30} {pos:>2}/{len} {elapsed_precise} {msg}")
                .expect("the template is constant"),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, plain }
    }
    /// One step begins.
    pub fn step(&self, what: &str) {
        self.bar.inc(1);
        self.bar.set_message(what.to_owned());
        if self.plain {
            eprintln!("[{:>2}] {what}", self.bar.position());
        }
    }
    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
