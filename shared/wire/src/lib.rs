//! Wire: topics and the versioned messages between a device and its fleet.
//!
//! Always true here: no type has a field that could carry a raw input; postcard bytes of a version never change once
//! shipped (a change makes `v2` beside `v1`); every body opens with the same signed header. `tests/fixtures` holds each
//! message of version 1 as bytes: from the first release on they never change.

#![forbid(unsafe_code)]

pub mod topic;
pub mod v1;

pub use topic::{Down, Topic, TopicError, Up};
