//! What the journal keeps of everything that is monitored: in windows, held back, joined to labels, cut to fit messages.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod sealing;

use std::path::Path;

use longshore_agent::engine::protocol::{LoadId, Truth};
use longshore_agent::page::{NO_CLASS, NO_GROUP, Prediction};
use longshore_agent::store::{Held, Joined, LabelRow, LoadDelta, Quota, Store, Total, Watched};
use longshore_stats::counters::{Answers, encoded_bytes};
use longshore_stats::nesting::Level;
use longshore_stats::profile::{Column, Profile};
use longshore_stats::quality::attribution::AttributionTable;
use longshore_stats::quality::scores::ScoreTable;
use longshore_stats::{Counters, Recorder};
use longshore_trust::{Digest, Kind, ModelName, Seq, StreamId};
use longshore_wire::v1::{Window, Windows, open};

use sealing::{T0, key, sign};

const MIN: u64 = 60_000;
/// Two classes with scores, three groups.
const CREDIT: Watched = Watched { classes: 2, scored: true, groups: 3, favourable: 1, error_unit: None };

fn model() -> ModelName {
    "credit".parse().unwrap()
}
fn bundle() -> Digest {
    Digest::of(b"bundle")
}
fn store(dir: &Path) -> Store {
    Store::open(dir, StreamId(7), T0).unwrap()
}
/// Seals everything and hands out the windows.
fn drain(s: &mut Store) -> Vec<Window> {
    let mut windows = Vec::new();
    loop {
        let first = s.last_sealed().unwrap().next();
        let out = s.seal(first, 4, u64::MAX, T0, &sign).unwrap();
        for seq in out.rows {
            let (kind, bytes) = s.sealed(seq).unwrap().unwrap();
            if kind == Kind::Windows {
                windows.extend(open::<Windows>(&bytes, &key().public()).unwrap().into_inner().body.windows);
            }
        }
        if !out.more {
            return windows;
        }
    }
}
fn merged(windows: &[Window]) -> Counters {
    windows.iter().fold(Counters::default(), |mut sum, w| {
        sum.merge(&w.counters).unwrap();
        sum
    })
}
fn reference(features: usize) -> Profile {
    let column =
        |f: usize| Column::Numeric((0..2_000).map(|i| Some(f64::from(i * (f as i32 + 3) % 1009))).collect());
    Profile::of(&(0..features).map(|f| (format!("f{f}"), column(f))).collect::<Vec<_>>()).unwrap()
}
/// What a page of `CREDIT` says after so many rows, all of one group and the favourable class.
fn delta(load: LoadId, rows: u64, group: usize) -> LoadDelta {
    let mut snapshot = Counters::with_classes(2);
    (snapshot.requests, snapshot.rows, snapshot.low_margin) = (rows, rows, rows / 2);
    snapshot.classes[1] = rows;
    snapshot.scores = vec![ScoreTable::default(); 2];
    (0..rows).for_each(|_| snapshot.scores[1].insert(0.9));
    snapshot.groups.rows = rows;
    snapshot.groups.answers = vec![Answers::default(); 3];
    snapshot.groups.answers[group] = Answers { rows, selected: rows };
    let mut recorder = Recorder::new(&reference(2), Level::Bins32);
    (0..rows).for_each(|i| recorder.numbers(&[i as f64, -1.0]));
    snapshot.profile = Some(recorder.take());
    snapshot.attribution = AttributionTable::new(2);
    (0..rows).for_each(|i| snapshot.attribution.insert(&[i as f64, -0.25]).unwrap());
    let one = Prediction { class: 1, score: 0.9, group: group as u8, unix_ms: T0.0 };
    LoadDelta {
        load,
        snapshot,
        predictions: (0..rows).map(|s| (s, one)).collect(),
        shadowed: Vec::new(),
        next_seq: rows,
    }
}
fn label(load: LoadId, seq: u64, truth: Truth) -> LabelRow {
    LabelRow { load, seq, truth, live: None }
}

#[test]
fn everything_a_page_counts_is_in_exactly_one_window() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    for (i, rows) in [3u64, 3, 10, 45].into_iter().enumerate() {
        s.journal(&[delta(load, rows, 0)], T0.plus_ms(i as u64 * 10)).unwrap();
        // Killed and started again, it goes on from what was journalled.
        drop(s);
        s = store(dir.path());
        if i % 2 == 1 {
            s.close_windows(None, T0.plus_ms(i as u64 * 10 + 5)).unwrap();
        }
    }
    s.close_windows(None, T0.plus_ms(100)).unwrap();
    let sum = merged(&drain(&mut s));
    let whole = delta(load, 45, 0).snapshot;
    assert_eq!(
        (&sum.profile, &sum.scores, sum.low_margin),
        (&whole.profile, &whole.scores, whole.low_margin)
    );
    assert_eq!((sum.rows, sum.groups.rows), (45, 45));
    assert_eq!(sum.attribution, whole.attribution);
    assert_eq!(s.totals(Total::LowMargin).unwrap()[&model()], 22);
    assert_eq!(s.totals(Total::OutOfRange).unwrap()[&model()], 45, "-1 is below every reference value");
}

