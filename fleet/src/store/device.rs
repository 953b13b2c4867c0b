//! The registry of devices and the claim tokens that let them in.

use longshore_trust::{DeviceId, Digest, PublicKey, UnixMs};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, Tx, to_i64, to_u64};
use crate::tls::DeviceCertificate;

/// One device of the registry.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// Serial number of its board, or empty.
    pub serial: String,
    /// Labels, a JSON object.
    pub labels: String,
    /// When it was enrolled.
    pub enrolled_at: UnixMs,
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
    /// When it was last heard.
    pub last_seen: Option<UnixMs>,
    /// Whether it is connected.
    pub online: bool,
    /// The greatest assignment version it says it accepted.
    pub assignment_version: u64,
    /// Versions of the trust metadata it has, a JSON object.
    pub tuf_versions: String,
    /// JSON of the wire's `Inventory`.
    pub inventory: Option<String>,
    /// JSON of the wire's `Health`.
    pub health: Option<String>,
    /// When a wipe was asked for.
    pub wipe_asked_at: Option<UnixMs>,
    /// When its last receipt came.
    pub wiped_at: Option<UnixMs>,
}

const COLUMNS: &str = "id, serial, labels, enrolled_at, revoked_at, last_seen, online, assignment_version, \
                       tuf_versions, inventory, health, wipe_asked_at, wiped_at";

fn device_row(row: &SqliteRow) -> Result<DeviceRow, StoreError> {
    let time = |name: &str| -> Result<Option<UnixMs>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(|t| UnixMs(to_u64(t))))
    };
    Ok(DeviceRow {
        id: row.try_get::<String, _>("id")?.parse().map_err(|e| StoreError::corrupt("device id", e))?,
        serial: row.try_get("serial")?,
        labels: row.try_get("labels")?,
        enrolled_at: time("enrolled_at")?.unwrap_or_default(),
        revoked_at: time("revoked_at")?,
        last_seen: time("last_seen")?,
        online: row.try_get::<i64, _>("online")? != 0,
        assignment_version: to_u64(row.try_get("assignment_version")?),
        tuf_versions: row.try_get("tuf_versions")?,
        inventory: row.try_get("inventory")?,
        health: row.try_get("health")?,
        wipe_asked_at: time("wipe_asked_at")?,
        wiped_at: time("wiped_at")?,
    })
}

/// What identifies a device that is not revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Signs its reports.
    pub report_key: PublicKey,
    /// SHA-256 of its client certificate.
    pub cert_sha256: Digest,
    /// SHA-256 of the next one, which it has not shown yet.
    pub next_cert_sha256: Option<Digest>,
}

impl DeviceIdentity {
    /// Whether this certificate is one of its own.
    #[must_use]
    pub fn admits(&self, cert_sha256: &Digest) -> bool {
        self.cert_sha256 == *cert_sha256 || self.next_cert_sha256.as_ref() == Some(cert_sha256)
    }
}

/// Devices in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Enrolled and not revoked.
    pub devices: u64,
    /// Of these, connected.
    pub online: u64,
}

/// A claim token, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Until when it may be used.
    pub expires: UnixMs,
    /// The only board it is for.
    pub serial: Option<String>,
    /// The only device it is for.
    pub device: Option<String>,
    /// Whether that device is enrolled and is to get new keys.
    pub replaces: bool,
    /// The device that used it.
    pub used_by: Option<String>,
}

/// A device that is being enrolled.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its report key.
    pub report_key: PublicKey,
    /// Its client certificate.
    pub certificate: DeviceCertificate,
    /// Serial number of its board, or empty.
    pub serial: String,
    /// Labels, a JSON object.
    pub labels: String,
}

/// Whom a claim token is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFor {
    /// The only board.
    pub serial: Option<String>,
    /// The only device.
    pub device: Option<DeviceId>,
    /// That device is enrolled and gets new keys.
    pub replaces: bool,
}

