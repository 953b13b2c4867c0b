//! Where a value is counted: every value of a row has one place in a flat list of counters, which depends on the reference
//! and the level alone. Recorders count in such a list, and so does the counter page of a device.
//!
//! What always holds: a value is counted in exactly one bin, category or special counter (`below` and `above` are part of
//! the end bins and counted besides); finding a place takes no memory and no branch that depends on a value in range.

use serde::{Deserialize, Serialize};

use crate::nesting::{self, Level};
use crate::profile::{BINS_MAX, Categories, FeatureValues, Histogram, Profile};
use crate::window::{FeatureWindow, ReferenceId, Value, WindowProfile};

/// Counters of a feature besides its bins: below, above, NaN, positive and negative infinity, missing, of another type.
pub const SPECIALS: usize = 7;
/// Counters before the first feature: rows, and rows out of range.
pub const HEAD: usize = 2;

const BELOW: usize = 0;
const ABOVE: usize = 1;
const NAN: usize = 2;
const POS_INF: usize = 3;
const NEG_INF: usize = 4;
const MISSING: usize = 5;
const MISTYPED: usize = 6;

/// What a flat list of counters means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The reference that fixed the bins.
    pub reference: ReferenceId,
    /// How fine they are.
    pub level: Level,
    /// Bins or categories (with `other`) of each feature.
    pub counts: Vec<u16>,
}

impl Shape {
    /// How many counters there are.
    #[must_use]
    pub fn words(&self) -> usize {
        HEAD + self.counts.iter().map(|n| usize::from(*n) + SPECIALS).sum::<usize>()
    }
    /// The counters as a window; `None` for another number of them.
    #[must_use]
    pub fn window(&self, words: &[u64]) -> Option<WindowProfile> {
        let (head, mut rest) = words.split_at_checked(HEAD)?;
        if words.len() != self.words() {
            return None;
        }
        let mut features = Vec::with_capacity(self.counts.len());
        for n in &self.counts {
            let (own, after) = rest.split_at(usize::from(*n) + SPECIALS);
            let (counts, special) = own.split_at(usize::from(*n));
            rest = after;
            features.push(FeatureWindow {
                counts: counts.to_vec(),
                below: special[BELOW],
                above: special[ABOVE],
                nan: special[NAN],
                pos_inf: special[POS_INF],
                neg_inf: special[NEG_INF],
                missing: special[MISSING],
                mistyped: special[MISTYPED],
            });
        }
        Some(WindowProfile {
            reference: self.reference,
            level: self.level,
            rows: head[0],
            rows_out_of_range: head[1],
            features,
        })
    }
}

/// Left edges of all bins but the first, padded with infinity, which no finite value reaches.
#[derive(Debug, Clone)]
enum Edges {
    /// Of at most 32 bins.
    Few(Box<[f64; 32]>),
    /// Of at most 64.
    Many(Box<[f64; BINS_MAX]>),
}

/// How many of the edges, a power of two less one, are not above a value. Steps are known when this is compiled, so that no
/// jump depends on the value.
#[inline]
fn not_above<const N: usize>(edges: &[f64; N], value: f64) -> usize {
    let (mut at, mut step) = (0, N / 2);
    while step > 0 {
        at += usize::from(edges[(at + step - 1) & (N - 1)] <= value) * step;
        step /= 2;
    }
    at
}

/// Finds the bin of a number.
#[derive(Debug, Clone)]
struct Scale {
    edges: Edges,
    bins: usize,
    min: f64,
    max: f64,
}

impl Scale {
    fn new(h: &Histogram, level: Level) -> Self {
        let starts = nesting::starts(&h.counts, level);
        let mut all = [f64::INFINITY; BINS_MAX];
        starts.iter().skip(1).zip(&mut all).for_each(|(start, edge)| *edge = h.edges[start - 1]);
        let edges = match all.first_chunk() {
            Some(few) if starts.len() <= few.len() => Edges::Few(Box::new(*few)),
            _ => Edges::Many(Box::new(all)),
        };
        Self { edges, bins: starts.len(), min: h.min, max: h.max }
    }
    /// The bin of a finite value.
    #[inline]
    fn bin(&self, value: f64) -> usize {
        match &self.edges {
            Edges::Few(edges) => not_above(edges, value),
            Edges::Many(edges) => not_above(edges, value),
        }
    }
}