#[test]
fn small_groups_stay_until_they_are_large_enough() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    s.journal(&[delta(load, 19, 2)], T0.plus_ms(1)).unwrap();
    s.close_windows(None, T0.plus_ms(2)).unwrap();
    let window = drain(&mut s).remove(0).counters;
    assert_eq!((window.groups.rows, window.groups.held()), (19, (19, 0)));
    assert!(window.groups.answers.iter().all(|a| a.rows == 0));
    assert_eq!(s.held().unwrap()[&model()], Held { rows: 19, labelled: 0 });
    // What is held survives a restart, and leaves with the window in which there is enough.
    drop(s);
    let mut s = store(dir.path());
    s.journal(&[delta(load, 20, 2)], T0.plus_ms(3)).unwrap();
    s.close_windows(None, T0.plus_ms(4)).unwrap();
    let window = drain(&mut s).remove(0).counters;
    assert_eq!((window.groups.rows, window.groups.answers[2]), (1, Answers { rows: 20, selected: 20 }));
    assert_eq!(s.held().unwrap()[&model()], Held::default());
}

#[test]
fn a_group_that_appears_once_never_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    let mut page = delta(load, 1, 0);
    s.journal(&[page.clone()], T0.plus_ms(1)).unwrap();
    s.join(&[&[label(load, 0, Truth::Class(1))]], T0.plus_ms(1)).unwrap();
    for i in 1..6 {
        page = delta(load, 1 + i * 30, 0);
        page.snapshot.groups.answers =
            vec![Answers { rows: 1, selected: 1 }, Answers { rows: i * 30, selected: 0 }, Answers::default()];
        s.journal(&[page.clone()], T0.plus_ms(i * 10)).unwrap();
        s.close_windows(None, T0.plus_ms(i * 10 + 1)).unwrap();
    }
    let sum = merged(&drain(&mut s));
    assert_eq!((sum.groups.answers[0], sum.groups.answers[1].rows), (Answers::default(), 150));
    assert_eq!(sum.groups.held(), (1, 1));
    assert!(sum.groups.outcomes.groups.iter().all(|o| o.rows() == 0));
}

#[test]
fn labels_are_judged_by_score_and_group_in_time_and_late_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    let labels = |from: u64, to: u64, truth: u32| -> Vec<LabelRow> {
        (from..to).map(|seq| label(load, seq, Truth::Class(truth))).collect()
    };
    // Before there is a prediction, a label finds none; it is counted as that.
    assert_eq!(s.join(&[&labels(0, 1, 1)], T0).unwrap()[0], Joined { unknown: 1, ..Joined::default() });
    s.journal(&[delta(load, 50, 1)], T0.plus_ms(1)).unwrap();
    assert_eq!(s.join(&[&labels(0, 15, 1)], T0).unwrap()[0].joined, 15);
    assert_eq!(s.join(&[&labels(0, 15, 0)], T0).unwrap()[0].repeated, 15, "a label twice changes nothing");
    s.close_windows(None, T0.plus_ms(2)).unwrap();
    let window = drain(&mut s).remove(0).counters;
    assert_eq!((window.labelled(), window.correct(), window.groups.labelled), (15, 15, 15));
    assert_eq!((window.judged[1].positive.rows(), window.judged[1].negative.rows()), (15, 0));
    assert_eq!(window.groups.held(), (0, 15), "fifteen labelled rows are not enough");
    assert_eq!(s.held().unwrap()[&model()].labelled, 15);
    // Late labels come in a supplement; with them there are enough.
    s.join(&[&labels(15, 20, 0)], T0).unwrap();
    let late = drain(&mut s);
    assert!(late.len() == 1 && late[0].supplement);
    let late = &late[0].counters;
    assert_eq!((late.rows, late.labelled(), late.correct(), late.groups.labelled), (0, 5, 0, 5));
    assert_eq!(late.judged[1].negative.counts()[44], 5);
    let outcomes = late.groups.outcomes.groups[1];
    assert_eq!((outcomes.true_positive, outcomes.false_positive, outcomes.rows()), (15, 5, 20));
    assert_eq!(s.held().unwrap()[&model()], Held::default());
}

