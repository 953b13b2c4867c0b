//! What the executor is told, and what it asks for.

use std::collections::BTreeMap;

use longshore_trust::{AssignmentVersion, DeviceId, Digest, UnixMs};
use longshore_wire::v1::{Commit, UpdateState};

use super::{DeviceState, RolloutState, WaveState};
use crate::gate::{Tally, Verdict};
use crate::plan::Plan;

/// Everything that is known of a rollout.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// Its state.
    pub state: RolloutState,
    /// Since when.
    pub since: UnixMs,
    /// Its waves, as many as the plan has.
    pub waves: Vec<WaveFact>,
    /// Its devices, late ones included.
    pub devices: Vec<DeviceFact>,
    /// Devices of the fleet that could run the version, are in no wave and do not run it.
    pub late: Vec<LateDevice>,
}

/// One wave.
#[derive(Debug, Clone, PartialEq)]
pub struct WaveFact {
    /// Its state.
    pub state: WaveState,
    /// When it was opened.
    pub opened: Option<UnixMs>,
    /// Since when it is in this state.
    pub since: UnixMs,
    /// A person said to go on although it did not pass.
    pub skipped: bool,
    /// The verdict stored last.
    pub verdict: Option<Verdict>,
}

/// One device of the rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceFact {
    /// The device.
    pub device: DeviceId,
    /// Its wave.
    pub wave: usize,
    /// Its state, as recorded.
    pub state: DeviceState,
    /// Why, as recorded.
    pub code: Option<String>,
    /// The last offer, if there was one.
    pub offer: Option<Offer>,
    /// What the device last said about this model.
    pub report: Option<Report>,
    /// The fleet hears of it.
    pub online: bool,
    /// It was taken out of the fleet.
    pub revoked: bool,
    /// What a revert gives back to it.
    pub previous: Option<Digest>,
    /// Counted with the new version since the first offer.
    pub candidate: Tally,
    /// Counted with the version it ran before; `None` when it ran none.
    pub champion: Option<Tally>,
    /// The assignment that gives it its previous version back.
    pub revert: Option<AssignmentVersion>,
}

/// An offer to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Version of the assignment.
    pub version: AssignmentVersion,
    /// When.
    pub at: UnixMs,
    /// How many there were, this one included.
    pub attempts: u32,
    /// When the fleet last said that the wave has passed.
    pub committed_at: Option<UnixMs>,
    /// When the lease was last renewed.
    pub renewed_at: Option<UnixMs>,
    /// When it was revoked.
    pub halted_at: Option<UnixMs>,
    /// The device has accepted a later assignment (of another model) without having seen this one, and will refuse it.
    pub passed_over: bool,
}

/// What a device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// About this assignment.
    pub version: AssignmentVersion,
    /// Its state.
    pub state: UpdateState,
    /// Why.
    pub code: Option<String>,
    /// What serves.
    pub active: Option<Digest>,
}

/// A device that is in no wave yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateDevice {
    /// The device.
    pub device: DeviceId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What a revert gives back to it.
    pub previous: Option<Digest>,
    /// What it runs now.
    pub champion: Option<Digest>,
}

/// What to do. Doing it twice does no harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The rollout is in this state from now on.
    Rollout {
        /// The state.
        state: RolloutState,
        /// Why, for people.
        reason: String,
    },
    /// The wave is in this state from now on.
    Wave {
        /// Its number.
        wave: usize,
        /// The state.
        state: WaveState,
    },
    /// What is known of the wave has changed.
    Verdict {
        /// Its number.
        wave: usize,
        /// The gates.
        verdict: Verdict,
    },
    /// A late device joins a wave.
    Admit {
        /// The device.
        device: DeviceId,
        /// The wave.
        wave: usize,
        /// What a revert gives back to it.
        previous: Option<Digest>,
        /// What it runs now.
        champion: Option<Digest>,
    },
    /// Sign an assignment of the new version for the device.
    Offer {
        /// The device.
        device: DeviceId,
        /// How its probation ends.
        commit: Commit,
        /// Shortest probation, ms.
        probation_ms: u64,
    },
    /// The device has reached this state.
    Device {
        /// The device.
        device: DeviceId,
        /// The state.
        state: DeviceState,
        /// Why.
        code: Option<String>,
    },
    /// Tell the device that its wave has passed.
    Commit {
        /// The device.
        device: DeviceId,
        /// The assignment.
        version: AssignmentVersion,
    },
    /// Let the device go on in probation.
    RenewLease {
        /// The device.
        device: DeviceId,
        /// The assignment.
        version: AssignmentVersion,
        /// Length of the lease, ms.
        lease_ms: u64,
    },
    /// Revoke the offer, unless it is committed.
    Halt {
        /// The device.
        device: DeviceId,
        /// The assignment.
        version: AssignmentVersion,
    },
    /// Sign an assignment of the device's previous version.
    Revert {
        /// The device.
        device: DeviceId,
        /// What it gets back.
        to: Digest,
    },
}
