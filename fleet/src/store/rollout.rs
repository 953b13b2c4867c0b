//! Rollouts, their waves and devices, and the facts the executor decides on.
//!
//! What always holds: a plan is written once; every change of a state raises the rollout's etag and leaves a line in its
//! log, in the caller's transaction.

mod brief;
mod device;
mod evidence;
mod facts;
mod inventory;
mod plans;
pub mod record;
mod start;
mod state;
mod traffic;
mod zone;

pub use brief::{PlanBrief, WaveBrief};
pub use device::{Offered, mark, set_before, set_device, set_offer, set_revert};
pub use facts::OwnedFacts;
pub use inventory::inventory;
pub(in crate::store) use plans::Plans;
pub use start::{authorize, has_revert, heard_generation, put_revert, set_start, void_authorization};
pub use state::{retry_wave, set_state, set_state_because, set_verdict, set_wave, skip_wave};
pub use traffic::traffic;

use longshore_fleet_core::gate::Verdict;
use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::rollout::{PauseReason, RolloutState, WaveState};
use longshore_trust::{DeviceId, Digest, Generation, ModelName, RolloutId, UnixMs};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::views::RolloutEventRow;
use super::{Store, StoreError, Tx, get_meta, set_meta, to_i64, to_u64};

/// A rollout without its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: String,
    /// Digest of the bundle.
    pub bundle: Digest,
    /// Generation of its plan.
    pub generation: Generation,
    /// Its state.
    pub state: RolloutState,
    /// Why it is in it.
    pub reason: Option<String>,
    /// Since when.
    pub since: UnixMs,
    /// When it was planned.
    pub created: UnixMs,
    /// When it was started.
    pub started: Option<UnixMs>,
    /// When it ended.
    pub ended: Option<UnixMs>,
    /// Rises with every change.
    pub etag: u64,
    /// Who planned it.
    pub planned_by: Option<String>,
    /// The second person who said yes to the plan.
    pub authorized_by: Option<String>,
    /// When it is to start, where that was said.
    pub start_at: Option<UnixMs>,
    /// Whether it takes the place of others when it starts.
    pub start_supersede: bool,
    /// Why it is paused.
    pub pause: Option<PauseReason>,
    /// Which rollout of a model gets a device that two of them want.
    pub priority: i32,
}

/// A wave as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Wave {
    /// Its state.
    pub state: WaveState,
    /// Since when.
    pub since: UnixMs,
    /// When it was opened.
    pub opened: Option<UnixMs>,
    /// When it was judged.
    pub judged: Option<UnixMs>,
    /// A person said to go on although it did not pass.
    pub skipped: bool,
    /// The gates.
    pub verdict: Option<Verdict>,
}

/// When something was last said to a device of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Its wave has passed.
    Committed,
    /// Its lease runs anew.
    Renewed,
    /// Its offer is revoked.
    Halted,
}

/// Each epoch of the fleet has this many generations of its own, as a power of two.
const EPOCH_GENERATIONS: u32 = 32;

const COLUMNS: &str =
    "id, model, version, bundle, generation, state, reason, since, created, started, ended, etag, planned_by,
     authorized_by, start_at, start_supersede, pause, priority";

fn time(r: &SqliteRow, name: &str) -> Result<Option<UnixMs>, StoreError> {
    Ok(r.try_get::<Option<i64>, _>(name)?.map(|t| UnixMs(to_u64(t))))
}

