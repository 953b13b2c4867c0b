//! The heat map of one version: features by time, for one cohort; and its cohorts.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use longshore_fleet_core::monitor::cohort::COHORTS_MAX;
use longshore_fleet_core::monitor::{Cohort, DriftRow, State};
use serde::Deserialize;

use super::super::badge::Badge;
use super::super::error::PageError;
use super::super::figures::count;
use super::super::shell::{Ctx, Section, Shell, encode, html};
use super::super::time::When;
use super::heat::{Axis, Column, Heat};
use super::{States, effect, verdict};
use crate::monitor::{Source, span_until};

/// Features on one page.
const FEATURES: usize = 24;
/// Cohorts on one page.
const COHORTS: usize = 50;
/// Spans that can be chosen: hours and words.
const SPANS: [(u64, &str); 3] = [(24, "24 hours"), (168, "7 days"), (720, "30 days")];

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    cohort: Option<String>,
    hours: Option<u64>,
    #[serde(default)]
    page: usize,
    #[serde(default)]
    cohorts: usize,
}

impl Asked {
    /// The cohort asked for; the whole fleet when it is none.
    pub(super) fn cohort(&self) -> Cohort {
        self.cohort.as_deref().and_then(|c| c.parse().ok()).unwrap_or(Cohort::Fleet)
    }
    fn hours(&self) -> u64 {
        self.hours.filter(|h| SPANS.iter().any(|(s, _)| s == h)).unwrap_or(24)
    }
}

struct Choice {
    value: String,
    words: String,
    chosen: bool,
}

struct Line {
    name: String,
    link: String,
    badge: Badge,
    effect: String,
    p: String,
    n: String,
    cells: Vec<Heat>,
}

struct CohortLine {
    name: String,
    link: String,
    badge: Option<Badge>,
    states: States,
    rows: String,
}

#[derive(Template)]
#[template(path = "drift_version.html")]
struct Page {
    shell: Shell,
    model: String,
    version: String,
    cohort: String,
    is_fleet: bool,
    choices: Vec<Choice>,
    spans: Vec<Choice>,
    declared: Vec<String>,
    overflow: bool,
    cohorts_max: u32,
    monitored: usize,
    states: States,
    judged: Option<When>,
    span_h: u64,
    alpha: f64,
    min_effect: f64,
    columns: Vec<Column>,
    column_hours: u64,
    lines: Vec<Line>,
    shown: String,
    previous: Option<String>,
    next: Option<String>,
    cohort_lines: Vec<CohortLine>,
    cohorts_next: Option<String>,
    cohorts_previous: Option<String>,
}

/// Drift first, then by effect.
fn order(a: &DriftRow, b: &DriftRow) -> std::cmp::Ordering {
    let value = |r: &DriftRow| r.effect.map_or(-1.0, |e| e.value);
    value(b).total_cmp(&value(a)).then_with(|| a.feature.cmp(&b.feature))
}

/// A corrected p for people.
pub(super) fn p_value(p: Option<f64>) -> String {
    match p {
        None => "–".into(),
        Some(p) if p < 1e-4 => "< 0.0001".into(),
        Some(p) => format!("{p:.4}"),
    }
}

