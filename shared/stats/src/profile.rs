//! Reference profiles: integer histograms over bins that the reference data fixes.
//!
//! What always holds: edges rise strictly and are finite; a value equal to an edge belongs to the bin on its right; -0.0
//! equals 0.0; every row of the data is counted in exactly one bin or one of the special counters; merging adds integers
//! and is refused between different bins.

use serde::{Deserialize, Serialize};

/// First bytes of a `reference.lsp` file: magic and version.
const HEADER: &[u8; 8] = b"LSPROF\x00\x01";
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
    #[error("not a reference profile of version 1")]
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

/// A profile of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Rows that were counted.
    pub rows: u64,
    /// One entry a feature.
    pub features: Vec<FeatureProfile>,
}

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

/// Bins and counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FeatureValues {
    /// Numbers on a scale.
    Numeric(Histogram),
    /// Numbers or words that stand for kinds.
    Categorical(Categories),
}

/// Counts between edges, with special values apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Inner edges, rising: bin i holds `edges[i-1] <= v < edges[i]`; the end bins reach to infinity.
    pub edges: Vec<f64>,
    /// Bins that hold a single value of the reference only (rising indices).
    pub atoms: Vec<u16>,
    /// Least value of the reference.
    pub min: f64,
    /// Greatest value of the reference.
    pub max: f64,
    /// One more than there are edges.
    pub counts: Vec<u64>,
    /// Of the first bin: below the reference's least value.
    pub below: u64,
    /// Of the last bin: above the reference's greatest value.
    pub above: u64,
    /// NaN.
    pub nan: u64,
    /// Positive infinity.
    pub pos_inf: u64,
    /// Negative infinity.
    pub neg_inf: u64,
}

/// Counts of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categories {
    /// The reference's values, sorted.
    pub vocabulary: Vec<String>,
    /// As many as the vocabulary has.
    pub counts: Vec<u64>,
    /// Rows with another value.
    pub other: u64,
}

/// A column of reference data.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Numbers; `None` where there is none.
    Numeric(Vec<Option<f64>>),
    /// Words; `None` where there is none.
    Categorical(Vec<Option<String>>),
}

