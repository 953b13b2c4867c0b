//! The store of a device, in memory: what is here survives a power cut.
//!
//! Every method is one transaction, as in the agent's store. Receipted rows stay in a ring for a fleet that was restored.

use std::collections::{BTreeMap, VecDeque};

use longshore_agent_core::clock::Saved;
use longshore_agent_core::update::{Batch, ModelRecord, Write};
use longshore_trust::{AssignmentVersion, Seq, StreamId, UnixMs};

use crate::message::{Head, Row, Window};

/// Receipted rows that are kept, and for how long: as the agent does.
const RING_ROWS: usize = 5_000;
const RING_MS: u64 = 7 * 86_400_000;
/// Bytes that a window takes of the budget.
pub const WINDOW_BYTES: u64 = 2_000;
/// Windows that share a message.
const BATCH: usize = 20;
/// Windows that wait; more are merged, and what cannot be merged is dropped and told.
pub const WINDOWS: usize = 400;
/// Reports that wait; more are dropped, oldest first, and told.
pub const REPORTS: usize = 5_000;

/// What one device remembers.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The model.
    pub record: Option<ModelRecord>,
    /// The greatest assignment accepted.
    pub assigned: AssignmentVersion,
    /// The last command obeyed.
    pub commanded: (u64, u64),
    /// The stream.
    pub stream: StreamId,
    /// The last number given in it.
    pub sealed: u64,
    /// The end of the receipted prefix.
    pub receipted: Seq,
    /// The last epoch of the fleet.
    pub epoch: u64,
    /// Rows without a receipt.
    pub outbox: BTreeMap<u64, Row>,
    ring: VecDeque<(u64, UnixMs, Row)>,
    /// Reports and events that wait.
    pub reports: VecDeque<Row>,
    /// Closed windows that wait.
    pub windows: VecDeque<Window>,
    /// Journalled counters of windows that are not closed.
    pub open: Vec<Window>,
    /// The clock.
    pub clock: Option<Saved>,
    /// Number of the director's key that signed the last message.
    pub director: Option<usize>,
    /// What it trusts.
    pub trust: usize,
    /// What it saw of the fleet's log.
    pub head: Option<Head>,
}

