//! `longshore-sim`: plays scenarios, prints what happened, and says whether a rule was broken.
//!
//! Exit codes: 0 everything held and ended as it was to; 1 a rule was broken, or it ended in another way; 2 it could not be
//! played.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use longshore_sim::scenario::Scenario;
use longshore_sim::{Outcome, run, seeds, shrink, soak};

/// Plays rollouts over simulated devices: the real decisions of agent and fleet on a clock of their own.
#[derive(Parser)]
#[command(name = "longshore-sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play a scenario: by default the policy `careful` on a good version
    Run(RunArgs),
    /// Play a file that a failing run has written
    Replay(ReplayArgs),
    /// Play random scenarios with everything that can go wrong
    Soak(SoakArgs),
    /// List the rules that are held against every event
    Rules,
    /// Break the rules of the cores one by one and show that each is noticed
    #[cfg(feature = "broken-rules")]
    Mutants(MutantArgs),
}

#[derive(Args)]
struct RunArgs {
    /// A scenario (TOML); docs/simulation.md describes it
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Devices, instead of what the scenario says
    #[arg(long)]
    devices: Option<u32>,
    /// Seed, instead of what the scenario says
    #[arg(long)]
    seed: Option<u64>,
    /// So many seeds from that one on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Hours after which it ends at the latest, instead of what the scenario says
    #[arg(long)]
    hours: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct ReplayArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct SoakArgs {
    /// Random scenarios
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Devices of each
    #[arg(long, default_value_t = 30)]
    devices: u32,
    #[command(flatten)]
    output: Output,
}

#[cfg(feature = "broken-rules")]
#[derive(Args)]
struct MutantArgs {
    /// Only rules whose name contains this
    only: Option<String>,
    /// Runs for each rule, at most
    #[arg(long, default_value_t = 600)]
    seeds: u64,
    /// Devices of each run
    #[arg(long, default_value_t = 30)]
    devices: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where the file of a failing run is written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => play(&args),
        Command::Replay(args) => replay(&args),
        Command::Soak(args) => soaking(&args),
        Command::Rules => {
            for (rule, says) in longshore_sim::oracle::RULES {
                println!("{rule:<14}{says}");
            }
            Ok(true)
        }
        #[cfg(feature = "broken-rules")]
        Command::Mutants(args) => mutants(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("longshore-sim: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn read(path: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Scenario::parse(&text).with_context(|| path.display().to_string())
}

fn play(args: &RunArgs) -> Result<bool> {
    let mut scenario = args.scenario.as_deref().map_or_else(|| Ok(Scenario::default()), read)?;
    scenario.devices = args.devices.unwrap_or(scenario.devices);
    scenario.hours = args.hours.unwrap_or(scenario.hours);
    let seed = args.seed.unwrap_or(scenario.seed);
    if args.seeds > 1 {
        return many(seed, args.seeds, |_| scenario.clone(), &args.output);
    }
    let outcome = run(&scenario, seed, false)?;
    tell(&outcome, &scenario, &args.output)
}

fn replay(args: &ReplayArgs) -> Result<bool> {
    let scenario = read(&args.file)?;
    let outcome = run(&scenario, scenario.seed, true)?;
    show(&outcome, args.output.json);
    if !args.output.json {
        for line in &outcome.trace {
            println!("  {line}");
        }
    }
    Ok(outcome.is_good())
}

fn soaking(args: &SoakArgs) -> Result<bool> {
    many(args.seed, args.seeds, |seed| soak::scenario(seed, args.devices), &args.output)
}

#[cfg(feature = "broken-rules")]
fn mutants(args: &MutantArgs) -> Result<bool> {
    use longshore_sim::mutants::{Caught, hunt};
    let line = |c: &Caught| {
        let by = c.caught_by.unwrap_or("NOT CAUGHT");
        format!("{:<40}{:<16}{:>6}{:>10}  {}", c.rule, by, c.seed, c.events, c.what)
    };
    if !args.json {
        println!("{:<40}{:<16}{:>6}{:>10}  what it said", "rule", "caught by", "seed", "events");
    }
    let told = |c: &Caught| {
        if !args.json {
            println!("{}", line(c));
        }
    };
    let all = hunt(args.only.as_deref(), args.seeds, args.devices, told)?;
    if args.json {
        println!("{}", serde_json::to_string(&all)?);
    }
    Ok(!all.is_empty() && all.iter().all(|c| c.caught_by.is_some()))
}

fn many(first: u64, count: u64, of: impl Fn(u64) -> Scenario + Sync, output: &Output) -> Result<bool> {
    let bar = if output.json { ProgressBar::hidden() } else { ProgressBar::new(count) };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let outcomes = seeds::play(first, count, |seed| run(&of(seed), seed, false), |_| bar.inc(1))?;
    bar.finish_and_clear();
    let mut ends = std::collections::BTreeMap::<&str, u64>::new();
    for o in &outcomes {
        *ends.entry(o.rollouts.last().map_or("none", |r| r.state.as_str())).or_default() += 1;
    }
    let sum = |f: fn(&Outcome) -> u64| outcomes.iter().map(f).sum::<u64>();
    let bad = outcomes.iter().find(|o| !o.is_good());
    if output.json {
        let told = serde_json::json!({
            "seeds": outcomes.len(), "events": sum(|o| o.events), "checks": sum(|o| o.checks), "ends": ends,
            "broken": bad.and_then(|o| o.broken.as_ref()), "unexpected": bad.and_then(|o| o.unexpected.as_ref()),
            "seed": bad.map(|o| o.seed),
        });
        println!("{told}");
    } else {
        let ends: Vec<String> = ends.iter().map(|(state, n)| format!("{n} {state}")).collect();
        println!(
            "{} seeds, {} events, {} checks; last rollouts: {}",
            outcomes.len(),
            sum(|o| o.events),
            sum(|o| o.checks),
            ends.join(", ")
        );
    }
    match bad {
        None => Ok(true),
        Some(o) => tell(o, &of(o.seed), output),
    }
}

/// Says what came of it; a run that fails is made small and written down.
fn tell(outcome: &Outcome, scenario: &Scenario, output: &Output) -> Result<bool> {
    if outcome.is_good() {
        show(outcome, output.json);
        return Ok(true);
    }
    let what = match (&outcome.broken, &outcome.unexpected) {
        (Some(b), _) => format!("{} at {}: {}", b.rule, b.at, b.what),
        (None, Some(u)) => u.clone(),
        (None, None) => String::new(),
    };
    eprintln!("seed {} fails ({what}); looking for the smallest run that fails like it", outcome.seed);
    let (small, told) = shrink::shrink(scenario, outcome.seed)?;
    show(&told, output.json);
    let path = output.out.join(format!("sim-failure-{}.toml", outcome.seed));
    std::fs::write(&path, shrink::to_file(&small, &told))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written down: longshore-sim replay {}", path.display());
    Ok(false)
}

/// The most memory that this process has held, KiB; 0 where the kernel does not tell.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn show(outcome: &Outcome, json: bool) {
    if json {
        let mut told = serde_json::to_value(outcome).unwrap_or_default();
        told["peak_kib"] = peak_kib().into();
        println!("{told}");
        return;
    }
    for line in &outcome.timeline {
        println!("{line}");
    }
    println!(
        "seed {}: {} devices, {} events, {} checks, {:.1} hours",
        outcome.seed, outcome.devices, outcome.events, outcome.checks, outcome.hours
    );
    if let Some(b) = &outcome.broken {
        println!("BROKEN {} at {}: {}", b.rule, b.at, b.what);
    }
    if let Some(u) = &outcome.unexpected {
        println!("UNEXPECTED: {u}");
    }
}
