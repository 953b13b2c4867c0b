//! Models, their versions, and the aliases that name versions.
//!
//! What always holds: a version's manifest never changes; its state only moves along
//! `draft -> checked | refused`, `checked -> approved -> deprecated -> retired`.

use longshore_trust::{Digest, ModelName, ReleaseCounter, UnixMs};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: String,
    /// Digest of the manifest.
    pub bundle: Digest,
    /// The manifest's text, as uploaded.
    pub manifest: String,
    /// Bytes of all files together.
    pub bytes: u64,
    /// `draft`, `checked`, `refused`, `approved`, `deprecated`, `retired`.
    pub state: String,
    /// Why a person moved it to its state; empty when nobody said so.
    pub state_reason: String,
    /// JSON: what the re-check measured, or why it refused.
    pub check_result: Option<String>,
    /// Given by `approve`.
    pub release_counter: Option<ReleaseCounter>,
    /// When.
    pub approved_at: Option<UnixMs>,
    /// When it was uploaded.
    pub created: UnixMs,
    /// When it last changed.
    pub changed: UnixMs,
}

/// A model and its versions in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// When its first version came.
    pub created: UnixMs,
    /// Aliases and the versions they name.
    pub aliases: Vec<(String, String)>,
}

const COLUMNS: &str = "model, version, bundle, manifest, bytes, state, state_reason, check_result, release_counter, \
                       approved_at, created, changed";

fn version_row(r: &SqliteRow) -> Result<Version, StoreError> {
    let text = |name: &str| r.try_get::<String, _>(name);
    Ok(Version {
        model: text("model")?.parse().map_err(|e| StoreError::corrupt("model name", e))?,
        version: text("version")?,
        bundle: text("bundle")?.parse().map_err(|e| StoreError::corrupt("bundle digest", e))?,
        manifest: text("manifest")?,
        bytes: to_u64(r.try_get("bytes")?),
        state: text("state")?,
        state_reason: text("state_reason")?,
        check_result: r.try_get("check_result")?,
        release_counter: r.try_get::<Option<i64>, _>("release_counter")?.map(|n| ReleaseCounter(to_u64(n))),
        approved_at: r.try_get::<Option<i64>, _>("approved_at")?.map(|t| UnixMs(to_u64(t))),
        created: UnixMs(to_u64(r.try_get("created")?)),
        changed: UnixMs(to_u64(r.try_get("changed")?)),
    })
}

async fn find(c: &mut SqliteConnection, model: &str, version: &str) -> Result<Option<Version>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bundle_version WHERE model = ?1 AND version = ?2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(model.to_owned())
        .bind(version.to_owned())
        .fetch_optional(c)
        .await?;
    row.as_ref().map(version_row).transpose()
}

/// One version, inside a transaction.
///
/// # Errors
/// When the database refuses.
pub async fn version(tx: &mut Tx, model: &ModelName, version: &str) -> Result<Option<Version>, StoreError> {
    find(tx.conn(), model.as_str(), version).await
}

/// The version of a bundle, inside a transaction.
///
/// # Errors
/// When the database refuses.
pub async fn version_of_bundle(tx: &mut Tx, bundle: &Digest) -> Result<Option<Version>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bundle_version WHERE bundle = ?1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(bundle.to_hex()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(version_row).transpose()
}