#[test]
fn a_label_of_no_class_or_of_a_row_without_one_fits_no_table() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    let mut page = delta(load, 3, 0);
    page.predictions[1].1 = Prediction { class: NO_CLASS, score: f32::NAN, group: NO_GROUP, unix_ms: T0.0 };
    s.journal(&[page], T0.plus_ms(1)).unwrap();
    let labels = [
        label(load, 0, Truth::Class(9)),
        label(load, 1, Truth::Class(1)),
        label(load, 2, Truth::Number(0.5)),
    ];
    assert_eq!(s.join(&[&labels], T0).unwrap()[0].joined, 3);
    s.close_windows(None, T0.plus_ms(2)).unwrap();
    let c = drain(&mut s).remove(0).counters;
    assert_eq!((c.labelled(), c.labels_other, c.groups.labelled), (0, 3, 0));
}

#[test]
fn errors_of_a_regression_are_counted_in_its_unit() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let watched = Watched { error_unit: Some(0.5), ..Watched::default() };
    let load = s.begin_load(&model(), &bundle(), watched, T0).unwrap();
    let answered = [2.0f32, -1.0, f32::NAN, 4.0];
    let predictions = (0..).zip(answered);
    let predictions = predictions
        .map(|(seq, score)| (seq, Prediction { class: NO_CLASS, score, group: NO_GROUP, unix_ms: T0.0 }))
        .collect();
    let snapshot = Counters { requests: 4, rows: 4, ..Counters::default() };
    s.journal(&[LoadDelta { load, snapshot, predictions, shadowed: Vec::new(), next_seq: 4 }], T0.plus_ms(1))
        .unwrap();
    let truths = [Truth::Number(1.5), Truth::Class(2), Truth::Number(1.0), Truth::Number(f64::INFINITY)];
    let labels: Vec<LabelRow> = (0..).zip(truths).map(|(seq, t)| label(load, seq, t)).collect();
    assert_eq!(s.join(&[&labels], T0).unwrap()[0].joined, 4);
    s.close_windows(None, T0.plus_ms(2)).unwrap();
    let errors = drain(&mut s).remove(0).counters.regression.unwrap();
    assert_eq!((errors.rows(), errors.invalid), (2, 2));
    let mae = errors.mae().unwrap();
    assert!(mae.exact.lo <= 1.75 && 1.75 <= mae.exact.hi, "{mae:?}");
}

#[test]
fn a_clock_that_goes_back_within_a_window_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0.plus_ms(5 * MIN)).unwrap();
    for (rows, at) in [(5, 6), (9, 1), (30, 0), (31, 2)] {
        s.journal(&[delta(load, rows, 0)], T0.plus_ms(at * MIN)).unwrap();
    }
    s.close_windows(None, T0).unwrap();
    let windows = drain(&mut s);
    assert_eq!(windows.len(), 1);
    assert!(windows[0].key.start < windows[0].key.end);
    assert_eq!(
        (windows[0].counters.rows, &windows[0].counters.profile),
        (31, &delta(load, 31, 0).snapshot.profile)
    );
}

#[test]
fn a_page_that_something_else_wrote_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    s.journal(&[delta(load, 5, 0)], T0.plus_ms(1)).unwrap();
    let mut lie = delta(load, 6, 0);
    lie.snapshot.profile.as_mut().unwrap().features[0].counts[3] = 1 << 60;
    s.journal(&[lie.clone()], T0.plus_ms(2)).unwrap();
    let mut fell = lie.clone();
    fell.snapshot.rows = 2;
    s.journal(&[fell.clone()], T0.plus_ms(3)).unwrap();
    fell.snapshot.rows = 4;
    s.journal(&[fell], T0.plus_ms(4)).unwrap();
    s.close_windows(None, T0.plus_ms(5)).unwrap();
    assert_eq!(merged(&drain(&mut s)).rows, 7, "five before, two after");
    let gaps: Vec<_> = s.gaps().unwrap().into_iter().map(|(kind, cause, _)| (kind, cause)).collect();
    assert_eq!(gaps, vec![("counters".to_owned(), "corruption".to_owned()); 2]);
}

/// A window whose every table is full.
fn large(features: usize, seed: u64) -> Counters {
    let mut c = Counters::with_classes(100);
    c.requests = 1;
    c.rows = 1 << 40;
    c.confusion.iter_mut().zip(seed..).for_each(|(n, i)| *n = i % 7 * 1_000_000);
    let mut recorder = Recorder::new(&reference(features), Level::Bins32);
    (0..500).for_each(|i| recorder.numbers(&vec![f64::from(i * 3 % 1000); features]));
    let mut profile = recorder.take();
    profile.features.iter_mut().flat_map(|f| &mut f.counts).for_each(|n| *n *= 100_000 + seed);
    c.profile = Some(profile);
    c
}

