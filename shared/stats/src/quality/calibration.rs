//! What a score is worth: the share of right answers for each of the 50 bins of a score, learnt from labelled reference
//! data.
//!
//! What always holds: values rise with the score (isotonic regression by pooling adjacent violators; Zadrozny and Elkan,
//! 2002), and lie in [0, 1]. A bin without reference rows takes the straight line between its neighbours.

use serde::{Deserialize, Serialize};

use super::scores::{LabelledScores, SCORE_BINS};

/// Fewest labelled rows for a calibration that is worth its name.
pub const ROWS_MIN: u64 = 100;

/// Value and evidence of each bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Probability of being right (or of the class), rising.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, SCORE_BINS>")]
    values: Vec<f64>,
    /// Reference rows behind each value; 0 where it was drawn between neighbours.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, SCORE_BINS>")]
    rows: Vec<u64>,
}

/// How good the model was on labelled reference rows, and what its scores are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceQuality {
    /// Labelled rows.
    pub rows: u64,
    /// Rows answered rightly.
    pub right: u64,
    /// Score of the predicted class against "the answer was right".
    pub top: Calibration,
    /// For two classes: score of the second against "the row is of it".
    pub positive: Option<Calibration>,
}

impl ReferenceQuality {
    /// From (true class, predicted class, score of the predicted class) of each row, `classes` classes. Rows whose score is
    /// no probability count as labelled rows and calibrate nothing. `None` with fewer than [`ROWS_MIN`] usable rows.
    #[must_use]
    pub fn of(rows: &[(usize, usize, f64)], classes: usize) -> Option<Self> {
        let (mut top, mut positive) = (LabelledScores::default(), LabelledScores::default());
        for (truth, predicted, score) in rows {
            top.insert(*score, truth == predicted);
            positive.insert(if *predicted == 1 { *score } else { 1.0 - score }, *truth == 1);
        }
        Some(Self {
            rows: rows.len() as u64,
            right: rows.iter().filter(|(truth, predicted, _)| truth == predicted).count() as u64,
            top: Calibration::of(&top)?,
            positive: if classes == 2 { Calibration::of(&positive) } else { None },
        })
    }
    /// Whether it holds what it promises; for what came from outside.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.right <= self.rows
            && self.top.is_sound()
            && self.positive.as_ref().is_none_or(Calibration::is_sound)
    }
}

impl Calibration {
    fn is_sound(&self) -> bool {
        let in_range = self.values.iter().all(|v| (0.0..=1.0).contains(v));
        let rising = self.values.windows(2).all(|w| w[0] <= w[1]);
        in_range && rising && self.values.len() == SCORE_BINS && self.rows.len() == SCORE_BINS
    }
    /// From labelled reference data: `positive` are the rows that were right (or of the class). `None` with fewer than
    /// [`ROWS_MIN`] rows.
    #[must_use]
    pub fn of(table: &LabelledScores) -> Option<Self> {
        if table.rows() < ROWS_MIN {
            return None;
        }
        let cells = table.positive.counts().iter().zip(table.negative.counts()).enumerate();
        // Blocks of neighbouring bins: hits, rows, first and last bin.
        let mut blocks: Vec<(f64, f64, usize, usize)> = Vec::new();
        let mut rows = vec![0; SCORE_BINS];
        for (i, (hits, misses)) in cells {
            rows[i] = hits.saturating_add(*misses);
            if rows[i] == 0 {
                continue;
            }
            blocks.push((*hits as f64, rows[i] as f64, i, i));
            while let [.., a, b] = blocks.as_slice()
                && a.0 * b.1 > b.0 * a.1
            {
                let joined = (a.0 + b.0, a.1 + b.1, a.2, b.3);
                blocks.truncate(blocks.len() - 2);
                blocks.push(joined);
            }
        }
        let known = |i: usize| blocks.iter().find(|b| b.2 <= i && i <= b.3).map(|b| b.0 / b.1);
        let values = (0..SCORE_BINS).map(|i| known(i).unwrap_or_else(|| between(&blocks, i))).collect();
        Some(Self { values, rows })
    }
    /// The value of each bin.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
    /// Reference rows of each bin.
    #[must_use]
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }
}

/// Between two blocks, or level beyond the ends.
fn between(blocks: &[(f64, f64, usize, usize)], bin: usize) -> f64 {
    let left = blocks.iter().rev().find(|b| b.3 < bin);
    let right = blocks.iter().find(|b| b.2 > bin);
    match (left, right) {
        (Some(l), Some(r)) => {
            let t = (bin - l.3) as f64 / (r.2 - l.3) as f64;
            l.0 / l.1 * (1.0 - t) + r.0 / r.1 * t
        }
        (Some(one), None) | (None, Some(one)) => one.0 / one.1,
        (None, None) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_rise_and_keep_the_mean() {
        let mut t = LabelledScores::default();
        // Ill-ordered on purpose: low scores are right more often than middling ones.
        for (score, hits, misses) in [(0.05, 30, 10), (0.45, 10, 30), (0.95, 90, 10)] {
            (0..hits).for_each(|_| t.insert(score, true));
            (0..misses).for_each(|_| t.insert(score, false));
        }
        let c = Calibration::of(&t).unwrap();
        assert!(c.values().windows(2).all(|w| w[0] <= w[1]));
        assert_eq!((c.values()[2], c.values()[22], c.values()[47]), (0.5, 0.5, 0.9));
        assert!(c.values()[35] > 0.5 && c.values()[35] < 0.9 && c.values()[49] == 0.9);
        assert_eq!((c.rows()[22], c.rows()[35]), (40, 0));
    }
    #[test]
    fn quality_of_two_classes_has_both_calibrations() {
        let rows: Vec<(usize, usize, f64)> =
            (0..1000).map(|i| (usize::from(i % 4 != 0), usize::from(i % 2 == 0), 0.75)).collect();
        let q = ReferenceQuality::of(&rows, 2).unwrap();
        assert_eq!((q.rows, q.right), (1000, 250));
        assert!(q.is_sound() && q.positive.is_some());
        assert_eq!(q.top.values()[37], 0.25);
        assert!(ReferenceQuality::of(&rows, 3).unwrap().positive.is_none());
        assert_eq!(ReferenceQuality::of(&rows[..99], 2), None);
        let mut bad = q.clone();
        bad.right = 1001;
        let mut short = q.clone();
        short.top.values.pop();
        let mut falling = q;
        falling.top.values[3] = f64::NAN;
        assert!(!bad.is_sound() && !short.is_sound() && !falling.is_sound());
    }
    #[test]
    fn too_few_rows_make_none() {
        let mut t = LabelledScores::default();
        (0..99).for_each(|_| t.insert(0.5, true));
        assert_eq!(Calibration::of(&t), None);
        t.insert(0.5, false);
        assert!(Calibration::of(&t).is_some());
    }
}
