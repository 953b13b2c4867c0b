//! How likely a wave is to notice a harm before its time is over: what the rehearsal promises.

use longshore_stats::sequence::mixture;
use longshore_stats::special::normal_cdf;
use serde::{Deserialize, Serialize};

use super::ICC;
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

/// The chance that a wave like `canary`, one of `waves`, notices `harm`. `None` when the policy has no such gate.
#[must_use]
pub fn power(gate: &Gate, waves: usize, canary: &Canary, harm: Harm) -> Option<Power> {
    let hours = gate.deadline_ms as f64 / 3_600_000.0;
    let (margin, size, before, rate) = match harm {
        Harm::Accuracy(d) => (gate.accuracy_drop?, d, 1.0 - canary.accuracy, canary.labelled_share),
        Harm::Errors(d) => (f64::INFINITY, d, canary.error_rate, 1.0),
    };
    let per_device = canary.rows_per_hour * rate;
    let after = (before + size).clamp(0.0, 1.0);
    let devices = f64::from(canary.devices.max(1));
    let se = |h: f64| {
        let rows = |p: f64, h: f64| p * (1.0 - p) * (1.0 / (per_device * h).max(1.0) + ICC);
        ((rows(before, canary.history_h) + rows(after, h)) / devices).sqrt()
    };
    let alpha = gate.alpha / waves.max(1) as f64;
    let reach = mixture::reach(alpha, mixture::BEST).ok()?;
    let beyond = (size - margin) / se(hours);
    Some(Power {
        proven: normal_cdf(beyond - reach),
        stopped: normal_cdf(beyond - 1.0),
        rows: per_device * hours * devices,
    })
}
