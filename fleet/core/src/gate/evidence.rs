//! What gates are told: counts and single figures of each device, never whole profiles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Beside;
use crate::rollout::Standing;

/// Counts of one bundle on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Rows answered.
    pub rows: u64,
    /// Rows refused or failed.
    pub errors: u64,
    /// Rows whose true answer is known.
    pub labelled: u64,
    /// Of these, answered right.
    pub correct: u64,
}
impl Tally {
    /// What came on top of `base`.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(base.rows),
            errors: self.errors.saturating_sub(base.errors),
            labelled: self.labelled.saturating_sub(base.labelled),
            correct: self.correct.saturating_sub(base.correct),
        }
    }
}

/// Figures of one bundle on one device that are no counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// 99th percentile of the time a request took, us.
    pub p99_us: Option<f64>,
    /// Population stability index of its scores against its own bundle's reference, less what so few rows show by chance.
    pub score_shift: Option<f64>,
    /// Accuracy estimated from scores, where that is honest.
    pub estimated: Option<f64>,
}
impl Figures {
    /// Nothing was measured.
    pub const NONE: Self = Self { p99_us: None, score_shift: None, estimated: None };
}

/// What is known of a device of a rollout besides its counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// Of the new version.
    pub now: Figures,
    /// Of the version it ran before.
    pub before: Figures,
    /// What it had counted with the version it still runs when the open wave was opened: it is a control device then.
    pub control: Option<Tally>,
    /// Largest deviation of an output from its golden value, when the new version was tried.
    pub golden: Option<f64>,
    /// Its class of hardware.
    pub hardware: Option<Arc<str>>,
    /// What it compared in shadow; `None` where its wave has no shadow run.
    pub shadow: Option<Beside>,
}
impl Measured {
    /// Nothing is known.
    pub const NOTHING: Self = Self {
        now: Figures::NONE,
        before: Figures::NONE,
        control: None,
        golden: None,
        hardware: None,
        shadow: None,
    };
}

/// What one device of the wave says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence<'a> {
    /// How it counts.
    pub standing: Standing,
    /// Whether the fleet hears of it.
    pub reachable: bool,
    /// What it counted with the new version in this rollout.
    pub candidate: Tally,
    /// What it counted with its own previous version; `None` when it had none.
    pub champion: Option<Tally>,
    /// What else is known of it.
    pub measured: &'a Measured,
}

/// A device that still runs the previous version while others try the new one: what changes for it is not the new
/// version's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Counted before the wave was opened.
    pub before: Tally,
    /// Counted since.
    pub since: Tally,
}

/// Labelled rows that the newest windows of the previous version need to stand for all of them.
const RECENT_LABELLED: u64 = 100;
/// The same of rows.
const RECENT_ROWS: u64 = 500;

impl Evidence<'_> {
    /// The same device, compared with what its previous version did lately (since the wave before its own was opened), where
    /// that is enough. In the last wave there are no control devices any more; so what changed for everybody in the days of
    /// the rollout is not held against the version.
    pub(super) fn recent(&self) -> Self {
        let lately = self.champion.zip(self.measured.control).map(|(all, base)| all.since(&base));
        let is_enough = |t: &Tally, all: &Tally| {
            t.rows.saturating_add(t.errors) >= RECENT_ROWS
                && (t.labelled >= RECENT_LABELLED || all.labelled < RECENT_LABELLED)
        };
        let champion = match (lately, self.champion) {
            (Some(lately), Some(all)) if is_enough(&lately, &all) => Some(lately),
            (_, all) => all,
        };
        Self { champion, ..*self }
    }
}
