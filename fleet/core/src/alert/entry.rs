//! `[[alert]]` and `[[receiver]]` as they stand in the configuration, before anybody has looked whether they make sense.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsEntry {
    /// How often the rules are judged, seconds.
    pub every_s: u64,
    /// How long alerts that are over, and what was delivered, are kept, days.
    pub keep_d: u64,
    /// Deliveries that may wait for one receiver.
    pub queue: u64,
    /// Address of the console in messages; empty leaves links out.
    pub console_url: String,
}
impl Default for AlertsEntry {
    fn default() -> Self {
        Self { every_s: 30, keep_d: 400, queue: 10_000, console_url: String::new() }
    }
}

/// `[[alert]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    pub(super) name: Spanned<String>,
    pub(super) kind: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cohort: Option<Spanned<BTreeMap<String, String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) threshold: Option<Spanned<Amount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drop: Option<Spanned<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_rows: Option<Spanned<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_devices: Option<Spanned<i64>>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub(super) hold: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resolve_after: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repeat_interval: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) severity: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Spanned<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retrain: Option<Spanned<bool>>,
}

/// A number, or a length of time in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Whole(i64),
    Number(f64),
    Words(String),
}

/// `[[receiver]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverEntry {
    pub(super) name: Spanned<String>,
    pub(super) kind: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_file: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_type: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<Spanned<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Spanned<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) takes: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) give_up: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<Spanned<String>>,
}
