//! Verdicts on a schedule, and old hours made coarser.
//!
//! What always holds: the present verdicts of a version are replaced in one transaction; an hour is judged again when
//! rows were added to it (late windows, late labels); a version that cannot be judged is logged and stops no other.

use std::time::Duration;

use longshore_trust::UnixMs;

use crate::app::{App, Shared, now};
use crate::events::FleetEvent;
use crate::monitor::{self, Source, SourceError};
use crate::store::StoreError;
use crate::store::monitor::{DAY_MS, JudgedVersion, UnjudgedHour, coarsen, put_cells, put_current};

/// Hours judged between two looks at whether the server stops.
const HOURS_AT_ONCE: u32 = 100;

/// A window says when it came, and is committed a little later: so far a round looks back behind the one before.
const OVERLAP_MS: u64 = 10 * 60_000;

/// Judges until the server stops.
pub(super) async fn run(app: Shared) {
    let every = Duration::from_secs(app.config.monitor.every_s);
    let mut since = UnixMs(0);
    loop {
        let begun = now();
        match round(&app, since, begun).await {
            Ok(()) => since = UnixMs(begun.0.saturating_sub(OVERLAP_MS)),
            Err(error) => tracing::error!(%error, "models could not be judged; trying again"),
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// One round: hours to which rows were added since `since`, then the present verdicts, then retention.
///
/// # Errors
/// When the record cannot be read or written.
pub async fn round(app: &App, since: UnixMs, now: UnixMs) -> Result<(), StoreError> {
    loop {
        let hours = app.store.hours_to_judge(since, HOURS_AT_ONCE).await?;
        if hours.is_empty() || app.stop.is_cancelled() {
            break;
        }
        judge_hours(app, hours, now).await?;
    }
    let span = monitor::span_until(now, app.config.monitor.span_h);
    for version in app.store.versions_to_judge(span.from).await? {
        if let Err(error) = judge_version(app, &version, now).await {
            tracing::error!(model = version.model, bundle = version.bundle, %error, "a version could not be judged");
        }
    }
    let before = UnixMs(now.0.saturating_sub(u64::from(app.config.keep.hours_d).saturating_mul(DAY_MS)));
    loop {
        let mut tx = app.store.write().await?;
        let hours = coarsen(&mut tx, before).await?;
        tx.commit().await?;
        if hours == 0 || app.stop.is_cancelled() {
            return Ok(());
        }
        tracing::info!(hours, "old hours were merged into days");
    }
}

async fn judge_hours(app: &App, mut hours: Vec<UnjudgedHour>, now: UnixMs) -> Result<(), StoreError> {
    hours.sort();
    for of_version in hours.chunk_by(|a, b| a.of == b.of) {
        let source = source(app, &of_version[0].of).await?;
        for hour in of_version {
            let cohorts = match monitor::judge_hour(app, source.as_ref(), hour).await {
                Ok(cohorts) => cohorts,
                Err(SourceError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(model = hour.of.model, %error, "an hour could not be judged");
                    continue;
                }
            };
            let mut tx = app.store.write().await?;
            for (cohort, cells) in &cohorts {
                // Later than what it has seen, so that it counts as judged.
                put_cells(&mut tx, hour, cohort, cells, UnixMs(now.0.max(hour.changed + 1))).await?;
            }
            tx.commit().await?;
        }
    }
    Ok(())
}

/// `None` for a version that cannot be judged, whatever the reason; it is logged.
async fn source(app: &App, of: &JudgedVersion) -> Result<Option<Source>, StoreError> {
    match Source::of_bundle(app, &of.bundle).await {
        Ok(found) => Ok(found),
        Err(SourceError::Store(error)) => Err(error),
        Err(error) => {
            tracing::error!(model = of.model, bundle = of.bundle, %error, "a version cannot be judged");
            Ok(None)
        }
    }
}

async fn judge_version(app: &App, of: &JudgedVersion, now: UnixMs) -> Result<(), SourceError> {
    let (mut drift, mut quality) = (Vec::new(), Vec::new());
    let source = source(app, of).await?;
    if let Some(source) = &source {
        let span = monitor::span_until(now, app.config.monitor.span_h);
        let judged = monitor::judge(app, source, span, now).await?;
        let is_used = judged.cohorts.iter().any(|c| c.quality.requests > 0 || c.quality.devices > 0);
        // What nobody runs and nobody sent rows of has no present.
        for cohort in judged.cohorts.into_iter().filter(|_| is_used) {
            drift.extend(cohort.drift);
            quality.push(cohort.quality);
        }
    }
    let mut tx = app.store.write().await?;
    put_current(&mut tx, of, &drift, &quality, now).await?;
    tx.commit().await?;
    if let Some(source) = source {
        app.events.publish(FleetEvent::Judged(source.of.model));
    }
    Ok(())
}
