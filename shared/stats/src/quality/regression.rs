//! Errors of a regression: exact from raw rows at the author's desk, as intervals from counts in the field.

use serde::{Deserialize, Serialize};

use super::proportion::Z95;
use super::scores::Binned;
use crate::bounds::Interval;
use crate::ddsketch::{ALPHA, DdSketch, MAX_BUCKET};
use crate::rows::{quantile, sorted_finite};

/// Figures from raw rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Rows with both numbers.
    pub n: u64,
    /// Mean |prediction - truth|.
    pub mae: f64,
    /// Its 95 % interval (central limit theorem); without an upper end for a single row.
    pub mae_interval: Interval,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// Mean of prediction - truth: above 0 it predicts too much.
    pub bias: f64,
    /// Median |prediction - truth|.
    pub median_ae: f64,
    /// 95 % of the errors are at most this.
    pub p95_ae: f64,
    /// 1 - squared error over the variance of the truth; `None` when the truth is constant.
    pub r2: Option<f64>,
}

impl Metrics {
    /// From rows of (truth, prediction); rows with a number that is not finite are left out. `None` when none is left.
    #[must_use]
    pub fn of(rows: &[(f64, f64)]) -> Option<Self> {
        let rows: Vec<(f64, f64)> =
            rows.iter().copied().filter(|(t, p)| t.is_finite() && p.is_finite()).collect();
        if rows.is_empty() {
            return None;
        }
        let n = rows.len() as f64;
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| rows.iter().map(f).sum::<f64>() / n;
        let absolute = sorted_finite(rows.iter().map(|(t, p)| (p - t).abs()));
        let mae = mean(&|(t, p)| (p - t).abs());
        let mse = mean(&|(t, p)| (p - t).powi(2));
        let truth = mean(&|(t, _)| *t);
        let variance = mean(&|(t, _)| (t - truth).powi(2));
        let spread = mean(&|(t, p)| ((p - t).abs() - mae).powi(2)) * n / (n - 1.0).max(1.0);
        let reach = if rows.len() < 2 { f64::INFINITY } else { Z95 * (spread / n).sqrt() };
        // A mean of equal numbers may be off by a rounding, and its variance be a tiny one.
        let constant = rows.iter().all(|(t, _)| *t == rows[0].0);
        Some(Self {
            n: rows.len() as u64,
            mae,
            mae_interval: Interval { lo: (mae - reach).max(0.0), hi: mae + reach },
            rmse: mse.sqrt(),
            bias: mean(&|(t, p)| p - t),
            median_ae: quantile(&absolute, 0.5)?,
            p95_ae: quantile(&absolute, 0.95)?,
            r2: (!constant && variance > 0.0).then(|| 1.0 - mse / variance),
        })
    }
}

/// Errors in logarithmic buckets of 1 %, in a declared unit (the smallest error that matters): integers, so that they merge
/// exactly and no sum gives a single row away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorTable {
    unit: f64,
    /// Too high, in units.
    over: DdSketch,
    /// Too low, in units.
    under: DdSketch,
    /// Without any error.
    exact: u64,
    /// Rows whose error is no number.
    pub invalid: u64,
}

// The unit is a positive number, so equality is reflexive.
impl Eq for ErrorTable {}

/// Tables of different units.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("cannot merge error tables in units of {0} and {1}; only tables of one model version can be merged")]
pub struct OtherUnit(pub f64, pub f64);

