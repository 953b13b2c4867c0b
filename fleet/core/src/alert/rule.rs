//! Rules: what is looked at, from which value on it matters, for how long, and who is told.
//!
//! A [`Rule`] that exists can be judged: [`super::Settings`] has refused what cannot, with its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Features whose verdict is drift: significance and effect.
    Drift,
    /// Accuracy from labels.
    Accuracy,
    /// Accuracy estimated without labels.
    AccuracyEstimated,
    /// Difference between declared groups.
    Fairness,
    /// 99th percentile of latency.
    Latency,
    /// Share of rows that failed.
    ErrorRate,
    /// Devices that should have reported.
    Silence,
    /// Trust metadata that ends soon.
    TrustExpiry,
    /// Losses in the gap ledger.
    Gaps,
    /// Free disk of devices.
    Disk,
    /// Temperature of devices.
    Temperature,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Drift,
        Self::Accuracy,
        Self::AccuracyEstimated,
        Self::Fairness,
        Self::Latency,
        Self::ErrorRate,
        Self::Silence,
        Self::TrustExpiry,
        Self::Gaps,
        Self::Disk,
        Self::Temperature,
    ];
    /// As in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Accuracy => "accuracy",
            Self::AccuracyEstimated => "accuracy_estimated",
            Self::Fairness => "fairness",
            Self::Latency => "latency",
            Self::ErrorRate => "error_rate",
            Self::Silence => "silence",
            Self::TrustExpiry => "trust_expiry",
            Self::Gaps => "gaps",
            Self::Disk => "disk",
            Self::Temperature => "temperature",
        }
    }
    /// Whether it is about devices, which the store counts.
    #[must_use]
    pub const fn is_of_devices(self) -> bool {
        matches!(self, Self::Silence | Self::Gaps | Self::Disk | Self::Temperature)
    }
    /// Whether it is about what a model does.
    #[must_use]
    pub const fn is_of_models(self) -> bool {
        !self.is_of_devices() && !matches!(self, Self::TrustExpiry)
    }
}
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody acts now.
    Critical,
    /// Somebody acts soon.
    Warning,
    /// Somebody may want to know.
    Info,
}
impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Info];
    /// As in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}
impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From which value on it matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// Beyond this value: an effect, a share, ms, degrees or a count, as the kind has it.
    Value(f64),
    /// Less than the value the bundle's manifest names, by more than this.
    Drop(f64),
    /// Longer than this, ms.
    LongerMs(u64),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name, unique.
    pub name: String,
    /// What it looks at.
    pub kind: Kind,
    /// Models it is for; `*` stands for anything.
    pub model: String,
    /// Cohort it is for: `None` is every cohort that is kept (models) or every device.
    pub cohort: Option<BTreeMap<String, String>>,
    /// From which value on.
    pub threshold: Threshold,
    /// Rows that a measurement must rest on.
    pub min_rows: u64,
    /// Devices that must be concerned.
    pub min_devices: u64,
    /// How long it must hold before anybody is told, ms.
    pub for_ms: u64,
    /// How long it must be over before it is called resolved, ms.
    pub resolve_ms: u64,
    /// How often it is told again while nobody has acknowledged it, ms; `None` is never.
    pub repeat_ms: Option<u64>,
    /// How much it matters.
    pub severity: Severity,
    /// What receivers are told beside.
    pub labels: BTreeMap<String, String>,
    /// Receivers; `None` is all of them.
    pub routes: Option<Vec<String>>,
    /// Whether it asks for a new training.
    pub retrain: bool,
}

impl Rule {
    /// Whether it is for this model.
    #[must_use]
    pub fn is_for_model(&self, model: &str) -> bool {
        matches_pattern(&self.model, model)
    }
    /// Whether it is for this cohort, as it is written.
    #[must_use]
    pub fn is_for_cohort(&self, cohort: &str) -> bool {
        match &self.cohort {
            // What is true of one kind of hardware or one site is a cause of its own only where somebody asked for it.
            None => cohort == "fleet",
            Some(labels) => {
                let written: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                written.join(",") == cohort
                    || (labels.len() == 1 && labels.get("hw").is_some_and(|h| cohort == format!("hw:{h}")))
                    || labels.iter().all(|(_, v)| v == "*") && cohort_keys(cohort) == keys(labels)
            }
        }
    }
    /// Whether notices go to this receiver.
    #[must_use]
    pub fn goes_to(&self, receiver: &str) -> bool {
        self.routes.as_ref().is_none_or(|r| r.iter().any(|name| name == receiver))
    }
    /// Threshold as a value.
    #[must_use]
    pub fn value(&self) -> f64 {
        match self.threshold {
            Threshold::Value(v) | Threshold::Drop(v) => v,
            Threshold::LongerMs(ms) => ms as f64,
        }
    }
}

fn keys(labels: &BTreeMap<String, String>) -> Vec<&str> {
    labels.keys().map(String::as_str).collect()
}
/// Keys of a cohort as it is written.
fn cohort_keys(cohort: &str) -> Vec<&str> {
    match cohort.strip_prefix("hw:") {
        Some(_) => vec!["hw"],
        None => cohort.split(',').filter_map(|p| p.split_once('=')).map(|(k, _)| k).collect(),
    }
}

/// Whether `text` is what `pattern` says, where `*` stands for any characters.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
