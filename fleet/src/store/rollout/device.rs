//! What changes of one device of a rollout: its state, its offers, and what was last said to it.

use longshore_fleet_core::rollout::{DeviceState, Standing};
use longshore_trust::{AssignmentVersion, DeviceId, Digest, RolloutId, UnixMs};
use longshore_wire::v1::{Mode, UpdateState};

use super::{Mark, record};
use crate::store::{StoreError, Tx, to_i64};

/// It went back because the fleet was away, or wanted something else: no failure of the device.
const NO_FAULT: [&str; 3] = ["lease.lapsed", "superseded", "fleet.revert"];

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
    // Failures in a row, over all rollouts: each end of an offer counts once, and an outage of the fleet never.
    let failed = state.standing() == Standing::Failed && !code.is_some_and(|code| NO_FAULT.contains(&code));
    let done = matches!(state, DeviceState::Update(UpdateState::Committed | UpdateState::Already));
    if failed || done {
        let ended = "('failed', 'rejected', 'rolled_back', 'unable_to_roll_back')";
        let sql = format!(
            "UPDATE device SET failures = CASE WHEN ?3 THEN failures + 1 ELSE 0 END
             WHERE id = ?2 AND (NOT ?3 OR NOT EXISTS
                 (SELECT 1 FROM rollout_device r WHERE r.rollout = ?1 AND r.device = ?2 AND r.state IN {ended}))"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.as_str())
            .bind(device.as_str())
            .bind(failed)
            .execute(tx.conn())
            .await?;
    }
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

/// An offer that was signed.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// Version of the assignment.
    pub version: AssignmentVersion,
    /// Whether it serves or runs beside what serves.
    pub mode: Mode,
    /// After this the device does not activate it.
    pub until: Option<UnixMs>,
    /// The number it counts as.
    pub attempt: u32,
}

/// Devices are judged by what they count with the rollout's bundle from now on; which ones, a condition behind it says.
pub(super) const COUNT_FROM_NOW: &str = "UPDATE rollout_device AS r SET
    (base_rows, base_errors, base_labelled, base_correct, base_shadow_rows, base_shadow_agreed, base_shadow_errors,
     base_shadow_labelled, base_shadow_only_candidate, base_shadow_only_active) =
      (SELECT coalesce(sum(t.rows), 0), coalesce(sum(t.errors), 0), coalesce(sum(t.labelled), 0),
              coalesce(sum(t.correct), 0), coalesce(sum(t.shadow_rows), 0), coalesce(sum(t.shadow_agreed), 0),
              coalesce(sum(t.shadow_errors), 0), coalesce(sum(t.shadow_labelled), 0),
              coalesce(sum(t.shadow_only_candidate), 0), coalesce(sum(t.shadow_only_active), 0)
       FROM device_total t JOIN rollout o ON o.id = r.rollout
       WHERE t.device = r.device AND t.model = o.model AND t.bundle = o.bundle)";

/// Writes an offer; with the first one, what the device had counted with the bundle before.
///
/// # Errors
/// When the database refuses.
pub async fn set_offer(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    offered: Offered,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "{COUNT_FROM_NOW} WHERE rollout = ?1 AND device = ?2 AND offered_at IS NULL"
    )))
    .bind(id.as_str())
    .bind(device.as_str())
    .execute(tx.conn())
    .await?;
    if offered.mode == Mode::Shadow {
        record::note_shadow_before(tx, id, device).await?;
    }
    sqlx::query(
        "UPDATE rollout_device SET state = 'offered', code = NULL, assignment_version = ?3, offered_at = ?4,
             attempts = ?5, activate_by = ?6, shadow = ?7, committed_at = NULL, renewed_at = NULL, halted_at = NULL, changed = ?4
         WHERE rollout = ?1 AND device = ?2",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(to_i64(offered.version.0))
    .bind(to_i64(now.0))
    .bind(offered.attempt)
    .bind(offered.until.map(|t| to_i64(t.0)))
    .bind(offered.mode == Mode::Shadow)
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
