//! Reference profiles: integer histograms over bins that the reference data fixes.
//!
//! What always holds: edges rise strictly and are finite; a value equal to an edge belongs to the bin on its right; -0.0
//! equals 0.0; every row of the data is counted in exactly one bin or one of the special counters; merging adds integers
//! and is refused between different bins.

mod categories;
mod histogram;

use serde::{Deserialize, Serialize};

pub use categories::Categories;
pub use histogram::Histogram;

use crate::nesting::{self, Level};
use crate::quality::answers::ReferenceAnswers;
use crate::quality::attribution::AttributionTable;
use crate::quality::calibration::ReferenceQuality;

/// First bytes of a `reference.lsp` file: magic and version.
const HEADER: &[u8; 8] = b"LSPROF\x00\x01";
/// Version 2 is version 1 followed by what the model made of the rows.
const HEADER_WITH_ANSWERS: &[u8; 8] = b"LSPROF\x00\x02";
/// Most bins of a numeric feature.
pub const BINS_MAX: usize = 64;
/// Most features in a profile.
pub const FEATURES_MAX: usize = 256;
/// Most entries of a vocabulary; rarer values count as `other`.
pub const CATEGORIES_MAX: usize = 64;
/// Longest profile file, bytes.
pub const PROFILE_MAX_BYTES: usize = 4 << 20;

/// Why bytes are no profile, or data makes none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// Not written by this program, or by a newer one.
    #[error("not a reference profile of version 1 or 2")]
    Header,
    /// Cut short, or not what the header promises.
    #[error("the profile cannot be read: {0}")]
    Corrupt(String),
    /// A rule of one feature.
    #[error("feature `{feature}`: {reason}")]
    Feature {
        /// Which.
        feature: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// More features than may be.
    #[error("{0} features, at most {FEATURES_MAX} are allowed")]
    TooManyFeatures(usize),
    /// Counts over different bins.
    #[error(
        "feature `{0}` has other bins in the other profile; only profiles of one reference can be merged"
    )]
    OtherBins(String),
    /// Other features, or in another order.
    #[error("the profiles have different features")]
    OtherFeatures,
}

/// A profile of a data set. What the model made of the data is not part of the counts: merging leaves it alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Rows that were counted.
    pub rows: u64,
    /// One entry a feature.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, FEATURES_MAX>")]
    pub features: Vec<FeatureProfile>,
    /// How good the model was, where the reference was labelled.
    #[serde(skip)]
    pub quality: Option<ReferenceQuality>,
    /// What the model answered, where it has classes and scores.
    #[serde(skip)]
    pub answers: Option<ReferenceAnswers>,
    /// How much each feature that the manifest monitors, in its order, mattered to the answers.
    #[serde(skip)]
    pub attribution: Option<AttributionTable>,
}

/// What follows the counts in a file of version 2.
type Made = (Option<ReferenceQuality>, Option<ReferenceAnswers>, Option<AttributionTable>);

/// One feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureProfile {
    /// Its name.
    pub name: String,
    /// Its bins and what fell into them.
    pub values: FeatureValues,
    /// Rows without a value.
    pub missing: u64,
}

impl FeatureProfile {
    /// Counts that a window of `level` has of this feature: groups of bins, or the vocabulary and everything outside it.
    #[must_use]
    pub fn cells(&self, level: Level) -> usize {
        match &self.values {
            FeatureValues::Numeric(h) => nesting::starts(&h.counts, level).len(),
            FeatureValues::Categorical(c) => c.vocabulary.len() + 1,
        }
    }
}

/// Bins and counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FeatureValues {
    /// Numbers on a scale.
    Numeric(Histogram),
    /// Numbers or words that stand for kinds.
    Categorical(Categories),
}

impl FeatureValues {
    /// A value that stands for the reference: the middle of the bin that holds the median, or the most frequent kind where
    /// that is a number. `None` for words, and without any value.
    #[must_use]
    pub fn middle(&self) -> Option<f64> {
        match self {
            Self::Numeric(h) => h.middle(),
            Self::Categorical(c) => {
                let most = c.counts.iter().enumerate().max_by_key(|(i, n)| (**n, usize::MAX - i))?;
                c.vocabulary.get(most.0)?.parse().ok()
            }
        }
    }
}

/// A column of reference data.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Numbers; `None` where there is none.
    Numeric(Vec<Option<f64>>),
    /// Words; `None` where there is none.
    Categorical(Vec<Option<String>>),
}

/// Adds counts one by one; at 2^64 - 1 a count stays there.
fn add_all(into: &mut [u64], from: &[u64]) {
    into.iter_mut().zip(from).for_each(|(a, b)| *a = a.saturating_add(*b));
}

