//! `longshore-fleet recheck DIR`: the child process that looks at an upload. Prints one JSON value: the report, or
//! `{"code", "error"}` with exit code 1; with either goes `"sandbox"`, what the kernel gave.
//!
//! What always holds: limits on memory, CPU time and files are set before anything of the upload is read; and before
//! anything but its manifest is parsed, the process has shut itself in and can open nothing more.

use std::path::Path;
use std::process::ExitCode;

use longshore_runtime::{CheckError, Contents, Limits, MemoryFigures};
use longshore_sandbox::Memory;
use serde_json::{Value, json};

/// What the child may use; the server has a deadline of its own besides.
const ALLOWED: longshore_sandbox::Limits = longshore_sandbox::Limits {
    memory: Some(Memory::AddressSpace(4 << 30)),
    cpu_s: Some(150),
    files: 64,
    file_bytes: Some(0),
};

/// Checks the bundle in `dir`.
#[must_use]
pub fn main(dir: &Path) -> ExitCode {
    let (value, code) = match check(dir) {
        Ok(report) => (report, ExitCode::SUCCESS),
        Err(refusal) => (refusal, ExitCode::FAILURE),
    };
    println!("{value}");
    code
}

fn check(dir: &Path) -> Result<Value, Value> {
    let refuse =
        |code: &str, error: &dyn std::fmt::Display| json!({ "code": code, "error": error.to_string() });
    longshore_sandbox::limit(&ALLOWED).map_err(|e| refuse("check.limits", &e))?;
    let told = |e: CheckError| refuse(e.code(), &e);
    let bundle = longshore_bundle::read_dir(dir).map_err(|e| told(CheckError::Bundle(e)))?;
    let contents = Contents::read(&bundle).map_err(told)?;
    longshore_runtime::look_at_cpu();
    let memory = MemoryFigures::open();
    let measures = longshore_sandbox::enter(&ALLOWED);
    let checked = contents.check(&Limits::default(), &memory);
    let mut said = match &checked {
        Ok(report) => json!(report),
        Err(e) => refuse(e.code(), e),
    };
    said["sandbox"] = json!(measures);
    if checked.is_ok() { Ok(said) } else { Err(said) }
}
