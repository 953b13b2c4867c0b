//! A candidate beside the active version on the same live rows: how often they agree, how far apart their answers are, how
//! long each took, and, where labels came, which of them was right.
//!
//! Integers only, so that merging is addition. The rows are the same for both versions, and so are the tests: McNemar's for
//! right and wrong, Cohen's kappa for agreement beyond chance.

mod paired;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DdSketch;
use crate::quality::minus;
use crate::quality::proportion::Share;

pub use paired::{Agreement, EXACT_BELOW, Judged, McNemar, Method, mcnemar, paired_difference};

/// Most classes whose answers are tabled against each other; of more, only whether both answered alike is counted.
pub const MATRIX_CLASSES_MAX: u32 = 32;
/// Classes of any table that is read: beyond these nobody's model goes.
const MOST_CLASSES: u32 = 1 << 16;
/// Bins of the difference of two answers: the middle one is no difference, each other one step to either side; the last
/// ones hold everything beyond.
pub const DIFFERENCE_BINS: usize = 41;
/// A step of a score's difference. The difference of two regressions is counted in the bundle's own unit of error.
pub const DIFFERENCE_STEP: f64 = 0.05;

/// What was counted of a candidate in shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct ShadowTable {
    /// Classes of the candidate; 0 for a regression.
    pub classes: u32,
    /// Rows that both answered.
    pub rows: u64,
    /// Of these, rows with the same answer: the same class, or values no further apart than the unit of error.
    pub agreed: u64,
    /// Of these, rows whose answer of the candidate held a NaN.
    pub nan: u64,
    /// Rows in which the candidate failed, and the active version did not.
    pub errors: u64,
    /// Sampled rows that were not compared: the budget was used up, or the queue full.
    pub skipped: u64,
    /// Rows by the active version's class and the candidate's: `active * classes + candidate`, where there are at most
    /// [`MATRIX_CLASSES_MAX`].
    matrix: BTreeMap<u16, u64>,
    /// Rows by the candidate's score less the active version's.
    #[serde(with = "crate::sparse")]
    differences: Vec<u64>,
    /// What a run of the active version took, microseconds.
    pub active_us: DdSketch,
    /// What a run of the candidate took on the same rows, microseconds.
    pub candidate_us: DdSketch,
    /// Labelled rows by which of both was right.
    pub labelled: Judged,
}

/// A [`ShadowTable`] as it was written, nothing of it believed yet.
#[derive(Deserialize)]
struct Raw {
    classes: u32,
    rows: u64,
    agreed: u64,
    nan: u64,
    errors: u64,
    skipped: u64,
    matrix: BTreeMap<u16, u64>,
    #[serde(with = "crate::sparse")]
    differences: Vec<u64>,
    active_us: DdSketch,
    candidate_us: DdSketch,
    labelled: Judged,
}

impl TryFrom<Raw> for ShadowTable {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let Raw { classes, rows, agreed, nan, errors, skipped, active_us, candidate_us, labelled, .. } = raw;
        let (mut matrix, mut differences) = (raw.matrix, raw.differences);
        // No model that fits a device has more; whoever claims it wants memory.
        if classes > MOST_CLASSES {
            return Err("a shadow table has too many classes");
        }
        // An empty cell says nothing.
        matrix.retain(|_, n| *n > 0);
        if matrix.last_key_value().is_some_and(|(cell, _)| usize::from(*cell) >= cells(classes)) {
            return Err("a shadow table has a pair of classes that there is not");
        }
        // None at all are so many zeros.
        if differences.is_empty() {
            differences = vec![0; DIFFERENCE_BINS];
        }
        if differences.len() != DIFFERENCE_BINS {
            return Err("a shadow table has not the bins of a difference");
        }
        Ok(Self {
            classes,
            rows,
            agreed,
            nan,
            errors,
            skipped,
            matrix,
            differences,
            active_us,
            candidate_us,
            labelled,
        })
    }
}