/// Adds a draft (and its model, when it is the first).
///
/// # Errors
/// When the version or the bundle exists, or the database refuses.
pub async fn insert_draft(
    tx: &mut Tx,
    model: &ModelName,
    version: &str,
    bundle: &Digest,
    manifest: &str,
    bytes: u64,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO model (name, created) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")
        .bind(model.as_str())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    sqlx::query(
        "INSERT INTO bundle_version (model, version, bundle, manifest, manifest_length, bytes, state, created, changed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'draft', ?7, ?7)",
    )
    .bind(model.as_str())
    .bind(version)
    .bind(bundle.to_hex())
    .bind(manifest)
    .bind(to_i64(manifest.len() as u64))
    .bind(to_i64(bytes))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Removes a version that nobody has approved.
///
/// # Errors
/// When the database refuses.
pub async fn delete_unapproved(tx: &mut Tx, model: &ModelName, version: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM bundle_version WHERE model = ?1 AND version = ?2 AND state IN ('draft', 'checked', 'refused')",
    )
    .bind(model.as_str())
    .bind(version)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Puts a refused version back to draft, so that it is checked again.
///
/// # Errors
/// When the database refuses.
pub async fn check_again(tx: &mut Tx, bundle: &Digest, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE bundle_version SET state = 'draft', check_result = NULL, changed = ?2
         WHERE bundle = ?1 AND state = 'refused'",
    )
    .bind(bundle.to_hex())
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes what the re-check of a draft found. Whether the draft was still waiting for it.
///
/// # Errors
/// When the database refuses.
pub async fn set_checked(
    tx: &mut Tx,
    bundle: &Digest,
    passed: bool,
    result: &str,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE bundle_version SET state = ?2, check_result = ?3, changed = ?4 WHERE bundle = ?1 AND state = 'draft'",
    )
    .bind(bundle.to_hex())
    .bind(if passed { "checked" } else { "refused" })
    .bind(result)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Moves a version from one of `from` to `to`, and why. Whether it was in one of them.
///
/// # Errors
/// When the database refuses.
pub async fn move_version(
    tx: &mut Tx,
    model: &ModelName,
    version: &str,
    from: &[&str],
    to: &str,
    reason: &str,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE bundle_version SET state = ?4, changed = ?5, state_reason = ?6
         WHERE model = ?1 AND version = ?2 AND state IN (SELECT value FROM json_each(?3))",
    )
    .bind(model.as_str())
    .bind(version)
    .bind(serde_json::json!(from).to_string())
    .bind(to)
    .bind(to_i64(now.0))
    .bind(reason)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Lets an alias name a version; answers what it named before.
///
/// # Errors
/// When the database refuses.
pub async fn set_alias(
    tx: &mut Tx,
    model: &ModelName,
    alias: &str,
    version: &str,
    now: UnixMs,
) -> Result<Option<String>, StoreError> {
    let before: Option<String> =
        sqlx::query_scalar("SELECT version FROM alias WHERE model = ?1 AND alias = ?2")
            .bind(model.as_str())
            .bind(alias)
            .fetch_optional(tx.conn())
            .await?;
    sqlx::query(
        "INSERT INTO alias (model, alias, version, changed) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version, changed = excluded.changed",
    )
    .bind(model.as_str())
    .bind(alias)
    .bind(version)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(before)
}

/// Remembers a stored object.
///
/// # Errors
/// When the database refuses.
pub async fn put_object(tx: &mut Tx, sha256: &Digest, length: u64, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO object (sha256, length, created) VALUES (?1, ?2, ?3) ON CONFLICT (sha256) DO NOTHING",
    )
    .bind(sha256.to_hex())
    .bind(to_i64(length))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

impl Store {
    /// One version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn version(&self, model: &str, version: &str) -> Result<Option<Version>, StoreError> {
        find(&mut *self.read().acquire().await?, model, version).await
    }
    /// All versions of a model, newest upload first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn versions(&self, model: &str) -> Result<Vec<Version>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM bundle_version WHERE model = ?1 ORDER BY created DESC, version DESC"
        );
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(model.to_owned()).fetch_all(self.read()).await?;
        rows.iter().map(version_row).collect()
    }
    /// Drafts that wait for their check.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drafts(&self) -> Result<Vec<Version>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM bundle_version WHERE state = 'draft' ORDER BY created LIMIT 50");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.read()).await?;
        rows.iter().map(version_row).collect()
    }
    /// Models by name, behind `after`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn models(&self, after: &str, limit: u32) -> Result<Vec<Model>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, created FROM model WHERE name > ?1 ORDER BY name LIMIT ?2")
                .bind(after.to_owned())
                .bind(limit)
                .fetch_all(self.read())
                .await?;
        let mut out = Vec::new();
        for (name, created) in rows {
            out.push(Model {
                aliases: self.aliases(&name).await?,
                name: name.parse().map_err(|e| StoreError::corrupt("model name", e))?,
                created: UnixMs(to_u64(created)),
            });
        }
        Ok(out)
    }
    /// One model.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn model(&self, name: &ModelName) -> Result<Option<Model>, StoreError> {
        let created: Option<i64> = sqlx::query_scalar("SELECT created FROM model WHERE name = ?1")
            .bind(name.as_str().to_owned())
            .fetch_optional(self.read())
            .await?;
        match created {
            None => Ok(None),
            Some(t) => Ok(Some(Model {
                aliases: self.aliases(name.as_str()).await?,
                name: name.clone(),
                created: UnixMs(to_u64(t)),
            })),
        }
    }
    async fn aliases(&self, model: &str) -> Result<Vec<(String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT alias, version FROM alias WHERE model = ?1 ORDER BY alias")
            .bind(model.to_owned())
            .fetch_all(self.read())
            .await?)
    }
    /// The version an alias names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alias(&self, model: &ModelName, alias: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT version FROM alias WHERE model = ?1 AND alias = ?2")
            .bind(model.as_str().to_owned())
            .bind(alias.to_owned())
            .fetch_optional(self.read())
            .await?)
    }
    /// Devices (not revoked) that serve a bundle: how many, and the first hundred.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn running_on(&self, bundle: &Digest) -> Result<(u64, Vec<String>), StoreError> {
        let n: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM device_model m JOIN device d ON d.id = m.device AND d.revoked_at IS NULL
             WHERE m.active = ?1",
        )
        .bind(bundle.to_hex())
        .fetch_one(self.read())
        .await?;
        let some = sqlx::query_scalar(
            "SELECT m.device FROM device_model m JOIN device d ON d.id = m.device AND d.revoked_at IS NULL
             WHERE m.active = ?1 ORDER BY m.device LIMIT 100",
        )
        .bind(bundle.to_hex())
        .fetch_all(self.read())
        .await?;
        Ok((to_u64(n), some))
    }
    /// Rows counted by the fleet, and rows the devices' own journals report.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn row_totals(&self) -> Result<(u64, u64), StoreError> {
        let (counted, journal): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT coalesce(sum(rows), 0) FROM device_total),
                    (SELECT coalesce(sum(rows_journal), 0) FROM device_model)",
        )
        .fetch_one(self.read())
        .await?;
        Ok((to_u64(counted), to_u64(journal)))
    }
}
