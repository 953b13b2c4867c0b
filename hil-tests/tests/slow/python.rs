//! Python environments of the slow tests: one a requirements file, made once beside the build's programs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use longshore_hil_tests::{bin_dir, output};
use longshore_trust::Digest;
use rustix::fs::{FlockOperation, flock};

/// Where the slow tests keep what they download.
pub fn tools() -> PathBuf {
    bin_dir().join("slow-test-tools")
}

/// The interpreter of an environment that holds exactly what `requirements` pins; made on first use. Tests run as
/// processes beside one another, so a lock file makes one of them do it.
pub fn interpreter(requirements: &Path) -> Result<PathBuf> {
    let pinned = std::fs::read(requirements).with_context(|| requirements.display().to_string())?;
    let folder = tools().join(format!("python-{}", Digest::of(&pinned).short()));
    std::fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let python = folder.join("venv/bin/python");
    let complete = folder.join("complete");
    if !complete.is_file() {
        let base = std::env::var_os("LONGSHORE_PYTHON").unwrap_or_else(|| "python3".into());
        let mut make = Command::new(base);
        make.args(["-m", "venv", "--clear"]).arg(folder.join("venv"));
        output(make)
            .context("Python 3.11 with venv is needed (LONGSHORE_PYTHON names another interpreter)")?;
        let mut install = Command::new(&python);
        install
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements);
        output(install)?;
        File::create(complete)?;
    }
    Ok(python)
}
