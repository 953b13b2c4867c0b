//! Why a ceremony is refused, in words for the person who holds it.

use crate::FleetId;
use crate::tuf::TufError;

/// One reason for every way in which a draft can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// A document itself.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Not a draft file.
    #[error("this is not a draft that can be used: {why}")]
    NotADraft {
        /// What is wrong with it.
        why: String,
    },
    /// It holds no document.
    #[error("the draft changes nothing")]
    Empty,
    /// A role that is not signed offline.
    #[error(
        "{role} is not signed offline: only root, targets and models/<name> are; the server signs the rest itself"
    )]
    NotOffline {
        /// The role.
        role: String,
    },
    /// A document under the wrong name.
    #[error("the document for {role} is of type {got:?}")]
    Kind {
        /// The role.
        role: String,
        /// Its `_type`.
        got: String,
    },
    /// Not the version after the published one.
    #[error(
        "{role} version {got} cannot follow version {published}, which is published: begin the draft again from \
         current metadata (version {next})",
        next = published + 1
    )]
    Version {
        /// The role.
        role: String,
        /// What the draft says.
        got: u64,
        /// What is published.
        published: u64,
    },
    /// Its time is over.
    #[error("{role} in the draft has expired already: begin the draft again")]
    Expired {
        /// The role.
        role: String,
    },
    /// Another fleet's.
    #[error("the new root is for fleet {theirs}, this is {ours}")]
    OtherFleet {
        /// This fleet.
        ours: FleetId,
        /// The draft's.
        theirs: FleetId,
    },
    /// A threshold that cannot be reached, or a key named twice.
    #[error(
        "{role} cannot have a threshold of {threshold} with {have} key(s), each named once: name other keys or another threshold"
    )]
    Threshold {
        /// The role.
        role: String,
        /// How many keys.
        have: usize,
        /// How many must sign.
        threshold: u32,
    },
    /// More than one online signature.
    #[error(
        "{role} cannot have a threshold of {threshold}: the server signs with one key, and devices check one signature. \
         Name several keys with a threshold of 1 to change over from one to the other"
    )]
    OnlineThreshold {
        /// The role.
        role: &'static str,
        /// What was asked for.
        threshold: u32,
    },
    /// A key that lies on a server in an offline role.
    #[error(
        "key {key_id} is one of the server's online keys and cannot be a key of {role}: make another one"
    )]
    OnlineKey {
        /// The offline role.
        role: String,
        /// Which key.
        key_id: String,
    },
    /// A role without a delegation.
    #[error("targets metadata does not delegate to {role}: submit targets with the delegation first")]
    NotDelegated {
        /// The role.
        role: String,
    },
    /// A published role would lose its delegation.
    #[error(
        "targets would no longer delegate to {role}, which is published: its bundles would silently stop being approved"
    )]
    Orphaned {
        /// The role.
        role: String,
    },
    /// A published document would not be valid under the keys that the draft names for it.
    #[error(
        "the published {role} metadata has {have} signature(s) of the keys that the draft names for it, {need} are \
         needed: sign {role} anew in the same draft"
    )]
    WouldBreak {
        /// The role.
        role: String,
        /// Valid signatures under the new keys.
        have: usize,
        /// How many are needed.
        need: u32,
    },
    /// Something that no reader of the draft is shown.
    #[error(
        "{role} in the draft holds a `{member}` that this program does not write and cannot show: do not sign it;          if a newer longshore made the draft, use that one"
    )]
    Unsaid {
        /// The role.
        role: String,
        /// Where.
        member: String,
    },
    /// A time of issue to come.
    #[error(
        "{role} in the draft claims to be issued in the future, which devices without a clock would believe: begin the \
         draft again, on a machine whose clock is right"
    )]
    IssuedLater {
        /// The role.
        role: String,
    },
    /// One key can approve, and root does not say so.
    #[error(
        "one key alone could approve, but root does not mark the fleet as solo: change the threshold with \
         `longshore keys rotate`, which lets root say so"
    )]
    NotMarkedSolo,
    /// A change that cannot be made.
    #[error("{role}: {why}")]
    Change {
        /// The role.
        role: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Somebody has signed the draft.
    #[error("the draft has signatures already, and a change would void them: begin another draft")]
    Signed,
}

impl CeremonyError {
    pub(super) fn change(role: impl ToString, why: impl Into<String>) -> Self {
        Self::Change { role: role.to_string(), why: why.into() }
    }
}
