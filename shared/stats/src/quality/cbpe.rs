//! Accuracy without labels: confidence-based performance estimation, behind an honesty gate.
//!
//! If scores are calibrated, their mean is the share of right answers (Kuleshov and Liang, 2015; NannyML's CBPE). That holds
//! only while the relation of inputs to truth is the reference's: no concept drift. Counts cannot show concept drift, so
//! every estimate carries the assumption; what counts can show (inputs the reference does not know) closes the gate.
//! An estimate may fail a gate of a rollout; it may never pass one.

use super::calibration::Calibration;
use super::proportion::Z95;
use super::scores::{SCORE_BINS, ScoreTable};
use crate::bounds::Interval;

/// Fewest rows.
pub const ROWS_MIN: u64 = 500;
/// From this share of mean |attribution| on a drifted feature closes the gate.
pub const ATTRIBUTION_MIN: f64 = 0.05;
/// Largest share of rows with a feature outside the reference's range.
pub const OUT_OF_RANGE_MAX: f64 = 0.01;
/// What every estimate assumes.
pub const ASSUMPTION: &str =
    "no concept drift: for given inputs, answers are right as often as in the reference data";

/// One feature, as the gate sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureState {
    /// Its verdict is `drifted`.
    pub drifted: bool,
    /// Its share of mean |attribution|; unknown counts as important.
    pub attribution: Option<f64>,
}

/// Why there is no estimate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotEstimable {
    /// Too few rows.
    #[error("not estimable: {rows} rows, at least {ROWS_MIN} are needed")]
    TooFewRows {
        /// Rows there are.
        rows: u64,
    },
    /// Rows the model was never made for.
    #[error(
        "not estimable: {outside} of {rows} rows have a feature outside the reference's range, at most 1 % may"
    )]
    OutOfRange {
        /// Rows outside.
        outside: u64,
        /// Rows in all.
        rows: u64,
    },
    /// An important input has changed.
    #[error("not estimable: feature {feature} has drifted and matters to the model")]
    Drifted {
        /// Index of the first such feature.
        feature: usize,
    },
    /// Scores that are no probabilities.
    #[error("not estimable: {invalid} scores are no probabilities")]
    InvalidScores {
        /// How many.
        invalid: u64,
    },
}

/// The gate: whether an estimate over `rows` rows may be made at all.
///
/// # Errors
/// [`NotEstimable`], the first reason found.
pub fn gate(rows: u64, rows_out_of_range: u64, features: &[FeatureState]) -> Result<(), NotEstimable> {
    if rows < ROWS_MIN {
        return Err(NotEstimable::TooFewRows { rows });
    }
    if rows_out_of_range as f64 > OUT_OF_RANGE_MAX * rows as f64 {
        return Err(NotEstimable::OutOfRange { outside: rows_out_of_range, rows });
    }
    let matters =
        |f: &FeatureState| f.drifted && f.attribution.is_none_or(|a| a.is_nan() || a >= ATTRIBUTION_MIN);
    match features.iter().position(matters) {
        Some(feature) => Err(NotEstimable::Drifted { feature }),
        None => Ok(()),
    }
}

/// An estimate without labels. It assumes [`ASSUMPTION`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimated {
    /// The estimate.
    pub value: f64,
    /// 95 %, from the rows of the window and of the calibration.
    pub interval: Interval,
    /// Rows of the window.
    pub rows: u64,
}

/// Accuracy from the score of the predicted class. `calibration` is of that score against "the answer was right".
///
/// # Errors
/// [`NotEstimable`]: the gate is asked first.
pub fn accuracy(
    scores: &ScoreTable,
    calibration: &Calibration,
    rows_out_of_range: u64,
    features: &[FeatureState],
) -> Result<Estimated, NotEstimable> {
    let rows = scores.rows();
    if scores.invalid > 0 {
        return Err(NotEstimable::InvalidScores { invalid: scores.invalid });
    }
    gate(rows, rows_out_of_range, features)?;
    let (mut value, mut variance) = (0.0, 0.0);
    for ((count, right), known) in scores.counts().iter().zip(calibration.values()).zip(calibration.rows()) {
        let share = *count as f64 / rows as f64;
        value += share * right;
        // Laplace's rule keeps a bin of few reference rows from being certain.
        let smooth = (right * *known as f64 + 1.0) / (*known as f64 + 2.0);
        let spread = smooth * (1.0 - smooth);
        variance += share * spread / rows as f64 + share * share * spread / (*known as f64 + 1.0);
    }
    let reach = Z95 * variance.sqrt();
    let interval = Interval { lo: (value - reach).max(0.0), hi: (value + reach).min(1.0) };
    Ok(Estimated { value, interval, rows })
}

