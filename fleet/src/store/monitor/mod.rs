//! Counters by cohort and hour, and what was judged of them.
//!
//! What always holds: rows count for the whole fleet, for the hardware and for the cohort of declared labels, each once;
//! adding is exact merging, so the order in which windows come does not matter; what is old is coarsened, never dropped.

mod coarsen;
mod cohort;
mod hours;
mod merge;
mod outliers;
mod shape;
mod verdicts;

pub use coarsen::coarsen;
pub use hours::{HourKey, HourRow, Merged};
pub use merge::Merger;
pub use outliers::DeviceProfile;
pub use shape::{Shapes, put_shape};
pub use verdicts::{Cell, CellHour, JudgedVersion, StateCount, UnjudgedHour, put_cells, put_current};

/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;
/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * HOUR_MS;
