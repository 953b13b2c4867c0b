//! Real messages, each byte changed: a mutant is refused before anything in it is believed, and never panics.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::collections::BTreeMap;

use longshore_trust::{
    AssignmentVersion, Digest, Generation, ReleaseCounter, Seq, SigningKey, StreamId, TimeQuality, UnixMs,
};
use longshore_wire::v1::{self, *};

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}
fn header() -> Header {
    Header {
        schema: v1::SCHEMA,
        fleet: "harbour".parse().unwrap(),
        device: "meter-1".parse().unwrap(),
        stream: StreamId(0x1234_5678_9abc),
        seq: Seq(300),
        time: UnixMs(1_767_225_600_000),
        time_quality: TimeQuality::Attested,
    }
}

/// Tries every mutant of one message; gives how many were tried and how many accepted.
fn mutate<B: Body + std::fmt::Debug + PartialEq + Clone>(body: &B) -> (u32, u32) {
    let original = v1::seal(header(), body.clone(), &key()).unwrap();
    let opened = v1::open::<B>(&original, &key().public()).unwrap();
    assert_eq!((&opened.header, &opened.body), (&header(), body));
    let (mut tried, mut accepted) = (0, 0);
    let mut check = |mutant: &[u8]| {
        tried += 1;
        accepted += u32::from(v1::open::<B>(mutant, &key().public()).is_ok());
    };
    for at in 0..original.len() {
        for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut mutant = original.clone();
            mutant[at] ^= flip;
            check(&mutant);
        }
        let mut dropped = original.clone();
        dropped.remove(at);
        check(&dropped);
        let mut doubled = original.clone();
        doubled.insert(at, original[at]);
        check(&doubled);
        check(&original[..at]);
    }
    (tried, accepted)
}

#[test]
fn no_mutant_of_a_real_message_is_accepted() {
    let version = AssignmentVersion(9);
    let slot = Slot {
        model: "digits".parse().unwrap(),
        manifest_path: "digits/1.0.0/manifest.json".into(),
        sha256: Digest::of(b"manifest"),
        length: 300,
        release_counter: ReleaseCounter(7),
        mode: Mode::Active,
    };
    let assignment = Assignment {
        version,
        generation: Generation(3),
        rollout: Some("r-1".parse().unwrap()),
        issued: UnixMs(1),
        activate_by: UnixMs(2),
        not_after: UnixMs(3),
        probation: Probation { min_ms: 1000, commit: Commit::Lease { lease_ms: 5000 } },
        guard: Guard::default(),
        targets_versions: vec![TargetsVersion { role: "models/digits".into(), version: 4 }],
        slots: vec![slot],
    };
    let command =
        Command { not_before: UnixMs(1), not_after: UnixMs(2), action: CommandAction::Halt { version } };
    let receipt = Receipt { stream: StreamId(5), up_to: Seq(70_000), fleet_epoch: 1, log: None };
    let hello = Hello {
        stream: StreamId(5),
        first_unreceipted: Seq(8),
        assignment_version: version,
        tuf_versions: BTreeMap::from([("root".to_owned(), 2)]),
        fleet_epoch: 1,
        boot: 77,
        log: Vec::new(),
    };
    let why = Reason { code: "trial.golden_mismatch".into(), detail: "row 3".into() };
    let gap =
        Gap { kind: GapKind::Windows, cause: GapCause::Quota, count: 4, from: UnixMs(1), to: UnixMs(2) };
    let events = Events {
        events: vec![
            Event { time: UnixMs(1), kind: EventKind::Refused(why.clone()) },
            Event { time: UnixMs(2), kind: EventKind::Gap(gap) },
        ],
    };
    let report = Report {
        body: ReportBody::Update(UpdateReport {
            model: "digits".parse().unwrap(),
            bundle: Digest::of(b"manifest"),
            assignment_version: version,
            generation: Generation(3),
            rollout: None,
            state: UpdateState::Failed,
            why: Some(why),
            trial: None,
            active: None,
        }),
    };
    let claim = Claim {
        nonce: [1; 32],
        token: [2; 20],
        fleet: "harbour".parse().unwrap(),
        device: "meter-1".parse().unwrap(),
        report_key: [3; 32],
        csr_sha256: Digest::of(b"csr"),
        serial: "sn-1".into(),
    };
    let renewal = Renewal { nonce: [1; 32], present: Digest::of(b"cert"), csr_sha256: Digest::of(b"csr") };
    let wiped =
        Wiped { epoch: 1, seq: Seq(9), stage: WipeStage::Done, bundles: 2, files: 40, bytes: 5_000_000 };
    let time = TimeAnswer { nonce: [1; 32], time: UnixMs(1_800_000_000_000) };
    let counts = [
        ("assignment", mutate(&assignment)),
        ("command", mutate(&command)),
        ("receipt", mutate(&receipt)),
        ("hello", mutate(&hello)),
        ("windows", mutate(&Windows { windows: vec![] })),
        ("events", mutate(&events)),
        ("report", mutate(&report)),
        ("claim", mutate(&claim)),
        ("renewal", mutate(&renewal)),
        ("wiped", mutate(&wiped)),
        ("time", mutate(&time)),
    ];
    let mut all = 0;
    for (what, (tried, accepted)) in counts {
        println!("{what}: {tried} mutants, {accepted} accepted");
        all += accepted;
    }
    assert_eq!(all, 0);
}
