//! Promotion records, and what they are made of.

use longshore_fleet_core::promotion::Deed;
use longshore_stats::ShadowTable;
use longshore_trust::{RolloutId, UnixMs};

use super::Rollout;
use crate::store::ingest::decode_counters;
use crate::store::{Store, StoreError, Tx, audit, to_i64, to_u64};

/// The action of the entry that seals a record.
pub const ACTION: &str = "rollout.record";
const HOUR_MS: u64 = 3_600_000;

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

/// What the whole fleet counted of a rollout's bundle in shadow since the hour it was started in: one model has one rollout
/// at a time.
///
/// # Errors
/// When the database cannot be read.
pub async fn shadow(tx: &mut Tx, rollout: &Rollout) -> Result<Option<ShadowTable>, StoreError> {
    shadow_of(tx.conn(), rollout).await
}

async fn shadow_of(
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
    let mut sum: Option<ShadowTable> = None;
    for bytes in rows {
        let Some(table) = decode_counters(&bytes)?.shadow else { continue };
        match &mut sum {
            None => sum = Some(table),
            // Hours of one bundle have one shape, but for what devices said before the bundle was known here.
            Some(sum) => {
                if let Err(error) = sum.merge(&table) {
                    tracing::warn!(%error, rollout = %rollout.id, "an hour of shadow counts has another shape: left out");
                }
            }
        }
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
        shadow_of(&mut *self.read().acquire().await?, rollout).await
    }
}
