//! DDSketch with relative accuracy 1 % (Masson, Rim, Lee: "DDSketch", VLDB 2019): deterministic, and it merges exactly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Relative accuracy of every quantile.
pub const ALPHA: f64 = 0.01;
/// Bucket index of the greatest value told apart (about 1e12): larger ones count there.
pub const MAX_BUCKET: u16 = 1400;

/// Counts of positive numbers in logarithmic buckets: bucket i holds (g^(i-1), g^i], g = (1 + ALPHA) / (1 - ALPHA).
/// Values of 1 and less are bucket 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct DdSketch {
    buckets: BTreeMap<u16, u64>,
}

/// A [`DdSketch`] as it was written, nothing of it believed yet.
#[derive(Deserialize)]
struct Raw {
    buckets: BTreeMap<u16, u64>,
}

impl TryFrom<Raw> for DdSketch {
    type Error = &'static str;

    fn try_from(Raw { mut buckets }: Raw) -> Result<Self, Self::Error> {
        // An empty bucket says nothing.
        buckets.retain(|_, n| *n > 0);
        let sound = buckets.keys().all(|bucket| *bucket <= MAX_BUCKET);
        sound.then_some(Self { buckets }).ok_or("a sketch has a bucket that there is not")
    }
}

impl DdSketch {
    /// The bucket of `value`; NaN and everything up to 1 fall into bucket 0.
    #[must_use]
    pub fn bucket(value: f64) -> u16 {
        if value.is_nan() || value <= 1.0 {
            return 0;
        }
        let gamma: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);
        let i = (value.ln() / gamma.ln()).ceil();
        if i >= f64::from(MAX_BUCKET) { MAX_BUCKET } else { i as u16 }
    }
    /// The value that stands for a bucket: within ALPHA of all values in it.
    #[must_use]
    pub fn value(bucket: u16) -> f64 {
        let gamma: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);
        if bucket == 0 { 1.0 } else { 2.0 * gamma.powi(i32::from(bucket)) / (gamma + 1.0) }
    }
    /// Counts one value.
    pub fn insert(&mut self, value: f64) {
        self.insert_bucket(Self::bucket(value), 1);
    }
    /// Adds `n` to a bucket (from a counter page).
    pub fn insert_bucket(&mut self, bucket: u16, n: u64) {
        if n > 0 {
            let count = self.buckets.entry(bucket.min(MAX_BUCKET)).or_default();
            *count = count.saturating_add(n);
        }
    }
    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |sum, n| sum.saturating_add(*n))
    }
    /// Adds `other`, exactly.
    pub fn merge(&mut self, other: &Self) {
        for (&b, &n) in &other.buckets {
            self.insert_bucket(b, n);
        }
    }
    /// What was counted since `before`; `None` when a count fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        if before.buckets.keys().any(|b| !self.buckets.contains_key(b)) {
            return None;
        }
        let mut out = Self::default();
        for (bucket, n) in self.buckets() {
            out.insert_bucket(bucket, n.checked_sub(before.buckets.get(&bucket).copied().unwrap_or(0))?);
        }
        Some(out)
    }
    /// The `q` quantile, 0 <= q <= 1; `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * (self.count().checked_sub(1)? as f64)) as u64;
        let mut seen = 0u64;
        self.buckets.iter().find_map(|(&b, &n)| {
            seen = seen.saturating_add(n);
            (seen > rank || seen == u64::MAX).then(|| Self::value(b))
        })
    }
    /// Bucket indices and counts, rising.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.buckets.iter().map(|(&b, &n)| (b, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn quantiles_are_within_one_percent() {
        let mut s = DdSketch::default();
        (1..=10_000).for_each(|v| s.insert(f64::from(v)));
        for q in [0.01, 0.5, 0.99, 1.0] {
            let exact = 1.0 + q * 9_999.0;
            assert!((s.quantile(q).unwrap() / exact - 1.0).abs() < 0.011, "{q}");
        }
        assert_eq!(DdSketch::default().quantile(0.5), None);
    }
    #[test]
    fn only_buckets_that_can_be_filled_are_read() {
        let read = |bucket: u16, n: u64| {
            let bytes = postcard::to_stdvec(&BTreeMap::from([(bucket, n)])).unwrap();
            postcard::from_bytes::<DdSketch>(&bytes).ok().map(|s| s.count())
        };
        assert_eq!((read(0, 1), read(MAX_BUCKET, u64::MAX)), (Some(1), Some(u64::MAX)));
        assert_eq!((read(MAX_BUCKET + 1, 1), read(u16::MAX, 1), read(5, 0)), (None, None, Some(0)));
    }
    #[test]
    fn extremes_have_a_bucket() {
        for v in [f64::NAN, -1.0, 0.0, 1.0] {
            assert_eq!(DdSketch::bucket(v), 0);
        }
        assert_eq!(DdSketch::bucket(f64::INFINITY), MAX_BUCKET);
    }
}
