//! `longshore bundle`: make and judge bundles, with the engine that devices run. No server, no keys.

mod answers;
mod build;
mod check;
mod doctor;
mod graph;
mod inspect;
mod junit;
mod sign;

use longshore_bundle::ManifestError;
use longshore_runtime::{CheckError, LoadError};

use crate::context::{Context, Failure};

/// What can be done with bundles.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a bundle of a model and what belongs to it; nothing is written when a device would refuse it
    Build(Box<build::Args>),
    /// Show what a bundle is
    Inspect(inspect::Args),
    /// Check a bundle as a device does: files, load, golden vectors, latency, memory
    Test(check::Args),
    /// Sign a bundle by OpenSSF Model Signing, into its `model.sig`
    Sign(sign::Args),
    /// Say why an ONNX model does not load, and what to change in the export
    Doctor(doctor::Args),
}

/// Runs one of them.
///
/// # Errors
/// [`Failure`] with the reason.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(args) => build::run(context, &args),
        Command::Inspect(args) => inspect::run(context, &args),
        Command::Test(args) => check::run(context, &args),
        Command::Sign(args) => sign::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
    }
}

fn refused(e: &ManifestError) -> Failure {
    Failure::refused(e.reason.code(), e.to_string())
}

fn not_loaded(file: &str, e: &LoadError) -> Failure {
    Failure::refused(
        e.code(),
        format!("{file}: {e}\nRun `longshore bundle doctor {file}` for everything it finds."),
    )
}

fn failed(e: &CheckError) -> Failure {
    Failure::refused(e.code(), e.to_string())
}

/// Reads a file that the command line names.
fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))
}

/// A table without lines, for people.
fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
