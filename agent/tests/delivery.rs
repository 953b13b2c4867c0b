//! The real database, the sync core and a wire in memory that loses, doubles and reorders, with crashes of the device
//! and a fleet that is restored from backups: every event arrives, and none counts twice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longshore_agent::link::Link;
use longshore_agent::link::twin::TwinLink;
use longshore_agent::store::{Pending, Store};
use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::sync::{Config, Input, Output, Sync};
use longshore_trust::{EnvelopeError, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{EventKind, Events, Header, Receipt, SCHEMA, open, seal};

fn key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}
fn sign(seq: Seq, pending: &Pending) -> Result<Vec<u8>, EnvelopeError> {
    let header = Header {
        schema: SCHEMA,
        fleet: "demo".parse().unwrap(),
        device: "dev-1".parse().unwrap(),
        stream: StreamId(1),
        seq,
        time: UnixMs(0),
        time_quality: TimeQuality::None,
    };
    let Pending::Events(e) = pending else { panic!("only events are queued here") };
    seal(header, e.clone(), &key())
}

/// What the fleet has committed: position in the stream to the names it carries.
#[derive(Debug, Default, Clone)]
struct Fleet {
    stored: BTreeMap<u64, Vec<String>>,
    epoch: u64,
}

impl Fleet {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let message = open::<Events>(bytes, &key().public()).unwrap().into_inner();
        let names: Vec<String> = message
            .body
            .events
            .iter()
            .map(|e| match &e.kind {
                EventKind::AgentStart { last_end } => last_end.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        let before = self.stored.insert(message.header.seq.0, names.clone());
        assert!(before.is_none_or(|b| b == names), "a sealed row has changed");
        names
    }
    fn receipt(&self, stream: StreamId) -> Receipt {
        let up_to = (1..).take_while(|s| self.stored.contains_key(s)).last().unwrap_or(0);
        Receipt { stream, up_to: Seq(up_to), fleet_epoch: self.epoch, log: None }
    }
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    sync: Sync,
    link: TwinLink,
    up: bool,
    air: VecDeque<Vec<u8>>,
    fleet: Fleet,
    backup: Fleet,
    now: UnixMs,
    wake: UnixMs,
    made: u64,
}

fn start(dir: &std::path::Path, now: UnixMs) -> (Store, Sync) {
    let store = Store::open(dir, StreamId(77), now).unwrap();
    let r = store.restored().unwrap();
    let config = Config { max_sealed: 4, ..Config::default() };
    let sync =
        Sync::restore(config, store.stream(), r.next, r.receipted, &r.unreceipted, r.fleet_epoch, now.0);
    (store, sync)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixMs(1_800_000_000_000);
        let (store, sync) = start(dir.path(), now);
        let fleet = Fleet { epoch: 1, ..Fleet::default() };
        Self {
            dir,
            store,
            sync,
            link: TwinLink::with_capacity(6),
            up: false,
            air: VecDeque::new(),
            backup: fleet.clone(),
            fleet,
            now,
            wake: UnixMs(0),
            made: 0,
        }
    }
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(i) = inputs.pop_front() {
            self.sync.handle(self.now, i);
            loop {
                match self.sync.poll() {
                    Output::WakeAt(t) => {
                        self.wake = t;
                        break;
                    }
                    // The fleet's answer to a greeting is a receipt.
                    Output::Hello { .. } if self.up => {
                        inputs.push_back(Input::Receipt(self.fleet.receipt(self.store.stream())));
                    }
                    Output::Restart { .. } => panic!("the fleet never has more than this device sent"),
                    Output::Hello { .. } | Output::Refused(_) => {}
                    Output::Seal { first, max, window_bytes } => {
                        let s = self.store.seal(first, max, window_bytes, self.now, &sign).unwrap();
                        inputs.push_back(Input::Sealed {
                            rows: s.rows,
                            window_bytes: s.window_bytes,
                            more: s.more,
                        });
                    }
                    Output::Publish(seq) => {
                        let (_, bytes) =
                            self.store.sealed(seq).unwrap().expect("published and not on the disk");
                        if !self.up || self.link.publish("up/events", bytes).is_err() {
                            inputs.push_back(Input::NotSent(seq));
                        }
                    }
                    Output::Receipted { up_to, fleet_epoch } => {
                        self.store.receipted(up_to, fleet_epoch, self.now).unwrap();
                    }
                    Output::Reoffer { after, was, fleet_epoch } => {
                        let rows = self.store.reoffer(after, was, fleet_epoch, self.now).unwrap();
                        inputs.push_back(Input::Reoffered(rows));
                    }
                }
            }
        }
        self.air.extend(self.link.take().into_iter().map(|(_, bytes)| bytes));
    }
    fn make(&mut self) {
        self.made += 1;
        self.store.event(self.now, &EventKind::AgentStart { last_end: self.made.to_string() }).unwrap();
        self.feed(Input::Backlog);
    }
    fn disconnect(&mut self) {
        self.up = false;
        self.air.clear();
        self.feed(Input::LinkDown);
    }
    fn connect(&mut self) {
        if !self.up {
            self.up = true;
            self.feed(Input::LinkUp);
        }
    }
    fn arrive(&mut self, at: usize) {
        if let Some(bytes) = self.air.remove(at) {
            self.fleet.take(&bytes);
        }
    }
    fn receipt(&mut self) {
        let receipt = self.fleet.receipt(self.store.stream());
        self.feed(Input::Receipt(receipt));
    }
    fn step(&mut self, chance: &mut Jitter) {
        let air = self.air.len() as u64;
        match chance.up_to(16) {
            0..=3 => self.make(),
            4 | 5 => self.connect(),
            6 => self.disconnect(),
            7 | 8 => self.arrive(0),
            // Overtakes another.
            9 if air > 0 => self.arrive(chance.up_to(air - 1) as usize),
            // Is lost.
            10 => _ = self.air.pop_front(),
            // Comes twice.
            11 => {
                if let Some(b) = self.air.front().cloned() {
                    self.fleet.take(&b);
                }
            }
            12 | 13 if self.up => self.receipt(),
            14 => {
                self.now = self.now.plus_ms(chance.up_to(120_000));
                self.feed(Input::Tick);
            }
            15 => {
                self.disconnect();
                (self.store, self.sync) = start(self.dir.path(), self.now);
            }
            16 => {
                if chance.up_to(1) == 0 {
                    self.backup = self.fleet.clone();
                } else {
                    self.disconnect();
                    self.fleet = Fleet { epoch: self.fleet.epoch + 1, ..self.backup.clone() };
                }
            }
            _ => {}
        }
    }
    fn calm(&mut self) {
        self.connect();
        for _ in 0..10_000 {
            while !self.air.is_empty() {
                self.arrive(0);
            }
            self.receipt();
            if self.air.is_empty() && self.store.waiting().unwrap() == 0 {
                return;
            }
            self.now = self.now.max(self.wake).plus_ms(1);
            self.feed(Input::Tick);
        }
        panic!("{} rows wait for ever", self.store.waiting().unwrap());
    }
}

#[test]
fn every_event_arrives_and_none_counts_twice() {
    for seed in 0..12 {
        let mut w = World::new();
        let mut chance = Jitter::new(seed);
        for _ in 0..150 {
            w.step(&mut chance);
        }
        w.calm();
        let all: Vec<String> = w.fleet.stored.values().flatten().cloned().collect();
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!(all.len(), distinct.len(), "seed {seed}: counted twice");
        assert_eq!(all.len() as u64, w.made, "seed {seed}: lost");
        assert!(w.store.gaps().unwrap().is_empty(), "seed {seed}: nothing was lost, so no ledger says so");
    }
}
