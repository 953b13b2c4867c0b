//! What a device writes into its database, in the order of a day, through the real store.

use std::path::Path;

use longshore_agent::engine::protocol::LoadId;
use longshore_agent::page::{NO_GROUP, Prediction};
use longshore_agent::store::{LoadDelta, Pending, Store, StoreError};
use longshore_agent_core::update::{Batch, Installed, ModelRecord, Token, Write};
use longshore_stats::{Counters, DdSketch};
use longshore_trust::{
    AssignmentVersion, Digest, EnvelopeError, Generation, ReleaseCounter, Seq, SigningKey, StreamId,
    TimeQuality, UnixMs,
};
use longshore_wire::v1::{EventKind, Header, SCHEMA, UpdateReport, UpdateState, seal};

pub const T0: UnixMs = UnixMs(1_800_000_000_000);

pub fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, StreamId(0xfeed_0000_0000_0001), T0)
}
fn bundle() -> Digest {
    Digest::of(b"bundle")
}
/// What the page has counted after so many rows.
pub fn delta(load: LoadId, rows: u64, remembered: u64) -> LoadDelta {
    let mut latency_us = DdSketch::default();
    (0..rows.min(50)).for_each(|i| latency_us.insert(100.0 + i as f64));
    let mut snapshot = Counters::with_classes(10);
    (snapshot.requests, snapshot.rows) = (rows, rows);
    snapshot.classes[3] = rows;
    let predictions = (rows.saturating_sub(remembered)..rows)
        .map(|seq| (seq, Prediction { class: 3, score: 0.5, group: NO_GROUP, unix_ms: T0.0 }))
        .collect();
    LoadDelta {
        load,
        snapshot: Counters { latency_us, ..snapshot },
        predictions,
        shadowed: Vec::new(),
        next_seq: rows,
    }
}
pub fn sign(seq: Seq, pending: &Pending) -> Result<Vec<u8>, EnvelopeError> {
    let header = Header {
        schema: SCHEMA,
        fleet: "demo".parse().unwrap(),
        device: "dev-1".parse().unwrap(),
        stream: StreamId(1),
        seq,
        time: T0,
        time_quality: TimeQuality::None,
    };
    let key = SigningKey::from_seed(&[1; 32]);
    match pending {
        Pending::Report(r) => seal(header, r.clone(), &key),
        Pending::Events(e) => seal(header, e.clone(), &key),
        Pending::Windows(w) => seal(header, w.clone(), &key),
    }
}
pub fn record(counter: u64) -> ModelRecord {
    let mut r = ModelRecord::new("digits".parse().unwrap());
    r.floor = ReleaseCounter(counter);
    r.active = Some(Installed {
        bundle: bundle(),
        version: "1.0.0".into(),
        manifest_path: "digits/1.0.0/manifest.json".into(),
        length: 9,
        release_counter: ReleaseCounter(counter),
        origin: Default::default(),
    });
    r
}
/// A state change with its report, as one transaction.
pub fn batch(counter: u64) -> Batch {
    let report = UpdateReport {
        model: "digits".parse().unwrap(),
        bundle: bundle(),
        assignment_version: AssignmentVersion(counter),
        generation: Generation(1),
        rollout: None,
        state: UpdateState::Committed,
        why: None,
        trial: None,
        active: None,
    };
    let writes = vec![
        Write::Record(Box::new(record(counter))),
        Write::Assigned(AssignmentVersion(counter)),
        Write::Commanded(1, counter),
        Write::Report(Box::new(report)),
    ];
    Batch { token: Token(counter), writes }
}
/// The model whose rows are counted.
pub fn begin(store: &mut Store) -> Result<LoadId, StoreError> {
    store.begin_load(&"digits".parse().unwrap(), &bundle(), 10, T0)
}
pub fn event(store: &mut Store, what: &str) -> Result<(), StoreError> {
    store.event(T0, &EventKind::AgentStart { last_end: what.to_owned() })
}
