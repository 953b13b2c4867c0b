//! What the sources themselves must keep: sizes, a first comment, calls that only some places may make.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::run::{command, output, root};

/// Folders of the pure crates.
const PURE: &[&str] = &[
    "shared/trust/src",
    "shared/wire/src",
    "shared/stats/src",
    "shared/bundle/src",
    "agent/core/src",
    "fleet/core/src",
];

/// Calls that make a decision depend on when or where it is taken.
const IMPURE_CALLS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "thread_rng",
    "getrandom",
    "rand::rng",
];

/// Paths that a library name may appear under (as `name::`).
const HOMES: &[(&str, &[&str])] = &[
    ("rumqttc::", &["agent/src/link", "fleet/src/gateway", "fleet/tests", "fleet/benches", "hil-tests"]),
    ("rusqlite::", &["agent/src/store", "agent/tests", "hil-tests"]),
    ("sqlx::", &["fleet/src/store", "fleet/tests"]),
    ("tract_onnx::", &["shared/runtime"]),
    ("mqtt5::", &["fleet/src/gateway"]),
];

/// Longest file of code, lines; tests are not counted.
const MAX_LINES: usize = 600;
/// From here on a file is named, so that somebody looks.
const LOOK_AGAIN: usize = 400;

/// Every breach, in words. Files worth a look are printed, not counted.
///
/// # Errors
/// When git or a file cannot be read.
pub fn check() -> Result<Vec<String>> {
    let listed = output(command("git", &["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]))?;
    let mut breaches = Vec::new();
    for path in listed.lines().map(PathBuf::from) {
        if path.starts_with("xtask/src/tidy") || !root().join(&path).exists() {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&path)).with_context(|| path.display().to_string())?;
        breaches.extend(check_file(&path, &text));
    }
    Ok(breaches)
}

/// The breaches of one file.
fn check_file(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut breaches = Vec::new();
    let is_test =
        path.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "benches" | "fixtures")))
            || path.file_stem().is_some_and(|n| n == "tests" || n.to_string_lossy().ends_with("_tests"));
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = code.lines().count();
    if !is_test && lines > MAX_LINES {
        breaches
            .push(format!("{shown} has {lines} lines of code; cut it at a seam (the limit is {MAX_LINES})"));
    } else if !is_test && lines > LOOK_AGAIN {
        eprintln!("tidy: look again at {shown}: {lines} lines");
    }
    if !text.trim_start().starts_with("//!") && !is_test {
        breaches.push(format!("{shown} does not begin by saying what it is for (a `//!` comment)"));
    }
    for (number, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or(line);
        let at = number + 1;
        if PURE.iter().any(|p| path.starts_with(p)) {
            for call in IMPURE_CALLS.iter().filter(|c| line.contains(**c)) {
                breaches.push(format!("{shown}:{at} names {call} in a pure crate; take it as an argument"));
            }
        }
        for (library, homes) in HOMES {
            if line.contains(library) && !homes.iter().any(|h| path.starts_with(h)) {
                breaches.push(format!("{shown}:{at} names {library} outside {}", homes.join(", ")));
            }
        }
        for word in ["todo!(", "unimplemented!("] {
            if line.contains(word) {
                breaches.push(format!("{shown}:{at} holds {word}…)"));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        check_file(Path::new(path), text).len()
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_and_elsewhere_is_not() {
        let text = "//! x\nfn f() { let t = Instant::now(); }\n";
        assert_eq!(breaches("agent/core/src/x.rs", text), 1);
        assert_eq!(breaches("agent/src/x.rs", text), 0);
    }
    #[test]
    fn a_library_outside_its_home_is_found() {
        let text = "//! x\nuse sqlx::Row;\n";
        assert_eq!(breaches("fleet/src/api/x.rs", text), 1);
        assert_eq!(breaches("fleet/src/store/x.rs", text), 0);
    }
    #[test]
    fn long_files_and_missing_first_comments_are_found_and_tests_are_spared() {
        let long = format!("//! x\n{}", "fn f() {}\n".repeat(MAX_LINES));
        assert_eq!(breaches("agent/src/x.rs", &long), 1);
        assert_eq!(breaches("agent/tests/x.rs", &long), 0);
        assert_eq!(breaches("agent/src/x.rs", "fn f() {}\n"), 1);
    }
}
