//! One feature closely: reference against current, the verdict and its intervals, the same elsewhere, and what to do next.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use longshore_fleet_core::monitor::comparison::{Comparison, tally};
use longshore_fleet_core::monitor::{Axis, Cohort, State};
use longshore_stats::bounds::Interval;

use super::super::badge::Badge;
use super::super::error::PageError;
use super::super::figures::{count, number, percent};
use super::super::shell::{Ctx, Section, Shell, encode, html};
use super::super::time::{When, iso};
use super::heat::{Axis as Time, Heat};
use super::histogram::{Histogram, Pair};
use super::version::{Asked, p_value, words};
use super::{effect, verdict};
use crate::monitor::{FeatureView, Source, feature, span_until};

/// Devices shown.
const DEVICES: usize = 20;
/// Cells of the comparison shown for each axis.
const CELLS: usize = 20;

struct BinLine {
    label: String,
    reference: String,
    current: String,
    reference_share: String,
    current_share: String,
}

struct Cell {
    axis: &'static str,
    model: String,
    cohort: String,
    feature: String,
    link: String,
    badge: Badge,
    effect: String,
    p: String,
    n: String,
}

struct Device {
    name: String,
    link: String,
    badge: Badge,
    effect: String,
    p: String,
    n: String,
}

#[derive(Template)]
#[template(path = "drift_feature.html")]
struct Page {
    shell: Shell,
    model: String,
    version: String,
    feature: String,
    back: String,
    cohort: String,
    badge: Badge,
    meaning: String,
    from: String,
    to: String,
    judged: When,
    effect: String,
    p: String,
    n: String,
    n_reference: String,
    rows_needed: String,
    ks: String,
    w1: String,
    js: String,
    outside: String,
    unseen: String,
    chart: Histogram,
    bins: Vec<BinLine>,
    cells: Vec<Cell>,
    cut: usize,
    reading: Vec<String>,
    todo: Vec<String>,
    devices: Vec<Device>,
    devices_more: bool,
    hours: Vec<Heat>,
}

