//! Enrolment.

/// Runs the command.
///
/// # Errors
/// What went wrong, for a person.
pub fn run(_config: &std::path::Path, _url: Option<&str>, _token_file: &std::path::Path, _device: Option<&str>) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not built yet")
}
