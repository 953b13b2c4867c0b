//! Statistics that merge exactly: merge(split(x)) == summary(x), bit for bit, in any order.

#![forbid(unsafe_code)]

mod counters;
mod ddsketch;
pub mod profile;

pub use counters::{Counters, MergeError};
pub use ddsketch::DdSketch;
pub use profile::{Profile, ProfileError};
