//! Has a feature drifted? One calibrated test, one effect size, four possible answers.
//!
//! The test is Pearson's chi-square on 8 nested bins (16 when both sides have 5,000 rows or more): it keeps its promised
//! rate of false alarms at every window size, which thresholds on a distance do not. What has no place on the scale
//! (missing, NaN, infinite, of another type) is one further cell, so that a feature that vanishes is found. The population
//! stability index over the same cells is the effect size beside it. Too few rows give `Insufficient`, never "no drift".

use crate::bounds::{Bounds, Interval, bounds};
use crate::contingency::{ChiSquare, Pooling, chi_square};
use crate::distance::{Distances, psi, shares};
use crate::nesting::{self, Level};
use crate::profile::{FeatureProfile, FeatureValues};
use crate::window::FeatureWindow;

/// Expected rows a bin that a test needs.
pub const ROWS_PER_BIN: u64 = 10;
/// From this many rows on both sides the test uses 16 bins.
pub const ROWS_FOR_16_BINS: u64 = 5_000;
/// z of the two-sided 95 % intervals.
const Z95: f64 = 1.959_963_984_540_054;

/// When a difference counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Rate of false alarms that is accepted.
    pub alpha: f64,
    /// Least effect (population stability index) that is called drift, however sure we are of it.
    pub effect_min: f64,
    /// An effect that would matter: while it cannot be excluded, "no difference found" is `Undecided`.
    pub effect_material: f64,
}

impl Default for Policy {
    /// alpha 0.01; drift from 0.02 (a shift of about 0.15 standard deviations); 0.1 matters (about 0.3).
    fn default() -> Self {
        Self { alpha: 0.01, effect_min: 0.02, effect_material: 0.1 }
    }
}

/// What the data say about one feature, before anybody decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Rows of the reference, values without a place on the scale included.
    pub n: u64,
    /// Rows of the window, likewise.
    pub m: u64,
    /// Cells with any row, before pooling.
    pub bins: usize,
    /// Rows that either side needs for a test.
    pub rows_needed: u64,
    /// The test.
    pub chi2: ChiSquare,
    /// Population stability index over the test's cells; NaN when a side is empty.
    pub effect: f64,
    /// 95 % interval of the effect.
    pub interval: Interval,
}

impl Evidence {
    /// Whether both sides have the rows the test needs.
    #[must_use]
    pub fn is_sufficient(&self) -> bool {
        self.bins > 0 && self.n.min(self.m) >= self.rows_needed
    }
    /// The test's p where there are rows enough, else NaN (for [`crate::fdr::adjusted`]).
    #[must_use]
    pub fn p(&self) -> f64 {
        if self.is_sufficient() { self.chi2.p } else { f64::NAN }
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// No difference that matters: none was found and none that matters can be hidden, or it is smaller than
    /// [`Policy::effect_min`].
    Stable {
        /// Population stability index.
        effect: f64,
        /// Its 95 % interval.
        interval: Interval,
    },
    /// A difference that is neither chance nor small.
    Drifted {
        /// Population stability index.
        effect: f64,
        /// Its 95 % interval.
        interval: Interval,
    },
    /// No difference was found, but the rows are too few to exclude one that matters.
    Undecided {
        /// Population stability index.
        effect: f64,
        /// Its 95 % interval.
        interval: Interval,
    },
    /// Too few rows for any test.
    Insufficient {
        /// Rows of the smaller side.
        rows: u64,
        /// Rows it would need.
        needed: u64,
    },
}

impl Verdict {
    /// `stable`, `drifted`, `undecided` or `insufficient`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stable { .. } => "stable",
            Self::Drifted { .. } => "drifted",
            Self::Undecided { .. } => "undecided",
            Self::Insufficient { .. } => "insufficient",
        }
    }
}

/// Decides. `p` is the p-value of the test, corrected for as many tests as are looked at together.
#[must_use]
pub fn verdict(evidence: &Evidence, p: f64, policy: &Policy) -> Verdict {
    let (effect, interval) = (evidence.effect, evidence.interval);
    if !evidence.is_sufficient() || effect.is_nan() {
        return Verdict::Insufficient { rows: evidence.n.min(evidence.m), needed: evidence.rows_needed };
    }
    let significant = p <= policy.alpha;
    if significant && effect >= policy.effect_min {
        Verdict::Drifted { effect, interval }
    } else if interval.hi >= policy.effect_material {
        Verdict::Undecided { effect, interval }
    } else {
        Verdict::Stable { effect, interval }
    }
}

/// Everything that can be said of one feature of a window against its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureDrift {
    /// Test and effect.
    pub evidence: Evidence,
    /// Distances over the window's own bins; `None` when a side has no value on the scale.
    pub distances: Option<Distances>,
    /// Guaranteed intervals of KS and W1 (numbers only), `None` as for distances.
    pub bounds: Option<Bounds>,
}

