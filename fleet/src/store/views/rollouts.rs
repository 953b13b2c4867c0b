//! Rollouts: the list, one rollout with its waves, devices and log.

use longshore_fleet_core::rollout::RolloutState;
use sqlx::FromRow;

use super::Cursor;
use crate::store::{Store, StoreError};

/// One rollout in the list.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RolloutRow {
    /// Its id.
    pub id: String,
    /// The model.
    pub model: String,
    /// The version it brings out.
    pub version: String,
    /// Its state.
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// When it was planned, ms.
    pub created: i64,
    /// When it was started, ms.
    pub started: Option<i64>,
    /// When it ended, ms.
    pub ended: Option<i64>,
    /// Waves altogether.
    pub waves: i64,
    /// Waves passed.
    pub passed: i64,
    /// Devices in it.
    pub devices: i64,
    /// Devices that have the version for good.
    pub done: i64,
}

/// A rollout as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RolloutFull {
    /// Its id.
    pub id: String,
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// Digest of the bundle.
    pub bundle: String,
    /// Digest of the bundle a revert goes back to.
    pub previous: Option<String>,
    /// Generation of its plan.
    pub generation: i64,
    /// Its state.
    pub state: String,
    /// Why.
    pub reason: String,
    /// The policy.
    pub policy: String,
    /// When it was planned, ms.
    pub created: i64,
    /// When it was started, ms.
    pub started: Option<i64>,
    /// When it ended, ms.
    pub ended: Option<i64>,
    /// Rises with every change.
    pub etag: i64,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct WaveRow {
    /// Its number, from 0.
    pub wave: i64,
    /// Its state.
    pub state: String,
    /// When it was opened, ms.
    pub opened: Option<i64>,
    /// When it was judged, ms.
    pub judged: Option<i64>,
    /// A person went on without its verdict.
    pub skipped: bool,
    /// JSON: each gate with its numbers.
    pub verdict: Option<String>,
}

/// How many devices of a wave are in a state.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct WaveStateCount {
    /// The wave.
    pub wave: i64,
    /// The state.
    pub state: String,
    /// How many.
    pub devices: i64,
}

/// One device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RolloutDeviceRow {
    /// The device.
    pub device: String,
    /// Its wave.
    pub wave: i64,
    /// State of its update.
    pub state: String,
    /// Reason code.
    pub code: String,
    /// What the device said about it.
    pub detail: String,
    /// Connected now.
    pub online: Option<bool>,
    /// When it was last heard of, ms.
    pub last_seen: Option<i64>,
    /// When the state changed, ms.
    pub changed: i64,
    /// Rows it counted with the rollout's bundle since it was offered.
    pub rows: i64,
    /// Labelled rows.
    pub labelled: i64,
    /// Labelled rows that were right.
    pub correct: i64,
}

/// A line of a rollout's log.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RolloutEventRow {
    /// Its number; later lines have greater ones.
    pub id: i64,
    /// The rollout.
    pub rollout: String,
    /// The wave it is about; `None` for the rollout itself.
    pub wave: Option<i64>,
    /// When.
    pub time: i64,
    /// For machines.
    pub code: String,
    /// For people.
    pub text: String,
}

impl RolloutEventRow {
    /// The state that the rollout, or its wave, has entered with this line; `None` for remarks.
    #[must_use]
    pub fn entered(&self) -> Option<&str> {
        match self.wave {
            Some(_) => self.code.strip_prefix("wave_"),
            None => self.code.parse::<RolloutState>().ok().map(RolloutState::as_str),
        }
    }
}