impl Histogram {
    /// Bins at the quantiles of `values`, with a bin of its own for each value that holds more than 1/64 of the mass;
    /// nothing is counted yet. `None` when there is no finite value.
    #[must_use]
    pub fn bins_of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.filter(|v| v.is_finite()).map(|v| v + 0.0).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let n = sorted.len();
        // Runs of equal values that are too heavy to share a bin. At most 63 can be.
        let mut atoms: Vec<f64> = Vec::new();
        let mut at = 0;
        while at < n {
            let end = at + sorted[at..].partition_point(|v| *v <= sorted[at]);
            if (end - at) * BINS_MAX > n {
                atoms.push(sorted[at]);
            }
            at = end;
        }
        let mut edges: Vec<f64> = Vec::new();
        let after = |v: f64| sorted.get(sorted.partition_point(|x| *x <= v)).copied();
        for &a in &atoms {
            edges.push(a);
            edges.extend(after(a));
        }
        // What is left of the bins goes to quantiles of the other values.
        let is_atom = |v: &f64| atoms.contains(v);
        let rest: Vec<f64> = sorted.iter().copied().filter(|v| !is_atom(v)).collect();
        let spare = BINS_MAX.saturating_sub(2 * atoms.len()).max(1).min(rest.len());
        for k in 1..spare {
            edges.push(rest[k * rest.len() / spare]);
        }
        edges.sort_unstable_by(f64::total_cmp);
        edges.dedup();
        // The first bin begins below everything: an edge at the least value would leave it empty.
        edges.retain(|e| *e > min);
        edges.truncate(BINS_MAX - 1);
        let bins = edges.len() + 1;
        let mut histogram = Self {
            edges,
            atoms: Vec::new(),
            min,
            max,
            counts: vec![0; bins],
            below: 0,
            above: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
        };
        let mut single: Vec<Option<(f64, bool)>> = vec![None; bins];
        for &v in &sorted {
            let seen = &mut single[histogram.bin(v)];
            *seen = Some(seen.map_or((v, true), |(first, same)| (first, same && first == v)));
        }
        let singles = single.iter().enumerate().filter(|(_, s)| s.is_some_and(|(_, same)| same));
        histogram.atoms = singles.filter_map(|(b, _)| u16::try_from(b).ok()).collect();
        Some(histogram)
    }
    /// The bin of a finite value: a value equal to an edge belongs to the right.
    #[must_use]
    pub fn bin(&self, value: f64) -> usize {
        let value = value + 0.0;
        self.edges.partition_point(|e| *e <= value)
    }
    /// Counts one value.
    pub fn insert(&mut self, value: f64) {
        if value.is_nan() {
            self.nan += 1;
        } else if value == f64::INFINITY {
            self.pos_inf += 1;
        } else if value == f64::NEG_INFINITY {
            self.neg_inf += 1;
        } else {
            let bin = self.bin(value);
            self.counts[bin] += 1;
            self.below += u64::from(value < self.min);
            self.above += u64::from(value > self.max);
        }
    }
    /// Values counted in bins.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
    /// The same bins with nothing counted.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            edges: self.edges.clone(),
            atoms: self.atoms.clone(),
            counts: vec![0; self.counts.len()],
            below: 0,
            above: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
            ..*self
        }
    }
    fn same_bins(&self, other: &Self) -> bool {
        let bits = |e: &[f64]| e.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        bits(&self.edges) == bits(&other.edges)
            && self.atoms == other.atoms
            && self.min.to_bits() == other.min.to_bits()
            && self.max.to_bits() == other.max.to_bits()
    }
    fn check(&self) -> Result<(), &'static str> {
        let rising = self.edges.windows(2).all(|w| w[0] < w[1]);
        if !rising || self.edges.iter().any(|e| !e.is_finite()) {
            return Err("edges must be finite and rise");
        }
        if self.counts.len() != self.edges.len() + 1 || self.counts.len() > BINS_MAX {
            return Err("must have one count more than edges, and at most 64");
        }
        if !(self.min.is_finite() && self.max.is_finite() && self.min <= self.max) {
            return Err("least and greatest value must be finite and in order");
        }
        let atoms_rise = self.atoms.windows(2).all(|w| w[0] < w[1]);
        if !atoms_rise || self.atoms.iter().any(|a| usize::from(*a) >= self.counts.len()) {
            return Err("atom bins must be bins, in order");
        }
        Ok(())
    }
    fn add(&mut self, other: &Self) {
        add_all(&mut self.counts, &other.counts);
        self.below += other.below;
        self.above += other.above;
        self.nan += other.nan;
        self.pos_inf += other.pos_inf;
        self.neg_inf += other.neg_inf;
    }
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
    fn check(&self) -> Result<(), &'static str> {
        let sorted = self.vocabulary.windows(2).all(|w| w[0] < w[1]);
        if !sorted || self.counts.len() != self.vocabulary.len() || self.vocabulary.len() > CATEGORIES_MAX {
            return Err("vocabulary must be sorted, without repetition, one count an entry, at most 64");
        }
        Ok(())
    }
}

fn add_all(into: &mut [u64], from: &[u64]) {
    into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
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
        let profile = Self { rows, features };
        profile.check()?;
        Ok(profile)
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
        self.rows += other.rows;
        for (a, b) in self.features.iter_mut().zip(&other.features) {
            a.missing += b.missing;
            match (&mut a.values, &b.values) {
                (FeatureValues::Numeric(a), FeatureValues::Numeric(b)) => a.add(b),
                (FeatureValues::Categorical(a), FeatureValues::Categorical(b)) => {
                    add_all(&mut a.counts, &b.counts);
                    a.other += b.other;
                }
                _ => {}
            }
        }
        Ok(())
    }
    /// The bytes of a `reference.lsp` file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        out.extend(postcard::to_stdvec(self).expect("a profile has only sized sequences"));
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
        let body = bytes.strip_prefix(HEADER.as_slice()).ok_or(ProfileError::Header)?;
        let (profile, rest) =
            postcard::take_from_bytes::<Self>(body).map_err(|e| ProfileError::Corrupt(e.to_string()))?;
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