impl Profile {
    /// The reference profile of a data set: bins from the data, and the data counted in them.
    ///
    /// # Errors
    /// [`ProfileError`] when a column has no value or there are too many columns.
    pub fn of(columns: &[(String, Column)]) -> Result<Self, ProfileError> {
        let mut rows = 0;
        let mut features = Vec::new();
        for (name, column) in columns {
            let empty = || ProfileError::Feature { feature: name.clone(), reason: "has no value at all" };
            let (n, values, missing) = match column {
                Column::Numeric(values) => {
                    let mut h = Histogram::bins_of(values.iter().flatten().copied()).ok_or_else(empty)?;
                    values.iter().flatten().for_each(|v| h.insert(*v));
                    let missing = values.iter().filter(|v| v.is_none()).count();
                    (values.len(), FeatureValues::Numeric(h), missing)
                }
                Column::Categorical(values) => {
                    let mut c = Categories::vocabulary_of(values.iter().flatten().map(String::as_str));
                    if c.vocabulary.is_empty() {
                        return Err(empty());
                    }
                    values.iter().flatten().for_each(|v| c.insert(v));
                    let missing = values.iter().filter(|v| v.is_none()).count();
                    (values.len(), FeatureValues::Categorical(c), missing)
                }
            };
            rows = rows.max(n as u64);
            features.push(FeatureProfile { name: name.clone(), values, missing: missing as u64 });
        }
        let profile = Self { rows, features, quality: None, answers: None, attribution: None };
        profile.check()?;
        Ok(profile)
    }
    /// The feature of a name.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&FeatureProfile> {
        self.features.iter().find(|f| f.name == name)
    }
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`ProfileError::OtherFeatures`] or [`ProfileError::OtherBins`]; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), ProfileError> {
        if self.features.len() != other.features.len() {
            return Err(ProfileError::OtherFeatures);
        }
        for (a, b) in self.features.iter().zip(&other.features) {
            let same = match (&a.values, &b.values) {
                (FeatureValues::Numeric(a), FeatureValues::Numeric(b)) => a.same_bins(b),
                (FeatureValues::Categorical(a), FeatureValues::Categorical(b)) => {
                    a.vocabulary == b.vocabulary
                }
                _ => false,
            };
            if a.name != b.name {
                return Err(ProfileError::OtherFeatures);
            }
            if !same {
                return Err(ProfileError::OtherBins(a.name.clone()));
            }
        }
        self.rows = self.rows.saturating_add(other.rows);
        for (a, b) in self.features.iter_mut().zip(&other.features) {
            a.missing = a.missing.saturating_add(b.missing);
            match (&mut a.values, &b.values) {
                (FeatureValues::Numeric(a), FeatureValues::Numeric(b)) => a.add(b),
                (FeatureValues::Categorical(a), FeatureValues::Categorical(b)) => {
                    add_all(&mut a.counts, &b.counts);
                    a.other = a.other.saturating_add(b.other);
                }
                _ => {}
            }
        }
        Ok(())
    }
    /// The bytes of a `reference.lsp` file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let sized = "a profile has only sized sequences";
        let has_more = self.quality.is_some() || self.answers.is_some() || self.attribution.is_some();
        let mut out = if has_more { HEADER_WITH_ANSWERS } else { HEADER }.to_vec();
        out.extend(postcard::to_stdvec(self).expect(sized));
        if has_more {
            let made = (&self.quality, &self.answers, &self.attribution);
            out.extend(postcard::to_stdvec(&made).expect(sized));
        }
        out
    }
    /// Reads the bytes of a `reference.lsp` file and checks every rule.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        if bytes.len() > PROFILE_MAX_BYTES {
            return Err(ProfileError::Corrupt(format!("{} bytes are too many", bytes.len())));
        }
        let corrupt = |e: postcard::Error| ProfileError::Corrupt(e.to_string());
        let answered = bytes.strip_prefix(HEADER_WITH_ANSWERS.as_slice());
        let body = answered.or_else(|| bytes.strip_prefix(HEADER.as_slice())).ok_or(ProfileError::Header)?;
        let (mut profile, mut rest) = postcard::take_from_bytes::<Self>(body).map_err(corrupt)?;
        if answered.is_some() {
            let ((quality, answers, attribution), after) =
                postcard::take_from_bytes::<Made>(rest).map_err(corrupt)?;
            if quality.as_ref().is_some_and(|q| !q.is_sound()) {
                return Err(ProfileError::Corrupt("the calibration is none".to_owned()));
            }
            if answers.as_ref().is_some_and(|a| !a.is_sound()) {
                return Err(ProfileError::Corrupt("the answers are of another shape".to_owned()));
            }
            (profile.quality, profile.answers, profile.attribution) = (quality, answers, attribution);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(ProfileError::Corrupt(format!("{} bytes after its end", rest.len())));
        }
        profile.check()?;
        Ok(profile)
    }
    fn check(&self) -> Result<(), ProfileError> {
        if self.features.len() > FEATURES_MAX {
            return Err(ProfileError::TooManyFeatures(self.features.len()));
        }
        let mut names = std::collections::BTreeSet::new();
        for f in &self.features {
            let bad = |reason| ProfileError::Feature { feature: f.name.clone(), reason };
            if !names.insert(f.name.as_str()) {
                return Err(bad("appears twice"));
            }
            match &f.values {
                FeatureValues::Numeric(h) => h.check().map_err(bad)?,
                FeatureValues::Categorical(c) => c.check().map_err(bad)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
