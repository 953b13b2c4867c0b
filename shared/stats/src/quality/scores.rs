//! Score tables: probabilities in 50 equal bins, alone or by truth.
//!
//! A score equal to an edge belongs to the bin on its right; 1 belongs to the last. What counts in bins cannot say exactly
//! (AUC, Brier, calibration error) comes as an interval that holds the exact value.

use serde::{Deserialize, Serialize};

use super::proportion::of_area;
use super::{TableError, add, minus, same, total};
use crate::bounds::Interval;

/// Bins of a score.
pub const SCORE_BINS: usize = 50;
/// Bins of the calibration error.
pub const ECE_BINS: usize = 10;

/// The bin of a score; `None` for what is no probability.
#[must_use]
pub fn bin(score: f64) -> Option<usize> {
    (0.0..=1.0).contains(&score).then(|| equal_bin(score, SCORE_BINS))
}

/// Which of `bins` equal bins of [0, 1] holds a score. The product may be rounded either way, so the edges decide.
pub(super) fn equal_bin(score: f64, bins: usize) -> usize {
    let left = |bin: usize| bin as f64 / bins as f64;
    let near = ((score * bins as f64) as usize).min(bins - 1);
    if score < left(near) {
        near - 1
    } else if near + 1 < bins && score >= left(near + 1) {
        near + 1
    } else {
        near
    }
}

/// Left edge of a bin.
#[must_use]
pub fn edge(bin: usize) -> f64 {
    bin as f64 / SCORE_BINS as f64
}

/// Scores of one class, without labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreTable {
    #[serde(with = "crate::sparse")]
    counts: Vec<u64>,
    /// Scores that are no probability.
    pub invalid: u64,
}

impl Default for ScoreTable {
    fn default() -> Self {
        Self { counts: vec![0; SCORE_BINS], invalid: 0 }
    }
}

impl ScoreTable {
    /// From counts of the 50 bins; `None` when there are not 50.
    #[must_use]
    pub fn from_counts(counts: Vec<u64>) -> Option<Self> {
        (counts.len() == SCORE_BINS).then_some(Self { counts, invalid: 0 })
    }
    /// All of some tables together. Of damaged ones nothing is taken.
    #[must_use]
    pub fn sum(tables: &[Self]) -> Self {
        tables.iter().fold(Self::default(), |mut sum, table| {
            let _ = sum.merge(table);
            sum
        })
    }
    /// Counts one score.
    pub fn insert(&mut self, score: f64) {
        match bin(score) {
            Some(b) => self.counts[b] += 1,
            None => self.invalid += 1,
        }
    }
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`TableError`] when it was damaged on its way.
    pub fn merge(&mut self, other: &Self) -> Result<(), TableError> {
        same("score bins", self.counts.len(), other.counts.len())?;
        add(&mut self.counts, &other.counts);
        self.invalid = self.invalid.saturating_add(other.invalid);
        Ok(())
    }
    /// What was counted since `before`; `None` when a count fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        let counts = minus(&self.counts, &before.counts)?;
        Some(Self { counts, invalid: self.invalid.checked_sub(before.invalid)? })
    }
    /// Whether it has the bins it must have.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.counts.len() == SCORE_BINS
    }
    /// Scores counted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        total(&self.counts)
    }
    /// Counts of the bins.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}

/// Scores of one class, by whether the row is of the class.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelledScores {
    /// Rows of the class.
    pub positive: ScoreTable,
    /// All others.
    pub negative: ScoreTable,
}

/// A figure from bins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Binned {
    /// Best guess: values in the middle of their bins.
    pub estimate: f64,
    /// Holds the exact value of these rows.
    pub exact: Interval,
    /// Holds, with 95 % confidence, the value of the population too; equal to `exact` where no theory gives more.
    pub confidence: Interval,
}