/// `GET /drift/{model}/{version}`.
pub(crate) async fn page(
    ctx: Ctx,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let Some(found) = store.version(&model, &version).await? else {
        return Err(PageError::missing("version", format!("{model} {version}"), "/drift"));
    };
    let source = Source::of(&ctx.app, &found).await.map_err(|e| PageError::Failed(e.to_string()))?;
    let bundle = found.bundle.to_hex();
    let (cohort, hours) = (asked.cohort(), asked.hours());
    let mut rows = store.drift_current(Some(&model), Some(&bundle), Some(&cohort)).await?;
    rows.sort_by(order);
    let names = source.features();
    let span = span_until(ctx.now, hours);
    let axis = Axis::of(span);
    let history = store.cells_of(&model, &bundle, &cohort, span).await?;
    let address = |page: usize, cohorts: usize| {
        let to = encode(&cohort.to_string());
        let base = format!("/drift/{}/{}", encode(&model), encode(&version));
        format!("{base}?cohort={to}&hours={hours}&page={page}&cohorts={cohorts}")
    };
    let mut states = States::default();
    rows.iter().for_each(|r| states.add(r.state, 1));
    let pages = rows.len().div_ceil(FEATURES).max(1);
    let at = asked.page.min(pages - 1);
    let lines: Vec<Line> = rows
        .iter()
        .skip(at * FEATURES)
        .take(FEATURES)
        .map(|r| line(r, &names, &axis, &history, &model, &version))
        .collect();
    let known = store.cohorts_of(&model, &bundle).await?;
    let of_cohorts = cohort_lines(&ctx, &model, &version, &bundle, hours).await?;
    let cohort_pages = of_cohorts.len().div_ceil(COHORTS).max(1);
    let cohorts_at = asked.cohorts.min(cohort_pages - 1);
    let page = Page {
        shell: ctx
            .shell(Section::Drift, format!("Drift of {model} {version}"))
            .await?
            .listening("judged", &model),
        is_fleet: cohort.is_fleet(),
        choices: known
            .iter()
            .map(|c| Choice { value: c.to_string(), words: words(c), chosen: *c == cohort })
            .collect(),
        spans: SPANS
            .iter()
            .map(|(h, words)| Choice {
                value: h.to_string(),
                words: (*words).to_owned(),
                chosen: *h == hours,
            })
            .collect(),
        overflow: known.contains(&Cohort::Other),
        declared: source.manifest.monitor.cohorts.clone(),
        cohorts_max: COHORTS_MAX,
        monitored: names.len(),
        states,
        judged: rows.first().map(|r| ctx.when(i64::try_from(r.at.0).unwrap_or(i64::MAX))),
        span_h: ctx.app.config.monitor.span_h,
        alpha: ctx.app.config.monitor.alpha,
        min_effect: ctx.app.config.monitor.min_effect,
        columns: axis.columns(),
        column_hours: axis.hours,
        shown: format!("Features {} to {} of {}", at * FEATURES + 1, at * FEATURES + lines.len(), rows.len()),
        previous: (at > 0).then(|| address(at - 1, cohorts_at)),
        next: (at + 1 < pages).then(|| address(at + 1, cohorts_at)),
        cohorts_previous: (cohorts_at > 0).then(|| address(at, cohorts_at - 1)),
        cohorts_next: (cohorts_at + 1 < cohort_pages).then(|| address(at, cohorts_at + 1)),
        cohort_lines: of_cohorts.into_iter().skip(cohorts_at * COHORTS).take(COHORTS).collect(),
        cohort: words(&cohort),
        lines,
        model,
        version,
    };
    html(&page)
}

/// A cohort in words.
pub(crate) fn words(cohort: &Cohort) -> String {
    match cohort {
        Cohort::Fleet => "the whole fleet".into(),
        Cohort::Other => "all other cohorts".into(),
        Cohort::Hardware(name) => format!("hardware {name}"),
        Cohort::Labels(_) => cohort.to_string(),
    }
}

fn line(
    row: &DriftRow,
    names: &[&str],
    axis: &Axis,
    history: &[crate::store::monitor::CellHour],
    model: &str,
    version: &str,
) -> Line {
    let index = names.iter().position(|n| *n == row.feature);
    Line {
        link: format!(
            "/drift/{}/{}/{}?cohort={}",
            encode(model),
            encode(version),
            encode(&row.feature),
            encode(&row.cohort.to_string())
        ),
        badge: verdict(row.state),
        effect: effect(row.effect),
        p: p_value(row.p_adjusted),
        n: count(row.n),
        cells: index.map_or_else(Vec::new, |i| axis.cells(history, i)),
        name: row.feature.clone(),
    }
}

async fn cohort_lines(
    ctx: &Ctx,
    model: &str,
    version: &str,
    bundle: &str,
    hours: u64,
) -> Result<Vec<CohortLine>, PageError> {
    let counts = ctx.app.store.drift_counts(Some(bundle)).await?;
    let quality = ctx.app.store.quality_current(Some(model), Some(bundle), None).await?;
    let mut lines: Vec<CohortLine> = quality
        .into_iter()
        .map(|q| {
            let mut states = States::default();
            counts.iter().filter(|c| c.cohort == q.cohort).for_each(|c| states.add(c.state, c.features));
            CohortLine {
                name: words(&q.cohort),
                link: format!(
                    "/drift/{}/{}?cohort={}&hours={hours}",
                    encode(model),
                    encode(version),
                    encode(&q.cohort.to_string())
                ),
                badge: states.worst().map(verdict),
                rows: count(q.rows),
                states,
            }
        })
        .collect();
    lines.sort_by_key(|l| std::cmp::Reverse((l.states.worst() == Some(State::Drifted), l.states.drifted)));
    Ok(lines)
}
