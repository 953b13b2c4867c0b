//! Guaranteed intervals: what the exact Kolmogorov-Smirnov and Wasserstein distances can be, given only counts.
//!
//! With D the difference of the two distribution functions, counts give D at every edge. Between two edges both functions
//! only rise, by p (reference) and q (current), so D stays within [D - q, D + p] of its value at the left edge. Therefore
//! `KS_lo = max |D_i|` and `KS_hi = max_i max(D_{i-1} + p_i, q_i - D_{i-1})`. A bin that is a single number has no
//! interior; in a bin where the reference has one value at the left edge its function has risen already, so D only falls.
//! W1 is of values clipped to the reference's range and integrates the same bounds over the width of each bin.

use crate::profile::Histogram;
use crate::window::FeatureWindow;

/// Lower and upper bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Never above the exact value.
    pub lo: f64,
    /// Never below the exact value.
    pub hi: f64,
}

/// Both intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Of the Kolmogorov-Smirnov distance, rows without a number left out.
    pub ks: Interval,
    /// Of the Wasserstein distance of values clipped to the reference's range, in the feature's own unit.
    pub w1: Interval,
}

/// What is known of D between two edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interior {
    /// Anything between the bounds.
    Open,
    /// The reference has risen at the left edge.
    Risen,
    /// There is no number strictly inside.
    None,
}

struct Cell {
    p: u64,
    q: u64,
    /// Width within the reference's range.
    width: f64,
    interior: Interior,
}

/// The intervals for counts of the finest bins. `None` when either side has no number or `current` has other bins.
///
/// `below` and `above` cut the end bins once more, at the ends of the reference's range.
#[must_use]
pub fn bounds(reference: &Histogram, current: &FeatureWindow) -> Option<Bounds> {
    if current.counts.len() != reference.counts.len() || reference.total() == 0 || current.counted() == 0 {
        return None;
    }
    Some(of_cells(&cells(reference, current)))
}

fn cells(h: &Histogram, current: &FeatureWindow) -> Vec<Cell> {
    let last = h.counts.len() - 1;
    let mut out = vec![Cell { p: h.below, q: current.below, width: 0.0, interior: Interior::Open }];
    for (i, (p, q)) in h.counts.iter().zip(&current.counts).enumerate() {
        let left = i.checked_sub(1).map_or(h.min, |e| h.edges[e]).clamp(h.min, h.max);
        let right = h.edges.get(i).map_or(h.max, |e| *e).clamp(h.min, h.max);
        let outside = |below: u64, above: u64| {
            (if i == 0 { below } else { 0u64 }).saturating_add(if i == last { above } else { 0 })
        };
        let (p_out, q_out) = (outside(h.below, h.above), outside(current.below, current.above));
        let interior = if h.is_point(i) {
            Interior::None
        } else if h.atoms.binary_search(&(i as u16)).is_ok() && p_out == 0 {
            Interior::Risen
        } else {
            Interior::Open
        };
        let (p, q) = (p.saturating_sub(p_out), q.saturating_sub(q_out));
        out.push(Cell { p, q, width: right - left, interior });
    }
    out.push(Cell { p: h.above, q: current.above, width: 0.0, interior: Interior::Open });
    out
}

/// a/n - b/m, rounded once where the products fit.
fn difference(a: u128, n: u128, b: u128, m: u128) -> f64 {
    const FITS: u128 = 1 << 63;
    if n < FITS && m < FITS {
        let (x, y) = ((a * m) as i128, (b * n) as i128);
        (x - y) as f64 / (n as f64 * m as f64)
    } else {
        a as f64 / n as f64 - b as f64 / m as f64
    }
}

fn of_cells(cells: &[Cell]) -> Bounds {
    // The sum of the cells, not of the bins: what a liar counts outside his bins must not lift a share above 1.
    let sum = |count: fn(&Cell) -> u64| cells.iter().map(|c| u128::from(count(c))).sum::<u128>();
    let (n, m) = (sum(|c| c.p), sum(|c| c.q));
    // Rows of either side up to the left and the right edge of the cell.
    let (mut a, mut b) = (0u128, 0u128);
    let mut ks = Interval { lo: 0.0, hi: 0.0 };
    let mut w1 = Interval { lo: 0.0, hi: 0.0 };
    for cell in cells {
        let (to_a, to_b) = (a + u128::from(cell.p), b + u128::from(cell.q));
        let at_right = difference(to_a, n, to_b, m);
        // The most and the least D can be inside.
        let (top, bottom) = match cell.interior {
            Interior::Open => (difference(to_a, n, b, m), difference(a, n, to_b, m)),
            Interior::Risen => (difference(to_a, n, b, m), at_right),
            Interior::None => (at_right, at_right),
        };
        let most = top.max(-bottom);
        let least = bottom.max(-top).max(0.0);
        ks.lo = ks.lo.max(at_right.abs());
        ks.hi = ks.hi.max(most).max(at_right.abs());
        // A width beyond f64 is infinite: too much for the lower bound, and nothing at all times no difference.
        w1.lo += cell.width.min(f64::MAX) * least;
        w1.hi += if most > 0.0 { cell.width * most } else { 0.0 };
        (a, b) = (to_a, to_b);
    }
    // Sums of rounded products: step outwards by more than they can be off.
    let slack = 1e-13;
    Bounds { ks, w1: Interval { lo: w1.lo * (1.0 - slack), hi: w1.hi * (1.0 + slack) } }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