#[test]
fn a_window_that_fits_no_message_goes_in_summands() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let watched = Watched { classes: 100, ..Watched::default() };
    let load = s.begin_load(&model(), &bundle(), watched, T0).unwrap();
    let whole = large(256, 1);
    assert!(encoded_bytes(&whole) > 48 * 1024, "{}", encoded_bytes(&whole));
    let mut snapshot = whole.clone();
    let confusion = std::mem::take(&mut snapshot.confusion);
    let one = Prediction { class: 3, score: 0.5, group: NO_GROUP, unix_ms: T0.0 };
    s.journal(
        &[LoadDelta { load, snapshot, predictions: vec![(0, one)], shadowed: Vec::new(), next_seq: 1 }],
        T0.plus_ms(1),
    )
    .unwrap();
    s.close_windows(None, T0.plus_ms(2)).unwrap();
    let windows = drain(&mut s);
    assert!(windows.len() > 1);
    assert_eq!(
        windows.iter().filter(|w| !w.supplement).count(),
        1,
        "the first is the window, others add to it"
    );
    assert!(windows.iter().all(|w| w.key == windows[0].key));
    assert_eq!(merged(&windows), Counters { confusion: vec![0; confusion.len()], ..whole });
    assert!(s.gaps().unwrap().is_empty());
    // A late label finds its window.
    assert_eq!(s.join(&[&[label(load, 0, Truth::Class(3))]], T0).unwrap()[0].joined, 1);
    assert_eq!(merged(&drain(&mut s)).correct(), 1);
}

#[test]
fn a_label_between_two_summands_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let watched = Watched { classes: 100, ..Watched::default() };
    let load = s.begin_load(&model(), &bundle(), watched, T0).unwrap();
    let snapshot = Counters { confusion: Vec::new(), ..large(256, 1) };
    let rows = snapshot.rows;
    let one = Prediction { class: 3, score: 0.5, group: NO_GROUP, unix_ms: T0.0 };
    s.journal(
        &[LoadDelta { load, snapshot, predictions: vec![(0, one)], shadowed: Vec::new(), next_seq: 1 }],
        T0.plus_ms(1),
    )
    .unwrap();
    s.close_windows(None, T0.plus_ms(2)).unwrap();
    let out = s.seal(Seq(1), 1, u64::MAX, T0, &sign).unwrap();
    assert!(out.more && out.rows.len() == 1);
    assert_eq!(s.join(&[&[label(load, 0, Truth::Class(3))]], T0).unwrap()[0].joined, 1);
    let (_, bytes) = s.sealed(Seq(1)).unwrap().unwrap();
    let mut windows = open::<Windows>(&bytes, &key().public()).unwrap().into_inner().body.windows;
    windows.extend(drain(&mut s));
    let sum = merged(&windows);
    assert_eq!((sum.rows, sum.labelled(), sum.correct()), (rows, 1, 1));
}

#[test]
fn coarsening_under_quota_merges_every_table_and_loses_no_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), CREDIT, T0).unwrap();
    // Five-minute windows over a day.
    for i in 1..=288u64 {
        let mut page = delta(load, i, 0);
        page.predictions.drain(..i as usize - 1);
        s.journal(&[page], T0.plus_ms(i * 5 * MIN)).unwrap();
        s.close_windows(None, T0.plus_ms(i * 5 * MIN)).unwrap();
    }
    let (now, fine) = (T0.plus_ms(289 * 5 * MIN), s.waiting().unwrap());
    assert_eq!(fine, 288);
    // Less and less room, until days are all there is: first hours, then days, and never less.
    let mut steps = Vec::new();
    for window_bytes in (0..64).rev().map(|kib| kib * 1024) {
        s.enforce(&Quota { window_bytes, reports: 1000 }, now).unwrap();
        let gaps = s.gaps().unwrap();
        if steps.last().is_none_or(|(n, _)| *n != gaps.len()) {
            steps.push((gaps.len(), s.waiting().unwrap() - gaps.len() as u64));
        }
        if gaps.len() == 2 {
            break;
        }
    }
    assert_eq!(steps.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(steps[1].1 <= 26 && steps[2].1 <= 3, "{steps:?}");
    let gaps = s.gaps().unwrap();
    assert!(gaps.iter().all(|(kind, cause, _)| kind == "resolution" && cause == "quota"), "{gaps:?}");
    assert_eq!(gaps[0].2, 288, "every window that was merged is in the ledger");
    let sum = merged(&drain(&mut s));
    let whole = delta(load, 288, 0).snapshot;
    assert_eq!((sum.rows, &sum.profile, &sum.scores), (288, &whole.profile, &whole.scores));
    assert_eq!(
        (sum.groups.rows, sum.groups.held()),
        (288, (8, 0)),
        "held rows are those that wait for twenty"
    );
}
