//! The whole corpus, one trial each, as the supervisor runs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use longshore_agent::engine::protocol::LoadId;
use longshore_agent::supervisor::trial::Trial;
use longshore_agent_core::update::Installed;
use longshore_trust::{Digest, ReleaseCounter};
use longshore_wire::v1::{Reason, TrialReport};
use serde_json::json;

use crate::rig::{Bundle, Engine, digits, json_request};
use crate::{bundle, corpus};

/// Address space of each trial, bytes; and its longest time.
const MEMORY_BYTES: u64 = 512 << 20;
const LIMIT: Duration = Duration::from_secs(4);

/// As the supervisor does it: from files in the state directory to a report or a reason.
fn try_out(state: &Path, b: &Bundle) -> Result<TrialReport, Reason> {
    let digest = Digest::of(&b.files[0].1);
    let dir = state.join("bundles").join(digest.to_hex());
    fs::create_dir_all(&dir).unwrap();
    for (path, bytes) in &b.files {
        fs::write(dir.join(path), bytes).unwrap();
    }
    let trial = Trial {
        program: env!("CARGO_BIN_EXE_longshore-agent").into(),
        model: b.manifest.model.clone(),
        wanted: Installed {
            bundle: digest,
            version: b.manifest.version.to_string(),
            manifest_path: "meter-digits/6.6.6/manifest.json".into(),
            length: b.files[0].1.len() as u64,
            release_counter: ReleaseCounter(9),
            origin: Default::default(),
        },
        state_dir: state.to_owned(),
        load: LoadId(1),
        limit: LIMIT,
        memory_bytes: MEMORY_BYTES,
        cancel: Arc::new(AtomicBool::new(false)),
    };
    let result = trial.run();
    fs::remove_dir_all(&dir).unwrap();
    result
}

/// A reason that says which part of what refused it: `model.limit`, `trial.memory`.
fn is_typed(code: &str) -> bool {
    let known = ["model.", "golden.", "trial.", "bundle.", "manifest.", "engine."];
    known.iter().any(|k| code.starts_with(k) && code.len() > k.len())
        && code != "trial.start"
        && code != "engine.panic"
}

#[test]
fn every_hostile_model_ends_with_a_reason_and_harms_nobody() {
    let seeds = if std::env::var_os("LONGSHORE_NIGHTLY").is_some() { 3..9 } else { 3..4 };
    seeds.for_each(whole_corpus);
}

fn whole_corpus(seed: u64) {
    let honest = digits("1.0.0");
    let path = honest.manifest.model_path().to_owned();
    let real = honest.files.iter().find(|(p, _)| *p == path).unwrap().1.clone();
    let files = corpus::all(seed, &real);
    assert!(files.len() >= 200, "{} files", files.len());

    let (mut engine, served, page) = Engine::serving();
    let mut client = engine.client();
    let request = json_request(&served.rows(0, 3), &json!({}));
    let mut ask = || {
        let r = client.post("/v2/models/meter-digits/infer", &request);
        assert_eq!(r.status, 200, "{r:?}");
        r.json()["outputs"].clone()
    };
    let before = ask();
    let state = tempfile::tempdir().unwrap();
    let (mut by_reason, mut harmless, mut slow): (BTreeMap<String, usize>, Vec<String>, Vec<_>) =
        Default::default();
    let begun = Instant::now();
    for (i, file) in files.iter().enumerate() {
        let at = Instant::now();
        match try_out(state.path(), &bundle::of(file, &honest)) {
            Ok(_) => harmless.push(file.name.clone()),
            Err(why) => {
                if std::env::var_os("LONGSHORE_SHOW").is_some() {
                    println!(
                        "{:<22} {:<18} {:>6} ms  {}",
                        file.name,
                        why.code,
                        at.elapsed().as_millis(),
                        why.detail
                    );
                }
                assert!(is_typed(&why.code), "{}: {} {}", file.name, why.code, why.detail);
                assert!(!why.detail.is_empty(), "{}: {}", file.name, why.code);
                *by_reason.entry(why.code).or_default() += 1;
            }
        }
        if at.elapsed() > Duration::from_secs(1) {
            slow.push(format!("{} {} ms", file.name, at.elapsed().as_millis()));
        }
        if i % 8 == 0 {
            assert_eq!(ask(), before, "after {}", file.name);
        }
    }
    assert_eq!(ask(), before);
    let refused: usize = by_reason.values().sum();
    println!(
        "{} hostile models (seed {seed}) in {:.1} s: {refused} refused",
        files.len(),
        begun.elapsed().as_secs_f64()
    );
    for (code, n) in &by_reason {
        println!("  {n:>4}  {code}");
    }
    println!("  {:>4}  run like the honest model: {}", harmless.len(), harmless.join(" "));
    println!("  over a second: {}", slow.join(", "));
    assert!(refused >= 200, "{refused}");
    // The engine that served is the one that was started, and every answer was counted.
    assert!(engine.child.try_wait().unwrap().is_none(), "it is alive");
    let asked = files.len().div_ceil(8) as u64 + 2;
    assert_eq!((page.snapshot().unwrap().rows, page.snapshot().unwrap().errors), (3 * asked, 0));
}
