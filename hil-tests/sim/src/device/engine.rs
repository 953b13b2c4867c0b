//! What a device's model answers: rows, errors, labels, drawn from a synthetic model with an effect of the device.
//!
//! An effect of the device falls on every version alike; rows within a device are correlated by it (ICC). What a version
//! does to accuracy comes on top.

use longshore_trust::UnixMs;

use crate::env::{Env, purpose};
use crate::message::{BundleNo, Window};
use crate::queue::Ix;
use crate::rng::Rng;

/// The first bundle that the scenario's changes are about.
const NEW: BundleNo = 2;

/// One device's engine.
#[derive(Debug, Clone)]
pub struct Engine {
    rng: Rng,
    /// Added to the share of right answers of every version.
    effect: f64,
    /// Rows that are not whole yet.
    carry: f64,
    /// Up to here everything was counted.
    counted: UnixMs,
    /// This device fails the trial of new versions.
    pub fails_trial: bool,
    /// New versions crash the engine here.
    pub crashes: bool,
}

impl Engine {
    /// Of a device.
    #[must_use]
    pub fn new(ix: Ix, env: &Env) -> Self {
        let mut rng = Rng::new(env.seed, purpose::ENGINE, u64::from(ix));
        let p = env.model.accuracy;
        let effect = rng.normal() * (env.model.icc * p * (1.0 - p)).sqrt();
        let fails_trial = rng.chance(env.model.trial_failures);
        let crashes = rng.chance(env.model.crashes);
        Self { rng, effect, carry: 0.0, counted: env.now, fails_trial, crashes }
    }
    /// Counts from the last time until `until`, for what answered in between.
    pub fn count(&mut self, env: &Env, open: &mut Vec<Window>, serving: Option<BundleNo>, until: UnixMs) {
        let span = until.since(self.counted);
        self.counted = self.counted.max(until);
        let Some(bundle) = serving.filter(|_| span > 0) else { return };
        let rows = f64::from(env.model.rows_per_hour) * span as f64 / 3_600_000.0 + self.carry;
        self.carry = rows.fract();
        let w = self.draw(env, bundle, rows as u64);
        match open.iter_mut().find(|o| o.bundle == bundle) {
            Some(o) => {
                o.rows += w.rows;
                o.errors += w.errors;
                o.labelled += w.labelled;
                o.correct += w.correct;
            }
            None => open.push(w),
        }
    }
    /// Nothing before `now` is counted any more.
    pub fn skip_to(&mut self, now: UnixMs) {
        self.counted = now;
    }
    /// So many rows of a bundle.
    pub fn draw(&mut self, env: &Env, bundle: BundleNo, rows: u64) -> Window {
        let m = &env.model;
        let new = bundle >= NEW;
        let errors = if new { self.rng.binomial(rows, m.error_rate) } else { 0 };
        let rows = rows - errors;
        let labelled = self.rng.binomial(rows, m.labelled);
        let loss = if new { m.regression_points / 100.0 } else { 0.0 };
        let right = (m.accuracy + self.effect - loss).clamp(0.0, 1.0);
        let correct = self.rng.binomial(labelled, right);
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Window {
            first: 0,
            last: 0,
            bundle,
            rows: small(rows),
            errors: small(errors),
            labelled: small(labelled),
            correct: small(correct),
            shadow: 0,
        }
    }
}
