//! Devices: the filtered list, one device, what happened to it.

use longshore_stats::Counters;
use sqlx::FromRow;

use super::{Cursor, counters};
use crate::store::{Store, StoreError, to_i64, to_u64};

/// Which devices a list shows.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Part of an id, serial number or label; lower case; empty for all.
    pub text: String,
    /// By condition.
    pub status: Status,
    /// Only devices that have this model; empty for all.
    pub model: String,
    /// Only devices that run this version of `model`; empty for all.
    pub version: String,
    /// Older than this (ms) is silent.
    pub silent_before: u64,
}

/// A condition a device can be filtered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    /// All that are not revoked.
    #[default]
    Any,
    Online,
    Offline,
    Silent,
    /// Its last update ended badly.
    Trouble,
    /// Rollouts offer it nothing until a person releases it.
    Quarantined,
    Revoked,
}

impl Status {
    /// All of them, in the order of the filter.
    pub const ALL: [Self; 7] = [
        Self::Any,
        Self::Online,
        Self::Offline,
        Self::Silent,
        Self::Trouble,
        Self::Quarantined,
        Self::Revoked,
    ];
    /// As in the address of the page; empty for [`Status::Any`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Silent => "silent",
            Self::Trouble => "trouble",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }
    /// From the address of the page; what is not known filters nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|s| s.as_str() == text).unwrap_or_default()
    }
}

/// One device, as the list and the head of its page show it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DeviceRow {
    /// Its id.
    pub id: String,
    /// Serial number, or nothing.
    pub serial: String,
    /// JSON object of labels.
    pub labels: String,
    /// When it joined, ms.
    pub enrolled_at: i64,
    /// When it was revoked, ms.
    pub revoked_at: Option<i64>,
    /// When it was last heard of, ms.
    pub last_seen: Option<i64>,
    /// Connected now.
    pub online: bool,
    /// Its present stream.
    pub stream: String,
    /// The greatest assignment it accepted.
    pub assignment_version: i64,
    /// JSON object: versions of the metadata it trusts.
    pub tuf_versions: String,
    /// JSON of its inventory.
    pub inventory: Option<String>,
    /// JSON of its last health report.
    pub health: Option<String>,
    /// When it was told to wipe itself, ms.
    pub wipe_asked_at: Option<i64>,
    /// When its wipe receipt came, ms.
    pub wiped_at: Option<i64>,
    /// Why rollouts offer it nothing, if it is in quarantine.
    pub quarantine_reason: Option<String>,
    /// Assignments in a row that it could not carry out.
    pub failures: i64,
}

impl DeviceRow {
    /// `active`, `wiping`, `decommissioned` or `revoked`.
    #[must_use]
    pub const fn standing(&self) -> &'static str {
        match (self.wiped_at, self.revoked_at, self.wipe_asked_at) {
            (Some(_), _, _) => "decommissioned",
            (None, Some(_), _) => "revoked",
            (None, None, Some(_)) => "wiping",
            (None, None, None) => "active",
        }
    }
}

/// What a device has of one model.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DeviceModelRow {
    /// The device.
    pub device: String,
    /// The model.
    pub model: String,
    /// Digest of the bundle that serves.
    pub active: Option<String>,
    /// Its version, as the catalogue or the device says.
    pub version: String,
    /// Digest of the bundle that is wanted.
    pub wanted: Option<String>,
    /// Version of the bundle that is wanted.
    pub wanted_version: String,
    /// State of its update.
    pub state: String,
    /// Reason of that state.
    pub code: String,
    /// The device's own total of rows.
    pub rows_journal: i64,
    /// When this changed, ms.
    pub changed: i64,
    /// Release counter of the active bundle.
    pub release_counter: Option<i64>,
    /// When the active bundle was approved, ms.
    pub approved_at: Option<i64>,
}

/// A page of the list.
#[derive(Debug, Clone, Default)]
pub struct DevicePage {
    /// The devices.
    pub devices: Vec<DeviceRow>,
    /// Whether there are more before the first.
    pub more_before: bool,
    /// Whether there are more after the last.
    pub more_after: bool,
    /// How many match altogether.
    pub matching: u64,
}

/// How many devices there are, for the empty states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct DeviceCounts {
    /// Not revoked.
    pub devices: i64,
    /// Claim tokens that are still good.
    pub tokens: i64,
}

/// Sums of one bundle on one device.
#[derive(Debug, Clone)]
pub struct BundleTotal {
    /// The model.
    pub model: String,
    /// Digest of the bundle.
    pub bundle: String,
    /// Its version, if the catalogue has it.
    pub version: String,
    /// The sums.
    pub counters: Counters,
}

/// Something on a device's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// By the device's clock, ms.
    pub time: u64,
    /// When the fleet stored it, ms.
    pub received: u64,
    /// What.
    pub what: Happening,
}

/// What can stand on a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Happening {
    /// An update moved on.
    Update {
        model: String,
        version: String,
        bundle: String,
        state: String,
        code: String,
        detail: String,
        rollout: String,
        /// JSON of what the trial measured.
        trial: Option<String>,
    },
    /// An event: its kind and JSON body.
    Event { kind: String, body: String },
}