fn rollout_row(r: &SqliteRow) -> Result<Rollout, StoreError> {
    let text = |name: &str| r.try_get::<String, _>(name);
    Ok(Rollout {
        id: text("id")?.parse().map_err(|e| StoreError::corrupt("rollout id", e))?,
        model: text("model")?.parse().map_err(|e| StoreError::corrupt("model name", e))?,
        version: text("version")?,
        bundle: text("bundle")?.parse().map_err(|e| StoreError::corrupt("bundle digest", e))?,
        generation: Generation(to_u64(r.try_get("generation")?)),
        state: text("state")?.parse().map_err(|e| StoreError::corrupt("rollout state", e))?,
        reason: r.try_get("reason")?,
        since: time(r, "since")?.unwrap_or_default(),
        created: time(r, "created")?.unwrap_or_default(),
        started: time(r, "started")?,
        ended: time(r, "ended")?,
        etag: to_u64(r.try_get("etag")?),
        planned_by: r.try_get("planned_by")?,
        authorized_by: r.try_get("authorized_by")?,
        start_at: time(r, "start_at")?,
        start_supersede: r.try_get::<i64, _>("start_supersede")? != 0,
        pause: r
            .try_get::<Option<String>, _>("pause")?
            .map(|p| p.parse())
            .transpose()
            .map_err(|e| StoreError::corrupt("pause reason", e))?,
        priority: r.try_get("priority")?,
    })
}

async fn find(c: &mut SqliteConnection, id: &str) -> Result<Option<Rollout>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM rollout WHERE id = ?1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_owned()).fetch_optional(c).await?;
    row.as_ref().map(rollout_row).transpose()
}

async fn find_plan(c: &mut SqliteConnection, id: &str) -> Result<Option<Plan>, StoreError> {
    let text = find_plan_text(c, id).await?;
    text.map(|t| Plan::read(&t)).transpose().map_err(|e| StoreError::corrupt("rollout plan", e))
}

/// A plan as it was kept when it was made.
async fn find_plan_text(c: &mut SqliteConnection, id: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT plan FROM rollout_plan WHERE rollout = ?1")
        .bind(id.to_owned())
        .fetch_optional(c)
        .await?)
}

async fn find_waves(c: &mut SqliteConnection, id: &str) -> Result<Vec<Wave>, StoreError> {
    let rows = sqlx::query(
        "SELECT state, since, opened, judged, skipped, verdict FROM rollout_wave WHERE rollout = ?1 ORDER BY wave",
    )
    .bind(id.to_owned())
    .fetch_all(c)
    .await?;
    rows.iter()
        .map(|r| {
            let verdict: Option<String> = r.try_get("verdict")?;
            Ok(Wave {
                state: r
                    .try_get::<String, _>("state")?
                    .parse()
                    .map_err(|e| StoreError::corrupt("wave state", e))?,
                since: time(r, "since")?.unwrap_or_default(),
                opened: time(r, "opened")?,
                judged: time(r, "judged")?,
                skipped: r.try_get::<i64, _>("skipped")? != 0,
                verdict: verdict
                    .map(|v| serde_json::from_str(&v))
                    .transpose()
                    .map_err(|e| StoreError::corrupt("wave verdict", e))?,
            })
        })
        .collect()
}

/// A rollout, inside a transaction.
///
/// # Errors
/// When the database refuses.
pub async fn get(tx: &mut Tx, id: &RolloutId) -> Result<Option<Rollout>, StoreError> {
    find(tx.conn(), id.as_str()).await
}

/// A plan, inside a transaction.
///
/// # Errors
/// When the database refuses, or the plan was changed.
pub async fn plan(tx: &mut Tx, id: &RolloutId) -> Result<Option<Plan>, StoreError> {
    find_plan(tx.conn(), id.as_str()).await
}

/// Its waves, inside a transaction.
///
/// # Errors
/// When the database refuses.
pub async fn waves(tx: &mut Tx, id: &RolloutId) -> Result<Vec<Wave>, StoreError> {
    find_waves(tx.conn(), id.as_str()).await
}

/// The rollout of a model that was started last.
///
/// # Errors
/// When the database refuses.
pub async fn latest_started(tx: &mut Tx, model: &ModelName) -> Result<Option<RolloutId>, StoreError> {
    let id: Option<String> = sqlx::query_scalar(
        "SELECT id FROM rollout WHERE model = ?1 AND started IS NOT NULL ORDER BY started DESC, generation DESC LIMIT 1",
    )
    .bind(model.as_str())
    .fetch_optional(tx.conn())
    .await?;
    id.map(|id| id.parse()).transpose().map_err(|e| StoreError::corrupt("rollout id", e))
}

