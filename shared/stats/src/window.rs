//! Window profiles: what a model saw in a span of time, counted in the bins of its reference.
//!
//! What always holds: every value of every row is counted in exactly one place (a bin, a category, or one of the special
//! counters); merging adds integers, so merge(split(x)) == profile(x) bit for bit in any order; profiles of different
//! references or levels are refused, and a refusal changes nothing. No number that was seen is kept, only where it fell.

use serde::{Deserialize, Serialize};

use crate::nesting::{self, Level};
use crate::profile::{BINS_MAX, Categories, FeatureProfile, FeatureValues, Histogram, Profile};

/// Which reference a window was counted against: a fingerprint of its bins (FNV-1a, 64 bits), not of its counts.
/// It tells references apart; it proves nothing (the digest of the bundle does).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReferenceId(pub u64);

impl ReferenceId {
    /// The fingerprint of a profile's bins.
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |bytes: &[u8]| {
            // The length first, so that "ab","c" and "a","bc" differ.
            for b in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
                hash = (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for f in &profile.features {
            eat(f.name.as_bytes());
            match &f.values {
                FeatureValues::Numeric(h) => {
                    eat(b"numeric");
                    let edges = h.edges.iter().chain([&h.min, &h.max]);
                    edges.for_each(|e| eat(&e.to_bits().to_le_bytes()));
                    h.atoms.iter().for_each(|a| eat(&a.to_le_bytes()));
                }
                FeatureValues::Categorical(c) => {
                    eat(b"categorical");
                    c.vocabulary.iter().for_each(|w| eat(w.as_bytes()));
                }
            }
        }
        Self(hash)
    }
}

/// Why two windows cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowMergeError {
    /// Counted against different references.
    #[error(
        "the profiles were counted against different references ({0:?} and {1:?}); only profiles of one model version can be merged"
    )]
    OtherReference(ReferenceId, ReferenceId),
    /// Of different levels.
    #[error("the profiles are of levels {0:?} and {1:?}; coarsen the finer one first")]
    OtherLevel(Level, Level),
    /// Claiming the same reference, but of another shape: one of them is damaged.
    #[error("feature {0} has another shape in the other profile")]
    OtherShape(usize),
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number (f32 is widened exactly).
    Number(f64),
    /// A word.
    Word(&'a str),
    /// Nothing.
    Missing,
}

/// What was counted of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureWindow {
    /// Counts of the bins (of the window's level) or of the vocabulary and, last, everything outside it.
    #[serde(with = "crate::sparse")]
    pub counts: Vec<u64>,
    /// Part of the first bin: below the reference's range.
    pub below: u64,
    /// Part of the last bin: above the reference's range.
    pub above: u64,
    /// NaN.
    pub nan: u64,
    /// Positive infinity.
    pub pos_inf: u64,
    /// Negative infinity.
    pub neg_inf: u64,
    /// Rows without a value.
    pub missing: u64,
    /// Words where the reference has numbers: the feature has changed its type.
    pub mistyped: u64,
}

impl FeatureWindow {
    fn empty(counts: usize) -> Self {
        let counts = vec![0; counts];
        Self { counts, below: 0, above: 0, nan: 0, pos_inf: 0, neg_inf: 0, missing: 0, mistyped: 0 }
    }
    /// Values in bins or categories.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counts.iter().fold(0, |s, n| s.saturating_add(*n))
    }
    /// Values that have no place on the scale: missing, NaN, infinite, of another type.
    #[must_use]
    pub fn absent(&self) -> u64 {
        let all = [self.nan, self.pos_inf, self.neg_inf, self.missing, self.mistyped];
        all.iter().fold(0, |s, n| s.saturating_add(*n))
    }
    /// Every count that is not of a bin: below, above, NaN, infinite, missing, of another type.
    #[must_use]
    pub fn specials(&self) -> [u64; 7] {
        [self.below, self.above, self.nan, self.pos_inf, self.neg_inf, self.missing, self.mistyped]
    }
    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a = a.saturating_add(*b));
        for (a, b) in [
            (&mut self.below, other.below),
            (&mut self.above, other.above),
            (&mut self.nan, other.nan),
            (&mut self.pos_inf, other.pos_inf),
            (&mut self.neg_inf, other.neg_inf),
            (&mut self.missing, other.missing),
            (&mut self.mistyped, other.mistyped),
        ] {
            *a = a.saturating_add(b);
        }
    }
}

