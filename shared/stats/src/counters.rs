//! What a window counts of one bundle: integers only, so that merging is addition.
//!
//! A table that a bundle has no use for is empty (no classes, no groups, no features), and an empty table takes the shape
//! of the first that is added to it. A refused merge changes nothing.

mod since;
mod split;

use serde::{Deserialize, Serialize};

pub use split::encoded_bytes;

use crate::quality::attribution::AttributionTable;
use crate::quality::fairness::{GroupTable, Outcomes};
use crate::quality::regression::{ErrorTable, OtherUnit};
use crate::quality::scores::{LabelledScores, ScoreTable};
use crate::quality::{TableError, add};
use crate::shadow::{OtherClasses, ShadowTable};
use crate::window::WindowMergeError;
use crate::{DdSketch, WindowProfile};

/// Most classes whose scores are kept apart; a model of more has one table of scores for all.
pub const SCORED_CLASSES_MAX: usize = 16;
/// Most declared groups of a model.
pub const GROUPS_MAX: usize = 16;
/// An answer is of low margin when the greatest score exceeds the second by less than this.
pub const LOW_MARGIN: f64 = 0.1;

/// Counters of a span of time.
///
/// `classes` has K entries (rows whose answer was class k), `confusion` K x K entries, row-major by true class then
/// predicted class. Both are empty for a bundle without classes; `confusion` alone is for one with so many that the table
/// would not be worth its size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that got an answer, errors included.
    pub requests: u64,
    /// Rows answered.
    pub rows: u64,
    /// Rows refused for their input or failed in the model.
    pub errors: u64,
    /// Rows whose output held a NaN.
    pub nan: u64,
    /// Rows whose answer was of low margin ([`LOW_MARGIN`]).
    pub low_margin: u64,
    /// Rows by predicted class, length K.
    pub classes: Vec<u64>,
    /// Labelled rows by true and predicted class, K x K.
    pub confusion: Vec<u64>,
    /// Labels for regressions or unknown classes that were joined but fit no table.
    pub labels_other: u64,
    /// Latency of one request, microseconds.
    pub latency_us: DdSketch,
    /// Rows by the score of the answered class: one table a class, or one for all ([`score_tables`]).
    #[serde(deserialize_with = "crate::bounded::list::<_, _, SCORED_CLASSES_MAX>")]
    pub scores: Vec<ScoreTable>,
    /// Labelled rows by the score of the answered class and whether the answer was right; tables as in `scores`.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, SCORED_CLASSES_MAX>")]
    pub judged: Vec<LabelledScores>,
    /// Errors of labelled answers of a regression.
    pub regression: Option<ErrorTable>,
    /// Rows by declared group.
    pub groups: GroupCounts,
    /// Sums over explained rows; no feature where nothing is explained.
    pub attribution: AttributionTable,
    /// What the monitored features looked like.
    pub profile: Option<WindowProfile>,
    /// What the bundle did in shadow, where it served nothing.
    pub shadow: Option<ShadowTable>,
}

/// Rows by declared group. What the tables have less than `rows` and `labelled` is held back on the device, because too few
/// rows of the group were seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Rows that named a declared group.
    pub rows: u64,
    /// Rows that named none, or one that was not declared.
    pub undeclared: u64,
    /// Labels of rows that named a declared group.
    pub labelled: u64,
    /// Answers by group, released.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, GROUPS_MAX>")]
    pub answers: Vec<Answers>,
    /// Labelled answers by group, released.
    pub outcomes: GroupTable,
}

/// Answers of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answers {
    /// Rows.
    pub rows: u64,
    /// Rows that got the favourable class.
    pub selected: u64,
}

impl Answers {
    /// Adds `other`, exactly.
    pub fn add(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.selected = self.selected.saturating_add(other.selected);
    }
}

impl GroupCounts {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.undeclared == 0 && self.labelled == 0
    }
    /// Rows and labels that are held back.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        let out = self.answers.iter().fold(0u64, |n, a| n.saturating_add(a.rows));
        let labelled = self.outcomes.groups.iter().fold(0u64, |n, o| n.saturating_add(o.rows()));
        (self.rows.saturating_sub(out), self.labelled.saturating_sub(labelled))
    }
    fn check(&self, other: &Self) -> Result<(), MergeError> {
        fits("groups", self.answers.len(), other.answers.len())?;
        fits("groups", self.outcomes.groups.len(), other.outcomes.groups.len())
    }
    fn add(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.undeclared = self.undeclared.saturating_add(other.undeclared);
        self.labelled = self.labelled.saturating_add(other.labelled);
        grow(&mut self.answers, other.answers.len());
        for (a, b) in self.answers.iter_mut().zip(&other.answers) {
            a.add(b);
        }
        grow(&mut self.outcomes.groups, other.outcomes.groups.len());
        self.outcomes.groups.iter_mut().zip(&other.outcomes.groups).for_each(|(a, b)| Outcomes::add(a, b));
    }
}

