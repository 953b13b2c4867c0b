//! The engine process: loads bundles it is handed, answers requests, counts.

pub mod protocol;

/// Runs the engine; its control socket is standard input.
#[must_use]
pub fn run(_args: Vec<String>) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
