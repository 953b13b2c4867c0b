//! Two versions on the same rows: who was right (McNemar's test, an interval of the difference of their accuracies), and
//! how far they agree beyond chance (Cohen's kappa).
//!
//! All of them take rows as independent. Rows of one device are not: what is judged over many devices is judged by device.

use serde::{Deserialize, Serialize};

use crate::bounds::Interval;
use crate::quality::proportion::{Share, Z95};
use crate::special::{chi2_sf, ln_choose};

/// Fewer discordant rows than this are tested exactly.
pub const EXACT_BELOW: u64 = 25;

/// Labelled rows by which version was right: the 2 x 2 table of McNemar's test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Judged {
    /// Both were.
    pub both: u64,
    /// The candidate alone.
    pub only_candidate: u64,
    /// The active version alone.
    pub only_active: u64,
    /// Neither.
    pub neither: u64,
}

impl Judged {
    /// Counts a row.
    pub fn insert(&mut self, active_right: bool, candidate_right: bool) {
        let cell = match (active_right, candidate_right) {
            (true, true) => &mut self.both,
            (false, true) => &mut self.only_candidate,
            (true, false) => &mut self.only_active,
            (false, false) => &mut self.neither,
        };
        *cell = cell.saturating_add(1);
    }
    /// Adds `other`, exactly.
    pub fn merge(&mut self, other: &Self) {
        self.both = self.both.saturating_add(other.both);
        self.only_candidate = self.only_candidate.saturating_add(other.only_candidate);
        self.only_active = self.only_active.saturating_add(other.only_active);
        self.neither = self.neither.saturating_add(other.neither);
    }
    /// What was counted since `before`; `None` when a count fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            both: self.both.checked_sub(before.both)?,
            only_candidate: self.only_candidate.checked_sub(before.only_candidate)?,
            only_active: self.only_active.checked_sub(before.only_active)?,
            neither: self.neither.checked_sub(before.neither)?,
        })
    }
    /// Labelled rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let cells = [self.both, self.only_candidate, self.only_active, self.neither];
        cells.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
    /// Accuracy of the candidate; `None` without a labelled row.
    #[must_use]
    pub fn candidate(&self) -> Option<Share> {
        Share::of(self.both.saturating_add(self.only_candidate), self.rows())
    }
    /// Accuracy of the active version; `None` without a labelled row.
    #[must_use]
    pub fn active(&self) -> Option<Share> {
        Share::of(self.both.saturating_add(self.only_active), self.rows())
    }
    /// McNemar's test; `None` while the versions were never right on different rows.
    #[must_use]
    pub fn mcnemar(&self) -> Option<McNemar> {
        mcnemar(self.only_candidate, self.only_active)
    }
    /// The candidate's accuracy less the active version's, and its 95 % interval; `None` without a labelled row.
    #[must_use]
    pub fn difference(&self) -> Option<(f64, Interval)> {
        paired_difference(self, Z95)
    }
}

/// How a p value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The exact two-sided binomial test of the discordant rows.
    ExactBinomial,
    /// The chi-square distribution with Edwards' correction for continuity.
    Edwards,
}

/// Whether one version is right more often than the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemar {
    /// Rows on which exactly one was right.
    pub discordant: u64,
    /// Two-sided.
    pub p: f64,
    /// How it was found.
    pub method: Method,
}

/// McNemar's test (Psychometrika 12, 1947): exact below [`EXACT_BELOW`] discordant rows, from there on chi-square with the
/// correction of Edwards (Psychometrika 13, 1948). Both are conservative (Fagerland, Lydersen, Laake: BMC Medical Research
/// Methodology 13:91, 2013): they do not call a difference that is none. `None` without a discordant row.
#[must_use]
pub fn mcnemar(only_candidate: u64, only_active: u64) -> Option<McNemar> {
    let discordant = only_candidate.saturating_add(only_active);
    if discordant == 0 {
        return None;
    }
    let n = discordant as f64;
    if discordant < EXACT_BELOW {
        let tail =
            (0..=only_candidate.min(only_active)).map(|k| (ln_choose(n, k as f64) - n * 2f64.ln()).exp());
        let p = (2.0 * tail.sum::<f64>()).min(1.0);
        return Some(McNemar { discordant, p, method: Method::ExactBinomial });
    }
    let apart = only_candidate.abs_diff(only_active).saturating_sub(1) as f64;
    Some(McNemar { discordant, p: chi2_sf(apart * apart / n, 1), method: Method::Edwards })
}