impl Disk {
    /// Of a device that was just enrolled.
    #[must_use]
    pub fn new(stream: StreamId, record: Option<ModelRecord>, trust: usize) -> Self {
        Self {
            record,
            assigned: AssignmentVersion(0),
            commanded: (0, 0),
            stream,
            sealed: 0,
            receipted: Seq(0),
            epoch: 0,
            outbox: BTreeMap::new(),
            ring: VecDeque::new(),
            reports: VecDeque::new(),
            windows: VecDeque::new(),
            open: Vec::new(),
            clock: None,
            director: None,
            trust,
            head: None,
        }
    }
    /// Commits a batch of the update core. `row` makes a row of the outbox of a write that is one.
    pub fn apply(&mut self, batch: &Batch, mut row: impl FnMut(&Write) -> Option<Row>) {
        for write in &batch.writes {
            match write {
                Write::Record(record) => self.record = Some((**record).clone()),
                Write::Assigned(version) => self.assigned = *version,
                Write::Commanded(epoch, seq) => self.commanded = (*epoch, *seq),
                other => self.reports.extend(row(other)),
            }
        }
        let over = self.reports.len().saturating_sub(REPORTS);
        if over > 0 {
            self.reports.drain(..over);
            self.reports.push_back(Row::Gap(over as u64));
        }
    }
    /// Gives numbers to rows that wait: reports first, then windows newest first. Answers the numbers, the bytes of windows
    /// and whether more waits.
    pub fn seal(&mut self, first: Seq, max: usize, window_bytes: u64) -> (Vec<Seq>, u64, bool) {
        let (mut rows, mut seq, mut used) = (Vec::new(), first.0, 0u64);
        let mut put = |outbox: &mut BTreeMap<u64, Row>, row| {
            outbox.insert(seq, row);
            rows.push(Seq(seq));
            seq += 1;
            rows.len()
        };
        let mut n = 0;
        while n < max
            && let Some(row) = self.reports.pop_front()
        {
            n = put(&mut self.outbox, row);
        }
        while n < max && !self.windows.is_empty() && used + WINDOW_BYTES <= window_bytes {
            let room = usize::try_from((window_bytes - used) / WINDOW_BYTES).unwrap_or(BATCH);
            let from = self.windows.len() - room.min(BATCH).min(self.windows.len());
            let some: Vec<Window> = self.windows.drain(from..).collect();
            used += some.len() as u64 * WINDOW_BYTES;
            n = put(&mut self.outbox, Row::Windows(some.into()));
        }
        self.sealed = self.sealed.max(seq - 1);
        (rows, used, !self.reports.is_empty() || !self.windows.is_empty())
    }
    /// The rows that a receipt up to `up_to` would be news of.
    pub fn news(&self, up_to: Seq) -> impl Iterator<Item = &Row> {
        self.outbox.range(..=up_to.0).map(|(_, row)| row)
    }
    /// The fleet has everything up to `up_to`.
    pub fn receipted(&mut self, up_to: Seq, epoch: u64, now: UnixMs) {
        (self.receipted, self.epoch) = (up_to, epoch);
        while let Some(first) = self.outbox.first_entry()
            && *first.key() <= up_to.0
        {
            let (seq, row) = first.remove_entry();
            self.ring.push_back((seq, now, row));
        }
        while self.ring.len() > RING_ROWS
            || self.ring.front().is_some_and(|(_, at, _)| now.since(*at) > RING_MS)
        {
            self.ring.pop_front();
        }
    }
    /// The fleet has nothing after `after`: what the ring holds waits again. Answers what waits, and how many are gone.
    pub fn reoffer(&mut self, after: Seq, was: Seq, epoch: u64) -> (Vec<Seq>, u64) {
        (self.receipted, self.epoch) = (after, epoch);
        let mut held = 0;
        for (seq, at, row) in std::mem::take(&mut self.ring) {
            if seq > after.0 {
                held += u64::from(seq <= was.0);
                self.outbox.insert(seq, row);
            } else {
                self.ring.push_back((seq, at, row));
            }
        }
        let missing = (was.0 - after.0).saturating_sub(held);
        if missing > 0 {
            self.reports.push_back(Row::Gap(missing));
        }
        (self.outbox.keys().map(|s| Seq(*s)).collect(), missing)
    }
    /// Closes the open windows under the next numbers; merges or drops what is over the quota. Answers how many numbers were
    /// used, and what was dropped.
    pub fn close(&mut self, next: u32) -> (u32, Vec<Window>) {
        let mut used = 0;
        for w in self.open.drain(..) {
            if w.rows > 0 || w.errors > 0 || w.shadow > 0 {
                self.windows.push_back(Window { first: next + used, last: next + used, ..w });
                used += 1;
            }
        }
        let mut dropped = Vec::new();
        while self.windows.len() > WINDOWS {
            let at = (0..self.windows.len() - 1).find(|i| {
                let (a, b) = (&self.windows[*i], &self.windows[i + 1]);
                a.bundle == b.bundle && a.last + 1 == b.first && a.last - a.first < 24
            });
            match at {
                Some(i) => {
                    let b = self.windows.remove(i + 1).expect("it was just looked at");
                    let a = &mut self.windows[i];
                    a.last = b.last;
                    a.rows += b.rows;
                    a.errors += b.errors;
                    a.labelled += b.labelled;
                    a.correct += b.correct;
                    a.shadow += b.shadow;
                }
                None => dropped.extend(self.windows.pop_front()),
            }
        }
        if !dropped.is_empty() {
            self.reports.push_back(Row::Gap(dropped.len() as u64));
        }
        (used, dropped)
    }
    /// The database was torn: what is left is its second copy. Answers the windows that are gone with it.
    pub fn torn(&mut self, stream: StreamId) -> Vec<Window> {
        let of_row = |row: &Row| if let Row::Windows(w) = row { w.to_vec() } else { Vec::new() };
        // With the ring goes what a fleet that was restored might have asked for.
        let rows = self.outbox.values().chain(self.ring.iter().map(|(_, _, row)| row));
        let mut gone: Vec<Window> = rows.flat_map(of_row).collect();
        gone.extend(self.windows.drain(..));
        (self.stream, self.sealed, self.receipted) = (stream, 0, Seq(0));
        self.outbox.clear();
        self.ring.clear();
        self.reports.clear();
        self.open.clear();
        self.reports.push_back(Row::Gap(gone.len() as u64));
        gone
    }
    /// The windows in the ring, by their numbers: what a fleet that was restored can still ask for.
    pub fn in_ring(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let rows = self.ring.iter().map(|(_, _, row)| row);
        let windows = rows.flat_map(|row| if let Row::Windows(w) = row { &**w } else { &[] });
        windows.map(|w| (w.first, w.last))
    }
    /// The windows that wait, by their numbers.
    #[must_use]
    pub fn held(&self) -> Vec<(u32, u32)> {
        let rows = self.outbox.values().chain(self.reports.iter());
        let in_rows = rows.flat_map(|row| if let Row::Windows(w) = row { &**w } else { &[] });
        in_rows.chain(&self.windows).map(|w| (w.first, w.last)).collect()
    }
}
