//! What a row was predicted to be: class and score, for counters and for joining labels.

use longshore_bundle::{Dim, Manifest, Tensor, TensorSpec};

use crate::Model;
use crate::steps::greatest;

/// The prediction for one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index of the class; `None` for a regression, or when the scores are NaN or the index is out of range.
    pub class: Option<u32>,
    /// Score of that class; for a regression its first value.
    pub score: f32,
    /// By how much the greatest score exceeds the second; NaN where there are not two.
    pub margin: f32,
    /// Whether any output of this row holds a NaN.
    pub nan: bool,
}

/// Where predictions are found among the outputs.
#[derive(Debug, Clone)]
pub(crate) struct PredictionPlan {
    score: Option<usize>,
    class: Option<usize>,
    classes: usize,
    /// For each output, the axis that holds the rows.
    row_axes: Vec<Option<usize>>,
}

impl PredictionPlan {
    pub(crate) fn new(manifest: &Manifest, outputs: &[TensorSpec]) -> Self {
        let find =
            |name: &Option<String>| name.as_ref().and_then(|n| outputs.iter().position(|o| o.name == *n));
        let symbol = manifest.batch_symbol();
        let axis = |o: &TensorSpec| {
            o.shape.iter().position(|d| matches!(d, Dim::Symbol(s) if Some(s.as_str()) == symbol))
        };
        Self {
            score: find(&manifest.monitor.score_output),
            class: find(&manifest.monitor.class_output),
            classes: manifest.monitor.classes.len(),
            row_axes: outputs.iter().map(axis).collect(),
        }
    }
}

impl Model {
    /// One prediction a row of `outputs`, which [`Model::run`] gave for a request of `rows` rows.
    #[must_use]
    pub fn predictions(&self, rows: usize, outputs: &[Tensor]) -> Vec<Prediction> {
        let plan = &self.prediction;
        let mut out = vec![Prediction { class: None, score: f32::NAN, margin: f32::NAN, nan: false }; rows];
        for (tensor, axis) in outputs.iter().zip(&plan.row_axes).filter(|(t, _)| t.dtype.is_float()) {
            mark_nan(&mut out, tensor, *axis);
        }
        if let Some(scores) = plan.score.and_then(|i| outputs.get(i)) {
            let values: Vec<f64> = scores.values().collect();
            let each = values.len() / rows.max(1);
            for (p, row) in out.iter_mut().zip(values.chunks(each.max(1))) {
                (p.class, p.score) = judge(row, plan.classes);
                p.margin = margin(row, plan.classes);
            }
        }
        if let Some(classes) = plan.class.and_then(|i| outputs.get(i)) {
            let scores = plan.score.and_then(|i| outputs.get(i));
            let scores: Option<Vec<f64>> = scores.map(|s| s.values().collect());
            for (r, (p, class)) in out.iter_mut().zip(classes.values()).enumerate() {
                let known = class >= 0.0 && (class as usize) < plan.classes;
                p.class = known.then_some(class as u32);
                let of_class = scores.as_ref().filter(|s| known && s.len() == rows * plan.classes);
                if let Some(scores) = of_class {
                    p.score = scores[r * plan.classes + class as usize] as f32;
                }
            }
        }
        out
    }

    /// The score of `class` in each row, whatever class was answered; the first value of a regression. `None` where the
    /// model gives no such score.
    #[must_use]
    pub fn scores_of(&self, rows: usize, outputs: &[Tensor], class: Option<u32>) -> Option<Vec<f64>> {
        let values: Vec<f64> = outputs.get(self.prediction.score?)?.values().collect();
        let each = values.len() / rows.max(1);
        if each == 0 || values.len() != each * rows {
            return None;
        }
        values.chunks(each).map(|row| score_of(row, self.prediction.classes, class)).collect()
    }
}

fn score_of(row: &[f64], classes: usize, class: Option<u32>) -> Option<f64> {
    match (row, classes, class) {
        ([first, ..], 0, _) => Some(*first),
        ([p], 2, Some(0)) => Some(1.0 - p),
        ([p], 2, Some(1)) => Some(*p),
        (_, _, class) => row.get(class? as usize).copied(),
    }
}

