//! Delivery over a wire that loses, doubles and reorders, with crashes of both sides: no row lost, none counted twice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::sync::{Config, Input, Output, Sync};
use longshore_trust::{Seq, StreamId, UnixMs};
use longshore_wire::v1::Receipt;
use proptest::prelude::*;

const STREAM: StreamId = StreamId(7);

/// The device's disk.
#[derive(Debug, Default, Clone)]
struct Disk {
    unsealed: Vec<u64>,
    sealed: BTreeMap<u64, u64>,
    next: u64,
    receipted: u64,
    epoch: u64,
    gaps: u64,
}

/// The fleet: its committed state, and backups of it.
#[derive(Debug, Default, Clone)]
struct Fleet {
    stored: BTreeMap<u64, u64>,
    up_to: u64,
    epoch: u64,
    gaps: u64,
}

impl Fleet {
    fn advance(&mut self) {
        while self.stored.contains_key(&(self.up_to + 1)) {
            self.up_to += 1;
        }
    }
    fn receive(&mut self, seq: u64, row: u64) -> Receipt {
        if seq > self.up_to {
            // The same place in the stream always carries the same row.
            assert!(self.stored.insert(seq, row).is_none_or(|r| r == row), "a sealed row changed");
        }
        self.advance();
        self.receipt()
    }
    fn hello(&mut self, first: u64, epoch: u64) -> Receipt {
        if epoch == self.epoch && first > self.up_to + 1 {
            let missing = (self.up_to + 1..first).filter(|s| !self.stored.contains_key(s)).count();
            self.gaps += missing as u64;
            self.up_to = first - 1;
            self.advance();
        }
        self.receipt()
    }
    fn receipt(&self) -> Receipt {
        Receipt { stream: STREAM, up_to: Seq(self.up_to), fleet_epoch: self.epoch, log: None }
    }
}

struct World {
    core: Sync,
    disk: Disk,
    fleet: Fleet,
    backup: Fleet,
    now: UnixMs,
    up: bool,
    to_fleet: VecDeque<Packet>,
    to_device: VecDeque<Receipt>,
    wake: UnixMs,
    made: u64,
    ring: usize,
    restores: u64,
    /// The store refuses to offer the ring again, so many times.
    full: u32,
}

#[derive(Debug, Clone)]
enum Packet {
    Hello(u64, u64),
    Row(u64, u64),
}

