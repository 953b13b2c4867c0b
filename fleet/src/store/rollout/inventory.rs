//! What the planner knows of the fleet.

use std::collections::BTreeMap;

use longshore_fleet_core::plan::{Candidate, Elsewhere};
use longshore_trust::{ModelName, ReleaseCounter, RolloutId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::zone::zone_of;
use crate::store::presence::presence;
use crate::store::{StoreError, Tx, to_u64};

/// Every device that is not revoked, with what it runs of `model`; without those that are in the rollout `not_in`.
///
/// # Errors
/// When the database refuses or holds something that cannot be read.
pub async fn inventory(
    tx: &mut Tx,
    model: &ModelName,
    not_in: Option<&RolloutId>,
) -> Result<Vec<Candidate>, StoreError> {
    let rows = sqlx::query(
        "SELECT d.id, d.labels, d.online, d.inventory, m.active, v.release_counter, p.since_hour, p.heard,
                CASE WHEN d.quarantined_at IS NOT NULL THEN coalesce(d.quarantine_reason, '') END AS quarantined,
                e.id AS elsewhere, e.priority AS elsewhere_priority
         FROM device d
         LEFT JOIN device_presence p ON p.device = d.id
         LEFT JOIN rollout e ON e.id = (SELECT o.id FROM rollout o JOIN rollout_device r ON r.rollout = o.id
                AND r.device = d.id
             WHERE o.model = ?1 AND o.state IN ('running', 'paused', 'halting', 'reverting')
             ORDER BY o.priority DESC, o.generation LIMIT 1)
         LEFT JOIN device_model m ON m.device = d.id AND m.model = ?1
         LEFT JOIN bundle_version v ON v.bundle = m.active
         WHERE d.revoked_at IS NULL AND d.wipe_asked_at IS NULL
           AND (?2 IS NULL OR NOT EXISTS (SELECT 1 FROM rollout_device r WHERE r.rollout = ?2 AND r.device = d.id))
         ORDER BY d.id",
    )
    .bind(model.as_str())
    .bind(not_in.map(|r| r.as_str().to_owned()))
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(candidate).collect()
}

/// The parts of an inventory the planner asks about.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Told {
    arch: Option<String>,
    agent: Option<String>,
    memory_kib: Option<u64>,
    labels: BTreeMap<String, String>,
    features: Vec<String>,
    zone: Option<String>,
}

fn candidate(r: &SqliteRow) -> Result<Candidate, StoreError> {
    let told: Told = match r.try_get::<Option<String>, _>("inventory")? {
        Some(text) => serde_json::from_str(&text).map_err(|e| StoreError::corrupt("inventory", e))?,
        None => Told::default(),
    };
    // Labels given at enrolment are the fleet's word; the device's own come second.
    let mut labels = told.labels;
    let given: BTreeMap<String, String> = serde_json::from_str(&r.try_get::<String, _>("labels")?)
        .map_err(|e| StoreError::corrupt("device labels", e))?;
    labels.extend(given);
    let said = labels.get("tz").or(told.zone.as_ref()).cloned();
    let zone =
        zone_of(labels.get("tz").map(String::as_str), told.zone.as_deref()).map(|(name, _)| name.to_owned());
    let elsewhere = match r.try_get::<Option<String>, _>("elsewhere")? {
        Some(id) => Some(Elsewhere {
            rollout: id.parse().map_err(|e| StoreError::corrupt("rollout id", e))?,
            priority: r.try_get("elsewhere_priority")?,
        }),
        None => None,
    };
    let device = r.try_get::<String, _>("id")?.parse().map_err(|e| StoreError::corrupt("device id", e))?;
    Ok(Candidate {
        bad_zone: if zone.is_none() { said } else { None },
        zone,
        quarantined: r.try_get("quarantined")?,
        elsewhere,
        presence: presence(r)?,
        labels,
        arch: told.arch,
        agent: told.agent.and_then(|a| a.parse().ok()),
        memory_mb: told.memory_kib.map(|k| k / 1024),
        features: told.features,
        online: r.try_get::<i64, _>("online")? != 0,
        active: r
            .try_get::<Option<String>, _>("active")?
            .map(|a| a.parse())
            .transpose()
            .map_err(|e| StoreError::corrupt("bundle digest", e))?,
        active_counter: r.try_get::<Option<i64>, _>("release_counter")?.map(|n| ReleaseCounter(to_u64(n))),
        ..Candidate::new(device)
    })
}