/// Class and score from the scores of one row.
fn judge(row: &[f64], classes: usize) -> (Option<u32>, f32) {
    match (row, classes) {
        ([], _) => (None, f32::NAN),
        ([first, ..], 0) => (None, *first as f32),
        _ if row.iter().any(|v| v.is_nan()) => (None, f32::NAN),
        // One score for two classes is that of the second.
        ([p], 2) if *p >= 0.5 => (Some(1), *p as f32),
        ([p], 2) => (Some(0), (1.0 - p) as f32),
        _ => {
            let (class, score) = greatest(&row[..row.len().min(classes)]);
            (Some(class as u32), score as f32)
        }
    }
}

/// By how much the greatest score of a row exceeds the second.
fn margin(row: &[f64], classes: usize) -> f32 {
    match (row, classes) {
        _ if row.iter().any(|v| v.is_nan()) => f32::NAN,
        ([p], 2) => (2.0 * p - 1.0).abs() as f32,
        ([_, _, ..], 2..) => {
            let two = (f64::NEG_INFINITY, f64::NEG_INFINITY);
            let (first, second) = row[..row.len().min(classes)]
                .iter()
                .fold(two, |(first, second), &v| if v > first { (v, first) } else { (first, second.max(v)) });
            (first - second) as f32
        }
        _ => f32::NAN,
    }
}

fn mark_nan(rows: &mut [Prediction], tensor: &Tensor, axis: Option<usize>) {
    let inner: usize = axis.map_or(usize::MAX, |a| tensor.shape.iter().skip(a + 1).product());
    let count = rows.len();
    for (i, _) in tensor.values().enumerate().filter(|(_, v)| v.is_nan()) {
        match axis {
            Some(_) => rows[i / inner.max(1) % count.max(1)].nan = true,
            // The tensor belongs to the request as a whole.
            None => rows.iter_mut().for_each(|r| r.nan = true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_score_stands_for_two_classes() {
        assert_eq!(judge(&[0.75], 2), (Some(1), 0.75));
        assert_eq!(judge(&[0.25], 2), (Some(0), 0.75));
        assert_eq!(judge(&[0.5], 2).0, Some(1));
    }

    #[test]
    fn the_first_of_equal_scores_wins_and_nan_never() {
        assert_eq!(judge(&[0.1, 0.45, 0.45], 3), (Some(1), 0.45));
        assert_eq!(judge(&[0.1, f64::NAN, 0.2], 3).0, None);
        assert_eq!(judge(&[3.5], 0), (None, 3.5));
    }

    #[test]
    fn the_margin_is_between_the_two_greatest_scores() {
        assert_eq!(margin(&[0.2, 0.5, 0.25], 3), 0.25);
        assert_eq!(margin(&[0.5, 0.2, 0.5], 3), 0.0, "equals have none");
        assert_eq!((margin(&[0.75], 2), margin(&[0.25], 2)), (0.5, 0.5));
        assert_eq!(margin(&[0.5, 0.25, 9.0], 2), 0.25, "what is no class does not count");
        for (row, classes) in
            [(&[0.1, f64::NAN][..], 2), (&[0.7], 0), (&[0.7, 0.2], 0), (&[], 2), (&[0.7], 3)]
        {
            assert!(margin(row, classes).is_nan(), "{row:?}");
        }
    }

    #[test]
    fn the_score_of_any_class_can_be_asked_for() {
        assert_eq!((score_of(&[0.75], 2, Some(0)), score_of(&[0.75], 2, Some(1))), (Some(0.25), Some(0.75)));
        assert_eq!(
            (score_of(&[0.1, 0.6, 0.3], 3, Some(2)), score_of(&[4.5, 1.0], 0, None)),
            (Some(0.3), Some(4.5))
        );
        assert_eq!((score_of(&[0.1, 0.6, 0.3], 3, Some(3)), score_of(&[0.1, 0.9], 2, None)), (None, None));
    }

    #[test]
    fn nan_is_charged_to_its_row() {
        let clean = Prediction { class: None, score: 0.0, margin: f32::NAN, nan: false };
        let t = Tensor::from_f32("x", &[2, 3], &[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]);
        let mut rows = vec![clean; 2];
        mark_nan(&mut rows, &t, Some(0));
        assert_eq!(rows.iter().map(|r| r.nan).collect::<Vec<_>>(), [false, true]);
        let mut rows = vec![clean; 3];
        mark_nan(&mut rows, &t, Some(1));
        assert_eq!(rows.iter().map(|r| r.nan).collect::<Vec<_>>(), [false, true, false]);
        let mut rows = vec![clean; 2];
        mark_nan(&mut rows, &t, None);
        assert!(rows.iter().all(|r| r.nan));
    }
}
