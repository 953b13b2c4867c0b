//! What was judged: the current verdicts, and the history by hour.

use std::collections::BTreeMap;

use longshore_fleet_core::monitor::{Cohort, DriftRow, QualityRow, Span, State};
use longshore_stats::Counters;
use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};

use super::hours::cohort;
use crate::store::ingest::decode_counters;
use crate::store::{Store, StoreError, Tx, to_i64, to_u64};

/// The verdict on one feature in one hour, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The verdict.
    pub state: State,
    /// Population stability index; NaN without rows.
    pub effect: f32,
    /// p corrected over features and cohorts of the hour; NaN where there was no test.
    pub p_adjusted: f32,
    /// Rows judged.
    pub n: u64,
}

/// Verdicts of one hour (or day), in the order of the monitored features.
#[derive(Debug, Clone, PartialEq)]
pub struct CellHour {
    /// Its begin.
    pub from: UnixMs,
    /// 1 or 24.
    pub hours: u64,
    /// When it was judged.
    pub at: UnixMs,
    /// One a feature; none where nothing is monitored.
    pub cells: Vec<Cell>,
}

/// A version that has verdicts or rows to judge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JudgedVersion {
    /// The model.
    pub model: String,
    /// Digest of the bundle.
    pub bundle: String,
}

/// An hour of a version with rows that nobody judged yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnjudgedHour {
    /// The version.
    pub of: JudgedVersion,
    /// Its begin, ms.
    pub hour: u64,
    /// 1 or 24.
    pub hours: u64,
    /// When rows were last added, ms.
    pub changed: u64,
}

/// How many features of a cohort are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateCount {
    /// Digest of the bundle.
    pub bundle: String,
    /// Whose rows.
    pub cohort: Cohort,
    /// The state.
    pub state: State,
    /// How many features.
    pub features: u64,
}

/// Puts the current verdicts of a version in place of those before.
///
/// # Errors
/// When the database refuses.
pub async fn put_current(
    tx: &mut Tx,
    of: &JudgedVersion,
    drift: &[DriftRow],
    quality: &[QualityRow],
    at: UnixMs,
) -> Result<(), StoreError> {
    for table in [
        "DELETE FROM drift_verdict WHERE model = ?1 AND bundle = ?2",
        "DELETE FROM quality_verdict WHERE model = ?1 AND bundle = ?2",
    ] {
        sqlx::query(table).bind(of.model.clone()).bind(of.bundle.clone()).execute(tx.conn()).await?;
    }
    for part in drift.chunks(1024) {
        let rows = serde_json::to_string(part).expect("rows always encode");
        sqlx::query(
            "INSERT INTO drift_verdict (model, bundle, cohort, feature, position, state, effect, at, row)
             SELECT ?1, ?2, value ->> '$.cohort', value ->> '$.feature', key, value ->> '$.state',
                 CAST(value ->> '$.effect.value' AS REAL), ?3, value FROM json_each(?4)",
        )
        .bind(of.model.clone())
        .bind(of.bundle.clone())
        .bind(to_i64(at.0))
        .bind(rows)
        .execute(tx.conn())
        .await?;
    }
    let rows = serde_json::to_string(quality).expect("rows always encode");
    sqlx::query(
        "INSERT INTO quality_verdict (model, bundle, cohort, at, row)
         SELECT ?1, ?2, value ->> '$.cohort', ?3, value FROM json_each(?4)",
    )
    .bind(of.model.clone())
    .bind(of.bundle.clone())
    .bind(to_i64(at.0))
    .bind(rows)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes the verdicts of one hour of one cohort.
///
/// # Errors
/// When the database refuses.
pub async fn put_cells(
    tx: &mut Tx,
    hour: &UnjudgedHour,
    cohort: &Cohort,
    cells: &[Cell],
    at: UnixMs,
) -> Result<(), StoreError> {
    let bytes = postcard::to_stdvec(cells).expect("cells always encode");
    sqlx::query(
        "INSERT INTO drift_hour (model, bundle, cohort, hour, span_h, at, cells) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (model, bundle, cohort, hour, span_h) DO UPDATE SET at = excluded.at, cells = excluded.cells",
    )
    .bind(hour.of.model.clone())
    .bind(hour.of.bundle.clone())
    .bind(cohort.to_string())
    .bind(to_i64(hour.hour))
    .bind(to_i64(hour.hours))
    .bind(to_i64(at.0))
    .bind(bytes)
    .execute(tx.conn())
    .await?;
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(rows: &[String]) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|r| serde_json::from_str(r).map_err(|e| StoreError::corrupt("verdict", e))).collect()
}

