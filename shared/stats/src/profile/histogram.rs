//! Counts between edges that reference data fixed.
//!
//! What always holds: edges rise strictly and are finite; a value equal to an edge belongs to the bin on its right; every
//! value is counted in one bin or one of the special counters.

use serde::{Deserialize, Serialize};

use super::{BINS_MAX, add_all};
use crate::nesting::{self, Level};

/// Fewest rows of one value that make it an atom: a single row is no evidence of a heap.
const ATOM_ROWS_MIN: usize = 2;

/// Counts between edges, with special values apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Inner edges, rising: bin i holds `edges[i-1] <= v < edges[i]`; the end bins reach to infinity.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, BINS_MAX>")]
    pub edges: Vec<f64>,
    /// Bins in which the reference has a single value, at the bin's left end (rising indices).
    #[serde(deserialize_with = "crate::bounded::list::<_, _, BINS_MAX>")]
    pub atoms: Vec<u16>,
    /// Least value of the reference.
    pub min: f64,
    /// Greatest value of the reference.
    pub max: f64,
    /// One more than there are edges.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, BINS_MAX>")]
    pub counts: Vec<u64>,
    /// Of the first bin: below the reference's least value.
    pub below: u64,
    /// Of the last bin: above the reference's greatest value.
    pub above: u64,
    /// NaN.
    pub nan: u64,
    /// Positive infinity.
    pub pos_inf: u64,
    /// Negative infinity.
    pub neg_inf: u64,
}

/// Values too heavy to share a bin, heaviest first.
fn heavy(sorted: &[f64]) -> Vec<(usize, f64)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < sorted.len() {
        let run = sorted[at..].partition_point(|v| *v <= sorted[at]);
        if run >= ATOM_ROWS_MIN && run * BINS_MAX > sorted.len() {
            out.push((run, sorted[at]));
        }
        at += run;
    }
    out.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)));
    out
}

