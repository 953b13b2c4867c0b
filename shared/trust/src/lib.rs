//! Trust: who may say what, and how it is proven.
//!
//! Holds the TUF verifier and repository editor, the signed envelope of everything that is not TUF, typed ids, keys and
//! [`Verified`]. Always true here: no I/O, no clock, no random source; time, bytes and seeds are arguments. Nothing but
//! a bounded envelope is parsed before its signature has been checked.

#![forbid(unsafe_code)]

pub mod dsse;
pub mod envelope;
pub mod ids;
pub mod key;
pub mod log;
pub mod time;
pub mod tuf;
mod verified;

pub use envelope::{Envelope, EnvelopeError, Kind};
pub use ids::{
    AssignmentVersion, DeviceId, Digest, FleetId, Generation, IdError, ModelName, ReleaseCounter, RolloutId,
    Seq, StreamId,
};
pub use key::{KeyError, KeyId, PublicKey, SigningKey};
pub use time::{TimeQuality, UnixMs};
pub use verified::Verified;
