//! What the executor is told, and what it asks for.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use longshore_trust::{AssignmentVersion, DeviceId, Digest, UnixMs};
use longshore_wire::v1::{Commit, Mode, UpdateState};

use super::{DeviceState, PauseReason, RevertPlan, RolloutState, WaveState};
use crate::gate::{Measured, Tally, Verdict};
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
    /// When it is to start, where that was said.
    pub start_at: Option<UnixMs>,
    /// Its waves, as many as the plan has.
    pub waves: &'a [WaveFact],
    /// Its devices, late ones included.
    pub devices: &'a [DeviceFact],
    /// Devices of the fleet that could run the version, are in no wave, are not held by another rollout and do not run it.
    pub late: &'a [LateDevice],
    /// The zones that [`DeviceFact::zone`] counts; the first one is UTC. Only asked about when the policy has a window.
    pub zones: &'a [TimeZone],
    /// The last plan of taking it back, if there is one.
    pub revert: Option<&'a RevertPlan>,
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
    /// What else is known of it.
    pub measured: Measured,
    /// The assignment that gives it its previous version back.
    pub revert: Option<AssignmentVersion>,
    /// Rows that the version answered beside the active one, nothing of it served.
    pub shadow_rows: u64,
    /// Its time zone, as a place in [`Facts::zones`].
    pub zone: u16,
    /// Another rollout of the model, of a higher priority, has it: this one leaves it alone.
    pub held: bool,
    /// Assignments in a row that it could not carry out, over all rollouts.
    pub failures: u32,
    /// It is offered nothing until a person releases it.
    pub quarantined: bool,
    /// This record was restored from a backup, and the device has not told all that it did since: what is recorded of it
    /// may be long over.
    pub untold: bool,
    /// The newest assignment that this record gave it, of whatever rollout.
    pub assigned: AssignmentVersion,
}
impl DeviceFact {
    /// A device of a wave that nothing is known of yet.
    #[must_use]
    pub fn new(device: DeviceId, wave: usize) -> Self {
        Self {
            device,
            wave,
            state: DeviceState::Waiting,
            code: None,
            offer: None,
            report: None,
            online: false,
            revoked: false,
            previous: None,
            candidate: Tally::default(),
            champion: None,
            measured: Measured::default(),
            revert: None,
            shadow_rows: 0,
            zone: 0,
            held: false,
            failures: 0,
            quarantined: false,
            untold: false,
            assigned: AssignmentVersion(0),
        }
    }
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
    /// After this the device does not activate it; the end of its maintenance window.
    pub until: Option<UnixMs>,
    /// It is to run beside the active version.
    pub shadow: bool,
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
        /// Why it is paused, for machines; only with [`RolloutState::Paused`].
        pause: Option<PauseReason>,
    },
    /// The time of a scheduled rollout has come: start it, or say why not.
    Begin,
    /// Plan how every device gets its previous version back ([`super::plan_revert`]), and keep that plan.
    PlanRevert {
        /// A few devices first, the others when that went well.
        gated: bool,
    },
    /// The device keeps failing where others succeed: offer it nothing until a person releases it.
    Quarantine {
        /// The device.
        device: DeviceId,
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
        /// Whether it serves, or runs beside what serves.
        mode: Mode,
        /// After this the device must not activate it.
        until: Option<UnixMs>,
        /// The number that this offer counts as.
        attempt: u32,
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