/// Devices of a rollout that ran another version before, to which no offline key signed a way back.
///
/// # Errors
/// When the database refuses.
pub async fn devices_without_way_back(tx: &mut Tx, id: &RolloutId) -> Result<u64, StoreError> {
    let n: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM rollout_device
         WHERE rollout = ?1 AND offered_at IS NOT NULL AND champion IS NOT NULL AND previous IS NULL",
    )
    .bind(id.as_str())
    .fetch_one(tx.conn())
    .await?;
    Ok(to_u64(n))
}

/// The rollouts of a model that are under way, the one with the last word first.
///
/// # Errors
/// When the database refuses.
pub async fn active_of(tx: &mut Tx, model: &ModelName) -> Result<Vec<Rollout>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM rollout WHERE model = ?1 AND state IN ('running', 'paused', 'halting', 'reverting')
         ORDER BY priority DESC, generation"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(model.as_str()).fetch_all(tx.conn()).await?;
    rows.iter().map(rollout_row).collect()
}

/// Devices that two rollouts have in common.
///
/// # Errors
/// When the database refuses.
pub async fn in_common(tx: &mut Tx, one: &RolloutId, other: &RolloutId) -> Result<u64, StoreError> {
    let n: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM rollout_device a JOIN rollout_device b ON b.rollout = ?2 AND b.device = a.device
         WHERE a.rollout = ?1",
    )
    .bind(one.as_str())
    .bind(other.as_str())
    .fetch_one(tx.conn())
    .await?;
    Ok(to_u64(n))
}

/// The next generation: rises with every plan of the fleet, reverts included. A restored fleet has forgotten which ones it
/// gave out, devices have not: each epoch has its own numbers, and no device ever told of a greater one.
///
/// # Errors
/// When the database refuses.
pub async fn next_generation(tx: &mut Tx) -> Result<Generation, StoreError> {
    let next = coming_generation(tx).await?;
    set_meta(tx, "generation", &next.to_string()).await?;
    Ok(next)
}

/// What [`next_generation`] will be, if nobody else takes it.
///
/// # Errors
/// When the database refuses.
pub async fn coming_generation(tx: &mut Tx) -> Result<Generation, StoreError> {
    Ok(last_generation(tx).await?.next())
}

/// No generation of an epoch is below this.
#[must_use]
pub fn first_generation(epoch: u64) -> u64 {
    epoch.saturating_sub(1) << EPOCH_GENERATIONS
}

/// The last generation that was given out, or may have been in an epoch before.
async fn last_generation(tx: &mut Tx) -> Result<Generation, StoreError> {
    let last: u64 = match get_meta(tx, "generation").await? {
        Some(text) => text.parse().map_err(|e| StoreError::corrupt("generation", e))?,
        None => 0,
    };
    Ok(Generation(last.max(first_generation(epoch(tx).await?))))
}

/// The fleet's epoch: raised by every restore.
async fn epoch(tx: &mut Tx) -> Result<u64, StoreError> {
    match get_meta(tx, "epoch").await? {
        Some(text) => text.parse().map_err(|e| StoreError::corrupt("fleet epoch", e)),
        None => Ok(1),
    }
}

/// So many devices are handed to the database in one statement.
const AT_ONCE: usize = 2_000;

