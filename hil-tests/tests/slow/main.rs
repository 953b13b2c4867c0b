//! What needs other people's software: Python clients from PyPI, a cross build, an emulated CPU. Run by
//! `cargo xtask test --slow`; each test is ignored otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod broker;
mod clients;
mod emulation;
mod engine;
mod oms;
mod python;
mod tuf;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use longshore_hil_tests::{bin_dir, output, root};

/// The search path with our own programs first.
fn path_with_programs() -> Result<OsString> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(bin_dir()).chain(std::env::split_paths(&paths)))?)
}

/// Builds the bundle of one version of the example by its own script.
fn example_bundle(version: &str, out: &Path) -> Result<()> {
    let mut build = Command::new(root().join("examples/meter-digits/build.sh"));
    build.arg(version).arg(out).env("PATH", path_with_programs()?);
    output(build).map(drop)
}
