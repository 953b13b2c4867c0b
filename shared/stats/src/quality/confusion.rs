//! Confusion counts: true class by predicted class.

use serde::{Deserialize, Serialize};

use super::proportion::Share;
use super::{TableError, add, same, total};

/// K x K counts, row-major by true class.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
    /// Labels or predictions that are no class.
    pub other: u64,
}

/// Figures of one class against all others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneClass {
    /// Right among those predicted; `None` when none was.
    pub precision: Option<Share>,
    /// Found among those there are; `None` when there is none.
    pub recall: Option<Share>,
    /// Harmonic mean 2 TP / (2 TP + FP + FN); `None` when the class neither appears nor is predicted.
    pub f1: Option<f64>,
}

impl Confusion {
    /// Empty, for `classes` classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes], other: 0 }
    }
    /// From counts, row-major by true class; `None` when their number is not a square of `classes`.
    #[must_use]
    pub fn from_counts(classes: usize, counts: Vec<u64>) -> Option<Self> {
        (Some(counts.len()) == classes.checked_mul(classes)).then_some(Self { classes, counts, other: 0 })
    }
    /// Counts a labelled row; what is no class counts as `other`.
    pub fn insert(&mut self, truth: usize, predicted: usize) {
        if truth < self.classes && predicted < self.classes {
            self.counts[truth * self.classes + predicted] += 1;
        } else {
            self.other += 1;
        }
    }
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`TableError`] for another number of classes; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), TableError> {
        same("confusion tables", self.classes, other.classes)?;
        add(&mut self.counts, &other.counts);
        self.other = self.other.saturating_add(other.other);
        Ok(())
    }
    /// Rows of a true and a predicted class; 0 for what is no class.
    #[must_use]
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        if predicted >= self.classes {
            0
        } else {
            self.counts.get(truth * self.classes + predicted).copied().unwrap_or(0)
        }
    }
    /// Labelled rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        total(&self.counts)
    }
    /// Share of right answers; `None` without a labelled row.
    #[must_use]
    pub fn accuracy(&self) -> Option<Share> {
        let right = (0..self.classes).fold(0u64, |s, k| s.saturating_add(self.count(k, k)));
        Share::of(right, self.rows())
    }
    /// Figures of a class.
    #[must_use]
    pub fn one_class(&self, class: usize) -> OneClass {
        let sum = |f: &dyn Fn(usize) -> u64| (0..self.classes).fold(0u64, |s, k| s.saturating_add(f(k)));
        let hits = self.count(class, class);
        let (there, predicted) = (sum(&|k| self.count(class, k)), sum(&|k| self.count(k, class)));
        let both = there as f64 + predicted as f64;
        OneClass {
            precision: Share::of(hits, predicted),
            recall: Share::of(hits, there),
            f1: (both > 0.0).then(|| 2.0 * hits as f64 / both),
        }
    }
    /// Mean of the F1 of all classes that appear or are predicted (macro average).
    #[must_use]
    pub fn macro_f1(&self) -> Option<f64> {
        let all: Vec<f64> = (0..self.classes).filter_map(|k| self.one_class(k).f1).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let mut c = Confusion::new(2);
        for (t, p, n) in [(0, 0, 50), (0, 1, 10), (1, 0, 5), (1, 1, 35)] {
            (0..n).for_each(|_| c.insert(t, p));
        }
        assert_eq!(c.accuracy().unwrap().value, 0.85);
        let one = c.one_class(1);
        assert_eq!((one.precision.unwrap().hits, one.precision.unwrap().n), (35, 45));
        assert_eq!((one.recall.unwrap().value, one.f1.unwrap()), (0.875, 70.0 / 85.0));
        assert!((c.macro_f1().unwrap() - (100.0 / 115.0 + 70.0 / 85.0) / 2.0).abs() < 1e-15);
    }
    #[test]
    fn nothing_labelled_says_nothing_and_unknown_classes_are_counted_apart() {
        let mut c = Confusion::new(3);
        assert_eq!((c.accuracy(), c.macro_f1(), c.one_class(1).f1), (None, None, None));
        c.insert(3, 0);
        c.insert(0, 9);
        assert_eq!((c.rows(), c.other), (0, 2));
        assert_eq!(c.count(0, 3), 0);
    }
    #[test]
    fn only_tables_of_as_many_classes_merge() {
        let mut c = Confusion::from_counts(2, vec![1, 2, 3, 4]).unwrap();
        assert!(c.merge(&Confusion::new(3)).is_err());
        c.merge(&c.clone()).unwrap();
        assert_eq!(c.counts, [2, 4, 6, 8]);
        assert_eq!(Confusion::from_counts(2, vec![1]), None);
    }
}
