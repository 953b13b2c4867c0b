//! The mean of bounded observations by betting: a gambler who bets against a mean that is true does not get rich.
//!
//! Against every mean m two gamblers bet, one that observations are above m, one that they are below; each starts with half
//! of a coin, and stakes only what he has seen so far tells him to (predictable plug-in). If m is the mean, neither has
//! 1 / alpha coins at any time but with probability alpha (Ville 1939); so the means against which nobody got rich are a
//! confidence sequence. Waudby-Smith and Ramdas 2023, theorem 3, with c = 1/2: the hedged capital process.

use super::{SequenceError, bounded, error_probability};
use crate::bounds::Interval;

/// Of a gambler's coins, the most he puts at risk.
const AT_RISK: f64 = 0.5;
/// Means that are looked at: the interval is rounded outwards to these.
const CELLS: usize = 1000;

/// What the next stake is made of: everything seen so far and nothing else.
#[derive(Debug, Clone, Copy)]
struct Stakes {
    ln_limit: f64,
    n: f64,
    sum: f64,
    squares: f64,
}

impl Stakes {
    /// Stakes for somebody who wants `coins` coins.
    fn new(coins: f64) -> Self {
        Self { ln_limit: coins.ln(), n: 0.0, sum: 0.0, squares: 0.0 }
    }
    fn next(&self) -> f64 {
        let variance = (0.25 + self.squares) / (self.n + 1.0);
        let t = self.n + 1.0;
        (2.0 * self.ln_limit / (variance * t * (1.0 + t).ln())).sqrt()
    }
    fn see(&mut self, x: f64) {
        self.n += 1.0;
        self.sum += x;
        let mean = (0.5 + self.sum) / (self.n + 1.0);
        self.squares += (x - mean).powi(2);
    }
}

/// ln of what a gambler makes of one coin who bets that the mean of `values` (in this order, each in [0, 1]) is above
/// `mean`. It reaches ln(1 / `alpha`) with probability `alpha` at most if the mean is `mean` or less, also when the
/// observations never end and one looks after each; `alpha` says what he plays for.
///
/// # Errors
/// [`SequenceError`] for a value or mean outside [0, 1] or no alpha.
pub fn ln_wealth_above(
    values: impl IntoIterator<Item = f64>,
    mean: f64,
    alpha: f64,
) -> Result<f64, SequenceError> {
    let m = bounded(mean)?;
    let mut stakes = Stakes::new(1.0 / error_probability(alpha)?);
    let mut wealth = 0.0;
    for x in values {
        let x = bounded(x)?;
        wealth += (1.0 + stakes.next().min(AT_RISK / m) * (x - m)).ln();
        stakes.see(x);
    }
    Ok(wealth)
}

/// A confidence sequence for the mean of observations in [0, 1] that come one after the other.
#[derive(Debug, Clone)]
pub struct Hedged {
    ln_rich: f64,
    stakes: Stakes,
    /// For each mean, ln of the coins of those who bet on more and on less.
    coins: Vec<(f64, f64)>,
    /// Means below the first and above the second are excluded, for good.
    open: (usize, usize),
}

impl Hedged {
    /// One that errs with probability `alpha`, over all looks.
    ///
    /// # Errors
    /// [`SequenceError::Alpha`].
    pub fn new(alpha: f64) -> Result<Self, SequenceError> {
        let alpha = error_probability(alpha)?;
        Ok(Self {
            // Each of the two starts with half of a coin.
            ln_rich: (2.0 / alpha).ln(),
            stakes: Stakes::new(2.0 / alpha),
            coins: vec![(0.0, 0.0); CELLS + 1],
            open: (0, CELLS),
        })
    }
    /// One more observation.
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`]; then nothing has changed.
    pub fn observe(&mut self, value: f64) -> Result<(), SequenceError> {
        let x = bounded(value)?;
        let stake = self.stakes.next();
        for (i, (more, less)) in self.coins.iter_mut().enumerate() {
            let m = i as f64 / CELLS as f64;
            *more += (1.0 + stake.min(AT_RISK / m) * (x - m)).ln();
            *less += (1.0 - stake.min(AT_RISK / (1.0 - m)) * (x - m)).ln();
        }
        self.stakes.see(x);
        let rich = self.ln_rich;
        let below = self.coins.iter().rposition(|(more, _)| *more >= rich);
        let above = self.coins.iter().position(|(_, less)| *less >= rich);
        let (lo, hi) = (self.open.0.max(below.unwrap_or(0)), self.open.1.min(above.unwrap_or(CELLS)));
        // Where nothing would be left, one of the two is wrong, which alpha allows for: what was left stays.
        if lo <= hi {
            self.open = (lo, hi);
        }
        Ok(())
    }
    /// Observations so far.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.stakes.n as u64
    }
    /// Their mean; `None` before the first.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.stakes.n > 0.0).then(|| self.stakes.sum / self.stakes.n)
    }
    /// The means that are left. Before the first observation that is all of them. It never widens.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let at = |i: usize| i as f64 / CELLS as f64;
        Interval { lo: at(self.open.0), hi: at(self.open.1) }
    }
}

#[cfg(test)]
#[path = "betting_tests.rs"]
mod tests;