impl Scale {
    #[inline]
    fn numbers<const N: usize>(
        &self,
        edges: &[f64; N],
        first: usize,
        values: impl Iterator<Item = f64>,
        count: &mut impl FnMut(usize),
    ) -> u64 {
        let (min, max, specials) = (self.min, self.max, first + self.bins);
        let mut outside = 0;
        for (row, value) in (0..64).zip(values) {
            // Neither below nor above; NaN is not either.
            if min <= value && value <= max {
                count(first + not_above(edges, value));
                continue;
            }
            outside |= 1 << row;
            let special = match value {
                v if v.is_nan() => NAN,
                f64::INFINITY => POS_INF,
                f64::NEG_INFINITY => NEG_INF,
                v => {
                    count(first + not_above(edges, v));
                    if v < min { BELOW } else { ABOVE }
                }
            };
            count(specials + special);
        }
        outside
    }
}

/// Finds the entry of a word, or of a number that stands for a kind.
#[derive(Debug, Clone)]
struct Kinds {
    words: Vec<String>,
    /// Entries that are written as Rust writes the number they stand for (3, 2.5, and 0 for -0.0), rising.
    numbers: Vec<(f64, usize)>,
}

impl Kinds {
    fn new(c: &Categories) -> Self {
        let number = |(i, word): (usize, &String)| {
            let n = word.parse::<f64>().ok()? + 0.0;
            (n.to_string() == *word && !n.is_nan()).then_some((n, i))
        };
        let mut numbers: Vec<(f64, usize)> = c.vocabulary.iter().enumerate().filter_map(number).collect();
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { words: c.vocabulary.clone(), numbers }
    }
    fn of_number(&self, value: f64) -> Option<usize> {
        let at = self.numbers.partition_point(|(n, _)| *n < value);
        self.numbers.get(at).filter(|(n, _)| *n == value).map(|(_, i)| *i)
    }
    fn of_word(&self, word: &str) -> Option<usize> {
        self.words.binary_search_by(|w| w.as_str().cmp(word)).ok()
    }
}

#[derive(Debug, Clone)]
enum Feature {
    Numeric(Scale),
    Categorical(Kinds),
}

/// Places of all features of a reference.
#[derive(Debug, Clone)]
pub struct Places {
    shape: Shape,
    /// Each feature with its first counter.
    features: Vec<(usize, Feature)>,
}

