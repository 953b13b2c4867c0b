//! Adds windows: to their device's totals, and to the hours of the cohorts they belong to.
//!
//! What always holds: a window is added everywhere or nowhere; sums are kept in memory for the length of one transaction
//! and written once each, so a batch of windows of one hour costs one row; the order of windows does not matter.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use longshore_fleet_core::monitor::{BundleShape, Cohort};
use longshore_stats::{Counters, ShadowTable};
use longshore_trust::{TimeQuality, UnixMs};
use longshore_wire::v1::{Header, Window};

use super::cohort::{Traits, admit};
use super::{HOUR_MS, HourKey, shape};
use crate::store::ingest::{decode_counters, encode_counters};
use crate::store::{StoreError, Tx, to_i64};

/// A sum nearer than this to the end of u64 is poison, not data.
const ROOM: u64 = u64::MAX / 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TotalKey {
    device: String,
    model: String,
    bundle: String,
}

/// Sums that grow within one transaction. Nothing is stored before [`Merger::write`].
#[derive(Debug, Default)]
pub struct Merger {
    totals: HashMap<TotalKey, Counters>,
    hours: HashMap<HourKey, Counters>,
    traits: HashMap<String, Traits>,
    admitted: HashMap<(String, String, Cohort), Cohort>,
}