impl ErrorTable {
    /// Empty; `None` unless `unit` is a positive number.
    #[must_use]
    pub fn new(unit: f64) -> Option<Self> {
        let empty = DdSketch::default;
        (unit.is_finite() && unit > 0.0).then(|| Self {
            unit,
            over: empty(),
            under: empty(),
            exact: 0,
            invalid: 0,
        })
    }
    /// Counts a labelled row.
    pub fn insert(&mut self, truth: f64, prediction: f64) {
        let error = (prediction - truth) / self.unit;
        if !error.is_finite() {
            self.invalid += 1;
        } else if error == 0.0 {
            self.exact += 1;
        } else if error > 0.0 {
            self.over.insert(error);
        } else {
            self.under.insert(-error);
        }
    }
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`OtherUnit`]; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), OtherUnit> {
        if self.unit.to_bits() != other.unit.to_bits() {
            return Err(OtherUnit(self.unit, other.unit));
        }
        self.over.merge(&other.over);
        self.under.merge(&other.under);
        self.exact = self.exact.saturating_add(other.exact);
        self.invalid = self.invalid.saturating_add(other.invalid);
        Ok(())
    }
    /// What was counted since `before`; `None` when a count fell, or for another unit.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        (self.unit.to_bits() == before.unit.to_bits()).then_some(())?;
        Some(Self {
            unit: self.unit,
            over: self.over.since(&before.over)?,
            under: self.under.since(&before.under)?,
            exact: self.exact.checked_sub(before.exact)?,
            invalid: self.invalid.checked_sub(before.invalid)?,
        })
    }
    /// Labelled rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.over.count().saturating_add(self.under.count()).saturating_add(self.exact)
    }
    /// Mean |error| with the interval that holds the exact one; `None` without a row.
    #[must_use]
    pub fn mae(&self) -> Option<Binned> {
        self.mean(|v| v).map(|b| b.scaled(self.unit))
    }
    /// Root mean squared error, likewise.
    #[must_use]
    pub fn rmse(&self) -> Option<Binned> {
        let b = self.mean(|v| v * v)?;
        let root = |i: Interval| Interval { lo: i.lo.sqrt(), hi: i.hi.sqrt() };
        let b = Binned { estimate: b.estimate.sqrt(), exact: root(b.exact), confidence: root(b.confidence) };
        Some(b.scaled(self.unit))
    }
    fn mean(&self, f: impl Fn(f64) -> f64) -> Option<Binned> {
        let rows = self.rows();
        let gamma: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);
        let (mut lo, mut mid, mut hi) = (0.0, 0.0, 0.0);
        for (bucket, n) in self.over.buckets().chain(self.under.buckets()) {
            let n = n as f64;
            let (from, to) = match bucket {
                0 => (0.0, 1.0),
                b if b == MAX_BUCKET => (gamma.powi(i32::from(b) - 1), f64::INFINITY),
                b => (gamma.powi(i32::from(b) - 1), gamma.powi(i32::from(b))),
            };
            // Powers are rounded: step outwards.
            lo += n * f(from * (1.0 - 1e-12));
            hi += n * f(to * (1.0 + 1e-12));
            mid += n * f(if bucket == 0 { 0.5 } else { DdSketch::value(bucket) });
        }
        let rows = if rows == 0 { return None } else { rows as f64 };
        let exact = Interval { lo: lo / rows, hi: hi / rows };
        Some(Binned { estimate: mid / rows, exact, confidence: exact })
    }
}

impl Binned {
    fn scaled(self, unit: f64) -> Self {
        let by = |i: Interval| Interval { lo: i.lo * unit, hi: i.hi * unit };
        Self { estimate: self.estimate * unit, exact: by(self.exact), confidence: by(self.confidence) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn figures_by_hand() {
        let m = Metrics::of(&[(1.0, 2.0), (2.0, 2.0), (3.0, 1.0), (f64::NAN, 1.0)]).unwrap();
        assert_eq!((m.n, m.mae, m.median_ae), (3, 1.0, 1.0));
        assert!((m.rmse - (5.0f64 / 3.0).sqrt()).abs() < 1e-15 && (m.bias + 1.0 / 3.0).abs() < 1e-15);
        assert!((m.r2.unwrap() - (1.0 - 5.0 / 2.0)).abs() < 1e-12);
        assert_eq!(Metrics::of(&[(1.0, 1.5), (1.0, 2.0)]).unwrap().r2, None);
        assert_eq!(Metrics::of(&[(0.1, 0.2); 3]).unwrap().r2, None);
        assert_eq!(Metrics::of(&[(f64::NAN, 1.0)]), None);
    }
    #[test]
    fn one_row_says_nothing_of_others() {
        let i = Metrics::of(&[(1.0, 2.0)]).unwrap().mae_interval;
        assert_eq!((i.lo, i.hi), (0.0, f64::INFINITY));
    }
    #[test]
    fn units_must_agree_and_make_sense() {
        assert!(ErrorTable::new(0.0).is_none() && ErrorTable::new(f64::NAN).is_none());
        let mut a = ErrorTable::new(0.1).unwrap();
        assert_eq!(a.merge(&ErrorTable::new(0.2).unwrap()), Err(OtherUnit(0.1, 0.2)));
        assert_eq!(a.mae(), None);
        a.insert(1.0, f64::NAN);
        a.insert(2.0, 2.0);
        assert_eq!((a.invalid, a.mae().unwrap().exact.hi), (1, 0.0));
    }
    proptest! {
        #[test]
        fn the_exact_errors_are_inside_and_parts_merge(
            rows in proptest::collection::vec((-1e3..1e3f64, -1e3..1e3f64), 1..80), cut in 0usize..80,
        ) {
            let count = |part: &[(f64, f64)]| {
                let mut t = ErrorTable::new(0.01).unwrap();
                part.iter().for_each(|(truth, p)| t.insert(*truth, *p));
                t
            };
            let whole = count(&rows);
            let cut = cut.min(rows.len());
            let mut sum = count(&rows[cut..]);
            sum.merge(&count(&rows[..cut])).unwrap();
            prop_assert_eq!(&sum, &whole);
            let m = Metrics::of(&rows).unwrap();
            for (b, exact) in [(whole.mae().unwrap(), m.mae), (whole.rmse().unwrap(), m.rmse)] {
                prop_assert!(b.exact.lo <= exact * (1.0 + 1e-12) && exact * (1.0 - 1e-12) <= b.exact.hi);
                prop_assert!(b.exact.hi - b.exact.lo < 0.021 * exact + 0.011);
            }
        }
    }
}
