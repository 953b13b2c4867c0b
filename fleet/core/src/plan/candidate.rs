//! What the planner knows of each device of the fleet.

use std::collections::BTreeMap;

use longshore_trust::{DeviceId, Digest, ReleaseCounter, RolloutId};

use super::Presence;

/// What the planner knows of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The device.
    pub device: DeviceId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// CPU architecture, once it has told.
    pub arch: Option<String>,
    /// Version of its agent, once it has told.
    pub agent: Option<semver::Version>,
    /// RAM, MB, once it has told.
    pub memory_mb: Option<u64>,
    /// Features of its agent.
    pub features: Vec<String>,
    /// Connected now.
    pub online: bool,
    /// What serves there now.
    pub active: Option<Digest>,
    /// Release counter of that.
    pub active_counter: Option<ReleaseCounter>,
    /// Name of its time zone: what its label `tz` says, else what its agent reports.
    pub zone: Option<String>,
    /// What was said of its zone, when that names none.
    pub bad_zone: Option<String>,
    /// Why it is in quarantine, if it is.
    pub quarantined: Option<String>,
    /// Another rollout of the model that is under way and has it.
    pub elsewhere: Option<Elsewhere>,
    /// When it was heard of before.
    pub presence: Option<Presence>,
}
impl Candidate {
    /// A device that nothing is known of.
    #[must_use]
    pub fn new(device: DeviceId) -> Self {
        Self {
            device,
            labels: BTreeMap::new(),
            arch: None,
            agent: None,
            memory_mb: None,
            features: Vec::new(),
            online: false,
            active: None,
            active_counter: None,
            zone: None,
            bad_zone: None,
            quarantined: None,
            elsewhere: None,
            presence: None,
        }
    }
}

/// A rollout that has a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which.
    pub rollout: RolloutId,
    /// Its priority.
    pub priority: i32,
}
