//! Statistics that merge exactly: merge(split(x)) == summary(x), bit for bit, in any order.
//!
//! Pure: no clock, no file, no randomness. Profiles are integer histograms over bins that the reference data fixed; from
//! them come distances, guaranteed intervals, one calibrated test, and the quality of predictions with and without labels.
//! Where nothing can be said, the types say so.

#![forbid(unsafe_code)]

mod bounded;
mod ddsketch;
mod sparse;

pub mod bounds;
pub mod contingency;
pub mod counters;
pub mod distance;
pub mod drift;
pub mod fdr;
pub mod kolmogorov;
pub mod nesting;
pub mod places;
pub mod profile;
pub mod quality;
pub mod rows;
pub mod sequence;
pub mod shadow;
pub mod special;
pub mod window;

pub use counters::{Counters, MergeError};
pub use ddsketch::DdSketch;
pub use profile::{Profile, ProfileError};
pub use shadow::ShadowTable;
pub use window::{Recorder, WindowProfile};
