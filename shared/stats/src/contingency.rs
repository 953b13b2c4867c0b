//! The chi-square test of homogeneity: do two histograms come from the same distribution?
//!
//! Pearson's statistic over a 2 x k table (Pearson, 1900; Cochran, 1954, for small cells). Cells whose expectation on
//! either side is below five are pooled, so that the chi-square distribution holds.

use crate::special::chi2_sf;

/// Smallest expectation a cell may have on either side (Cochran's rule).
pub const EXPECTATION_MIN: f64 = 5.0;

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquare {
    /// Pearson's statistic.
    pub stat: f64,
    /// Degrees of freedom; 0 when fewer than two cells were left, and `p` is 1 then.
    pub dof: u32,
    /// Probability of a statistic at least as large under "no difference".
    pub p: f64,
    /// Cells after pooling.
    pub cells: usize,
}

/// How small cells find company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// With their neighbour: bins on a scale.
    Neighbours,
    /// With each other: categories have no order.
    Together,
}

/// The test over two histograms of the same bins. Empty sides, or bins that differ in number, leave no cell: p is 1.
#[must_use]
pub fn chi_square(reference: &[u64], current: &[u64], pooling: Pooling) -> ChiSquare {
    let n: u128 = reference.iter().map(|&c| u128::from(c)).sum();
    let m: u128 = current.iter().map(|&c| u128::from(c)).sum();
    if n == 0 || m == 0 || reference.len() != current.len() {
        return ChiSquare { stat: 0.0, dof: 0, p: 1.0, cells: 0 };
    }
    let (n, m) = (n as f64, m as f64);
    let cells = pooled(reference, current, n.min(m) / (n + m), pooling);
    let stat = cells
        .iter()
        .map(|&(a, b)| {
            // (a m - b n)^2 / (n m (a + b)): Pearson's sum over both rows of the table.
            let difference = a / n - b / m;
            difference * difference * (n * m) / (a + b)
        })
        .sum();
    let dof = cells.len().saturating_sub(1) as u32;
    ChiSquare { stat, dof, p: chi2_sf(stat, dof), cells: cells.len() }
}

/// Cells with any row, pooled until each expects [`EXPECTATION_MIN`] on the smaller side.
fn pooled(reference: &[u64], current: &[u64], smaller: f64, pooling: Pooling) -> Vec<(f64, f64)> {
    let expects = |(a, b): (f64, f64)| (a + b) * smaller >= EXPECTATION_MIN;
    let all = reference.iter().zip(current).map(|(&a, &b)| (a as f64, b as f64));
    let all: Vec<(f64, f64)> = all.filter(|(a, b)| a + b > 0.0).collect();
    let add = |x: (f64, f64), y: (f64, f64)| (x.0 + y.0, x.1 + y.1);
    let (mut cells, mut rest) = (Vec::new(), (0.0, 0.0));
    match pooling {
        Pooling::Neighbours => {
            for cell in all {
                rest = add(rest, cell);
                if expects(rest) {
                    cells.push(std::mem::take(&mut rest));
                }
            }
        }
        Pooling::Together => {
            let (large, small): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| expects(*c));
            cells = large;
            rest = small.into_iter().fold(rest, add);
            if expects(rest) {
                cells.push(std::mem::take(&mut rest));
            }
            // What is still too small joins the smallest cell, which comes last.
            cells.sort_by(|x, y| (y.0 + y.1).total_cmp(&(x.0 + x.1)));
        }
    }
    if rest.0 + rest.1 > 0.0 {
        match cells.last_mut() {
            Some(last) => *last = add(*last, rest),
            None => cells.push(rest),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_scipys_chi2_contingency_where_nothing_is_pooled() {
        // scipy.stats.chi2_contingency([[30, 50, 20], [25, 70, 45]])
        let t = chi_square(&[30, 50, 20], &[25, 70, 45], Pooling::Neighbours);
        assert!((t.stat - 6.929070929070929).abs() < 1e-12, "{t:?}");
        assert!((t.p - 0.03128753622120867).abs() < 1e-12, "{t:?}");
        assert_eq!((t.dof, t.cells), (2, 3));
    }
    #[test]
    fn small_cells_are_pooled_with_neighbours_or_with_each_other() {
        let t = chi_square(&[2, 2, 40, 3, 60], &[3, 4, 40, 1, 60], Pooling::Neighbours);
        assert_eq!((t.cells, t.dof), (3, 2));
        let t = chi_square(&[1, 50, 1, 60, 9], &[1, 50, 1, 60, 9], Pooling::Together);
        assert_eq!((t.cells, t.stat), (3, 0.0));
    }
    #[test]
    fn one_cell_or_none_says_nothing() {
        for (a, b) in
            [(vec![9], vec![400]), (vec![0, 0], vec![1, 1]), (vec![], vec![]), (vec![1, 1], vec![1])]
        {
            let t = chi_square(&a, &b, Pooling::Neighbours);
            assert_eq!((t.p, t.dof), (1.0, 0), "{a:?} {b:?}");
        }
    }
    #[test]
    fn counts_beyond_two_to_the_53_do_not_overflow() {
        let t = chi_square(&[1 << 62, 1 << 62], &[1 << 62, 1 << 61], Pooling::Neighbours);
        assert!(t.stat.is_finite() && t.p == 0.0);
    }
}
