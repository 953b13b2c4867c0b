//! Drift, quality and fairness of model versions, by cohort and span.
//!
//! Every answer is made on demand from merged counters; `longshore_fleet::jobs` does the same on a schedule.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use longshore_fleet_core::monitor::{Cohort, DriftRow, Span, State as Verdict};
use longshore_trust::UnixMs;
use serde::Deserialize;
use utoipa::IntoParams;

use super::models::find;
use super::monitor_view::{About, CohortLine, Cohorts, Drift, Fairness, Feature, Quality};
use super::problem::Problem;
use crate::app::{App, Shared, now};
use crate::auth::Actor;
use crate::monitor::{self, Judged, Source, SourceError};

/// Longest span, hours: ten years.
const SPAN_MAX_H: u64 = 24 * 366 * 10;

/// Which rows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// `fleet` (when left out), `label=value,…`, `hw:NAME`, `other`; `all` for every cohort.
    cohort: Option<String>,
    /// The last so many hours or days: `24h`, `7d`. What is configured (`monitor.span_h`) when left out.
    span: Option<String>,
    /// Instead of `span`: begin, ms since 1970.
    from: Option<u64>,
    /// End, ms since 1970; now when left out.
    to: Option<u64>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items in a page, 1 to 500 (100 when left out).
    limit: Option<u32>,
}

impl From<SourceError> for Problem {
    fn from(e: SourceError) -> Self {
        match e {
            SourceError::Store(e) => e.into(),
            SourceError::Manifest(..) | SourceError::Reference(..) => {
                Self::conflict("version.unreadable", e.to_string())
            }
        }
    }
}

impl Asked {
    /// `None` for every cohort.
    fn cohort(&self) -> Result<Option<Cohort>, Problem> {
        match self.cohort.as_deref() {
            None => Ok(Some(Cohort::Fleet)),
            Some("all") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|e| Problem::invalid("cohort.invalid", format!("{e}, or `all`"))),
        }
    }
    /// One cohort, where every cohort makes no sense.
    fn one_cohort(&self) -> Result<Cohort, Problem> {
        self.cohort()?.ok_or_else(|| {
            Problem::invalid("cohort.invalid", "name one cohort, or leave it out for the fleet")
        })
    }
    fn span(&self, app: &App, now: UnixMs) -> Result<Span, Problem> {
        let wrong = |why: String| Problem::invalid("span.invalid", why);
        if let Some(from) = self.from {
            let span = Span { from: UnixMs(from), to: self.to.map_or(now, UnixMs) };
            return if span.from < span.to {
                Ok(span)
            } else {
                Err(wrong(format!("from {from} is not before to {}", span.to.0)))
            };
        }
        let Some(text) = &self.span else { return Ok(monitor::span_until(now, app.config.monitor.span_h)) };
        let hours = monitor::hours(text).filter(|h| (1..=SPAN_MAX_H).contains(h));
        let hours = hours
            .ok_or_else(|| wrong(format!("{text:?} is no span: write 1h to 87840h, or days like 7d")))?;
        Ok(monitor::span_until(now, hours))
    }
}

async fn judged(app: &App, model: &str, version: &str, asked: &Asked) -> Result<(Source, Judged), Problem> {
    let now = now();
    let span = asked.span(app, now)?;
    let source = Source::of(app, &find(app, model, version).await?).await?;
    let judged = monitor::judge(app, &source, span, now).await?;
    Ok((source, judged))
}

fn no_cohort(source: &Source, cohort: &Cohort) -> Problem {
    let text = format!(
        "no rows of {}@{} were counted for cohort {cohort} in this span; …/cohorts lists those there are",
        source.of.model, source.of.version
    );
    Problem::not_found("cohort.unknown", text)
}

fn states<'a>(rows: impl Iterator<Item = &'a DriftRow>) -> BTreeMap<String, u64> {
    let mut out: BTreeMap<String, u64> = Verdict::ALL.iter().map(|s| (s.name().to_owned(), 0)).collect();
    rows.for_each(|r| *out.entry(r.state.name().to_owned()).or_default() += 1);
    out
}

fn by_effect(a: &DriftRow, b: &DriftRow) -> std::cmp::Ordering {
    let effect = |r: &DriftRow| r.effect.map_or(-1.0, |e| e.value);
    effect(b).total_cmp(&effect(a)).then_with(|| (&a.cohort, &a.feature).cmp(&(&b.cohort, &b.feature)))
}

