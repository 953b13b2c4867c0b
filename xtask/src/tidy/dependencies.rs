//! Who may depend on whom, read from `cargo metadata`; and every dependency has its line in `docs/dependencies.md`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::run::root;

/// Crates that decide and never touch the world.
pub const PURE: &[&str] = &[
    "longshore-trust",
    "longshore-wire",
    "longshore-stats",
    "longshore-bundle",
    "longshore-agent-core",
    "longshore-fleet-core",
];

/// What a pure crate must not name.
const IMPURE_LIBRARIES: &[&str] = &[
    "tokio",
    "rusqlite",
    "sqlx",
    "rumqttc",
    "mqtt5",
    "axum",
    "hyper",
    "ureq",
    "tract-onnx",
    "rand",
    "getrandom",
    "rustls",
    "sysinfo",
    "rustix",
];

/// Workspace crates each workspace crate may depend on.
const MAY: &[(&str, &[&str])] = &[
    ("longshore-trust", &[]),
    ("longshore-stats", &[]),
    ("longshore-wire", &["longshore-trust", "longshore-stats"]),
    ("longshore-bundle", &["longshore-trust", "longshore-stats"]),
    ("longshore-runtime", &["longshore-trust", "longshore-bundle"]),
    ("longshore-sandbox", &[]),
    ("longshore-agent-core", &["longshore-trust", "longshore-wire", "longshore-bundle", "longshore-stats"]),
    (
        "longshore-agent",
        &[
            "longshore-agent-core",
            "longshore-trust",
            "longshore-wire",
            "longshore-bundle",
            "longshore-stats",
            "longshore-runtime",
            "longshore-sandbox",
        ],
    ),
    ("longshore-fleet-core", &["longshore-trust", "longshore-wire", "longshore-bundle", "longshore-stats"]),
    (
        "longshore-fleet",
        &[
            "longshore-fleet-core",
            "longshore-trust",
            "longshore-wire",
            "longshore-bundle",
            "longshore-stats",
            "longshore-runtime",
            "longshore-sandbox",
        ],
    ),
    (
        "longshore",
        &[
            "longshore-fleet-core",
            "longshore-trust",
            "longshore-bundle",
            "longshore-stats",
            "longshore-runtime",
        ],
    ),
    // What the simulator drives is what ships: the cores, and nothing that touches the world.
    (
        "longshore-sim",
        &[
            "longshore-agent-core",
            "longshore-fleet-core",
            "longshore-trust",
            "longshore-wire",
            "longshore-bundle",
            "longshore-stats",
        ],
    ),
];

/// Libraries that only these crates may name.
const ONLY: &[(&str, &[&str])] = &[
    ("tract-onnx", &["longshore-runtime"]),
    ("landlock", &["longshore-sandbox"]),
    ("seccompiler", &["longshore-sandbox"]),
    ("rusqlite", &["longshore-agent", "longshore-hil-tests"]),
    ("sqlx", &["longshore-fleet"]),
    ("mqtt5", &["longshore-fleet"]),
    ("rumqttc", &["longshore-agent", "longshore-fleet"]),
];

/// Breaks rules on purpose, for the simulator to notice: nothing that ships may be built with it.
const BROKEN: &str = "broken-rules";

/// Every breach, in words.
///
/// # Errors
/// When the metadata or `docs/dependencies.md` cannot be read.
pub fn check() -> Result<Vec<String>> {
    let metadata =
        MetadataCommand::new().current_dir(root()).no_deps().exec().context("cargo metadata failed")?;
    let may: BTreeMap<_, _> = MAY.iter().copied().collect();
    let mut breaches = Vec::new();
    let mut external = BTreeSet::new();
    let ours: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let by_default =
            package.features.get("default").is_some_and(|f| f.iter().any(|f| f.contains(BROKEN)));
        if by_default || package.dependencies.iter().any(|d| d.features.iter().any(|f| f == BROKEN)) {
            breaches
                .push(format!("{name} is built with `{BROKEN}`, which is for `longshore-sim mutants` alone"));
        }
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            let on = dependency.name.as_str();
            if ours.contains(on) {
                if may.get(name).is_some_and(|allowed| !allowed.contains(&on)) {
                    breaches.push(format!("{name} must not depend on {on}"));
                }
                continue;
            }
            external.insert(on.to_owned());
            if PURE.contains(&name) && IMPURE_LIBRARIES.contains(&on) {
                breaches.push(format!("{name} is pure and must not name {on}"));
            }
            if ONLY.iter().any(|(library, crates)| *library == on && !crates.contains(&name)) {
                breaches.push(format!("{on} must not be named by {name}"));
            }
        }
    }
    for name in MAY.iter().map(|(n, _)| *n).chain(PURE.iter().copied()) {
        if !ours.contains(name) {
            breaches.push(format!("the rules name {name}, which is no crate of this workspace"));
        }
    }
    let explained =
        std::fs::read_to_string(root().join("docs/dependencies.md")).context("docs/dependencies.md")?;
    for library in external {
        if !explained.contains(&format!("| `{library}` |")) {
            breaches.push(format!("{library} has no line in docs/dependencies.md"));
        }
    }
    Ok(breaches)
}
