//! Read models for the pages of the console: each function answers what one page, or one part of it, shows.
//!
//! What always holds: nothing here writes; every list is bounded and paged by key, so that a page costs the same
//! with five devices and with a hundred thousand. Texts are returned as stored: the templates escape them.

mod devices;
mod in_rollout;
mod models;
mod overview;
mod rollouts;

pub use devices::{
    BundleTotal, DeviceCounts, DeviceFilter, DeviceModelRow, DevicePage, DeviceRow, Happening, Moment, Status,
};
pub use in_rollout::{InRollout, RolloutOfDevice, Said};
pub use models::{AliasRow, BundleLive, HourRow, ModelRow, TrialRow, VersionRow};
pub use overview::{AuditRow, Metadata, Totals, TroubleRow, VersionCount};
pub use rollouts::{RolloutDeviceRow, RolloutEventRow, RolloutFull, RolloutRow, WaveRow, WaveStateCount};

use super::StoreError;
use longshore_stats::Counters;

/// Where a list is cut: after or before a key of the order it is shown in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cursor {
    /// From the start.
    #[default]
    Start,
    /// What follows this key.
    After(String),
    /// What stands before this key.
    Before(String),
}

/// Counters as the ingest stored them.
fn counters(blob: &[u8]) -> Result<Counters, StoreError> {
    postcard::from_bytes(blob).map_err(|e| StoreError::corrupt("table of counters", e))
}
