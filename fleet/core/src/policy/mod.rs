//! Rollout policies: named TOML files that say in which waves a version spreads and what each wave must prove.
//!
//! A [`Policy`] that exists can be carried out: unknown keys, impossible values and gates of later versions were refused
//! with their line by [`Policy::parse`]. Nothing that is written in a policy is silently ignored.

mod gate;
mod lines;
mod parse;
mod span;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use gate::{Evidence, Gate, OnFail};
pub use lines::PolicyError;
pub use span::{human_duration, parse_duration};

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

/// A maintenance window, in each device's own zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it opens: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// How long it stays open, ms.
    pub duration_ms: u64,
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

/// Which devices a wave takes, of those that no wave before it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// So many.
    Count(u32),
    /// This percentage of all devices of the plan, rounded up.
    Percent(f64),
    /// All that are left.
    Rest,
    /// Those whose label `ring` has this value.
    Ring(String),
    /// Those that have all these labels.
    Labels(BTreeMap<String, String>),
}

impl Select {
    /// The largest number of devices such a wave may hold, of a plan over `all`; `None` when it has no such bound.
    #[must_use]
    pub fn cap(&self, all: usize) -> Option<usize> {
        match self {
            Self::Count(n) => Some(*n as usize),
            Self::Percent(p) => Some((all as f64 * p / 100.0).ceil() as usize),
            Self::Rest | Self::Ring(_) | Self::Labels(_) => None,
        }
    }
    /// Whether a device with these labels may be in the wave.
    #[must_use]
    pub fn admits(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Count(_) | Self::Percent(_) | Self::Rest => true,
            Self::Ring(ring) => labels.get("ring") == Some(ring),
            Self::Labels(want) => want.iter().all(|(k, v)| labels.get(k) == Some(v)),
        }
    }
}
impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(1) => f.write_str("1 device"),
            Self::Count(n) => write!(f, "{n} devices"),
            Self::Percent(p) => write!(f, "{p} %"),
            Self::Rest => f.write_str("the rest"),
            Self::Ring(ring) => write!(f, "ring {ring}"),
            Self::Labels(labels) => {
                let all: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&all.join(", "))
            }
        }
    }
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
}
impl Default for GuardPolicy {
    fn default() -> Self {
        Self { error_rate: 0.2, crashes: 1, p99_percent: 0 }
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
