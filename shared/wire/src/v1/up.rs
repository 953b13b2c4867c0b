//! What devices say. Integers, ids and bin indices: no field can carry an input.

use std::collections::BTreeMap;

use longshore_stats::Counters;
use longshore_trust::log::LogHead;
use longshore_trust::{
    AssignmentVersion, Digest, Generation, Kind, ModelName, RolloutId, Seq, StreamId, UnixMs,
};
use serde::{Deserialize, Serialize};

use super::Body;

/// Most checkpoints in a message; more are not looked at.
pub const MAX_LOG_HEADS: usize = 8;

/// Sent on every connect, never stored; the answer is a receipt, the assignment and the doorbell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The device's present stream.
    pub stream: StreamId,
    /// First sealed message without a receipt (one past the last sealed when all are receipted).
    pub first_unreceipted: Seq,
    /// The greatest assignment version accepted.
    pub assignment_version: AssignmentVersion,
    /// Versions of the metadata it trusts: `root`, `timestamp`, `snapshot`, `targets`, `models/<name>`.
    pub tuf_versions: BTreeMap<String, u64>,
    /// The last fleet epoch it saw.
    pub fleet_epoch: u64,
    /// A random number made at each agent start.
    pub boot: u64,
    /// Checkpoints of the fleet's audit log that the device saw and has not reported, oldest first, at most
    /// [`MAX_LOG_HEADS`]; the last reported one stays among them. Every device is a witness.
    pub log: Vec<LogHead>,
}
impl Body for Hello {
    const KIND: Kind = Kind::Hello;
}

/// One fact of the life cycle, or a sample of inventory or health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The fact.
    pub body: ReportBody,
}
impl Body for Report {
    const KIND: Kind = Kind::Report;
}

/// The facts a report can state. New ones go to the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReportBody {
    /// An update moved on.
    Update(UpdateReport),
    /// What the device is.
    Inventory(Inventory),
    /// How the device is.
    Health(Health),
    /// A command was obeyed.
    Command(CommandReport),
}

/// A command was stored and obeyed, in the same transaction as this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReport {
    /// Director's epoch.
    pub epoch: u64,
    /// Its number.
    pub seq: Seq,
    /// Models in whose update it changed something; 0 when there was nothing (left) to do.
    pub changed: u32,
}

/// Where an update of one model stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// The model.
    pub model: ModelName,
    /// The bundle that is wanted (digest of its manifest).
    pub bundle: Digest,
    /// The assignment that wants it.
    pub assignment_version: AssignmentVersion,
    /// Its generation.
    pub generation: Generation,
    /// Its rollout, if it has one.
    pub rollout: Option<RolloutId>,
    /// The state reached.
    pub state: UpdateState,
    /// Why, for every state that is an exit other than committed.
    pub why: Option<Reason>,
    /// What the trial measured, from TRIAL on.
    pub trial: Option<TrialReport>,
    /// What serves now (digest of its manifest).
    pub active: Option<Digest>,
}

/// The states of `agent.md`. Serialized by position in postcard and by name in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum UpdateState {
    Offered,
    Accepted,
    Downloading,
    Verified,
    Staged,
    Trial,
    Shadowing,
    Probation,
    Committed,
    Rejected,
    Deferred,
    Failed,
    RolledBack,
    UnableToRollBack,
    Expired,
    Cancelled,
    TooLate,
    Already,
    Decommissioned,
}

impl UpdateState {
    /// Name in lower snake_case, as in JSON and in the fleet's store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Downloading => "downloading",
            Self::Verified => "verified",
            Self::Staged => "staged",
            Self::Trial => "trial",
            Self::Shadowing => "shadowing",
            Self::Probation => "probation",
            Self::Committed => "committed",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::UnableToRollBack => "unable_to_roll_back",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::TooLate => "too_late",
            Self::Already => "already",
            Self::Decommissioned => "decommissioned",
        }
    }
    /// Whether nothing more happens to this update by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(
            self,
            Self::Offered
                | Self::Accepted
                | Self::Downloading
                | Self::Verified
                | Self::Staged
                | Self::Trial
                | Self::Shadowing
                | Self::Probation
                | Self::Deferred
        )
    }
}

/// A typed reason: `code` for machines (`trial.golden_mismatch`), `detail` for people (at most 500 characters).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `phase.what` in lower snake_case.
    pub code: String,
    /// One sentence: what happened, to what.
    pub detail: String,
}

/// What the trial engine measured on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// Time to load and optimise the model, ms.
    pub load_ms: u32,
    /// Golden vectors run.
    pub golden_rows: u32,
    /// Largest deviations per output.
    pub deviations: Vec<Deviation>,
    /// Median latency of one row, us.
    pub p50_us: u32,
    /// 99th percentile latency of one row, us.
    pub p99_us: u32,
    /// Peak resident set of the trial engine, KiB.
    pub rss_kib: u32,
}

/// Largest deviation of one output from its golden values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deviation {
    /// Name of the output.
    pub output: String,
    /// max |got - expected|.
    pub max_abs: f64,
    /// max |got - expected| / max(|expected|, 1e-12).
    pub max_rel: f64,
}

