//! What rules look at, counted by the database: the number of statements depends on the number of rules and models, never on
//! the number of devices.

use std::collections::HashMap;

use longshore_fleet_core::alert::facts::{DeviceFact, ModelFact};
use longshore_fleet_core::alert::monitored;
use longshore_fleet_core::alert::rule::{Kind, Rule, Threshold};
use longshore_trust::{DeviceId, Digest, UnixMs};
use sqlx::FromRow;

use super::read;
use crate::store::{Store, StoreError, to_i64, to_u64};

/// Devices of a group that an alert names.
const SAMPLE: u32 = 20;
/// Losses are counted over this span, ms.
const LOSSES_MS: u64 = 3_600_000;
/// Health older than this says nothing about now, ms.
const HEALTH_MS: u64 = 24 * 3_600_000;

/// Devices with the value that a kind of rule looks at, the greater the worse: `?1` pattern of the model, `?2` labels as JSON,
/// `?3` now, `?4` since when health and losses count.
macro_rules! devices {
    ($value:literal, $join:literal) => {
        concat!(
            "SELECT d.id AS id, ", $value, " AS v FROM device d ", $join,
            " WHERE d.revoked_at IS NULL AND d.wipe_asked_at IS NULL AND ?3 > 0 AND ?4 >= 0
              AND (?1 = '*' OR EXISTS (SELECT 1 FROM device_model m WHERE m.device = d.id AND m.model GLOB ?1))
              AND (?2 = '{}' OR NOT EXISTS (SELECT 1 FROM json_each(?2) w WHERE NOT EXISTS (
                  SELECT 1 FROM json_each(d.labels) l WHERE l.key = w.key AND l.value = w.value)))"
        )
    };
}
macro_rules! silence {
    () => {
        devices!("CASE WHEN d.online = 1 THEN 0 ELSE ?3 - COALESCE(d.last_seen, d.enrolled_at) END", "")
    };
}
macro_rules! disk {
    () => {
        devices!(
            "CASE WHEN d.last_seen >= ?4 THEN 1.0 - json_extract(d.health, '$.disk_free_kib') * 1.0
                 / NULLIF(json_extract(d.inventory, '$.disk_kib'), 0) END",
            ""
        )
    };
}
macro_rules! temperature {
    () => {
        devices!(
            "CASE WHEN d.last_seen >= ?4 THEN json_extract(d.health, '$.temperature_centi_c') / 100.0 END",
            ""
        )
    };
}
macro_rules! gaps {
    () => {
        devices!(
            "COALESCE(g.n, 0)",
            "LEFT JOIN (SELECT device, SUM(MAX(COALESCE(json_extract(body, '$.count'), 1), 1)) AS n FROM device_event
                 WHERE kind = 'gap' AND received > ?4 AND COALESCE(json_extract(body, '$.kind'), '') <> 'resolution'
                 GROUP BY device) g ON g.device = d.id"
        )
    };
}
macro_rules! count {
    ($devices:expr) => {
        concat!(
            "SELECT COUNT(v) AS of, COALESCE(SUM(v > ?5), 0) AS hits, COALESCE(SUM(v > ?6), 0) AS near,
                 MAX(v) * 1.0 AS worst, COALESCE(SUM(v), 0) * 1.0 AS total FROM (",
            $devices,
            ")"
        )
    };
}
macro_rules! list {
    ($devices:expr) => {
        concat!("SELECT id, v * 1.0 AS v FROM (", $devices, ") WHERE v > ?5 AND id > ?6 ORDER BY id LIMIT ?7")
    };
}

#[derive(FromRow)]
struct Counted {
    of: i64,
    hits: i64,
    near: i64,
    worst: Option<f64>,
    total: f64,
}

/// A device that a rule counts, and its value.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Counts {
    /// The device.
    pub id: String,
    /// Its value, the greater the worse.
    pub v: f64,
}

/// What is asked of each device.
struct Question {
    count: &'static str,
    list: &'static str,
    since: i64,
    /// Beyond this it counts; beyond the second it nearly does.
    limits: (f64, f64),
}