fn interval(i: Option<Interval>) -> String {
    i.map_or_else(|| "–".into(), |i| format!("{} to {}", number(i.lo), number(i.hi)))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `GET /drift/{model}/{version}/{feature}`.
pub(crate) async fn page(
    ctx: Ctx,
    Path((model, version, name)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let missing =
        || PageError::missing("monitored feature", format!("{name} of {model} {version}"), "/drift");
    let Some(found) = store.version(&model, &version).await? else { return Err(missing()) };
    let source = Source::of(&ctx.app, &found).await.map_err(|e| PageError::Failed(e.to_string()))?;
    let cohort = asked.cohort();
    let span = span_until(ctx.now, ctx.app.config.monitor.span_h);
    let view = feature(&ctx.app, &source, &cohort, &name, span, ctx.now)
        .await
        .map_err(|e| PageError::Failed(e.to_string()))?;
    let Some(view) = view else { return Err(missing()) };
    let index = source.features().iter().position(|f| *f == name).unwrap_or(0);
    let history = store.cells_of(&model, &found.bundle.to_hex(), &cohort, span).await?;
    let (row, drift) = (&view.row, &view.verdict.drift);
    let (reference_rows, current_rows) = (row.n_reference, row.n);
    let bins: Vec<BinLine> = view
        .bins
        .iter()
        .map(|b| BinLine {
            label: b.label.clone(),
            reference: count(b.reference),
            current: count(b.current),
            reference_share: percent(share(b.reference, reference_rows)),
            current_share: percent(share(b.current, current_rows)),
        })
        .collect();
    let page = Page {
        shell: ctx
            .shell(Section::Drift, format!("{name}: drift of {model} {version}"))
            .await?
            .listening("judged", &model),
        back: format!(
            "/drift/{}/{}?cohort={}",
            encode(&model),
            encode(&version),
            encode(&cohort.to_string())
        ),
        badge: verdict(row.state),
        meaning: meaning(&view, ctx.app.config.monitor.min_effect),
        from: iso(row.span.from),
        to: iso(row.span.to),
        judged: ctx.when(i64::try_from(row.at.0).unwrap_or(i64::MAX)),
        effect: effect(row.effect),
        p: p_value(row.p_adjusted),
        n: count(row.n),
        n_reference: count(row.n_reference),
        rows_needed: count(row.rows_needed),
        ks: interval(drift.bounds.map(|b| b.ks)),
        w1: interval(drift.bounds.map(|b| b.w1)),
        js: drift.distances.map_or_else(|| "–".into(), |d| number(d.js)),
        unseen: drift.distances.map_or_else(|| "–".into(), |d| percent(d.unseen + 0.0)),
        outside: format!("{} of {}", count(view.outside.1), count(row.n)),
        chart: Histogram {
            label: "Share of reference rows and of rows now in each bin; the table below says the same"
                .to_owned(),
            pairs: view
                .bins
                .iter()
                .map(|b| Pair {
                    label: b.label.clone(),
                    reference: share(b.reference, reference_rows),
                    current: share(b.current, current_rows),
                })
                .collect(),
        },
        cut: cut(&view.comparison),
        cells: cells(&view.comparison),
        reading: reading(&view),
        todo: todo(&view, &cohort),
        devices_more: view.devices.len() > DEVICES || view.devices_cut,
        devices: view
            .devices
            .iter()
            .take(DEVICES)
            .map(|d| Device {
                link: format!("/devices/{}", encode(&d.device)),
                name: d.device.clone(),
                badge: verdict(d.state),
                effect: effect(d.effect),
                p: p_value(d.p_adjusted),
                n: count(d.n),
            })
            .collect(),
        hours: Time::of(span).cells(&history, index),
        cohort: words(&cohort),
        feature: name,
        bins,
        model,
        version,
    };
    html(&page)
}

/// What the verdict means here, in a sentence.
fn meaning(view: &FeatureView, min_effect: f64) -> String {
    let row = &view.row;
    match row.state {
        State::Drifted => "The difference from the reference is neither chance nor small.".into(),
        State::Stable => "No difference that matters.".into(),
        State::Undecided => format!(
            "No difference was found, but with {} rows one that matters could hide. More rows will decide.",
            count(row.n)
        ),
        State::Insufficient => format!(
            "{} rows against {} of the reference are too few for any test (it takes {} on either side). This does not mean that \
             nothing has changed; effects below {} would not count in any case.",
            count(row.n),
            count(row.n_reference),
            count(row.rows_needed),
            number(min_effect)
        ),
    }
}

/// How many cells of the comparison are not shown.
fn cut(all: &[Comparison]) -> usize {
    let of = |axis| all.iter().filter(|c| c.axis == axis).count().saturating_sub(CELLS);
    Axis::ALL.into_iter().map(of).sum()
}

fn cells(all: &[Comparison]) -> Vec<Cell> {
    let of = |axis: Axis| all.iter().filter(move |c| c.axis == axis).take(CELLS);
    Axis::ALL
        .into_iter()
        .flat_map(of)
        .map(|c| {
            let r = &c.found;
            Cell {
                axis: c.axis.words(),
                model: format!("{} {}", r.model, r.version),
                cohort: words(&r.cohort),
                feature: r.feature.clone(),
                link: format!(
                    "/drift/{}/{}/{}?cohort={}",
                    encode(r.model.as_str()),
                    encode(&r.version),
                    encode(&r.feature),
                    encode(&r.cohort.to_string())
                ),
                badge: verdict(r.state),
                effect: effect(r.effect),
                p: p_value(r.p_adjusted),
                n: count(r.n),
            }
        })
        .collect()
}

/// What the table says, counted. It names no culprit.
fn reading(view: &FeatureView) -> Vec<String> {
    let of = |axis, what: &str| {
        let (drifted, all) = tally(&view.comparison, axis, State::Drifted);
        let (unknown, _) = tally(&view.comparison, axis, State::Insufficient);
        let rest = if unknown > 0 { format!(" ({unknown} with too few rows to say)") } else { String::new() };
        (all > 0).then(|| format!("{what}: {drifted} of {all} drifted{rest}."))
    };
    [
        of(Axis::OtherSite, "Same model in other cohorts"),
        of(Axis::OtherModel, "Other models in the same cohort"),
        of(Axis::Hardware, "Same model by kind of hardware"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a person can do next.
fn todo(view: &FeatureView, cohort: &Cohort) -> Vec<String> {
    let mut out: Vec<&str> = Vec::new();
    match view.row.state {
        State::Drifted => {
            let odd = view.devices.iter().filter(|d| d.state == State::Drifted).count();
            if odd > 0 {
                out.push("Look at the devices below that stand out against the rest: a sensor, a mount or a configuration.");
            }
            if cohort.is_fleet() {
                out.push(
                    "Choose a cohort on the page before: a drift of one place is diluted in the whole fleet.",
                );
            }
            let (other_models, _) = tally(&view.comparison, Axis::OtherModel, State::Drifted);
            if other_models > 0 {
                out.push("Other models drift in the same place: look at the place before the model.");
            }
            out.push(
                "Check whether the model is still right: label some of these rows, or see the Quality tab.",
            );
            out.push("If the change is to stay, take these data into the next training and publish a bundle with a new reference.");
        }
        State::Undecided | State::Insufficient => {
            out.push("Wait for more rows, or look at a longer span.");
            if view.row.n_reference < view.row.rows_needed {
                out.push("The reference itself is too small: build the bundle with more reference rows.");
            }
        }
        State::Stable => out.push("Nothing. It is looked at again on schedule."),
    }
    out.into_iter().map(str::to_owned).collect()
}
