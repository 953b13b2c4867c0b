//! The files in `targets/`: what is built for a board, and what it may cost.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One file of `targets/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Rust target triple; also the file's name.
    pub triple: String,
    /// Which boards, for people.
    pub about: String,
    /// Whether the binary must be linked statically.
    #[serde(rename = "static")]
    pub is_static: bool,
    /// CPU features beyond the triple's baseline that every board of the class has.
    pub cpu_features: Vec<String>,
    /// Program that runs such a binary on another CPU.
    pub emulator: Option<String>,
    /// What the build may cost.
    pub budget: Budget,
}

/// Limits, in MB of 10^6 bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Largest stripped agent binary.
    pub binary_mb: f64,
    /// Largest PSS of an idle agent with one small model.
    pub pss_mb: f64,
}

impl Target {
    /// Reads `targets/<triple>.toml`.
    ///
    /// # Errors
    /// There is no such file (the message lists those there are), or it is not what a target file should be.
    pub fn read(root: &Path, triple: &str) -> Result<Target> {
        let path = root.join("targets").join(format!("{triple}.toml"));
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("no {}; targets are {}", path.display(), names(root).unwrap_or_default().join(", "))
        })?;
        let target: Target = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        ensure!(target.triple == triple, "{} says triple = {:?}", path.display(), target.triple);
        Ok(target)
    }

    /// Every target, by name.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn all(root: &Path) -> Result<Vec<Target>> {
        names(root)?.iter().map(|name| Target::read(root, name)).collect()
    }
}

fn names(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::Target;
    use std::path::Path;

    #[test]
    fn every_file_in_targets_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        let all = Target::all(root).expect("all targets are read");
        assert!(all.iter().any(|t| t.triple == "aarch64-unknown-linux-musl" && t.is_static), "{all:?}");
        for target in all {
            assert!(target.budget.binary_mb <= 12.0, "{}: the mark is 12 MB", target.triple);
            assert!(!target.about.is_empty());
        }
    }

    #[test]
    fn an_unknown_target_names_those_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        let error = format!("{:#}", Target::read(root, "riscv32-none").expect_err("there is no such target"));
        assert!(error.contains("aarch64-unknown-linux-musl"), "{error}");
    }
}
