//! Verdicts of a version over a span, for every cohort together.

use longshore_fleet_core::monitor::quality::{self, Devices, Subject};
use longshore_fleet_core::monitor::shape::LEVEL;
use longshore_fleet_core::monitor::verdict::{self, FeatureVerdict};
use longshore_fleet_core::monitor::{Cohort, DriftRow, QualityRow, Span, State};
use longshore_stats::drift::Policy;
use longshore_stats::window::Recorder;
use longshore_stats::{Counters, WindowProfile};
use longshore_trust::UnixMs;

use super::{Source, SourceError};
use crate::app::App;
use crate::config;
use crate::store::monitor::{Cell, HOUR_MS, Merged, UnjudgedHour};

/// One cohort.
#[derive(Debug, Clone)]
pub struct CohortVerdicts {
    /// Whose rows.
    pub cohort: Cohort,
    /// What was counted.
    pub counters: Counters,
    /// One a monitored feature.
    pub verdicts: Vec<FeatureVerdict>,
    /// The same as rows.
    pub drift: Vec<DriftRow>,
    /// How good it was.
    pub quality: QualityRow,
}

/// Every cohort of a version.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What the rows cover.
    pub span: Span,
    /// When.
    pub at: UnixMs,
    /// The whole fleet first.
    pub cohorts: Vec<CohortVerdicts>,
}

impl Judged {
    /// One cohort.
    #[must_use]
    pub fn cohort(&self, cohort: &Cohort) -> Option<&CohortVerdicts> {
        self.cohorts.iter().find(|c| c.cohort == *cohort)
    }
}

/// When a difference counts, as configured.
#[must_use]
pub fn policy(config: &config::Monitor) -> Policy {
    Policy { alpha: config.alpha, effect_min: config.min_effect, ..Policy::default() }
}

/// The last `hours` hours up to the present one, which is not over.
#[must_use]
pub fn span_until(now: UnixMs, hours: u64) -> Span {
    let to = UnixMs((now.0 / HOUR_MS + 1) * HOUR_MS);
    Span { from: UnixMs(to.0.saturating_sub(hours.max(1) * HOUR_MS)), to }
}

/// `24h` or `7d` as hours.
#[must_use]
pub fn hours(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "h" => Some(number),
        "d" => number.checked_mul(24),
        _ => None,
    }
}

/// Judges a version over a span.
///
/// # Errors
/// When the record cannot be read.
pub async fn judge(app: &App, source: &Source, span: Span, at: UnixMs) -> Result<Judged, SourceError> {
    let (model, bundle) = (source.of.model.as_str(), source.of.bundle.to_hex());
    let merged = app.store.hours_merged(model, &bundle, span).await?;
    let silent = UnixMs(at.0.saturating_sub(app.config.limits.silent_s.saturating_mul(1000)));
    let (running, silent) = app.store.devices_running(&bundle, silent).await?;
    let (source, policy) = (source.clone(), policy(&app.config.monitor));
    let devices = Devices { running, silent };
    // Hundreds of features times hundreds of cohorts take a second: not on a thread that answers others.
    let work = move || of_merged(&source, merged, devices, &policy, at);
    Ok(tokio::task::spawn_blocking(work).await.expect("the pure code does not panic"))
}

/// Verdicts of cohorts together. What was counted against another reference says nothing here and is left out.
fn verdicts(source: &Source, cohorts: &[&Counters], policy: &Policy) -> Vec<Vec<FeatureVerdict>> {
    let Some(reference) = &source.reference else { return vec![Vec::new(); cohorts.len()] };
    let empty = Recorder::new(reference, LEVEL).take();
    let mut profiles: Vec<Option<&WindowProfile>> = cohorts.iter().map(|c| c.profile.as_ref()).collect();
    for profile in &mut profiles {
        if let Some(Err(why)) = profile.map(|p| verdict::fits(&empty, p)) {
            tracing::warn!(model = %source.of.model, version = source.of.version, %why, "a stored profile is left out");
            *profile = None;
        }
    }
    verdict::judge(reference, &profiles, policy).unwrap_or_else(|_| vec![Vec::new(); cohorts.len()])
}

fn of_merged(source: &Source, merged: Merged, devices: Devices, policy: &Policy, at: UnixMs) -> Judged {
    let Merged { cohorts, span } = merged;
    let counters: Vec<&Counters> = cohorts.values().collect();
    let found = verdicts(source, &counters, policy);
    let one = |((cohort, counters), verdicts): ((Cohort, Counters), Vec<FeatureVerdict>)| {
        let drift = source
            .reference
            .as_ref()
            .map_or_else(Vec::new, |r| verdict::rows(&source.of, &cohort, r, &verdicts, span, at));
        let subject = Subject {
            of: &source.of,
            cohort: &cohort,
            manifest: &source.manifest,
            reference: source.reference.as_ref(),
            devices,
            span,
            at,
        };
        let quality = quality::row(&subject, &counters, &drift);
        CohortVerdicts { cohort, counters, verdicts, drift, quality }
    };
    Judged { span, at, cohorts: cohorts.into_iter().zip(found).map(one).collect() }
}

/// Verdicts of one hour, for every cohort that has rows in it, corrected together.
///
/// # Errors
/// When the record cannot be read.
pub async fn judge_hour(
    app: &App,
    source: Option<&Source>,
    hour: &UnjudgedHour,
) -> Result<Vec<(Cohort, Vec<Cell>)>, SourceError> {
    let cohorts = app.store.cohorts_of_hour(hour).await?;
    let Some(source) = source.cloned() else {
        return Ok(cohorts.into_keys().map(|c| (c, Vec::new())).collect());
    };
    let policy = policy(&app.config.monitor);
    let work = move || {
        let counters: Vec<&Counters> = cohorts.values().collect();
        let found = verdicts(&source, &counters, &policy);
        let cell = |v: &FeatureVerdict| Cell {
            state: State::from(&v.verdict),
            effect: v.drift.evidence.effect as f32,
            p_adjusted: v.p_adjusted as f32,
            n: v.drift.evidence.m,
        };
        let cells = found.iter().map(|features| features.iter().map(cell).collect::<Vec<_>>());
        cohorts.keys().cloned().zip(cells).collect::<Vec<_>>()
    };
    Ok(tokio::task::spawn_blocking(work).await.expect("the pure code does not panic"))
}
