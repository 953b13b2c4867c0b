//! The trust repository: publishes what offline keys signed, and signs what only says which of it is current.
//!
//! What always holds: root, targets and delegated roles are published byte for byte as signed, only with a threshold of
//! the right keys and a version one above the last; a new snapshot and timestamp appear in the same transaction.

use std::sync::Arc;

use longshore_trust::{SigningKey, UnixMs};

use crate::store::{Store, StoreError};

/// Publishes trust metadata.
#[derive(Clone)]
pub struct TrustRepo {
    store: Store,
    snapshot: Arc<SigningKey>,
    timestamp: Arc<SigningKey>,
    validity: crate::config::Trust,
}

/// What became of submitted metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It has its threshold and is served.
    Published {
        /// Its version.
        version: u64,
        /// Distinct valid signatures.
        signatures: usize,
        /// How many were needed.
        threshold: u32,
    },
    /// It waits for more signatures.
    Pending {
        /// Its version.
        version: u64,
        /// Distinct valid signatures so far.
        signatures: usize,
        /// How many are needed.
        threshold: u32,
    },
}

/// One published role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleStatus {
    /// `root`, `targets`, `snapshot`, `timestamp`, `models/<name>`.
    pub role: String,
    /// Its newest version.
    pub version: u64,
    /// When that expires.
    pub expires: UnixMs,
}

/// Why metadata is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustRepoError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something about the metadata.
    #[error("{role} metadata is refused: {why}")]
    Refused {
        /// The role.
        role: String,
        /// Why, and what to do.
        why: String,
    },
    /// Its version is not the one after the published one.
    #[error(
        "{role} version {got} was submitted, but version {published} is published: sign version {next} instead"
    )]
    Version {
        /// The role.
        role: String,
        /// What was submitted.
        got: u64,
        /// What is published.
        published: u64,
        /// What would be accepted.
        next: u64,
    },
}

impl TrustRepo {
    /// With the online keys.
    #[must_use]
    pub fn new(
        store: Store,
        snapshot: SigningKey,
        timestamp: SigningKey,
        validity: crate::config::Trust,
    ) -> Self {
        Self {
            store,
            snapshot: Arc::new(snapshot),
            timestamp: Arc::new(timestamp),
            validity,
        }
    }
    /// The bytes served as `/trust/<name>`, e.g. `timestamp.json`, `3.root.json`, `1.models%2Fdigits.json`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn metadata(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((role, version)) = parse_name(name) else {
            return Ok(None);
        };
        self.store.role_bytes(&role, version).await
    }
    /// What waits for more signatures.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending(&self, role: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.pending_role(role).await
    }
}

/// Role and version of a metadata file name: only `timestamp.json` has no version.
fn parse_name(name: &str) -> Option<(String, Option<u64>)> {
    let stem = name.strip_suffix(".json")?;
    if stem == "timestamp" {
        return Some(("timestamp".into(), None));
    }
    let (version, role) = stem.split_once('.')?;
    if version.is_empty() || version.starts_with('0') || !version.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let role = role.replace("%2F", "/").replace("%2f", "/");
    Some((role, Some(version.parse().ok()?)))
}
