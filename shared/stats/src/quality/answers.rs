//! What a version answers, in its reference and since: predicted classes, and the score of the answered class.
//!
//! [`ReferenceAnswers::shifts`] is how far answers have moved from the reference, with what chance explains taken off. What
//! always holds: the cells depend on the reference alone; fewer than [`ROWS_MIN`] rows, or a reference of fewer than
//! [`REFERENCE_MIN`], give no figure at all, never a small one.

use serde::{Deserialize, Serialize};

use super::scores::{SCORE_BINS, ScoreTable};
use super::total;
use crate::counters::SCORED_CLASSES_MAX;
use crate::distance;

/// Fewest rows: ten expected ones in the lightest ordinary cell.
pub const ROWS_MIN: u64 = 200;
/// Fewest rows of a reference. Its own chance is part of every figure.
pub const REFERENCE_MIN: u64 = 50;
/// Least share of the reference in one cell, except beside a bin that holds more than half of it.
const CELL_MIN: f64 = 0.05;
/// Standard errors that are allowed for chance in the rows. Who looks every second looks often: one look errs in 3 of 100,000.
const REACH: f64 = 4.0;
/// The same for chance in the reference, which is drawn once.
const REACH_REFERENCE: f64 = 2.0;

/// Answers of a version to its own reference rows. No labels are needed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceAnswers {
    /// Rows by predicted class; empty for a model of so many classes that they are not told apart.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, SCORED_CLASSES_MAX>")]
    pub classes: Vec<u64>,
    /// Rows by the score of the predicted class.
    pub scores: ScoreTable,
}

/// How far counts have moved from a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Population stability index over the cells ([`distance::psi`]).
    pub psi: f64,
    /// What it is on average when nothing has changed: (cells - 1)(1/n + 1/m), of n rows and m reference rows.
    pub chance: f64,
    /// Its standard error by chance in the rows: by linearisation where something has changed, of a chi-square where
    /// nothing has.
    pub spread: f64,
    /// Its standard error by chance in the reference.
    pub spread_reference: f64,
    /// Cells.
    pub cells: usize,
    /// Rows.
    pub rows: u64,
}

impl Shift {
    /// Of counts over the same bins; `None` with too few rows on either side, or where all of the reference is one cell.
    #[must_use]
    pub fn of(reference: &[u64], current: &[u64]) -> Option<Self> {
        let (p, q) = cells(reference, current)?;
        let (m, n) = (total(&p), total(&q));
        if m < REFERENCE_MIN || n < ROWS_MIN || p.len() < 2 {
            return None;
        }
        let psi = distance::psi(&p, &q)?;
        // Laplace's rule: of a cell that was not met it is only known that it is rare.
        let smooth = |counts: &[u64], rows: u64| -> Vec<f64> {
            let all = rows as f64 + counts.len() as f64;
            counts.iter().map(|n| (*n as f64 + 1.0) / all).collect()
        };
        let (p, q) = (smooth(&p, m), smooth(&q, n));
        // Derivatives of sum (p - q) ln(p / q) by each share.
        let by_p = p.iter().zip(&q).map(|(p, q)| (p / q).ln() + (p - q) / p);
        let by_q = p.iter().zip(&q).map(|(p, q)| (p - q) / q - (q / p).ln());
        let free = (p.len() - 1) as f64;
        let spread = |variance: f64, rows: f64| (variance / rows + 2.0 * free / (rows * rows)).sqrt();
        Some(Self {
            psi,
            chance: free * (1.0 / n as f64 + 1.0 / m as f64),
            spread: spread(variance(&q, by_q), n as f64),
            spread_reference: spread(variance(&p, by_p), m as f64),
            cells: p.len(),
            rows: n,
        })
    }
    /// The shift without what is to be expected of chance.
    #[must_use]
    pub fn excess(&self) -> f64 {
        (self.psi - self.chance).max(0.0)
    }
    /// How far off chance may have put it.
    #[must_use]
    pub fn reach(&self) -> f64 {
        (REACH * self.spread).hypot(REACH_REFERENCE * self.spread_reference)
    }
    /// The shift without what chance may have made of it.
    #[must_use]
    pub fn at_least(&self) -> f64 {
        (self.excess() - self.reach()).max(0.0)
    }
}

