//! What the engine watches of each request: the monitored features, in the places that the bundle's reference fixed.
//!
//! A feature is an element of one row of an input, as the client sent it: before preprocessing, like the author's table.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use longshore_bundle::{DType, Dim, Manifest, PreStep, Tensor};
use longshore_stats::Profile;
use longshore_stats::places::Places;
use longshore_stats::quality::attribution::FEATURES_MAX;

use crate::page::{LEVEL, Tally};

/// Tallies that are kept for the next request.
const SPARE: usize = 8;
/// Rows that are counted feature by feature: as many as a word has bits.
const BLOCK: usize = u64::BITS as usize;

/// Where in an input the values of a feature are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// Feature of the reference.
    feature: usize,
    /// Which of the inputs.
    input: usize,
    index: usize,
    rows: Rows,
}

/// How the rows of a request lie in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Along this axis.
    Axis(usize),
    /// A signal: each row begins this many samples after the one before.
    Step(usize),
    /// The input is the same for all rows.
    Same,
}

/// What is watched of one bundle.
#[derive(Debug)]
pub struct Watch {
    places: Places,
    /// Names of the inputs that are looked at.
    inputs: Vec<String>,
    /// How rows lie in all inputs there are.
    by_input: BTreeMap<String, Rows>,
    columns: Vec<Column>,
    /// What each column is replaced with to see what it did: the reference's median, or most frequent kind.
    baseline: Vec<Option<f64>>,
    spare: Mutex<Vec<Tally>>,
}

impl Watch {
    /// Of a bundle and its reference, which has every feature that the manifest monitors.
    #[must_use]
    pub fn new(manifest: &Manifest, reference: &Profile) -> Self {
        let symbol = manifest.batch_symbol();
        let inputs = manifest.api_inputs();
        let rows = |input: &str| {
            let step = manifest.preprocess.iter().find_map(|s| match s {
                PreStep::Window { input: of, step, .. } if of == input => Some(*step as usize),
                _ => None,
            });
            let spec = inputs.iter().find(|i| i.name == input);
            let axis = spec.and_then(|s| {
                s.shape.iter().position(|d| symbol.is_some_and(|b| matches!(d, Dim::Symbol(s) if s == b)))
            });
            step.map(Rows::Step).or(axis.map(Rows::Axis)).unwrap_or(Rows::Same)
        };
        let (mut names, mut columns) = (Vec::<String>::new(), Vec::new());
        for f in &manifest.monitor.features {
            let Some(feature) = reference.features.iter().position(|r| r.name == f.name) else { continue };
            let input = names.iter().position(|n| *n == f.input).unwrap_or(names.len());
            if input == names.len() {
                names.push(f.input.clone());
            }
            columns.push(Column { feature, input, index: f.index as usize, rows: rows(&f.input) });
        }
        let baseline = columns.iter().map(|c| reference.features[c.feature].values.middle()).collect();
        let places = Places::new(reference, LEVEL);
        let by_input = inputs.iter().map(|i| (i.name.clone(), rows(&i.name))).collect();
        Self { places, inputs: names, by_input, columns, baseline, spare: Mutex::default() }
    }
    /// Places of the counters.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }
    /// Counts the features of `rows` rows. The tally comes back by [`Watch::done_with`].
    #[must_use]
    pub fn count(&self, rows: usize, inputs: &[Tensor]) -> Tally {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut tally = spare.unwrap_or_else(|| Tally::new(self.places.shape().words()));
        let mut at_hand: (usize, Option<&Tensor>) = (usize::MAX, None);
        for first in (0..rows).step_by(BLOCK) {
            let block = (rows - first).min(BLOCK);
            let mut outside = 0;
            for c in &self.columns {
                if at_hand.0 != c.input {
                    let name = &self.inputs[c.input];
                    at_hand = (c.input, inputs.iter().find(|t| t.name == *name));
                }
                let Some(tensor) = at_hand.1 else { continue };
                let (begin, stride) = c.place(rows, tensor);
                let places = (first..first + block).map(|row| begin + row * stride);
                let count = &mut |at| tally.count(at);
                outside |= match tensor.dtype {
                    // What most models take, without asking for its size each time.
                    DType::Fp32 => {
                        let number = |at: usize| {
                            let bytes = tensor.data.get(at * 4..)?.first_chunk()?;
                            Some(f64::from(f32::from_le_bytes(*bytes)))
                        };
                        self.places.numbers(c.feature, places.map_while(number), count)
                    }
                    _ => self.places.numbers(c.feature, places.map_while(|at| tensor.number(at)), count),
                };
            }
            tally.add(0, block as u64);
            tally.add(1, u64::from(outside.count_ones()));
        }
        tally
    }
    /// Takes a tally back that has been recorded.
    pub fn done_with(&self, mut tally: Tally) {
        tally.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(tally);
        }
    }
}