impl World {
    fn new() -> Self {
        let fleet = Fleet { epoch: 1, ..Fleet::default() };
        Self {
            core: Sync::restore(
                Config { max_sealed: 5, ..Config::default() },
                STREAM,
                Seq(1),
                Seq(0),
                &[],
                0,
                3,
            ),
            disk: Disk::default(),
            backup: fleet.clone(),
            fleet,
            now: UnixMs(1_800_000_000_000),
            up: false,
            to_fleet: VecDeque::new(),
            to_device: VecDeque::new(),
            wake: UnixMs(0),
            made: 0,
            ring: usize::MAX,
            restores: 0,
            full: 0,
        }
    }
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(i) = inputs.pop_front() {
            self.core.handle(self.now, i);
            loop {
                match self.core.poll() {
                    Output::WakeAt(t) => {
                        self.wake = t;
                        break;
                    }
                    Output::Hello { first_unreceipted, fleet_epoch } => {
                        self.to_fleet.push_back(Packet::Hello(first_unreceipted.0, fleet_epoch));
                    }
                    Output::Seal { first, max, .. } => {
                        assert_eq!(first.0, self.disk.next + 1, "numbers are given without holes");
                        let n = max.min(self.disk.unsealed.len());
                        let rows: Vec<u64> = self.disk.unsealed.drain(..n).collect();
                        let mut seqs = Vec::new();
                        for row in rows {
                            self.disk.next += 1;
                            self.disk.sealed.insert(self.disk.next, row);
                            seqs.push(Seq(self.disk.next));
                        }
                        let more = !self.disk.unsealed.is_empty();
                        inputs.push_back(Input::Sealed { rows: seqs, window_bytes: 0, more });
                    }
                    Output::Publish(seq) => {
                        // What is published is on the disk: nothing leaves before the transaction that sealed it.
                        let row = self.disk.sealed.get(&seq.0).copied();
                        let row = row.unwrap_or_else(|| panic!("{seq} was published and is not on the disk"));
                        if self.up {
                            self.to_fleet.push_back(Packet::Row(seq.0, row));
                        } else {
                            inputs.push_back(Input::NotSent(seq));
                        }
                    }
                    Output::Receipted { up_to, fleet_epoch } => {
                        self.disk.receipted = up_to.0;
                        self.disk.epoch = fleet_epoch;
                        // The ring is bounded.
                        let receipted: Vec<u64> =
                            self.disk.sealed.range(..=up_to.0).map(|(s, _)| *s).collect();
                        for s in receipted.iter().take(receipted.len().saturating_sub(self.ring)) {
                            self.disk.sealed.remove(s);
                        }
                    }
                    Output::Reoffer { .. } if self.full > 0 => {
                        self.full -= 1;
                        inputs.push_back(Input::NotReoffered);
                    }
                    Output::Reoffer { after, was, fleet_epoch } => {
                        self.disk.receipted = after.0;
                        self.disk.epoch = fleet_epoch;
                        let held: Vec<Seq> =
                            self.disk.sealed.range(after.0 + 1..).map(|(s, _)| Seq(*s)).collect();
                        let old = held.iter().filter(|s| s.0 <= was.0).count() as u64;
                        self.disk.gaps += was.0 - after.0 - old;
                        inputs.push_back(Input::Reoffered(held));
                    }
                    Output::Refused(_) => {}
                    // The lie of somebody who can sign receipts; this store refuses, and nothing has changed.
                    Output::Restart { .. } => {}
                }
            }
        }
    }
    fn make(&mut self) {
        self.made += 1;
        self.disk.unsealed.push(self.made);
        self.feed(Input::Backlog);
    }
    fn arrive(&mut self, p: &Packet) {
        let receipt = match p {
            Packet::Hello(first, epoch) => self.fleet.hello(*first, *epoch),
            Packet::Row(seq, row) => self.fleet.receive(*seq, *row),
        };
        self.to_device.push_back(receipt);
    }
    /// What is under way arrives, and its answers too.
    fn arrive_all(&mut self) {
        while let Some(p) = self.to_fleet.pop_front() {
            self.arrive(&p);
        }
        while let Some(r) = self.to_device.pop_front() {
            self.feed(Input::Receipt(r));
        }
    }
    fn connect(&mut self) {
        if !self.up {
            self.up = true;
            self.feed(Input::LinkUp);
        }
    }
    fn disconnect(&mut self) {
        self.up = false;
        self.to_fleet.clear();
        self.to_device.clear();
        self.feed(Input::LinkDown);
    }
    fn crash(&mut self) {
        self.up = false;
        self.to_fleet.clear();
        self.to_device.clear();
        let d = &self.disk;
        let waiting: Vec<Seq> = d.sealed.range(d.receipted + 1..).map(|(s, _)| Seq(*s)).collect();
        let config = Config { max_sealed: 5, ..Config::default() };
        self.core =
            Sync::restore(config, STREAM, Seq(d.next + 1), Seq(d.receipted), &waiting, d.epoch, self.now.0);
    }
    fn restore_fleet(&mut self) {
        self.disconnect();
        self.restores += 1;
        let epoch = self.fleet.epoch + 1;
        self.fleet = Fleet { epoch, ..self.backup.clone() };
    }
    /// A good wire, for as long as it takes.
    fn calm(&mut self) {
        self.connect();
        for _ in 0..20_000 {
            if let Some(p) = self.to_fleet.pop_front() {
                self.arrive(&p);
            } else if let Some(r) = self.to_device.pop_front() {
                self.feed(Input::Receipt(r));
            } else if self.core.unreceipted() == 0
                && self.disk.unsealed.is_empty()
                && self.fleet.up_to == self.disk.next
            {
                return;
            } else {
                assert!(self.wake < UnixMs(u64::MAX), "rows wait, and nothing is going to happen");
                self.now = self.now.max(self.wake);
                self.feed(Input::Tick);
            }
        }
        panic!("it is never calm");
    }
    fn check(&self) {
        // Each row once, unless a ledger on both sides says it was lost.
        let stored: Vec<u64> = self.fleet.stored.values().copied().collect();
        let distinct: BTreeSet<u64> = stored.iter().copied().collect();
        assert_eq!(stored.len(), distinct.len(), "a row has two places in the stream");
        assert_eq!(distinct.len() as u64 + self.fleet.gaps, self.made, "a row is lost and not in the ledger");
        assert!(
            self.disk.gaps >= self.fleet.gaps,
            "the device's ledger knows of fewer losses than the fleet's"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Make,
    Up,
    Down,
    Deliver,
    Lose,
    Double,
    Swap,
    Receipt,
    LoseReceipt,
    Pass(u64),
    Crash,
    Backup,
    RestoreFleet,
    LyingReceipt(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Make),
        3 => Just(Step::Up),
        1 => Just(Step::Down),
        6 => Just(Step::Deliver),
        2 => Just(Step::Lose),
        2 => Just(Step::Double),
        2 => Just(Step::Swap),
        6 => Just(Step::Receipt),
        1 => Just(Step::LoseReceipt),
        3 => (0u64..90_000).prop_map(Step::Pass),
        1 => Just(Step::Crash),
        1 => Just(Step::Backup),
        1 => Just(Step::RestoreFleet),
        1 => (1u64..50).prop_map(Step::LyingReceipt),
    ]
}

