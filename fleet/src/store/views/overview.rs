//! The fleet as a whole: totals, versions, trouble, trust metadata, what was done last.

use serde::Deserialize;
use sqlx::FromRow;

use crate::store::{Store, StoreError, to_i64, to_u64};

/// Sums over the whole fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Totals {
    /// Devices that are not revoked.
    pub devices: i64,
    /// Of these, connected now.
    pub online: i64,
    /// Of these, in quarantine.
    pub quarantined: i64,
    /// Of these, not connected and not heard of for the configured time.
    pub silent: i64,
    /// Rows counted, of all models and versions.
    pub rows: i64,
    /// Rows that failed.
    pub errors: i64,
    /// Rows with a label.
    pub labelled: i64,
    /// Labelled rows that were right.
    pub correct: i64,
}

/// How many devices run a version of a model.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct VersionCount {
    /// The model.
    pub model: String,
    /// The version; empty while the device runs none.
    pub version: String,
    /// Devices that are not revoked.
    pub devices: i64,
}

/// An update that ended badly and has not been followed by a better one.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct TroubleRow {
    /// The model.
    pub model: String,
    /// State of the update.
    pub state: String,
    /// Its reason code, or nothing.
    pub code: String,
    /// How many devices.
    pub devices: i64,
    /// One of them.
    pub example: String,
}

/// Newest metadata of one role, as far as the console shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// `root`, `targets`, `snapshot`, `timestamp`, `models/<name>`.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires, in ms, if it says so legibly.
    pub expires: Option<u64>,
    /// Ids of the keys that signed it.
    pub keyids: Vec<String>,
    /// When the server stored it.
    pub stored: u64,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AuditRow {
    /// When.
    pub time: i64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// More.
    pub detail: String,
}

#[derive(FromRow)]
struct Stored {
    role: String,
    version: i64,
    bytes: Vec<u8>,
    created: i64,
}

impl From<Stored> for Metadata {
    fn from(row: Stored) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Outer {
            signed: Signed,
            signatures: Vec<Signature>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Signed {
            expires: Option<jiff::Timestamp>,
        }
        #[derive(Deserialize)]
        struct Signature {
            keyid: String,
        }
        // These bytes were verified before they were stored; here they are only shown.
        let outer: Outer = serde_json::from_slice(&row.bytes).unwrap_or_default();
        Self {
            role: row.role,
            version: to_u64(row.version),
            expires: outer.signed.expires.and_then(|t| u64::try_from(t.as_millisecond()).ok()),
            keyids: outer.signatures.into_iter().map(|s| s.keyid).collect(),
            stored: to_u64(row.created),
        }
    }
}

impl Store {
    /// Sums over the fleet. A device counts as silent when it is not connected and was last heard of before
    /// `silent_before` (ms).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_totals(&self, silent_before: u64) -> Result<Totals, StoreError> {
        let sql = "SELECT COUNT(*) AS devices, COALESCE(SUM(online), 0) AS online,
                COALESCE(SUM(online = 0 AND COALESCE(last_seen, enrolled_at) < ?1), 0) AS silent,
                (SELECT COUNT(*) FROM device q WHERE q.quarantined_at IS NOT NULL AND q.revoked_at IS NULL) AS quarantined,
                (SELECT COALESCE(SUM(rows), 0) FROM bundle_total) AS rows,
                (SELECT COALESCE(SUM(errors), 0) FROM bundle_total) AS errors,
                (SELECT COALESCE(SUM(labelled), 0) FROM bundle_total) AS labelled,
                (SELECT COALESCE(SUM(correct), 0) FROM bundle_total) AS correct
            FROM device WHERE revoked_at IS NULL";
        Ok(sqlx::query_as(sql).bind(to_i64(silent_before)).fetch_one(self.read()).await?)
    }

    /// How many devices run which version of which model; the most common version of a model comes first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_version_counts(&self) -> Result<Vec<VersionCount>, StoreError> {
        // A bundle that is not in the catalogue has the version its devices say.
        let sql = "SELECT s.model, COALESCE(v.version, (SELECT m.version FROM device_model m WHERE m.model = s.model
                AND m.active = s.bundle LIMIT 1), '') AS version, SUM(s.devices) AS devices
            FROM serving s LEFT JOIN bundle_version v ON v.bundle = s.bundle WHERE s.devices > 0
            GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2 LIMIT 500";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }

    /// Retired versions that still serve somewhere, most devices first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_retired_serving(&self) -> Result<Vec<VersionCount>, StoreError> {
        let sql = "SELECT v.model, v.version, s.devices FROM bundle_version v
            JOIN serving s ON s.model = v.model AND s.bundle = v.bundle AND s.devices > 0
            WHERE v.state = 'retired' ORDER BY 3 DESC LIMIT 20";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }

    /// Updates that ended badly, grouped.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_trouble(&self) -> Result<Vec<TroubleRow>, StoreError> {
        let sql = "SELECT m.model, m.state, COALESCE(m.code, '') AS code, COUNT(*) AS devices, MIN(m.device) AS example
            FROM device_model m JOIN device d ON d.id = m.device AND d.revoked_at IS NULL
            WHERE m.state IN ('failed', 'rejected', 'rolled_back', 'unable_to_roll_back', 'expired')
            GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 20";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }

    /// Whether one person holds all offline keys of this fleet, as its root metadata says.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_solo(&self) -> Result<bool, StoreError> {
        let sql = "SELECT bytes FROM role_metadata WHERE role = 'root' ORDER BY version DESC LIMIT 1";
        let root: Option<Vec<u8>> = sqlx::query_scalar(sql).fetch_optional(self.read()).await?;
        let root: serde_json::Value =
            root.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ok(root["signed"]["x-solo"] == true)
    }

    /// The newest published metadata of every role.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_metadata(&self) -> Result<Vec<Metadata>, StoreError> {
        let sql = "SELECT r.role, r.version, r.bytes, r.created FROM role_metadata r
            WHERE r.version = (SELECT MAX(n.version) FROM role_metadata n WHERE n.role = r.role) ORDER BY r.role";
        let rows: Vec<Stored> = sqlx::query_as(sql).fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(Metadata::from).collect())
    }

    /// Metadata that waits for more signatures.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_pending_metadata(&self) -> Result<Vec<Metadata>, StoreError> {
        let sql = "SELECT role, version, bytes, created FROM role_pending ORDER BY created DESC LIMIT 100";
        let rows: Vec<Stored> = sqlx::query_as(sql).fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(Metadata::from).collect())
    }

    /// The last lines of the audit log, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_audit(&self, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let sql = "SELECT time, actor, action, object, detail FROM audit ORDER BY leaf DESC LIMIT ?1";
        Ok(sqlx::query_as(sql).bind(limit).fetch_all(self.read()).await?)
    }
}
