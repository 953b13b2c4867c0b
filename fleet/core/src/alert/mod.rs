//! Alerts: which facts are one cause, when a person is told of it, and when no longer.
//!
//! Facts ([`facts`]) are judged by rules ([`rule`]); what a rule finds ([`evaluate`]) is a condition of one cause; the state
//! machine ([`state`]) turns conditions over time into alerts and notices; [`delivery`] says what becomes of a notice that a
//! receiver did not take.
//!
//! What always holds: one cause (rule, model, cohort) has one open alert, however many features, versions or devices take part
//! in it; what cannot be measured neither fires nor resolves; an alert that nobody acknowledged is told again on a schedule;
//! the number of notices in a span of time is bounded, however an alert flaps.

pub mod delivery;
pub mod entry;
pub mod evaluate;
pub mod facts;
pub mod monitored;
pub mod receiver;
pub mod rule;
pub mod settings;
pub mod silence;
pub mod state;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use evaluate::{Condition, Evidence, Seen};
pub use facts::Facts;
pub use receiver::{Receiver, ReceiverKind, Topic};
pub use rule::{Kind, Rule, Severity};
pub use settings::{AlertConfigError, Settings};
pub use silence::Silence;
pub use state::{Acknowledged, Alert, Change, Notice, State};

/// The rules that hold when a configuration names none.
pub const SHIPPED_RULES: &str = include_str!("../../alerts/default.toml");

/// What an alert is about. Everything with the same cause is one alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// Name of the rule.
    pub rule: String,
    /// The model; empty for what is about devices or the fleet.
    pub model: String,
    /// The cohort as it is written, `fleet` for everybody.
    pub cohort: String,
}

impl fmt::Display for Cause {
    /// The fingerprint: unique, because none of the parts can hold a `|` but the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.rule, self.model, self.cohort)
    }
}

#[cfg(test)]
mod evaluate_tests;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod state_tests;
