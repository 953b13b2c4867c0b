//! End-to-end: a fleet and its devices as real processes, and the load an application puts on them.
//!
//! The only place that knows both sides, and it knows them as a user does: by their commands, files and APIs. The demo
//! (`cargo xtask demo`) and the tests in `tests/` play on the same stage.

#![forbid(unsafe_code)]

pub mod attacks;
pub mod console;
pub mod load;
pub mod receiver;
pub mod script;
pub mod socket;
pub mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The workspace root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("hil-tests lies in the workspace").to_owned()
}

/// Where the programs are: beside, or above, the running one.
#[must_use]
pub fn bin_dir() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let found = own.ancestors().skip(1).take(3).find(|dir| dir.join("longshore-fleet").is_file());
    found.map_or_else(|| root().join("target/quick"), Path::to_owned)
}

/// Runs to the end and gives what was printed.
///
/// # Errors
/// When it cannot be started or fails; what it said is in the message.
pub fn output(mut command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    let out = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{shown} failed ({}):\n{text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(text)
}

/// The text of a guide's `sh` blocks, in order: what its tests run.
#[must_use]
pub fn shell_blocks(markdown: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in markdown.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}
