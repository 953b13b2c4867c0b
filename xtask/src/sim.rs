//! `cargo xtask sim`: the simulator at length, and whether it would notice a broken rule.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::run::{cargo, command, root, run};

/// Options of `cargo xtask sim`.
#[derive(clap::Args)]
pub struct Args {
    /// Play 2,000 random scenarios of 30 devices with everything that can go wrong
    #[arg(long)]
    soak: bool,
    /// Break the rules of the cores one by one and print which rule of the simulator noticed each
    #[arg(long)]
    mutants: bool,
    /// So many random scenarios
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
}

/// Does what is asked.
///
/// # Errors
/// When a rule is broken, or a broken rule is not noticed.
pub fn main(args: &Args) -> Result<()> {
    if !args.soak && !args.mutants {
        bail!("say --soak, --mutants or both (`cargo run -p longshore-sim -- run` plays one scenario)");
    }
    if args.soak {
        soak(args.seeds)?;
    }
    if args.mutants {
        mutants()?;
    }
    Ok(())
}

/// The program, built for release.
///
/// # Errors
/// When it cannot be built.
pub fn program(broken: bool) -> Result<PathBuf> {
    let mut build = vec!["build", "--release", "-p", "longshore-sim"];
    if broken {
        build.extend(["--features", "longshore-sim/broken-rules"]);
    }
    run(cargo(&build))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/longshore-sim"))
}

/// Random scenarios.
///
/// # Errors
/// When a rule is broken.
pub fn soak(seeds: u64) -> Result<()> {
    let program = program(false)?;
    run(command(&program.display().to_string(), &["soak", "--seeds", &seeds.to_string(), "--devices", "30"]))
}

/// Broken rules.
///
/// # Errors
/// When one is not noticed.
pub fn mutants() -> Result<()> {
    let broken = program(true)?;
    let noticed = run(command(&broken.display().to_string(), &["mutants"]));
    // Nothing may take the one that breaks rules for the one that does not.
    program(false)?;
    noticed
}
