//! Which devices a wave takes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Expression;
use crate::wording::counted;

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
    /// Those for whose labels this holds.
    Where(Expression),
}

impl Select {
    /// The largest number of devices such a wave may hold, of a plan over `all`; `None` when it has no such bound.
    #[must_use]
    pub fn cap(&self, all: usize) -> Option<usize> {
        match self {
            Self::Count(n) => Some(*n as usize),
            Self::Percent(p) => Some((all as f64 * p / 100.0).ceil() as usize),
            Self::Rest | Self::Ring(_) | Self::Labels(_) | Self::Where(_) => None,
        }
    }
    /// Whether a device with these labels may be in the wave.
    #[must_use]
    pub fn admits(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Count(_) | Self::Percent(_) | Self::Rest => true,
            Self::Ring(ring) => labels.get("ring") == Some(ring),
            Self::Labels(want) => want.iter().all(|(k, v)| labels.get(k) == Some(v)),
            Self::Where(expression) => expression.holds(labels),
        }
    }
    /// The labels it asks about.
    #[must_use]
    pub fn labels(&self) -> Vec<&str> {
        match self {
            Self::Count(_) | Self::Percent(_) | Self::Rest => Vec::new(),
            Self::Ring(_) => vec!["ring"],
            Self::Labels(want) => want.keys().map(String::as_str).collect(),
            Self::Where(expression) => expression.labels(),
        }
    }
}
impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(1) => f.write_str("1 device"),
            Self::Count(n) => f.write_str(&counted(*n, "device")),
            Self::Percent(p) => write!(f, "{p} %"),
            Self::Rest => f.write_str("the rest"),
            Self::Ring(ring) => write!(f, "ring {ring}"),
            Self::Labels(labels) => {
                let all: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&all.join(", "))
            }
            Self::Where(expression) => write!(f, "where {expression}"),
        }
    }
}