/// Why two shadow tables cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot merge shadow tables of {0} and {1} classes; only tables of one candidate against one active version can be merged"
)]
pub struct OtherClasses(pub u32, pub u32);

/// One row that both versions answered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Compared {
    /// Class that the active version answered, as the candidate numbers it; `None` where it has none or the candidate
    /// knows no such class.
    pub active: Option<u32>,
    /// Class that the candidate answered.
    pub candidate: Option<u32>,
    /// Whether the answers are the same.
    pub agree: bool,
    /// Whether the candidate's held a NaN.
    pub nan: bool,
    /// Its score less the active version's in [`DIFFERENCE_STEP`]s, or its value in units of error; `None` where there is
    /// nothing to subtract.
    pub steps: Option<f64>,
}

/// How many cells a table of so many classes has.
#[must_use]
pub const fn cells(classes: u32) -> usize {
    if classes <= MATRIX_CLASSES_MAX { (classes * classes) as usize } else { 0 }
}

/// The cell of a pair of classes; `None` where there is no such table or class.
#[must_use]
pub fn cell(classes: u32, active: u32, candidate: u32) -> Option<usize> {
    let inside = active < classes && candidate < classes && classes <= MATRIX_CLASSES_MAX;
    inside.then_some((active * classes + candidate) as usize)
}

/// The bin of a difference in steps; `None` for what is no number.
#[must_use]
pub fn difference_bin(steps: f64) -> Option<usize> {
    let middle = (DIFFERENCE_BINS / 2) as f64;
    (!steps.is_nan()).then(|| (steps.round().clamp(-middle, middle) + middle) as usize)
}

