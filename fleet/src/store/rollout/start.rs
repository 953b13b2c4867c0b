//! How a rollout begins and how it is taken back: who said yes, when it starts, and the plans of reverts.

use longshore_fleet_core::rollout::RevertPlan;
use longshore_trust::{DeviceId, Generation, RolloutId, UnixMs};
use sqlx::SqliteConnection;

use super::{first_generation, last_generation, touch};
use crate::store::{Store, StoreError, Tx, audit, get_meta, set_meta, to_i64};

/// The audit log says at most so often that devices are ahead of this record, ms.
const SAID_AGAIN_MS: u64 = 3_600_000;

/// A device told of a generation. One that this record never gave out is proof that the record is older than what devices
/// hold: generations go on after it, and the audit log says so.
///
/// # Errors
/// When the database refuses.
pub async fn heard_generation(
    tx: &mut Tx,
    device: &DeviceId,
    told: Generation,
    now: UnixMs,
) -> Result<(), StoreError> {
    if told.0 == 0 {
        return Ok(());
    }
    let known = last_generation(tx).await?;
    // No fleet gave out what belongs to a later epoch: a device that tells of it could otherwise use the numbers up, and
    // after a restore nobody would accept a plan.
    let epoch: u64 = get_meta(tx, "epoch").await?.and_then(|t| t.parse().ok()).unwrap_or(1);
    if told <= known || told.0 >= first_generation(epoch.saturating_add(1)) {
        return Ok(());
    }
    set_meta(tx, "generation", &told.to_string()).await?;
    // One device must not fill the log.
    let said: u64 = get_meta(tx, "behind_devices_said").await?.and_then(|t| t.parse().ok()).unwrap_or(0);
    if now.since(UnixMs(said)) < SAID_AGAIN_MS {
        return Ok(());
    }
    set_meta(tx, "behind_devices_said", &now.to_string()).await?;
    let text = format!(
        "{device} holds generation {told}, this record knows of {known}: it is older than what devices hold (restored from \
         a backup?); new plans come after {told}"
    );
    audit::record(tx, now, "server", "fleet.behind_devices", device.as_str(), &text).await
}

/// Remembers who said yes to a plan.
///
/// # Errors
/// When the database refuses.
pub async fn authorize(tx: &mut Tx, id: &RolloutId, by: &str, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query("UPDATE rollout SET authorized_by = ?2, authorized_at = ?3 WHERE id = ?1")
        .bind(id.as_str())
        .bind(by)
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    touch(tx, id).await
}

/// Forgets who said yes: it was to something else.
///
/// # Errors
/// When the database refuses.
pub async fn void_authorization(tx: &mut Tx, id: &RolloutId) -> Result<(), StoreError> {
    sqlx::query("UPDATE rollout SET authorized_by = NULL, authorized_at = NULL WHERE id = ?1")
        .bind(id.as_str())
        .execute(tx.conn())
        .await?;
    touch(tx, id).await
}

/// Remembers how a rollout is to start, once it may.
///
/// # Errors
/// When the database refuses.
pub async fn set_start(
    tx: &mut Tx,
    id: &RolloutId,
    at: Option<UnixMs>,
    supersede: bool,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE rollout SET start_at = ?2, start_supersede = ?3 WHERE id = ?1")
        .bind(id.as_str())
        .bind(at.map(|t| to_i64(t.0)))
        .bind(supersede)
        .execute(tx.conn())
        .await?;
    touch(tx, id).await
}

/// Writes the plan of taking a rollout back. Devices of it that could not go back before are told once more.
///
/// # Errors
/// When the database refuses.
pub async fn put_revert(tx: &mut Tx, id: &RolloutId, plan: &RevertPlan) -> Result<(), StoreError> {
    let json = serde_json::to_string(plan).map_err(|e| StoreError::corrupt("revert plan", e))?;
    sqlx::query("INSERT INTO rollout_revert (rollout, generation, made, plan) VALUES (?1, ?2, ?3, ?4)")
        .bind(id.as_str())
        .bind(to_i64(plan.generation.0))
        .bind(to_i64(plan.made.0))
        .bind(json)
        .execute(tx.conn())
        .await?;
    let devices: Vec<&str> = plan.waves.iter().flatten().map(|target| target.device.as_str()).collect();
    let devices = serde_json::to_string(&devices).map_err(|e| StoreError::corrupt("revert plan", e))?;
    sqlx::query(
        "UPDATE rollout_device SET revert_version = NULL
         WHERE rollout = ?1 AND revert_version IS NOT NULL AND device IN (SELECT value FROM json_each(?2))",
    )
    .bind(id.as_str())
    .bind(devices)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Whether a rollout is being taken back, or was.
///
/// # Errors
/// When the database refuses.
pub async fn has_revert(tx: &mut Tx, id: &RolloutId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM rollout_revert WHERE rollout = ?1)")
        .bind(id.as_str())
        .fetch_one(tx.conn())
        .await?)
}

impl Store {
    /// Plans of taking a rollout back, newest first.
    ///
    /// # Errors
    /// When the database cannot be read, or a plan was changed.
    pub async fn rollout_reverts(&self, id: &str) -> Result<Vec<RevertPlan>, StoreError> {
        find_reverts(&mut *self.read().acquire().await?, id, 100).await
    }
}

/// The last plan of taking a rollout back.
pub(super) async fn find_revert(
    c: &mut SqliteConnection,
    id: &str,
) -> Result<Option<RevertPlan>, StoreError> {
    Ok(find_reverts(c, id, 1).await?.pop())
}

async fn find_reverts(c: &mut SqliteConnection, id: &str, limit: u32) -> Result<Vec<RevertPlan>, StoreError> {
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT plan FROM rollout_revert WHERE rollout = ?1 ORDER BY generation DESC LIMIT ?2",
    )
    .bind(id.to_owned())
    .bind(limit)
    .fetch_all(c)
    .await?;
    texts
        .iter()
        .map(|text| {
            let plan: RevertPlan =
                serde_json::from_str(text).map_err(|e| StoreError::corrupt("revert plan", e))?;
            if plan.is_intact() {
                Ok(plan)
            } else {
                Err(StoreError::corrupt("revert plan", "its hash does not match"))
            }
        })
        .collect()
}
