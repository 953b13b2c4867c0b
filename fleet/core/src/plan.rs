//! The planner: policy + inventory -> an immutable plan.
//!
//! A plan names every device of every wave before anything starts. It has a parent (the rollout it follows), a
//! generation and a hash over all of it. The order of devices is pseudo-random but stable: the same rollout id and the
//! same devices give the same waves; connected devices come before others, because a canary that is off proves nothing.

mod candidate;
mod lint;
mod presence;
mod rehearsal;

use std::collections::{BTreeMap, BTreeSet};

use longshore_bundle::{DeviceFacts, Requires, Verdict};
use longshore_trust::{DeviceId, Digest, Generation, ModelName, ReleaseCounter, RolloutId};
use serde::{Deserialize, Serialize};

use crate::broken::{Rule, broken};
use crate::policy::{Policy, Select};
use crate::wording::counted;

pub use candidate::{Candidate, Elsewhere};
pub use lint::policy_lint;
pub use presence::{HOURS_A_WEEK, Presence};
pub use rehearsal::{Rehearsal, Traffic, WavePower, WaveRehearsal, rehearse};

/// What is to be rolled out.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Id of the new rollout.
    pub id: RolloutId,
    /// The rollout of this model before it.
    pub parent: Option<RolloutId>,
    /// Generation of the plan.
    pub generation: Generation,
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// Digest of its manifest.
    pub bundle: Digest,
    /// Its release counter.
    pub release_counter: ReleaseCounter,
    /// Bytes a device downloads.
    pub bytes: u64,
    /// What it needs.
    pub requires: &'a Requires,
    /// Ways back that offline keys signed: (from, to).
    pub ways_back: &'a BTreeSet<(Digest, Digest)>,
    /// The policy.
    pub policy: Policy,
}

/// An immutable plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Id of the rollout.
    pub id: RolloutId,
    /// The rollout of this model before it.
    pub parent: Option<RolloutId>,
    /// Its generation.
    pub generation: Generation,
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// Digest of its manifest.
    pub bundle: Digest,
    /// What most devices run now, and a revert gives back to a device that ran nothing it may return to.
    pub previous: Option<Digest>,
    /// Bytes a device downloads.
    pub bytes: u64,
    /// The policy, as it was when this was planned.
    pub policy: Policy,
    /// The waves, as many as the policy has.
    pub waves: Vec<PlannedWave>,
    /// Devices that are left out, and why.
    pub excluded: Vec<Excluded>,
    /// What a person should know before the start.
    pub warnings: Vec<String>,
    /// SHA-256 over all of the above.
    pub hash: Digest,
}

/// One wave of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedWave {
    /// Which devices the policy asked for, for people.
    pub select: String,
    /// The largest number of devices that may ever be in it; none for a wave without bound.
    pub cap: Option<usize>,
    /// Whether its devices commit by themselves (the last wave), or on the fleet's word.
    pub commits_locally: bool,
    /// Its devices.
    pub devices: Vec<PlannedDevice>,
}

/// A device of a wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedDevice {
    /// The device.
    pub device: DeviceId,
    /// What a revert gives back to it: only what an offline key signed a way back to.
    pub previous: Option<Digest>,
    /// What it runs now, and the new version is compared with.
    pub champion: Option<Digest>,
    /// Whether it was connected when this was planned.
    pub online: bool,
}

/// A device that gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// The device.
    pub device: DeviceId,
    /// `incompatible`, `outgrown`, `already`, `quarantined` or `not_selected`.
    pub verdict: String,
    /// Why, for people.
    pub reason: String,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No device is left.
    #[error("no device would get {model}@{version}: {why}")]
    NoDevices {
        /// The model.
        model: ModelName,
        /// The version.
        version: String,
        /// What became of them.
        why: String,
    },
    /// A wave selects nothing.
    #[error("wave {wave} ({select}) selects no device: add `optional = true` to it, or correct its selector")]
    EmptyWave {
        /// Its number, from 0.
        wave: usize,
        /// Its selector.
        select: String,
    },
    /// The policy reverts, but no offline key signed a way back.
    #[error(
        "the policy takes a bad version back by itself, but for {} (first: {first}) no offline key signed the way back from {model}@{version} to what runs there ({to}): approve the version with that way back, or use a policy with on_fail = \"pause\"",
        counted(*.devices, "device")
    )]
    NoWayBack {
        /// The model.
        model: ModelName,
        /// The version.
        version: String,
        /// How many.
        devices: usize,
        /// One of them.
        first: DeviceId,
        /// What it runs, short digest.
        to: String,
    },
}

