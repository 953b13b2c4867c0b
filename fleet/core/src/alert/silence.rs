//! Silences: whom somebody has told to be quiet, about what, until when, and why. A silenced alert lives on; nobody is told.

use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};

use super::Cause;
use super::rule::{Rule, Severity, matches_pattern};

/// What is silenced. What is left out fits everything; at least one thing is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matcher {
    /// Name of the rule; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Model; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Cohort as it is written; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<String>,
    /// Severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

impl Matcher {
    /// Whether it names nothing and would silence the whole fleet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    /// Whether an alert of this cause and rule is meant.
    #[must_use]
    pub fn fits(&self, cause: &Cause, severity: Severity) -> bool {
        let like = |want: &Option<String>, got: &str| {
            want.as_deref().is_none_or(|pattern| matches_pattern(pattern, got))
        };
        like(&self.rule, &cause.rule)
            && like(&self.model, &cause.model)
            && like(&self.cohort, &cause.cohort)
            && self.severity.is_none_or(|s| s == severity)
    }
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// What.
    pub matcher: Matcher,
    /// Until when.
    pub until: UnixMs,
}

/// Whether one of them is in force for an alert.
#[must_use]
pub fn is_silenced(silences: &[Silence], cause: &Cause, rule: &Rule, now: UnixMs) -> bool {
    silences.iter().any(|s| s.until > now && s.matcher.fits(cause, rule.severity))
}
