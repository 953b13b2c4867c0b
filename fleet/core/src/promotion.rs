//! The promotion record: what a rollout that completed was, who wanted it, and what it was judged by.
//!
//! It is written once, when the rollout completes. Its bytes are what is hashed into the audit log, so it is kept and handed
//! out as they are; nothing of it is computed anew by a reader but the hash of the plan.

use std::collections::BTreeMap;

use longshore_trust::{Digest, Generation, ModelName, RolloutId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::gate::{Tally, Verdict};
use crate::rollout::WaveState;
use crate::shadow::ShadowResult;

/// The `v` of records as this build writes them.
pub const RECORD_VERSION: u32 = 1;

/// Something a person did about the rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// `rollout.plan`, `rollout.authorize`, `rollout.start`, `rollout.resume`, …
    pub action: String,
    /// Who.
    pub actor: String,
    /// When.
    pub time: UnixMs,
    /// Its entry of the audit log.
    pub entry: u64,
}

/// Under which metadata the version was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The role that approves versions of this model.
    pub role: String,
    /// Version of its metadata when the rollout was planned.
    pub version: u64,
    /// Ids of the offline keys whose signatures under it hold.
    pub keys: Vec<String>,
}

/// A wave as it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveRecord {
    /// Its number, from 0.
    pub wave: usize,
    /// How it ended.
    pub state: WaveState,
    /// A person said to go on although it did not pass.
    pub skipped: bool,
    /// When it was opened.
    pub opened: Option<UnixMs>,
    /// When it was judged.
    pub judged: Option<UnixMs>,
    /// Its gates, with their numbers and intervals.
    pub verdict: Option<Verdict>,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromotionRecord {
    /// [`RECORD_VERSION`].
    pub v: u32,
    /// The rollout.
    pub rollout: RolloutId,
    /// Generation of its plan.
    pub generation: Generation,
    /// Hash of its plan.
    pub plan_hash: Digest,
    /// Name of its policy.
    pub policy: String,
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// Digest of its bundle.
    pub bundle: Digest,
    /// Bundles it took the place of, and on how many devices.
    pub replaced: BTreeMap<String, u64>,
    /// When it was planned.
    pub planned: UnixMs,
    /// When it was started.
    pub started: Option<UnixMs>,
    /// When it completed.
    pub completed: UnixMs,
    /// What people did about it, oldest first.
    pub people: Vec<Deed>,
    /// Who approved the version.
    pub approved: Option<Approval>,
    /// Devices by their state.
    pub devices: BTreeMap<String, u64>,
    /// Counted with the version, over all devices of the rollout.
    pub candidate: Tally,
    /// Counted with what these devices ran before.
    pub champion: Tally,
    /// Its waves.
    pub waves: Vec<WaveRecord>,
    /// What it did in shadow, where it was.
    pub shadow: Option<ShadowResult>,
}

impl PromotionRecord {
    /// The bytes that are hashed, and the hash.
    #[must_use]
    pub fn sealed(&self) -> (String, Digest) {
        let text = serde_json::to_string(self).expect("a record always encodes");
        let digest = Digest::of(text.as_bytes());
        (text, digest)
    }
}
