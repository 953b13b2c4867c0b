//! How likely a wave is to notice a harm before its time is over: what the rehearsal promises.
//!
//! Not a formula, which would have to repeat every rule of the gate and get one of them wrong: the wave is played through,
//! always with the same dice, and the very gate that will judge it is asked at every look. Devices differ in what the
//! version does to them as much as the gate assumes of small waves ([`ICC`]).

use serde::{Deserialize, Serialize};

use super::harm::Asked;
use super::{ICC, Outcome, Tally, accuracy, figures, harm_of};
use crate::policy::Gate;

/// What is known of a wave before it opens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canary {
    /// Devices that can be reached.
    pub devices: u32,
    /// Rows that one of them answers in an hour.
    pub rows_per_hour: f64,
    /// Share of these that get a label.
    pub labelled_share: f64,
    /// Hours of the previous version that were counted before.
    pub history_h: f64,
    /// Share of right answers of the previous version.
    pub accuracy: f64,
    /// Share of rows that failed with it.
    pub error_rate: f64,
    /// How long the wave soaks, ms; it is judged from then to its deadline.
    pub soak_ms: u64,
    /// The version runs in shadow first: that has a part of the accuracy gate's alpha.
    pub has_shadow: bool,
}

/// A harm that the version may do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// So much less of its answers are right (0.05: five points).
    Accuracy(f64),
    /// So much more of its rows fail.
    Errors(f64),
}

/// What a wave makes of a harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// Probability that the harm is proven by the deadline: the wave fails.
    pub proven: f64,
    /// Probability that the wave does not pass: the harm is proven, or the deadline comes first.
    pub stopped: f64,
    /// Rows that speak, of all its devices, by the deadline: labelled ones for [`Harm::Accuracy`].
    pub rows: f64,
}

/// Looks from the opening of a wave to its deadline.
const LOOKS: u32 = 48;
/// Waves that are played, and devices in all of them at most (a large wave leaves little to chance).
const WAVES: u32 = 1000;
const DEVICES: u32 = 20_000;
/// Devices of a wave that are played; a larger one notices at least as much as so many.
const PLAYED_DEVICES: u32 = 300;

/// So many rows are drawn one by one.
const ONE_BY_ONE: u64 = 60;

/// Dice that always fall alike.
struct Dice(u64);

impl Dice {
    /// Evenly over 0 to 1, neither of them (splitmix64: Steele, Lea and Flood 2014).
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
    /// Standard normal (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.even().ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos()
    }
    /// How often something of chance `p` happens in `n` rows; few are drawn one by one, because a normal number that is cut
    /// off at `n` has another mean.
    fn hits(&mut self, n: u64, p: f64) -> u64 {
        if n <= ONE_BY_ONE {
            return (0..n).map(|_| u64::from(self.even() < p)).sum();
        }
        let n_p = n as f64 * p;
        let drawn = (n_p + self.normal() * (n_p * (1.0 - p)).sqrt()).round();
        (drawn.max(0.0) as u64).min(n)
    }
}

/// The chance that a wave like `canary`, one of `waves`, notices `harm`. `None` when the policy has no such gate, or nothing
/// is known of the previous version.
#[must_use]
pub fn power(gate: &Gate, waves: usize, canary: &Canary, harm: Harm) -> Option<Power> {
    let asked = harm_of(gate, waves, canary, harm)?;
    let labelled = matches!(harm, Harm::Accuracy(_));
    let per_hour = canary.rows_per_hour * if labelled { canary.labelled_share } else { 1.0 };
    let deadline_h = gate.deadline_ms as f64 / 3_600_000.0;
    let sound = |v: f64, most: f64| if v.is_nan() { 0.0 } else { v.clamp(0.0, most) };
    let rows = per_hour * deadline_h * f64::from(canary.devices);
    let devices = canary.devices.clamp(1, PLAYED_DEVICES);
    let canary = &Canary {
        devices,
        rows_per_hour: sound(canary.rows_per_hour, 1e9),
        labelled_share: sound(canary.labelled_share, 1.0),
        history_h: sound(canary.history_h, 1e5),
        ..*canary
    };
    let played = WAVES.min(DEVICES.div_ceil(devices)).max(100);
    let mut dice = Dice(0x1005_0e5a);
    let (mut proven, mut passed) = (0u32, 0u32);
    for _ in 0..played {
        match play(gate, &asked, canary, harm, &mut dice) {
            Outcome::Fail => proven += 1,
            Outcome::Pass | Outcome::NotApplicable => passed += 1,
            Outcome::NotYet | Outcome::Inconclusive => {}
        }
    }
    let share = |n: u32| f64::from(n) / f64::from(played);
    Some(Power { proven: share(proven), stopped: 1.0 - share(passed), rows })
}

