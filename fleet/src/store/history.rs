//! What ran where and when: which bundle served a model on a device, at any past moment.
//!
//! What always holds: a line is written in the transaction that stores the report it is learnt from, and only when it says
//! something new; lines are never changed; a report that comes late, or out of order, puts its line where it belongs in time.

use longshore_trust::{DeviceId, Digest, ModelName, RolloutId, TimeQuality, UnixMs};
use longshore_wire::v1::Header;
use sqlx::FromRow;

use super::{Store, StoreError, Tx, to_i64};

/// A device's clock may run ahead of ours by so much, ms.
const AHEAD_MS: u64 = 5 * 60_000;
/// Counts of models are kept by the minute, ms.
pub const MINUTE_MS: i64 = 60_000;

/// What served from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Ran {
    /// Number of the line.
    pub id: i64,
    /// The device.
    pub device: String,
    /// The model.
    pub model: String,
    /// Digest of the bundle; empty: none served.
    pub bundle: String,
    /// Its version, if the catalogue has it.
    pub version: String,
    /// Since when, ms.
    pub since: i64,
    /// Until when, ms; `None` when nothing came after.
    pub until: Option<i64>,
    /// Whose clock says so: `device` or `fleet`.
    pub clock: String,
    /// The rollout that brought it.
    pub rollout: Option<String>,
}

/// How many devices ran a bundle.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RanCount {
    /// Digest of the bundle; empty: none.
    pub bundle: String,
    /// Its version, if the catalogue has it.
    pub version: String,
    /// Devices.
    pub devices: i64,
}

/// When something a device says was so: by its own clock where that can be relied on.
fn moment(header: &Header, now: UnixMs) -> (UnixMs, &'static str) {
    let known = matches!(header.time_quality, TimeQuality::Ntp | TimeQuality::Attested);
    if known && header.time.0 > 0 && header.time.0 <= now.0.saturating_add(AHEAD_MS) {
        (header.time.min(now), "device")
    } else {
        (now, "fleet")
    }
}

/// Notes what serves `model` on a device by its own word.
///
/// # Errors
/// When the database refuses.
pub async fn note(
    tx: &mut Tx,
    header: &Header,
    model: &ModelName,
    active: Option<Digest>,
    rollout: Option<&RolloutId>,
    now: UnixMs,
) -> Result<(), StoreError> {
    let (at, clock) = moment(header, now);
    let (at, bundle) = (to_i64(at.0), active.map_or_else(String::new, |d| d.to_hex()));
    let before: Option<String> = sqlx::query_scalar(
        "SELECT bundle FROM ran WHERE device = ?1 AND model = ?2 AND at <= ?3 ORDER BY at DESC, id DESC LIMIT 1",
    )
    .bind(header.device.as_str())
    .bind(model.as_str())
    .bind(at)
    .fetch_optional(tx.conn())
    .await?;
    if before.as_deref().unwrap_or_default() == bundle {
        return Ok(());
    }
    let after: Option<i64> =
        sqlx::query_scalar("SELECT min(at) FROM ran WHERE device = ?1 AND model = ?2 AND at > ?3")
            .bind(header.device.as_str())
            .bind(model.as_str())
            .bind(at)
            .fetch_one(tx.conn())
            .await?;
    sqlx::query(
        "INSERT INTO ran (device, model, bundle, at, clock, received, rollout) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(header.device.as_str())
    .bind(model.as_str())
    .bind(&bundle)
    .bind(at)
    .bind(clock)
    .bind(to_i64(now.0))
    .bind(rollout.map(RolloutId::as_str))
    .execute(tx.conn())
    .await?;
    // From this line to the next one, one device more runs the one and one less the other.
    let mut changes = vec![(bundle.clone(), at, 1)];
    changes.extend(before.clone().map(|b| (b, at, -1)));
    if let Some(next) = after {
        changes.push((bundle, next, -1));
        changes.extend(before.map(|b| (b, next, 1)));
    }
    for (bundle, at, devices) in changes {
        sqlx::query(
            "INSERT INTO ran_minute (model, bundle, minute, devices) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (model, bundle, minute) DO UPDATE SET devices = devices + excluded.devices",
        )
        .bind(model.as_str())
        .bind(bundle)
        .bind(at / MINUTE_MS)
        .bind(devices)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

const LINE: &str = "SELECT r.id, r.device, r.model, r.bundle, COALESCE(v.version, '') AS version, r.at AS since,
        (SELECT min(l.at) FROM ran l WHERE l.device = r.device AND l.model = r.model AND (l.at, l.id) > (r.at, r.id)) AS until,
        r.clock, r.rollout
    FROM ran r LEFT JOIN bundle_version v ON v.bundle = r.bundle";
/// No line of the same device and model lies between this one and the moment ?1.
const LAST: &str =
    "r.at <= ?1 AND NOT EXISTS (SELECT 1 FROM ran l WHERE l.device = r.device AND l.model = r.model
    AND l.at <= ?1 AND (l.at, l.id) > (r.at, r.id))";

impl Store {
    /// What served on a device at a moment, by model.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ran_on(&self, device: &DeviceId, at: UnixMs) -> Result<Vec<Ran>, StoreError> {
        let sql = format!("{LINE} WHERE {LAST} AND r.device = ?2 ORDER BY r.model");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(to_i64(at.0))
            .bind(device.as_str())
            .fetch_all(self.read())
            .await?)
    }
    /// Everything that ever served on a device, newest first, before the line `before` (its time and number).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ran_ever_on(
        &self,
        device: &DeviceId,
        before: Option<(i64, i64)>,
        limit: u32,
    ) -> Result<Vec<Ran>, StoreError> {
        let (at, id) = before.unwrap_or((i64::MAX, i64::MAX));
        let sql = format!(
            "{LINE} WHERE r.device = ?1 AND (r.at, r.id) < (?2, ?3) ORDER BY r.at DESC, r.id DESC LIMIT ?4"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(device.as_str())
            .bind(at)
            .bind(id)
            .bind(limit)
            .fetch_all(self.read())
            .await?)
    }
    /// How many devices ran which version of a model at the end of the minute `at` lies in, most first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ran_counts(&self, model: &str, at: UnixMs) -> Result<Vec<RanCount>, StoreError> {
        let sql =
            "SELECT c.bundle, COALESCE(v.version, '') AS version, c.devices
            FROM (SELECT bundle, sum(devices) AS devices FROM ran_minute WHERE model = ?1 AND minute <= ?2 GROUP BY bundle) c
            LEFT JOIN bundle_version v ON v.bundle = c.bundle WHERE c.devices > 0 ORDER BY c.devices DESC, version LIMIT 200";
        Ok(sqlx::query_as(sql)
            .bind(model.to_owned())
            .bind(to_i64(at.0) / MINUTE_MS)
            .fetch_all(self.read())
            .await?)
    }
    /// Devices that ran a model at a moment, by id, after `after`; with `bundle`, only those that ran that one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ran_where(
        &self,
        model: &str,
        bundle: Option<&str>,
        at: UnixMs,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Ran>, StoreError> {
        let of = if bundle.is_some() { "AND r.bundle = ?5" } else { "" };
        // Only constants are put into the text; everything from outside is bound.
        let sql =
            format!("{LINE} WHERE {LAST} AND r.model = ?2 {of} AND r.device > ?3 ORDER BY r.device LIMIT ?4");
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(to_i64(at.0))
            .bind(model.to_owned())
            .bind(after.to_owned())
            .bind(limit);
        if let Some(bundle) = bundle {
            query = query.bind(bundle.to_owned());
        }
        Ok(query.fetch_all(self.read()).await?)
    }
}
