//! Version 1 as bytes: one file a message kind, under `fixtures/`. What is decoded from them is what was put in, and
//! encoding it again gives the same bytes.
//!
//! From the first release on these files never change: a device in the field cannot be asked to speak otherwise. A new
//! fact is a new variant at the end of its enum with a file of its own; anything else is `v2` beside `v1`. Before that,
//! `LONGSHORE_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use longshore_stats::counters::Answers;
use longshore_stats::nesting::Level;
use longshore_stats::profile::{Column, Profile};
use longshore_stats::quality::attribution::AttributionTable;
use longshore_stats::quality::fairness::Outcomes;
use longshore_stats::quality::regression::ErrorTable;
use longshore_stats::quality::scores::{LabelledScores, ScoreTable};
use longshore_stats::shadow::{Compared, Judged};
use longshore_stats::window::{ReferenceId, Value};
use longshore_stats::{Counters, Recorder, ShadowTable, WindowProfile};
use longshore_trust::log::LogHead;
use longshore_trust::{
    AssignmentVersion, Digest, Generation, Kind, ReleaseCounter, Seq, SigningKey, StreamId, TimeQuality,
    UnixMs,
};
use longshore_wire::v1::{self, *};

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}
fn header(seq: u64) -> Header {
    Header {
        schema: v1::SCHEMA,
        fleet: "harbour".parse().unwrap(),
        device: "meter-1".parse().unwrap(),
        stream: StreamId(0x1234_5678_9abc_def0),
        seq: Seq(seq),
        time: UnixMs(1_767_225_600_000),
        time_quality: TimeQuality::Attested,
    }
}

/// Compares with the fixture; the kind that was frozen.
fn frozen<B: Body + Debug + PartialEq + Clone>(name: &str, body: &B) -> Kind {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.v1"));
    let sealed = v1::seal(header(300), body.clone(), &key()).unwrap();
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        std::fs::write(&path, &sealed).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let opened = v1::open::<B>(&bytes, &key().public())
        .unwrap_or_else(|e| panic!("{name}: what was sent in version 1 cannot be read any more: {e}"))
        .into_inner();
    assert_eq!((&opened.header, &opened.body), (&header(300), body), "{name} means something else now");
    let again = v1::seal(opened.header, opened.body, &key()).unwrap();
    assert_eq!(again, bytes, "{name} is written otherwise now");
    B::KIND
}

fn log() -> LogHead {
    LogHead { epoch: 2, size: 9000, root: Digest([5; 32]), signature: ([6; 32], [7; 32]) }
}
fn why() -> Reason {
    Reason { code: "trial.golden_mismatch".into(), detail: "row 3 of `scores` is off by 0.25".into() }
}

fn update() -> UpdateReport {
    UpdateReport {
        model: "digits".parse().unwrap(),
        bundle: Digest([1; 32]),
        assignment_version: AssignmentVersion(9),
        generation: Generation(3),
        rollout: Some("r-1".parse().unwrap()),
        state: UpdateState::RolledBack,
        why: Some(why()),
        trial: Some(TrialReport {
            load_ms: 12,
            golden_rows: 16,
            deviations: vec![Deviation { output: "scores".into(), max_abs: 1e-7, max_rel: 0.5 }],
            p50_us: 300,
            p99_us: 70_000,
            rss_kib: 20_480,
        }),
        active: Some(Digest([2; 32])),
    }
}
fn inventory() -> Inventory {
    Inventory {
        agent: "0.1.0".into(),
        os: "linux".into(),
        os_version: "Debian 13".into(),
        kernel: "6.12.1".into(),
        arch: "aarch64".into(),
        cpu: "Cortex-A72".into(),
        cores: 4,
        memory_kib: 3_900_000,
        disk_kib: 29_000_000,
        board: "Raspberry Pi 4".into(),
        labels: BTreeMap::from([("site".to_owned(), "berlin".to_owned())]),
        features: vec!["f16".into()],
        sandbox: vec!["seccomp".into(), "landlock-v4".into()],
        zone: Some("Europe/Berlin".into()),
    }
}
fn health() -> Health {
    Health {
        uptime_s: 86_400,
        load1_centi: 25,
        memory_free_kib: 1_000_000,
        disk_free_kib: 20_000_000,
        temperature_centi_c: Some(-512),
        agent_pss_kib: 18_000,
        written_bytes: 4_000_000,
        outbox_rows: 3,
        engine_starts: 1,
        models: vec![ModelHealth {
            model: "digits".parse().unwrap(),
            active: Digest([2; 32]),
            version: "1.0.0".into(),
            state: UpdateState::Committed,
            rows_total: 1 << 40,
        }],
        log: vec![log()],
    }
}