/// One wave, to its end.
fn play(gate: &Gate, asked: &Asked, canary: &Canary, harm: Harm, dice: &mut Dice) -> Outcome {
    let (mut both, rates): (Vec<(Tally, Tally)>, Vec<f64>) =
        (0..canary.devices).map(|_| device(canary, harm, dice)).unzip();
    for look in 1..=LOOKS {
        let upto = |k: u32| gate.deadline_ms as f64 * f64::from(k) / f64::from(LOOKS);
        let rows_at = |k: u32| (canary.rows_per_hour * upto(k) / 3_600_000.0) as u64;
        let labels_at =
            |k: u32| (canary.rows_per_hour * canary.labelled_share * upto(k) / 3_600_000.0) as u64;
        let rows = rows_at(look) - rows_at(look - 1);
        let labels = labels_at(look) - labels_at(look - 1);
        for ((_, new), rate) in both.iter_mut().zip(&rates) {
            match harm {
                Harm::Accuracy(_) => {
                    new.rows += rows;
                    new.labelled += labels;
                    new.correct += dice.hits(labels, *rate);
                }
                Harm::Errors(_) => {
                    let errors = dice.hits(rows, *rate);
                    new.rows += rows - errors;
                    new.errors += errors;
                }
            }
        }
        let outcome = match harm {
            Harm::Accuracy(_) => accuracy::outcome(gate.min_labelled, asked, &both),
            Harm::Errors(_) => figures::errors_outcome(asked, &both),
        };
        let total = both.iter().fold(0u64, |n, (_, new)| n.saturating_add(new.rows));
        let ripe = upto(look) >= canary.soak_ms as f64 && total >= gate.min_rows;
        match outcome {
            Outcome::Fail => return Outcome::Fail,
            Outcome::Pass | Outcome::NotApplicable if ripe => return Outcome::Pass,
            _ => {}
        }
    }
    Outcome::Inconclusive
}

/// A device with its past, and the chance per row that the new version is right (or fails) on it.
fn device(canary: &Canary, harm: Harm, dice: &mut Dice) -> ((Tally, Tally), f64) {
    let per_row = |p: f64| p.clamp(0.0, 1.0) * (1.0 - p.clamp(0.0, 1.0));
    let rows = (canary.rows_per_hour * canary.history_h).max(0.0) as u64;
    let mut champion = Tally { rows, ..Tally::default() };
    let rate = match harm {
        Harm::Accuracy(d) => {
            champion.labelled = (rows as f64 * canary.labelled_share) as u64;
            champion.correct = dice.hits(champion.labelled, canary.accuracy);
            let mean = canary.accuracy - d;
            mean + dice.normal() * (ICC * (per_row(canary.accuracy) + per_row(mean))).sqrt()
        }
        Harm::Errors(d) => {
            champion.errors = dice.hits(rows, canary.error_rate);
            champion.rows -= champion.errors;
            let mean = canary.error_rate + d;
            mean + dice.normal() * (ICC * (per_row(canary.error_rate) + per_row(mean))).sqrt()
        }
    };
    ((champion, Tally::default()), rate.clamp(0.0, 1.0))
}