/// The difference of two accuracies on the same rows, candidate less active, with Newcombe's interval (Statistics in
/// Medicine 17:2635, 1998, method 10: Wilson's intervals of both, squared and added, their correlation taken off). `None`
/// without a labelled row.
#[must_use]
pub fn paired_difference(rows: &Judged, z: f64) -> Option<(f64, Interval)> {
    let n = rows.rows();
    let share = |hits: u64| Share::with_z(hits, n, z);
    let one = share(rows.both.saturating_add(rows.only_candidate))?;
    let two = share(rows.both.saturating_add(rows.only_active))?;
    let difference = one.value - two.value;
    let (e, f) = (rows.both as f64, rows.only_candidate as f64);
    let (g, h) = (rows.only_active as f64, rows.neither as f64);
    let margins = (e + f) * (g + h) * (e + g) * (f + h);
    let phi = if margins == 0.0 {
        0.0
    } else {
        let (apart, half) = (e * h - f * g, n as f64 / 2.0);
        let corrected = if apart > half {
            apart - half
        } else if apart >= 0.0 {
            0.0
        } else {
            apart
        };
        corrected / margins.sqrt()
    };
    let reach = |a: f64, b: f64| (a * a - 2.0 * phi * a * b + b * b).max(0.0).sqrt();
    let down = reach(one.value - one.interval.lo, two.interval.hi - two.value);
    let up = reach(two.value - two.interval.lo, one.interval.hi - one.value);
    Some((difference, Interval { lo: (difference - down).max(-1.0), hi: (difference + up).min(1.0) }))
}

/// Cohen's kappa: 1 when all rows agree, 0 when no more do than by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Kappa (Educational and Psychological Measurement 20:37, 1960).
    pub kappa: f64,
    /// Its 95 % interval, by the standard error of Fleiss, Cohen and Everitt (Psychological Bulletin 72:323, 1969).
    pub interval: Interval,
    /// Rows.
    pub n: u64,
}

/// Kappa of a table of pairs of classes.
pub(super) fn kappa(classes: usize, cells: impl Iterator<Item = ((u32, u32), u64)>) -> Option<Agreement> {
    let cells: Vec<((usize, usize), u64)> = cells.map(|((a, c), n)| ((a as usize, c as usize), n)).collect();
    let rows = cells.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    if rows == 0 {
        return None;
    }
    let n = rows as f64;
    let (mut active, mut candidate) = (vec![0.0; classes], vec![0.0; classes]);
    let mut observed = 0.0;
    for ((a, c), count) in &cells {
        let share = *count as f64 / n;
        active[*a] += share;
        candidate[*c] += share;
        observed += if a == c { share } else { 0.0 };
    }
    let by_chance: f64 = active.iter().zip(&candidate).map(|(a, c)| a * c).sum();
    if by_chance >= 1.0 {
        return None;
    }
    let (beyond, missed) = (1.0 - by_chance, 1.0 - observed);
    let mut variance = -(observed * by_chance - 2.0 * by_chance + observed).powi(2);
    for ((a, c), count) in &cells {
        let share = *count as f64 / n;
        variance += share
            * if a == c {
                (beyond - (active[*a] + candidate[*a]) * missed).powi(2)
            } else {
                (missed * (candidate[*a] + active[*c])).powi(2)
            };
    }
    let kappa = (observed - by_chance) / beyond;
    let reach = Z95 * (variance.max(0.0) / n).sqrt() / (beyond * beyond);
    let interval = Interval { lo: (kappa - reach).max(-1.0), hi: (kappa + reach).min(1.0) };
    Some(Agreement { kappa, interval, n: rows })
}
