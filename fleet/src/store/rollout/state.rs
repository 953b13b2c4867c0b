//! States of rollouts and waves. Each change raises the etag and leaves a line in the log.

use longshore_fleet_core::gate::Verdict;
use longshore_fleet_core::rollout::{PauseReason, RolloutState, WaveState};
use longshore_trust::{RolloutId, UnixMs};

use super::device::COUNT_FROM_NOW;
use super::{evidence, log, log_of, touch};
use crate::store::{StoreError, Tx, to_i64};

/// Moves a rollout to a state.
///
/// # Errors
/// When the database refuses.
pub async fn set_state(
    tx: &mut Tx,
    id: &RolloutId,
    state: RolloutState,
    reason: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    let pause = (state == RolloutState::Paused).then_some(PauseReason::Operator);
    set_state_because(tx, id, state, reason, pause, now).await
}

/// Moves a rollout to a state, with why it is paused.
///
/// # Errors
/// When the database refuses.
pub async fn set_state_because(
    tx: &mut Tx,
    id: &RolloutId,
    state: RolloutState,
    reason: &str,
    pause: Option<PauseReason>,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE rollout SET state = ?2, reason = ?3, since = ?4, etag = etag + 1, pause = ?6,
             started = CASE WHEN ?2 = 'running' THEN coalesce(started, ?4) ELSE started END,
             ended = CASE WHEN ?5 THEN ?4 ELSE NULL END
         WHERE id = ?1",
    )
    .bind(id.as_str())
    .bind(state.as_str())
    .bind(reason)
    .bind(to_i64(now.0))
    .bind(state.is_terminal())
    .bind(pause.map(PauseReason::as_str))
    .execute(tx.conn())
    .await?;
    log(tx, id, now, state.as_str(), reason).await
}

/// Moves a wave to a state.
///
/// # Errors
/// When the database refuses.
pub async fn set_wave(
    tx: &mut Tx,
    id: &RolloutId,
    wave: usize,
    state: WaveState,
    now: UnixMs,
) -> Result<(), StoreError> {
    let judged = matches!(state, WaveState::Passed | WaveState::Failed | WaveState::Inconclusive);
    sqlx::query(
        "UPDATE rollout_wave SET state = ?3, since = ?4,
             opened = CASE WHEN ?3 = 'offering' AND state = 'shadowing' THEN opened
                           WHEN ?3 IN ('shadowing', 'offering') THEN ?4
                           WHEN ?3 = 'waiting' THEN NULL ELSE opened END,
             judged = CASE WHEN ?5 THEN ?4 ELSE NULL END
         WHERE rollout = ?1 AND wave = ?2",
    )
    .bind(id.as_str())
    .bind(to_i64(wave as u64))
    .bind(state.as_str())
    .bind(to_i64(now.0))
    .bind(judged)
    .execute(tx.conn())
    .await?;
    if state == WaveState::Offering {
        evidence::note_controls(tx, id, wave).await?;
    }
    touch(tx, id).await?;
    log_of(tx, id, Some(wave), now, &format!("wave_{state}"), &format!("wave {wave} is {state}")).await
}

/// Remembers that a person said to go on without a wave that did not pass.
///
/// # Errors
/// When the database refuses.
pub async fn skip_wave(tx: &mut Tx, id: &RolloutId, wave: usize) -> Result<(), StoreError> {
    sqlx::query("UPDATE rollout_wave SET skipped = 1 WHERE rollout = ?1 AND wave = ?2")
        .bind(id.as_str())
        .bind(to_i64(wave as u64))
        .execute(tx.conn())
        .await?;
    touch(tx, id).await
}

/// Opens a wave that did not pass once more: devices that ended without the version are offered it again.
///
/// # Errors
/// When the database refuses.
pub async fn retry_wave(
    tx: &mut Tx,
    id: &RolloutId,
    wave: usize,
    has_shadow: bool,
    now: UnixMs,
) -> Result<(), StoreError> {
    // A wave whose devices only ran the version beside the active one has not earned more.
    let served: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM rollout_device
         WHERE rollout = ?1 AND wave = ?2 AND offered_at IS NOT NULL AND shadow = 0",
    )
    .bind(id.as_str())
    .bind(to_i64(wave as u64))
    .fetch_one(tx.conn())
    .await?;
    let reopened = if has_shadow && served == 0 { WaveState::Shadowing } else { WaveState::Offering };
    // Tried again, it is judged by what comes from now on.
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "{COUNT_FROM_NOW} WHERE rollout = ?1 AND wave = ?2 AND offered_at IS NOT NULL
           AND EXISTS (SELECT 1 FROM rollout_wave w
               WHERE w.rollout = ?1 AND w.wave = ?2 AND w.state = 'failed')"
    )))
    .bind(id.as_str())
    .bind(to_i64(wave as u64))
    .execute(tx.conn())
    .await?;
    sqlx::query(
        "UPDATE rollout_device SET state = 'waiting', code = NULL, attempts = 0, changed = ?3
         WHERE rollout = ?1 AND wave = ?2 AND state IN
           ('failed', 'rejected', 'rolled_back', 'cancelled', 'expired', 'too_late', 'unable_to_roll_back')",
    )
    .bind(id.as_str())
    .bind(to_i64(wave as u64))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    sqlx::query("UPDATE rollout_wave SET verdict = NULL, skipped = 0 WHERE rollout = ?1 AND wave = ?2")
        .bind(id.as_str())
        .bind(to_i64(wave as u64))
        .execute(tx.conn())
        .await?;
    set_wave(tx, id, wave, reopened, now).await
}

/// Writes what is known of a wave.
///
/// # Errors
/// When the database refuses.
pub async fn set_verdict(
    tx: &mut Tx,
    id: &RolloutId,
    wave: usize,
    verdict: &Verdict,
) -> Result<(), StoreError> {
    let json = serde_json::to_string(verdict).map_err(|e| StoreError::corrupt("wave verdict", e))?;
    sqlx::query("UPDATE rollout_wave SET verdict = ?3 WHERE rollout = ?1 AND wave = ?2")
        .bind(id.as_str())
        .bind(to_i64(wave as u64))
        .bind(json)
        .execute(tx.conn())
        .await?;
    Ok(())
}
