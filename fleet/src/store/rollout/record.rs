//! Promotion records, and what they are made of.

use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::promotion::{Approval, Deed};
use longshore_stats::ShadowTable;
use longshore_trust::{DeviceId, RolloutId, UnixMs};

use super::Rollout;
use crate::store::ingest::decode_counters;
use crate::store::{Store, StoreError, Tx, audit, to_i64, to_u64};

/// The action of the entry that seals a record.
pub const ACTION: &str = "rollout.record";
const HOUR_MS: u64 = 3_600_000;
/// Devices whose counts are in memory at once.
const DEVICES_AT_ONCE: u32 = 500;

/// A record as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Number of its entry in the audit log.
    pub entry: u64,
    /// Its text.
    pub record: String,
}

/// Keeps a record and seals it with an entry of the audit log; one that is there already stays.
///
/// # Errors
/// When the database refuses.
pub async fn seal(
    tx: &mut Tx,
    id: &RolloutId,
    record: &str,
    detail: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    let added = sqlx::query(
        "INSERT INTO rollout_record (rollout, entry, record)
         SELECT ?1, (SELECT coalesce(max(idx), -1) + 1 FROM audit_node WHERE level = 0), ?2
         WHERE NOT EXISTS (SELECT 1 FROM rollout_record WHERE rollout = ?1)",
    )
    .bind(id.as_str())
    .bind(record)
    .execute(tx.conn())
    .await?
    .rows_affected();
    if added == 0 {
        return Ok(());
    }
    audit::record(tx, now, "server", ACTION, id.as_str(), detail).await
}

/// What people did about a rollout, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn deeds(tx: &mut Tx, id: &RolloutId) -> Result<Vec<Deed>, StoreError> {
    let rows: Vec<(i64, i64, String, String)> = sqlx::query_as(
        "SELECT leaf, time, actor, action FROM audit
         WHERE object = ?1 AND action LIKE 'rollout.%' AND actor <> 'server' ORDER BY leaf",
    )
    .bind(id.as_str())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(entry, time, actor, action)| Deed {
            action,
            actor,
            time: UnixMs(to_u64(time)),
            entry: to_u64(entry),
        })
        .collect())
}