/// The reference's own data as a window of the finest level, so that both sides of a comparison have one form.
impl From<&FeatureProfile> for FeatureWindow {
    fn from(f: &FeatureProfile) -> Self {
        let missing = f.missing;
        match &f.values {
            FeatureValues::Numeric(h) => Self {
                counts: h.counts.clone(),
                below: h.below,
                above: h.above,
                nan: h.nan,
                pos_inf: h.pos_inf,
                neg_inf: h.neg_inf,
                missing,
                mistyped: 0,
            },
            FeatureValues::Categorical(c) => {
                let counts = c.counts.iter().copied().chain([c.other]).collect();
                Self { counts, missing, ..Self::empty(0) }
            }
        }
    }
}

/// A profile of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowProfile {
    /// Against which reference.
    pub reference: ReferenceId,
    /// How fine.
    pub level: Level,
    /// Rows counted.
    pub rows: u64,
    /// Rows with at least one feature outside the reference's range or vocabulary, or without a value on its scale.
    pub rows_out_of_range: u64,
    /// One entry a feature, in the reference's order.
    pub features: Vec<FeatureWindow>,
}

impl WindowProfile {
    /// Adds `other`, exactly. Counts stop at 2^64 - 1.
    ///
    /// # Errors
    /// [`WindowMergeError`]; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), WindowMergeError> {
        if self.reference != other.reference {
            return Err(WindowMergeError::OtherReference(self.reference, other.reference));
        }
        if self.level != other.level {
            return Err(WindowMergeError::OtherLevel(self.level, other.level));
        }
        if self.features.len() != other.features.len() {
            return Err(WindowMergeError::OtherShape(self.features.len().min(other.features.len())));
        }
        let mut both = self.features.iter().zip(&other.features);
        if let Some(i) = both.position(|(a, b)| a.counts.len() != b.counts.len()) {
            return Err(WindowMergeError::OtherShape(i));
        }
        self.rows = self.rows.saturating_add(other.rows);
        self.rows_out_of_range = self.rows_out_of_range.saturating_add(other.rows_out_of_range);
        self.features.iter_mut().zip(&other.features).for_each(|(a, b)| a.add(b));
        Ok(())
    }
    /// The same counts in the bins of a coarser level; no count is lost. A level that is not coarser changes nothing.
    ///
    /// # Errors
    /// [`WindowMergeError::OtherReference`] or [`WindowMergeError::OtherShape`] when `reference` is not what it was counted
    /// against.
    pub fn coarsened(&self, reference: &Profile, level: Level) -> Result<Self, WindowMergeError> {
        let id = ReferenceId::of(reference);
        if id != self.reference {
            return Err(WindowMergeError::OtherReference(self.reference, id));
        }
        let mut out = self.clone();
        if level <= self.level {
            return Ok(out);
        }
        out.level = level;
        for (i, (f, window)) in reference.features.iter().zip(&mut out.features).enumerate() {
            let FeatureValues::Numeric(h) = &f.values else { continue };
            let from = nesting::starts(&h.counts, self.level);
            if from.len() != window.counts.len() {
                return Err(WindowMergeError::OtherShape(i));
            }
            // Groups of the coarser level, as positions among the groups of this one.
            let to: Vec<usize> = nesting::starts(&h.counts, level)
                .iter()
                .filter_map(|start| from.iter().position(|s| s == start))
                .collect();
            window.counts = nesting::grouped(&window.counts, &to);
        }
        Ok(out)
    }
    /// Bytes of counters this state takes in memory.
    #[must_use]
    pub fn counter_bytes(&self) -> usize {
        self.features.iter().map(|f| (f.counts.len() + 7) * 8).sum::<usize>() + 16
    }
}

/// Finds the bin of a value without a branch that depends on it.
#[derive(Debug, Clone)]
struct Binner {
    /// Padded with infinity, which no finite value reaches.
    edges: [f64; BINS_MAX],
    group: [u8; BINS_MAX],
    min: f64,
    max: f64,
}

impl Binner {
    fn new(h: &Histogram, level: Level) -> (Self, usize) {
        let mut edges = [f64::INFINITY; BINS_MAX];
        edges.iter_mut().zip(&h.edges).for_each(|(a, b)| *a = *b);
        let starts = nesting::starts(&h.counts, level);
        let mut group = [0; BINS_MAX];
        for (bin, g) in group.iter_mut().enumerate() {
            *g = (starts.partition_point(|s| *s <= bin) - 1) as u8;
        }
        (Self { edges, group, min: h.min, max: h.max }, starts.len())
    }
    /// The group of a finite value.
    #[inline]
    fn group(&self, value: f64) -> usize {
        let mut at = 0;
        for step in [32, 16, 8, 4, 2, 1] {
            at += step * usize::from(self.edges[(at + step - 1) & (BINS_MAX - 1)] <= value);
        }
        usize::from(self.group[at & (BINS_MAX - 1)])
    }
}