/// Writes a plan as a new rollout.
///
/// # Errors
/// When its id exists, or the database refuses.
pub async fn insert(
    tx: &mut Tx,
    plan: &Plan,
    policy: &str,
    planned_by: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO rollout (id, model, version, bundle, previous, generation, state, since, policy, created,
             planned_by, priority)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'planned', ?8, ?7, ?8, ?9, ?10)",
    )
    .bind(plan.id.as_str())
    .bind(plan.model.as_str())
    .bind(&plan.version)
    .bind(plan.bundle.to_hex())
    .bind(plan.previous.map(|d| d.to_hex()))
    .bind(to_i64(plan.generation.0))
    .bind(policy)
    .bind(to_i64(now.0))
    .bind(planned_by)
    .bind(plan.policy.priority)
    .execute(tx.conn())
    .await?;
    let brief =
        serde_json::to_string(&PlanBrief::from(plan)).map_err(|e| StoreError::corrupt("rollout plan", e))?;
    sqlx::query("INSERT INTO rollout_plan (rollout, brief, plan) VALUES (?1, ?2, ?3)")
        .bind(plan.id.as_str())
        .bind(brief)
        .bind(plan.text())
        .execute(tx.conn())
        .await?;
    for (number, wave) in (0i64..).zip(&plan.waves) {
        sqlx::query("INSERT INTO rollout_wave (rollout, wave, state, since) VALUES (?1, ?2, 'waiting', ?3)")
            .bind(plan.id.as_str())
            .bind(number)
            .bind(to_i64(now.0))
            .execute(tx.conn())
            .await?;
        for devices in wave.devices.chunks(AT_ONCE) {
            let hex = |digest: Option<Digest>| digest.map(|d| d.to_hex());
            let rows: Vec<_> =
                devices.iter().map(|d| (d.device.as_str(), hex(d.previous), hex(d.champion))).collect();
            let rows = serde_json::to_string(&rows).map_err(|e| StoreError::corrupt("rollout plan", e))?;
            sqlx::query(
                "INSERT INTO rollout_device (rollout, device, wave, state, previous, champion, changed)
                 SELECT ?1, value->>0, ?2, 'waiting', value->>1, value->>2, ?4 FROM json_each(?3)",
            )
            .bind(plan.id.as_str())
            .bind(number)
            .bind(rows)
            .bind(to_i64(now.0))
            .execute(tx.conn())
            .await?;
        }
    }
    log(tx, &plan.id, now, "planned", &format!("{} devices in {} waves", plan.devices(), plan.waves.len()))
        .await
}

