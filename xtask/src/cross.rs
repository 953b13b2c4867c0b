//! `cargo xtask cross [TARGET]`: the agent for a board, stripped, checked against the budgets of its file in `targets/`.
//!
//! What always holds: the C parts (SQLite, ring) are compiled by zig, so no cross compiler has to be installed; the
//! first way that works here is taken and named (see `toolchain`); a binary that is over its budget, or dynamic where it
//! must be static, is a failure.

mod elf;
mod target;
mod toolchain;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

pub use target::Target;
use toolchain::Way;

const PACKAGE: &str = "longshore-agent";
const PROFILE: &str = "edge";

/// A built agent: where it is and what was found out about it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Built {
    /// Rust target triple.
    pub triple: String,
    /// The stripped binary.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// `static` or `dynamic`, read from the binary itself.
    pub linkage: String,
    /// Which way it was built.
    pub way: String,
    /// Seconds the build took.
    pub seconds: u64,
}

/// Builds one target, or every file in `targets/`, and prints what came out.
///
/// # Errors
/// No way to build works here, the build fails, or the binary breaks a budget.
pub fn run(target: Option<&str>) -> Result<()> {
    let root = workspace_root()?;
    let targets = match target {
        Some(triple) => vec![Target::read(&root, triple)?],
        None => Target::all(&root)?,
    };
    let mut failed = Vec::new();
    for target in &targets {
        match checked(&root, target) {
            Ok(_) => {}
            Err(error) if targets.len() > 1 => {
                eprintln!("{}: {error:#}", target.triple);
                failed.push(target.triple.clone());
            }
            Err(error) => return Err(error),
        }
    }
    ensure!(failed.is_empty(), "not built or over budget: {}", failed.join(", "));
    Ok(())
}

/// Builds the agent for `target`, holds it against the target's budget and starts it once where that can be done.
///
/// # Errors
/// As [`build`], or the binary breaks a budget or does not start.
pub fn checked(root: &Path, target: &Target) -> Result<Built> {
    let built = build(root, target)?;
    report(target, &built)?;
    Ok(built)
}

/// Builds the agent for `target` by the first way that works here.
///
/// # Errors
/// No way to build works here (each with the reason and what to install), or the build fails.
pub fn build(root: &Path, target: &Target) -> Result<Built> {
    let target_dir = target_directory(root)?;
    let tools = target_dir.join("tools");
    let way = Way::first_that_works(&tools, target)?;
    println!("{} ({}): building by {way}", target.triple, target.about);
    let build_dir = target_dir.join("cross");
    let begun = std::time::Instant::now();
    let mut cargo = way.command(&tools, target)?;
    cargo
        .current_dir(root)
        .args(["--package", PACKAGE, "--profile", PROFILE, "--target", &target.triple, "--locked"])
        .arg("--target-dir")
        .arg(&build_dir);
    let status = cargo.status().with_context(|| format!("cannot start {cargo:?}"))?;
    ensure!(status.success(), "the build for {} failed ({status}); it was {cargo:?}", target.triple);
    let path = build_dir.join(&target.triple).join(PROFILE).join(PACKAGE);
    let bytes = std::fs::metadata(&path).with_context(|| format!("no binary at {}", path.display()))?.len();
    let linkage = if elf::is_static(&path)? { "static" } else { "dynamic" };
    Ok(Built {
        triple: target.triple.clone(),
        path,
        bytes,
        linkage: linkage.to_owned(),
        way: way.to_string(),
        seconds: begun.elapsed().as_secs(),
    })
}

/// Prints size and linkage, holds them against the target's budget, and starts the program once where that can be done.
fn report(target: &Target, built: &Built) -> Result<()> {
    let size_mb = built.bytes as f64 / 1e6;
    println!(
        "{}: {size_mb:.2} MB (budget {} MB; memory budget {} MB PSS, see `cargo xtask bench`), {}, {} s, {}",
        built.triple,
        target.budget.binary_mb,
        target.budget.pss_mb,
        built.linkage,
        built.seconds,
        built.path.display(),
    );
    if target.is_static && built.linkage != "static" {
        bail!(
            "{} must be static, but asks for a program interpreter or shared libraries",
            built.path.display()
        );
    }
    if size_mb > target.budget.binary_mb {
        bail!(
            "{} has {size_mb:.2} MB, over the {} MB of targets/{}.toml",
            built.path.display(),
            target.budget.binary_mb,
            target.triple,
        );
    }
    start(target, &built.path)
}

/// Runs `--version`, under emulation if the target needs it.
fn start(target: &Target, program: &Path) -> Result<()> {
    let mut command = match &target.emulator {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    match command.arg("--version").output() {
        Ok(done) if done.status.success() => {
            println!("{}: it starts: {}", target.triple, String::from_utf8_lossy(&done.stdout).trim());
            Ok(())
        }
        Ok(done) => {
            bail!("{command:?} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim())
        }
        Err(error) if error.kind() == ErrorKind::NotFound && target.emulator.is_some() => {
            println!("{}: not started, {command:?} is not there (Debian: qemu-user-static)", target.triple);
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("cannot start {command:?}")),
    }
}

/// The folder that holds `targets/`.
fn workspace_root() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cannot ask cargo for the workspace")?;
    Ok(metadata.workspace_root.into_std_path_buf())
}

/// Cargo's target directory.
fn target_directory(root: &Path) -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .context("cannot ask cargo for the target directory")?;
    Ok(metadata.target_directory.into_std_path_buf())
}
