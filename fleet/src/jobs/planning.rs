//! From the catalogue and the inventory to a plan.

use std::collections::{BTreeMap, BTreeSet};

use longshore_bundle::{Manifest, Requires};
use longshore_fleet_core::plan::{
    Candidate, Plan, PlanError, Rehearsal, Request, exclusion, plan, rehearse, way_back,
};
use longshore_fleet_core::policy::Policy;
use longshore_fleet_core::rollout::LateDevice;
use longshore_trust::tuf::ReleaseInfo;
use longshore_trust::{Digest, Generation, ModelName, ReleaseCounter, RolloutId, UnixMs};
use longshore_wire::v1::{Mode, Slot};

use crate::store::catalogue::Version;
use crate::store::{StoreError, Tx, catalogue, rollout, trust};

/// A version that offline keys approved, with what the planner and the director need of it.
#[derive(Debug, Clone)]
pub struct Release {
    /// The version.
    pub version: Version,
    /// Its release counter.
    pub counter: ReleaseCounter,
    /// What it needs.
    pub requires: Requires,
}

/// Why a version cannot be rolled out.
#[derive(Debug, thiserror::Error)]
pub enum PlanningError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such version.
    #[error("{model}@{version} is not in the catalogue: `longshore models show {model}` lists its versions")]
    Unknown {
        /// The model.
        model: ModelName,
        /// The version.
        version: String,
    },
    /// Not released, or no longer.
    #[error("{model}@{version} is {state}{why}: {hint}")]
    NotReleased {
        /// The model.
        model: ModelName,
        /// The version.
        version: String,
        /// Its state.
        state: String,
        /// Why a person moved it there, in brackets; empty when nobody said so.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The planner.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Looks a version up that new plans may use.
///
/// # Errors
/// [`PlanningError`].
pub async fn release(tx: &mut Tx, model: &ModelName, version: &str) -> Result<Release, PlanningError> {
    let found = catalogue::version(tx, model, version)
        .await?
        .ok_or_else(|| PlanningError::Unknown { model: model.clone(), version: version.to_owned() })?;
    let hint = match found.state.as_str() {
        "approved" | "deprecated" => None,
        "retired" => Some("a retired version is refused in new plans; publish a new version"),
        "checked" => Some("a threshold of release keys must approve it first (`longshore approve`)"),
        "draft" => Some("its check is not finished; look again in a moment"),
        _ => Some("its check refused it (`longshore models show` says why)"),
    };
    let not = |hint| PlanningError::NotReleased {
        model: model.clone(),
        version: version.to_owned(),
        state: found.state.clone(),
        why: if found.state_reason.is_empty() { String::new() } else { format!(" ({})", found.state_reason) },
        hint,
    };
    if let Some(hint) = hint {
        return Err(not(hint));
    }
    let counter = found.release_counter.ok_or_else(|| not("its approval names no release counter"))?;
    let requires =
        Manifest::parse(found.manifest.as_bytes()).map_err(|e| StoreError::corrupt("manifest", e))?.requires;
    Ok(Release { version: found, counter, requires })
}

/// Every way back that offline keys signed for a model: (from, to).
///
/// # Errors
/// When the database refuses or the published metadata cannot be read.
pub async fn ways_back(tx: &mut Tx, model: &ModelName) -> Result<BTreeSet<(Digest, Digest)>, StoreError> {
    let Some((_, bytes)) = trust::newest(tx, &format!("models/{model}")).await? else {
        return Ok(BTreeSet::new());
    };
    let spec = longshore_trust::tuf::edit::read_targets(&bytes)
        .map_err(|e| StoreError::corrupt("published targets metadata", e))?;
    Ok(spec
        .targets
        .values()
        .filter_map(|t| ReleaseInfo::from_custom(&t.custom).ok())
        .flat_map(|info| info.rollback_ok)
        .map(|r| (r.from, r.to))
        .collect())
}

fn request<'a>(
    id: RolloutId,
    parent: Option<RolloutId>,
    generation: Generation,
    release: &'a Release,
    ways_back: &'a BTreeSet<(Digest, Digest)>,
    policy: Policy,
) -> Request<'a> {
    Request {
        id,
        parent,
        generation,
        model: release.version.model.clone(),
        version: release.version.version.clone(),
        bundle: release.version.bundle,
        release_counter: release.counter,
        bytes: release.version.bytes,
        requires: &release.requires,
        ways_back,
        policy,
    }
}

