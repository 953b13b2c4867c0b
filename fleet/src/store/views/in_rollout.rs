//! Rollouts as one device sees them: which it is in, where it stands there, what it was told and said.

use sqlx::FromRow;

use crate::store::{Store, StoreError};

/// One device of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct InRollout {
    /// The model.
    pub model: String,
    /// The version it brings.
    pub version: String,
    /// State of the rollout.
    pub rollout_state: String,
    /// Its wave.
    pub wave: i64,
    /// State of its update.
    pub state: String,
    /// Reason code.
    pub code: String,
    /// Digest of what it ran before.
    pub champion: Option<String>,
    /// Version of the assignment that offers it.
    pub assignment_version: Option<i64>,
    /// Offers so far.
    pub attempts: i64,
    /// When it was offered, ms.
    pub offered_at: Option<i64>,
    /// When it was told that its wave has passed, ms.
    pub committed_at: Option<i64>,
    /// When its lease was renewed last, ms.
    pub renewed_at: Option<i64>,
    /// When it was called back, ms.
    pub halted_at: Option<i64>,
    /// Rows with it since the offer.
    pub rows: i64,
    /// Rows that failed.
    pub errors: i64,
    /// Labelled rows.
    pub labelled: i64,
    /// Of these, right.
    pub correct: i64,
    /// Rows with what it ran before.
    pub champion_rows: i64,
    /// Rows that failed.
    pub champion_errors: i64,
    /// Labelled rows.
    pub champion_labelled: i64,
    /// Of these, right.
    pub champion_correct: i64,
}

/// Something a device said in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Said {
    /// By its clock, ms.
    pub time: i64,
    /// When the fleet stored it, ms.
    pub received: i64,
    /// The state.
    pub state: String,
    /// Reason code.
    pub code: String,
    /// Reason.
    pub detail: String,
    /// JSON of what the trial measured.
    pub trial: Option<String>,
}

/// A rollout that a device is in.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RolloutOfDevice {
    /// The rollout.
    pub rollout: String,
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// State of the rollout.
    pub rollout_state: String,
    /// Why it is in it.
    pub reason: String,
    /// The device's wave.
    pub wave: i64,
    /// State of its update.
    pub state: String,
    /// Reason code.
    pub code: String,
    /// When that changed, ms.
    pub changed: i64,
}

impl Store {
    /// One device of one rollout.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_in_rollout(
        &self,
        rollout: &str,
        device: &str,
    ) -> Result<Option<InRollout>, StoreError> {
        let sql = "SELECT o.model, o.version, o.state AS rollout_state, r.wave, r.state, COALESCE(r.code, '') AS code,
                r.champion, r.assignment_version, r.attempts, r.offered_at, r.committed_at, r.renewed_at, r.halted_at,
                MAX(COALESCE(t.rows, 0) - r.base_rows, 0) AS rows,
                MAX(COALESCE(t.errors, 0) - r.base_errors, 0) AS errors,
                MAX(COALESCE(t.labelled, 0) - r.base_labelled, 0) AS labelled,
                MAX(COALESCE(t.correct, 0) - r.base_correct, 0) AS correct,
                COALESCE(c.rows, 0) AS champion_rows, COALESCE(c.errors, 0) AS champion_errors,
                COALESCE(c.labelled, 0) AS champion_labelled, COALESCE(c.correct, 0) AS champion_correct
            FROM rollout_device r JOIN rollout o ON o.id = r.rollout
            LEFT JOIN device_total t ON t.device = r.device AND t.model = o.model AND t.bundle = o.bundle
                AND r.state <> 'waiting'
            LEFT JOIN device_total c ON c.device = r.device AND c.model = o.model AND c.bundle = r.champion
            WHERE r.rollout = ?1 AND r.device = ?2";
        Ok(sqlx::query_as(sql)
            .bind(rollout.to_owned())
            .bind(device.to_owned())
            .fetch_optional(self.read())
            .await?)
    }
    /// What a device said in a rollout, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_said_in_rollout(
        &self,
        rollout: &str,
        device: &str,
        limit: u32,
    ) -> Result<Vec<Said>, StoreError> {
        let sql =
            "SELECT time, received, state, COALESCE(code, '') AS code, COALESCE(detail, '') AS detail, trial
            FROM update_report WHERE rollout = ?1 AND device = ?2 ORDER BY id DESC LIMIT ?3";
        Ok(sqlx::query_as(sql)
            .bind(rollout.to_owned())
            .bind(device.to_owned())
            .bind(limit)
            .fetch_all(self.read())
            .await?)
    }
    /// Rollouts a device is in, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_rollouts_of_device(
        &self,
        device: &str,
        limit: u32,
    ) -> Result<Vec<RolloutOfDevice>, StoreError> {
        let sql = "SELECT r.rollout, o.model, o.version, o.state AS rollout_state, COALESCE(o.reason, '') AS reason,
                r.wave, r.state, COALESCE(r.code, '') AS code, r.changed
            FROM rollout_device r JOIN rollout o ON o.id = r.rollout
            WHERE r.device = ?1 ORDER BY o.generation DESC LIMIT ?2";
        Ok(sqlx::query_as(sql).bind(device.to_owned()).bind(limit).fetch_all(self.read()).await?)
    }
}
