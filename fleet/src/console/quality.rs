//! Quality and fairness of one version, for one cohort: what labels show, what scores allow to estimate, and between groups.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use longshore_fleet_core::monitor::{Cohort, Estimate, FairnessReport, Measured, QualityRow};
use serde::Deserialize;

use super::badge::{Badge, Tone};
use super::drift::{figure, share_of, words};
use super::error::PageError;
use super::figures::{count, micros, number, short};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{When, iso, span};

/// The address of both pages.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    cohort: Option<String>,
}

struct Choice {
    value: String,
    words: String,
    chosen: bool,
}

/// What both pages begin with.
struct Head {
    model: String,
    version: String,
    cohort: String,
    choices: Vec<Choice>,
    every: String,
    judged: Option<When>,
    from: String,
    to: String,
}

struct Found {
    head: Head,
    row: Option<QualityRow>,
}

async fn find(ctx: &Ctx, model: String, version: String, asked: &Asked) -> Result<Found, PageError> {
    let store = &ctx.app.store;
    let Some(row) = store.view_version(&model, &version).await? else {
        return Err(PageError::missing("version", format!("{model} {version}"), "/models"));
    };
    let cohort = asked.cohort.as_deref().and_then(|c| c.parse().ok()).unwrap_or(Cohort::Fleet);
    let all = store.quality_current(Some(&model), Some(&row.bundle), None).await?;
    let choices = all
        .iter()
        .map(|q| Choice { value: q.cohort.to_string(), words: words(&q.cohort), chosen: q.cohort == cohort })
        .collect();
    let found = all.into_iter().find(|q| q.cohort == cohort);
    let at = found.as_ref().map(|q| ctx.when(i64::try_from(q.at.0).unwrap_or(i64::MAX)));
    let head = Head {
        cohort: words(&cohort),
        choices,
        every: span(ctx.app.config.monitor.every_s * 1000),
        judged: at,
        from: found.as_ref().map_or_else(String::new, |q| iso(q.span.from)),
        to: found.as_ref().map_or_else(String::new, |q| iso(q.span.to)),
        model,
        version,
    };
    Ok(Found { head, row: found })
}

/// One figure: what it is, its value and interval, the rows it rests on.
struct Line {
    name: &'static str,
    value: String,
    n: String,
    about: &'static str,
}

struct ClassLine {
    name: String,
    precision: String,
    recall: String,
    f1: String,
    n: String,
}

struct Row {
    name: String,
    cells: Vec<String>,
}

#[derive(Template)]
#[template(path = "quality.html")]
struct Quality {
    shell: Shell,
    head: Head,
    has_rows: bool,
    badge: Badge,
    accuracy: String,
    labelled: String,
    estimate: String,
    estimate_n: String,
    refused: String,
    assumption: String,
    devices: String,
    silent: u64,
    lines: Vec<Line>,
    classes: Vec<ClassLine>,
    columns: Vec<String>,
    confusion: Vec<Row>,
}

fn line(
    name: &'static str,
    m: Option<Measured>,
    shown: fn(Option<Measured>) -> String,
    about: &'static str,
) -> Option<Line> {
    m.map(|m| Line { name, value: shown(Some(m)), n: count(m.n), about })
}

fn latency(m: Option<Measured>) -> String {
    m.map_or_else(|| "–".into(), |m| format!("{} ({} to {})", micros(m.value), micros(m.lo), micros(m.hi)))
}

