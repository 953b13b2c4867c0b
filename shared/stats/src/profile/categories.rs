//! Counts of a vocabulary: kinds instead of a scale.

use serde::{Deserialize, Serialize};

use super::CATEGORIES_MAX;

/// Counts of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categories {
    /// The reference's values, sorted.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, CATEGORIES_MAX>")]
    pub vocabulary: Vec<String>,
    /// As many as the vocabulary has.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, CATEGORIES_MAX>")]
    pub counts: Vec<u64>,
    /// Rows with another value.
    pub other: u64,
}

impl Categories {
    /// The most frequent values as vocabulary; nothing is counted yet.
    #[must_use]
    pub fn vocabulary_of<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut seen = std::collections::BTreeMap::<&str, u64>::new();
        values.for_each(|v| *seen.entry(v).or_default() += 1);
        let mut by_count: Vec<(&str, u64)> = seen.into_iter().collect();
        by_count.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        by_count.truncate(CATEGORIES_MAX);
        let mut vocabulary: Vec<String> = by_count.into_iter().map(|(v, _)| v.to_owned()).collect();
        vocabulary.sort();
        let counts = vec![0; vocabulary.len()];
        Self { vocabulary, counts, other: 0 }
    }
    /// Counts one value.
    pub fn insert(&mut self, value: &str) {
        match self.vocabulary.binary_search_by(|v| v.as_str().cmp(value)) {
            Ok(i) => self.counts[i] += 1,
            Err(_) => self.other += 1,
        }
    }
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let sorted = self.vocabulary.windows(2).all(|w| w[0] < w[1]);
        if !sorted || self.counts.len() != self.vocabulary.len() || self.vocabulary.len() > CATEGORIES_MAX {
            return Err("vocabulary must be sorted, without repetition, one count an entry, at most 64");
        }
        Ok(())
    }
}
