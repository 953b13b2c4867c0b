//! What a model role says about a bundle beyond its hash: the `custom` data of the manifest's target.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, ReleaseCounter};

/// `custom` of a manifest is not what `approve` writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the release data signed for this bundle cannot be read: {0}")]
pub struct ReleaseError(String);

/// Signed permission to go back: a device on bundle `from` may go to bundle `to` although its release counter is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackOk {
    /// Digest of the bundle to leave (SHA-256 of its manifest).
    pub from: Digest,
    /// Digest of the bundle to go back to.
    pub to: Digest,
}

/// Given by `approve`, never by authors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Orders the approved bundles of a model.
    pub release_counter: ReleaseCounter,
    /// Permitted ways back.
    #[serde(default)]
    pub rollback_ok: Vec<RollbackOk>,
    /// Boards it is for; empty for all.
    #[serde(default)]
    pub hw: Vec<String>,
}

impl ReleaseInfo {
    /// Reads a manifest target's `custom`; fields of later versions are ignored.
    ///
    /// # Errors
    /// [`ReleaseError`] when it is missing or malformed.
    pub fn from_custom(custom: &Map<String, Value>) -> Result<Self, ReleaseError> {
        serde_json::from_value(Value::Object(custom.clone())).map_err(|e| ReleaseError(e.to_string()))
    }
    /// As it is signed.
    #[must_use]
    pub fn to_custom(&self) -> Map<String, Value> {
        match serde_json::to_value(self).expect("numbers, hex and strings always encode") {
            Value::Object(map) => map,
            _ => unreachable!("a struct encodes as an object"),
        }
    }
}
