//! Which features made the answer: Shapley values by antithetic permutation sampling.
//!
//! Each pair is an order of the features and its reverse (Mitchell, Cooper, Frank, Holmes, "Sampling permutations for
//! Shapley value estimation", 2022). Walking along an order, features change from the baseline to the row one by one, and
//! each gets the change of the output it makes; both walks begin at the baseline and end at the row, so these two model rows
//! are shared: 2P(d - 1) + 2 rows for P pairs of d features. Changes of a walk add up to f(row) - f(baseline), whatever
//! the orders: attributions are additive by construction.

use serde::{Deserialize, Serialize};

use super::{TableError, same};

/// Most features (or declared groups of features).
pub const FEATURES_MAX: usize = 64;
/// Pairs of orders unless somebody asks for more.
pub const PAIRS_DEFAULT: usize = 2;

/// Which model rows to run, and how to read their outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    features: usize,
    /// Each order and its reverse, in turn.
    walks: Vec<Vec<u8>>,
    coalitions: Vec<u64>,
}

/// Why outputs make no attributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributionError {
    /// None or too many.
    #[error("{0} features cannot be explained; declare 1 to {FEATURES_MAX} features or groups of features")]
    Features(usize),
    /// Another number of outputs than rows were asked for.
    #[error("{found} outputs for {asked} rows")]
    Outputs {
        /// Rows of the plan.
        asked: usize,
        /// Outputs there are.
        found: usize,
    },
    /// The model answered with NaN or an infinity.
    #[error("output {0} is not a finite number")]
    NotFinite(usize),
}

impl Plan {
    /// A plan for `features` features with `pairs` pairs (at least one) of orders drawn from `seed`: the same seed, the same
    /// plan.
    ///
    /// # Errors
    /// [`AttributionError::Features`].
    pub fn new(features: usize, pairs: usize, seed: u64) -> Result<Self, AttributionError> {
        if features == 0 || features > FEATURES_MAX {
            return Err(AttributionError::Features(features));
        }
        let mut state = seed;
        let mut walks = Vec::with_capacity(2 * pairs.max(1));
        for _ in 0..pairs.max(1) {
            let mut order: Vec<u8> = (0..features as u8).collect();
            for i in (1..features).rev() {
                order.swap(i, below(&mut state, i as u64 + 1) as usize);
            }
            walks.push(order.clone());
            order.reverse();
            walks.push(order);
        }
        let full = if features == 64 { u64::MAX } else { (1 << features) - 1 };
        let mut coalitions = vec![0, full];
        for walk in &walks {
            let mut mask = 0u64;
            for feature in &walk[..features - 1] {
                mask |= 1 << feature;
                coalitions.push(mask);
            }
        }
        Ok(Self { features, walks, coalitions })
    }
    /// The model rows to run, as bit masks: feature i comes from the row where bit i is set, from the baseline elsewhere.
    /// First the baseline, then the row itself, then the walks.
    #[must_use]
    pub fn coalitions(&self) -> &[u64] {
        &self.coalitions
    }
    /// The attribution of each feature, in the unit of the output. They add up to output 1 minus output 0, but for
    /// rounding.
    ///
    /// # Errors
    /// [`AttributionError`].
    pub fn attributions(&self, outputs: &[f64]) -> Result<Vec<f64>, AttributionError> {
        let (asked, found) = (self.coalitions.len(), outputs.len());
        if asked != found {
            return Err(AttributionError::Outputs { asked, found });
        }
        if let Some(i) = outputs.iter().position(|v| !v.is_finite()) {
            return Err(AttributionError::NotFinite(i));
        }
        let (baseline, row) = (outputs[0], outputs[1]);
        let mut sums = vec![0.0; self.features];
        let steps = self.features - 1;
        for (w, walk) in self.walks.iter().enumerate() {
            let mut before = baseline;
            for (i, feature) in walk.iter().enumerate() {
                let after = if i == steps { row } else { outputs[2 + w * steps + i] };
                sums[usize::from(*feature)] += after - before;
                before = after;
            }
        }
        let walks = self.walks.len() as f64;
        Ok(sums.into_iter().map(|s| s / walks).collect())
    }
}

/// A number below `n`, from SplitMix64 (Steele, Lea, Flood, 2014).
fn below(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((u128::from(z) * u128::from(n)) >> 64) as u64
}

/// One unit of the sums: 2^-40 of the output's unit.
const UNIT: f64 = (1u64 << 40) as f64;

/// Sums over many explained rows: integers, so that they merge exactly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct AttributionTable {
    /// Rows explained.
    pub rows: u64,
    /// Rows that could not be explained.
    pub failed: u64,
    signed: Vec<i128>,
    absolute: Vec<u128>,
}

