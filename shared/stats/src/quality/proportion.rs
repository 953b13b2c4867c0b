//! Shares with intervals.

use crate::bounds::Interval;
use crate::special::normal_quantile;

/// z of the usual two-sided 95 % interval.
pub const Z95: f64 = 1.959_963_984_540_054;

/// A share of rows, and what its number of rows allows to say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Rows that have it.
    pub hits: u64,
    /// Rows in all.
    pub n: u64,
    /// hits / n.
    pub value: f64,
    /// Wilson's interval.
    pub interval: Interval,
}

impl Share {
    /// `hits` of `n` with the 95 % interval; `None` for no row or more hits than rows.
    #[must_use]
    pub fn of(hits: u64, n: u64) -> Option<Self> {
        Self::with_z(hits, n, Z95)
    }
    /// The same with another z.
    #[must_use]
    pub fn with_z(hits: u64, n: u64, z: f64) -> Option<Self> {
        Some(Self { hits, n, value: hits as f64 / n as f64, interval: wilson(hits, n, z)? })
    }
}

/// z of a two-sided interval that errs with probability `alpha`, shared by `comparisons` intervals (Bonferroni).
#[must_use]
pub fn bonferroni_z(alpha: f64, comparisons: u64) -> f64 {
    normal_quantile(1.0 - alpha / (2.0 * comparisons.max(1) as f64))
}

/// Wilson's score interval (1927): good for any share, also 0 and 1. `None` for no row or more hits than rows.
#[must_use]
pub fn wilson(hits: u64, n: u64, z: f64) -> Option<Interval> {
    if n == 0 || hits > n {
        return None;
    }
    Some(wilson_of(hits as f64 / n as f64, n as f64, z))
}

fn wilson_of(p: f64, n: f64, z: f64) -> Interval {
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let reach = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    // At 0 and 1 the bound is the share itself; rounding must not lose it.
    let (lo, hi) = ((centre - reach).max(0.0), (centre + reach).min(1.0));
    Interval { lo: lo.min(p), hi: hi.max(p) }
}

/// Newcombe's interval of a difference a - b of independent shares (1998, method 10), from their Wilson intervals.
#[must_use]
pub fn newcombe(a: &Share, b: &Share) -> Interval {
    let d = a.value - b.value;
    let down = (a.value - a.interval.lo).hypot(b.interval.hi - b.value);
    let up = (a.interval.hi - a.value).hypot(b.value - b.interval.lo);
    Interval { lo: (d - down).max(-1.0), hi: (d + up).min(1.0) }
}

/// A conservative interval of the ratio a / b of shares: the quotients of the ends of their Wilson intervals. Infinite
/// above when b may be 0.
#[must_use]
pub fn ratio(a: &Share, b: &Share) -> Interval {
    let over = |x: f64, y: f64| if y == 0.0 { f64::INFINITY } else { x / y };
    let lo = if b.interval.hi == 0.0 { 0.0 } else { a.interval.lo / b.interval.hi };
    Interval { lo, hi: over(a.interval.hi, b.interval.lo) }
}

/// The 95 % interval of an area under the ROC curve: DeLong's, from the variances of the placements of `p` and `n` rows.
///
/// A side of one row has no variance, and neither have classes that the scores keep apart; that is no certainty. Then it is
/// Wilson's interval for the rows of the smaller side: no area varies more than a share of so many rows (Birnbaum and
/// Klose, 1957).
pub(super) fn of_area(area: f64, (variance_p, p): (f64, f64), (variance_n, n): (f64, f64)) -> Interval {
    // Below this a variance is what rounding left.
    if p < 2.0 || n < 2.0 || variance_p + variance_n < 1e-12 {
        return wilson_of(area, p.min(n), Z95);
    }
    let reach = Z95 * (variance_p / p + variance_n / n).sqrt();
    Interval { lo: (area - reach).max(0.0), hi: (area + reach).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_is_what_the_textbook_has() {
        // scipy.stats.binomtest(8, 10).proportion_ci(method="wilson")
        let i = wilson(8, 10, Z95).unwrap();
        assert!(
            (i.lo - 0.4901624715366418).abs() < 1e-12 && (i.hi - 0.9433178485456248).abs() < 1e-12,
            "{i:?}"
        );
        assert_eq!((wilson(0, 0, Z95), wilson(3, 2, Z95)), (None, None));
        assert_eq!(wilson(0, 5, Z95).unwrap().lo, 0.0);
        assert_eq!(wilson(5, 5, Z95).unwrap().hi, 1.0);
    }
    #[test]
    fn newcombe_is_what_his_paper_has() {
        // Newcombe 1998, table II, case (a): 56/70 - 48/80, method 10.
        let (a, b) = (Share::of(56, 70).unwrap(), Share::of(48, 80).unwrap());
        let i = newcombe(&a, &b);
        assert!((i.lo - 0.0524).abs() < 5e-5 && (i.hi - 0.3339).abs() < 5e-5, "{i:?}");
    }
    #[test]
    fn a_ratio_that_may_divide_by_nothing_has_no_upper_end() {
        let i = ratio(&Share::of(3, 10).unwrap(), &Share::of(0, 10).unwrap());
        assert!(i.lo > 0.0 && i.hi == f64::INFINITY);
    }
    #[test]
    fn more_comparisons_make_wider_intervals() {
        assert!((bonferroni_z(0.05, 1) - Z95).abs() < 1e-12 && bonferroni_z(0.05, 10) > 2.8);
    }
}
