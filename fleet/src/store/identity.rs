//! Certificates that follow each other, keys that were given up, wipes and their receipts.
//!
//! What always holds: a device has one present certificate and at most one next one; when the next one is seen it becomes
//! the present one, in the same step that ends the one before. A key that was replaced is remembered with the time it
//! ended, so that what it signed can still be checked.

use longshore_trust::{DeviceId, Digest, Seq, UnixMs};
use longshore_wire::v1::WipeStage;
use sqlx::Row as _;

use super::device::cert_digest;
use super::{Store, StoreError, Tx, to_i64, to_u64};
use crate::tls::{DeviceCertificate, Validity};

/// The certificates of a device that is not revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The present one.
    pub present: Digest,
    /// From when it is good.
    pub from: UnixMs,
    /// To when; `None`: made before certificates ended.
    pub until: Option<UnixMs>,
    /// The next one, not seen yet.
    pub next: Option<Digest>,
}

/// The certificates of a device; `None` when it is unknown or revoked.
///
/// # Errors
/// When the database refuses.
pub async fn certificates(tx: &mut Tx, device: &DeviceId) -> Result<Option<Certificates>, StoreError> {
    certificates_in(tx.conn(), device).await
}

async fn certificates_in<'e>(
    database: impl sqlx::Executor<'e, Database = sqlx::Sqlite>,
    device: &DeviceId,
) -> Result<Option<Certificates>, StoreError> {
    let row = sqlx::query(
        "SELECT cert_sha256, cert_from, cert_until, next_cert_sha256 FROM device WHERE id = ?1 AND revoked_at IS NULL",
    )
    .bind(device.as_str())
    .fetch_optional(database)
    .await?;
    row.map(|r| {
        Ok(Certificates {
            present: cert_digest(&r.try_get::<String, _>("cert_sha256")?)?,
            from: UnixMs(to_u64(r.try_get("cert_from")?)),
            until: r.try_get::<Option<i64>, _>("cert_until")?.map(|t| UnixMs(to_u64(t))),
            next: r
                .try_get::<Option<String>, _>("next_cert_sha256")?
                .map(|text| cert_digest(&text))
                .transpose()?,
        })
    })
    .transpose()
}