const COLUMNS: &str =
    "d.id, d.serial, d.labels, d.enrolled_at, d.revoked_at, d.last_seen, d.online, d.stream,
    d.assignment_version, d.tuf_versions, d.inventory, d.health, d.wipe_asked_at,
    d.wiped_at, d.quarantine_reason, d.failures";

/// States of an update that ended badly, as the index on them has them.
const TROUBLE: &str = "('failed', 'rejected', 'rolled_back', 'unable_to_roll_back', 'expired')";

/// Where devices that match are looked for, and the conditions: only those that are asked for, so that the database can choose
/// its way. Everything from outside is bound: ?1 text, ?2 model, ?3 version, ?4 time of silence.
fn matching(filter: &DeviceFilter, in_catalogue: bool) -> (String, String) {
    let mut conditions = vec![match filter.status {
        Status::Any => "d.revoked_at IS NULL".to_owned(),
        Status::Online => "d.revoked_at IS NULL AND d.online = 1".into(),
        Status::Offline => "d.revoked_at IS NULL AND d.online = 0".into(),
        Status::Silent => {
            "d.revoked_at IS NULL AND d.online = 0 AND COALESCE(d.last_seen, d.enrolled_at) < ?4".into()
        }
        Status::Trouble => format!(
            "d.revoked_at IS NULL AND d.id IN (SELECT t.device FROM device_model t WHERE t.state IN {TROUBLE})"
        ),
        Status::Quarantined => "d.revoked_at IS NULL AND d.quarantined_at IS NOT NULL".into(),
        Status::Revoked => "d.revoked_at IS NOT NULL".into(),
    }];
    if !filter.text.is_empty() {
        conditions.push(
            "(instr(d.id, ?1) > 0 OR instr(lower(d.serial), ?1) > 0 OR instr(lower(d.labels), ?1) > 0)"
                .into(),
        );
    }
    let mut from = "device d".to_owned();
    match (filter.model.is_empty(), filter.version.is_empty()) {
        (true, _) => {}
        (false, true) => conditions
            .push("EXISTS (SELECT 1 FROM device_model m WHERE m.device = d.id AND m.model = ?2)".into()),
        // Only devices know it.
        (false, false) if !in_catalogue => conditions.push(
            "EXISTS (SELECT 1 FROM device_model m WHERE m.device = d.id AND m.model = ?2 AND m.version = ?3)"
                .into(),
        ),
        // In the order of the index: by bundle, then by device.
        (false, false) => {
            from = "device_model m CROSS JOIN device d ON d.id = m.device".into();
            conditions.push(
                "m.model = ?2 AND m.active = (SELECT v.bundle FROM bundle_version v WHERE v.model = ?2 AND v.version = ?3)".into(),
            );
        }
    }
    (from, conditions.join(" AND "))
}

macro_rules! bind_filter {
    ($query:expr, $filter:expr) => {
        $query
            .bind($filter.text.clone())
            .bind($filter.model.clone())
            .bind($filter.version.clone())
            .bind(to_i64($filter.silent_before))
    };
}