impl ShadowTable {
    /// Empty, for a candidate of so many classes.
    #[must_use]
    pub fn new(classes: u32) -> Self {
        Self {
            classes,
            rows: 0,
            agreed: 0,
            nan: 0,
            errors: 0,
            skipped: 0,
            matrix: BTreeMap::new(),
            differences: vec![0; DIFFERENCE_BINS],
            active_us: DdSketch::default(),
            candidate_us: DdSketch::default(),
            labelled: Judged::default(),
        }
    }
    /// Counts one row.
    pub fn insert(&mut self, row: &Compared) {
        self.rows = self.rows.saturating_add(1);
        self.agreed = self.agreed.saturating_add(u64::from(row.agree));
        self.nan = self.nan.saturating_add(u64::from(row.nan));
        let cell = row.active.zip(row.candidate).and_then(|(a, c)| cell(self.classes, a, c));
        cell.into_iter().for_each(|at| self.add_cell(at, 1));
        row.steps.and_then(difference_bin).into_iter().for_each(|bin| self.add_difference(bin, 1));
    }
    /// Adds `n` rows to a cell (from a counter page). One that there is not is in no table.
    pub fn add_cell(&mut self, cell: usize, n: u64) {
        if n > 0 && cell < cells(self.classes) {
            let count = self.matrix.entry(cell as u16).or_default();
            *count = count.saturating_add(n);
        }
    }
    /// Adds `n` rows to a bin of the difference (from a counter page).
    pub fn add_difference(&mut self, bin: usize, n: u64) {
        if let Some(count) = self.differences.get_mut(bin) {
            *count = count.saturating_add(n);
        }
    }
    /// Rows by the active version's class and the candidate's: those pairs that were seen.
    pub fn matrix(&self) -> impl Iterator<Item = ((u32, u32), u64)> + '_ {
        // Cells are there only where there are classes.
        let pair = |at: u32| (at / self.classes.max(1), at % self.classes.max(1));
        self.matrix.iter().map(move |(cell, n)| (pair(u32::from(*cell)), *n))
    }
    /// Rows by the candidate's score less the active version's, [`DIFFERENCE_BINS`] of them.
    #[must_use]
    pub fn differences(&self) -> &[u64] {
        &self.differences
    }
    /// Adds `other`, exactly. What a liar lets grow beyond 64 bits stays at their end.
    ///
    /// # Errors
    /// [`OtherClasses`]; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), OtherClasses> {
        if self.classes != other.classes {
            return Err(OtherClasses(self.classes, other.classes));
        }
        for (a, b) in [
            (&mut self.rows, other.rows),
            (&mut self.agreed, other.agreed),
            (&mut self.nan, other.nan),
            (&mut self.errors, other.errors),
            (&mut self.skipped, other.skipped),
        ] {
            *a = a.saturating_add(b);
        }
        other.matrix.iter().for_each(|(cell, n)| self.add_cell(usize::from(*cell), *n));
        crate::quality::add(&mut self.differences, &other.differences);
        self.active_us.merge(&other.active_us);
        self.candidate_us.merge(&other.candidate_us);
        self.labelled.merge(&other.labelled);
        Ok(())
    }
    /// What was counted since `before`; `None` when a count fell, or for other classes.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        let gone = before.matrix.keys().any(|cell| !self.matrix.contains_key(cell));
        if self.classes != before.classes || gone {
            return None;
        }
        let mut matrix = BTreeMap::new();
        for (cell, n) in &self.matrix {
            match n.checked_sub(before.matrix.get(cell).copied().unwrap_or(0))? {
                0 => {}
                more => _ = matrix.insert(*cell, more),
            }
        }
        Some(Self {
            classes: self.classes,
            rows: self.rows.checked_sub(before.rows)?,
            agreed: self.agreed.checked_sub(before.agreed)?,
            nan: self.nan.checked_sub(before.nan)?,
            errors: self.errors.checked_sub(before.errors)?,
            skipped: self.skipped.checked_sub(before.skipped)?,
            matrix,
            differences: minus(&self.differences, &before.differences)?,
            active_us: self.active_us.since(&before.active_us)?,
            candidate_us: self.candidate_us.since(&before.candidate_us)?,
            labelled: self.labelled.since(&before.labelled)?,
        })
    }
    /// Every count there is.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        let Judged { both, only_candidate, only_active, neither } = self.labelled;
        [
            self.rows,
            self.agreed,
            self.nan,
            self.errors,
            self.skipped,
            both,
            only_candidate,
            only_active,
            neither,
        ]
        .into_iter()
        .chain(self.matrix.values().copied())
        .chain(self.differences.iter().copied())
        .chain(self.active_us.buckets().chain(self.candidate_us.buckets()).map(|(_, n)| n))
    }
    /// Share of rows with the same answer; `None` without a row, or for counts that cannot be.
    #[must_use]
    pub fn agreement(&self) -> Option<Share> {
        Share::of(self.agreed, self.rows)
    }
    /// Agreement beyond chance; `None` where answers are not tabled, or one class is all that was ever answered.
    #[must_use]
    pub fn kappa(&self) -> Option<Agreement> {
        paired::kappa(self.classes as usize, self.matrix())
    }
    /// The candidate's latency over the active version's at a quantile; `None` without a run.
    #[must_use]
    pub fn latency_ratio(&self, q: f64) -> Option<f64> {
        Some(self.candidate_us.quantile(q)? / self.active_us.quantile(q)?)
    }
    /// Summands that merge to this, none longer than a row of the matrix or the rest.
    pub(crate) fn parts(mut self) -> Vec<Self> {
        let matrix = std::mem::take(&mut self.matrix);
        let classes = self.classes;
        let mut out = vec![self];
        for (cell, n) in matrix {
            let row = u32::from(cell) / classes.max(1);
            let same = |t: &Self| t.matrix.keys().next().map(|c| u32::from(*c) / classes.max(1)) == Some(row);
            if !out.last().is_some_and(same) {
                out.push(Self::new(classes));
            }
            out.last_mut().into_iter().for_each(|part| part.add_cell(usize::from(cell), n));
        }
        out
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
