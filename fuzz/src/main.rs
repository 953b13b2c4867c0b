//! `longshore-fuzz`: what `cargo xtask fuzz` runs.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use longshore_fuzz::hunt::{Budget, Hunt, Summary, hunt};
use longshore_fuzz::{Target, seed_dir, target, targets, work};

/// Throws mangled input at everything that reads what outsiders send.
#[derive(Parser)]
#[command(name = "longshore-fuzz", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Name the targets and what is promised of each
    List,
    /// Hunt: all targets or one, with a seed that is printed
    Hunt {
        /// How long altogether, minutes; all processors are used
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Only this target (may be repeated)
        #[arg(long)]
        target: Vec<String>,
        /// Seed of the inputs [default: the time]
        #[arg(long)]
        seed: Option<u64>,
        /// Where findings are saved
        #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
        out: PathBuf,
    },
    /// Run one saved input again
    Replay {
        /// The target
        #[arg(long)]
        target: String,
        /// The input
        file: PathBuf,
    },
    /// Write the seeds that targets make themselves into `fuzz/seeds`; files that are there stay
    Seeds,
    /// The child of a hunt
    #[command(hide = true)]
    Work {
        #[arg(long)]
        target: String,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        from: u64,
        #[arg(long)]
        to: u64,
        #[arg(long)]
        mark: PathBuf,
    },
}

fn named(name: &str) -> Result<Target> {
    let known = || targets::ALL.iter().map(|t| t.name).collect::<Vec<_>>().join(", ");
    target(name).with_context(|| format!("there is no target {name:?}; the targets are {}", known()))
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::List => {
            for t in targets::ALL {
                println!("{:<16} {}", t.name, t.promise);
            }
        }
        Command::Hunt { minutes, target, seed, out } => {
            let chosen = match target.as_slice() {
                [] => targets::ALL.to_vec(),
                some => some.iter().map(|n| named(n)).collect::<Result<_>>()?,
            };
            return hunt_all(&chosen, Duration::from_secs_f64(minutes * 60.0), seed, &out);
        }
        Command::Replay { target, file } => {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            (named(&target)?.run)(&bytes);
            println!("{} keeps its promises for {}", target, file.display());
        }
        Command::Seeds => write_seeds()?,
        Command::Work { target, seed, from, to, mark } => {
            work::work(&named(&target)?, seed, from, to, &mark)?
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_seeds() -> Result<()> {
    for t in targets::ALL {
        let dir = seed_dir(t);
        std::fs::create_dir_all(&dir)?;
        let there: Vec<String> = std::fs::read_dir(&dir)?
            .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        for (i, bytes) in (t.seeds)().iter().enumerate() {
            let number = format!("{i:02}");
            if !there.iter().any(|name| name.starts_with(&number)) {
                std::fs::write(dir.join(number), bytes)?;
            }
        }
    }
    Ok(())
}

/// Every target gets an equal share of what all processors have.
fn hunt_all(chosen: &[Target], time: Duration, seed: Option<u64>, out: &Path) -> Result<ExitCode> {
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_secs());
    let seed = seed.unwrap_or_else(clock);
    let program = std::env::current_exe()?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    let rounds = chosen.len().div_ceil(workers);
    let share = time / u32::try_from(rounds)?;
    println!(
        "seed {seed}: {} target(s), {:.0} s each, {workers} at a time",
        chosen.len(),
        share.as_secs_f64()
    );
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|s| {
        for _ in 0..workers {
            s.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let job =
                        Hunt { program: &program, target: *target, seed, budget: Budget::Time(share), out };
                    let mut said = Instant::now();
                    let done = hunt(&job, |inputs| {
                        if said.elapsed() > Duration::from_secs(10) {
                            said = Instant::now();
                            println!("{:<16} {inputs:>10} inputs", target.name);
                        }
                    });
                    if let Ok(summary) = &done {
                        println!("{}", line(target, summary));
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                }
            });
        }
    });
    let results: Vec<Summary> =
        results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect::<Result<_>>()?;
    let inputs: u64 = results.iter().map(|s| s.inputs).sum();
    let found: usize = results.iter().map(|s| s.found.len()).sum();
    println!("{inputs} inputs, {found} broken promise(s)");
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(target: &Target, s: &Summary) -> String {
    let rate = s.inputs as f64 / s.took.as_secs_f64().max(0.001);
    let mut text = format!(
        "{:<16} {:>10} inputs, {rate:.0}/s, {} broken promise(s)",
        target.name,
        s.inputs,
        s.found.len()
    );
    for (kind, n) in &s.contained {
        text.push_str(&format!(", {n} times out of {kind} as a trial would"));
    }
    for f in &s.found {
        text.push_str(&format!(
            "\n  {} at input {}: {}\n    run it again: cargo xtask fuzz --target {} --replay {}",
            f.kind,
            f.input,
            f.detail,
            target.name,
            f.file.display()
        ));
    }
    text
}
