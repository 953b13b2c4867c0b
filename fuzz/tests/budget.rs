//! Every target on a fixed budget, and a hunter that is shown to find what is there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::path::Path;

use longshore_fuzz::hunt::{Budget, Hunt, Summary, hunt};
use longshore_fuzz::{Target, seed_dir, target, targets};

fn hunted(target: Target, seed: u64, inputs: u64) -> (Summary, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_longshore-fuzz"));
    let job = Hunt { program, target, seed, budget: Budget::Inputs(inputs), out: dir.path() };
    (hunt(&job, |_| {}).unwrap(), dir)
}

fn keeps_its_promises(name: &str) {
    let target = target(name).unwrap();
    let whole = std::env::var_os("LONGSHORE_NIGHTLY").is_some();
    let inputs = if whole { target.inputs * 100 } else { target.inputs };
    let (summary, _dir) = hunted(target, 3, inputs);
    println!(
        "{name}: {} inputs in {:.1} s, contained {:?}",
        summary.inputs,
        summary.took.as_secs_f64(),
        summary.contained
    );
    assert!(summary.found.is_empty(), "{:#?}", summary.found);
    assert_eq!(summary.inputs, inputs);
}

macro_rules! budget {
    ($($test:ident $name:literal)*) => {
        $(#[test] fn $test() { keeps_its_promises($name); })*
        #[test]
        fn every_target_is_tested_and_has_seeds() {
            let tested = [$($name),*];
            for t in targets::ALL {
                assert!(tested.contains(&t.name), "{} has no test", t.name);
                let seeds = std::fs::read_dir(seed_dir(t)).unwrap_or_else(|e| panic!("{}: {e}", t.name)).count();
                assert!(seeds > 0, "{} has no seeds", t.name);
            }
            assert_eq!(tested.len(), targets::ALL.len());
        }
    };
}

budget! {
    canonical_json "canonical-json"
    tuf "tuf"
    envelope "envelope"
    wire "wire"
    topic "topic"
    engine_packets "engine-packets"
    manifest "manifest"
    safetensors "safetensors"
    npz "npz"
    profile "profile"
    oip "oip"
    agent_config "agent-config"
    onnx "onnx"
}

#[test]
fn every_seed_is_taken_by_its_reader() {
    for t in targets::ALL {
        for seed in longshore_fuzz::seeds(t) {
            (t.run)(&seed);
        }
    }
}

#[test]
fn what_is_there_is_found_saved_and_found_again() {
    let kinds = [("planted-panic", "panic"), ("planted-memory", "memory"), ("planted-stack", "stack")];
    for (name, kind) in kinds {
        let planted = target(name).unwrap();
        let (summary, dir) = hunted(planted, 5, planted.inputs);
        let first = summary.found.first().unwrap_or_else(|| panic!("{name}: not found"));
        assert_eq!(first.kind, kind, "{first:?}");
        assert!(first.file.starts_with(dir.path()));
        let (again, _dir) = hunted(planted, 5, planted.inputs);
        let numbers = |s: &Summary| s.found.iter().map(|f| f.input).collect::<Vec<_>>();
        assert_eq!(numbers(&again), numbers(&summary), "the same seed finds the same");
        let replayed = std::process::Command::new(env!("CARGO_BIN_EXE_longshore-fuzz"))
            .args(["replay", "--target", name])
            .arg(&first.file)
            .output()
            .unwrap();
        assert!(!replayed.status.success() || kind == "memory", "{name}: {replayed:?}");
    }
}