impl Places {
    /// Places over the bins of `reference` at `level`.
    #[must_use]
    pub fn new(reference: &Profile, level: Level) -> Self {
        let mut features = Vec::with_capacity(reference.features.len());
        let mut counts = Vec::with_capacity(reference.features.len());
        let mut first = HEAD;
        for f in &reference.features {
            let (feature, n) = match &f.values {
                FeatureValues::Numeric(h) => {
                    let scale = Scale::new(h, level);
                    let bins = scale.bins;
                    (Feature::Numeric(scale), bins)
                }
                FeatureValues::Categorical(c) => {
                    (Feature::Categorical(Kinds::new(c)), c.vocabulary.len() + 1)
                }
            };
            features.push((first, feature));
            counts.push(n as u16);
            first += n + SPECIALS;
        }
        Self { shape: Shape { reference: ReferenceId::of(reference), level, counts }, features }
    }
    /// What the counters mean.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
    /// How many features there are.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features.len()
    }
    /// Calls `count` with every counter that a number of a feature raises; whether it lies within what the reference knows.
    /// A feature there is not has no place.
    #[inline]
    pub fn number(&self, feature: usize, value: f64, count: &mut impl FnMut(usize)) -> bool {
        let Some((first, feature)) = self.features.get(feature) else { return true };
        match feature {
            Feature::Numeric(scale) if value.is_finite() => {
                count(first + scale.bin(value));
                let (below, above) = (value < scale.min, value > scale.max);
                if below | above {
                    count(first + scale.bins + if below { BELOW } else { ABOVE });
                }
                !(below | above)
            }
            Feature::Numeric(scale) => {
                let special = match value {
                    v if v.is_nan() => NAN,
                    v if v > 0.0 => POS_INF,
                    _ => NEG_INF,
                };
                count(first + scale.bins + special);
                false
            }
            Feature::Categorical(kinds) if value.is_nan() => {
                count(first + kinds.words.len() + 1 + NAN);
                false
            }
            Feature::Categorical(kinds) => {
                let known = kinds.of_number(value);
                count(first + known.unwrap_or(kinds.words.len()));
                known.is_some()
            }
        }
    }
    /// The same for up to 64 numbers of a feature, one a row: bit i of the answer is set where number i is not within what
    /// the reference knows. What is the same for all of them is looked up once.
    #[inline]
    pub fn numbers(
        &self,
        feature: usize,
        values: impl Iterator<Item = f64>,
        count: &mut impl FnMut(usize),
    ) -> u64 {
        let Some((first, Feature::Numeric(scale))) = self.features.get(feature) else {
            return (0..64)
                .zip(values)
                .fold(0, |out, (row, v)| out | u64::from(!self.number(feature, v, count)) << row);
        };
        match &scale.edges {
            Edges::Few(edges) => scale.numbers(edges, *first, values, count),
            Edges::Many(edges) => scale.numbers(edges, *first, values, count),
        }
    }
    /// The same for any value.
    pub fn value(&self, feature: usize, value: Value<'_>, count: &mut impl FnMut(usize)) -> bool {
        let Some((first, kind)) = self.features.get(feature) else { return true };
        let bins = usize::from(self.shape.counts[feature]);
        match (kind, value) {
            (_, Value::Number(v)) => self.number(feature, v, count),
            (_, Value::Missing) => {
                count(first + bins + MISSING);
                false
            }
            (Feature::Numeric(_), Value::Word(_)) => {
                count(first + bins + MISTYPED);
                false
            }
            (Feature::Categorical(kinds), Value::Word(w)) => {
                let known = kinds.of_word(w);
                count(first + known.unwrap_or(kinds.words.len()));
                known.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Column;

    #[test]
    fn the_branchless_search_finds_the_same_bins() {
        for bins in [1usize, 2, 3, 9, 31, 32, 33, 63, 64] {
            let h = Histogram::bins_of((0..bins * 3).map(|i| i as f64)).unwrap();
            for level in Level::ALL {
                let (scale, coarse) = (Scale::new(&h, level), h.at_level(level));
                assert_eq!(scale.bins, coarse.counts.len());
                for i in -4..(bins as i32 * 3 + 4) {
                    for v in [f64::from(i), f64::from(i).next_up(), f64::from(i).next_down()] {
                        assert_eq!(scale.bin(v), coarse.bin(v), "{bins} bins, {v}");
                    }
                }
            }
        }
    }
    #[test]
    fn numbers_stand_for_kinds_as_rust_writes_them() {
        let words = ["3", "2.5", "0", "3.0", "-1", "x", "1e3", "inf"];
        let column = Column::Categorical(words.iter().map(|w| Some((*w).to_owned())).collect());
        let p = Profile::of(&[("kind".to_owned(), column)]).unwrap();
        let places = Places::new(&p, Level::Bins32);
        let FeatureValues::Categorical(c) = &p.features[0].values else { unreachable!() };
        for v in [3.0, 2.5, 0.0, -0.0, -1.0, 1000.0, f64::INFINITY, f64::NEG_INFINITY, 7.0] {
            let mut at = Vec::new();
            let known = places.number(0, v, &mut |i| at.push(i - HEAD));
            let word = (v + 0.0f64).to_string();
            let want = c.vocabulary.iter().position(|w| *w == word);
            assert_eq!((at, known), (vec![want.unwrap_or(words.len())], want.is_some()), "{v}");
        }
    }
    #[test]
    fn many_numbers_at_once_are_counted_as_one_by_one() {
        let numbers =
            |n: i32, by: i32| Column::Numeric((0..n).map(|i| Some(f64::from(i * by % n))).collect());
        let kinds = Column::Categorical(["1", "2", "x"].map(|k| Some(k.to_owned())).to_vec());
        let columns = [("many", numbers(640, 7)), ("few", numbers(5, 2)), ("kind", kinds)];
        let p = Profile::of(&columns.map(|(n, c)| (n.to_owned(), c))).unwrap();
        let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, -1e300, f64::MIN_POSITIVE];
        let values: Vec<f64> = (-8..49).map(|i| f64::from(i) * 13.7).chain(strange).collect();
        for level in Level::ALL {
            let places = Places::new(&p, level);
            for feature in 0..4 {
                let (mut one, mut all) = (Vec::new(), Vec::new());
                let mut outside = 0u64;
                for (row, v) in values.iter().enumerate() {
                    outside |= u64::from(!places.number(feature, *v, &mut |at| one.push(at))) << row;
                }
                let found = places.numbers(feature, values.iter().copied(), &mut |at| all.push(at));
                assert_eq!((found, all), (outside, one), "feature {feature} at {level:?}");
            }
        }
    }
    #[test]
    fn counters_of_another_number_are_no_window() {
        let numbers = Column::Numeric((0..100).map(|i| Some(f64::from(i))).collect());
        let places = Places::new(&Profile::of(&[("a".to_owned(), numbers)]).unwrap(), Level::Bins32);
        let shape = places.shape();
        assert_eq!(shape.words(), HEAD + 32 + SPECIALS);
        let words: Vec<u64> = (0..shape.words() as u64).collect();
        let w = shape.window(&words).unwrap();
        assert_eq!(
            (w.rows, w.rows_out_of_range, w.features[0].counts[31], w.features[0].mistyped),
            (0, 1, 33, 40)
        );
        assert_eq!((shape.window(&words[1..]), shape.window(&[])), (None, None));
        assert!(places.number(1, 2.0, &mut |_| unreachable!("there is no such feature")));
    }
}
