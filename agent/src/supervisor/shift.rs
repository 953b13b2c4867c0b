//! How far the answers of a candidate are from its own reference, and those of the bundle before it from its own.
//!
//! The bundle before does not answer while a candidate is on probation, so its newest answers before stand for it: of the
//! same inputs, as far as a device's inputs are the same today as an hour ago. What is not known (no reference, too few
//! rows, a file that cannot be read) compares nothing and condemns nobody.

use std::collections::BTreeMap;

use longshore_agent_core::guard::{self, ScoreShift};
use longshore_stats::Counters;
use longshore_stats::quality::answers::{ROWS_MIN, ReferenceAnswers, Shift};
use longshore_stats::quality::scores::ScoreTable;
use longshore_trust::Digest;

use super::{Supervisor, sealed};
use crate::fetch::bundle_dir;

/// Newest answers of the bundle before that stand for it: enough for a sharp figure, few enough to be recent.
const RECENT_ROWS: u64 = 2_000;

/// What answers are compared with. Read once a probation.
#[derive(Debug, Default)]
pub struct Baselines {
    references: BTreeMap<Digest, Option<ReferenceAnswers>>,
    before: BTreeMap<Digest, Shift>,
}

impl Baselines {
    /// Nothing is on probation.
    pub fn clear(&mut self) {
        self.references.clear();
        self.before.clear();
    }
}

/// In per mille of PSI.
fn permille(shift: &Shift) -> guard::Shift {
    let of = |psi: f64| (psi * 1000.0).round().clamp(0.0, f64::from(u32::MAX)) as u32;
    guard::Shift { permille: of(shift.excess()), reach_permille: of(shift.reach()), rows: shift.rows }
}

impl Supervisor {
    /// Both shifts, when both can be told.
    pub(super) fn score_shift(
        &mut self,
        candidate: &Digest,
        counted: &Counters,
        before: &Digest,
    ) -> Option<ScoreShift> {
        if counted.rows < ROWS_MIN {
            return None;
        }
        let now = self.reference(candidate)?.shifts(&counted.classes, &ScoreTable::sum(&counted.scores));
        let (now, before) = (now.surest()?, self.shift_before(before)?);
        Some(ScoreShift { candidate: permille(&now), previous: permille(&before) })
    }

    fn reference(&mut self, bundle: &Digest) -> Option<&ReferenceAnswers> {
        if !self.shifts.references.contains_key(bundle) {
            let dir = bundle_dir(&self.config.state_dir, bundle);
            let found = sealed::answers(&dir, bundle).unwrap_or_else(|e| {
                tracing::warn!(bundle = bundle.short(), "answers cannot be compared: {e}");
                None
            });
            self.shifts.references.insert(*bundle, found);
        }
        self.shifts.references.get(bundle)?.as_ref()
    }

    fn shift_before(&mut self, bundle: &Digest) -> Option<Shift> {
        if let Some(known) = self.shifts.before.get(bundle) {
            return Some(*known);
        }
        let classes = self.reference(bundle)?.classes.len();
        let answers = self.store.answers_of(bundle, RECENT_ROWS);
        let answers = answers.inspect_err(|e| tracing::error!("{e}; answers cannot be compared")).ok()?;
        let recent = ReferenceAnswers::of(answers, classes);
        let shift = self.reference(bundle)?.shifts(&recent.classes, &recent.scores).widest()?;
        self.shifts.before.insert(*bundle, shift);
        Some(shift)
    }
}