fn lines(q: &QualityRow) -> Vec<Line> {
    let (c, r) = (q.classification.as_ref(), q.regression.as_ref());
    [
        line("Failed rows", q.error_rate, share_of, "refused for their input or failed in the model"),
        line("Answers of low margin", q.low_margin, share_of, "the best score is hardly above the second"),
        line("Rows out of range", q.out_of_range, share_of, "a feature outside what the reference has"),
        line("Latency p50", q.latency.map(|l| l.p50), latency, "half of the requests are faster"),
        line("Latency p99", q.latency.map(|l| l.p99), latency, "99 of 100 requests are faster"),
        line(
            "Calibration error (ECE)",
            c.and_then(|c| c.ece),
            figure,
            "score of the answer against being right; held by counts",
        ),
        line("Brier score", c.and_then(|c| c.brier), figure, "of the same; held by counts"),
        line("AUC", c.and_then(|c| c.auc), figure, "do right answers score higher than wrong ones?"),
        line(
            "Mean absolute error",
            r.and_then(|r| r.mae),
            figure,
            "in the unit of the output; held by counts",
        ),
        line(
            "Root mean squared error",
            r.and_then(|r| r.rmse),
            figure,
            "in the unit of the output; held by counts",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `GET /models/{model}/{version}/quality`.
pub(super) async fn quality(
    ctx: Ctx,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let Found { head, row } = find(&ctx, model, version, &asked).await?;
    let shell = ctx.shell(Section::Models, format!("Quality of {} {}", head.model, head.version)).await?;
    let shell = shell.listening("judged", &head.model);
    let q = row.as_ref();
    let (estimate, estimate_n, refused, assumption) = match q.map(|q| &q.estimated) {
        None => (String::new(), String::new(), String::new(), String::new()),
        Some(Estimate::Estimable { accuracy, assumption }) => {
            (share_of(Some(*accuracy)), count(accuracy.n), String::new(), assumption.clone())
        }
        Some(Estimate::NotEstimable { reason }) => {
            (String::new(), String::new(), reason.clone(), String::new())
        }
    };
    let badge = match q {
        Some(q) if q.accuracy.is_some() => Badge::new(Tone::Ok, "measured with labels"),
        Some(_) if refused.is_empty() => Badge::new(Tone::Warn, "estimated without labels"),
        _ => Badge::new(Tone::Idle, "not known"),
    };
    let classes = q.and_then(|q| q.classification.as_ref());
    let of_class = |c: &longshore_fleet_core::monitor::quality::OfClass| ClassLine {
        name: c.class.clone(),
        precision: share_of(c.precision),
        recall: share_of(c.recall),
        f1: c.f1.map_or_else(|| "–".into(), number),
        n: count(c.recall.map_or(0, |r| r.n)),
    };
    let names: Vec<String> =
        classes.map_or_else(Vec::new, |c| c.classes.iter().map(|c| c.class.clone()).collect());
    let page = Quality {
        shell,
        has_rows: q.is_some_and(|q| q.requests > 0 || q.rows > 0 || q.labelled > 0),
        badge,
        accuracy: share_of(q.and_then(|q| q.accuracy)),
        labelled: count(q.map_or(0, |q| q.labelled)),
        estimate,
        estimate_n,
        refused,
        assumption,
        devices: count(q.map_or(0, |q| q.devices)),
        silent: q.map_or(0, |q| q.silent_devices),
        lines: q.map_or_else(Vec::new, lines),
        classes: classes.map_or_else(Vec::new, |c| c.classes.iter().map(of_class).collect()),
        confusion: classes.map_or_else(Vec::new, |c| {
            let row = |(name, counts): (&String, &Vec<u64>)| Row {
                name: name.clone(),
                cells: counts.iter().map(|n| count(*n)).collect(),
            };
            names.iter().zip(&c.confusion).map(row).collect()
        }),
        columns: names,
        head,
    };
    html(&page)
}

struct MeasureLine {
    name: String,
    value: String,
    groups: usize,
    n: String,
    about: &'static str,
}

struct GroupLine {
    name: String,
    rows: String,
    selected: String,
    labelled: String,
    true_positive: String,
    false_positive: String,
}

#[derive(Template)]
#[template(path = "fairness.html")]
struct Fairness {
    shell: Shell,
    head: Head,
    bundle: String,
    declared: bool,
    attribute: String,
    favourable: String,
    measures: Vec<MeasureLine>,
    groups: Vec<GroupLine>,
    rows: String,
    undeclared: String,
    held_rows: String,
    held_labels: String,
}

fn about(measure: &str) -> &'static str {
    match measure {
        "parity_difference" => "largest difference of the shares that get the favourable answer; 0 is equal",
        "parity_ratio" => {
            "smallest share over largest (disparate impact); 1 is equal, 0.8 the four-fifths rule"
        }
        "odds_difference" => "largest difference of true or false positive rates; 0 is equal",
        "odds_ratio" => "smallest ratio of true or false positive rates; 1 is equal",
        "opportunity_difference" => "largest difference of true positive rates; 0 is equal",
        _ => "",
    }
}

/// `GET /models/{model}/{version}/fairness`.
pub(super) async fn fairness(
    ctx: Ctx,
    Path((model, version)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let Found { head, row } = find(&ctx, model, version, &asked).await?;
    let shell = ctx.shell(Section::Models, format!("Fairness of {} {}", head.model, head.version)).await?;
    let shell = shell.listening("judged", &head.model);
    let bundle = row.as_ref().map_or_else(String::new, |q| short(&q.bundle.to_hex()));
    let report: Option<FairnessReport> = row.and_then(|q| q.fairness);
    let r = report.as_ref();
    let page = Fairness {
        shell,
        bundle,
        declared: r.is_some(),
        attribute: r.map_or_else(String::new, |r| r.attribute.clone()),
        favourable: r.and_then(|r| r.favourable.clone()).unwrap_or_default(),
        measures: r.map_or_else(Vec::new, |r| {
            r.measures
                .iter()
                .map(|m| MeasureLine {
                    name: m.name.replace('_', " "),
                    value: figure(Some(m.measured)),
                    groups: m.groups,
                    n: count(m.measured.n),
                    about: about(&m.name),
                })
                .collect()
        }),
        groups: r.map_or_else(Vec::new, |r| {
            r.groups
                .iter()
                .map(|g| GroupLine {
                    name: g.group.clone(),
                    rows: count(g.rows),
                    selected: share_of(g.selected),
                    labelled: count(g.labelled),
                    true_positive: share_of(g.true_positive),
                    false_positive: share_of(g.false_positive),
                })
                .collect()
        }),
        rows: count(r.map_or(0, |r| r.rows)),
        undeclared: count(r.map_or(0, |r| r.undeclared)),
        held_rows: count(r.map_or(0, |r| r.held_rows)),
        held_labels: count(r.map_or(0, |r| r.held_labels)),
        head,
    };
    html(&page)
}

/// Address of a tab.
pub(super) fn tab(model: &str, version: &str, name: &str) -> String {
    let base = format!("/models/{}/{}", encode(model), encode(version));
    if name.is_empty() { base } else { format!("{base}/{name}") }
}
