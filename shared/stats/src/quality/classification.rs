//! Figures of a two-class classifier from raw rows, for the author's desk: the definitions of scikit-learn.

use super::confusion::Confusion;
use super::proportion::{Share, of_area};
use super::scores::{ECE_BINS, equal_bin};
use crate::bounds::Interval;

/// From this score on a row is taken for the class.
pub const THRESHOLD: f64 = 0.5;

/// A value with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value of these rows.
    pub value: f64,
    /// For the population.
    pub interval: Interval,
}

/// Figures of labelled scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Rows with a score and a label.
    pub n: u64,
    /// Rows of the class.
    pub positives: u64,
    /// Answers at the threshold, by truth.
    pub confusion: Confusion,
    /// Share of right answers (Wilson's interval).
    pub accuracy: Share,
    /// F1 of the class; `None` when it neither appears nor is predicted.
    pub f1: Option<f64>,
    /// Area under the ROC curve with DeLong's interval; `None` when there is only one class.
    pub auc: Option<Estimate>,
    /// Mean (score - truth)^2.
    pub brier: f64,
    /// Mean -ln of the probability given to the truth, scores kept 2.2e-16 away from 0 and 1.
    pub logloss: f64,
    /// Expected calibration error, ten equal bins.
    pub ece10: f64,
}

impl Metrics {
    /// From rows of (score, is of the class). `None` without a row; rows whose score is no probability must be left out
    /// before (they are the caller's to report).
    #[must_use]
    pub fn of(rows: &[(f64, bool)]) -> Option<Self> {
        let n = rows.len() as f64;
        let mut confusion = Confusion::new(2);
        rows.iter().for_each(|(s, y)| confusion.insert(usize::from(*y), usize::from(*s >= THRESHOLD)));
        let truth = |y: bool| if y { 1.0 } else { 0.0 };
        let brier = rows.iter().map(|(s, y)| (s - truth(*y)).powi(2)).sum::<f64>() / n;
        let loss = |(s, y): &(f64, bool)| {
            let s = s.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            if *y { -s.ln() } else { -(1.0 - s).ln() }
        };
        Some(Self {
            n: rows.len() as u64,
            positives: rows.iter().filter(|r| r.1).count() as u64,
            accuracy: confusion.accuracy()?,
            f1: confusion.one_class(1).f1,
            confusion,
            auc: auc(rows),
            brier,
            logloss: rows.iter().map(loss).sum::<f64>() / n,
            ece10: ece(rows),
        })
    }
}

/// Area under the ROC curve (Mann and Whitney, 1947; ties half) with DeLong's interval (1988; see
/// `proportion::of_area` for where it has none).
#[must_use]
pub fn auc(rows: &[(f64, bool)]) -> Option<Estimate> {
    let mut sorted: Vec<(f64, bool)> = rows.iter().map(|(s, y)| (s + 0.0, *y)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let p = sorted.iter().filter(|r| r.1).count() as u64;
    let n = sorted.len() as u64 - p;
    if p == 0 || n == 0 {
        return None;
    }
    // Twice the pairs in the right order: an integer, so ties lose nothing.
    let (mut twice, mut below_p, mut below_n) = (0u128, 0u64, 0u64);
    let (mut vp, mut vn) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let a = tied.iter().filter(|r| r.1).count() as u64;
        let b = tied.len() as u64 - a;
        twice += u128::from(a) * u128::from(2 * below_n + b);
        vp += a as f64 * ((below_n as f64 + b as f64 / 2.0) / n as f64).powi(2);
        vn += b as f64 * (((p - below_p) as f64 - a as f64 / 2.0) / p as f64).powi(2);
        (below_p, below_n) = (below_p + a, below_n + b);
    }
    let (p, n) = (p as f64, n as f64);
    let value = twice as f64 / (2.0 * p * n);
    let variance = |sum: f64, rows: f64| (sum / rows - value * value).max(0.0) * rows / (rows - 1.0).max(1.0);
    Some(Estimate { value, interval: of_area(value, (variance(vp, p), p), (variance(vn, n), n)) })
}

/// Expected calibration error over ten equal bins of the score; a score on an edge belongs to the right, 1 to the last.
fn ece(rows: &[(f64, bool)]) -> f64 {
    let mut bins = [(0.0, 0.0); ECE_BINS];
    for (score, y) in rows {
        let cell = &mut bins[equal_bin(*score, ECE_BINS)];
        cell.0 += score;
        cell.1 += f64::from(u8::from(*y));
    }
    bins.iter().map(|(scores, hits)| (hits - scores).abs()).sum::<f64>() / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::scores::LabelledScores;

    #[test]
    fn figures_by_hand() {
        let m = Metrics::of(&[(0.9, true), (0.4, true), (0.6, false), (0.1, false)]).unwrap();
        assert_eq!((m.accuracy.value, m.f1, m.positives), (0.5, Some(0.5), 2));
        assert_eq!(m.auc.unwrap().value, 0.75);
        assert!((m.brier - (0.01 + 0.36 + 0.36 + 0.01) / 4.0).abs() < 1e-15);
        assert!((m.ece10 - (0.1 + 0.6 + 0.6 + 0.1) / 4.0).abs() < 1e-15);
    }
    #[test]
    fn a_curve_of_few_rows_is_not_certain() {
        // One row of the class, or classes that the scores keep apart: DeLong's variance is 0.
        let one: Vec<(f64, bool)> = std::iter::once((0.9, true)).chain([(0.1, false); 500]).collect();
        let i = auc(&one).unwrap().interval;
        assert!((i.lo - 0.2065).abs() < 1e-4 && i.hi == 1.0, "{i:?}");
        let apart: Vec<(f64, bool)> = (0..100).map(|k| (f64::from(k) / 100.0, k >= 50)).collect();
        let i = auc(&apart).unwrap().interval;
        assert!((i.lo - 0.9287).abs() < 1e-4 && i.hi == 1.0, "{i:?}");
        let mut table = LabelledScores::default();
        one.iter().for_each(|(s, y)| table.insert(*s, *y));
        let binned = table.auc().unwrap();
        assert!(binned.exact.lo == 1.0 && binned.confidence.lo < 0.21, "{binned:?}");
    }
    #[test]
    fn delongs_interval_is_his() {
        // Placements 1, 1 and 5/6 on either side: variance 1/108, over three rows.
        let rows = [(0.9, true), (0.8, true), (0.4, true), (0.1, false), (0.3, false), (0.4, false)];
        let e = auc(&rows).unwrap();
        assert!((e.value - 17.0 / 18.0).abs() < 1e-15);
        assert!(
            (e.interval.lo - (17.0 / 18.0 - 1.959963984540054 * (2.0f64 / 324.0).sqrt())).abs() < 1e-12,
            "{e:?}"
        );
    }
    #[test]
    fn ties_count_half_and_one_class_has_no_curve() {
        assert_eq!(auc(&[(0.5, true), (0.5, false)]).unwrap().value, 0.5);
        assert_eq!(auc(&[(0.5, true), (0.7, true)]), None);
        assert_eq!(Metrics::of(&[]), None);
        let all_wrong = Metrics::of(&[(0.0, true), (1.0, false)]).unwrap();
        assert!(all_wrong.logloss > 36.0 && all_wrong.logloss.is_finite());
    }
}
