//! The trust repository: publishes what offline keys signed, and signs what only says which of it is current.
//!
//! What always holds: root, targets and delegated roles are published byte for byte as signed, only with a threshold of
//! the right keys and a version one above the last; a new snapshot and timestamp appear in the same transaction.

mod ceremony;
mod expiry;
mod merge;
mod publish;
mod signers;

use std::sync::Arc;

use longshore_trust::UnixMs;
use longshore_trust::tuf::ceremony::CeremonyError;
use longshore_trust::tuf::{TufError, edit};

use crate::config;
use crate::events::Bus;
use crate::gateway;
use crate::store::{Store, StoreError};

pub use expiry::SOON_MS;
pub use signers::OnlineSigners;

/// Publishes trust metadata.
#[derive(Clone)]
pub struct TrustRepo {
    store: Store,
    signers: Arc<OnlineSigners>,
    validity: config::Trust,
    events: Bus,
    gateway: gateway::Handle,
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
    /// The document itself.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Its place among the others.
    #[error(transparent)]
    Ceremony(CeremonyError),
    /// Signatures are missing in metadata that is published together or not at all.
    #[error(
        "{role} has {have} of {need} signatures of {whose}: let the others sign the draft first, then submit it"
    )]
    Incomplete {
        /// The role.
        role: String,
        /// By which metadata.
        whose: &'static str,
        /// Distinct valid signatures.
        have: usize,
        /// How many are needed.
        need: u32,
    },
    /// Something about it in this place.
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

impl From<CeremonyError> for TrustRepoError {
    fn from(e: CeremonyError) -> Self {
        match e {
            CeremonyError::Tuf(e) => Self::Tuf(e),
            CeremonyError::Version { role, got, published } => {
                Self::Version { role, got, published, next: published + 1 }
            }
            e => Self::Ceremony(e),
        }
    }
}

impl TrustRepoError {
    fn refused(role: &str, why: impl Into<String>) -> Self {
        Self::Refused { role: role.to_owned(), why: why.into() }
    }
    /// For machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "internal",
            Self::Tuf(_) => "trust.malformed",
            Self::Refused { .. } | Self::Ceremony(_) => "trust.refused",
            Self::Incomplete { .. } => "trust.incomplete",
            Self::Version { .. } => "trust.version",
        }
    }
}

impl TrustRepo {
    /// With the online keys; publications are announced to `events` and `gateway`.
    #[must_use]
    pub fn new(
        store: Store,
        keys: OnlineSigners,
        validity: config::Trust,
        events: Bus,
        gateway: gateway::Handle,
    ) -> Self {
        Self { store, signers: Arc::new(keys), validity, events, gateway }
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
    /// Every published role with its newest version.
    ///
    /// # Errors
    /// When the database cannot be read, or holds no metadata.
    pub async fn roles(&self) -> Result<Vec<RoleStatus>, TrustRepoError> {
        let mut out = Vec::new();
        for (role, version, bytes) in self.store.newest_roles().await? {
            let kind = match role.as_str() {
                "root" | "snapshot" | "timestamp" => role.as_str(),
                _ => "targets",
            };
            let (_, expires) = edit::head_of(kind, &bytes)?;
            out.push(RoleStatus { role, version, expires });
        }
        Ok(out)
    }
    /// The newest root: keys and thresholds of every role, and whether the fleet is solo.
    ///
    /// # Errors
    /// When no root is published.
    pub async fn root(&self) -> Result<edit::RootSpec, TrustRepoError> {
        let bytes = self.store.role_bytes("root", None).await?;
        let bytes = bytes.ok_or_else(|| {
            TrustRepoError::refused("root", "none is published: run `longshore-fleet init`")
        })?;
        Ok(edit::read_root(&bytes)?)
    }
    /// The keys that the published root names sign from now on.
    ///
    /// # Errors
    /// When this server does not hold them, or the database cannot be read.
    pub(crate) async fn follow_root(&self) -> Result<(), TrustRepoError> {
        if let Some(bytes) = self.store.role_bytes("root", None).await? {
            let root = edit::read_root(&bytes)?;
            self.signers.can_serve(&root)?;
            self.signers.follow(&root);
        }
        Ok(())
    }
    /// Whether one key alone can approve.
    ///
    /// # Errors
    /// When no root is published.
    pub async fn solo(&self) -> Result<bool, TrustRepoError> {
        Ok(self.root().await?.solo)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metadata_files() {
        let name = |s| parse_name(s).map(|(r, v)| (r, v.unwrap_or(0)));
        assert_eq!(name("timestamp.json"), Some(("timestamp".into(), 0)));
        assert_eq!(name("12.root.json"), Some(("root".into(), 12)));
        assert_eq!(name("1.models%2Fdigits.json"), Some(("models/digits".into(), 1)));
        assert_eq!(name("1.models/digits.json"), Some(("models/digits".into(), 1)));
        for wrong in
            ["root.json", "1.timestamp", "x.root.json", "01.root.json", ".root.json", "-1.root.json", ""]
        {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