/// Keeps who approved the version of a plan, at the time it is made.
///
/// # Errors
/// When the database refuses.
pub async fn note_approval(tx: &mut Tx, id: &RolloutId, approval: &Approval) -> Result<(), StoreError> {
    let text = serde_json::to_string(approval).map_err(|e| StoreError::corrupt("approval", e))?;
    sqlx::query("UPDATE rollout_plan SET approved = ?2 WHERE rollout = ?1")
        .bind(id.as_str())
        .bind(text)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Who had approved the version when its plan was made; `None` of plans that were made before this was kept.
///
/// # Errors
/// When the database cannot be read.
pub async fn approval(tx: &mut Tx, id: &RolloutId) -> Result<Option<Approval>, StoreError> {
    let text: Option<Option<String>> =
        sqlx::query_scalar("SELECT approved FROM rollout_plan WHERE rollout = ?1")
            .bind(id.as_str())
            .fetch_optional(tx.conn())
            .await?;
    let approval = text.flatten().map(|t| serde_json::from_str(&t)).transpose();
    approval.map_err(|e| StoreError::corrupt("approval", e))
}

/// Keeps what a device counted with the bundle in shadow before this rollout, where it did, with its first offer.
pub(super) async fn note_shadow_before(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO rollout_shadow_before
         SELECT r.rollout, r.device, t.counters
         FROM rollout_device r JOIN rollout o ON o.id = r.rollout
         JOIN device_total t ON t.device = r.device AND t.model = o.model AND t.bundle = o.bundle
         WHERE r.rollout = ?1 AND r.device = ?2 AND r.offered_at IS NULL AND t.shadow_rows + t.shadow_errors > 0",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What the devices of a rollout that it had run its bundle in shadow counted there, in this rollout.
///
/// # Errors
/// When the database cannot be read.
pub async fn shadow(tx: &mut Tx, rollout: &Rollout, plan: &Plan) -> Result<Option<ShadowTable>, StoreError> {
    let waves = plan.policy.waves.iter().enumerate();
    let waves: Vec<usize> = waves.filter(|(_, w)| w.shadow_ms > 0).map(|(wave, _)| wave).collect();
    let (mut sum, mut last) = (None, String::new());
    while !waves.is_empty() {
        let rows: Vec<(String, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT r.device, t.counters, b.counters
             FROM rollout_device r JOIN device_total t ON t.device = r.device AND t.model = ?2 AND t.bundle = ?3
             LEFT JOIN rollout_shadow_before b ON b.rollout = r.rollout AND b.device = r.device
             WHERE r.rollout = ?1 AND r.device > ?4 AND r.offered_at IS NOT NULL
               AND r.wave IN (SELECT value FROM json_each(?5))
             ORDER BY r.device LIMIT ?6",
        )
        .bind(rollout.id.as_str())
        .bind(rollout.model.as_str())
        .bind(rollout.bundle.to_hex())
        .bind(&last)
        .bind(serde_json::json!(waves).to_string())
        .bind(DEVICES_AT_ONCE)
        .fetch_all(tx.conn())
        .await?;
        let Some((device, ..)) = rows.last() else { break };
        last.clone_from(device);
        for (device, now, before) in &rows {
            let Some(now) = decode_counters(now)?.shadow else { continue };
            let before = before.as_deref().map(decode_counters).transpose()?.and_then(|c| c.shadow);
            match before.map_or(Some(now.clone()), |before| now.since(&before)) {
                Some(table) => add(&mut sum, &table, &rollout.id),
                None => tracing::warn!(rollout = %rollout.id, device, "shadow counts fell: left out"),
            }
        }
    }
    Ok(sum)
}

fn add(sum: &mut Option<ShadowTable>, table: &ShadowTable, id: &RolloutId) {
    match sum {
        None => *sum = Some(table.clone()),
        // Counts of one bundle have one shape, but for what devices said before the bundle was known here.
        Some(sum) => {
            if let Err(error) = sum.merge(table) {
                tracing::warn!(%error, rollout = %id, "shadow counts have another shape: left out");
            }
        }
    }
}

/// What the whole fleet counted of a rollout's bundle in shadow since the hour it was started in: a few rows, however many
/// devices there are.
async fn shadow_of_fleet(
    conn: &mut sqlx::SqliteConnection,
    rollout: &Rollout,
) -> Result<Option<ShadowTable>, StoreError> {
    let Some(started) = rollout.started else { return Ok(None) };
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT counters FROM model_hour
         WHERE model = ?1 AND bundle = ?2 AND cohort = 'fleet' AND hour + span_h * 3600000 > ?3",
    )
    .bind(rollout.model.as_str())
    .bind(rollout.bundle.to_hex())
    .bind(to_i64(started.0.saturating_sub(HOUR_MS)))
    .fetch_all(conn)
    .await?;
    let mut sum = None;
    for bytes in rows {
        decode_counters(&bytes)?.shadow.iter().for_each(|table| add(&mut sum, table, &rollout.id));
    }
    Ok(sum)
}

impl Store {
    /// The record of a rollout that completed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout_record(&self, id: &str) -> Result<Option<Sealed>, StoreError> {
        let row: Option<(i64, String)> =
            sqlx::query_as("SELECT entry, record FROM rollout_record WHERE rollout = ?1")
                .bind(id.to_owned())
                .fetch_optional(self.read())
                .await?;
        Ok(row.map(|(entry, record)| Sealed { entry: to_u64(entry), record }))
    }
    /// What the whole fleet counted of its bundle in shadow.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout_shadow(&self, rollout: &Rollout) -> Result<Option<ShadowTable>, StoreError> {
        shadow_of_fleet(&mut *self.read().acquire().await?, rollout).await
    }
}
