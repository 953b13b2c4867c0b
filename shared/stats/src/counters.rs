//! What a window counts of one bundle: integers only, so that merging is addition.

use serde::{Deserialize, Serialize};

use crate::DdSketch;

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
    /// Rows by predicted class, length K.
    pub classes: Vec<u64>,
    /// Labelled rows by true and predicted class, K x K.
    pub confusion: Vec<u64>,
    /// Labels for regressions or unknown classes that were joined but fit no table.
    pub labels_other: u64,
    /// Latency of one request, microseconds.
    pub latency_us: DdSketch,
}

/// Why two summaries cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Tables of different numbers of classes.
    #[error("cannot merge tables of {0} and {1} classes")]
    Classes(usize, usize),
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
        self.requests == 0
            && self.rows == 0
            && self.errors == 0
            && self.nan == 0
            && self.labels_other == 0
            && self.classes.iter().all(|&n| n == 0)
            && self.confusion.iter().all(|&n| n == 0)
            && self.latency_us.count() == 0
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
    /// [`MergeError::Classes`] when both have tables of different sizes; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        let (a, b) = (self.classes.len(), other.classes.len());
        if a != 0 && b != 0 && a != b {
            return Err(MergeError::Classes(a, b));
        }
        if a == 0 && b != 0 {
            self.classes = vec![0; b];
        }
        // A bundle of very many classes has no table of them against each other.
        if self.confusion.is_empty() {
            self.confusion = vec![0; other.confusion.len()];
        }
        self.requests = self.requests.saturating_add(other.requests);
        self.rows = self.rows.saturating_add(other.rows);
        self.errors = self.errors.saturating_add(other.errors);
        self.nan = self.nan.saturating_add(other.nan);
        self.labels_other = self.labels_other.saturating_add(other.labels_other);
        for (x, y) in self.classes.iter_mut().zip(&other.classes) {
            *x = x.saturating_add(*y);
        }
        for (x, y) in self.confusion.iter_mut().zip(&other.confusion) {
            *x = x.saturating_add(*y);
        }
        self.latency_us.merge(&other.latency_us);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_left_out_is_not_made_up() {
        let many = Counters { classes: vec![1; 1000], ..Counters::default() };
        let mut sum = Counters::default();
        sum.merge(&many).unwrap();
        assert_eq!(sum, many);
    }
    #[test]
    fn a_table_that_only_one_side_has_is_kept() {
        let mut few = Counters { classes: vec![0; 2], ..Counters::default() };
        let mut labelled = Counters::with_classes(2);
        labelled.confusion[3] = 5;
        few.merge(&labelled).unwrap();
        assert_eq!(few.labelled(), 5);
    }
}
