//! `longshore-fleet recheck DIR`: the child process that looks at an upload. Prints one JSON value: the report, or
//! `{"code", "error"}` with exit code 1.
//!
//! What always holds: limits on memory, CPU time and files are set before anything of the upload is read.

use std::path::Path;
use std::process::ExitCode;

use longshore_runtime::Limits;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space, bytes.
const MEMORY_BYTES: u64 = 4 << 30;
/// CPU time, s.
const CPU_S: u64 = 150;

/// Checks the bundle in `dir`.
#[must_use]
pub fn main(dir: &Path) -> ExitCode {
    let (value, code) = match limit_self().map_err(|e| ("check.limits", e.to_string())).and_then(|()| {
        longshore_runtime::recheck(dir, &Limits::default()).map_err(|e| (e.code(), e.to_string()))
    }) {
        Ok(report) => (serde_json::json!(report), ExitCode::SUCCESS),
        Err((code, error)) => (serde_json::json!({ "code": code, "error": error }), ExitCode::FAILURE),
    };
    println!("{value}");
    code
}

fn limit_self() -> std::io::Result<()> {
    for (resource, limit) in [
        (Resource::As, MEMORY_BYTES),
        (Resource::Cpu, CPU_S),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 64),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}