/// Counters in which every table says something.
fn counters() -> Counters {
    let numbers = (0..500).map(|i| Some(f64::from(i * 7 % 101) / 4.0)).collect();
    let words = (0..500).map(|i| Some(["red", "green", "3"][i % 3].to_owned())).collect();
    let reference = Profile::of(&[
        ("size".to_owned(), Column::Numeric(numbers)),
        ("colour".to_owned(), Column::Categorical(words)),
    ])
    .unwrap();
    let mut recorder = Recorder::new(&reference, Level::Bins32);
    for i in 0..300 {
        recorder.row(&[Value::Number(f64::from(i % 40)), Value::Word(["red", "blue"][i as usize % 2])]);
    }
    recorder.row(&[Value::Number(f64::NAN), Value::Missing]);
    let mut c = Counters::with_classes(3);
    (c.requests, c.rows, c.errors, c.nan, c.low_margin, c.labels_other) = (300, 301, 2, 1, 17, 4);
    c.classes = vec![200, 100, 0];
    c.confusion = vec![150, 3, 0, 20, 70, 0, 0, 0, (1 << 53) + 1];
    [50.0, 800.0, 1e9].into_iter().for_each(|us| c.latency_us.insert(us));
    c.scores = vec![ScoreTable::default(); 3];
    c.judged = vec![LabelledScores::default(); 3];
    for (i, score) in [0.4, 0.999, 1.0, f64::NAN].into_iter().enumerate() {
        c.scores[i % 2].insert(score);
        c.judged[i % 2].insert(score, i == 1);
    }
    c.groups.rows = 60;
    c.groups.undeclared = 241;
    c.groups.labelled = 23;
    c.groups.answers = vec![Answers { rows: 40, selected: 11 }, Answers::default()];
    c.groups.outcomes.groups = vec![
        Outcomes { true_positive: 9, false_positive: 2, false_negative: 1, true_negative: 8 },
        Outcomes::default(),
    ];
    c.attribution = AttributionTable::new(2);
    c.attribution.insert(&[0.25, -1.5]).unwrap();
    c.attribution.failed = 1;
    // What a fingerprint is made of may change; how it is written may not.
    c.profile = Some(WindowProfile { reference: ReferenceId(u64::MAX / 3), ..recorder.take() });
    c
}
fn regression() -> Counters {
    let mut errors = ErrorTable::new(0.5).unwrap();
    for (truth, answer) in [(1.0, 1.0), (1.0, 7.25), (3.0, -40.0), (1.0, f64::NAN)] {
        errors.insert(truth, answer);
    }
    Counters { rows: 4, requests: 4, regression: Some(errors), ..Counters::default() }
}
/// A bundle in shadow: nothing was served by it.
fn shadow() -> Counters {
    let mut table = ShadowTable::new(3);
    for (active, candidate, steps) in [(0, 0, 0.0), (0, 2, -3.0), (2, 2, 1.0)] {
        let (active, candidate) = (Some(active), Some(candidate));
        let row = Compared { active, candidate, agree: active == candidate, nan: false, steps: Some(steps) };
        table.insert(&row);
    }
    table.insert(&Compared { nan: true, ..Compared::default() });
    (table.errors, table.skipped) = (1, 70_000);
    [80.0, 900.0].into_iter().for_each(|us| table.active_us.insert(us));
    [95.0, 70_000.0].into_iter().for_each(|us| table.candidate_us.insert(us));
    table.labelled = Judged { both: 300, only_candidate: 9, only_active: 4, neither: 17 };
    Counters { shadow: Some(table), ..Counters::default() }
}
fn windows() -> Windows {
    let key = |n: u64| WindowKey {
        model: "digits".parse().unwrap(),
        bundle: Digest([1; 32]),
        start: UnixMs(1_767_225_600_000 + n),
        end: UnixMs(1_767_229_200_000 + n),
    };
    let late = Counters { confusion: vec![0, 1, 0, 0], classes: vec![0; 2], ..Counters::default() };
    Windows {
        windows: vec![
            Window { key: key(0), supplement: false, counters: counters() },
            Window { key: key(1), supplement: false, counters: regression() },
            Window { key: key(0), supplement: true, counters: late },
            Window { key: key(2), supplement: false, counters: shadow() },
        ],
    }
}

fn events() -> Events {
    let gaps = [
        (GapKind::Counters, GapCause::PowerCut),
        (GapKind::Resolution, GapCause::Quota),
        (GapKind::Windows, GapCause::DiskFull),
        (GapKind::Replay, GapCause::RingTurned),
        (GapKind::Labels, GapCause::Corruption),
        (GapKind::Reports, GapCause::RolledBack),
    ];
    let gap =
        |(kind, cause)| EventKind::Gap(Gap { kind, cause, count: 70_000, from: UnixMs(1), to: UnixMs(2) });
    let mut kinds: Vec<EventKind> = gaps.into_iter().map(gap).collect();
    kinds.extend([
        EventKind::EngineCrash { blamed: Some(Digest([1; 32])), how: "signal 11".into() },
        EventKind::AgentStart { last_end: "killed".into() },
        EventKind::DatabaseReset { detail: "the file is no database".into() },
        EventKind::Refused(why()),
        EventKind::StreamRestarted { fleet_had: 9, sealed: 7 },
    ]);
    // A new kind belongs in here, and in a fixture of its own once version 1 is out.
    for kind in &kinds {
        match kind {
            EventKind::Gap(_)
            | EventKind::EngineCrash { .. }
            | EventKind::AgentStart { .. }
            | EventKind::DatabaseReset { .. }
            | EventKind::Refused(_)
            | EventKind::StreamRestarted { .. } => {}
        }
    }
    Events { events: kinds.into_iter().map(|kind| Event { time: UnixMs(1_767_225_600_000), kind }).collect() }
}

