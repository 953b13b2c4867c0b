//! Window profiles: what a model saw in a span of time, counted in the bins of its reference.
//!
//! What always holds: every value of every row is counted in exactly one place (a bin, a category, or one of the special
//! counters); merging adds integers, so merge(split(x)) == profile(x) bit for bit in any order; profiles of different
//! references or levels are refused, and a refusal changes nothing. No number that was seen is kept, only where it fell.

use serde::{Deserialize, Serialize};

use crate::nesting::{self, Level};
use crate::places::Places;
use crate::profile::{FEATURES_MAX, FeatureProfile, FeatureValues, Profile};

/// Which reference a window was counted against: a fingerprint of its bins and counts (FNV-1a, 64 bits). The counts are part
/// of it because they say where coarser levels are cut: whole numbers have the same bins in any data.
/// It tells references apart; it proves nothing (the digest of the bundle does).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReferenceId(pub u64);

impl ReferenceId {
    /// The fingerprint of a profile.
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
                    h.counts.iter().for_each(|n| eat(&n.to_le_bytes()));
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
    #[error("feature {0} has another shape than its reference gives it; the profile is damaged")]
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
    /// The same places with nothing counted.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::empty(self.counts.len())
    }
    fn since(&self, before: &Self) -> Option<Self> {
        let counts = crate::quality::minus(&self.counts, &before.counts)?;
        let rest = crate::quality::minus(&self.specials(), &before.specials())?;
        let [below, above, nan, pos_inf, neg_inf, missing, mistyped] = rest.try_into().ok()?;
        Some(Self { counts, below, above, nan, pos_inf, neg_inf, missing, mistyped })
    }
    fn is_of(&self, f: &FeatureProfile, level: Level) -> bool {
        let end = |count: Option<&u64>| count.copied().unwrap_or(0);
        let (first, last) = match &f.values {
            FeatureValues::Numeric(_) => (end(self.counts.first()), end(self.counts.last())),
            FeatureValues::Categorical(_) => (0, 0),
        };
        let outside = self.below.saturating_add(self.above);
        let inside = self.below <= first && self.above <= last && outside <= self.counted();
        self.counts.len() == f.cells(level) && inside
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
    #[serde(deserialize_with = "crate::bounded::list::<_, _, FEATURES_MAX>")]
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
    /// What was counted since `before`; `None` when a count fell, or for another reference, level or shape.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        if self.reference != before.reference
            || self.level != before.level
            || self.features.len() != before.features.len()
        {
            return None;
        }
        let features = self.features.iter().zip(&before.features).map(|(a, b)| a.since(b));
        Some(Self {
            rows: self.rows.checked_sub(before.rows)?,
            rows_out_of_range: self.rows_out_of_range.checked_sub(before.rows_out_of_range)?,
            features: features.collect::<Option<_>>()?,
            ..*self
        })
    }
    /// Whether it can be a window of `reference`: what comes from outside says so of itself, and nothing else is sure.
    ///
    /// # Errors
    /// [`WindowMergeError::OtherReference`], or [`WindowMergeError::OtherShape`] with the first feature whose counts are not
    /// one for each group of the level, or whose values outside the range are not part of the end bins.
    pub fn check(&self, reference: &Profile) -> Result<(), WindowMergeError> {
        let id = ReferenceId::of(reference);
        if id != self.reference {
            return Err(WindowMergeError::OtherReference(self.reference, id));
        }
        if self.features.len() != reference.features.len() {
            return Err(WindowMergeError::OtherShape(self.features.len().min(reference.features.len())));
        }
        let mut both = self.features.iter().zip(&reference.features);
        let wrong = both.position(|(window, f)| !window.is_of(f, self.level));
        wrong.map_or(Ok(()), |i| Err(WindowMergeError::OtherShape(i)))
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

/// Counts rows into a [`WindowProfile`].
#[derive(Debug, Clone)]
pub struct Recorder {
    places: Places,
    words: Vec<u64>,
}

impl Recorder {
    /// An empty window of `level` over the bins of `reference`.
    #[must_use]
    pub fn new(reference: &Profile, level: Level) -> Self {
        let places = Places::new(reference, level);
        let words = vec![0; places.shape().words()];
        Self { places, words }
    }
    /// Counts one row. Features beyond the row's length count as missing; values beyond the features are ignored.
    pub fn row(&mut self, values: &[Value<'_>]) {
        let (places, words) = (&self.places, &mut self.words);
        let mut inside = true;
        for i in 0..places.features() {
            let value = values.get(i).copied().unwrap_or(Value::Missing);
            inside &= places.value(i, value, &mut |at| words[at] += 1);
        }
        words[0] += 1;
        words[1] += u64::from(!inside);
    }
    /// Counts one row of numbers: the way of a tensor.
    pub fn numbers(&mut self, values: &[f64]) {
        let (places, words) = (&self.places, &mut self.words);
        let mut inside = true;
        for i in 0..places.features() {
            inside &= match values.get(i) {
                Some(v) => places.number(i, *v, &mut |at| words[at] += 1),
                None => places.value(i, Value::Missing, &mut |at| words[at] += 1),
            };
        }
        words[0] += 1;
        words[1] += u64::from(!inside);
    }
    /// What was counted.
    #[must_use]
    pub fn window(&self) -> WindowProfile {
        self.places.shape().window(&self.words).expect("as many counters as the shape names")
    }
    /// What was counted since the last call; counting starts again at nothing.
    pub fn take(&mut self) -> WindowProfile {
        let window = self.window();
        self.words.fill(0);
        window
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