impl Store {
    /// A page of at most `limit` devices that match, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_devices(
        &self,
        filter: &DeviceFilter,
        cursor: &Cursor,
        limit: u32,
    ) -> Result<DevicePage, StoreError> {
        let in_catalogue =
            !filter.version.is_empty() && self.view_version(&filter.model, &filter.version).await?.is_some();
        let (from, conditions) = matching(filter, in_catalogue);
        let plain = filter.text.is_empty() && filter.status == Status::Any;
        let matching: i64 = if plain && in_catalogue {
            let sql = "SELECT COALESCE(SUM(devices), 0) FROM serving WHERE model = ?1
                AND bundle = (SELECT bundle FROM bundle_version WHERE model = ?1 AND version = ?2)";
            let query = sqlx::query_scalar(sql).bind(filter.model.clone()).bind(filter.version.clone());
            query.fetch_one(self.read()).await?
        } else {
            let count = format!("SELECT COUNT(*) FROM {from} WHERE {conditions}");
            bind_filter!(sqlx::query_scalar(sqlx::AssertSqlSafe(count)), filter)
                .fetch_one(self.read())
                .await?
        };
        let (key, compare, order) = match cursor {
            Cursor::Start => ("", ">", "ASC"),
            Cursor::After(id) => (id.as_str(), ">", "ASC"),
            Cursor::Before(id) => (id.as_str(), "<", "DESC"),
        };
        let by = if from.starts_with("device_model") { "m.device" } else { "d.id" };
        // Only constants are put into the text; everything from outside is bound.
        let sql = format!(
            "SELECT {COLUMNS} FROM {from} WHERE {conditions} AND {by} {compare} ?5 ORDER BY {by} {order} LIMIT ?6"
        );
        let mut devices: Vec<DeviceRow> = bind_filter!(sqlx::query_as(sqlx::AssertSqlSafe(sql)), filter)
            .bind(key.to_owned())
            .bind(limit + 1)
            .fetch_all(self.read())
            .await?;
        let more = devices.len() > limit as usize;
        devices.truncate(limit as usize);
        let (more_before, more_after) = match cursor {
            Cursor::Start => (false, more),
            Cursor::After(_) => (true, more),
            Cursor::Before(_) => {
                devices.reverse();
                (more, true)
            }
        };
        Ok(DevicePage { devices, more_before, more_after, matching: to_u64(matching) })
    }

    /// How many devices and open claim tokens there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_device_counts(&self, now: u64) -> Result<DeviceCounts, StoreError> {
        let sql = "SELECT (SELECT COUNT(*) FROM device WHERE revoked_at IS NULL) AS devices,
            (SELECT COUNT(*) FROM claim_token WHERE used_by IS NULL AND expires > ?1) AS tokens";
        Ok(sqlx::query_as(sql).bind(to_i64(now)).fetch_one(self.read()).await?)
    }

    /// One device.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_device(&self, id: &str) -> Result<Option<DeviceRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM device d WHERE d.id = ?1");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.to_owned()).fetch_optional(self.read()).await?)
    }

    /// What these devices have of every model, by device and model.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_device_models(&self, devices: &[&str]) -> Result<Vec<DeviceModelRow>, StoreError> {
        let sql = "SELECT m.device, m.model, m.active, COALESCE(v.version, m.version, '') AS version, m.wanted,
                COALESCE(w.version, '') AS wanted_version, m.state, COALESCE(m.code, '') AS code, m.rows_journal,
                m.changed, v.release_counter, v.approved_at
            FROM device_model m LEFT JOIN bundle_version v ON v.bundle = m.active
            LEFT JOIN bundle_version w ON w.bundle = m.wanted
            WHERE m.device IN (SELECT value FROM json_each(?1)) ORDER BY m.device, m.model";
        Ok(sqlx::query_as(sql).bind(serde_json::json!(devices).to_string()).fetch_all(self.read()).await?)
    }

    /// Rows counted of each of these devices.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_device_rows(&self, devices: &[&str]) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT device, SUM(rows) FROM device_total
            WHERE device IN (SELECT value FROM json_each(?1)) GROUP BY device";
        Ok(sqlx::query_as(sql).bind(serde_json::json!(devices).to_string()).fetch_all(self.read()).await?)
    }

    /// Exact sums of one device, per bundle.
    ///
    /// # Errors
    /// When the database cannot be read or holds counters that do not decode.
    pub async fn view_device_totals(&self, device: &str) -> Result<Vec<BundleTotal>, StoreError> {
        let sql =
            "SELECT t.model, t.bundle, COALESCE(v.version, '') AS version, t.counters FROM device_total t
            LEFT JOIN bundle_version v ON v.bundle = t.bundle WHERE t.device = ?1
            ORDER BY t.model, COALESCE(v.release_counter, 0) DESC LIMIT 200";
        let rows: Vec<(String, String, String, Vec<u8>)> =
            sqlx::query_as(sql).bind(device.to_owned()).fetch_all(self.read()).await?;
        rows.into_iter()
            .map(|(model, bundle, version, blob)| {
                Ok(BundleTotal { model, bundle, version, counters: counters(&blob)? })
            })
            .collect()
    }

    /// What happened to a device before `before` (ms), newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_timeline(
        &self,
        device: &str,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Moment>, StoreError> {
        #[derive(FromRow)]
        struct Update {
            time: i64,
            received: i64,
            model: String,
            version: String,
            bundle: String,
            state: String,
            code: String,
            detail: String,
            rollout: String,
            trial: Option<String>,
        }
        let updates: Vec<Update> = sqlx::query_as(
            "SELECT u.time, u.received, u.model, COALESCE(v.version, '') AS version, u.bundle, u.state,
                COALESCE(u.code, '') AS code, COALESCE(u.detail, '') AS detail, COALESCE(u.rollout, '') AS rollout,
                u.trial
            FROM update_report u LEFT JOIN bundle_version v ON v.bundle = u.bundle
            WHERE u.device = ?1 AND u.time < ?2 ORDER BY u.time DESC, u.id DESC LIMIT ?3",
        )
        .bind(device.to_owned())
        .bind(to_i64(before))
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        let events: Vec<(i64, i64, String, String)> = sqlx::query_as(
            "SELECT time, received, kind, body FROM device_event WHERE device = ?1 AND time < ?2
             ORDER BY time DESC, id DESC LIMIT ?3",
        )
        .bind(device.to_owned())
        .bind(to_i64(before))
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        let updates = updates.into_iter().map(|u| Moment {
            time: to_u64(u.time),
            received: to_u64(u.received),
            what: Happening::Update {
                model: u.model,
                version: u.version,
                bundle: u.bundle,
                state: u.state,
                code: u.code,
                detail: u.detail,
                rollout: u.rollout,
                trial: u.trial,
            },
        });
        let events = events.into_iter().map(|(time, received, kind, body)| Moment {
            time: to_u64(time),
            received: to_u64(received),
            what: Happening::Event { kind, body },
        });
        let mut moments: Vec<Moment> = updates.chain(events).collect();
        moments.sort_by_key(|m| std::cmp::Reverse(m.time));
        moments.truncate(limit as usize);
        Ok(moments)
    }
}