fn run(steps: &[Step], ring: usize) -> World {
    let mut w = World::new();
    w.ring = ring;
    for s in steps {
        match s {
            Step::Make => w.make(),
            Step::Up => w.connect(),
            Step::Down => w.disconnect(),
            Step::Deliver => {
                if let Some(p) = w.to_fleet.pop_front() {
                    w.arrive(&p);
                }
            }
            Step::Lose => {
                w.to_fleet.pop_front();
            }
            Step::Double => {
                if let Some(p) = w.to_fleet.front().cloned() {
                    w.arrive(&p);
                }
            }
            Step::Swap => {
                if w.to_fleet.len() > 1 {
                    w.to_fleet.swap(0, 1);
                }
            }
            Step::Receipt => {
                if let Some(r) = w.to_device.pop_front() {
                    w.feed(Input::Receipt(r));
                }
            }
            Step::LoseReceipt => {
                w.to_device.pop_back();
            }
            Step::Pass(ms) => {
                w.now = w.now.plus_ms(*ms);
                w.feed(Input::Tick);
            }
            Step::Crash => w.crash(),
            Step::Backup => w.backup = w.fleet.clone(),
            Step::RestoreFleet => w.restore_fleet(),
            Step::LyingReceipt(more) => {
                let lie = Receipt {
                    stream: STREAM,
                    up_to: Seq(w.disk.next + more),
                    fleet_epoch: w.disk.epoch,
                    log: None,
                };
                w.feed(Input::Receipt(lie));
                let other = Receipt { stream: StreamId(8), ..w.fleet.receipt() };
                w.feed(Input::Receipt(other));
            }
        }
    }
    w.calm();
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_row_arrives_once(steps in proptest::collection::vec(step(), 1..300)) {
        let w = run(&steps, usize::MAX);
        w.check();
        prop_assert_eq!(w.fleet.gaps, 0, "the ring had everything");
    }
    #[test]
    fn what_the_ring_no_longer_has_is_in_both_ledgers(steps in proptest::collection::vec(step(), 1..300)) {
        run(&steps, 3).check();
    }
}