/// Compares a window with its reference. `level` is the window's.
#[must_use]
pub fn compare(reference: &FeatureProfile, window: &FeatureWindow, level: Level) -> FeatureDrift {
    let mut whole = FeatureWindow::from(reference);
    let mut limits = None;
    if let FeatureValues::Numeric(h) = &reference.values {
        let coarse = h.at_level(level);
        limits = bounds(&coarse, window);
        whole.counts = coarse.counts;
    }
    FeatureDrift {
        evidence: evidence(reference, level, &whole, window),
        distances: Distances::of(&whole.counts, &window.counts),
        bounds: limits,
    }
}

/// Test and effect between two windows of the same reference and level: cohort against cohort, week against week. Nothing
/// can be said of a window of another shape: its effect is NaN, its verdict `Insufficient`.
#[must_use]
pub fn evidence(reference: &FeatureProfile, level: Level, a: &FeatureWindow, b: &FeatureWindow) -> Evidence {
    let rows = |w: &FeatureWindow| w.counted().saturating_add(w.absent());
    let (n, m) = (rows(a), rows(b));
    let (starts, pooling) = match &reference.values {
        FeatureValues::Numeric(h) => {
            let wide = n.min(m) >= ROWS_FOR_16_BINS;
            let target = if wide { Level::Bins16 } else { Level::Bins8 };
            (test_groups(&h.counts, level, target), Pooling::Neighbours)
        }
        FeatureValues::Categorical(c) => ((0..=c.vocabulary.len()).collect(), Pooling::Together),
    };
    let cells = |w: &FeatureWindow| {
        let mut cells = nesting::grouped(&w.counts, &starts);
        cells.push(w.absent());
        cells
    };
    let fit = [a, b].iter().all(|w| w.counts.len() == reference.cells(level));
    let both = if fit { (cells(a), cells(b)) } else { (Vec::new(), Vec::new()) };
    let (left, right): (Vec<u64>, Vec<u64>) =
        both.0.into_iter().zip(both.1).filter(|(x, y)| *x > 0 || *y > 0).unzip();
    let chi2 = chi_square(&left, &right, pooling);
    let bins = match pooling {
        Pooling::Neighbours => left.len(),
        Pooling::Together => chi2.cells,
    };
    let effect = psi(&left, &right).unwrap_or(f64::NAN);
    Evidence {
        n,
        m,
        bins,
        rows_needed: ROWS_PER_BIN * bins.max(2) as u64,
        chi2,
        effect,
        interval: effect_interval(&left, &right, effect),
    }
}

/// First bins of the test's groups, as positions among the groups of the window's level.
fn test_groups(finest: &[u64], level: Level, target: Level) -> Vec<usize> {
    let from = nesting::starts(finest, level);
    let to = nesting::starts(finest, target.max(level));
    to.iter().filter_map(|start| from.iter().position(|s| s == start)).collect()
}

/// 95 % interval of the population stability index.
///
/// The estimate is too high by about k (1/n + 1/m), k degrees of freedom, because chance differences never cancel
/// (Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020). The variance is the delta
/// method's plus the 2k (1/n + 1/m)^2 that is left when nothing differs. The interval always holds the estimate.
fn effect_interval(reference: &[u64], current: &[u64], effect: f64) -> Interval {
    let (Some(p), Some(q)) = (shares(reference), shares(current)) else {
        return Interval { lo: f64::NAN, hi: f64::NAN };
    };
    let rows = |c: &[u64]| c.iter().map(|&n| n as f64).sum::<f64>();
    let (n, m) = (rows(reference), rows(current));
    let floor = |s: f64| if s == 0.0 { crate::distance::PSI_FLOOR } else { s };
    // Gradients of sum (p - q) ln(p / q).
    let slopes = p.iter().zip(&q).map(|(p, q)| {
        let (a, b) = (floor(*p), floor(*q));
        let ln = (a / b).ln();
        (*p, ln + 1.0 - b / a, *q, -ln + 1.0 - a / b)
    });
    let (mut p1, mut p2, mut q1, mut q2) = (0.0, 0.0, 0.0, 0.0);
    for (p, up, q, uq) in slopes {
        p1 += p * up;
        p2 += p * up * up;
        q1 += q * uq;
        q2 += q * uq * uq;
    }
    let noise = 1.0 / n + 1.0 / m;
    let k = p.len().saturating_sub(1) as f64;
    let variance = (p2 - p1 * p1).max(0.0) / n + (q2 - q1 * q1).max(0.0) / m + 2.0 * k * noise * noise;
    let (centre, reach) = ((effect - k * noise).max(0.0), Z95 * variance.sqrt());
    Interval { lo: (centre - reach).max(0.0), hi: (centre + reach).max(effect) }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;