fn assignment() -> Assignment {
    Assignment {
        version: AssignmentVersion(9),
        generation: Generation(3),
        rollout: Some("r-1".parse().unwrap()),
        issued: UnixMs(1),
        activate_by: UnixMs(2),
        not_after: UnixMs(3),
        probation: Probation { min_ms: 1000, commit: Commit::Lease { lease_ms: 5000 } },
        guard: Guard {
            max_error_permille: 50,
            max_crashes: 1,
            max_p99_percent: 300,
            max_score_shift_permille: 250,
        },
        targets_versions: vec![TargetsVersion { role: "models/digits".into(), version: 4 }],
        slots: vec![
            Slot {
                model: "digits".parse().unwrap(),
                manifest_path: "digits/1.0.0/manifest.json".into(),
                sha256: Digest([1; 32]),
                length: 300,
                release_counter: ReleaseCounter(7),
                mode: Mode::Active,
            },
            Slot {
                model: "pumps".parse().unwrap(),
                manifest_path: "pumps/2.0.0/manifest.json".into(),
                sha256: Digest([2; 32]),
                length: 70_000,
                release_counter: ReleaseCounter(8),
                mode: Mode::Shadow,
            },
        ],
    }
}

#[test]
fn every_message_of_version_1_is_read_and_written_as_it_was() {
    let version = AssignmentVersion(9);
    let mut frozen_kinds = vec![
        frozen(
            "hello",
            &Hello {
                stream: StreamId(5),
                first_unreceipted: Seq(8),
                assignment_version: version,
                tuf_versions: BTreeMap::from([("root".to_owned(), 2), ("models/digits".to_owned(), 70)]),
                fleet_epoch: 1,
                boot: u64::MAX,
                log: vec![log()],
            },
        ),
        frozen("report-update", &Report { body: ReportBody::Update(update()) }),
        frozen("report-inventory", &Report { body: ReportBody::Inventory(inventory()) }),
        frozen("report-health", &Report { body: ReportBody::Health(health()) }),
        frozen(
            "report-command",
            &Report { body: ReportBody::Command(CommandReport { epoch: 2, seq: Seq(17), changed: 1 }) },
        ),
        frozen("windows", &windows()),
        frozen("events", &events()),
        frozen("assignment", &assignment()),
        frozen(
            "assignment-local",
            &Assignment {
                probation: Probation { min_ms: 1000, commit: Commit::Local },
                rollout: None,
                slots: Vec::new(),
                ..assignment()
            },
        ),
        frozen(
            "receipt",
            &Receipt { stream: StreamId(5), up_to: Seq(70_000), fleet_epoch: 1, log: Some(log()) },
        ),
        frozen("time", &TimeAnswer { nonce: [1; 32], time: UnixMs(1_800_000_000_000) }),
        frozen(
            "claim",
            &Claim {
                nonce: [1; 32],
                token: [2; 20],
                fleet: "harbour".parse().unwrap(),
                device: "meter-1".parse().unwrap(),
                report_key: [3; 32],
                csr_sha256: Digest([4; 32]),
                serial: "sn-1".into(),
            },
        ),
        frozen("renewal", &Renewal { nonce: [1; 32], present: Digest([5; 32]), csr_sha256: Digest([6; 32]) }),
    ];
    for (name, action) in [
        ("command-commit", CommandAction::Commit { version }),
        ("command-renew-lease", CommandAction::RenewLease { version }),
        ("command-halt", CommandAction::Halt { version }),
        ("command-flush", CommandAction::Flush),
        ("command-wipe", CommandAction::Wipe),
    ] {
        let command = Command { not_before: UnixMs(1), not_after: UnixMs(2), action };
        frozen_kinds.push(frozen(name, &command));
    }
    for (name, stage) in [("wiped-begun", WipeStage::Begun), ("wiped-done", WipeStage::Done)] {
        let wiped = Wiped { epoch: 1, seq: Seq(9), stage, bundles: 2, files: 40, bytes: 5_000_000 };
        frozen_kinds.push(frozen(name, &wiped));
    }
    let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|k| !frozen_kinds.contains(k)).collect();
    assert!(missing.is_empty(), "no fixture has kind {missing:?}");
}

#[test]
fn every_fixture_is_looked_at() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let found = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(found, 20, "a file that no test reads promises nothing");
}
