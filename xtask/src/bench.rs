//! `cargo xtask bench`: figures, each with the command that made it, as JSON.

use anyhow::Result;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure: agent, api, swap, ingest [default: all]
    names: Vec<String>,
}

/// Measures and prints one JSON object a name.
///
/// # Errors
/// When a measurement fails.
pub fn main(args: &Args) -> Result<()> {
    let _ = args;
    anyhow::bail!("not built yet")
}
