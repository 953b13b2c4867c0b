//! In which hours of the week each device is heard of. Written once an hour for each device, read by the planner.

use longshore_fleet_core::plan::{HOURS_A_WEEK, Presence};
use longshore_trust::{DeviceId, UnixMs};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{StoreError, Tx, to_i64, to_u64};

const HOUR_MS: u64 = 3_600_000;

/// The device was heard of now.
///
/// # Errors
/// When the database refuses.
pub async fn heard(tx: &mut Tx, device: &DeviceId, now: UnixMs) -> Result<(), StoreError> {
    let hour = now.0 / HOUR_MS;
    let row = sqlx::query("SELECT since_hour, last_hour, heard FROM device_presence WHERE device = ?1")
        .bind(device.as_str())
        .fetch_optional(tx.conn())
        .await?;
    let mut presence = match &row {
        Some(r) if to_u64(r.try_get("last_hour")?) >= hour => return Ok(()),
        Some(r) => presence(r)?.unwrap_or_else(|| Presence::new(hour)),
        None => Presence::new(hour),
    };
    presence.heard_in(hour);
    sqlx::query(
        "INSERT INTO device_presence (device, since_hour, last_hour, heard) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (device) DO UPDATE SET since_hour = excluded.since_hour, last_hour = excluded.last_hour,
             heard = excluded.heard",
    )
    .bind(device.as_str())
    .bind(to_i64(presence.since_hour))
    .bind(to_i64(hour))
    .bind(presence.heard.to_vec())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// From the columns `since_hour` and `heard`; `None` where a device was never heard of.
pub(super) fn presence(r: &SqliteRow) -> Result<Option<Presence>, StoreError> {
    let (Some(since), Some(heard)) =
        (r.try_get::<Option<i64>, _>("since_hour")?, r.try_get::<Option<Vec<u8>>, _>("heard")?)
    else {
        return Ok(None);
    };
    let heard: Box<[u8; HOURS_A_WEEK]> = heard
        .into_boxed_slice()
        .try_into()
        .map_err(|_| StoreError::corrupt("device presence", "not 168 counts"))?;
    Ok(Some(Presence { since_hour: to_u64(since), heard }))
}