/// Plans a rollout; writes nothing.
///
/// # Errors
/// [`PlanningError`].
pub async fn make(
    tx: &mut Tx,
    id: RolloutId,
    generation: Generation,
    parent: Option<RolloutId>,
    release: &Release,
    policy: Policy,
) -> Result<Plan, PlanningError> {
    let ways = ways_back(tx, &release.version.model).await?;
    let inventory = rollout::inventory(tx, &release.version.model, None).await?;
    Ok(plan(request(id, parent, generation, release, &ways, policy), &inventory)?)
}

/// Rehearses a plan with the fleet as it is now; writes nothing.
///
/// # Errors
/// When the database refuses.
pub async fn rehearsal(tx: &mut Tx, plan: &Plan, now: UnixMs) -> Result<Rehearsal, StoreError> {
    let inventory = rollout::inventory(tx, &plan.model, None).await?;
    let traffic = match &plan.previous {
        Some(previous) => rollout::traffic(tx, &plan.model, previous).await?,
        None => None,
    };
    Ok(rehearse(plan, &inventory, traffic, &|name| jiff::tz::TimeZone::get(name).ok(), now))
}

/// Brings what a revert gives back, and what the version is compared with, up to what the devices of a plan run now: since
/// it was made another rollout may have changed that, or been taken back. Answers how many of them have no way back.
///
/// # Errors
/// When the database refuses.
pub async fn follow(tx: &mut Tx, plan: &Plan) -> Result<u64, StoreError> {
    let ways = ways_back(tx, &plan.model).await?;
    let inventory = rollout::inventory(tx, &plan.model, None).await?;
    let runs: BTreeMap<_, _> = inventory.iter().map(|c| (&c.device, c.active)).collect();
    let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
    for active in runs.values().flatten().filter(|active| **active != plan.bundle) {
        *counts.entry(*active).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(_, n)| *n).map(|(bundle, _)| bundle);
    let mut stuck = 0;
    for d in plan.waves.iter().flat_map(|w| &w.devices) {
        let Some(active) = runs.get(&d.device).copied().filter(|active| *active != Some(plan.bundle)) else {
            continue;
        };
        let previous = way_back(plan.bundle, active, usual, &ways);
        stuck += u64::from(active.is_some() && previous.is_none());
        if (active, previous) != (d.champion, d.previous) {
            rollout::set_before(tx, &plan.id, &d.device, previous, active).await?;
        }
    }
    Ok(stuck)
}

/// Devices that are in no wave of a rollout, but could run its version.
///
/// # Errors
/// When the database refuses.
pub async fn late(tx: &mut Tx, plan: &Plan) -> Result<Vec<LateDevice>, StoreError> {
    let rest: Vec<Candidate> = rollout::inventory(tx, &plan.model, Some(&plan.id)).await?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let release = match release(tx, &plan.model, &plan.version).await {
        Ok(release) => release,
        Err(PlanningError::Store(e)) => return Err(e),
        // A version that was withdrawn since is offered to nobody new.
        Err(_) => return Ok(Vec::new()),
    };
    let ways = ways_back(tx, &plan.model).await?;
    let request = request(plan.id.clone(), None, plan.generation, &release, &ways, plan.policy.clone());
    Ok(rest
        .into_iter()
        .filter(|c| exclusion(&request, c).is_none() && c.elsewhere.is_none())
        .map(|c| LateDevice {
            previous: way_back(plan.bundle, c.active, plan.previous, &ways),
            champion: c.active,
            device: c.device,
            labels: c.labels,
        })
        .collect())
}

/// The slot of a version, as the director signs it.
#[must_use]
pub fn slot(version: &Version, counter: ReleaseCounter) -> Slot {
    Slot {
        model: version.model.clone(),
        manifest_path: format!("{}/{}/manifest.json", version.model, version.version),
        sha256: version.bundle,
        length: version.manifest.len() as u64,
        release_counter: counter,
        mode: Mode::Active,
    }
}
