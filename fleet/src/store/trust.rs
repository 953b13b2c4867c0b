//! Trust metadata, byte for byte as signed: published versions and those that wait for more signatures.

use std::collections::BTreeMap;

use longshore_trust::{Digest, ReleaseCounter, UnixMs};
use sqlx::Row as _;

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// The newest published version of a role.
///
/// # Errors
/// When the database refuses.
pub async fn newest_version(tx: &mut Tx, role: &str) -> Result<Option<u64>, StoreError> {
    let n: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM role_metadata WHERE role = ?1")
        .bind(role)
        .fetch_one(tx.conn())
        .await?;
    Ok(n.map(to_u64))
}

/// The newest published bytes of a role, with their version.
///
/// # Errors
/// When the database refuses.
pub async fn newest(tx: &mut Tx, role: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let row =
        sqlx::query("SELECT version, bytes FROM role_metadata WHERE role = ?1 ORDER BY version DESC LIMIT 1")
            .bind(role)
            .fetch_optional(tx.conn())
            .await?;
    row.map(|r| Ok((to_u64(r.try_get("version")?), r.try_get("bytes")?))).transpose()
}

/// The newest version of `targets` and of every delegated role: what a snapshot names.
///
/// # Errors
/// When the database refuses.
pub async fn targets_versions(tx: &mut Tx) -> Result<Vec<(String, u64)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT role, max(version) FROM role_metadata
         WHERE role = 'targets' OR role LIKE 'models/%' GROUP BY role ORDER BY role",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|(role, v)| (role, to_u64(v))).collect())
}

/// The newest version of every role that offline keys sign.
///
/// # Errors
/// When the database refuses.
pub async fn newest_offline(tx: &mut Tx) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT role, bytes FROM role_metadata r
         WHERE (role IN ('root', 'targets') OR role LIKE 'models/%')
           AND version = (SELECT max(version) FROM role_metadata WHERE role = r.role)",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Publishes one version of a role.
///
/// # Errors
/// When that version is published already, or the database refuses.
pub async fn publish(
    tx: &mut Tx,
    role: &str,
    version: u64,
    bytes: &[u8],
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO role_metadata (role, version, bytes, created) VALUES (?1, ?2, ?3, ?4)")
        .bind(role)
        .bind(to_i64(version))
        .bind(bytes)
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    sqlx::query("DELETE FROM role_pending WHERE role = ?1 AND version <= ?2")
        .bind(role)
        .bind(to_i64(version))
        .execute(tx.conn())
        .await?;
    let detail = format!("version {version}, SHA-256 {}", Digest::of(bytes));
    super::audit::record(tx, now, "server", "trust.publish", role, &detail).await
}

/// Forgets old timestamps and snapshots: only the newest timestamp and the last `keep` snapshots are ever asked for.
///
/// # Errors
/// When the database refuses.
pub async fn prune_online(tx: &mut Tx, keep: u32) -> Result<(), StoreError> {
    for (role, keep) in [("timestamp", 1), ("snapshot", keep)] {
        sqlx::query(
            "DELETE FROM role_metadata WHERE role = ?1 AND version <=
               (SELECT max(version) FROM role_metadata WHERE role = ?1) - ?2",
        )
        .bind(role)
        .bind(keep)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// What waits for more signatures.
///
/// # Errors
/// When the database refuses.
pub async fn pending(tx: &mut Tx, role: &str, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT bytes FROM role_pending WHERE role = ?1 AND version = ?2")
        .bind(role)
        .bind(to_i64(version))
        .fetch_optional(tx.conn())
        .await?)
}

/// Remembers what waits for more signatures, in place of what waited before under that version.
///
/// # Errors
/// When the database refuses.
pub async fn set_pending(
    tx: &mut Tx,
    role: &str,
    version: u64,
    bytes: &[u8],
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO role_pending (role, version, bytes, created) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (role, version) DO UPDATE SET bytes = excluded.bytes",
    )
    .bind(role)
    .bind(to_i64(version))
    .bind(bytes)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Replaces the files that a role names.
///
/// # Errors
/// When the database refuses.
pub async fn set_targets(
    tx: &mut Tx,
    role: &str,
    targets: &[(String, Digest, u64)],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM target WHERE role = ?1").bind(role).execute(tx.conn()).await?;
    for (path, sha256, length) in targets {
        sqlx::query("INSERT INTO target (role, path, sha256, length) VALUES (?1, ?2, ?3, ?4)")
            .bind(role)
            .bind(path)
            .bind(sha256.to_hex())
            .bind(to_i64(*length))
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Marks a checked version as approved, if exactly this bundle is in the catalogue. Whether it was.
///
/// # Errors
/// When the database refuses.
pub async fn mark_approved(
    tx: &mut Tx,
    model: &str,
    version: &str,
    bundle: &Digest,
    counter: ReleaseCounter,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE bundle_version SET state = 'approved', approved_at = coalesce(approved_at, ?5),
             release_counter = ?4, changed = ?5
         WHERE model = ?1 AND version = ?2 AND bundle = ?3 AND state IN ('checked', 'approved')
           AND (state <> 'approved' OR release_counter IS NOT ?4)",
    )
    .bind(model)
    .bind(version)
    .bind(bundle.to_hex())
    .bind(to_i64(counter.0))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

impl Store {
    /// Whether published metadata names this file under this path.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_target(&self, path: &str, sha256: &Digest) -> Result<bool, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT count(*) FROM target WHERE path = ?1 AND sha256 = ?2")
            .bind(path)
            .bind(sha256.to_hex())
            .fetch_one(self.read())
            .await?;
        Ok(n > 0)
    }
    /// One published version of a role; the newest without a number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn role_bytes(&self, role: &str, version: Option<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT bytes FROM role_metadata WHERE role = ?1 AND (?2 IS NULL OR version = ?2)
             ORDER BY version DESC LIMIT 1",
        )
        .bind(role)
        .bind(version.map(to_i64))
        .fetch_optional(self.read())
        .await?)
    }
    /// Every root that was ever published, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn roots(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT bytes FROM role_metadata WHERE role = 'root' ORDER BY version")
            .fetch_all(self.read())
            .await?)
    }
    /// The newest version of every published role.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn newest_roles(&self) -> Result<Vec<(String, u64, Vec<u8>)>, StoreError> {
        let rows: Vec<(String, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT role, version, bytes FROM role_metadata r
             WHERE version = (SELECT max(version) FROM role_metadata WHERE role = r.role) ORDER BY role",
        )
        .fetch_all(self.read())
        .await?;
        Ok(rows.into_iter().map(|(r, v, b)| (r, to_u64(v), b)).collect())
    }
    /// The newest bytes of a role that wait for more signatures.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_role(&self, role: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT bytes FROM role_pending WHERE role = ?1 ORDER BY version DESC LIMIT 1")
            .bind(role)
            .fetch_optional(self.read())
            .await?)
    }
}