/// What a device is; sent at start and when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Version of the agent.
    pub agent: String,
    /// `linux`.
    pub os: String,
    /// Distribution and its version.
    pub os_version: String,
    /// Kernel release.
    pub kernel: String,
    /// `aarch64`, `arm`, `x86_64`.
    pub arch: String,
    /// CPU model as the kernel names it.
    pub cpu: String,
    /// Logical cores.
    pub cores: u32,
    /// RAM, KiB.
    pub memory_kib: u64,
    /// Size of the filesystem that holds the state directory, KiB.
    pub disk_kib: u64,
    /// Board or product name.
    pub board: String,
    /// Labels from the configuration (`site`, `ring`, …).
    pub labels: BTreeMap<String, String>,
    /// Features of this build.
    pub features: Vec<String>,
    /// What the sandbox of the engine really has: `no_new_privs`, `seccomp`, `landlock-v4`, …
    pub sandbox: Vec<String>,
    /// Its time zone by name (`Europe/Amsterdam`), where the system has one.
    pub zone: Option<String>,
}

/// How a device is; sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Since boot, s.
    pub uptime_s: u64,
    /// Load of the last minute, in hundredths.
    pub load1_centi: u32,
    /// RAM that can still be had, KiB.
    pub memory_free_kib: u64,
    /// Disk that can still be had, KiB.
    pub disk_free_kib: u64,
    /// Hottest sensor, hundredths of a degree Celsius.
    pub temperature_centi_c: Option<i32>,
    /// PSS (RSS where the kernel gives no PSS) of supervisor and engine together, KiB.
    pub agent_pss_kib: u64,
    /// Bytes the agent wrote to disk since its start.
    pub written_bytes: u64,
    /// Rows waiting for a receipt.
    pub outbox_rows: u64,
    /// Engine starts since the agent started.
    pub engine_starts: u32,
    /// What serves.
    pub models: Vec<ModelHealth>,
    /// As in [`Hello`].
    pub log: Vec<LogHead>,
}

/// One serving model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelHealth {
    /// The model.
    pub model: ModelName,
    /// Digest of the active bundle's manifest.
    pub active: Digest,
    /// Its version.
    pub version: String,
    /// State of its update.
    pub state: UpdateState,
    /// All rows this device has ever journalled for this model (the journal's own total).
    pub rows_total: u64,
}

/// Which span of which bundle a window counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WindowKey {
    /// The model.
    pub model: ModelName,
    /// Digest of the bundle's manifest.
    pub bundle: Digest,
    /// Start, by the device's clock.
    pub start: UnixMs,
    /// End (exclusive).
    pub end: UnixMs,
}

/// Counters of one window, or a part of it: late labels, and what did not fit in one message. All windows of a key add up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Which.
    pub key: WindowKey,
    /// Whether a window of this key was sent before, to which this adds.
    pub supplement: bool,
    /// The counts.
    pub counters: Counters,
}

/// One or more windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// The windows.
    pub windows: Vec<Window>,
}
impl Body for Windows {
    const KIND: Kind = Kind::Windows;
}

/// Gap rows and things that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
}
impl Body for Events {
    const KIND: Kind = Kind::Events;
}

/// One happening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: UnixMs,
    /// What.
    pub kind: EventKind,
}

/// What can happen. New ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// Data was lost, coarsened or held back.
    Gap(Gap),
    /// The serving engine died and was started again.
    EngineCrash {
        /// The model whose request was in flight, if it can be told.
        blamed: Option<Digest>,
        /// Signal or exit code, as text.
        how: String,
    },
    /// The agent started.
    AgentStart {
        /// How the last run ended: `clean`, `killed`, `first`.
        last_end: String,
    },
    /// The database was found corrupt, moved aside and begun anew.
    DatabaseReset {
        /// Why.
        detail: String,
    },
    /// Something signed was refused.
    Refused(Reason),
    /// The fleet has more of the stream than this database ever sent: an older image of the disk was put back. A new
    /// stream was begun; what was sent before may be counted twice, what is ambiguous stands in the gap ledger.
    StreamRestarted {
        /// What the fleet had of the old stream.
        fleet_had: u64,
        /// What this database had sealed of it.
        sealed: u64,
    },
}

/// A row of the gap ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What is missing.
    pub kind: GapKind,
    /// Why.
    pub cause: GapCause,
    /// How many rows or messages; 0 when it cannot be known.
    pub count: u64,
    /// Start of the span.
    pub from: UnixMs,
    /// End of the span.
    pub to: UnixMs,
}

/// What a gap row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// Counters that were not journalled yet.
    Counters,
    /// Windows merged into coarser ones (nothing lost but resolution).
    Resolution,
    /// Windows dropped.
    Windows,
    /// Sealed messages that the replay ring no longer holds.
    Replay,
    /// Labels whose prediction is no longer known.
    Labels,
    /// Reports or events dropped.
    Reports,
}

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// Power cut or reboot within the journal interval.
    PowerCut,
    /// The quota for buffered data.
    Quota,
    /// No room on the disk.
    DiskFull,
    /// The ring of that kind had turned over.
    RingTurned,
    /// A corrupt database.
    Corruption,
    /// An older image of the disk was put back.
    RolledBack,
}
