//! Labels of rows that a bundle in shadow has seen: each is counted once for both versions, whichever comes first.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod sealing;

use longshore_agent::engine::protocol::{LoadId, Truth};
use longshore_agent::page::{NO_CLASS, NO_GROUP, Prediction, Shadowed};
use longshore_agent::store::{LabelRow, LoadDelta, Store};
use longshore_stats::shadow::Judged;
use longshore_stats::{Counters, ShadowTable};
use longshore_trust::{Digest, Kind, ModelName, StreamId};
use longshore_wire::v1::{Windows, open};
use sealing::{T0, key, sign};

fn model() -> ModelName {
    "digits".parse().unwrap()
}
fn active() -> Digest {
    Digest::of(b"active")
}
fn candidate() -> Digest {
    Digest::of(b"candidate")
}
/// Rows that the active version answered with these classes.
fn answered(load: LoadId, classes: &[u32]) -> LoadDelta {
    let rows = classes.len() as u64;
    let mut snapshot = Counters { requests: rows, rows, ..Counters::with_classes(3) };
    classes.iter().for_each(|c| snapshot.classes[*c as usize] += 1);
    let one = |class: u32| Prediction { class, score: 0.5, group: NO_GROUP, unix_ms: T0.0 };
    let predictions = (0..).zip(classes.iter().map(|c| one(*c))).collect();
    LoadDelta { load, snapshot, predictions, shadowed: Vec::new(), next_seq: rows }
}
/// What the candidate would have answered to the same.
fn shadowed(load: LoadId, of: LoadId, classes: &[u32]) -> LoadDelta {
    let mut table = ShadowTable::new(3);
    table.rows = classes.len() as u64;
    let snapshot = Counters { shadow: Some(table), ..Counters::with_classes(3) };
    let shadowed = (0..).zip(classes).map(|(seq, class)| Shadowed { load: of, seq, class: *class }).collect();
    LoadDelta { load, snapshot, predictions: Vec::new(), shadowed, next_seq: classes.len() as u64 }
}
fn label(load: LoadId, seq: u64, class: u32) -> LabelRow {
    LabelRow { load, seq, truth: Truth::Class(class), live: None }
}
/// Everything that goes to the fleet of the candidate.
fn sent(s: &mut Store) -> Counters {
    s.close_windows(None, T0.plus_ms(10_000)).unwrap();
    let first = s.last_sealed().unwrap().next();
    let out = s.seal(first, 200, u64::MAX, T0, &sign).unwrap();
    let mut sum = Counters::default();
    for seq in out.rows {
        let (kind, bytes) = s.sealed(seq).unwrap().unwrap();
        if kind == Kind::Windows {
            let windows = open::<Windows>(&bytes, &key().public()).unwrap().into_inner().body.windows;
            windows
                .iter()
                .filter(|w| w.key.bundle == candidate())
                .for_each(|w| sum.merge(&w.counters).unwrap());
        }
    }
    sum
}

const ACTIVE: [u32; 4] = [0, 1, 2, 0];
const CANDIDATE: [u32; 4] = [0, 2, 1, NO_CLASS];
/// Both right; the active one; the candidate; neither.
const TRUTH: [u32; 4] = [0, 1, 1, 2];
const JUDGED: Judged = Judged { both: 1, only_candidate: 1, only_active: 1, neither: 1 };

#[test]
fn a_label_counts_for_both_whatever_comes_first_and_once() {
    // At which step the labels come: before the candidate's answers are known, after, or when all that was sent.
    for when in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut s = Store::open(dir.path(), StreamId(9), T0).unwrap();
        let (a, c) = (
            s.begin_load(&model(), &active(), 3, T0).unwrap(),
            s.begin_load(&model(), &candidate(), 3, T0).unwrap(),
        );
        let mut sum = Counters::default();
        for step in 0..3 {
            match step {
                0 => drop(s.journal(&[answered(a, &ACTIVE)], T0.plus_ms(1)).unwrap()),
                1 => drop(s.journal(&[shadowed(c, a, &CANDIDATE)], T0.plus_ms(2)).unwrap()),
                _ => sum.merge(&sent(&mut s)).unwrap(),
            }
            if step == when {
                let labels: Vec<LabelRow> = (0..).zip(TRUTH).map(|(seq, t)| label(a, seq, t)).collect();
                assert_eq!(s.join(&[&labels], T0.plus_ms(3)).unwrap()[0].joined, 4);
                assert_eq!(s.join(&[&labels], T0.plus_ms(3)).unwrap()[0].repeated, 4);
            }
        }
        sum.merge(&sent(&mut s)).unwrap();
        let table = sum.shadow.unwrap();
        assert_eq!((table.rows, table.labelled), (4, JUDGED), "labels at step {when}");
        assert_eq!(sum.rows, 0);
        drop(s);
        // A restart finds nothing to count again.
        let mut s = Store::open(dir.path(), StreamId(9), T0).unwrap();
        s.prune_predictions(0).unwrap();
        assert!(sent(&mut s).is_empty());
    }
}

#[test]
fn answers_in_shadow_are_kept_no_longer_than_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = Store::open(dir.path(), StreamId(9), T0).unwrap();
    let (a, c) = (
        s.begin_load(&model(), &active(), 3, T0).unwrap(),
        s.begin_load(&model(), &candidate(), 3, T0).unwrap(),
    );
    s.journal(&[answered(a, &ACTIVE), shadowed(c, a, &CANDIDATE)], T0.plus_ms(1)).unwrap();
    s.prune_predictions(1).unwrap();
    let labels: Vec<LabelRow> = (0..).zip(TRUTH).map(|(seq, t)| label(a, seq, t)).collect();
    let joined = s.join(&[&labels], T0.plus_ms(3)).unwrap()[0];
    assert_eq!((joined.joined, joined.unknown), (1, 3));
    let judged = sent(&mut s).shadow.unwrap().labelled;
    assert_eq!((judged.rows(), judged.neither), (1, 1), "the newest one");
}
