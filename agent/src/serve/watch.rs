//! What the engine watches of each request: the monitored features, in the places that the bundle's reference fixed.
//!
//! A feature is an element of one row of an input, as the client sent it: before preprocessing, like the author's table.

use std::sync::{Mutex, PoisonError};

use longshore_bundle::{Dim, Manifest, PreStep, Tensor};
use longshore_stats::Profile;
use longshore_stats::places::Places;

use crate::page::{LEVEL, Tally};

/// Tallies that are kept for the next request.
const SPARE: usize = 8;

/// Where in an input the values of a feature are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// Feature of the reference.
    feature: usize,
    input: String,
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
    columns: Vec<Column>,
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
        let columns = manifest.monitor.features.iter().filter_map(|f| {
            let feature = reference.features.iter().position(|r| r.name == f.name)?;
            Some(Column { feature, input: f.input.clone(), index: f.index as usize, rows: rows(&f.input) })
        });
        let columns = columns.collect();
        Self { places: Places::new(reference, LEVEL), columns, spare: Mutex::default() }
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
        let columns: Vec<Cursor<'_>> = self.columns.iter().filter_map(|c| c.cursor(rows, inputs)).collect();
        for row in 0..rows {
            let mut inside = true;
            for c in &columns {
                if let Some(value) = c.tensor.number(c.first + row * c.stride) {
                    inside &= self.places.number(c.feature, value, &mut |at| tally.count(at));
                }
            }
            tally.count(0);
            tally.add(1, u64::from(!inside));
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

/// Where the values of a feature are in one request.
struct Cursor<'a> {
    feature: usize,
    tensor: &'a Tensor,
    first: usize,
    stride: usize,
}

impl Column {
    fn cursor<'a>(&self, rows: usize, inputs: &'a [Tensor]) -> Option<Cursor<'a>> {
        let tensor = inputs.iter().find(|t| t.name == self.input)?;
        let (first, stride) = match self.rows {
            Rows::Same => (self.index, 0),
            Rows::Step(step) => (self.index, step),
            Rows::Axis(axis) => {
                // Elements behind one step of the axis; the index counts what is before it and behind it.
                let inner = tensor.shape.iter().skip(axis + 1).product::<usize>().max(1);
                (self.index / inner * rows * inner + self.index % inner, inner)
            }
        };
        Some(Cursor { feature: self.feature, tensor, first, stride })
    }
}

#[cfg(test)]
mod tests {
    use longshore_bundle::{Batch, DType, Feature, FeatureKind, TensorSpec, author};
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
    fn an_input_that_is_not_there_is_not_counted() {
        let reference = Profile::of(&[("a".to_owned(), numbers(8))]).unwrap();
        let m = manifest(vec![spec("x", &[Dim::Symbol("batch".into())])], vec![feature("a", "x", 0)]);
        let w = counted(&Watch::new(&m, &reference), 2, &[Tensor::from_f32("x", &[1], &[3.0])]);
        assert_eq!((w.rows, w.features[0].counted()), (2, 1), "a tensor that is too short ends early");
        assert_eq!(counted(&Watch::new(&m, &reference), 1, &[]).features[0].counted(), 0);
    }
}