/// Remembers the certificate that follows the present one.
///
/// # Errors
/// When the database refuses.
pub async fn set_next(
    tx: &mut Tx,
    device: &DeviceId,
    certificate: &DeviceCertificate,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE device SET next_cert_sha256 = ?2, next_cert_from = ?3, next_cert_until = ?4
         WHERE id = ?1 AND revoked_at IS NULL",
    )
    .bind(device.as_str())
    .bind(certificate.sha256.to_hex())
    .bind(to_i64(certificate.validity.from.0))
    .bind(to_i64(certificate.validity.until.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Makes a certificate that this registry has forgotten (it was restored from a backup) the present one again.
///
/// # Errors
/// When the database refuses.
pub async fn adopt(
    tx: &mut Tx,
    device: &DeviceId,
    cert_sha256: &Digest,
    validity: Validity,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE device SET cert_sha256 = ?2, cert_from = ?3, cert_until = ?4, next_cert_sha256 = NULL
         WHERE id = ?1 AND revoked_at IS NULL",
    )
    .bind(device.as_str())
    .bind(cert_sha256.to_hex())
    .bind(to_i64(validity.from.0))
    .bind(to_i64(validity.until.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The next certificate was shown: from now on it alone is good. Whether it was the next one.
///
/// # Errors
/// When the database refuses.
pub async fn promote(tx: &mut Tx, device: &DeviceId, cert_sha256: &Digest) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE device SET cert_sha256 = next_cert_sha256, cert_from = next_cert_from, cert_until = next_cert_until,
             next_cert_sha256 = NULL, next_cert_from = NULL, next_cert_until = NULL
         WHERE id = ?1 AND next_cert_sha256 = ?2 AND revoked_at IS NULL",
    )
    .bind(device.as_str())
    .bind(cert_sha256.to_hex())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Remembers the present keys of a device as given up, if they are not yet.
///
/// # Errors
/// When the database refuses.
pub async fn retire_keys(tx: &mut Tx, device: &DeviceId, why: &str, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO former_identity (device, report_key, cert_sha256, enrolled_at, ended_at, why)
         SELECT id, report_key, cert_sha256, enrolled_at, ?2, ?3 FROM device d WHERE id = ?1 AND NOT EXISTS
             (SELECT 1 FROM former_identity f WHERE f.device = d.id AND f.cert_sha256 = d.cert_sha256)",
    )
    .bind(device.as_str())
    .bind(to_i64(now.0))
    .bind(why)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A board was swapped: the new one runs nothing yet, and begins a stream of its own.
///
/// # Errors
/// When the database refuses.
pub async fn start_anew(tx: &mut Tx, device: &DeviceId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM device_model WHERE device = ?1")
        .bind(device.as_str())
        .execute(tx.conn())
        .await?;
    sqlx::query(
        "UPDATE device SET stream = '', inventory_seq = 0, health_seq = 0, tuf_versions = '{}', inventory = NULL,
             health = NULL, last_seen = NULL, failures = 0, quarantined_at = NULL, quarantine_reason = NULL
         WHERE id = ?1",
    )
    .bind(device.as_str())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The bundles a device should run: what it committed, or what it ran before an update that has not been committed.
///
/// # Errors
/// When the database refuses.
pub async fn desired(tx: &mut Tx, device: &DeviceId) -> Result<Vec<Digest>, StoreError> {
    let bundles: Vec<Option<String>> = sqlx::query_scalar(
        "SELECT CASE WHEN state IN ('committed', 'already', 'rejected', 'cancelled', 'failed', 'rolled_back') THEN active
                ELSE coalesce((SELECT r.champion FROM rollout_device r JOIN rollout o ON o.id = r.rollout
                               WHERE r.device = m.device AND o.model = m.model ORDER BY o.generation DESC LIMIT 1),
                              active) END
         FROM device_model m WHERE device = ?1 ORDER BY model",
    )
    .bind(device.as_str())
    .fetch_all(tx.conn())
    .await?;
    bundles
        .into_iter()
        .flatten()
        .map(|text| text.parse().map_err(|e| StoreError::corrupt("bundle digest", e)))
        .collect()
}

/// The lowest numbers that the director may still use towards a device: last command, last assignment.
///
/// # Errors
/// When the database refuses.
pub async fn numbers(tx: &mut Tx, device: &DeviceId) -> Result<(Seq, u64), StoreError> {
    let row = sqlx::query(
        "SELECT down_seq, max(assignment_version,
             coalesce((SELECT max(version) FROM assignment WHERE device = ?1), 0)) AS version
         FROM device WHERE id = ?1",
    )
    .bind(device.as_str())
    .fetch_one(tx.conn())
    .await?;
    Ok((Seq(to_u64(row.try_get("down_seq")?)), to_u64(row.try_get("version")?)))
}

/// Remembers that a wipe was commanded; a command of the time before is not sent any more.
///
/// # Errors
/// When the database refuses.
pub async fn ask_wipe(tx: &mut Tx, device: &DeviceId, seq: Seq, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM command WHERE device = ?1 AND seq = (SELECT wipe_seq FROM device WHERE id = ?1) AND seq <> ?2")
        .bind(device.as_str())
        .bind(to_i64(seq.0))
        .execute(tx.conn())
        .await?;
    sqlx::query("UPDATE device SET wipe_seq = ?2, wipe_asked_at = coalesce(wipe_asked_at, ?3) WHERE id = ?1")
        .bind(device.as_str())
        .bind(to_i64(seq.0))
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// The number of the wipe command a device was given; `None` when there is none.
///
/// # Errors
/// When the database refuses.
pub async fn wipe_seq(tx: &mut Tx, device: &DeviceId) -> Result<Option<Seq>, StoreError> {
    let seq: Option<Option<i64>> =
        sqlx::query_scalar("SELECT wipe_seq FROM device WHERE id = ?1 AND revoked_at IS NULL")
            .bind(device.as_str())
            .fetch_optional(tx.conn())
            .await?;
    Ok(seq.flatten().map(|n| Seq(to_u64(n))))
}

/// Whether a device has said that it begins to wipe itself, by the command that is out.
///
/// # Errors
/// When the database refuses.
pub async fn wipe_has_begun(tx: &mut Tx, device: &DeviceId) -> Result<bool, StoreError> {
    let n: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM wipe_receipt w JOIN device d ON d.id = w.device
         WHERE w.device = ?1 AND w.seq >= d.wipe_seq",
    )
    .bind(device.as_str())
    .fetch_one(tx.conn())
    .await?;
    Ok(n > 0)
}

/// Keeps a device's word about its wipe, as signed. Whether it is new.
///
/// # Errors
/// When the database refuses.
pub async fn insert_wipe_receipt(
    tx: &mut Tx,
    device: &DeviceId,
    seq: Seq,
    stage: WipeStage,
    bytes: &[u8],
    time: UnixMs,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO wipe_receipt (device, seq, stage, bytes, time, received) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )
    .bind(device.as_str())
    .bind(to_i64(seq.0))
    .bind(stage.as_str())
    .bind(bytes)
    .bind(to_i64(time.0))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A device has wiped itself: it has left the fleet.
///
/// # Errors
/// When the database refuses.
pub async fn set_wiped(tx: &mut Tx, device: &DeviceId, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query("UPDATE device SET wiped_at = ?2 WHERE id = ?1")
        .bind(device.as_str())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    sqlx::query("UPDATE device_model SET state = 'decommissioned', active = NULL, code = NULL, changed = ?2 WHERE device = ?1")
        .bind(device.as_str())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    sqlx::query("DELETE FROM command WHERE device = ?1").bind(device.as_str()).execute(tx.conn()).await?;
    Ok(())
}

/// A receipt of a wipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WipeReceipt {
    /// `begun` or `done`.
    pub stage: String,
    /// The signed envelope.
    pub bytes: Vec<u8>,
    /// By the device's clock.
    pub time: UnixMs,
    /// By the fleet's.
    pub received: UnixMs,
}

impl Store {
    /// Like [`certificates`], outside of any transaction: whoever asks all day holds up nobody who writes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn certificates(&self, device: &DeviceId) -> Result<Option<Certificates>, StoreError> {
        certificates_in(self.read(), device).await
    }
    /// What a device said about its wipe.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn wipe_receipts(&self, device: &str) -> Result<Vec<WipeReceipt>, StoreError> {
        let rows = sqlx::query(
            "SELECT stage, bytes, time, received FROM wipe_receipt WHERE device = ?1 ORDER BY received, seq, stage",
        )
        .bind(device)
        .fetch_all(self.read())
        .await?;
        rows.iter()
            .map(|r| {
                Ok(WipeReceipt {
                    stage: r.try_get("stage")?,
                    bytes: r.try_get("bytes")?,
                    time: UnixMs(to_u64(r.try_get("time")?)),
                    received: UnixMs(to_u64(r.try_get("received")?)),
                })
            })
            .collect()
    }
    /// Keys that a device had and has no more, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn former_keys(&self, device: &str) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT report_key, why FROM former_identity WHERE device = ?1 ORDER BY id")
            .bind(device)
            .fetch_all(self.read())
            .await?)
    }
}
