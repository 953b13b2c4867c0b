//! Rollout policies: named TOML files that say in which waves a version spreads and what each wave must prove.
//!
//! A [`Policy`] that exists can be carried out: unknown keys, impossible values and gates of later versions were refused
//! with their line by [`Policy::parse`]. Nothing that is written in a policy is silently ignored.

mod explain;
mod expression;
mod gate;
mod lines;
mod parse;
mod select;
mod span;
mod window;

use serde::{Deserialize, Serialize};

pub use expression::{Expression, ExpressionError};
pub use gate::{Evidence, Gate, OnFail};
pub use lines::PolicyError;
pub use select::Select;
pub use span::{human_bandwidth, human_duration, parse_bandwidth, parse_duration};
pub use window::{Opening, Schedule, ScheduleError, Window};

/// The policies that come with the server: name and text.
pub const SHIPPED: [(&str, &str); 3] = [
    ("careful", include_str!("../../policies/careful.toml")),
    ("fast", include_str!("../../policies/fast.toml")),
    ("emergency", include_str!("../../policies/emergency.toml")),
];

/// The text of a shipped policy.
#[must_use]
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// How a version spreads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Waves, in order; at least one.
    pub waves: Vec<WavePolicy>,
    /// What every wave must prove.
    pub gate: Gate,
    /// When a device goes back by itself.
    pub guard: GuardPolicy,
    /// When devices may take a version; at any time without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Bytes per second that all devices of the rollout download together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Of two rollouts of a model that want a device, the one with the higher priority gets it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// A second person must say yes to a plan before it starts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub authorize: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WavePolicy {
    /// Which devices.
    pub select: Select,
    /// A wave that selects nothing is skipped instead of refused.
    pub optional: bool,
    /// How long the version runs beside the active one before it serves, ms; 0 is not at all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shadow_ms: u64,
    /// Most devices that are offered the version in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_minute: Option<u32>,
    /// How long its devices run the version before it is judged, ms.
    pub soak_ms: u64,
    /// Shortest probation on a device, ms.
    pub probation_ms: u64,
    /// Length of the lease under which a device runs the version until the wave has passed, ms (the last wave commits
    /// locally and has none).
    pub lease_ms: u64,
}

/// When a device goes back by itself, in probation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GuardPolicy {
    /// More than this share of rows fails.
    pub error_rate: f64,
    /// So many engine crashes.
    pub crashes: u16,
    /// p99 latency above this many percent of the previous version's; 0 is off.
    pub p99_percent: u16,
    /// Answers whose PSI from the bundle's own reference exceeds the previous bundle's from its own by more than this; 0 is
    /// off.
    #[serde(default, skip_serializing_if = "is_off")]
    pub score_shift: f64,
}
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_off(limit: &f64) -> bool {
    *limit == 0.0
}
impl Default for GuardPolicy {
    fn default() -> Self {
        Self { error_rate: 0.2, crashes: 1, p99_percent: 0, score_shift: 0.0 }
    }
}

impl Policy {
    /// Whether anything in it takes versions back, which needs a signed way back.
    #[must_use]
    pub fn reverts(&self) -> bool {
        self.gate.on_fail == OnFail::Revert || self.gate.on_inconclusive == OnFail::Revert
    }
}

#[cfg(test)]
mod tests;
