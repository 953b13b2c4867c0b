//! Reading hours.

use std::collections::BTreeMap;

use longshore_fleet_core::monitor::{Cohort, Span};
use longshore_stats::Counters;
use longshore_trust::UnixMs;

use super::HOUR_MS;
use crate::store::ingest::decode_counters;
use crate::store::{Store, StoreError, to_i64, to_u64};

/// Whose hour.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HourKey {
    /// The model.
    pub model: String,
    /// Digest of the bundle.
    pub bundle: String,
    /// Whose rows.
    pub cohort: Cohort,
    /// Its begin, ms.
    pub hour: u64,
}

/// An hour, or a day of coarsened hours.
#[derive(Debug, Clone, PartialEq)]
pub struct HourRow {
    /// Its begin.
    pub from: UnixMs,
    /// 1 or 24.
    pub hours: u64,
    /// What was counted.
    pub counters: Counters,
}

/// Cohorts with their sums, and the span that the rows really cover (coarsened days reach further).
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Sums by cohort.
    pub cohorts: BTreeMap<Cohort, Counters>,
    /// What they cover.
    pub span: Span,
}

pub(super) fn cohort(text: &str) -> Result<Cohort, StoreError> {
    text.parse().map_err(|e| StoreError::corrupt("cohort", e))
}

impl Store {
    /// The sums of every cohort of a bundle over a span. The whole fleet is always among them.
    ///
    /// # Errors
    /// When the database cannot be read or holds counters that do not decode.
    pub async fn hours_merged(&self, model: &str, bundle: &str, span: Span) -> Result<Merged, StoreError> {
        use futures_util::TryStreamExt as _;
        let mut rows = sqlx::query_as::<_, (String, i64, i64, Vec<u8>)>(
            "SELECT cohort, hour, span_h, counters FROM model_hour
             WHERE model = ?1 AND bundle = ?2 AND hour + span_h * 3600000 > ?3 AND hour < ?4",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .bind(to_i64(span.from.0))
        .bind(to_i64(span.to.0))
        .fetch(self.read());
        let mut cohorts = BTreeMap::from([(Cohort::Fleet, Counters::default())]);
        let mut covered = span;
        while let Some((name, hour, span_h, bytes)) = rows.try_next().await? {
            let (from, to) = (to_u64(hour), to_u64(hour).saturating_add(to_u64(span_h) * HOUR_MS));
            covered.from = covered.from.min(UnixMs(from));
            covered.to = covered.to.max(UnixMs(to));
            let counters = decode_counters(&bytes)?;
            let sum: &mut Counters = cohorts.entry(cohort(&name)?).or_default();
            if let Err(why) = sum.merge(&counters) {
                // Only rows of a bundle that nobody had uploaded when they came can be of different shapes.
                tracing::warn!(model, bundle, cohort = name, %why, "an hour does not fit the others and is left out");
            }
        }
        Ok(Merged { cohorts, span: covered })
    }

    /// The sums of one cohort over a span.
    ///
    /// # Errors
    /// As for [`Store::hours_merged`].
    pub async fn cohort_merged(
        &self,
        model: &str,
        bundle: &str,
        cohort: &Cohort,
        span: Span,
    ) -> Result<Counters, StoreError> {
        let mut sum = Counters::default();
        for row in self.hours_of(model, bundle, cohort, span).await? {
            if let Err(why) = sum.merge(&row.counters) {
                tracing::warn!(model, bundle, %cohort, %why, "an hour does not fit the others and is left out");
            }
        }
        Ok(sum)
    }

    /// The hours of one cohort, oldest first.
    ///
    /// # Errors
    /// As for [`Store::hours_merged`].
    pub async fn hours_of(
        &self,
        model: &str,
        bundle: &str,
        cohort: &Cohort,
        span: Span,
    ) -> Result<Vec<HourRow>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT hour, span_h, counters FROM model_hour
             WHERE model = ?1 AND bundle = ?2 AND cohort = ?3 AND hour + span_h * 3600000 > ?4 AND hour < ?5
             ORDER BY hour, span_h",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .bind(cohort.to_string())
        .bind(to_i64(span.from.0))
        .bind(to_i64(span.to.0))
        .fetch_all(self.read())
        .await?;
        let row = |(hour, hours, bytes): (i64, i64, Vec<u8>)| {
            Ok(HourRow {
                from: UnixMs(to_u64(hour)),
                hours: to_u64(hours),
                counters: decode_counters(&bytes)?,
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Cohorts that have rows of a bundle, in the order of their writing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cohorts_of(&self, model: &str, bundle: &str) -> Result<Vec<Cohort>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT cohort FROM model_hour WHERE model = ?1 AND bundle = ?2 ORDER BY 1",
        )
        .bind(model.to_owned())
        .bind(bundle.to_owned())
        .fetch_all(self.read())
        .await?;
        names.iter().map(|n| cohort(n)).collect()
    }
}
