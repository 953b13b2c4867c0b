//! What changes of one device of a rollout: its state, its offers, and what was last said to it.

use longshore_fleet_core::rollout::DeviceState;
use longshore_trust::{AssignmentVersion, DeviceId, Digest, RolloutId, UnixMs};

use super::Mark;
use crate::store::{StoreError, Tx, to_i64};

/// Writes the state a device has reached.
///
/// # Errors
/// When the database refuses.
pub async fn set_device(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    state: DeviceState,
    code: Option<&str>,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout_device SET state = ?3, code = ?4, changed = ?5 WHERE rollout = ?1 AND device = ?2",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(state.as_str())
    .bind(code)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes what a device that was not offered anything yet ran before, and what a revert gives back to it.
///
/// # Errors
/// When the database refuses.
pub async fn set_before(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    previous: Option<Digest>,
    champion: Option<Digest>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout_device SET previous = ?3, champion = ?4
         WHERE rollout = ?1 AND device = ?2 AND offered_at IS NULL",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(previous.map(|d| d.to_hex()))
    .bind(champion.map(|d| d.to_hex()))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes an offer; with the first one, what the device had counted with the bundle before.
///
/// # Errors
/// When the database refuses.
pub async fn set_offer(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    version: AssignmentVersion,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout_device AS r SET
             (base_rows, base_errors, base_labelled, base_correct) =
               (SELECT coalesce(sum(t.rows), 0), coalesce(sum(t.errors), 0), coalesce(sum(t.labelled), 0),
                       coalesce(sum(t.correct), 0)
                FROM device_total t JOIN rollout o ON o.id = r.rollout
                WHERE t.device = r.device AND t.model = o.model AND t.bundle = o.bundle)
         WHERE rollout = ?1 AND device = ?2 AND offered_at IS NULL",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "UPDATE rollout_device SET state = 'offered', code = NULL, assignment_version = ?3, offered_at = ?4,
             attempts = attempts + 1, committed_at = NULL, renewed_at = NULL, halted_at = NULL, changed = ?4
         WHERE rollout = ?1 AND device = ?2",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(to_i64(version.0))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes which assignment takes the version back from a device.
///
/// # Errors
/// When the database refuses.
pub async fn set_revert(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    version: AssignmentVersion,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout_device SET revert_version = ?3, changed = ?4 WHERE rollout = ?1 AND device = ?2",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(to_i64(version.0))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes when something was last said to a device.
///
/// # Errors
/// When the database refuses.
pub async fn mark(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    mark: Mark,
    now: UnixMs,
) -> Result<(), StoreError> {
    let column = match mark {
        Mark::Committed => "committed_at",
        Mark::Renewed => "renewed_at",
        Mark::Halted => "halted_at",
    };
    // Only a constant is put into the text.
    let sql = format!("UPDATE rollout_device SET {column} = ?3 WHERE rollout = ?1 AND device = ?2");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.as_str())
        .bind(device.as_str())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(())
}
