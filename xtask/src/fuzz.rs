//! `cargo xtask fuzz`: the targets of `fuzz/`, for as long as wished. What they are and how a finding is mended stands in
//! `docs/guides/fuzzing.md`.

use std::path::PathBuf;

use anyhow::Result;

use crate::run::{cargo, run};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long altogether, minutes; all processors are used, every target gets an equal share
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Only this target (may be repeated); `--list` names them
    #[arg(long)]
    target: Vec<String>,
    /// Seed of the inputs [default: the time; it is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Run one saved input again (needs --target)
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// Name the targets and what is promised of each
    #[arg(long)]
    list: bool,
    /// Write the seeds that targets make themselves into `fuzz/seeds`; files that are there stay
    #[arg(long)]
    seeds: bool,
}

/// Builds the targets and hunts.
///
/// # Errors
/// When a promise is broken.
pub fn main(args: &Args) -> Result<()> {
    let mut words: Vec<String> = Vec::new();
    if args.list {
        words.push("list".into());
    } else if args.seeds {
        words.push("seeds".into());
    } else if let Some(file) = &args.replay {
        words.extend(["replay".into(), file.display().to_string()]);
    } else {
        words.extend(["hunt".into(), "--minutes".into(), args.minutes.to_string()]);
        words.extend(args.seed.iter().flat_map(|s| ["--seed".to_owned(), s.to_string()]));
    }
    if !args.list && !args.seeds {
        words.extend(args.target.iter().flat_map(|t| ["--target".to_owned(), t.clone()]));
    }
    let mut all = vec!["run", "--quiet", "--profile", "quick", "-p", "longshore-fuzz", "--"];
    all.extend(words.iter().map(String::as_str));
    run(cargo(&all))
}
