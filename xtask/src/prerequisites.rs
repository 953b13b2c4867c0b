//! What the tasks need beyond the Rust toolchain: installed when it can be, named exactly when it cannot.

use anyhow::{Result, bail};

use crate::run::{cargo, exists, run};

/// Node and npm, for the console's assets.
///
/// # Errors
/// When they are missing: says what to install.
pub fn node() -> Result<()> {
    if exists("node", "--version") && exists("npm", "--version") {
        return Ok(());
    }
    bail!(
        "Node.js 18 or later with npm is needed for the console's assets: on Debian, `apt-get install nodejs npm`"
    )
}

/// A C compiler, for SQLite and ring.
///
/// # Errors
/// When it is missing: says what to install.
pub fn c_compiler() -> Result<()> {
    if exists("cc", "--version") {
        return Ok(());
    }
    bail!("a C compiler is needed to build SQLite: on Debian, `apt-get install build-essential`")
}

/// A cargo subcommand from crates.io; built from source when it is missing.
///
/// # Errors
/// When it can neither be found nor built.
pub fn cargo_tool(name: &str) -> Result<()> {
    if exists(&format!("cargo-{name}"), "--version") {
        return Ok(());
    }
    eprintln!("cargo-{name} is missing: building it (once a machine; some minutes)");
    // Unoptimised: it builds several times faster and runs for seconds.
    run(cargo(&["install", "--quiet", "--debug", "--locked", &format!("cargo-{name}")]))
}