impl Histogram {
    /// Bins at the quantiles of `values`; nothing is counted yet. `None` when there is no finite value.
    ///
    /// A value with more than 1/64 of the mass (and two rows at least) gets a bin that holds no other number: from the
    /// value to the next f64. Beyond 31 such values there are not enough bins for that; then the lighter ones share
    /// theirs with whatever lies between them and the next edge.
    #[must_use]
    pub fn bins_of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let sorted = crate::rows::sorted_finite(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let atoms = heavy(&sorted);
        let mut edges: Vec<f64> = atoms.iter().map(|a| a.1).collect();
        for (_, atom) in &atoms {
            // The next of the greatest negative number is -0.0.
            let end = atom.next_up() + 0.0;
            if end.is_finite() && edges.len() < BINS_MAX - 1 && !edges.contains(&end) {
                edges.push(end);
            }
        }
        // What is left of the bins goes to quantiles of the other values.
        let is_atom = |v: &f64| atoms.iter().any(|a| a.1 == *v);
        let rest: Vec<f64> = sorted.iter().copied().filter(|v| !is_atom(v)).collect();
        let spare = (BINS_MAX - edges.len()).min(rest.len());
        // The first bin begins below everything: a quantile at the least value would leave it empty.
        edges.extend((1..spare).map(|k| rest[k * rest.len() / spare]).filter(|e| *e > min));
        edges.sort_unstable_by(f64::total_cmp);
        edges.dedup();
        let bins = edges.len() + 1;
        let mut histogram = Self {
            edges,
            atoms: Vec::new(),
            min,
            max,
            counts: vec![0; bins],
            below: 0,
            above: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
        };
        let mut single: Vec<Option<(f64, bool)>> = vec![None; bins];
        for &v in &sorted {
            let seen = &mut single[histogram.bin(v)];
            *seen = Some(seen.map_or((v, true), |(first, same)| (first, same && first == v)));
        }
        let at_left = |b: usize, v: f64| b.checked_sub(1).map_or(v == min, |e| histogram.edges[e] == v);
        let singles = single.iter().enumerate();
        let atoms = singles.filter(|(b, s)| s.is_some_and(|(v, same)| same && at_left(*b, v)));
        histogram.atoms = atoms.filter_map(|(b, _)| u16::try_from(b).ok()).collect();
        Some(histogram)
    }
    /// The bin of a finite value: a value equal to an edge belongs to the right.
    #[must_use]
    pub fn bin(&self, value: f64) -> usize {
        self.edges.partition_point(|e| *e <= value)
    }
    /// Counts one value.
    pub fn insert(&mut self, value: f64) {
        if value.is_nan() {
            self.nan += 1;
        } else if value == f64::INFINITY {
            self.pos_inf += 1;
        } else if value == f64::NEG_INFINITY {
            self.neg_inf += 1;
        } else {
            let bin = self.bin(value);
            self.counts[bin] += 1;
            self.below += u64::from(value < self.min);
            self.above += u64::from(value > self.max);
        }
    }
    /// Values counted in bins.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
    /// The middle of the bin that holds the median (its one value, for an atom); `None` when nothing was counted.
    #[must_use]
    pub fn middle(&self) -> Option<f64> {
        let half = self.total().div_ceil(2);
        let mut seen = 0u64;
        let bin = self.counts.iter().position(|n| {
            seen = seen.saturating_add(*n);
            *n > 0 && seen >= half
        })?;
        let left = bin.checked_sub(1).map_or(self.min, |e| self.edges[e]).clamp(self.min, self.max);
        let right = self.edges.get(bin).map_or(self.max, |e| *e).clamp(self.min, self.max);
        let atom = u16::try_from(bin).is_ok_and(|b| self.atoms.binary_search(&b).is_ok());
        Some(if atom { left } else { left + (right - left) / 2.0 })
    }
    /// The same bins with nothing counted.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            edges: self.edges.clone(),
            atoms: self.atoms.clone(),
            counts: vec![0; self.counts.len()],
            below: 0,
            above: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
            ..*self
        }
    }
    /// Whether two histograms count in the same bins, bit for bit.
    #[must_use]
    pub fn same_bins(&self, other: &Self) -> bool {
        let bits = |e: &[f64]| e.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        bits(&self.edges) == bits(&other.edges)
            && self.atoms == other.atoms
            && self.min.to_bits() == other.min.to_bits()
            && self.max.to_bits() == other.max.to_bits()
    }
    /// Whether a bin can hold one number only: its edges are neighbouring floats.
    #[must_use]
    pub fn is_point(&self, bin: usize) -> bool {
        let left = bin.checked_sub(1).and_then(|e| self.edges.get(e));
        left.zip(self.edges.get(bin)).is_some_and(|(l, r)| l.next_up() == *r)
    }
    /// The same histogram in the bins of a coarser level. A bin stays an atom when nothing was added to it.
    #[must_use]
    pub fn at_level(&self, level: Level) -> Self {
        let starts = nesting::starts(&self.counts, level);
        let ends = starts.iter().skip(1).copied().chain([self.counts.len()]);
        let is_atom = |bin: usize| u16::try_from(bin).is_ok_and(|b| self.atoms.binary_search(&b).is_ok());
        let kept = starts.iter().zip(ends).enumerate();
        let atoms = kept.filter(|(_, (from, to))| to - *from == 1 && is_atom(**from));
        Self {
            atoms: atoms.filter_map(|(group, _)| u16::try_from(group).ok()).collect(),
            edges: starts.iter().skip(1).map(|s| self.edges[s - 1]).collect(),
            counts: nesting::grouped(&self.counts, &starts),
            ..*self
        }
    }
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let rising = self.edges.windows(2).all(|w| w[0] < w[1]);
        if !rising || self.edges.iter().any(|e| !e.is_finite()) {
            return Err("edges must be finite and rise");
        }
        if self.counts.len() != self.edges.len() + 1 || self.counts.len() > BINS_MAX {
            return Err("must have one count more than edges, and at most 64");
        }
        if !(self.min.is_finite() && self.max.is_finite() && self.min <= self.max) {
            return Err("least and greatest value must be finite and in order");
        }
        let atoms_rise = self.atoms.windows(2).all(|w| w[0] < w[1]);
        if !atoms_rise || self.atoms.iter().any(|a| usize::from(*a) >= self.counts.len()) {
            return Err("atom bins must be bins, in order");
        }
        let (first, last) = (self.counts[0], self.counts[self.counts.len() - 1]);
        if self.below > first || self.above > last {
            return Err("values outside the range must be part of the end bins");
        }
        Ok(())
    }
    pub(super) fn add(&mut self, other: &Self) {
        add_all(&mut self.counts, &other.counts);
        for (a, b) in [
            (&mut self.below, other.below),
            (&mut self.above, other.above),
            (&mut self.nan, other.nan),
            (&mut self.pos_inf, other.pos_inf),
            (&mut self.neg_inf, other.neg_inf),
        ] {
            *a = a.saturating_add(b);
        }
    }
}