/// Adds a device to a wave.
///
/// # Errors
/// When the database refuses.
pub async fn admit(
    tx: &mut Tx,
    id: &RolloutId,
    device: &DeviceId,
    wave: usize,
    previous: Option<Digest>,
    champion: Option<Digest>,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO rollout_device (rollout, device, wave, state, previous, champion, changed)
         VALUES (?1, ?2, ?3, 'waiting', ?4, ?5, ?6) ON CONFLICT (rollout, device) DO NOTHING",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(to_i64(wave as u64))
    .bind(previous.map(|d| d.to_hex()))
    .bind(champion.map(|d| d.to_hex()))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Adds a line to a rollout's log, and with it to the audit log.
///
/// # Errors
/// When the database refuses.
pub async fn log(tx: &mut Tx, id: &RolloutId, now: UnixMs, code: &str, text: &str) -> Result<(), StoreError> {
    log_of(tx, id, None, now, code, text).await
}

async fn log_of(
    tx: &mut Tx,
    id: &RolloutId,
    wave: Option<usize>,
    now: UnixMs,
    code: &str,
    text: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO rollout_event (rollout, time, code, text, wave) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(id.as_str())
        .bind(to_i64(now.0))
        .bind(code)
        .bind(text)
        .bind(wave.map(|w| to_i64(w as u64)))
        .execute(tx.conn())
        .await?;
    super::audit::record(tx, now, "server", &format!("rollout.{code}"), id.as_str(), text).await
}

async fn touch(tx: &mut Tx, id: &RolloutId) -> Result<(), StoreError> {
    sqlx::query("UPDATE rollout SET etag = etag + 1 WHERE id = ?1")
        .bind(id.as_str())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Lines of every rollout's log after the one with the number `after`, oldest first.
///
/// # Errors
/// When the database refuses.
pub async fn lines_after(tx: &mut Tx, after: i64, limit: u32) -> Result<Vec<RolloutEventRow>, StoreError> {
    let sql =
        "SELECT id, rollout, wave, time, code, text FROM rollout_event WHERE id > ?1 ORDER BY id LIMIT ?2";
    Ok(sqlx::query_as(sql).bind(after).bind(limit).fetch_all(tx.conn()).await?)
}

impl Store {
    /// Whether some rollout's log holds lines beyond the number that is kept under `key`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout_lines_to_tell(&self, key: &str) -> Result<bool, StoreError> {
        let sql = "SELECT coalesce((SELECT max(id) FROM rollout_event), 0)
                > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1), 0)";
        Ok(sqlx::query_scalar(sql).bind(key.to_owned()).fetch_one(self.read()).await?)
    }
    /// A rollout.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout(&self, id: &str) -> Result<Option<Rollout>, StoreError> {
        find(&mut *self.read().acquire().await?, id).await
    }
    /// Its plan.
    ///
    /// # Errors
    /// When the database cannot be read, or the plan was changed.
    pub async fn rollout_plan(&self, id: &str) -> Result<Option<Plan>, StoreError> {
        find_plan(&mut *self.read().acquire().await?, id).await
    }
    /// The text whose SHA-256 is the hash of its plan.
    ///
    /// # Errors
    /// When the database cannot be read, or the plan was changed.
    pub async fn rollout_plan_text(&self, id: &str) -> Result<Option<String>, StoreError> {
        let text = find_plan_text(&mut *self.read().acquire().await?, id).await?;
        let hashed = text.map(|t| Plan::read(&t).map(|_| Plan::hashed_text(&t))).transpose();
        Ok(hashed.map_err(|e| StoreError::corrupt("rollout plan", e))?.flatten())
    }
    /// Its waves.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout_waves(&self, id: &str) -> Result<Vec<Wave>, StoreError> {
        find_waves(&mut *self.read().acquire().await?, id).await
    }
    /// Rollouts, newest first; `before` is the generation of the last one seen.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollouts(
        &self,
        model: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Rollout>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM rollout WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR generation < ?2)
             ORDER BY generation DESC LIMIT ?3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(model.map(str::to_owned))
            .bind(before.map(to_i64))
            .bind(limit)
            .fetch_all(self.read())
            .await?;
        rows.iter().map(rollout_row).collect()
    }
    /// Rollouts the executor looks at: those under way and, unless only these are asked for, plans that wait to be
    /// started; what was taken back while a device slept, once that has something to say or must be told anew; and, of
    /// each model that no rollout occupies, the last one that was completed (it still tells late devices what to run).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollouts_to_execute(&self, only_under_way: bool) -> Result<Vec<RolloutId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM rollout r WHERE state IN ('running', 'paused', 'halting', 'reverting')
                OR (NOT ?1 AND state IN ('planned', 'awaiting_authorization', 'scheduled'))
                OR (NOT ?1 AND state = 'superseded' AND since > (unixepoch() - 7 * 86400) * 1000
                    AND EXISTS (SELECT 1 FROM rollout_device d
                        WHERE d.rollout = r.id AND d.offered_at IS NOT NULL AND d.halted_at IS NULL
                            AND d.state IN ('offered', 'accepted', 'downloading', 'verified', 'staged', 'trial',
                                'shadowing', 'probation', 'deferred')))
                OR (NOT ?1 AND state = 'reverted' AND EXISTS (SELECT 1 FROM rollout_device d
                        JOIN device v ON v.id = d.device AND v.revoked_at IS NULL
                        LEFT JOIN device_model m ON m.device = d.device AND m.model = r.model
                        WHERE d.rollout = r.id AND d.revert_version IS NOT NULL
                            AND d.state NOT IN ('rolled_back', 'unable_to_roll_back', 'decommissioned')
                            AND (v.assignment_version > d.revert_version
                                OR m.assignment_version >= d.revert_version)))
                OR (NOT ?1 AND state = 'completed'
                    AND started = (SELECT max(started) FROM rollout n WHERE n.model = r.model AND n.state = 'completed')
                    AND NOT EXISTS (SELECT 1 FROM rollout n WHERE n.model = r.model
                        AND n.state IN ('running', 'paused', 'halting', 'reverting')))
             ORDER BY generation",
        )
        .bind(only_under_way)
        .fetch_all(self.read())
        .await?;
        ids.into_iter().map(|id| id.parse().map_err(|e| StoreError::corrupt("rollout id", e))).collect()
    }
}