#[test]
fn a_row_without_a_receipt_is_sent_again_while_the_link_is_up() {
    let mut w = World::new();
    w.calm();
    w.arrive_all();
    w.make();
    w.to_fleet.clear();
    assert!(w.wake > w.now && w.wake <= w.now.plus_ms(30_000));
    w.now = w.wake;
    w.feed(Input::Tick);
    assert!(matches!(w.to_fleet.front(), Some(Packet::Row(1, 1))));
}
#[test]
fn the_first_receipt_after_a_connect_saves_sending_again_what_the_fleet_has() {
    let mut w = World::new();
    w.connect();
    w.make();
    w.arrive(&Packet::Row(1, 1));
    w.disconnect();
    w.connect();
    assert!(matches!(w.to_fleet.pop_front(), Some(Packet::Hello(1, 0))));
    assert!(w.to_fleet.is_empty(), "it waits for the receipt");
    w.calm();
    w.check();
}
#[test]
fn a_greeting_without_an_answer_is_repeated() {
    let mut w = World::new();
    w.connect();
    w.to_fleet.clear();
    assert!(w.wake > w.now && w.wake <= w.now.plus_ms(30_000));
    w.now = w.wake;
    w.feed(Input::Tick);
    assert!(matches!(w.to_fleet.front(), Some(Packet::Hello(1, 0))));
    w.arrive_all();
    assert_eq!(w.wake, UnixMs(u64::MAX), "answered: nothing more to do");
}
#[test]
fn at_most_so_many_rows_are_sealed_at_a_time() {
    let mut w = World::new();
    w.connect();
    for _ in 0..100 {
        w.make();
    }
    assert_eq!(w.core.unreceipted(), 5);
    w.calm();
    w.check();
}
#[test]
fn nothing_is_asked_for_again_and_again_when_windows_have_used_up_their_bytes() {
    let mut core = Sync::restore(Config::default(), STREAM, Seq(1), Seq(0), &[], 0, 3);
    let now = UnixMs(1_800_000_000_000);
    core.handle(now, Input::LinkUp);
    let mut seals = 0;
    for _ in 0..20 {
        match core.poll() {
            Output::Seal { .. } => {
                seals += 1;
                core.handle(now, Input::Sealed { rows: Vec::new(), window_bytes: 0, more: true });
            }
            Output::WakeAt(t) => {
                assert!(t > now);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(seals, 1);
}
#[test]
fn jitter_spreads_two_devices() {
    let (mut a, mut b) = (Jitter::new(1), Jitter::new(2));
    assert_ne!(a.up_to(1 << 40), b.up_to(1 << 40));
}
/// Ten rows that an older backup of the fleet does not know.
fn restored_after_ten() -> World {
    let mut w = World::new();
    w.calm();
    for _ in 0..10 {
        w.make();
        w.calm();
    }
    w.restore_fleet();
    w
}
#[test]
fn a_long_ring_that_is_offered_again_does_not_flood_the_link() {
    let mut w = restored_after_ten();
    w.connect();
    w.arrive_all();
    let mut most = 0;
    for _ in 0..100 {
        most = most.max(w.to_fleet.len());
        match w.to_fleet.pop_front() {
            Some(p) => w.arrive(&p),
            None => break,
        }
        while let Some(r) = w.to_device.pop_front() {
            w.feed(Input::Receipt(r));
        }
    }
    assert!(most <= 6, "{most} messages at once: at most five rows and a greeting are on their way");
    w.calm();
    w.check();
    assert_eq!(w.fleet.gaps, 0);
}
#[test]
fn a_store_that_cannot_offer_its_ring_again_loses_nothing() {
    let mut w = restored_after_ten();
    w.full = 3;
    w.calm();
    assert_eq!((w.full, w.fleet.gaps, w.disk.gaps), (0, 0, 0));
    w.check();
}

#[test]
fn an_older_image_of_the_disk_begins_a_new_stream_and_a_liar_begins_one_an_hour() {
    let mut core = Sync::restore(Config::default(), StreamId(1), Seq(11), Seq(8), &[Seq(9), Seq(10)], 1, 3);
    let now = UnixMs(1_800_000_000_000);
    let drain = |core: &mut Sync| {
        let mut out = Vec::new();
        loop {
            match core.poll() {
                Output::WakeAt(_) => return out,
                wish => out.push(wish),
            }
        }
    };
    core.handle(now, Input::LinkUp);
    // Before the receipt comes, one more row is sealed under a number that the fleet has seen with other contents.
    core.handle(now, Input::Sealed { rows: vec![Seq(11)], window_bytes: 0, more: false });
    drain(&mut core);
    let receipt =
        |stream, up_to| Receipt { stream: StreamId(stream), up_to: Seq(up_to), fleet_epoch: 1, log: None };
    core.handle(now, Input::Receipt(receipt(1, 11)));
    assert!(
        drain(&mut core).contains(&Output::Receipted { up_to: Seq(11), fleet_epoch: 1 }),
        "what was sent can be stored"
    );

    let mut core = Sync::restore(Config::default(), StreamId(1), Seq(11), Seq(8), &[Seq(9), Seq(10)], 1, 3);
    core.handle(now, Input::LinkUp);
    core.handle(now, Input::Sealed { rows: vec![Seq(11)], window_bytes: 0, more: false });
    drain(&mut core);
    core.handle(now, Input::Receipt(receipt(1, 40)));
    let wishes = drain(&mut core);
    assert!(wishes.contains(&Output::Restart { fleet_had: Seq(40), keep_from: Seq(11) }), "{wishes:?}");
    core.handle(now, Input::Restarted { stream: StreamId(2), rows: vec![Seq(1)] });
    let wishes = drain(&mut core);
    assert_eq!(core.stream(), StreamId(2));
    assert!(wishes.contains(&Output::Publish(Seq(1))), "{wishes:?}");
    assert!(wishes.contains(&Output::Hello { first_unreceipted: Seq(1), fleet_epoch: 1 }));
    core.handle(now, Input::Receipt(receipt(1, 41)));
    assert!(drain(&mut core).iter().all(|w| !matches!(w, Output::Restart { .. })), "of the old stream");
    core.handle(now, Input::Receipt(receipt(2, 5)));
    let wishes = drain(&mut core);
    assert!(
        wishes.contains(&Output::Refused("a receipt for more than was sent")),
        "not within the hour: {wishes:?}"
    );
    core.handle(now, Input::Receipt(receipt(2, 1)));
    assert!(drain(&mut core).contains(&Output::Receipted { up_to: Seq(1), fleet_epoch: 1 }));
}

#[test]
fn an_epoch_that_no_fleet_reaches_is_forgotten_with_the_director_who_named_it() {
    let rows = [Seq(1), Seq(2)];
    let mut sync = Sync::restore(Config::default(), STREAM, Seq(3), Seq(0), &rows, 1, 0);
    let receipt = |up_to, fleet_epoch| {
        Input::Receipt(Receipt { stream: STREAM, up_to: Seq(up_to), fleet_epoch, log: None })
    };
    let feed = |sync: &mut Sync, input| {
        sync.handle(UnixMs(1), input);
        while !matches!(sync.poll(), Output::WakeAt(_)) {}
    };
    feed(&mut sync, Input::LinkUp);
    feed(&mut sync, receipt(1, u64::MAX));
    feed(&mut sync, receipt(2, 1));
    assert_eq!(
        (sync.receipted(), sync.epoch()),
        (Seq(1), u64::MAX),
        "the fleet's own receipts are of the past"
    );
    sync.new_director();
    feed(&mut sync, receipt(2, 1));
    assert_eq!((sync.receipted(), sync.epoch()), (Seq(2), 1));
}
