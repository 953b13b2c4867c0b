//! `cargo xtask test`: what must hold before anything lands. `--slow` adds what needs other people's software.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::run::{cargo, root, run};
use crate::{assets, cross, prerequisites, tidy};

/// The board that the slow tests emulate.
const EMULATED: &str = "aarch64-unknown-linux-musl";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Also cross builds, emulation, stock Python clients and an external broker
    #[arg(long)]
    slow: bool,
    /// Only these steps (format, tidy, deny, clippy, unit, doc, slow)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("format", format),
    ("tidy", tidy::main),
    ("deny", deny),
    ("clippy", clippy),
    ("unit", unit),
    ("doc", doctests),
];

/// Runs every step, in the order in which they fail fastest.
///
/// # Errors
/// At the first step that fails.
pub fn main(args: &Args) -> Result<()> {
    for name in &args.only {
        if name != "slow" && !STEPS.iter().any(|(n, _)| n == name) {
            bail!("there is no step {name:?}; the steps are format, tidy, deny, clippy, unit, doc, slow");
        }
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|n| n == name);
    prerequisites::c_compiler()?;
    assets::main()?;
    for (name, step) in STEPS.iter().filter(|(name, _)| wanted(name)) {
        timed(name, step)?;
    }
    if args.slow || args.only.iter().any(|n| n == "slow") {
        timed("slow", &(slow as fn() -> Result<()>))?;
    }
    Ok(())
}

/// Everything, whole.
///
/// # Errors
/// At the first step that fails.
pub fn nightly() -> Result<()> {
    for (name, step) in STEPS.iter().filter(|(name, _)| *name != "unit") {
        timed(name, step)?;
    }
    timed("soak", &((|| crate::sim::soak(2_000)) as fn() -> Result<()>))?;
    timed("broken rules", &(crate::sim::mutants as fn() -> Result<()>))?;
    timed("unit, whole", &((|| nextest(&[("LONGSHORE_NIGHTLY", "1")], &[])) as fn() -> Result<()>))?;
    timed("slow", &(slow as fn() -> Result<()>))
}

fn timed(name: &str, step: &fn() -> Result<()>) -> Result<()> {
    eprintln!("== {name}");
    let start = Instant::now();
    step()?;
    eprintln!("== {name}: ok, {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn format() -> Result<()> {
    run(cargo(&["fmt", "--all", "--", "--check"]))
}

fn clippy() -> Result<()> {
    run(cargo(&["clippy", "--profile", "quick", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Licences, bans and sources always; advisories when a database is at hand (it comes from the network).
fn deny() -> Result<()> {
    prerequisites::cargo_tool("deny")?;
    run(cargo(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))?;
    let database = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| std::path::Path::new(&h).join(".cargo")))
        .map(|d| d.join("advisory-dbs"));
    if database.is_some_and(|d| d.exists()) {
        run(cargo(&["deny", "--log-level", "error", "--offline", "check", "advisories"]))
    } else {
        eprintln!(
            "no advisory database on this machine (`cargo deny fetch` gets one): advisories were not checked"
        );
        Ok(())
    }
}

fn unit() -> Result<()> {
    nextest(&[], &[])
}

fn nextest(env: &[(&str, &str)], args: &[&str]) -> Result<()> {
    prerequisites::cargo_tool("nextest")?;
    // The end-to-end tests start the programs themselves, so these are built first.
    // Tests are built with them: asked for apart, they would want other features of the same libraries.
    run(cargo(&["build", "--profile", "quick", "--workspace", "--all-targets"]))?;
    let mut all = vec!["nextest", "run", "--cargo-profile", "quick", "--workspace"];
    all.extend(args);
    let mut c = cargo(&all);
    c.envs(env.iter().copied());
    run(c)
}

fn doctests() -> Result<()> {
    run(cargo(&["test", "--profile", "quick", "--doc", "--workspace", "--quiet"]))
}

/// The end-to-end tests marked `#[ignore]` need other people's software; each says what it misses.
fn slow() -> Result<()> {
    // Not `LONGSHORE_…`: that would be a setting of the agents that the tests start.
    const AGENT: &str = "CROSS_BUILT_AGENT";
    // Built here and not in its test: it takes minutes, and shows what it does.
    let agent = match std::env::var(AGENT) {
        Ok(agent) => agent,
        Err(_) => {
            let target = cross::Target::read(&root(), EMULATED)?;
            cross::checked(&root(), &target)?.path.display().to_string()
        }
    };
    nextest(
        &[(AGENT, &agent)],
        &["--run-ignored", "only", "--filterset", "package(longshore-hil-tests)", "--no-capture"],
    )
}