/// Drift verdicts of a version, largest effect first.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/drift", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path), Asked),
    responses((status = 200, body = Drift), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn drift(
    State(app): State<Shared>,
    _: Actor,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<Drift>, Problem> {
    let (cohort, limit) = (asked.cohort()?, asked.limit.unwrap_or(100).clamp(1, 500) as usize);
    let skip = match asked.cursor.as_deref().map(str::parse::<usize>) {
        None => 0,
        Some(Ok(n)) => n,
        Some(Err(_)) => {
            return Err(Problem::invalid("page.cursor", "cursor is the `next` of the page before"));
        }
    };
    let (source, judged) = judged(&app, &model, &version, &asked).await?;
    if let Some(cohort) = &cohort
        && judged.cohort(cohort).is_none()
    {
        return Err(no_cohort(&source, cohort));
    }
    let about = About::of(&source, judged.span, judged.at);
    let shown = judged.cohorts.into_iter().filter(|c| cohort.as_ref().is_none_or(|asked| c.cohort == *asked));
    let mut rows: Vec<DriftRow> = shown.flat_map(|c| c.drift).collect();
    rows.sort_by(by_effect);
    let states = states(rows.iter());
    let next = (skip + limit < rows.len()).then(|| (skip + limit).to_string());
    let items = rows.into_iter().skip(skip).take(limit).map(Into::into).collect();
    let policy = monitor::policy(&app.config.monitor);
    Ok(Json(Drift { about, alpha: policy.alpha, min_effect: policy.effect_min, states, items, next }))
}

/// One feature: bins, guaranteed intervals, the cohort comparison, devices that stand out.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/drift/{feature}", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path), ("feature" = String, Path), Asked),
    responses((status = 200, body = Feature), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn feature(
    State(app): State<Shared>,
    _: Actor,
    Path((model, version, feature)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<Feature>, Problem> {
    let (cohort, now) = (asked.one_cohort()?, now());
    let span = asked.span(&app, now)?;
    let source = Source::of(&app, &find(&app, &model, &version).await?).await?;
    if !source.features().contains(&feature.as_str()) {
        let shown: String = feature.chars().take(80).collect();
        let text = format!("{}@{} does not monitor a feature {shown:?}", source.of.model, source.of.version);
        return Err(Problem::not_found("feature.unknown", text));
    }
    match monitor::feature(&app, &source, &cohort, &feature, span, now).await? {
        Some(view) => Ok(Json(Feature::of(About::of(&source, view.row.span, now), view))),
        None => Err(no_cohort(&source, &cohort)),
    }
}

/// Quality of a version: with labels, and without them where that is honest.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/quality", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path), Asked),
    responses((status = 200, body = Quality), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn quality(
    State(app): State<Shared>,
    _: Actor,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<Quality>, Problem> {
    let cohort = asked.one_cohort()?;
    let (source, judged) = judged(&app, &model, &version, &asked).await?;
    let about = About::of(&source, judged.span, judged.at);
    let found = judged.cohort(&cohort).ok_or_else(|| no_cohort(&source, &cohort))?;
    Ok(Json(Quality { about, cohort: cohort.to_string(), quality: found.quality.clone() }))
}

/// Fairness between declared groups.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/fairness", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path), Asked),
    responses((status = 200, body = Fairness), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn fairness(
    State(app): State<Shared>,
    _: Actor,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<Fairness>, Problem> {
    let cohort = asked.one_cohort()?;
    let (source, judged) = judged(&app, &model, &version, &asked).await?;
    let about = About::of(&source, judged.span, judged.at);
    let found = judged.cohort(&cohort).ok_or_else(|| no_cohort(&source, &cohort))?;
    let fairness = serde_json::to_value(&found.quality.fairness).map_err(|e| Problem::internal(&e))?;
    Ok(Json(Fairness { about, cohort: cohort.to_string(), fairness }))
}

/// Cohorts that have rows in the span, the whole fleet first.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/cohorts", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path), Asked),
    responses((status = 200, body = Cohorts), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn cohorts(
    State(app): State<Shared>,
    _: Actor,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<Cohorts>, Problem> {
    let (source, judged) = judged(&app, &model, &version, &asked).await?;
    let about = About::of(&source, judged.span, judged.at);
    let line = |c: &monitor::CohortVerdicts| {
        let mut drifted: Vec<&DriftRow> = c.drift.iter().filter(|r| r.state == Verdict::Drifted).collect();
        drifted.sort_by(|a, b| by_effect(a, b));
        CohortLine {
            cohort: c.cohort.to_string(),
            rows: c.quality.rows,
            labelled: c.quality.labelled,
            states: states(c.drift.iter()),
            worst: drifted.first().map(|r| (*r).clone().into()),
        }
    };
    Ok(Json(Cohorts {
        about,
        declared: source.manifest.monitor.cohorts.clone(),
        overflow: judged.cohorts.iter().any(|c| c.cohort == Cohort::Other),
        items: judged.cohorts.iter().map(line).collect(),
    }))
}