impl LabelledScores {
    /// Counts one labelled score.
    pub fn insert(&mut self, score: f64, is_class: bool) {
        if is_class { self.positive.insert(score) } else { self.negative.insert(score) }
    }
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn merge(&mut self, other: &Self) -> Result<(), TableError> {
        same("score bins", self.negative.counts.len(), other.negative.counts.len())?;
        self.positive.merge(&other.positive)?;
        self.negative.merge(&other.negative)
    }
    /// What was counted since `before`; `None` when a count fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        let (positive, negative) =
            (self.positive.since(&before.positive)?, self.negative.since(&before.negative)?);
        Some(Self { positive, negative })
    }
    /// Labelled rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.positive.rows().saturating_add(self.negative.rows())
    }
    /// Area under the ROC curve: the share of pairs (positive, negative) in the right order, ties half (Mann and Whitney,
    /// 1947). Pairs within a bin may be in either order, which gives the exact interval; the confidence interval adds
    /// DeLong's standard error (1988). `None` when either side has no row.
    #[must_use]
    pub fn auc(&self) -> Option<Binned> {
        let (p, n) = (self.positive.rows() as f64, self.negative.rows() as f64);
        if p == 0.0 || n == 0.0 {
            return None;
        }
        let (mut below_n, mut below_p) = (0.0, 0.0);
        let (mut right, mut tied) = (0.0, 0.0);
        let (mut vp, mut vn) = (0.0, 0.0);
        let cells =
            || self.positive.counts.iter().zip(&self.negative.counts).map(|(a, b)| (*a as f64, *b as f64));
        for (a, b) in cells() {
            right += a * below_n;
            tied += a * b;
            // Placements: share of the other side that each row beats.
            vp += a * ((below_n + b / 2.0) / n).powi(2);
            vn += b * ((p - below_p - a / 2.0) / p).powi(2);
            below_n += b;
            below_p += a;
        }
        let pairs = p * n;
        let estimate = (right + tied / 2.0) / pairs;
        let variance =
            |sum: f64, rows: f64| (sum / rows - estimate * estimate).max(0.0) * rows / (rows - 1.0).max(1.0);
        let around = |area: f64| of_area(area, (variance(vp, p), p), (variance(vn, n), n));
        let exact = Interval { lo: right / pairs, hi: ((right + tied) / pairs).min(1.0) };
        let confidence = Interval { lo: around(exact.lo).lo, hi: around(exact.hi).hi };
        Some(Binned { estimate, exact, confidence })
    }
    /// Brier score (1950), mean (score - truth)^2, as an interval. `None` without a row.
    #[must_use]
    pub fn brier(&self) -> Option<Binned> {
        let rows = self.rows() as f64;
        let sum = |at: &dyn Fn(usize) -> (f64, f64)| {
            let all = self.positive.counts.iter().zip(&self.negative.counts).enumerate();
            all.map(|(i, (a, b))| {
                let (for_positive, for_negative) = at(i);
                *a as f64 * (1.0 - for_positive).powi(2) + *b as f64 * for_negative.powi(2)
            })
            .sum::<f64>()
                / rows
        };
        let exact = Interval { lo: sum(&|i| (edge(i + 1), edge(i))), hi: sum(&|i| (edge(i), edge(i + 1))) };
        let estimate = sum(&|i| (middle(i), middle(i)));
        (rows > 0.0).then_some(Binned { estimate, exact, confidence: exact })
    }
    /// Expected calibration error over ten equal bins (Naeini et al., 2015): mean |share of positives - mean score|, as an
    /// interval. `None` without a row.
    #[must_use]
    pub fn ece(&self) -> Option<Binned> {
        let rows = self.rows() as f64;
        let per = SCORE_BINS / ECE_BINS;
        let (mut estimate, mut exact) = (0.0, Interval { lo: 0.0, hi: 0.0 });
        for first in (0..SCORE_BINS).step_by(per) {
            let (mut hits, mut low, mut mid, mut high) = (0.0, 0.0, 0.0, 0.0);
            for i in first..first + per {
                let (a, b) = (self.positive.counts[i] as f64, self.negative.counts[i] as f64);
                hits += a;
                low += (a + b) * edge(i);
                mid += (a + b) * middle(i);
                high += (a + b) * edge(i + 1);
            }
            estimate += (hits - mid).abs();
            exact.lo += (low - hits).max(hits - high).max(0.0);
            exact.hi += (high - hits).max(hits - low);
        }
        let exact = Interval { lo: exact.lo / rows, hi: exact.hi / rows };
        (rows > 0.0).then_some(Binned { estimate: estimate / rows, exact, confidence: exact })
    }
}

fn middle(bin: usize) -> f64 {
    (bin as f64 + 0.5) / SCORE_BINS as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quality::classification;

    #[test]
    fn edges_belong_to_the_right_and_one_to_the_last() {
        for i in 0..SCORE_BINS {
            assert_eq!(bin(edge(i)), Some(i));
            if i > 0 {
                assert_eq!(bin(edge(i).next_down()), Some(i - 1));
            }
        }
        assert_eq!((bin(1.0), bin(-0.0)), (Some(49), Some(0)));
        for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert_eq!(bin(bad), None);
        }
    }
    #[test]
    fn one_sided_or_empty_tables_say_what_they_can() {
        let mut t = LabelledScores::default();
        assert_eq!((t.auc(), t.brier(), t.ece()), (None, None, None));
        t.insert(0.3, true);
        assert!(t.auc().is_none() && t.brier().is_some() && t.ece().is_some());
        t.insert(f64::NAN, false);
        assert_eq!((t.rows(), t.negative.invalid), (1, 1));
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn the_exact_figures_are_inside(rows in proptest::collection::vec((0.0..=1.0f64, any::<bool>()), 2..200)) {
            let mut t = LabelledScores::default();
            rows.iter().for_each(|(s, y)| t.insert(*s, *y));
            let exact = classification::Metrics::of(&rows).unwrap();
            let inside = |b: Binned, v: f64| b.exact.lo <= v + 1e-12 && v <= b.exact.hi + 1e-12;
            prop_assert!(inside(t.brier().unwrap(), exact.brier));
            prop_assert!(inside(t.ece().unwrap(), exact.ece10), "{:?} {}", t.ece(), exact.ece10);
            if let (Some(b), Some(v)) = (t.auc(), exact.auc) {
                prop_assert!(inside(b, v.value) && b.confidence.lo <= b.exact.lo);
            }
        }
    }
}
