//! Two versions of a model side by side: what they need, how good they are, whether they drift, how they answer on which hardware.
//!
//! What always holds: a figure that is missing on one side is a dash there and no difference; every share has its rows and its
//! interval; the difference of two shares has one as well, and says that rows of one device are not independent.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use longshore_bundle::Manifest;
use longshore_fleet_core::monitor::{Cohort, Estimate, QualityRow};
use longshore_stats::quality::proportion::{Share, newcombe};
use serde::Deserialize;

use super::badge::Badge;
use super::drift::{States, effect, share_of};
use super::error::PageError;
use super::figures::{bytes, count, number, percent};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::version::{HOURS, Hardware, Live, TRIALS, by_hardware, live_figures};
use crate::store::views::{BundleLive, VersionRow};

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    a: String,
    #[serde(default)]
    b: String,
}

struct Choice {
    version: String,
    state: String,
    is_a: bool,
    is_b: bool,
}

/// One thing both have, or do not.
struct Line {
    name: String,
    a: String,
    b: String,
    /// What lies between them.
    between: String,
    differs: bool,
}

impl Line {
    fn new(name: impl Into<String>, a: String, b: String) -> Self {
        let differs = a != b;
        let between = match (differs, a.as_str()) {
            (true, _) => "differs",
            (false, "–") => "neither is known",
            (false, _) => "the same",
        };
        Self { name: name.into(), a, b, between: between.into(), differs }
    }
    fn between(mut self, text: String) -> Self {
        if !text.is_empty() {
            self.between = text;
        }
        self
    }
}

/// Lines about one matter.
struct Table {
    id: &'static str,
    title: &'static str,
    hint: String,
    lines: Vec<Line>,
}

/// One of them on one kind of hardware.
struct Tried {
    hardware: String,
    version: String,
    found: Option<Hardware>,
}

