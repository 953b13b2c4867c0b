//! What the database promises: one transaction, exactly once, nothing lost without a row that says so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod sealing;

use std::fs;
use std::path::Path;

use longshore_agent::engine::protocol::{LoadId, Truth};
use longshore_agent::page::{NO_GROUP, Prediction};
use longshore_agent::store::{Joined, LabelRow, Live, LoadDelta, Pending, Quota, Store, StoreError};
use longshore_agent_core::update::{Batch, Installed, ModelRecord, Token, Write};
use longshore_stats::{Counters, DdSketch};
use longshore_trust::{
    AssignmentVersion, Digest, Generation, Kind, ModelName, ReleaseCounter, Seq, StreamId,
};
use longshore_wire::v1::{
    EventKind, Events, GapKind, Report, ReportBody, UpdateReport, UpdateState, Windows, open,
};

use sealing::{T0, key, sign};

const MIN: u64 = 60_000;

fn model() -> ModelName {
    "digits".parse().unwrap()
}
fn bundle() -> Digest {
    Digest::of(b"bundle")
}
fn store(dir: &Path) -> Store {
    Store::open(dir, StreamId(0xfeed_0000_0000_0001), T0).unwrap()
}
fn counters(rows: u64) -> Counters {
    let mut latency_us = DdSketch::default();
    (0..rows).for_each(|i| latency_us.insert(100.0 + i as f64));
    let mut c = Counters::with_classes(10);
    c.requests = rows;
    c.rows = rows;
    c.classes[3] = rows;
    c.confusion = vec![0; 100];
    Counters { latency_us, ..c }
}
fn prediction(class: u32) -> Prediction {
    Prediction { class, score: 0.5, group: NO_GROUP, unix_ms: T0.0 }
}
fn delta(load: LoadId, rows: u64) -> LoadDelta {
    let predictions = (0..rows).map(|s| (s, prediction(3))).collect();
    LoadDelta { load, snapshot: counters(rows), predictions, shadowed: Vec::new(), next_seq: rows }
}
/// Seals everything and hands out the windows.
fn drain(s: &mut Store) -> Vec<longshore_wire::v1::Window> {
    let first = s.last_sealed().unwrap().next();
    let out = s.seal(first, 200, u64::MAX, T0, &sign).unwrap();
    let mut windows = Vec::new();
    for seq in out.rows {
        let (kind, bytes) = s.sealed(seq).unwrap().unwrap();
        if kind == Kind::Windows {
            windows.extend(open::<Windows>(&bytes, &key().public()).unwrap().into_inner().body.windows);
        }
    }
    windows
}
fn report(state: UpdateState) -> UpdateReport {
    UpdateReport {
        model: model(),
        bundle: bundle(),
        assignment_version: AssignmentVersion(4),
        generation: Generation(1),
        rollout: None,
        state,
        why: None,
        trial: None,
        active: None,
    }
}
fn record() -> ModelRecord {
    let mut r = ModelRecord::new(model());
    r.floor = ReleaseCounter(7);
    r.active = Some(Installed {
        bundle: bundle(),
        version: "1.0.0".into(),
        manifest_path: "digits/1.0.0/manifest.json".into(),
        length: 9,
        release_counter: ReleaseCounter(7),
        origin: Default::default(),
    });
    r
}
fn batch() -> Batch {
    let writes = vec![
        Write::Record(Box::new(record())),
        Write::Assigned(AssignmentVersion(4)),
        Write::Commanded(2, 17),
        Write::Report(Box::new(report(UpdateState::Committed))),
    ];
    Batch { token: Token(1), writes }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).apply(&batch(), T0).unwrap();
    let s = store(dir.path());
    let restored = s.restored().unwrap();
    assert_eq!(restored.models, [record()]);
    assert_eq!((restored.assigned.0, restored.commanded), (4, (2, 17)));
    assert_eq!(s.waiting().unwrap(), 1, "the report is in the same transaction");
}
#[test]
fn the_stream_belongs_to_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path()).stream();
    assert_eq!(Store::open(dir.path(), StreamId(99), T0).unwrap().stream(), first);
}
#[test]
fn counters_are_journalled_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    s.journal(&[delta(load, 5)], T0.plus_ms(1)).unwrap();
    // The same page again, as after a crash between journal and everything else.
    drop(s);
    let mut s = store(dir.path());
    s.journal(&[delta(load, 5)], T0.plus_ms(2)).unwrap();
    s.journal(&[delta(load, 8)], T0.plus_ms(3)).unwrap();
    assert_eq!(s.rows_totals().unwrap()[&model()], 8);
    assert_eq!(s.close_windows(None, T0.plus_ms(4)).unwrap(), 1);
    let windows = drain(&mut s);
    assert_eq!(windows.len(), 1);
    let expected = counters(8);
    assert_eq!(windows[0].counters, expected, "the sum of the differences is the whole, bit for bit");
    assert!(drain(&mut s).is_empty());
}
#[test]
fn load_ids_are_never_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let a = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    s.end_load(a).unwrap();
    let b = s.uncounted_load().unwrap();
    drop(s);
    let c = store(dir.path()).begin_load(&model(), &bundle(), 10, T0).unwrap();
    assert!(a < b && b < c);
}
#[test]
fn windows_of_one_bundle_do_not_overlap_even_when_the_clock_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    for (i, now) in [T0.plus_ms(1000), T0, T0.plus_ms(500)].into_iter().enumerate() {
        s.journal(&[delta(load, i as u64 + 1)], now).unwrap();
        s.close_windows(None, now).unwrap();
    }
    let mut keys: Vec<_> = drain(&mut s).into_iter().map(|w| (w.key.start, w.key.end)).collect();
    keys.sort();
    assert_eq!(keys.len(), 3);
    assert!(keys.windows(2).all(|w| w[0].1 <= w[1].0), "{keys:?}");
    assert!(keys.iter().all(|(a, b)| a < b));
}
#[test]
fn labels_count_in_their_window_then_in_a_supplement_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    s.journal(&[delta(load, 4)], T0.plus_ms(10)).unwrap();
    let label = |seq, class| LabelRow { load, seq, truth: Truth::Class(class), live: None };
    let joined = s.join(&[&[label(0, 3), label(0, 3), label(99, 1)]], T0).unwrap();
    assert_eq!(joined, [Joined { joined: 1, unknown: 1, repeated: 1 }]);
    s.close_windows(None, T0.plus_ms(20)).unwrap();
    let window = drain(&mut s).remove(0);
    assert_eq!((window.counters.labelled(), window.counters.correct(), window.counters.rows), (1, 1, 4));
    // The window has gone: its late labels make one supplement with the same key.
    s.join(&[&[label(1, 3)], &[label(2, 5), label(1, 3)]], T0).unwrap();
    let late = drain(&mut s);
    assert_eq!(late.len(), 1);
    assert!(late[0].supplement);
    assert_eq!(late[0].key, window.key);
    assert_eq!((late[0].counters.labelled(), late[0].counters.correct(), late[0].counters.rows), (2, 1, 0));
    assert_eq!(late[0].counters.confusion[5 * 10 + 3], 1, "by true class, then predicted class");
    s.join(&[&[label(98, 1)], &[label(97, 1)]], T0).unwrap();
    s.close_windows(None, T0.plus_ms(30)).unwrap();
    s.close_windows(None, T0.plus_ms(40)).unwrap();
    let counts: Vec<u64> = s.gaps().unwrap().iter().filter(|g| g.0 == "labels").map(|g| g.2).collect();
    assert_eq!(counts, [1, 2], "one row a window, however many labels were in vain");
}
#[test]
fn a_label_for_an_answer_that_only_the_page_knows_is_joined_and_not_again_after_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    let live = Live { model: model(), bundle: bundle(), classes: 10, prediction: prediction(3) };
    let label = LabelRow { load, seq: 0, truth: Truth::Class(3), live: Some(live) };
    assert_eq!(s.join(&[std::slice::from_ref(&label)], T0).unwrap()[0].joined, 1);
    s.journal(&[delta(load, 2)], T0.plus_ms(10)).unwrap();
    assert_eq!(s.join(&[&[LabelRow { live: None, ..label }]], T0).unwrap()[0].repeated, 1);
    s.close_windows(None, T0.plus_ms(20)).unwrap();
    let window = drain(&mut s).remove(0);
    assert_eq!((window.counters.labelled(), window.counters.rows), (1, 2));
}
#[test]
fn sealing_takes_reports_first_then_windows_newest_first_and_respects_the_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    for i in 1..=3 {
        s.journal(&[delta(load, i)], T0.plus_ms(i * MIN)).unwrap();
        s.close_windows(None, T0.plus_ms(i * MIN)).unwrap();
    }
    s.apply(&batch(), T0).unwrap();
    let out = s.seal(Seq(1), 200, 0, T0, &sign).unwrap();
    assert_eq!(out.rows, [Seq(1)]);
    assert!(out.more, "windows wait for their bytes");
    let (kind, bytes) = s.sealed(Seq(1)).unwrap().unwrap();
    assert_eq!(kind, Kind::Report);
    let body = open::<Report>(&bytes, &key().public()).unwrap().into_inner().body.body;
    assert_eq!(body, ReportBody::Update(report(UpdateState::Committed)));
    let windows = drain(&mut s);
    let ends: Vec<u64> = windows.iter().map(|w| w.key.end.0).collect();
    assert_eq!(ends, [T0.0 + 3 * MIN, T0.0 + 2 * MIN, T0.0 + MIN]);
}
#[test]
fn a_report_with_a_slot_replaces_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    for state in [UpdateState::Trial, UpdateState::Committed] {
        s.report(T0, Some("health"), &ReportBody::Update(report(state))).unwrap();
    }
    assert_eq!(s.waiting().unwrap(), 1);
}
#[test]
fn receipted_rows_stay_in_the_ring_for_a_fleet_that_was_restored() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    for i in 0..6 {
        s.event(T0, &EventKind::AgentStart { last_end: format!("{i}") }).unwrap();
        drain(&mut s);
    }
    s.receipted(Seq(5), 1, T0).unwrap();
    assert_eq!(s.restored().unwrap().unreceipted, [Seq(6)]);
    assert_eq!(s.reoffer(Seq(2), Seq(5), 2, T0).unwrap(), [Seq(3), Seq(4), Seq(5), Seq(6)]);
    assert!(s.gaps().unwrap().is_empty());
    let restored = s.restored().unwrap();
    assert_eq!((restored.receipted, restored.fleet_epoch), (Seq(2), 2));
    // A week later the ring has turned.
    s.receipted(Seq(6), 2, T0).unwrap();
    s.receipted(Seq(6), 2, T0.plus_ms(8 * 24 * 3_600_000)).unwrap();
    assert!(s.reoffer(Seq(0), Seq(6), 3, T0).unwrap().is_empty());
    assert!(s.gaps().unwrap().iter().any(|(kind, _, n)| kind == "replay" && *n == 6));
}
#[test]
fn under_pressure_resolution_falls_and_counts_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    for i in 1..=50 {
        s.journal(&[delta(load, i)], T0.plus_ms(i * 5 * MIN)).unwrap();
        s.close_windows(None, T0.plus_ms(i * 5 * MIN)).unwrap();
    }
    s.enforce(&Quota { window_bytes: 2_000, reports: 100 }, T0).unwrap();
    let gaps = s.gaps().unwrap();
    assert!(gaps.iter().any(|(kind, ..)| kind == "resolution"), "{gaps:?}");
    assert!(!gaps.iter().any(|(kind, ..)| kind == "windows"), "nothing was dropped: {gaps:?}");
    let windows = drain(&mut s);
    assert!(windows.len() < 10, "{}", windows.len());
    assert_eq!(windows.iter().map(|w| w.counters.rows).sum::<u64>(), 50);
    let mut sum = windows[0].counters.clone();
    windows[1..].iter().for_each(|w| sum.merge(&w.counters).unwrap());
    assert_eq!(sum, counters(50), "merged windows are the same counts, bit for bit");
}
#[test]
fn what_is_dropped_at_last_is_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    for i in 1..=5 {
        // A day apart: nothing can be merged.
        s.journal(&[delta(load, i * 10)], T0.plus_ms(i * 30 * 3_600_000)).unwrap();
        s.close_windows(None, T0.plus_ms(i * 30 * 3_600_000)).unwrap();
    }
    s.enforce(&Quota { window_bytes: 400, reports: 100 }, T0).unwrap();
    let lost: u64 = s.gaps().unwrap().iter().filter(|(k, ..)| k == "windows").map(|(_, _, n)| n).sum();
    let left: u64 = drain(&mut s).iter().map(|w| w.counters.rows).sum();
    assert!(lost > 0);
    assert_eq!(lost + left, 50);
}
#[test]
fn reports_beyond_their_limit_are_dropped_oldest_first_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    for i in 0..30 {
        s.event(T0, &EventKind::AgentStart { last_end: format!("{i}") }).unwrap();
    }
    s.enforce(&Quota { window_bytes: 1_000_000, reports: 10 }, T0).unwrap();
    assert_eq!(s.waiting().unwrap(), 10);
    let out = s.seal(Seq(1), 200, u64::MAX, T0, &sign).unwrap();
    let (_, bytes) = s.sealed(out.rows[0]).unwrap().unwrap();
    let events = open::<Events>(&bytes, &key().public()).unwrap().into_inner().body.events;
    let EventKind::Gap(gap) = &events.last().unwrap().kind else { panic!("{events:?}") };
    assert_eq!((gap.kind, gap.count), (GapKind::Reports, 21));
}
#[test]
fn a_corrupt_database_is_moved_aside_and_the_second_copy_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let mut s = store(dir.path());
        s.apply(&batch(), T0).unwrap();
        s.stream()
    };
    fs::remove_file(dir.path().join("state.db-wal")).ok();
    fs::write(dir.path().join("state.db"), vec![0x5a; 20_000]).unwrap();
    let s = Store::open(dir.path(), StreamId(5), T0).unwrap();
    assert_ne!(s.stream(), first, "a new stream: numbers of the old one are never used again");
    let restored = s.restored().unwrap();
    assert_eq!(restored.models, [record()]);
    assert_eq!((restored.assigned.0, restored.commanded), (4, (2, 17)));
    assert!(s.gaps().unwrap().iter().any(|(_, cause, _)| cause == "corruption"));
    let aside = fs::read_dir(dir.path()).unwrap().flatten();
    assert!(aside.into_iter().any(|f| f.file_name().to_string_lossy().starts_with("state.db.corrupt-")));
}
#[test]
fn a_database_that_is_gone_is_begun_again_from_the_second_copy() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).apply(&batch(), T0).unwrap();
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::remove_file(dir.path().join(file)).ok();
    }
    let s = Store::open(dir.path(), StreamId(5), T0).unwrap();
    assert_eq!(s.restored().unwrap().assigned.0, 4);
}
#[test]
fn a_database_of_a_newer_agent_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(store(dir.path()));
    let file = dir.path().join("state.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let e = Store::open(dir.path(), StreamId(5), T0).unwrap_err();
    assert!(matches!(e, StoreError::Newer { found: 99, .. }), "{e}");
    assert!(file.exists());
}
#[test]
fn the_ballast_lies_beside_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let s = store(dir.path());
    let ballast = dir.path().join("ballast");
    assert_eq!(fs::metadata(&ballast).unwrap().len(), 1024 * 1024);
    fs::remove_file(&ballast).unwrap();
    s.lay_ballast();
    assert!(ballast.exists());
}
#[test]
fn predictions_beyond_their_limit_are_forgotten_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    s.journal(&[delta(load, 10)], T0.plus_ms(10)).unwrap();
    s.prune_predictions(4).unwrap();
    let label = |seq| LabelRow { load, seq, truth: Truth::Class(3), live: None };
    let joined = s.join(&[&[label(5), label(6)]], T0).unwrap();
    assert_eq!(joined, [Joined { joined: 1, unknown: 1, repeated: 0 }]);
}
#[test]
fn a_second_copy_that_cannot_be_written_doubles_no_report_and_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    fs::create_dir(dir.path().join("second.json.part")).unwrap();
    s.apply(&batch(), T0).expect("it is committed: whoever is told that it is not commits it again");
    assert_eq!(s.waiting().unwrap(), 1);
    fs::remove_dir(dir.path().join("second.json.part")).unwrap();
    s.close_windows(None, T0).unwrap();
    assert!(dir.path().join("second.json").exists());
}
#[test]
fn a_restoration_that_was_killed_is_done_anew() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).apply(&batch(), T0).unwrap();
    // As it is between the new file and the transaction that fills it: tables, and nothing in them.
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    conn.execute_batch("DELETE FROM kv; DELETE FROM slot; DELETE FROM report").unwrap();
    drop(conn);
    let s = Store::open(dir.path(), StreamId(5), T0).unwrap();
    assert_eq!(s.stream(), StreamId(5));
    assert_eq!(s.restored().unwrap().models, [record()], "floors and slots are there again");
    assert!(s.gaps().unwrap().iter().any(|(_, cause, _)| cause == "corruption"));
}
#[test]
fn a_label_does_not_count_again_because_its_prediction_was_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let load = s.begin_load(&model(), &bundle(), 10, T0).unwrap();
    s.journal(&[delta(load, 10)], T0.plus_ms(10)).unwrap();
    let live = Live { model: model(), bundle: bundle(), classes: 10, prediction: prediction(3) };
    let label = LabelRow { load, seq: 0, truth: Truth::Class(3), live: Some(live) };
    assert_eq!(s.join(&[std::slice::from_ref(&label)], T0).unwrap()[0].joined, 1);
    s.prune_predictions(4).unwrap();
    // The page's ring is longer than what is remembered here: it still has the row.
    assert_eq!(s.join(&[&[label]], T0).unwrap(), [Joined { joined: 0, unknown: 1, repeated: 0 }]);
}
#[test]
fn the_replay_ring_is_bounded_by_its_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    for i in 1..=10 {
        s.apply(&batch(), T0).unwrap();
        s.seal(Seq(i), 200, 0, T0, &sign).unwrap();
    }
    s.receipted(Seq(8), 1, T0).unwrap();
    let row = s.sealed(Seq(1)).unwrap().unwrap().1.len() as u64;
    s.enforce(&Quota { window_bytes: 3 * row, reports: 100 }, T0).unwrap();
    let held: Vec<bool> = (1..=10).map(|i| s.sealed(Seq(i)).unwrap().is_some()).collect();
    assert_eq!(held, [false, false, false, false, false, true, true, true, true, true], "what waits stays");
}