/// Rows made of a row and the baseline, for explanations.
impl Watch {
    /// Features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.columns.len()
    }
    /// Whether rows can be explained: of few enough features, and of inputs that can be cut into rows.
    #[must_use]
    pub fn explains(&self) -> bool {
        let whole = |c: &Column| matches!(c.rows, Rows::Axis(0) | Rows::Same);
        (1..=FEATURES_MAX).contains(&self.columns.len()) && self.columns.iter().all(whole)
    }
    /// Row `row` of the inputs, as a request of one row; `None` when it cannot be cut out.
    #[must_use]
    pub fn row(&self, row: usize, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
        let cut = |t: &Tensor| match self.by_input.get(&t.name) {
            Some(Rows::Axis(0)) => {
                let bytes = t.data.len() / t.shape.first().copied().filter(|n| *n > 0)?;
                let data = t.data.get(row * bytes..(row + 1) * bytes)?.to_vec();
                let shape = std::iter::once(1).chain(t.shape.iter().skip(1).copied()).collect();
                Some(Tensor { name: t.name.clone(), dtype: t.dtype, shape, data })
            }
            Some(Rows::Same) | None => Some(t.clone()),
            Some(_) => None,
        };
        inputs.iter().map(cut).collect()
    }
    /// Rows that can be run at once, of a model that takes `max`: one, where a feature is the same for all rows.
    #[must_use]
    pub fn rows_a_run(&self, max: usize) -> usize {
        if self.columns.iter().any(|c| c.rows == Rows::Same) { 1 } else { max.max(1) }
    }
    /// A row for each mask: feature i is the row's own where bit i is set, and the baseline's elsewhere.
    #[must_use]
    pub fn mixtures(&self, row: &[Tensor], masks: &[u64]) -> Vec<Tensor> {
        let rows = masks.len();
        let mut out: Vec<Tensor> = row
            .iter()
            .map(|t| match self.by_input.get(&t.name) {
                Some(Rows::Axis(0)) => {
                    let shape = std::iter::once(rows).chain(t.shape.iter().skip(1).copied()).collect();
                    Tensor { name: t.name.clone(), dtype: t.dtype, shape, data: t.data.repeat(rows) }
                }
                _ => t.clone(),
            })
            .collect();
        for (i, (column, baseline)) in self.columns.iter().zip(&self.baseline).enumerate() {
            let (Some(baseline), Some(tensor)) =
                (baseline, out.iter_mut().find(|t| t.name == self.inputs[column.input]))
            else {
                continue;
            };
            let each = tensor.elements().unwrap_or(0) / rows.max(1);
            for (at, _) in masks.iter().enumerate().filter(|(_, mask)| *mask >> i & 1 == 0) {
                let stride = if column.rows == Rows::Same { 0 } else { each };
                tensor.set_number(at * stride + column.index, *baseline);
            }
        }
        out
    }
}