/// Remembers a claim token.
///
/// # Errors
/// When it exists, or the database refuses.
pub async fn insert_token(
    tx: &mut Tx,
    hash: &Digest,
    expires: UnixMs,
    whom: &TokenFor,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO claim_token (hash, created, expires, serial, device, replaces) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(hash.to_hex())
    .bind(to_i64(now.0))
    .bind(to_i64(expires.0))
    .bind(whom.serial.as_deref())
    .bind(whom.device.as_ref().map(DeviceId::as_str))
    .bind(i64::from(whom.replaces))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A claim token.
///
/// # Errors
/// When the database refuses.
pub async fn token(tx: &mut Tx, hash: &Digest) -> Result<Option<TokenRow>, StoreError> {
    let row =
        sqlx::query("SELECT expires, serial, device, replaces, used_by FROM claim_token WHERE hash = ?1")
            .bind(hash.to_hex())
            .fetch_optional(tx.conn())
            .await?;
    row.map(|r| {
        Ok(TokenRow {
            expires: UnixMs(to_u64(r.try_get("expires")?)),
            serial: r.try_get("serial")?,
            device: r.try_get("device")?,
            replaces: r.try_get::<i64, _>("replaces")? != 0,
            used_by: r.try_get("used_by")?,
        })
    })
    .transpose()
}

/// Burns a claim token.
///
/// # Errors
/// When the database refuses.
pub async fn burn_token(
    tx: &mut Tx,
    hash: &Digest,
    device: &DeviceId,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE claim_token SET used_by = ?2, used_at = ?3 WHERE hash = ?1")
        .bind(hash.to_hex())
        .bind(device.as_str())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// What is known of a device that may be enrolled again: its report key, and whether it was revoked.
///
/// # Errors
/// When the database refuses.
pub async fn enrolled(tx: &mut Tx, device: &DeviceId) -> Result<Option<(Vec<u8>, bool)>, StoreError> {
    let row = sqlx::query("SELECT report_key, revoked_at IS NOT NULL AS revoked FROM device WHERE id = ?1")
        .bind(device.as_str())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|r| Ok((r.try_get("report_key")?, r.try_get::<i64, _>("revoked")? != 0))).transpose()
}

/// Writes an enrolled device; one that was there gets its new keys, and nothing that was meant for the old ones: no
/// certificate, no command, no wipe. Numbers towards it go on rising.
///
/// # Errors
/// When the database refuses.
pub async fn enrol(tx: &mut Tx, device: &NewDevice, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO device (id, report_key, cert_sha256, serial, labels, enrolled_at, cert_from, cert_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET report_key = excluded.report_key, cert_sha256 = excluded.cert_sha256,
             serial = excluded.serial, labels = excluded.labels, enrolled_at = excluded.enrolled_at,
             cert_from = excluded.cert_from, cert_until = excluded.cert_until, next_cert_sha256 = NULL,
             next_cert_from = NULL, next_cert_until = NULL, wipe_seq = NULL, wipe_asked_at = NULL, wiped_at = NULL,
             revoked_at = NULL, online = 0",
    )
    .bind(device.id.as_str())
    .bind(device.report_key.raw())
    .bind(device.certificate.sha256.to_hex())
    .bind(&device.serial)
    .bind(&device.labels)
    .bind(to_i64(now.0))
    .bind(to_i64(device.certificate.validity.from.0))
    .bind(to_i64(device.certificate.validity.until.0))
    .execute(tx.conn())
    .await?;
    sqlx::query("DELETE FROM command WHERE device = ?1").bind(device.id.as_str()).execute(tx.conn()).await?;
    Ok(())
}

/// Revokes a device. Whether there was one to revoke. Call `gateway.disconnect` after the commit.
///
/// # Errors
/// When the database refuses.
pub async fn revoke(tx: &mut Tx, device: &DeviceId, now: UnixMs) -> Result<bool, StoreError> {
    let done =
        sqlx::query("UPDATE device SET revoked_at = ?2, online = 0 WHERE id = ?1 AND revoked_at IS NULL")
            .bind(device.as_str())
            .bind(to_i64(now.0))
            .execute(tx.conn())
            .await?;
    Ok(done.rows_affected() > 0)
}

/// Marks a device as gone. Whether it was there.
///
/// # Errors
/// When the database refuses.
pub async fn set_offline(tx: &mut Tx, device: &DeviceId) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE device SET online = 0 WHERE id = ?1 AND online = 1")
        .bind(device.as_str())
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Marks all devices as gone: at the start, before any has said hello.
///
/// # Errors
/// When the database refuses.
pub async fn set_all_offline(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("UPDATE device SET online = 0 WHERE online = 1").execute(tx.conn()).await?;
    Ok(())
}

pub(super) fn cert_digest(text: &str) -> Result<Digest, StoreError> {
    text.parse().map_err(|e| StoreError::corrupt("certificate digest", e))
}

impl Store {
    /// A device of the registry.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM device WHERE id = ?1");
        let row =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(device.as_str()).fetch_optional(self.read()).await?;
        row.as_ref().map(device_row).transpose()
    }
    /// Devices in the order of their ids, behind `after`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn devices(&self, after: Option<&DeviceId>, limit: u32) -> Result<Vec<DeviceRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM device WHERE id > ?1 ORDER BY id LIMIT ?2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after.map_or("", DeviceId::as_str))
            .bind(limit)
            .fetch_all(self.read())
            .await?;
        rows.iter().map(device_row).collect()
    }
    /// What identifies a device; `None` when it is unknown or revoked.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn device_identity(&self, device: &DeviceId) -> Result<Option<DeviceIdentity>, StoreError> {
        let row =
            sqlx::query("SELECT report_key, cert_sha256, next_cert_sha256 FROM device WHERE id = ?1 AND revoked_at IS NULL")
                .bind(device.as_str())
                .fetch_optional(self.read())
                .await?;
        row.map(|r| {
            Ok(DeviceIdentity {
                report_key: PublicKey::ed25519(&r.try_get::<Vec<u8>, _>("report_key")?)
                    .map_err(|e| StoreError::corrupt("report key", e))?,
                cert_sha256: cert_digest(&r.try_get::<String, _>("cert_sha256")?)?,
                next_cert_sha256: r
                    .try_get::<Option<String>, _>("next_cert_sha256")?
                    .map(|text| cert_digest(&text))
                    .transpose()?,
            })
        })
        .transpose()
    }
    /// How many devices there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn device_counts(&self) -> Result<DeviceCounts, StoreError> {
        let row = sqlx::query(
            "SELECT count(*) AS devices, coalesce(sum(online), 0) AS online FROM device WHERE revoked_at IS NULL",
        )
        .fetch_one(self.read())
        .await?;
        Ok(DeviceCounts { devices: to_u64(row.try_get("devices")?), online: to_u64(row.try_get("online")?) })
    }
    /// Devices that are marked as connected.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn online_devices(&self) -> Result<Vec<(DeviceId, UnixMs)>, StoreError> {
        let rows: Vec<(String, Option<i64>)> =
            sqlx::query_as("SELECT id, last_seen FROM device WHERE online = 1")
                .fetch_all(self.read())
                .await?;
        rows.into_iter()
            .map(|(id, seen)| {
                let id = id.parse().map_err(|e| StoreError::corrupt("device id", e))?;
                Ok((id, UnixMs(to_u64(seen.unwrap_or(0)))))
            })
            .collect()
    }
    /// Whether a claim token is known and unexpired (a used one may still answer its own device once more).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn token_is_live(&self, hash: &Digest, now: UnixMs) -> Result<bool, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM claim_token WHERE hash = ?1 AND expires > ?2")
            .bind(hash.to_hex())
            .bind(to_i64(now.0))
            .fetch_one(self.read())
            .await?;
        Ok(n > 0)
    }
}
