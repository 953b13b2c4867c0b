//! Taking a version back, as a rollout of its own: a plan with a parent, a generation and a hash, and a gate.
//!
//! A few devices go first, the ones that can be reached; when the version before does not come up on them either, nobody
//! else is sent there. The devices are those that were offered the version and may run it: nobody is told to go back who
//! never went.

use longshore_trust::{DeviceId, Digest, Generation, RolloutId, UnixMs};
use serde::{Deserialize, Serialize};

use super::{DeviceFact, step};
use crate::plan::{Plan, rank};

/// Fewer devices than this go back together.
const SMALL: usize = 20;
/// At most so many go first.
const MOST_FIRST: usize = 50;

/// How a rollout is taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevertPlan {
    /// The rollout that is taken back.
    pub parent: RolloutId,
    /// Hash of its plan.
    pub parent_hash: Digest,
    /// The generation of the assignments.
    pub generation: Generation,
    /// When it was made.
    pub made: UnixMs,
    /// Least share of the first wave that must get its version back; none when a person said to go on regardless.
    pub success: Option<f64>,
    /// Who gets what, in waves.
    pub waves: Vec<Vec<RevertTarget>>,
    /// SHA-256 over all of the above.
    pub hash: Digest,
}

/// What one device gets back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertTarget {
    /// The device.
    pub device: DeviceId,
    /// The bundle.
    pub to: Digest,
}

impl RevertPlan {
    /// Whether nothing in it was changed since it was made.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.hash == self.compute_hash()
    }
    fn compute_hash(&self) -> Digest {
        let unhashed = Self { hash: Digest::default(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&unhashed).expect("a plan always encodes"))
    }
    /// Devices in all waves.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.waves.iter().map(Vec::len).sum()
    }
}

/// Plans how the devices of a rollout get their previous versions back.
#[must_use]
pub fn plan_revert(
    plan: &Plan,
    devices: &[DeviceFact],
    generation: Generation,
    gated: bool,
    now: UnixMs,
) -> RevertPlan {
    let mut going: Vec<&DeviceFact> = devices.iter().filter(|d| step::goes_back(d)).collect();
    going.sort_by_cached_key(|d| (!d.online, rank(&plan.id, &d.device)));
    let targets =
        going.iter().filter_map(|d| Some(RevertTarget { device: d.device.clone(), to: d.previous? }));
    let mut first: Vec<RevertTarget> = targets.collect();
    let mut waves = Vec::new();
    if gated && first.len() >= SMALL {
        let rest = first.split_off((first.len() / 20).clamp(2, MOST_FIRST));
        waves.push(first);
        waves.push(rest);
    } else {
        waves.push(first);
    }
    let mut revert = RevertPlan {
        parent: plan.id.clone(),
        parent_hash: plan.hash,
        generation,
        made: now,
        success: gated.then_some(plan.policy.gate.success),
        waves,
        hash: Digest::default(),
    };
    revert.hash = revert.compute_hash();
    revert
}
