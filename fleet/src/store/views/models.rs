//! Models: the catalogue, one version, how it does in the field.

use std::collections::HashSet;

use longshore_stats::Counters;
use sqlx::FromRow;

use super::counters;
use crate::store::{Store, StoreError, to_u64};

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ModelRow {
    /// Its name.
    pub name: String,
    /// When it was first published, ms.
    pub created: i64,
    /// How many versions it has.
    pub versions: i64,
    /// Of these, how many wait for approval.
    pub waiting: i64,
    /// The approved version with the greatest release counter; empty when there is none.
    pub approved: String,
    /// Devices that run a version of it.
    pub devices: i64,
    /// Rows counted.
    pub rows: i64,
}

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct VersionRow {
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// Digest of its manifest.
    pub bundle: String,
    /// The manifest, as it was uploaded.
    pub manifest: String,
    /// All files together, bytes.
    pub bytes: i64,
    /// draft, checked, refused, approved, deprecated, retired.
    pub state: String,
    /// Why a person moved it to its state; empty when nobody said so.
    pub state_reason: String,
    /// JSON of what the re-check measured, or why it refused.
    pub check_result: Option<String>,
    /// Order of approval.
    pub release_counter: Option<i64>,
    /// When it was approved, ms.
    pub approved_at: Option<i64>,
    /// When it was uploaded, ms.
    pub created: i64,
    /// When its state changed, ms.
    pub changed: i64,
}

/// A name that points to a version.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AliasRow {
    /// The alias.
    pub alias: String,
    /// Where it points.
    pub version: String,
    /// Since when, ms.
    pub changed: i64,
}

/// How a bundle does in the field.
#[derive(Debug, Clone, Default)]
pub struct BundleLive {
    /// Digest of the bundle.
    pub bundle: String,
    /// Devices it serves on now.
    pub devices: u64,
    /// Devices that have ever counted rows with it.
    pub devices_ever: u64,
    /// Sums over all devices and all time; the latency sketch and tables are those of `hours`.
    pub requests: u64,
    /// Rows answered.
    pub rows: u64,
    /// Rows that failed.
    pub errors: u64,
    /// Rows with a label.
    pub labelled: u64,
    /// Labelled rows that were right.
    pub correct: u64,
}

/// One hour of one bundle, over all devices.
#[derive(Debug, Clone)]
pub struct HourRow {
    /// Start of the hour, ms.
    pub hour: u64,
    /// Its counters.
    pub counters: Counters,
}

/// What a trial measured on one device.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct TrialRow {
    /// The device.
    pub device: String,
    /// JSON of the trial report.
    pub trial: String,
    /// State reached with it.
    pub state: String,
    /// JSON of the device's inventory.
    pub inventory: Option<String>,
}

const VERSION: &str =
    "SELECT model, version, bundle, manifest, bytes, state, state_reason, check_result, release_counter,
    approved_at, created, changed FROM bundle_version";

impl Store {
    /// The catalogue.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_models(&self) -> Result<Vec<ModelRow>, StoreError> {
        let sql = "SELECT m.name, m.created,
                (SELECT COUNT(*) FROM bundle_version v WHERE v.model = m.name) AS versions,
                (SELECT COUNT(*) FROM bundle_version v WHERE v.model = m.name AND v.state = 'checked') AS waiting,
                COALESCE((SELECT v.version FROM bundle_version v WHERE v.model = m.name AND v.state = 'approved'
                    ORDER BY v.release_counter DESC LIMIT 1), '') AS approved,
                (SELECT COALESCE(SUM(s.devices), 0) FROM serving s WHERE s.model = m.name AND s.bundle <> '') AS devices,
                (SELECT COALESCE(SUM(t.rows), 0) FROM bundle_total t WHERE t.model = m.name) AS rows
            FROM model m ORDER BY m.name LIMIT 1000";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }

