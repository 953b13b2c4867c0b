//! Status.

/// Runs the command.
///
/// # Errors
/// What went wrong, for a person.
pub fn run(_config: &std::path::Path, _json: bool) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not built yet")
}
