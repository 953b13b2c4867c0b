//! Every scenario plays as its golden output says. `LONGSHORE_BLESS=1` writes the outputs anew: look at what has changed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use longshore_sim::{Scenario, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn scenarios() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    all.sort();
    all
}

#[test]
fn scenarios_play_as_written_down() {
    let all = scenarios();
    assert!(all.len() >= 25, "{} scenarios", all.len());
    let bless = std::env::var_os("LONGSHORE_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in &all {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with('#'), "{name} begins by saying what it shows");
        let scenario = Scenario::parse(&text).unwrap();
        let outcome = run(&scenario, scenario.seed, false).unwrap();
        if let Some(b) = &outcome.broken {
            wrong.push(format!("{name}: {} at {}: {}", b.rule, b.at, b.what));
        }
        if let Some(u) = &outcome.unexpected {
            wrong.push(format!("{name}: {u}"));
        }
        let mut told = format!("# {}\n", scenario.about);
        told.extend(outcome.timeline.iter().map(|line| format!("{line}\n")));
        let golden = path.with_extension("out");
        if bless {
            std::fs::write(&golden, &told).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != told {
            wrong.push(format!("{name}: plays otherwise than {} says:\n{told}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_run_is_the_same_every_time() {
    let scenario = longshore_sim::soak::scenario(11, 20);
    let (one, other) = (run(&scenario, 11, false).unwrap(), run(&scenario, 11, true).unwrap());
    assert_eq!((one.events, one.checks, &one.timeline), (other.events, other.checks, &other.timeline));
}

#[test]
fn random_scenarios_break_no_rule() {
    let outcomes = longshore_sim::seeds::play(
        1,
        24,
        |seed| run(&longshore_sim::soak::scenario(seed, 12), seed, false),
        |_| (),
    )
    .unwrap();
    for o in &outcomes {
        assert!(o.is_good(), "seed {}: {:?} {:?}", o.seed, o.broken, o.unexpected);
    }
    assert_eq!(outcomes.len(), 24);
}
