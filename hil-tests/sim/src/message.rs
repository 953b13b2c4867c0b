//! What travels between devices and the fleet. Contents are those of the wire, kept small: a run holds millions of them.

use std::sync::Arc;

use longshore_trust::{AssignmentVersion, Generation, Seq, StreamId};
use longshore_wire::v1::{Assignment, Command, Message, Receipt, UpdateState};

/// Number of a bundle in the [`crate::repo::Repo`].
pub type BundleNo = u8;
/// Number of a reason's code in the run's table of codes.
pub type CodeNo = u16;

/// A window of one bundle: what the engine counted between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its number on this device; a window that was merged has more than one.
    pub first: u32,
    /// The last of them.
    pub last: u32,
    /// Whose rows.
    pub bundle: BundleNo,
    /// Rows answered.
    pub rows: u32,
    /// Rows that failed.
    pub errors: u32,
    /// Rows whose true answer is known.
    pub labelled: u32,
    /// Of these, right.
    pub correct: u32,
    /// Rows that it answered beside the bundle that serves.
    pub shadow: u32,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// An update moved on.
    Update(Told),
    /// A command was obeyed: the director's epoch and number.
    Obeyed(u64, Seq),
    /// Something signed was refused.
    Refused(CodeNo),
    /// The gap ledger: so many messages or windows are gone.
    Gap(u64),
    /// Windows.
    Windows(Arc<[Window]>),
}

/// What a report of an update says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// About which assignment.
    pub version: AssignmentVersion,
    /// Its generation.
    pub generation: Generation,
    /// Which bundle.
    pub bundle: BundleNo,
    /// The state.
    pub state: UpdateState,
    /// Why.
    pub code: Option<CodeNo>,
    /// What serves.
    pub active: Option<BundleNo>,
}

/// From a device.
#[derive(Debug, Clone)]
pub enum Up {
    /// On every connect.
    Hello {
        /// The number of the session.
        session: u32,
        /// The stream.
        stream: StreamId,
        /// First row without a receipt.
        first: Seq,
        /// The greatest assignment accepted.
        assigned: AssignmentVersion,
        /// The last epoch seen.
        epoch: u64,
        /// The newest head of the audit log that it saw: epoch, size, root.
        head: Option<Head>,
    },
    /// A sealed row.
    Row(StreamId, Seq, Row),
}

/// What was seen of the fleet's audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The fleet's epoch.
    pub epoch: u64,
    /// Entries.
    pub size: u64,
    /// Root.
    pub root: longshore_trust::Digest,
}

/// What the director signed, and with which of its keys. On devices that check signatures themselves the bytes travel too.
#[derive(Debug, Clone)]
pub struct Signed<B> {
    /// The contents.
    pub message: Arc<Message<B>>,
    /// Number of the director's key.
    pub key: usize,
    /// The envelope.
    pub bytes: Option<Arc<Vec<u8>>>,
}

/// To a device.
#[derive(Debug, Clone)]
pub enum Down {
    /// What to run.
    Assign(Signed<Assignment>),
    /// Do something.
    Command(Signed<Command>),
    /// Stored up to here; number of the director's key, and the log's head.
    Receipt(Receipt, usize, Head),
    /// There is newer metadata.
    Doorbell,
}
