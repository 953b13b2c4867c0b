//! What was done by whom, written in the same transaction as the deed.

use longshore_trust::UnixMs;

use super::{StoreError, Tx, to_i64};

/// Adds a line to the audit log.
///
/// # Errors
/// When the database refuses.
pub async fn record(
    tx: &mut Tx,
    now: UnixMs,
    actor: &str,
    action: &str,
    object: &str,
    detail: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit (time, actor, action, object, detail) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(to_i64(now.0))
        .bind(actor)
        .bind(action)
        .bind(object)
        .bind(detail)
        .execute(tx.conn())
        .await?;
    Ok(())
}