impl Merger {
    /// Adds a window. `false` when it does not fit its bundle, or what this device sent under the same bundle before: then
    /// nothing is changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn add(
        &mut self,
        tx: &mut Tx,
        header: &Header,
        w: &Window,
        now: UnixMs,
    ) -> Result<bool, StoreError> {
        let bundle = w.key.bundle.to_hex();
        let shape = shape::of_bundle(tx, &bundle).await?;
        if let Some(shape) = &shape
            && let Err(why) = shape.check(&w.counters)
        {
            tracing::warn!(device = %header.device, model = %w.key.model, %bundle, %why, "a window does not fit its bundle");
            return Ok(false);
        }
        let key = TotalKey {
            device: header.device.as_str().to_owned(),
            model: w.key.model.as_str().to_owned(),
            bundle: bundle.clone(),
        };
        let total = self.total(tx, &key).await?;
        if !has_room(total) || total.merge(&w.counters).is_err() {
            return Ok(false);
        }
        let hour = hour_of(header, w, now);
        for cohort in self.cohorts(tx, &key, shape.as_ref(), now).await? {
            let key = HourKey { model: key.model.clone(), bundle: bundle.clone(), cohort, hour };
            let sum = self.hour(tx, key).await?;
            // Where tables of another size came first (of a bundle that nobody knows), this one counts for itself.
            if has_room(sum) && sum.merge(&w.counters).is_err() {
                tracing::warn!(device = %header.device, model = %w.key.model, %bundle, "a window does not fit its hour");
            }
        }
        Ok(true)
    }

    async fn total(&mut self, tx: &mut Tx, key: &TotalKey) -> Result<&mut Counters, StoreError> {
        match self.totals.entry(key.clone()) {
            Entry::Occupied(e) => Ok(e.into_mut()),
            Entry::Vacant(e) => {
                let stored: Option<Vec<u8>> = sqlx::query_scalar(
                    "SELECT counters FROM device_total WHERE device = ?1 AND model = ?2 AND bundle = ?3",
                )
                .bind(key.device.clone())
                .bind(key.model.clone())
                .bind(key.bundle.clone())
                .fetch_optional(tx.conn())
                .await?;
                Ok(e.insert(read(stored)?))
            }
        }
    }

    async fn hour(&mut self, tx: &mut Tx, key: HourKey) -> Result<&mut Counters, StoreError> {
        match self.hours.entry(key) {
            Entry::Occupied(e) => Ok(e.into_mut()),
            Entry::Vacant(e) => {
                let key = e.key();
                let stored: Option<Vec<u8>> = sqlx::query_scalar(
                    "SELECT counters FROM model_hour
                     WHERE model = ?1 AND bundle = ?2 AND cohort = ?3 AND hour = ?4 AND span_h = 1",
                )
                .bind(key.model.clone())
                .bind(key.bundle.clone())
                .bind(key.cohort.to_string())
                .bind(to_i64(key.hour))
                .fetch_optional(tx.conn())
                .await?;
                Ok(e.insert(read(stored)?))
            }
        }
    }

    /// Everybody, and the cohorts of the device as it is known now.
    async fn cohorts(
        &mut self,
        tx: &mut Tx,
        key: &TotalKey,
        shape: Option<&Arc<BundleShape>>,
        now: UnixMs,
    ) -> Result<Vec<Cohort>, StoreError> {
        // A bundle that nobody uploaded has no cohorts: whoever speaks of it must not bring any into being.
        let Some(shape) = shape else { return Ok(vec![Cohort::Fleet]) };
        if !self.traits.contains_key(&key.device) {
            let traits = Traits::of(tx, &key.device).await?;
            self.traits.insert(key.device.clone(), traits);
        }
        let mut out = vec![Cohort::Fleet];
        for cohort in self.traits[&key.device].cohorts(&shape.cohorts) {
            let asked = (key.model.clone(), key.device.clone(), cohort);
            let found = match self.admitted.get(&asked) {
                Some(known) => known.clone(),
                None => {
                    let found = admit(tx, &asked.0, &asked.1, &asked.2, now).await?;
                    self.admitted.insert(asked, found.clone());
                    found
                }
            };
            out.push(found);
        }
        Ok(out)
    }

    /// Writes what was added. Call it once, before the transaction commits.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn write(self, tx: &mut Tx, now: UnixMs) -> Result<(), StoreError> {
        for (key, total) in self.totals {
            // Gates ask for single figures of many devices at once; they must not read all tables for them.
            let shape = shape::of_bundle(tx, &key.bundle).await?;
            let figures = shape.map(|s| s.figures(&total)).unwrap_or_default();
            let shadow = |what: fn(&ShadowTable) -> u64| to_i64(total.shadow.as_ref().map_or(0, what));
            sqlx::query(
                "INSERT INTO device_total (device, model, bundle, requests, rows, errors, labelled, correct, counters,
                     p99_us, score_shift, estimated,
                     shadow_rows, shadow_agreed, shadow_errors, shadow_only_candidate, shadow_only_active, shadow_labelled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
                 ON CONFLICT (device, model, bundle) DO UPDATE SET requests = excluded.requests, rows = excluded.rows,
                     errors = excluded.errors, labelled = excluded.labelled, correct = excluded.correct,
                     counters = excluded.counters, p99_us = excluded.p99_us, score_shift = excluded.score_shift,
                     estimated = excluded.estimated, shadow_rows = excluded.shadow_rows,
                     shadow_agreed = excluded.shadow_agreed, shadow_errors = excluded.shadow_errors,
                     shadow_only_candidate = excluded.shadow_only_candidate,
                     shadow_only_active = excluded.shadow_only_active, shadow_labelled = excluded.shadow_labelled",
            )
            .bind(key.device)
            .bind(key.model)
            .bind(key.bundle)
            .bind(to_i64(total.requests))
            .bind(to_i64(total.rows))
            .bind(to_i64(total.errors))
            .bind(to_i64(total.labelled()))
            .bind(to_i64(total.correct()))
            .bind(encode_counters(&total))
            .bind(figures.p99_us)
            .bind(figures.score_shift)
            .bind(figures.estimated)
            .bind(shadow(|t| t.rows))
            .bind(shadow(|t| t.agreed))
            .bind(shadow(|t| t.errors))
            .bind(shadow(|t| t.labelled.only_candidate))
            .bind(shadow(|t| t.labelled.only_active))
            .bind(shadow(|t| t.labelled.rows()))
            .execute(tx.conn())
            .await?;
        }
        for (key, sum) in self.hours {
            sqlx::query(
                "INSERT INTO model_hour (model, bundle, cohort, hour, span_h, changed, counters)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)
                 ON CONFLICT (model, bundle, cohort, hour, span_h)
                 DO UPDATE SET changed = excluded.changed, counters = excluded.counters",
            )
            .bind(key.model)
            .bind(key.bundle)
            .bind(key.cohort.to_string())
            .bind(to_i64(key.hour))
            .bind(to_i64(now.0))
            .bind(encode_counters(&sum))
            .execute(tx.conn())
            .await?;
        }
        Ok(())
    }
}

fn read(stored: Option<Vec<u8>>) -> Result<Counters, StoreError> {
    stored.map_or_else(|| Ok(Counters::default()), |bytes| decode_counters(&bytes))
}

/// The hour a window belongs to. A device without a clock cannot say which hour it was, and no hour is to come: the fleet
/// knows better then.
fn hour_of(header: &Header, w: &Window, now: UnixMs) -> u64 {
    let untold = header.time_quality == TimeQuality::None || w.key.start.0 >= now.0.saturating_add(HOUR_MS);
    let at = if untold { now } else { w.key.start };
    at.0 / HOUR_MS * HOUR_MS
}

fn has_room(sum: &Counters) -> bool {
    let scalars = [sum.requests, sum.rows, sum.errors, sum.nan, sum.labels_other];
    scalars.iter().chain(&sum.classes).chain(&sum.confusion).all(|n| *n <= ROOM)
}
