//! Writes the promotion record of a rollout that completes, in the transaction that completes it; who approved the version is
//! kept when the plan is made, because metadata goes on.

use std::collections::BTreeMap;

use longshore_fleet_core::gate::Tally;
use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::promotion::{Approval, PromotionRecord, RECORD_VERSION, WaveRecord};
use longshore_fleet_core::shadow::ShadowResult;
use longshore_trust::UnixMs;
use longshore_trust::tuf::edit::{self, Signed};
use longshore_trust::tuf::key_id;

use crate::store::rollout::{self, OwnedFacts, record};
use crate::store::{StoreError, Tx, trust};

/// Writes and seals the record of a rollout that has just completed.
///
/// # Errors
/// When the database refuses; then the rollout has not completed.
pub async fn write(tx: &mut Tx, owned: &OwnedFacts, now: UnixMs) -> Result<(), StoreError> {
    let (r, plan) = (&owned.rollout, &owned.plan);
    let mut devices = BTreeMap::<String, u64>::new();
    let mut replaced = BTreeMap::<String, u64>::new();
    let (mut candidate, mut champion) = (Tally::default(), Tally::default());
    for d in &owned.devices {
        *devices.entry(d.state.to_string()).or_default() += 1;
        if let Some(before) = d.previous {
            *replaced.entry(before.to_hex()).or_default() += 1;
        }
        add(&mut candidate, &d.candidate);
        d.champion.iter().for_each(|t| add(&mut champion, t));
    }
    let waves = rollout::waves(tx, &r.id).await?.into_iter().enumerate();
    let waves = waves.map(|(wave, w)| WaveRecord {
        wave,
        state: w.state,
        skipped: w.skipped,
        opened: w.opened,
        judged: w.judged,
        verdict: w.verdict,
    });
    let record = PromotionRecord {
        v: RECORD_VERSION,
        rollout: r.id.clone(),
        generation: plan.generation,
        plan_hash: plan.hash,
        policy: plan.policy.name.clone(),
        model: r.model.clone(),
        version: r.version.clone(),
        bundle: r.bundle,
        replaced,
        planned: r.created,
        started: r.started,
        completed: now,
        people: record::deeds(tx, &r.id).await?,
        approved: record::approval(tx, &r.id).await?,
        devices,
        candidate,
        champion,
        waves: waves.collect(),
        shadow: record::shadow(tx, r, plan).await?.as_ref().and_then(ShadowResult::of),
    };
    let (text, digest) = record.sealed();
    let detail = format!("sha256:{digest} {}@{}, plan {}", r.model, r.version, plan.hash);
    record::seal(tx, &r.id, &text, &detail, now).await
}

fn add(sum: &mut Tally, more: &Tally) {
    sum.rows = sum.rows.saturating_add(more.rows);
    sum.errors = sum.errors.saturating_add(more.errors);
    sum.labelled = sum.labelled.saturating_add(more.labelled);
    sum.correct = sum.correct.saturating_add(more.correct);
}

/// Keeps with a plan that is being made who approved its version: the metadata of now, and those of its keys whose
/// signatures hold.
///
/// # Errors
/// When the database refuses, or published metadata cannot be read.
pub async fn note_approval(tx: &mut Tx, plan: &Plan) -> Result<(), StoreError> {
    let role = format!("models/{}", plan.model);
    let newest = trust::newest(tx, "targets").await?.zip(trust::newest(tx, &role).await?);
    let Some(((_, delegator), (version, bytes))) = newest else { return Ok(()) };
    let corrupt = |e| StoreError::corrupt("published targets metadata", e);
    let delegations = edit::read_targets(&delegator).map_err(corrupt)?.delegations;
    let Some(delegation) = delegations.into_iter().find(|d| d.role == role) else { return Ok(()) };
    let signers = Signed::from_bytes(&bytes).map_err(corrupt)?.signers(&delegation.keys);
    let keys = signers.iter().map(key_id).collect();
    record::note_approval(tx, &plan.id, &Approval { role, version, keys }).await
}
