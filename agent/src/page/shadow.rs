//! What a bundle in shadow is counted in: a block of counters behind all others, and its answers in the place of predictions.
//!
//! A page of a bundle in shadow counts nothing else, because such a bundle answers nobody.

use std::sync::atomic::AtomicU64;

use longshore_stats::shadow::{Compared, DIFFERENCE_BINS, cell, cells, difference_bin};
use longshore_stats::{DdSketch, ShadowTable};

use super::prediction::{self, Prediction};
use super::tally::Tally;
use crate::engine::protocol::LoadId;

/// Counters before the matrix: rows, agreed, NaN, errors, skipped.
const SCALARS: usize = 5;

/// Where the counters are, from the first of the block.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    classes: u32,
    differences: usize,
    active: usize,
    candidate: usize,
    /// How many there are.
    pub words: usize,
    /// How many of them one outcome can touch at most.
    pub touched: usize,
}

impl Block {
    pub fn new(classes: u32) -> Self {
        let buckets = usize::from(DdSketch::bucket(f64::INFINITY)) + 1;
        let differences = SCALARS + cells(classes);
        let active = differences + DIFFERENCE_BINS;
        let candidate = active + buckets;
        Self { classes, differences, active, candidate, words: candidate + buckets, touched: active + 2 }
    }
    /// What one outcome adds.
    pub fn tally(&self, o: &ShadowOutcome<'_>, tally: &mut Tally) {
        for row in o.rows {
            tally.count(0);
            tally.add(1, u64::from(row.agree));
            tally.add(2, u64::from(row.nan));
            let pair = row.active.zip(row.candidate).and_then(|(a, c)| cell(self.classes, a, c));
            pair.into_iter().for_each(|at| tally.count(SCALARS + at));
            let bin = row.steps.and_then(difference_bin);
            bin.into_iter().for_each(|bin| tally.count(self.differences + bin));
        }
        tally.add(3, o.errors);
        tally.add(4, o.skipped);
        if !o.rows.is_empty() {
            tally.count(self.active + usize::from(DdSketch::bucket(o.active_us as f64)));
            tally.count(self.candidate + usize::from(DdSketch::bucket(o.candidate_us as f64)));
        }
    }
    /// The table that the counters are.
    pub fn table(&self, words: &[u64]) -> ShadowTable {
        let mut t = ShadowTable::new(self.classes);
        (t.rows, t.agreed, t.nan, t.errors, t.skipped) = (words[0], words[1], words[2], words[3], words[4]);
        words[SCALARS..self.differences].iter().enumerate().for_each(|(at, n)| t.add_cell(at, *n));
        let bins = &words[self.differences..self.active];
        bins.iter().enumerate().for_each(|(bin, n)| t.add_difference(bin, *n));
        for (sketch, from) in [(&mut t.active_us, self.active), (&mut t.candidate_us, self.candidate)] {
            let buckets = words[from..].iter().take(self.candidate - self.active);
            (0u16..).zip(buckets).for_each(|(bucket, n)| sketch.insert_bucket(bucket, *n));
        }
        t
    }
}

/// What running a request's rows in shadow adds.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShadowOutcome<'a> {
    /// Rows that both answered.
    pub rows: &'a [Compared],
    /// The candidate's class of each, as the active bundle numbers them ([`super::NO_CLASS`] for none that it knows).
    pub answers: &'a [u32],
    /// The load that answered, and its number of the first row.
    pub answered: (u64, u64),
    /// Rows in which the candidate failed.
    pub errors: u64,
    /// Rows that were not compared since the last time.
    pub skipped: u64,
    /// Processor time of the active bundle's run, microseconds.
    pub active_us: u64,
    /// And of the candidate's.
    pub candidate_us: u64,
}

/// What a bundle in shadow would have answered to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadowed {
    /// The load that answered.
    pub load: LoadId,
    /// Its number of the prediction.
    pub seq: u64,
    /// The candidate's class, as the active bundle numbers them.
    pub class: u32,
}

/// Loads are counted from one, so half a word is enough for those that any device will ever have.
const LOAD_BITS: u64 = u32::MAX as u64;

pub fn write(entry: &[AtomicU64], seq: u64, s: Shadowed) {
    let score = f32::from_bits((s.load.0 & LOAD_BITS) as u32);
    prediction::write(entry, seq, Prediction { class: s.class, score, group: 0, unix_ms: s.seq });
}

pub fn read(entry: &[AtomicU64], seq: u64) -> Option<Shadowed> {
    let Prediction { class, score, unix_ms, .. } = prediction::read(entry, seq)?;
    Some(Shadowed { load: LoadId(u64::from(score.to_bits())), seq: unix_ms, class })
}
