//! `cargo xtask tidy`: the rules of `docs/ARCHITECTURE.md` that a program can check.

mod dependencies;
mod sources;

use anyhow::{Context as _, Result, bail};
use longshore_hil_tests::attacks;

/// Checks everything and lists every breach.
///
/// # Errors
/// When there is one.
pub fn main() -> Result<()> {
    let mut breaches = dependencies::check()?;
    breaches.extend(sources::check()?);
    breaches.extend(attacks::check()?);
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    match breaches.len() {
        0 => Ok(()),
        n => bail!("{n} breach(es) of the rules in docs/ARCHITECTURE.md"),
    }
}

/// `cargo xtask attacks-table`: writes the attack table into `docs/security.md`.
///
/// # Errors
/// When an attack folder is not what it should be, or the file cannot be written.
pub fn attacks_table() -> Result<()> {
    let text = attacks::document()?;
    std::fs::write(attacks::path(), text).with_context(|| format!("cannot write {}", attacks::DOCUMENT))
}