struct Head {
    version: String,
    link: String,
    state: Badge,
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Page {
    shell: Shell,
    model: String,
    choices: Vec<Choice>,
    sides: Option<(Head, Head)>,
    tables: Vec<Table>,
    tried: Vec<Tried>,
    /// Why they were deprecated or retired.
    whys: Vec<String>,
}

/// All that is known of one of them.
struct Side {
    row: VersionRow,
    manifest: Option<Manifest>,
    live: BundleLive,
    figures: Live,
    quality: Option<QualityRow>,
    drift: States,
    worst: String,
    hardware: Vec<Hardware>,
}

async fn side(ctx: &Ctx, model: &str, version: &str) -> Result<Option<Side>, PageError> {
    let store = &ctx.app.store;
    let Some(row) = store.view_version(model, version).await? else { return Ok(None) };
    let live = store.view_live(model).await?;
    let live = live.into_iter().find(|l| l.bundle == row.bundle).unwrap_or_default();
    let hours = store.view_hours(model, &row.bundle, HOURS).await?;
    let quality = store.quality_current(Some(model), Some(&row.bundle), Some(&Cohort::Fleet)).await?.pop();
    let mut drift = States::default();
    for c in store.drift_counts(Some(&row.bundle)).await?.iter().filter(|c| c.cohort.is_fleet()) {
        drift.add(c.state, c.features);
    }
    let worst = store.drift_worst(model, &row.bundle).await?;
    let worst = worst.map_or_else(|| "–".into(), |w| format!("{}: {}", w.feature, effect(w.effect)));
    Ok(Some(Side {
        manifest: serde_json::from_str(&row.manifest).ok(),
        figures: live_figures(&live, &hours),
        hardware: by_hardware(store.view_trials(&row.bundle, TRIALS).await?),
        row,
        live,
        quality,
        drift,
        worst,
    }))
}

/// `GET /models/{model}/compare`.
pub(super) async fn page(
    ctx: Ctx,
    Path(model): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    if !store.view_model_exists(&model).await? {
        return Err(PageError::missing("model", model, "/models"));
    }
    let versions = store.view_versions(&model).await?;
    // Without a choice: the two newest releases.
    let newest: Vec<&VersionRow> = versions.iter().filter(|v| v.release_counter.is_some()).take(2).collect();
    let or = |asked: &str, n: usize| match asked {
        "" => newest.get(n).map(|v| v.version.clone()).unwrap_or_default(),
        given => given.to_owned(),
    };
    let (a, b) = (or(&asked.a, 1), or(&asked.b, 0));
    let choices = versions
        .iter()
        .map(|v| Choice {
            is_a: v.version == a,
            is_b: v.version == b,
            version: v.version.clone(),
            state: v.state.clone(),
        })
        .collect();
    let shell = ctx.shell(Section::Models, format!("Compare {model}")).await?.listening("judged", &model);
    let none = Page {
        shell,
        choices,
        sides: None,
        tables: Vec::new(),
        tried: Vec::new(),
        whys: Vec::new(),
        model: model.clone(),
    };
    if a.is_empty() || b.is_empty() {
        return html(&none);
    }
    let missing = |v: &str| PageError::missing("version", format!("{model} {v}"), "/models");
    let left = side(&ctx, &model, &a).await?.ok_or_else(|| missing(&a))?;
    let right = side(&ctx, &model, &b).await?.ok_or_else(|| missing(&b))?;
    html(&Page {
        sides: Some((head(&left), head(&right))),
        tables: tables(&left, &right),
        whys: [&left, &right].into_iter().filter_map(why).collect(),
        tried: tried(left, right),
        ..none
    })
}

fn head(side: &Side) -> Head {
    Head {
        version: side.row.version.clone(),
        link: format!("/models/{}/{}", encode(&side.row.model), encode(&side.row.version)),
        state: Badge::state(&side.row.state),
    }
}

fn tables(a: &Side, b: &Side) -> Vec<Table> {
    let table = |id, title, hint: &str, lines| Table { id, title, hint: hint.to_owned(), lines };
    let rows = "shares are of all rows ever counted, with 95 % intervals over rows; rows of one device are alike, so true \
                intervals are wider: a rollout's gates judge by devices";
    let mut all = vec![
        table("field", "In the field", rows, field(a, b)),
        table("needs", "What they are, and need", &same_files(a, b), needs(a, b)),
        table(
            "metrics",
            "What their authors measured",
            "as their manifests say, on their own data",
            metrics(a, b),
        ),
    ];
    all.retain(|t| !t.lines.is_empty());
    all
}

/// A share of all time, with its interval and rows.
fn share(hits: u64, n: u64) -> (String, Option<Share>) {
    match Share::of(hits, n) {
        None => ("–".into(), None),
        Some(s) => {
            let (lo, hi) = (percent(s.interval.lo), percent(s.interval.hi));
            (format!("{} ({lo} to {hi}), n {}", percent(s.value), count(n)), Some(s))
        }
    }
}

/// How much more the second has, in points.
fn points(a: Option<Share>, b: Option<Share>) -> String {
    let (Some(a), Some(b)) = (a, b) else { return String::new() };
    let d = newcombe(&b, &a);
    let p = |x: f64| format!("{:+.2}", x * 100.0);
    format!("{} points ({} to {})", p(b.value - a.value), p(d.lo), p(d.hi))
}

fn estimate(q: Option<&QualityRow>) -> String {
    match q.map(|q| &q.estimated) {
        None => "–".into(),
        Some(Estimate::Estimable { accuracy, .. }) => {
            format!("{}, n {}", share_of(Some(*accuracy)), count(accuracy.n))
        }
        Some(Estimate::NotEstimable { reason }) => format!("not estimable: {reason}"),
    }
}

fn field(a: &Side, b: &Side) -> Vec<Line> {
    let of = |s: &Side| {
        let l = &s.live;
        (share(l.errors, l.rows + l.errors), share(l.correct, l.labelled))
    };
    let ((failed_a, right_a), (failed_b, right_b)) = (of(a), of(b));
    let line = |name: &str, f: fn(&Side) -> String| Line::new(name, f(a), f(b));
    vec![
        line("Devices that run it now", |s| count(s.live.devices)),
        line("Devices that ever counted with it", |s| count(s.live.devices_ever)),
        line("Rows counted", |s| count(s.live.rows)),
        Line::new("Failed rows", failed_a.0, failed_b.0).between(points(failed_a.1, failed_b.1)),
        Line::new("Right, by labels", right_a.0, right_b.0).between(points(right_a.1, right_b.1)),
        line("Right, estimated without labels", |s| estimate(s.quality.as_ref())),
        line("Latency p50", |s| s.figures.p50.clone()),
        line("Latency p99", |s| s.figures.p99.clone()),
        line("Drift of features", |s| s.drift.words()),
        line("Largest drift", |s| s.worst.clone()),
    ]
}

fn needs(a: &Side, b: &Side) -> Vec<Line> {
    let line = |name: &str, f: fn(&Manifest) -> String| {
        let of = |s: &Side| match s.manifest.as_ref().map(f) {
            Some(text) if !text.is_empty() => text,
            _ => "–".into(),
        };
        Line::new(name, of(a), of(b))
    };
    let size = |s: &Side| u64::try_from(s.row.bytes).unwrap_or(0);
    let more = i64::try_from(size(b)).unwrap_or(0) - i64::try_from(size(a)).unwrap_or(0);
    let sign = if more < 0 { "−" } else { "+" };
    vec![
        Line::new("Size", bytes(size(a)), bytes(size(b))).between(if more == 0 {
            String::new()
        } else {
            format!("{sign}{}", bytes(more.unsigned_abs()))
        }),
        line("Runs on", |m| m.requires.targets.join(", ")),
        line("Needs agent", |m| {
            m.requires.min_agent.as_ref().map_or_else(String::new, |v| format!("{v} or newer"))
        }),
        line("Memory limit", |m| m.requires.max_rss_mb.map_or_else(String::new, |n| format!("{n} MB"))),
        line("Latency limit", |m| m.requires.max_p99_ms.map_or_else(String::new, |n| format!("p99 {n} ms"))),
        line("Features of the agent", |m| m.requires.features.join(", ")),
        line("Inputs", |m| m.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        line("Outputs", |m| m.outputs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        line("Rows a request", |m| m.batch.as_ref().map_or_else(String::new, |b| b.max.to_string())),
        line("Classes", |m| m.monitor.classes.join(", ")),
        line("Trained on", |m| {
            m.lineage.dataset.iter().map(|d| d.name.clone()).collect::<Vec<_>>().join(", ")
        }),
    ]
}

fn metrics(a: &Side, b: &Side) -> Vec<Line> {
    let of = |s: &Side| s.manifest.as_ref().map(|m| m.lineage.metrics.clone()).unwrap_or_default();
    let (left, right) = (of(a), of(b));
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let shown = |v: Option<&f64>| v.map_or_else(|| "–".into(), |v| number(*v));
    names
        .into_iter()
        .map(|name| {
            let (x, y) = (left.get(name), right.get(name));
            let between = match (x, y) {
                (Some(x), Some(y)) if x < y => format!("+{}", number(y - x)),
                (Some(x), Some(y)) if x > y => format!("−{}", number(x - y)),
                _ => String::new(),
            };
            Line::new(name.as_str(), shown(x), shown(y)).between(between)
        })
        .collect()
}

fn same_files(a: &Side, b: &Side) -> String {
    let of = |s: &Side| -> BTreeMap<String, String> {
        let files = s.manifest.as_ref().map(|m| m.files.as_slice()).unwrap_or_default();
        files.iter().map(|f| (f.path.to_string(), f.sha256.to_hex())).collect()
    };
    let (left, right) = (of(a), of(b));
    let same = left.iter().filter(|(path, sha)| right.get(*path) == Some(sha)).count();
    let all: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    format!("{same} of {} files are the same", all.len())
}

fn tried(a: Side, b: Side) -> Vec<Tried> {
    let names: BTreeSet<String> = a.hardware.iter().chain(&b.hardware).map(|h| h.name.clone()).collect();
    let of = |side: Side| -> (String, BTreeMap<String, Hardware>) {
        (side.row.version, side.hardware.into_iter().map(|h| (h.name.clone(), h)).collect())
    };
    let mut sides = [of(a), of(b)];
    let mut out = Vec::new();
    for name in names {
        for (version, known) in &mut sides {
            let found = known.remove(&name);
            out.push(Tried { hardware: name.clone(), version: version.clone(), found });
        }
    }
    out
}

fn why(side: &Side) -> Option<String> {
    let row = &side.row;
    (!row.state_reason.is_empty())
        .then(|| format!("{} is {}: {}", row.version, row.state, super::error::sentence(&row.state_reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_side_is_a_dash_and_no_difference() {
        assert_eq!(points(None, Share::of(1, 2)), "");
        let (text, s) = share(0, 0);
        assert_eq!((text.as_str(), s.is_none()), ("–", true));
    }
    #[test]
    fn a_difference_has_its_sign_and_interval() {
        let (a, b) = (Share::of(900, 1000), Share::of(850, 1000));
        let text = points(a, b);
        assert!(text.starts_with("-5.00 points (-7.") && text.ends_with(')'), "{text}");
        assert!(points(a, a).starts_with("+0.00 points"), "{}", points(a, a));
    }
}
