//! `cargo xtask tidy`: the rules of `docs/ARCHITECTURE.md` that a program can check.

mod dependencies;
mod sources;

use anyhow::{Result, bail};

/// Checks everything and lists every breach.
///
/// # Errors
/// When there is one.
pub fn main() -> Result<()> {
    let mut breaches = dependencies::check()?;
    breaches.extend(sources::check()?);
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    match breaches.len() {
        0 => Ok(()),
        n => bail!("{n} breach(es) of the rules in docs/ARCHITECTURE.md"),
    }
}