/// Variance of values over shares.
fn variance(shares: &[f64], values: impl Iterator<Item = f64>) -> f64 {
    let pairs = shares.iter().zip(values);
    let (mean, square) = pairs.fold((0.0, 0.0), |(m, s), (w, v)| (m + w * v, s + w * v * v));
    (square - mean * mean).max(0.0)
}

/// Neighbouring bins together until they hold the least share of the reference; a bin that holds more than half of it
/// stays alone, and so does what is beside it. `None` for different numbers of bins.
fn cells(reference: &[u64], current: &[u64]) -> Option<(Vec<u64>, Vec<u64>)> {
    if reference.len() != current.len() {
        return None;
    }
    let all = total(reference) as f64;
    let heavy = |n: u64| n as f64 * 2.0 > all;
    let mut cells: Vec<(u64, u64)> = Vec::new();
    let mut is_open = false;
    for (r, c) in reference.iter().zip(current) {
        match cells.last_mut() {
            Some(cell) if is_open && !heavy(*r) => {
                *cell = (cell.0.saturating_add(*r), cell.1.saturating_add(*c));
            }
            _ => cells.push((*r, *c)),
        }
        is_open = cells.last().is_some_and(|cell| !heavy(*r) && (cell.0 as f64) < CELL_MIN * all);
    }
    // What is left over at the end is too little for a cell of its own.
    if is_open
        && let [.., before, last] = &mut cells[..]
        && !heavy(before.0)
    {
        *before = (before.0.saturating_add(last.0), before.1.saturating_add(last.1));
        cells.pop();
    }
    Some(cells.into_iter().unzip())
}

/// Shifts of the two things that answers show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shifts {
    /// Of the predicted classes, where they are told apart.
    pub classes: Option<Shift>,
    /// Of the score of the answered class.
    pub scores: Option<Shift>,
}

impl Shifts {
    fn each(&self) -> impl Iterator<Item = Shift> {
        [self.classes, self.scores].into_iter().flatten()
    }
    /// Rows behind it; 0 where there is no figure.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.each().map(|s| s.rows).max().unwrap_or(0)
    }
    /// The one that has surely moved more; `None` where there is no figure.
    #[must_use]
    pub fn surest(&self) -> Option<Shift> {
        self.each().max_by(|a, b| (a.excess() - a.reach()).total_cmp(&(b.excess() - b.reach())))
    }
    /// The one that may have moved more; `None` where there is no figure.
    #[must_use]
    pub fn widest(&self) -> Option<Shift> {
        self.each().max_by(|a, b| (a.excess() + a.reach()).total_cmp(&(b.excess() + b.reach())))
    }
}

impl ReferenceAnswers {
    /// From (predicted class, its score) of each row, of `classes` classes.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = (usize, f64)>, classes: usize) -> Self {
        let tabled = if classes <= SCORED_CLASSES_MAX { classes } else { 0 };
        let (mut counts, mut scores) = (vec![0u64; tabled], ScoreTable::default());
        for (class, score) in rows {
            if let Some(n) = counts.get_mut(class) {
                *n += 1;
            }
            scores.insert(score);
        }
        Self { classes: counts, scores }
    }
    /// Whether it holds what it promises; for what came from outside.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.scores.counts().len() == SCORE_BINS && self.classes.len() <= SCORED_CLASSES_MAX
    }
    /// How far answers are from the reference's: rows by predicted class, and by the score of that class.
    #[must_use]
    pub fn shifts(&self, classes: &[u64], scores: &ScoreTable) -> Shifts {
        Shifts {
            classes: Shift::of(&self.classes, classes),
            scores: Shift::of(self.scores.counts(), scores.counts()),
        }
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
