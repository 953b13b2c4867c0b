//! A candidate that runs beside what answers, and the rows it owes a comparison.
//!
//! Always true here: every row of an answered request is compared, has failed, or is counted as skipped, once, and at the
//! latest when the candidate goes.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use super::super::models::Served;
use crate::page::ShadowOutcome;

/// A candidate that runs beside what answers.
#[derive(Debug)]
pub struct Beside {
    /// What it is.
    pub served: Arc<Served>,
    /// Processor time it may use, per mille of a core.
    pub permille: u16,
    /// Rows that were answered and are neither compared nor given up yet.
    owed: AtomicU64,
    /// Rows given up that the page does not know yet.
    skipped: AtomicU64,
}

impl Beside {
    /// Nothing is owed yet.
    #[must_use]
    pub fn new(served: Arc<Served>, permille: u16) -> Self {
        let permille = permille.clamp(1, 1000);
        Self { served, permille, owed: AtomicU64::new(0), skipped: AtomicU64::new(0) }
    }
    /// Counts what became of a run, and what was skipped since the last time.
    pub fn record(&self, outcome: ShadowOutcome<'_>) {
        let skipped = self.skipped.swap(0, Relaxed);
        if skipped > 0 || outcome.errors > 0 || !outcome.rows.is_empty() {
            self.served.page().record_shadow(&ShadowOutcome { skipped, ..outcome });
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Whoever still holds rows finds nobody to tell.
        *self.skipped.get_mut() += *self.owed.get_mut();
        self.record(ShadowOutcome::default());
    }
}

/// Rows of an answered request. Where nothing else becomes of them they are skipped, whatever the way they get lost.
#[derive(Debug)]
pub struct Owed {
    /// A candidate that goes meanwhile is not kept by rows that wait, and has counted them.
    beside: Weak<Beside>,
    rows: u64,
}

impl Owed {
    /// So many rows are about to be answered beside this candidate.
    #[must_use]
    pub fn new(beside: &Arc<Beside>, rows: u64) -> Self {
        beside.owed.fetch_add(rows, Relaxed);
        Self { beside: Arc::downgrade(beside), rows }
    }
    /// The candidate, while it is there.
    #[must_use]
    pub fn beside(&self) -> Option<Arc<Beside>> {
        self.beside.upgrade()
    }
    /// They are compared or have failed: whoever calls this counts them.
    pub fn settle(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.beside().into_iter().for_each(|b| _ = b.owed.fetch_sub(rows, Relaxed));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let rows = self.rows;
        if let Some(beside) = self.beside().filter(|_| rows > 0) {
            beside.skipped.fetch_add(rows, Relaxed);
            beside.owed.fetch_sub(rows, Relaxed);
        }
    }
}