impl Store {
    /// Rollouts, newest first. The cursor's key is the creation time in ms.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_rollouts(
        &self,
        model: &str,
        state: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        let sql = "SELECT r.id, r.model, r.version, r.state, COALESCE(r.reason, '') AS reason, r.created, r.started,
                r.ended,
                (SELECT COUNT(*) FROM rollout_wave w WHERE w.rollout = r.id) AS waves,
                (SELECT COUNT(*) FROM rollout_wave w WHERE w.rollout = r.id AND w.state = 'passed') AS passed,
                (SELECT COALESCE(SUM(c.devices), 0) FROM rollout_count c WHERE c.rollout = r.id) AS devices,
                (SELECT COALESCE(SUM(c.devices), 0) FROM rollout_count c WHERE c.rollout = r.id
                    AND c.state IN ('committed', 'already')) AS done
            FROM rollout r
            WHERE (?1 = '' OR r.model = ?1) AND (?2 = '' OR r.state = ?2
                OR (?2 = 'open' AND r.state NOT IN ('completed', 'reverted', 'halted', 'superseded')))
              AND (?3 IS NULL OR r.created < ?3)
            ORDER BY r.created DESC, r.id DESC LIMIT ?4";
        Ok(sqlx::query_as(sql)
            .bind(model.to_owned())
            .bind(state.to_owned())
            .bind(before)
            .bind(limit)
            .fetch_all(self.read())
            .await?)
    }

    /// One rollout.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_rollout(&self, id: &str) -> Result<Option<RolloutFull>, StoreError> {
        let sql =
            "SELECT id, model, version, bundle, previous, generation, state, COALESCE(reason, '') AS reason,
            policy, created, started, ended, etag FROM rollout WHERE id = ?1";
        Ok(sqlx::query_as(sql).bind(id.to_owned()).fetch_optional(self.read()).await?)
    }

    /// Its waves, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_waves(&self, rollout: &str) -> Result<Vec<WaveRow>, StoreError> {
        let sql = "SELECT wave, state, opened, judged, skipped, verdict FROM rollout_wave WHERE rollout = ?1 ORDER BY wave";
        Ok(sqlx::query_as(sql).bind(rollout.to_owned()).fetch_all(self.read()).await?)
    }

    /// How many devices of each wave are in which state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_wave_states(&self, rollout: &str) -> Result<Vec<WaveStateCount>, StoreError> {
        let sql = "SELECT wave, state, devices FROM rollout_count WHERE rollout = ?1 AND devices > 0 ORDER BY wave, state";
        Ok(sqlx::query_as(sql).bind(rollout.to_owned()).fetch_all(self.read()).await?)
    }

    /// A page of its devices, by id; `wave` and `state` filter when given.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_rollout_devices(
        &self,
        rollout: &str,
        wave: Option<i64>,
        state: &str,
        cursor: &Cursor,
        limit: u32,
    ) -> Result<(Vec<RolloutDeviceRow>, bool), StoreError> {
        let (key, compare, order) = match cursor {
            Cursor::Start => ("", ">", "ASC"),
            Cursor::After(id) => (id.as_str(), ">", "ASC"),
            Cursor::Before(id) => (id.as_str(), "<", "DESC"),
        };
        // Only constants are put into the text; everything from outside is bound.
        let sql = format!(
            "SELECT r.device, r.wave, r.state, COALESCE(r.code, '') AS code,
                COALESCE((SELECT u.detail FROM update_report u WHERE u.rollout = r.rollout AND u.device = r.device
                    AND u.detail IS NOT NULL ORDER BY u.id DESC LIMIT 1), '') AS detail,
                d.online, d.last_seen, r.changed,
                MAX(COALESCE(t.rows, 0) - r.base_rows, 0) AS rows,
                MAX(COALESCE(t.labelled, 0) - r.base_labelled, 0) AS labelled,
                MAX(COALESCE(t.correct, 0) - r.base_correct, 0) AS correct
            FROM rollout_device r JOIN rollout o ON o.id = r.rollout
            LEFT JOIN device d ON d.id = r.device
            LEFT JOIN device_total t ON t.device = r.device AND t.model = o.model AND t.bundle = o.bundle
                AND r.state <> 'waiting'
            WHERE r.rollout = ?1 AND (?2 IS NULL OR r.wave = ?2) AND (?3 = '' OR r.state = ?3) AND r.device {compare} ?4
            ORDER BY r.device {order} LIMIT ?5"
        );
        let mut rows: Vec<RolloutDeviceRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(rollout.to_owned())
            .bind(wave)
            .bind(state.to_owned())
            .bind(key.to_owned())
            .bind(limit + 1)
            .fetch_all(self.read())
            .await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        if matches!(cursor, Cursor::Before(_)) {
            rows.reverse();
        }
        Ok((rows, more))
    }

    /// Its log, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_rollout_events(
        &self,
        rollout: &str,
        limit: u32,
    ) -> Result<Vec<RolloutEventRow>, StoreError> {
        let sql = "SELECT id, rollout, wave, time, code, text FROM rollout_event WHERE rollout = ?1 ORDER BY id DESC LIMIT ?2";
        Ok(sqlx::query_as(sql).bind(rollout.to_owned()).bind(limit).fetch_all(self.read()).await?)
    }

    /// Lines of its log after the one with the number `after`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout_events_after(
        &self,
        rollout: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RolloutEventRow>, StoreError> {
        let sql =
            "SELECT id, rollout, wave, time, code, text FROM rollout_event WHERE rollout = ?1 AND id > ?2
            ORDER BY id LIMIT ?3";
        Ok(sqlx::query_as(sql)
            .bind(rollout.to_owned())
            .bind(after)
            .bind(limit)
            .fetch_all(self.read())
            .await?)
    }
}
