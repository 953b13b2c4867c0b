//! The Update Framework, version 1.0.34, with JSON metadata: verifying it ([`Updater`], [`Trusted`]), writing it
//! ([`edit`]) and signing it in turns ([`ceremony`]).
//!
//! What always holds: a view is made only of documents whose signatures reached the threshold of distinct public keys;
//! versions never fall while their keys stay; what is persisted is what was received, byte for byte; and time, bytes and
//! the store are arguments.

pub mod ceremony;
mod date;
pub mod edit;
mod error;
mod json;
mod keys;
mod metadata;
mod name;
mod release;
mod trusted;
mod update;

pub use error::TufError;
pub use json::{JsonError, MAX_DEPTH, MAX_INTEGER, canonical, parse as parse_json};
pub use keys::key_id;
pub use name::{encode as encode_name, file_of, target_url};
pub use release::{ReleaseError, ReleaseInfo, RollbackOk};
pub use trusted::{Found, MAX_ROLES_VISITED, TargetInfo, Trusted};
pub use update::{
    Change, Fetched, Input, MAX_ROOT_BYTES, MAX_ROOT_HOPS, MAX_SNAPSHOT_BYTES, MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES, Output, Updater, drive,
};
