//! The ways to build for a foreign target, in the order they are tried:
//!
//! 1. *host*: the target is this machine's own.
//! 2. *rustup*: the target's standard library is there, or `rustup target add` brings it; `cargo zigbuild` links.
//! 3. *std from source*: no target to be had (an air-gapped or distribution toolchain), so the standard library is built
//!    with the program from Debian's `rustc-web` and `rust-web-src`; `cargo zigbuild` links.
//!
//! zig (PyPI's `ziglang`) and cargo-zigbuild (crates.io) are looked for on the PATH and, failing that, installed under
//! `target/tools`; nothing outside the target directory changes, apart from the target that rustup adds.
//! `LONGSHORE_CROSS_WAY=rustup` or `=source` insists on one way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Target;

const ZIGBUILD: &str = "0.24.1";
const ZIGLANG: &str = "0.17.1";
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// How a target is built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Plain cargo: the target is the host.
    Host,
    /// The toolchain's own standard library for the target, and zig.
    Rustup,
    /// The standard library built from the distribution's sources, and zig.
    Source {
        /// What the compiler calls itself.
        compiler: String,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Host => write!(f, "cargo, for this machine's own target"),
            Way::Rustup => write!(f, "rustup's target and cargo zigbuild"),
            Way::Source { compiler } => {
                write!(f, "{compiler} with the standard library from source and cargo zigbuild")
            }
        }
    }
}

impl Way {
    /// The first way that works on this machine.
    ///
    /// # Errors
    /// None does; the message says why for each, and what to install.
    pub fn first_that_works(tools: &Path, target: &Target) -> Result<Way> {
        let wanted = std::env::var("LONGSHORE_CROSS_WAY").ok();
        let allowed = |name: &str| wanted.as_deref().is_none_or(|w| w == name);
        if let Some(name) = wanted.as_deref().filter(|w| !["host", "rustup", "source"].contains(w)) {
            bail!("LONGSHORE_CROSS_WAY is {name:?}; it may be host, rustup or source");
        }
        if allowed("host") && host_triple()? == target.triple {
            return Ok(Way::Host);
        }
        zigbuild(tools)?;
        zig(tools)?;
        let mut reasons = Vec::new();
        if allowed("rustup") {
            match rustup_target(target) {
                Ok(()) => return Ok(Way::Rustup),
                Err(error) => reasons.push(format!("rustup: {error:#}")),
            }
        }
        if allowed("source") {
            match system_compiler() {
                Ok(compiler) => return Ok(Way::Source { compiler }),
                Err(error) => reasons.push(format!("standard library from source: {error:#}")),
            }
        }
        bail!("no way to build for {} works here:\n  {}", target.triple, reasons.join("\n  "))
    }

    /// The cargo command up to, but without, package, profile and target.
    ///
    /// # Errors
    /// A tool has gone since it was looked for.
    pub fn command(&self, tools: &Path, target: &Target) -> Result<Command> {
        let mut flags: Vec<String> = Vec::new();
        let mut command = match self {
            Way::Host => {
                let mut cargo = Command::new(cargo());
                cargo.arg("build");
                cargo
            }
            Way::Rustup => {
                let mut cargo = zig_command(tools)?;
                // By its path: rustup's proxy would obey the toolchain files that some crates ship.
                let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
                cargo.env("RUSTC", Path::new(sysroot.trim()).join("bin/rustc"));
                cargo
            }
            Way::Source { .. } => {
                let mut cargo = zig_command(tools)?;
                cargo
                    .arg("-Zbuild-std=std,panic_abort")
                    .env("RUSTC", SYSTEM_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1");
                // Debian ships no start files of musl: zig brings them.
                flags.push("-Clink-self-contained=no".into());
                cargo
            }
        };
        if target.is_static {
            flags.push("-Ctarget-feature=+crt-static".into());
        }
        for feature in &target.cpu_features {
            flags.push(format!("-Ctarget-feature=+{feature}"));
        }
        if !flags.is_empty() {
            command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS");
        }
        Ok(command)
    }
}

fn zig_command(tools: &Path) -> Result<Command> {
    let mut command = Command::new(zigbuild(tools)?);
    command.arg("zigbuild").env("CARGO_ZIGBUILD_ZIG_PATH", zig(tools)?);
    Ok(command)
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn host_triple() -> Result<String> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}

/// Makes sure that the standard library of `target` is installed, asking rustup for it if need be.
fn rustup_target(target: &Target) -> Result<()> {
    let folder =
        output(Command::new("rustc").args(["--print", "target-libdir", "--target", &target.triple]))?;
    let there = || {
        std::fs::read_dir(folder.trim()).is_ok_and(|entries| {
            entries.flatten().any(|e| e.file_name().to_string_lossy().starts_with("libstd-"))
        })
    };
    if there() {
        return Ok(());
    }
    output(Command::new("rustup").args(["target", "add", &target.triple]))?;
    ensure!(
        there(),
        "`rustup target add {}` brought no standard library for the compiler in use",
        target.triple
    );
    Ok(())
}

/// The distribution's compiler, if its standard library's sources are there too.
fn system_compiler() -> Result<String> {
    let install = "on Debian 12: apt-get install rustc-web rust-web-src";
    let version = output(Command::new(SYSTEM_RUSTC).arg("-V")).with_context(|| install.to_owned())?;
    let root = output(Command::new(SYSTEM_RUSTC).args(["--print", "sysroot"]))?;
    let library = Path::new(root.trim()).join("lib/rustlib/src/rust/library/Cargo.lock");
    ensure!(library.is_file(), "no sources at {}; {install}", library.display());
    Ok(version.trim().to_owned())
}

/// cargo-zigbuild, from the PATH or installed from crates.io under `tools`.
fn zigbuild(tools: &Path) -> Result<PathBuf> {
    let own = tools.join("bin/cargo-zigbuild");
    if let Some(found) = on_path("cargo-zigbuild").or_else(|| own.is_file().then(|| own.clone())) {
        return Ok(found);
    }
    println!("installing cargo-zigbuild {ZIGBUILD} into {}", tools.display());
    let status = Command::new(cargo())
        .args(["install", "--quiet", "--locked", "--version", ZIGBUILD, "cargo-zigbuild", "--root"])
        .arg(tools)
        .arg("--target-dir")
        .arg(tools.join("build"))
        .status()
        .context("cannot start cargo install")?;
    ensure!(status.success(), "cannot install cargo-zigbuild {ZIGBUILD} ({status})");
    Ok(own)
}

/// zig, from the PATH or PyPI's `ziglang` in a virtual environment under `tools`.
fn zig(tools: &Path) -> Result<PathBuf> {
    if let Some(found) = on_path("zig") {
        return Ok(found);
    }
    let python = tools.join("zig/bin/python");
    let locate = "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";
    if let Ok(found) = output(Command::new(&python).args(["-c", locate])) {
        return Ok(found.trim().into());
    }
    println!("installing ziglang {ZIGLANG} into {}", tools.display());
    output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(tools.join("zig")))
        .context("Python 3 with venv is needed to install zig")?;
    let package = format!("ziglang=={ZIGLANG}");
    output(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &package,
    ]))?;
    Ok(output(Command::new(&python).args(["-c", locate]))?.trim().into())
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}", complaint.trim().lines().last().unwrap_or("failed"));
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
