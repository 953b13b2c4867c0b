//! Why trust metadata is refused, in words that name the file and what to do about it.

use super::date;
use crate::UnixMs;

/// One reason for every way in which metadata can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TufError {
    /// There is no root to begin with.
    #[error("no root.json in the trust store: initialise it with a root you received from the fleet's owner")]
    NoRoot,
    /// Not the JSON that trust metadata is written in.
    #[error("{what} is not acceptable JSON: {reason}")]
    Json {
        /// Which document.
        what: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// JSON, but not the document it should be.
    #[error("{role} metadata is malformed: {reason}")]
    Malformed {
        /// Role name.
        role: String,
        /// What is wrong.
        reason: String,
    },
    /// Too few good signatures.
    #[error("{role} metadata carries {have} valid signature(s) of distinct keys, {need} needed")]
    Threshold {
        /// Role name.
        role: String,
        /// Distinct keys whose signature verified.
        have: usize,
        /// The threshold.
        need: u32,
    },
    /// One key id twice in `signatures`.
    #[error("{role} metadata names key {key_id} twice in its signatures")]
    DuplicateSignature {
        /// Role name.
        role: String,
        /// The key id.
        key_id: String,
    },
    /// Another version than the one asked for.
    #[error("{role} metadata is version {got}, expected {expected}")]
    WrongVersion {
        /// Role name.
        role: String,
        /// What its delegator names.
        expected: u64,
        /// What it is.
        got: u64,
    },
    /// Older than what was trusted before.
    #[error("{role} metadata is version {got}, older than version {trusted} which is already trusted")]
    Rollback {
        /// Role name.
        role: String,
        /// What is trusted.
        trusted: u64,
        /// What was offered.
        got: u64,
    },
    /// A role that snapshot listed before is gone from it.
    #[error("the new snapshot no longer lists {role}, which the trusted one lists")]
    Dropped {
        /// Role name.
        role: String,
    },
    /// Its time is over.
    #[error("{role} metadata expired at {} (now {})", date::format(*at), date::format(*now))]
    Expired {
        /// Role name.
        role: String,
        /// When it expired.
        at: UnixMs,
        /// What time it is taken to be.
        now: UnixMs,
    },
    /// Length or hash differs from what the delegator signed.
    #[error("{what} does not match the {property} that was signed for it")]
    Mismatch {
        /// Role or target name.
        what: String,
        /// `length`, `sha256` or `sha512`.
        property: &'static str,
    },
    /// No hash that we can compute.
    #[error("{what} is signed with no hash that is known here (sha256 or sha512)")]
    NoKnownHash {
        /// Role or target name.
        what: String,
    },
    /// A delegated role that snapshot does not list.
    #[error("role {role} was delegated but is not part of the snapshot")]
    NotInSnapshot {
        /// Role name.
        role: String,
    },
    /// One role reached by two delegations and served with two contents.
    #[error("role {role} is served with different contents to different delegations")]
    Inconsistent {
        /// Role name.
        role: String,
    },
    /// The repository has no such file.
    #[error("the repository has no {name}")]
    NotFound {
        /// File name as asked for.
        name: String,
    },
    /// The transport failed.
    #[error("cannot fetch {name}: {reason}")]
    Fetch {
        /// File name as asked for.
        name: String,
        /// What the transport said.
        reason: String,
    },
    /// More bytes than allowed.
    #[error("{name} is longer than the {max_bytes} bytes allowed")]
    TooLong {
        /// File name as asked for.
        name: String,
        /// The limit.
        max_bytes: u64,
    },
    /// The store failed.
    #[error("cannot keep {file} in the trust store: {reason}")]
    Store {
        /// File name.
        file: String,
        /// What the file system said.
        reason: String,
    },
}

impl TufError {
    pub(super) fn malformed(role: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { role: role.to_owned(), reason: reason.into() }
    }
}