/// Why two summaries cannot be merged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// Tables of different numbers of classes.
    #[error("cannot merge tables of {0} and {1} classes")]
    Classes(usize, usize),
    /// Tables of different shapes.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Errors in different units.
    #[error(transparent)]
    Unit(#[from] OtherUnit),
    /// Profiles of different references.
    #[error(transparent)]
    Profile(#[from] WindowMergeError),
    /// Shadow tables of different numbers of classes.
    #[error(transparent)]
    Shadow(#[from] OtherClasses),
}

/// How many tables of scores a bundle of `classes` classes has.
#[must_use]
pub fn score_tables(classes: usize) -> usize {
    match classes {
        0 => 0,
        k if k <= SCORED_CLASSES_MAX => k,
        _ => 1,
    }
}

/// An empty table takes any shape.
fn fits(what: &'static str, ours: usize, theirs: usize) -> Result<(), MergeError> {
    if ours == 0 || theirs == 0 || ours == theirs {
        return Ok(());
    }
    Err(TableError::Shape { what, ours, theirs }.into())
}

fn grow<T: Default + Clone>(table: &mut Vec<T>, len: usize) {
    if table.is_empty() {
        table.resize(len, T::default());
    }
}

/// The sum of two tables of which either may not be there.
fn merged<T: Clone, E>(
    ours: &Option<T>,
    theirs: &Option<T>,
    merge: impl Fn(&mut T, &T) -> Result<(), E>,
) -> Result<Option<T>, E> {
    let (Some(a), Some(b)) = (ours, theirs) else {
        return Ok(ours.clone().or_else(|| theirs.clone()));
    };
    let mut sum = a.clone();
    merge(&mut sum, b)?;
    Ok(Some(sum))
}

impl Counters {
    /// Empty counters for `k` classes (0 for none).
    #[must_use]
    pub fn with_classes(k: usize) -> Self {
        Self { classes: vec![0; k], confusion: vec![0; k * k], ..Self::default() }
    }
    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells().all(|n| n == 0)
            && self.groups.is_empty()
            && self.attribution.rows == 0
            && self.attribution.failed == 0
    }
    /// Every count there is but those of groups and explanations, in no order that means anything.
    pub fn cells(&self) -> impl Iterator<Item = u64> + '_ {
        let scalars = [self.requests, self.rows, self.errors, self.nan, self.low_margin, self.labels_other];
        let judged = self.judged.iter().flat_map(|j| [&j.positive, &j.negative]);
        let scores = self.scores.iter().chain(judged);
        let features = self.profile.iter().flat_map(|p| &p.features);
        scalars
            .into_iter()
            .chain(self.classes.iter().copied())
            .chain(self.confusion.iter().copied())
            .chain(self.latency_us.buckets().map(|(_, n)| n))
            .chain(scores.flat_map(|s| s.counts().iter().copied().chain([s.invalid])))
            .chain(self.regression.iter().flat_map(|r| [r.rows(), r.invalid]))
            .chain(self.profile.iter().flat_map(|p| [p.rows, p.rows_out_of_range]))
            .chain(features.flat_map(|f| f.counts.iter().copied().chain(f.specials())))
            .chain(self.shadow.iter().flat_map(ShadowTable::counts))
    }
    /// Rows with a label.
    #[must_use]
    pub fn labelled(&self) -> u64 {
        self.confusion.iter().fold(0, |n, c| n.saturating_add(*c))
    }
    /// Labelled rows whose answer was right.
    #[must_use]
    pub fn correct(&self) -> u64 {
        let k = self.classes.len();
        (0..k).filter_map(|i| self.confusion.get(i * k + i)).fold(0, |n, c| n.saturating_add(*c))
    }
    /// Adds `other`, exactly. What a liar lets grow beyond 64 bits stays at their end, in whatever order it is added.
    ///
    /// # Errors
    /// [`MergeError`] when both have tables of different shapes; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        self.check(other)?;
        let profile = merged(&self.profile, &other.profile, WindowProfile::merge)?;
        let regression = merged(&self.regression, &other.regression, ErrorTable::merge)?;
        let shadow = merged(&self.shadow, &other.shadow, ShadowTable::merge)?;
        (self.profile, self.regression, self.shadow) = (profile, regression, shadow);
        grow(&mut self.classes, other.classes.len());
        // A bundle of very many classes has no table of them against each other.
        grow(&mut self.confusion, other.confusion.len());
        for (a, b) in [
            (&mut self.requests, other.requests),
            (&mut self.rows, other.rows),
            (&mut self.errors, other.errors),
            (&mut self.nan, other.nan),
            (&mut self.low_margin, other.low_margin),
            (&mut self.labels_other, other.labels_other),
        ] {
            *a = a.saturating_add(b);
        }
        add(&mut self.classes, &other.classes);
        add(&mut self.confusion, &other.confusion);
        self.latency_us.merge(&other.latency_us);
        grow(&mut self.scores, other.scores.len());
        grow(&mut self.judged, other.judged.len());
        for (a, b) in self.scores.iter_mut().zip(&other.scores) {
            a.merge(b)?;
        }
        for (a, b) in self.judged.iter_mut().zip(&other.judged) {
            a.merge(b)?;
        }
        self.groups.add(&other.groups);
        if self.attribution.features() == 0 {
            let counted = std::mem::replace(&mut self.attribution, other.attribution.clone());
            self.attribution.add_counts(&counted);
        } else if other.attribution.features() == 0 {
            self.attribution.add_counts(&other.attribution);
        } else {
            self.attribution.merge(&other.attribution)?;
        }
        Ok(())
    }
    /// Everything that could refuse, before anything is changed.
    fn check(&self, other: &Self) -> Result<(), MergeError> {
        let (a, b) = (self.classes.len(), other.classes.len());
        if a != 0 && b != 0 && a != b {
            return Err(MergeError::Classes(a, b));
        }
        fits("tables of classes", self.confusion.len(), other.confusion.len())?;
        fits("tables of scores", self.scores.len(), other.scores.len())?;
        fits("tables of scores", self.judged.len(), other.judged.len())?;
        let sound = |c: &Self| {
            let judged = c.judged.iter().flat_map(|j| [&j.positive, &j.negative]);
            c.scores.iter().chain(judged).all(ScoreTable::is_sound)
        };
        if !sound(self) || !sound(other) {
            return Err(TableError::Shape { what: "score bins", ours: 0, theirs: 0 }.into());
        }
        self.groups.check(&other.groups)?;
        fits("attributions", self.attribution.features(), other.attribution.features())
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
