//! Devices in quarantine: they failed again and again where others did not, and are offered nothing until a person releases
//! them.

use longshore_trust::{DeviceId, UnixMs};

use super::{StoreError, Tx, audit, to_i64};

/// Puts a device into quarantine, if it is not there yet.
///
/// # Errors
/// When the database refuses.
pub async fn put(tx: &mut Tx, device: &DeviceId, reason: &str, now: UnixMs) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE device SET quarantined_at = ?2, quarantine_reason = ?3 WHERE id = ?1 AND quarantined_at IS NULL",
    )
    .bind(device.as_str())
    .bind(to_i64(now.0))
    .bind(reason)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() > 0 {
        audit::record(tx, now, "server", "device.quarantined", device.as_str(), reason).await?;
    }
    Ok(())
}

/// Releases a device; its failures are forgotten. Whether it was in quarantine.
///
/// # Errors
/// When the database refuses.
pub async fn release(tx: &mut Tx, device: &DeviceId, actor: &str, now: UnixMs) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE device SET quarantined_at = NULL, quarantine_reason = NULL, failures = 0
         WHERE id = ?1 AND quarantined_at IS NOT NULL",
    )
    .bind(device.as_str())
    .execute(tx.conn())
    .await?;
    if done.rows_affected() > 0 {
        audit::record(tx, now, actor, "device.released", device.as_str(), "").await?;
    }
    Ok(done.rows_affected() > 0)
}