impl Column {
    /// The element of the first row in a request of `rows` rows, and how many elements further that of the next one is.
    #[inline]
    fn place(&self, rows: usize, tensor: &Tensor) -> (usize, usize) {
        match self.rows {
            Rows::Same => (self.index, 0),
            Rows::Step(step) => (self.index, step),
            Rows::Axis(axis) => {
                // Elements behind one step of the axis; the index counts what is before it and behind it.
                let inner = tensor.shape.iter().skip(axis + 1).product::<usize>().max(1);
                (self.index / inner * rows * inner + self.index % inner, inner)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_bundle::{Batch, Feature, FeatureKind, TensorSpec, author};
    use longshore_stats::WindowProfile;
    use longshore_stats::profile::Column as Data;

    use super::*;

    fn numbers(to: u32) -> Data {
        Data::Numeric((0..to).map(|i| Some(f64::from(i))).collect())
    }
    fn feature(name: &str, input: &str, index: u32) -> Feature {
        Feature { name: name.into(), input: input.into(), index, kind: FeatureKind::Numeric }
    }
    fn spec(name: &str, shape: &[Dim]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype: DType::Fp32, shape: shape.to_vec() }
    }
    fn manifest(inputs: Vec<TensorSpec>, features: Vec<Feature>) -> Manifest {
        let mut m =
            author::draft("m".parse().unwrap(), "1.0.0".parse().unwrap(), String::new(), inputs, Vec::new());
        m.batch = Some(Batch { axis: 0, max: 100 });
        m.monitor.features = features;
        m
    }
    fn counted(watch: &Watch, rows: usize, inputs: &[Tensor]) -> WindowProfile {
        let tally = watch.count(rows, inputs);
        let mut words = vec![0; watch.places().shape().words()];
        tally.each().for_each(|(at, n)| words[at] += n);
        watch.done_with(tally);
        watch.places().shape().window(&words).unwrap()
    }
    fn bins(watch: &WindowProfile, feature: usize) -> Vec<usize> {
        let counts = watch.features[feature].counts.iter().enumerate();
        counts.flat_map(|(bin, n)| std::iter::repeat_n(bin, *n as usize)).collect()
    }

    #[test]
    fn features_are_found_wherever_the_rows_lie() {
        let reference = Profile::of(&[
            ("other".to_owned(), numbers(8)),
            ("a".to_owned(), numbers(8)),
            ("b".to_owned(), numbers(8)),
            ("c".to_owned(), numbers(8)),
        ])
        .unwrap();
        let batch = || Dim::Symbol("batch".into());
        let m = manifest(
            vec![
                spec("x", &[batch(), Dim::Fixed(2)]),
                spec("t", &[Dim::Fixed(2), batch()]),
                spec("s", &[Dim::Fixed(1)]),
            ],
            vec![feature("a", "x", 1), feature("b", "t", 1), feature("c", "s", 0)],
        );
        let watch = Watch::new(&m, &reference);
        let inputs = [
            Tensor::from_f32("s", &[1], &[6.0]),
            Tensor::from_f32("x", &[3, 2], &[9.0, 0.0, 9.0, 2.0, 9.0, 1.0]),
            Tensor::from_f32("t", &[2, 3], &[9.0, 9.0, 9.0, 3.0, 4.0, 5.0]),
        ];
        let w = counted(&watch, 3, &inputs);
        assert_eq!((w.rows, w.rows_out_of_range), (3, 0));
        assert_eq!((bins(&w, 1), bins(&w, 2), bins(&w, 3)), (vec![0, 1, 2], vec![3, 4, 5], vec![6; 3]));
        assert_eq!(w.features[0], w.features[0].emptied(), "what is not monitored is not counted");
        assert_eq!(counted(&watch, 3, &inputs), w, "a tally that was used before is empty");
    }
    #[test]
    fn rows_of_a_signal_overlap() {
        let reference = Profile::of(&[("second".to_owned(), numbers(8))]).unwrap();
        let mut m = manifest(
            vec![spec("x", &[Dim::Symbol("batch".into()), Dim::Fixed(4)])],
            vec![feature("second", "x", 1)],
        );
        m.preprocess = vec![PreStep::Window { input: "x".into(), size: 4, step: 2 }];
        let w = counted(
            &Watch::new(&m, &reference),
            2,
            &[Tensor::from_f32("x", &[6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])],
        );
        assert_eq!(bins(&w, 0), [1, 3]);
    }
    #[test]
    fn strange_numbers_are_counted_and_put_the_row_out_of_range_once() {
        let reference = Profile::of(&[
            ("a".to_owned(), numbers(64)),
            ("still".to_owned(), Data::Numeric(vec![Some(-0.0); 50])),
        ])
        .unwrap();
        let m = manifest(
            vec![spec("x", &[Dim::Symbol("batch".into()), Dim::Fixed(2)])],
            vec![feature("a", "x", 0), feature("still", "x", 1)],
        );
        let values = [f32::NAN, 0.0, f32::INFINITY, -0.0, f32::NEG_INFINITY, 1.0, 1e30, -1.0, 5.0, 0.0];
        let w = counted(&Watch::new(&m, &reference), 5, &[Tensor::from_f32("x", &[5, 2], &values)]);
        let (a, still) = (&w.features[0], &w.features[1]);
        assert_eq!((a.nan, a.pos_inf, a.neg_inf, a.above, a.counted()), (1, 1, 1, 1, 2));
        assert_eq!((still.below, still.above, still.counted()), (1, 1, 5));
        assert_eq!((w.rows, w.rows_out_of_range), (5, 4));
    }
    #[test]
    fn a_row_is_mixed_with_the_medians_of_the_reference() {
        let reference = Profile::of(&[
            ("a".to_owned(), numbers(101)),
            ("b".to_owned(), Data::Numeric(vec![Some(7.0); 50])),
        ])
        .unwrap();
        let m = manifest(
            vec![spec("x", &[Dim::Symbol("batch".into()), Dim::Fixed(3)])],
            vec![feature("a", "x", 2), feature("b", "x", 0)],
        );
        let watch = Watch::new(&m, &reference);
        let x = Tensor::from_f32("x", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let row = watch.row(1, &[x]).unwrap();
        assert_eq!(row, [Tensor::from_f32("x", &[1, 3], &[3.0, 4.0, 5.0])]);
        let mixed = watch.mixtures(&row, &[0b00, 0b11, 0b10]);
        let values: Vec<f64> = mixed[0].values().collect();
        let median = values[2];
        assert!((40.0..60.0).contains(&median), "{median}");
        assert_eq!(
            values,
            [7.0, 4.0, median, 3.0, 4.0, 5.0, 3.0, 4.0, median],
            "what is not monitored stays"
        );
        assert!(watch.explains() && watch.rows_a_run(64) == 64);
    }
    #[test]
    fn an_input_that_is_not_there_is_not_counted() {
        let reference = Profile::of(&[("a".to_owned(), numbers(8))]).unwrap();
        let m = manifest(vec![spec("x", &[Dim::Symbol("batch".into())])], vec![feature("a", "x", 0)]);
        let w = counted(&Watch::new(&m, &reference), 2, &[Tensor::from_f32("x", &[1], &[3.0])]);
        assert_eq!((w.rows, w.features[0].counted()), (2, 1), "a tensor that is too short ends early");
        assert_eq!(counted(&Watch::new(&m, &reference), 1, &[]).features[0].counted(), 0);
    }
}
