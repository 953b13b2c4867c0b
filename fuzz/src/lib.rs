//! Fuzzing: what anybody outside can send is thrown, mangled, at the code that reads it.
//!
//! A target is a plain function of bytes that panics when a property fails. An input is a function of target, seed and a
//! number ([`mutate::input`]), so a finding is replayed by naming the three. A hunt ([`hunt`]) runs in a child process with
//! limited memory: whatever ends the child (panic, abort, deep recursion, endless loop) is found by its parent and saved.
//! Ordinary tests hunt on a fixed budget, `cargo xtask fuzz` for as long as wished. How to: `docs/guides/fuzzing.md`.

#![forbid(unsafe_code)]

pub mod hunt;
pub mod mutate;
pub mod targets;
pub mod work;

pub use mutate::Shape;

/// One thing to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name; seeds are in `fuzz/seeds/<name>/`.
    pub name: &'static str,
    /// What is promised of it.
    pub promise: &'static str,
    /// How its inputs are built, for mutations that keep some of it.
    pub shape: Shape,
    /// Memory its process may have, bytes.
    pub memory_bytes: u64,
    /// How many inputs an ordinary test run gives it: about a second's worth.
    pub inputs: u64,
    /// Whether running out of memory or time is contained where it runs (in a trial), and so no finding.
    pub contained: bool,
    /// Its first seeds; findings that were mended are added as files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The target with this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    targets::ALL.iter().chain(targets::PLANTED).find(|t| t.name == name).copied()
}

/// Folder of the committed seeds of a target.
#[must_use]
pub fn seed_dir(target: &Target) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

/// The committed seeds of a target, in the order of their names; without any, those it makes itself.
#[must_use]
pub fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(seed_dir(target))
        .map(|dir| dir.filter_map(|e| Some(e.ok()?.path())).collect())
        .unwrap_or_default();
    paths.sort();
    let stored: Vec<Vec<u8>> = paths.iter().filter_map(|p| std::fs::read(p).ok()).collect();
    if stored.is_empty() { (target.seeds)() } else { stored }
}