/// What a revert gives back to a device that runs `active`.
#[must_use]
pub fn way_back(
    bundle: Digest,
    active: Option<Digest>,
    usual: Option<Digest>,
    ways_back: &BTreeSet<(Digest, Digest)>,
) -> Option<Digest> {
    active.or(usual).filter(|to| ways_back.contains(&(bundle, *to)))
}

/// Where a device stands in the order of a rollout.
#[must_use]
pub fn rank(rollout: &RolloutId, device: &DeviceId) -> Digest {
    Digest::of(format!("{rollout}\0{device}").as_bytes())
}

/// Makes a plan.
///
/// # Errors
/// [`PlanError`].
pub fn plan(request: Request<'_>, inventory: &[Candidate]) -> Result<Plan, PlanError> {
    let mut excluded = Vec::new();
    let mut pool: Vec<&Candidate> = Vec::new();
    for c in inventory {
        match exclusion(&request, c) {
            Some((verdict, reason)) => {
                excluded.push(Excluded { device: c.device.clone(), verdict: verdict.to_owned(), reason })
            }
            None => pool.push(c),
        }
    }
    if pool.is_empty() {
        let why = match (inventory.len(), excluded.first()) {
            (0, _) => "the fleet has no devices; enrol one first (`longshore devices token`)".to_owned(),
            (1, Some(e)) => format!("the only device is left out ({}: {})", e.device, e.reason),
            (n, Some(e)) => format!("all {n} devices are left out (first: {}: {})", e.device, e.reason),
            (_, None) => "all devices are left out".to_owned(),
        };
        return Err(PlanError::NoDevices { model: request.model, version: request.version, why });
    }
    let previous = usual(&pool);
    check_ways_back(&request, &pool)?;
    pool.sort_by_cached_key(|c| (!c.online, rank(&request.id, &c.device)));

    let all = pool.len();
    let last = request.policy.waves.len() - 1;
    let mut waves = Vec::new();
    for (i, wave) in request.policy.waves.iter().enumerate() {
        let cap = wave.select.cap(all);
        let mut left = Vec::new();
        let mut devices = Vec::new();
        for c in pool {
            if wave.select.admits(&c.labels)
                && cap.is_none_or(|cap| devices.len() < cap || broken(Rule::CapIgnored))
            {
                devices.push(PlannedDevice {
                    device: c.device.clone(),
                    previous: way_back(request.bundle, c.active, previous, request.ways_back),
                    champion: c.active,
                    online: c.online,
                });
            } else {
                left.push(c);
            }
        }
        pool = left;
        // "The rest" may well be nobody in a small fleet.
        if devices.is_empty() && !wave.optional && wave.select != Select::Rest {
            return Err(PlanError::EmptyWave { wave: i, select: wave.select.to_string() });
        }
        waves.push(PlannedWave { select: wave.select.to_string(), cap, commits_locally: i == last, devices });
    }
    for c in pool {
        excluded.push(Excluded {
            device: c.device.clone(),
            verdict: "not_selected".to_owned(),
            reason: "no wave of the policy selects it".to_owned(),
        });
    }
    let mut plan = Plan {
        warnings: warnings(&request, &waves, previous),
        id: request.id,
        parent: request.parent,
        generation: request.generation,
        model: request.model,
        version: request.version,
        bundle: request.bundle,
        previous,
        bytes: request.bytes,
        policy: request.policy,
        waves,
        excluded,
        hash: Digest::default(),
    };
    plan.hash = plan.compute_hash();
    Ok(plan)
}

/// Why a plan that was kept is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PlanTextError {
    /// It is no plan.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is not what was hashed.
    #[error("its hash does not match")]
    Changed,
}

