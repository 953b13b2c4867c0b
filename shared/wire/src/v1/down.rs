//! What the director tells a device.

use longshore_trust::log::LogHead;
use longshore_trust::{
    AssignmentVersion, Digest, Generation, Kind, ModelName, ReleaseCounter, RolloutId, Seq, StreamId, UnixMs,
};
use serde::{Deserialize, Serialize};

use super::Body;

/// What one device should run. Accepted only if every slot agrees with verified targets metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Rises with each assignment for this device.
    pub version: AssignmentVersion,
    /// The plan it comes from.
    pub generation: Generation,
    /// The rollout it belongs to.
    pub rollout: Option<RolloutId>,
    /// When it was issued.
    pub issued: UnixMs,
    /// After this nothing of it is activated.
    pub activate_by: UnixMs,
    /// After this it is not accepted; what runs goes on.
    pub not_after: UnixMs,
    /// How probation ends.
    pub probation: Probation,
    /// When the device itself goes back.
    pub guard: Guard,
    /// Least versions of the targets roles the director looked at; older metadata means: refresh first.
    pub targets_versions: Vec<TargetsVersion>,
    /// One entry a model. A model that is not listed is left as it is.
    pub slots: Vec<Slot>,
}
impl Body for Assignment {
    const KIND: Kind = Kind::Assignment;
}

/// How probation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    /// Shortest time in probation, ms.
    pub min_ms: u64,
    /// Who decides.
    pub commit: Commit,
}

/// Who ends probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// The device, when it has been healthy for the minimum.
    Local,
    /// The fleet, by a commit command; when the lease lapses unrenewed, the device goes back.
    Lease {
        /// Length of the lease from activation or from its last renewal, ms.
        lease_ms: u64,
    },
}

/// Limits of the device's own guard in probation. A limit of 0 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guard {
    /// Go back when more than this share of rows fails, in per mille, after at least 20 rows.
    pub max_error_permille: u16,
    /// Go back at this many engine crashes (the default of 1: at the first).
    pub max_crashes: u16,
    /// Go back when p99 latency is above this many percent of the previous bundle's.
    pub max_p99_percent: u16,
    /// Go back when the answers' shift from the bundle's own reference (PSI, in per mille) is surely beyond that of the
    /// previous bundle from its own by more than this, and more than twice as large.
    #[serde(default)]
    pub max_score_shift_permille: u16,
}

/// A targets role and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetsVersion {
    /// `targets` or `models/<name>`.
    pub role: String,
    /// Its version.
    pub version: u64,
}

/// What one model should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The model.
    pub model: ModelName,
    /// Target path of the manifest: `<model>/<version>/manifest.json`.
    pub manifest_path: String,
    /// Its SHA-256: the digest of the bundle.
    pub sha256: Digest,
    /// Its length, bytes.
    pub length: u64,
    /// Its release counter, as signed in targets.
    pub release_counter: ReleaseCounter,
    /// How it is run.
    pub mode: Mode,
}

/// How a bundle is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It answers.
    Active,
    /// It runs beside the active bundle; nothing is served from it.
    Shadow,
}

/// Do something now. `header.seq` is stored before it is acted upon; an older one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Not before.
    pub not_before: UnixMs,
    /// Not after.
    pub not_after: UnixMs,
    /// What.
    pub action: CommandAction,
}
impl Body for Command {
    const KIND: Kind = Kind::Command;
}

/// The commands. New ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandAction {
    /// Probation of this assignment has been passed.
    Commit {
        /// The assignment.
        version: AssignmentVersion,
    },
    /// The lease of this assignment runs anew from now.
    RenewLease {
        /// The assignment.
        version: AssignmentVersion,
    },
    /// What this assignment has not committed is revoked.
    Halt {
        /// The assignment.
        version: AssignmentVersion,
    },
    /// Close windows and send everything now.
    Flush,
    /// Stop serving, delete bundles, data and keys, and say so: the device leaves the fleet.
    Wipe,
}

/// The fleet has committed everything of `stream` up to `up_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The device's stream.
    pub stream: StreamId,
    /// The end of the contiguous prefix that is stored; 0 when nothing is.
    pub up_to: Seq,
    /// Raised when the fleet is restored from a backup.
    pub fleet_epoch: u64,
    /// The newest checkpoint of the fleet's audit log: the device keeps it, and says later that it saw it.
    pub log: Option<LogHead>,
}
impl Body for Receipt {
    const KIND: Kind = Kind::Receipt;
}