/// An [`AttributionTable`] as it was written, nothing of it believed yet.
#[derive(Deserialize)]
struct Raw {
    rows: u64,
    failed: u64,
    #[serde(deserialize_with = "crate::bounded::list::<_, _, FEATURES_MAX>")]
    signed: Vec<i128>,
    #[serde(deserialize_with = "crate::bounded::list::<_, _, FEATURES_MAX>")]
    absolute: Vec<u128>,
}

impl TryFrom<Raw> for AttributionTable {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let Raw { rows, failed, signed, absolute } = raw;
        if signed.len() != absolute.len() {
            return Err("attributions are not two sums for each feature");
        }
        if signed.iter().zip(&absolute).any(|(s, a)| s.unsigned_abs() > *a) {
            return Err("attributions add up to more than their sizes do");
        }
        Ok(Self { rows, failed, signed, absolute })
    }
}

impl AttributionTable {
    /// Empty, for `features` features.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self { rows: 0, failed: 0, signed: vec![0; features], absolute: vec![0; features] }
    }
    /// Counts one row's attributions; as failed where they have no finite sum. They are rounded to 2^-40 so that the rounded
    /// ones add up to the rounded total.
    ///
    /// # Errors
    /// [`TableError`] for another number of features; nothing is counted then.
    pub fn insert(&mut self, attributions: &[f64]) -> Result<(), TableError> {
        same("attributions", self.signed.len(), attributions.len())?;
        if !attributions.iter().sum::<f64>().is_finite() {
            // Differences of finite outputs may be beyond an f64.
            self.failed += 1;
            return Ok(());
        }
        let exact = |v: f64| (v * UNIT).round() as i128;
        let mut units: Vec<i128> = attributions.iter().map(|v| exact(*v)).collect();
        let total = exact(attributions.iter().sum::<f64>());
        // What rounding left over goes to the largest, which feels it least.
        let off = total.saturating_sub(units.iter().fold(0, |s: i128, u| s.saturating_add(*u)));
        if let Some(largest) = units.iter_mut().max_by_key(|u| u.unsigned_abs()) {
            *largest = largest.saturating_add(off);
        }
        for ((s, a), u) in self.signed.iter_mut().zip(&mut self.absolute).zip(units) {
            *s = s.saturating_add(u);
            *a = a.saturating_add(u.unsigned_abs());
        }
        self.rows += 1;
        Ok(())
    }
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`TableError`] for another number of features; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), TableError> {
        same("attributions", self.signed.len(), other.signed.len())?;
        same("attributions", self.absolute.len(), other.absolute.len())?;
        self.rows = self.rows.saturating_add(other.rows);
        self.failed = self.failed.saturating_add(other.failed);
        self.signed.iter_mut().zip(&other.signed).for_each(|(a, b)| *a = a.saturating_add(*b));
        self.absolute.iter_mut().zip(&other.absolute).for_each(|(a, b)| *a = a.saturating_add(*b));
        Ok(())
    }
    /// What was counted since `before`; `None` when a number of rows fell, or for another number of features.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        let (rows, failed) = (self.rows.checked_sub(before.rows)?, self.failed.checked_sub(before.failed)?);
        if before.features() == 0 {
            return Some(Self { rows, failed, ..self.clone() });
        }
        (self.features() == before.features()).then_some(())?;
        let signed = self.signed.iter().zip(&before.signed).map(|(a, b)| a.checked_sub(*b));
        let absolute = self.absolute.iter().zip(&before.absolute).map(|(a, b)| a.checked_sub(*b));
        let (signed, absolute) = (signed.collect::<Option<_>>()?, absolute.collect::<Option<_>>()?);
        Some(Self { rows, failed, signed, absolute })
    }
    /// Features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.signed.len()
    }
    /// Adds the number of rows of a table without features.
    pub(crate) fn add_counts(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.failed = self.failed.saturating_add(other.failed);
    }
    /// Mean attribution of each feature: these add up to the mean of f(row) - f(baseline). `None` without a row.
    #[must_use]
    pub fn mean(&self) -> Option<Vec<f64>> {
        let rows = self.rows as f64;
        (self.rows > 0).then(|| self.signed.iter().map(|s| *s as f64 / UNIT / rows).collect())
    }
    /// Each feature's share of mean |attribution|. `None` without a row, or when no feature did anything.
    #[must_use]
    pub fn shares(&self) -> Option<Vec<f64>> {
        let all: f64 = self.absolute.iter().map(|a| *a as f64).sum();
        (all > 0.0).then(|| self.absolute.iter().map(|a| *a as f64 / all).collect())
    }
}

#[cfg(test)]
#[path = "attribution_tests.rs"]
mod tests;
