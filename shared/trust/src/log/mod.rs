//! The audit log's mathematics: a Merkle tree as in RFC 6962, and checkpoints as signed notes.
//!
//! What always holds: an entry's bytes are canonical, so whoever holds its fields can hash it; a root fixes every entry
//! before it and their order; a proof convinces only of what is so. Storage is the caller's: [`tree`] names the nodes that
//! are needed and says what to do with their hashes.
//!
//! Sources: RFC 6962, 2.1 (hashes and proofs); RFC 9162, 2.1.3.2 and 2.1.4.2 (verifying); C2SP signed-note and tlog-checkpoint.

mod checkpoint;
mod entry;
mod note;
mod proof;
pub mod tree;

pub use checkpoint::{Checkpoint, CheckpointError, LogHead, origin};
pub use entry::{ENTRY_VERSION, Entry};
pub use note::{LogKey, MAX_NOTE_BYTES, NoteError, open_note, sign_note};
pub use proof::{ProofError, verify_consistency, verify_inclusion};
pub use tree::{Frontier, leaf_hash, node_hash};
