//! Writes the promotion record of a rollout that completes, in the transaction that completes it.

use std::collections::BTreeMap;

use longshore_fleet_core::gate::Tally;
use longshore_fleet_core::promotion::{Approval, PromotionRecord, RECORD_VERSION, WaveRecord};
use longshore_fleet_core::shadow::ShadowResult;
use longshore_trust::{ModelName, UnixMs};
use serde_json::Value;

use crate::app::App;
use crate::store::rollout::{self, OwnedFacts, record};
use crate::store::{StoreError, Tx};

/// Writes and seals the record of a rollout that has just completed.
///
/// # Errors
/// When the database refuses; then the rollout has not completed.
pub async fn write(app: &App, tx: &mut Tx, owned: &OwnedFacts, now: UnixMs) -> Result<(), StoreError> {
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
        approved: approval(app, &r.model).await?,
        devices,
        candidate,
        champion,
        waves: waves.collect(),
        shadow: record::shadow(tx, r).await?.as_ref().and_then(ShadowResult::of),
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

/// Whose signatures stand under the metadata that approves versions of this model. It was verified when it was published.
async fn approval(app: &App, model: &ModelName) -> Result<Option<Approval>, StoreError> {
    let role = format!("models/{model}");
    let Some(bytes) = app.store.role_bytes(&role, None).await? else { return Ok(None) };
    let metadata: Value = serde_json::from_slice(&bytes).map_err(|e| StoreError::corrupt("metadata", e))?;
    let keys = metadata["signatures"].as_array().into_iter().flatten();
    let keys = keys.filter_map(|s| s["keyid"].as_str().map(str::to_owned)).collect();
    Ok(metadata["signed"]["version"].as_u64().map(|version| Approval { role, version, keys }))
}
