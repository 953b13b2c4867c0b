//! What devices did with the version they run now: what the rehearsal speaks of.

use longshore_fleet_core::plan::Traffic;
use longshore_trust::{Digest, ModelName};
use sqlx::Row as _;

use crate::store::{StoreError, Tx, to_u64};

const HOUR_MS: f64 = 3_600_000.0;

/// Over the last windows of every device that sent some; `None` when nothing was counted.
///
/// # Errors
/// When the database refuses.
pub async fn traffic(tx: &mut Tx, model: &ModelName, bundle: &Digest) -> Result<Option<Traffic>, StoreError> {
    let recent = sqlx::query(
        "SELECT coalesce(sum(rows), 0) AS rows, coalesce(sum(errors), 0) AS errors,
                coalesce(sum(labelled), 0) AS labelled, coalesce(sum(correct), 0) AS correct,
                coalesce(sum(\"end\" - start), 0) AS span, count(DISTINCT device) AS devices
         FROM device_window WHERE bundle = ?1 AND model = ?2 AND supplement = 0",
    )
    .bind(bundle.to_hex())
    .bind(model.as_str())
    .fetch_one(tx.conn())
    .await?;
    // Labels come later than the rows they belong to: shares are of everything that was ever counted.
    let total = sqlx::query(
        "SELECT coalesce(sum(rows), 0) AS rows, coalesce(sum(errors), 0) AS errors,
                coalesce(sum(labelled), 0) AS labelled, coalesce(sum(correct), 0) AS correct, count(*) AS devices
         FROM device_total WHERE model = ?2 AND bundle = ?1",
    )
    .bind(bundle.to_hex())
    .bind(model.as_str())
    .fetch_one(tx.conn())
    .await?;
    let of = |row: &sqlx::sqlite::SqliteRow, name: &str| -> Result<f64, StoreError> {
        Ok(to_u64(row.try_get(name)?) as f64)
    };
    let (rows, span) = (of(&recent, "rows")?, of(&recent, "span")?);
    if rows == 0.0 || span == 0.0 {
        return Ok(None);
    }
    let rows_per_hour = rows / (span / HOUR_MS);
    let (all, errors, labelled) = (of(&total, "rows")?, of(&total, "errors")?, of(&total, "labelled")?);
    let devices = of(&total, "devices")?.max(1.0);
    Ok(Some(Traffic {
        rows_per_hour,
        labelled_share: (labelled / all.max(1.0)).min(1.0),
        history_h: all / devices / rows_per_hour,
        accuracy: if labelled > 0.0 { of(&total, "correct")? / labelled } else { 1.0 },
        error_rate: errors / (all + errors).max(1.0),
        devices: to_u64(recent.try_get("devices")?),
    }))
}