/// `None` for rules that are not about devices.
fn question(rule: &Rule, now: UnixMs) -> Option<Question> {
    let ago = |ms: u64| to_i64(now.0.saturating_sub(ms));
    let value = match rule.threshold {
        Threshold::LongerMs(ms) => ms as f64,
        Threshold::Value(v) | Threshold::Drop(v) => v,
    };
    Some(match rule.kind {
        Kind::Silence => Question {
            count: count!(silence!()),
            list: list!(silence!()),
            since: 0,
            limits: (value, value * 0.9),
        },
        Kind::Disk => Question {
            count: count!(disk!()),
            list: list!(disk!()),
            since: ago(HEALTH_MS),
            limits: (1.0 - value, 1.0 - value * 1.1),
        },
        Kind::Temperature => Question {
            count: count!(temperature!()),
            list: list!(temperature!()),
            since: ago(HEALTH_MS),
            limits: (value, value - 3.0),
        },
        Kind::Gaps => Question {
            count: count!(gaps!()),
            list: list!(gaps!()),
            since: ago(LOSSES_MS),
            limits: (value - 0.5, value - 0.5),
        },
        _ => return None,
    })
}

impl Store {
    /// How many devices a rule counts; `None` for rules that are not about devices.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert_devices(&self, rule: &Rule, now: UnixMs) -> Result<Option<DeviceFact>, StoreError> {
        let Some(q) = question(rule, now) else { return Ok(None) };
        let counted: Counted = sqlx::query_as(q.count)
            .bind(&rule.model)
            .bind(labels(rule))
            .bind(to_i64(now.0))
            .bind(q.since)
            .bind(q.limits.0)
            .bind(q.limits.1)
            .fetch_one(self.read())
            .await?;
        let mut sample = Vec::new();
        if counted.hits > 0 {
            for row in self.alert_device_list(rule, "", SAMPLE, now).await? {
                sample.push(DeviceId::new(row.id).map_err(|e| StoreError::corrupt("device id", e))?);
            }
        }
        let worst = counted.worst.map(|v| if rule.kind == Kind::Disk { 1.0 - v } else { v });
        Ok(Some(DeviceFact {
            hits: to_u64(counted.hits),
            of: to_u64(counted.of),
            near: to_u64(counted.near),
            worst,
            total: counted.total.max(0.0) as u64,
            sample,
        }))
    }

    /// Devices that a rule counts now, by id, after `after`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert_device_list(
        &self,
        rule: &Rule,
        after: &str,
        limit: u32,
        now: UnixMs,
    ) -> Result<Vec<Counts>, StoreError> {
        let Some(q) = question(rule, now) else { return Ok(Vec::new()) };
        let mut rows: Vec<Counts> = sqlx::query_as(q.list)
            .bind(&rule.model)
            .bind(labels(rule))
            .bind(to_i64(now.0))
            .bind(q.since)
            .bind(q.limits.0)
            .bind(after)
            .bind(limit)
            .fetch_all(self.read())
            .await?;
        if rule.kind == Kind::Disk {
            rows.iter_mut().for_each(|r| r.v = 1.0 - r.v);
        }
        Ok(rows)
    }

    /// What monitoring says of models, where it has judged since `since`: of everybody, and with `cohorts` of each cohort.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert_judged(&self, since: UnixMs, cohorts: bool) -> Result<Vec<ModelFact>, StoreError> {
        let rows = async |sql: &'static str| -> Result<Vec<String>, StoreError> {
            let query = sqlx::query_scalar(sql).bind(to_i64(since.0)).bind(cohorts);
            Ok(query.fetch_all(self.read()).await?)
        };
        let drift = rows("SELECT row FROM drift_verdict WHERE at >= ?1 AND (?2 OR cohort = 'fleet')").await?;
        let quality =
            rows("SELECT row FROM quality_verdict WHERE at >= ?1 AND (?2 OR cohort = 'fleet')").await?;
        let sql =
            "SELECT bundle, json_extract(manifest, '$.lineage.metrics.accuracy') * 1.0 FROM bundle_version
            WHERE bundle IN (SELECT bundle FROM quality_verdict WHERE at >= ?1)";
        let named: Vec<(String, Option<f64>)> =
            sqlx::query_as(sql).bind(to_i64(since.0)).fetch_all(self.read()).await?;
        let named: HashMap<String, Option<f64>> = named.into_iter().collect();
        let drift = drift.iter().map(|r| read("drift verdict", r)).collect::<Result<Vec<_>, _>>()?;
        let quality = quality.iter().map(|r| read("quality verdict", r)).collect::<Result<Vec<_>, _>>()?;
        let reference = |bundle: &Digest| named.get(&bundle.to_hex()).copied().flatten();
        Ok(monitored::facts(&drift, &quality, reference))
    }
}

fn labels(rule: &Rule) -> String {
    rule.cohort
        .as_ref()
        .map_or_else(|| "{}".into(), |c| serde_json::to_string(c).expect("labels always encode"))
}