#[derive(Debug, Clone)]
enum Scale {
    Numeric(Box<Binner>),
    Categorical(Vec<String>),
}

/// Counts rows into a [`WindowProfile`].
#[derive(Debug, Clone)]
pub struct Recorder {
    scales: Vec<Scale>,
    window: WindowProfile,
}

impl Recorder {
    /// An empty window of `level` over the bins of `reference`.
    #[must_use]
    pub fn new(reference: &Profile, level: Level) -> Self {
        let mut scales = Vec::with_capacity(reference.features.len());
        let mut features = Vec::with_capacity(reference.features.len());
        for f in &reference.features {
            let (scale, counts) = match &f.values {
                FeatureValues::Numeric(h) => {
                    let (binner, groups) = Binner::new(h, level);
                    (Scale::Numeric(Box::new(binner)), groups)
                }
                FeatureValues::Categorical(Categories { vocabulary, .. }) => {
                    (Scale::Categorical(vocabulary.clone()), vocabulary.len() + 1)
                }
            };
            scales.push(scale);
            features.push(FeatureWindow::empty(counts));
        }
        let window = WindowProfile {
            reference: ReferenceId::of(reference),
            level,
            rows: 0,
            rows_out_of_range: 0,
            features,
        };
        Self { scales, window }
    }
    /// Counts one row. Features beyond the row's length count as missing; values beyond the features are ignored.
    pub fn row(&mut self, values: &[Value<'_>]) {
        let mut inside = true;
        for (i, (scale, window)) in self.scales.iter().zip(&mut self.window.features).enumerate() {
            inside &= count(scale, window, values.get(i).copied().unwrap_or(Value::Missing));
        }
        self.window.rows += 1;
        self.window.rows_out_of_range += u64::from(!inside);
    }
    /// Counts one row of numbers: the way of a tensor.
    pub fn numbers(&mut self, values: &[f64]) {
        let mut inside = true;
        for (i, (scale, window)) in self.scales.iter().zip(&mut self.window.features).enumerate() {
            inside &= match (values.get(i), scale) {
                (Some(v), Scale::Numeric(binner)) => count_number(binner, window, *v),
                (Some(v), _) => count(scale, window, Value::Number(*v)),
                (None, _) => count(scale, window, Value::Missing),
            };
        }
        self.window.rows += 1;
        self.window.rows_out_of_range += u64::from(!inside);
    }
    /// What was counted.
    #[must_use]
    pub fn window(&self) -> &WindowProfile {
        &self.window
    }
    /// What was counted since the last call; counting starts again at nothing.
    pub fn take(&mut self) -> WindowProfile {
        let empty = WindowProfile {
            rows: 0,
            rows_out_of_range: 0,
            features: self.window.features.iter().map(|f| FeatureWindow::empty(f.counts.len())).collect(),
            ..self.window
        };
        std::mem::replace(&mut self.window, empty)
    }
}

/// Counts a value; whether it lies within what the reference knows.
#[inline]
fn count_number(binner: &Binner, window: &mut FeatureWindow, value: f64) -> bool {
    if !value.is_finite() {
        match value {
            v if v.is_nan() => window.nan += 1,
            v if v > 0.0 => window.pos_inf += 1,
            _ => window.neg_inf += 1,
        }
        return false;
    }
    window.counts[binner.group(value)] += 1;
    let (below, above) = (value < binner.min, value > binner.max);
    window.below += u64::from(below);
    window.above += u64::from(above);
    !(below | above)
}

fn count(scale: &Scale, window: &mut FeatureWindow, value: Value<'_>) -> bool {
    match (scale, value) {
        (_, Value::Missing) => {
            window.missing += 1;
            false
        }
        (Scale::Numeric(binner), Value::Number(v)) => count_number(binner, window, v),
        (Scale::Numeric(_), Value::Word(_)) => {
            window.mistyped += 1;
            false
        }
        (Scale::Categorical(words), Value::Word(w)) => count_word(words, window, w),
        (Scale::Categorical(words), Value::Number(v)) if v.is_nan() => {
            let _ = words;
            window.nan += 1;
            false
        }
        // Numbers that stand for kinds are written as Rust writes them: 3, 2.5, and 0 for -0.0.
        (Scale::Categorical(words), Value::Number(v)) => count_word(words, window, &(v + 0.0).to_string()),
    }
}

fn count_word(words: &[String], window: &mut FeatureWindow, word: &str) -> bool {
    let known = words.binary_search_by(|w| w.as_str().cmp(word)).ok();
    window.counts[known.unwrap_or(words.len())] += 1;
    known.is_some()
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