impl Plan {
    fn compute_hash(&self) -> Digest {
        let unhashed = Self { hash: Digest::default(), ..self.clone() };
        Digest::of(unhashed.text().as_bytes())
    }
    /// The plan as it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a plan always encodes")
    }
    /// Reads a plan as it was kept. Its hash is held against that very text and never against what this program would write: a
    /// plan of another version of it, with fields that this one does not know or without some, is the plan that was agreed on.
    ///
    /// # Errors
    /// [`PlanTextError`].
    pub fn read(text: &str) -> Result<Self, PlanTextError> {
        let plan: Self = serde_json::from_str(text)?;
        let hashed = Self::hashed_text(text).ok_or(PlanTextError::Changed)?;
        let is_it = plan.hash == Digest::of(hashed.as_bytes());
        if is_it { Ok(plan) } else { Err(PlanTextError::Changed) }
    }
    /// The text whose SHA-256 is the hash of a plan that is kept as `text`: with zeros where its hash stands, which is last.
    #[must_use]
    pub fn hashed_text(text: &str) -> Option<String> {
        const BEFORE: &str = "\"hash\":\"";
        const AFTER: &str = "\"}";
        let zeros = Digest::default().to_hex();
        let whole = text.strip_suffix(AFTER)?;
        let (head, _) = whole.split_at_checked(whole.len().checked_sub(zeros.len())?)?;
        head.ends_with(BEFORE).then(|| [head, &zeros, AFTER].concat())
    }
    /// Devices in all waves.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.waves.iter().map(|w| w.devices.len()).sum()
    }
}

/// What most devices run.
fn usual(pool: &[&Candidate]) -> Option<Digest> {
    let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
    for c in pool {
        if let Some(active) = c.active {
            *counts.entry(active).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, n)| *n).map(|(d, _)| d)
}

/// Whether the bundle is not for this device, and why.
#[must_use]
pub fn exclusion(request: &Request<'_>, c: &Candidate) -> Option<(&'static str, String)> {
    if c.active == Some(request.bundle) {
        return Some(("already", "it runs this version already".to_owned()));
    }
    if let Some(reason) = &c.quarantined {
        let reason = format!("in quarantine: {reason}; `longshore devices release {}` ends that", c.device);
        return Some(("quarantined", reason));
    }
    if let (Some(active), Some(counter)) = (c.active, c.active_counter)
        && counter > request.release_counter
        && !request.ways_back.contains(&(active, request.bundle))
    {
        let reason = format!(
            "it runs a later release (counter {counter} > {}), and no offline key signed the way back",
            request.release_counter
        );
        return Some(("incompatible", reason));
    }
    let (Some(arch), Some(agent)) = (&c.arch, &c.agent) else {
        // It has not told what it is: its agent decides when the offer arrives.
        return None;
    };
    let features: Vec<&str> = c.features.iter().map(String::as_str).collect();
    let facts = DeviceFacts { arch, agent, memory_mb: c.memory_mb, features: &features };
    match request.requires.verdict(&facts) {
        Verdict::Compatible => None,
        Verdict::Incompatible { reason } => Some(("incompatible", reason)),
        Verdict::Outgrown { needs } => {
            Some(("outgrown", format!("its agent {agent} is too old: {needs} is needed")))
        }
    }
}

fn check_ways_back(request: &Request<'_>, pool: &[&Candidate]) -> Result<(), PlanError> {
    if !request.policy.reverts() {
        return Ok(());
    }
    let stuck: Vec<_> = pool
        .iter()
        .filter_map(|c| Some((c, c.active?)))
        .filter(|(_, active)| !request.ways_back.contains(&(request.bundle, *active)))
        .collect();
    match stuck.first() {
        None => Ok(()),
        Some((c, active)) => Err(PlanError::NoWayBack {
            model: request.model.clone(),
            version: request.version.clone(),
            devices: stuck.len(),
            first: c.device.clone(),
            to: active.short(),
        }),
    }
}

fn warnings(request: &Request<'_>, waves: &[PlannedWave], previous: Option<Digest>) -> Vec<String> {
    let mut out = Vec::new();
    if previous.is_none() {
        out.push(
            "no device runs this model yet: there is nothing to compare with, and a revert only revokes"
                .to_owned(),
        );
    }
    let gate = &request.policy.gate;
    for (i, wave) in waves.iter().enumerate() {
        let off = wave.devices.iter().filter(|d| !d.online).count();
        if off > 0 {
            out.push(format!(
                "wave {i}: {off} of {} not connected now",
                counted(wave.devices.len(), "device")
            ));
        }
        if !wave.devices.is_empty() && wave.devices.len() < gate.min_devices as usize {
            out.push(format!(
                "wave {i} has {}, fewer than min_devices = {}: all of them must run the version",
                counted(wave.devices.len(), "device"),
                gate.min_devices
            ));
        }
    }
    out
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