impl Store {
    /// Current drift verdicts, in the order of model, bundle, cohort and monitored features; `None` leaves a field open.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drift_current(
        &self,
        model: Option<&str>,
        bundle: Option<&str>,
        cohort: Option<&Cohort>,
    ) -> Result<Vec<DriftRow>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT row FROM drift_verdict WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR bundle = ?2)
                 AND (?3 IS NULL OR cohort = ?3) ORDER BY model, bundle, cohort, position",
        )
        .bind(model.map(str::to_owned))
        .bind(bundle.map(str::to_owned))
        .bind(cohort.map(ToString::to_string))
        .fetch_all(self.read())
        .await?;
        parse(&rows)
    }
    /// Current verdicts in one state, largest effect first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drift_in_state(&self, state: State, limit: u32) -> Result<Vec<DriftRow>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT row FROM drift_verdict WHERE state = ?1 ORDER BY effect DESC LIMIT ?2",
        )
        .bind(state.name())
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        parse(&rows)
    }
    /// How many features are in which state, by version and cohort.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drift_counts(&self, bundle: Option<&str>) -> Result<Vec<StateCount>, StoreError> {
        let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
            "SELECT bundle, cohort, state, count(*) FROM drift_verdict WHERE ?1 IS NULL OR bundle = ?1 GROUP BY 1, 2, 3",
        )
        .bind(bundle.map(str::to_owned))
        .fetch_all(self.read())
        .await?;
        rows.into_iter()
            .map(|(bundle, name, state, features)| {
                let known = State::ALL.into_iter().find(|s| s.name() == state);
                let state = known.ok_or_else(|| StoreError::corrupt("verdict", state))?;
                Ok(StateCount { bundle, cohort: cohort(&name)?, state, features: to_u64(features) })
            })
            .collect()
    }
    /// The verdict of the whole fleet with the largest effect.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drift_worst(&self, model: &str, bundle: &str) -> Result<Option<DriftRow>, StoreError> {
        let row: Option<String> = sqlx::query_scalar(
            "SELECT row FROM drift_verdict WHERE model = ?1 AND bundle = ?2 AND cohort = 'fleet'
             ORDER BY effect DESC LIMIT 1",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .fetch_optional(self.read())
        .await?;
        Ok(parse(row.as_slice())?.pop())
    }
    /// What one drift is compared with: the same feature in every cohort of the version, and other models in its cohort.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drift_around(
        &self,
        model: &str,
        bundle: &str,
        cohort: &Cohort,
        feature: &str,
    ) -> Result<Vec<DriftRow>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT row FROM drift_verdict WHERE model = ?1 AND bundle = ?2 AND feature = ?4
             UNION ALL SELECT row FROM drift_verdict WHERE cohort = ?3 AND model <> ?1",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .bind(cohort.to_string())
        .bind(feature.to_owned())
        .fetch_all(self.read())
        .await?;
        parse(&rows)
    }
    /// Current quality, likewise; `None` leaves a field open.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn quality_current(
        &self,
        model: Option<&str>,
        bundle: Option<&str>,
        cohort: Option<&Cohort>,
    ) -> Result<Vec<QualityRow>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT row FROM quality_verdict WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR bundle = ?2)
                 AND (?3 IS NULL OR cohort = ?3) ORDER BY model, bundle, cohort",
        )
        .bind(model.map(str::to_owned))
        .bind(bundle.map(str::to_owned))
        .bind(cohort.map(ToString::to_string))
        .fetch_all(self.read())
        .await?;
        parse(&rows)
    }
    /// Verdicts of single hours of one cohort, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cells_of(
        &self,
        model: &str,
        bundle: &str,
        cohort: &Cohort,
        span: Span,
    ) -> Result<Vec<CellHour>, StoreError> {
        let rows: Vec<(i64, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT hour, span_h, at, cells FROM drift_hour WHERE model = ?1 AND bundle = ?2 AND cohort = ?3
                 AND hour + span_h * 3600000 > ?4 AND hour < ?5 ORDER BY hour, span_h",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .bind(cohort.to_string())
        .bind(to_i64(span.from.0))
        .bind(to_i64(span.to.0))
        .fetch_all(self.read())
        .await?;
        rows.into_iter()
            .map(|(hour, hours, at, bytes)| {
                Ok(CellHour {
                    from: UnixMs(to_u64(hour)),
                    hours: to_u64(hours),
                    at: UnixMs(to_u64(at)),
                    cells: postcard::from_bytes(&bytes)
                        .map_err(|e| StoreError::corrupt("verdicts of an hour", e))?,
                })
            })
            .collect()
    }
    /// Versions with rows since `from`, and versions that still have current verdicts.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn versions_to_judge(&self, from: UnixMs) -> Result<Vec<JudgedVersion>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT DISTINCT model, bundle FROM model_hour WHERE hour + span_h * 3600000 > ?1 AND hour > ?2
             UNION SELECT model, bundle FROM quality_verdict ORDER BY 1, 2",
        )
        .bind(to_i64(from.0))
        .bind(to_i64(from.0.saturating_sub(super::DAY_MS)))
        .fetch_all(self.read())
        .await?;
        Ok(rows.into_iter().map(|(model, bundle)| JudgedVersion { model, bundle }).collect())
    }
    /// Hours to which rows were added since `since` and after they were judged, at most `limit`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn hours_to_judge(&self, since: UnixMs, limit: u32) -> Result<Vec<UnjudgedHour>, StoreError> {
        let rows: Vec<(String, String, i64, i64, i64)> = sqlx::query_as(
            "SELECT h.model, h.bundle, h.hour, h.span_h, max(h.changed) FROM model_hour h
             LEFT JOIN drift_hour d ON d.model = h.model AND d.bundle = h.bundle AND d.cohort = h.cohort
                 AND d.hour = h.hour AND d.span_h = h.span_h
             WHERE h.changed >= ?1 AND (d.at IS NULL OR d.at <= h.changed)
             GROUP BY 1, 2, 3, 4 ORDER BY h.hour DESC LIMIT ?2",
        )
        .bind(to_i64(since.0))
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        let hour = |(model, bundle, hour, hours, changed): (String, String, i64, i64, i64)| UnjudgedHour {
            of: JudgedVersion { model, bundle },
            hour: to_u64(hour),
            hours: to_u64(hours),
            changed: to_u64(changed),
        };
        Ok(rows.into_iter().map(hour).collect())
    }
    /// Every cohort of exactly one hour.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cohorts_of_hour(
        &self,
        hour: &UnjudgedHour,
    ) -> Result<BTreeMap<Cohort, Counters>, StoreError> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT cohort, counters FROM model_hour WHERE model = ?1 AND bundle = ?2 AND hour = ?3 AND span_h = ?4",
        )
        .bind(hour.of.model.clone())
        .bind(hour.of.bundle.clone())
        .bind(to_i64(hour.hour))
        .bind(to_i64(hour.hours))
        .fetch_all(self.read())
        .await?;
        rows.iter().map(|(name, bytes)| Ok((cohort(name)?, decode_counters(bytes)?))).collect()
    }
    /// Devices that run a bundle, and how many of them were last heard before `silent_before`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn devices_running(
        &self,
        bundle: &str,
        silent_before: UnixMs,
    ) -> Result<(u64, u64), StoreError> {
        let (all, silent): (i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(sum(d.online = 0 AND coalesce(d.last_seen, 0) < ?2), 0)
             FROM device_model m JOIN device d ON d.id = m.device AND d.revoked_at IS NULL WHERE m.active = ?1",
        )
        .bind(bundle.to_owned())
        .bind(to_i64(silent_before.0))
        .fetch_one(self.read())
        .await?;
        Ok((to_u64(all), to_u64(silent)))
    }
}