    /// Names of all models.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn model_names(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT name FROM model ORDER BY name LIMIT 1000")
            .fetch_all(self.read())
            .await?)
    }

    /// Versions of a model, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_versions(&self, model: &str) -> Result<Vec<VersionRow>, StoreError> {
        let sql = format!(
            "{VERSION} WHERE model = ?1 ORDER BY COALESCE(release_counter, 9223372036854775807) DESC, created DESC LIMIT 500"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(model.to_owned()).fetch_all(self.read()).await?)
    }

    /// One version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_version(&self, model: &str, version: &str) -> Result<Option<VersionRow>, StoreError> {
        let sql = format!("{VERSION} WHERE model = ?1 AND version = ?2");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(model.to_owned())
            .bind(version.to_owned())
            .fetch_optional(self.read())
            .await?)
    }

    /// Versions that a rollout may bring out, of all models; deprecated ones come last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_approved(&self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT model, version FROM bundle_version WHERE state IN ('approved', 'deprecated')
            ORDER BY model, state, release_counter DESC LIMIT 1000";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }

    /// Versions in a state that needs a person: checked (to approve) or refused (to mend).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_waiting(&self) -> Result<Vec<VersionRow>, StoreError> {
        let sql = format!("{VERSION} WHERE state IN ('checked', 'refused') ORDER BY changed DESC LIMIT 20");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(self.read()).await?)
    }

    /// Whether a model is in the catalogue.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_model_exists(&self, model: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM model WHERE name = ?1")
            .bind(model.to_owned())
            .fetch_optional(self.read())
            .await?;
        Ok(found.is_some())
    }

    /// Aliases of a model.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_aliases(&self, model: &str) -> Result<Vec<AliasRow>, StoreError> {
        let sql = "SELECT alias, version, changed FROM alias WHERE model = ?1 ORDER BY alias LIMIT 200";
        Ok(sqlx::query_as(sql).bind(model.to_owned()).fetch_all(self.read()).await?)
    }

    /// How every bundle of a model does in the field.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_live(&self, model: &str) -> Result<Vec<BundleLive>, StoreError> {
        type Sums = (String, i64, i64, i64, i64, i64, i64);
        let sums: Vec<Sums> = sqlx::query_as(
            "SELECT bundle, devices, requests, rows, errors, labelled, correct FROM bundle_total WHERE model = ?1",
        )
        .bind(model.to_owned())
        .fetch_all(self.read())
        .await?;
        let active: Vec<(String, i64)> = sqlx::query_as(
            "SELECT bundle, devices FROM serving WHERE model = ?1 AND bundle <> '' AND devices > 0",
        )
        .bind(model.to_owned())
        .fetch_all(self.read())
        .await?;
        let mut live: Vec<BundleLive> = sums
            .into_iter()
            .map(|(bundle, devices, requests, rows, errors, labelled, correct)| BundleLive {
                bundle,
                devices: 0,
                devices_ever: to_u64(devices),
                requests: to_u64(requests),
                rows: to_u64(rows),
                errors: to_u64(errors),
                labelled: to_u64(labelled),
                correct: to_u64(correct),
            })
            .collect();
        for (bundle, devices) in active {
            match live.iter_mut().find(|b| b.bundle == bundle) {
                Some(found) => found.devices = to_u64(devices),
                None => live.push(BundleLive { bundle, devices: to_u64(devices), ..BundleLive::default() }),
            }
        }
        Ok(live)
    }

    /// The last `hours` hours in which a bundle counted anything, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read or holds counters that do not decode.
    pub async fn view_hours(
        &self,
        model: &str,
        bundle: &str,
        hours: u32,
    ) -> Result<Vec<HourRow>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT hour, counters FROM model_hour WHERE model = ?1 AND bundle = ?2 AND cohort = 'fleet'
                 AND span_h = 1 ORDER BY hour DESC LIMIT ?3",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .bind(hours)
        .fetch_all(self.read())
        .await?;
        rows.into_iter()
            .rev()
            .map(|(hour, blob)| Ok(HourRow { hour: to_u64(hour), counters: counters(&blob)? }))
            .collect()
    }

    /// The newest trial reports of a bundle, at most `limit`: of each device the last of these.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_trials(&self, bundle: &str, limit: u32) -> Result<Vec<TrialRow>, StoreError> {
        let sql = "SELECT u.device, u.trial, u.state, d.inventory FROM update_report u
            LEFT JOIN device d ON d.id = u.device
            WHERE u.bundle = ?1 AND u.trial IS NOT NULL ORDER BY u.id DESC LIMIT ?2";
        let mut rows: Vec<TrialRow> =
            sqlx::query_as(sql).bind(bundle.to_owned()).bind(limit).fetch_all(self.read()).await?;
        let mut seen = HashSet::new();
        rows.retain(|r| seen.insert(r.device.clone()));
        Ok(rows)
    }

    /// Which version a bundle digest belongs to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn view_version_of_bundle(&self, bundle: &str) -> Result<Option<(String, String)>, StoreError> {
        let sql = "SELECT model, version FROM bundle_version WHERE bundle = ?1";
        Ok(sqlx::query_as(sql).bind(bundle.to_owned()).fetch_optional(self.read()).await?)
    }
}