/// Expected table of a two-class model at threshold 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Expected share of true positives.
    pub true_positive: f64,
    /// Of false positives.
    pub false_positive: f64,
    /// Of false negatives.
    pub false_negative: f64,
    /// Of true negatives.
    pub true_negative: f64,
}

impl Expected {
    /// F1 of the class; `None` when it is neither expected nor predicted.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        let both = 2.0 * self.true_positive + self.false_positive + self.false_negative;
        (both > 0.0).then(|| 2.0 * self.true_positive / both)
    }
    /// Expected accuracy.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.true_positive + self.true_negative
    }
}

/// The expected confusion table from scores of the second of two classes; `calibration` is of that score against "the row
/// is of the class".
///
/// # Errors
/// [`NotEstimable`]: the gate is asked first.
pub fn expected_table(
    scores: &ScoreTable,
    calibration: &Calibration,
    rows_out_of_range: u64,
    features: &[FeatureState],
) -> Result<Expected, NotEstimable> {
    if scores.invalid > 0 {
        return Err(NotEstimable::InvalidScores { invalid: scores.invalid });
    }
    let rows = scores.rows();
    gate(rows, rows_out_of_range, features)?;
    let mut t = Expected { true_positive: 0.0, false_positive: 0.0, false_negative: 0.0, true_negative: 0.0 };
    for (i, (count, p)) in scores.counts().iter().zip(calibration.values()).enumerate() {
        let share = *count as f64 / rows as f64;
        let (of_class, others) = (share * p, share * (1.0 - p));
        if i >= SCORE_BINS / 2 {
            t.true_positive += of_class;
            t.false_positive += others;
        } else {
            t.false_negative += of_class;
            t.true_negative += others;
        }
    }
    Ok(t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::scores::LabelledScores;

    fn calibration() -> Calibration {
        let mut t = LabelledScores::default();
        for i in 0..5000 {
            let score = f64::from(i % 1000) / 1000.0;
            // Overconfident: right as often as the square of the score says.
            t.insert(score, f64::from(i / 1000) / 5.0 + 0.1 < score * score);
        }
        Calibration::of(&t).unwrap()
    }
    fn scores(rows: u32, score: f64) -> ScoreTable {
        let mut t = ScoreTable::default();
        (0..rows).for_each(|_| t.insert(score));
        t
    }

    #[test]
    fn it_uses_what_scores_are_worth_and_not_what_they_say() {
        let e = accuracy(&scores(1000, 0.9), &calibration(), 0, &[]).unwrap();
        assert!((e.value - 0.8).abs() < 0.05 && e.interval.lo < e.value && e.value < e.interval.hi, "{e:?}");
        let t = expected_table(&scores(1000, 0.9), &calibration(), 0, &[]).unwrap();
        assert!((t.accuracy() - e.value).abs() < 1e-12 && t.f1().unwrap() > 0.8);
    }
    #[test]
    fn the_gate_closes() {
        let c = calibration();
        let try_with = |rows, out, f: &[FeatureState]| accuracy(&scores(rows, 0.9), &c, out, f);
        assert_eq!(try_with(499, 0, &[]), Err(NotEstimable::TooFewRows { rows: 499 }));
        assert_eq!(try_with(0, 0, &[]), Err(NotEstimable::TooFewRows { rows: 0 }));
        assert_eq!(try_with(1000, 11, &[]), Err(NotEstimable::OutOfRange { outside: 11, rows: 1000 }));
        assert!(try_with(1000, 10, &[]).is_ok());
        let state = |drifted, attribution| FeatureState { drifted, attribution };
        assert!(try_with(1000, 0, &[state(false, Some(0.9)), state(true, Some(0.049))]).is_ok());
        for important in [Some(0.05), None, Some(f64::NAN)] {
            let got = try_with(1000, 0, &[state(false, None), state(true, important)]);
            assert_eq!(got, Err(NotEstimable::Drifted { feature: 1 }));
        }
        let mut bad = scores(1000, 0.9);
        bad.insert(1.5);
        assert_eq!(accuracy(&bad, &c, 0, &[]), Err(NotEstimable::InvalidScores { invalid: 1 }));
        assert!(expected_table(&bad, &c, 0, &[]).is_err());
    }
}