#[test]
fn a_new_stream_takes_over_what_the_fleet_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = store(dir.path());
    let (old, new) = (s.stream(), StreamId(7));
    let event = |n: u64| EventKind::AgentStart { last_end: n.to_string() };
    for n in 1..=3 {
        s.event(T0, &event(n)).unwrap();
        assert_eq!(s.seal(Seq(n), 10, 0, T0, &sign).unwrap().rows, [Seq(n)]);
    }
    s.receipted(Seq(1), 1, T0).unwrap();
    // 1 was receipted, 2 was sealed before the image was taken, 3 since the start.
    let told = EventKind::StreamRestarted { fleet_had: 40, sealed: 3 };
    let reseal = |seq, kind, bytes: &[u8]| {
        assert_eq!(kind, Kind::Events);
        let body = open::<Events>(bytes, &key().public()).unwrap().into_inner().body;
        Ok(sign(seq, &Pending::Events(body)).unwrap())
    };
    assert_eq!(s.restart_stream(old, new, Seq(3), T0, &told, &reseal).unwrap(), [Seq(1)]);
    drop(s);
    let mut s = store(dir.path());
    assert_eq!(s.stream(), new);
    let r = s.restored().unwrap();
    assert_eq!((r.next, r.receipted, r.unreceipted), (Seq(2), Seq(0), vec![Seq(1)]));
    let (_, bytes) = s.sealed(Seq(1)).unwrap().unwrap();
    let kept = open::<Events>(&bytes, &key().public()).unwrap().into_inner().body;
    assert_eq!(kept.events[0].kind, event(3));
    assert_eq!(s.gaps().unwrap(), [("counters".to_owned(), "rolled_back".to_owned(), 0)]);
    let sealed = s.seal(Seq(2), 10, 0, T0, &sign).unwrap();
    let (_, bytes) = s.sealed(sealed.rows[0]).unwrap().unwrap();
    let next = open::<Events>(&bytes, &key().public()).unwrap().into_inner().body;
    assert!(next.events.iter().any(|e| e.kind == told), "the fleet hears of it first");
}
