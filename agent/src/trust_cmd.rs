//! `longshore-agent trust`: the TUF client as a command.

/// Runs the trust client.
#[must_use]
pub fn run(_args: Vec<String>) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
