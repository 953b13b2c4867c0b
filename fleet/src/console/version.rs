//! One version of a model: what its manifest says, what the check measured, how it does on devices.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use longshore_bundle::Manifest;
use longshore_stats::Counters;
use longshore_wire::v1::{Inventory, TrialReport};
use serde_json::Value;

use super::badge::Badge;
use super::bar::{Column, Columns};
use super::devices::hardware;
use super::error::PageError;
use super::figures::{bytes, count, micros, number, share};
use super::shell::{Ctx, Section, Shell, html};
use super::time::{When, iso, span};
use crate::store::views::{BundleLive, HourRow, TrialRow, VersionRow};

/// Hours shown and merged for latency.
pub(super) const HOURS: u32 = 48;
/// Trial reports that are looked at, the newest ones.
pub(super) const TRIALS: u32 = 1_000;

struct Fact {
    name: &'static str,
    value: String,
}

struct FileLine {
    path: String,
    role: &'static str,
    length: String,
    sha256: String,
}

/// Trials on one kind of hardware.
pub(super) struct Hardware {
    pub(super) name: String,
    pub(super) devices: String,
    pub(super) failed: u64,
    pub(super) deviation: String,
    pub(super) p50: String,
    pub(super) p99: String,
    pub(super) memory: String,
}

pub(super) struct Live {
    devices: String,
    rows: String,
    errors: String,
    error_share: String,
    labelled: String,
    accuracy: String,
    pub(super) p50: String,
    pub(super) p99: String,
}

/// Something measured, by its author or by the check.
struct Finding {
    name: String,
    value: String,
}

#[derive(Template)]
#[template(path = "version.html")]
struct Page {
    shell: Shell,
    model: String,
    version: String,
    state: Badge,
    stored_state: String,
    state_reason: String,
    aliases: Vec<String>,
    published: When,
    approved: Option<When>,
    signed_by: Vec<String>,
    release: Option<i64>,
    bundle: String,
    size: String,
    facts: Vec<Fact>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    files: Vec<FileLine>,
    metrics: Vec<Finding>,
    manifest: String,
    findings: Vec<Finding>,
    hardware: Vec<Hardware>,
    live: Live,
    hours: Columns,
    hours_words: String,
}

/// `GET /models/{model}/{version}`.
pub(super) async fn page(
    ctx: Ctx,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let Some(row) = store.view_version(&model, &version).await? else {
        return Err(PageError::missing("version", format!("{model} {version}"), "/models"));
    };
    let manifest: Option<Manifest> = serde_json::from_str(&row.manifest).ok();
    let live = store.view_live(&model).await?;
    let live = live.into_iter().find(|l| l.bundle == row.bundle).unwrap_or_default();
    let hours = store.view_hours(&model, &row.bundle, HOURS).await?;
    let role = format!("models/{model}");
    let metadata = store.view_metadata().await?;
    let signed_by = metadata.into_iter().find(|m| m.role == role).map(|m| m.keyids).unwrap_or_default();
    let aliases = store.view_aliases(&model).await?;
    let trials = store.view_trials(&row.bundle, TRIALS).await?;
    let parent = match manifest.as_ref().and_then(|m| m.parent) {
        None => None,
        Some(digest) => Some(match store.view_version_of_bundle(&digest.to_hex()).await? {
            Some((model, version)) => format!("{model} {version}"),
            None => format!("{digest} (not in this catalogue)", digest = digest.to_hex()),
        }),
    };
    let page = Page {
        shell: ctx.shell(Section::Models, format!("{model} {version}")).await?.listening("model", &model),
        state: Badge::state(&row.state),
        stored_state: row.state.clone(),
        state_reason: super::error::sentence(&row.state_reason),
        aliases: aliases.into_iter().filter(|a| a.version == version).map(|a| a.alias).collect(),
        published: ctx.when(row.created),
        approved: row.approved_at.map(|at| ctx.when(at)),
        signed_by: if row.approved_at.is_some() { signed_by } else { Vec::new() },
        release: row.release_counter,
        bundle: row.bundle.clone(),
        size: bytes(u64::try_from(row.bytes).unwrap_or(0)),
        facts: manifest.as_ref().map_or_else(Vec::new, |m| facts(m, parent)),
        inputs: manifest
            .as_ref()
            .map_or_else(Vec::new, |m| m.inputs.iter().map(ToString::to_string).collect()),
        outputs: manifest
            .as_ref()
            .map_or_else(Vec::new, |m| m.outputs.iter().map(ToString::to_string).collect()),
        files: manifest.as_ref().map_or_else(Vec::new, files),
        metrics: manifest.as_ref().map_or_else(Vec::new, |m| {
            m.lineage
                .metrics
                .iter()
                .map(|(name, value)| Finding { name: name.clone(), value: number(*value) })
                .collect()
        }),
        manifest: pretty(&row.manifest),
        findings: findings(&row),
        hardware: by_hardware(trials),
        live: live_figures(&live, &hours),
        hours_words: hours_words(&hours),
        hours: columns(&hours),
        model,
        version,
    };
    html(&page)
}

fn facts(m: &Manifest, parent: Option<String>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |name, value: String| {
        if !value.is_empty() {
            facts.push(Fact { name, value });
        }
    };
    add("Intended use", m.policy.intended_use.clone().unwrap_or_default());
    add("Out of scope", m.policy.out_of_scope.clone().unwrap_or_default());
    add("Built", m.created.clone());
    add("Replaces", parent.unwrap_or_else(|| "nothing: the first of its line".into()));
    if let Some(batch) = &m.batch {
        add("Rows a request", format!("at most {}, along axis {}", batch.max, batch.axis));
    }
    add("Runs on", m.requires.targets.join(", "));
    add("Needs agent", m.requires.min_agent.as_ref().map_or_else(String::new, |v| format!("{v} or newer")));
    add("Memory limit", m.requires.max_rss_mb.map_or_else(String::new, |n| format!("{n} MB")));
    add("Latency limit", m.requires.max_p99_ms.map_or_else(String::new, |n| format!("p99 {n} ms")));
    add("Classes", m.monitor.classes.join(", "));
    add("Window", span(u64::from(m.monitor.window_s) * 1000));
    for data in &m.lineage.dataset {
        let licence = data.license.as_ref().map_or_else(String::new, |l| format!(" ({l})"));
        let uri = data.uri.as_ref().map_or_else(String::new, |u| format!(", {u}"));
        add("Trained on", format!("{}{licence}{uri}", data.name));
    }
    if let Some(code) = &m.lineage.code {
        let commit = code.commit.as_ref().map_or_else(String::new, |c| format!(" at {c}"));
        add("Code", format!("{}{commit}", code.repo));
    }
    if let Some(run) = &m.lineage.run {
        add("Training run", format!("{} {}", run.tool, run.id));
    }
    facts
}

fn files(m: &Manifest) -> Vec<FileLine> {
    m.files
        .iter()
        .map(|f| FileLine {
            path: f.path.to_string(),
            role: f.role.name(),
            length: bytes(f.length),
            sha256: f.sha256.to_hex(),
        })
        .collect()
}

/// Indented, for people; what does not parse is shown as it is.
fn pretty(manifest: &str) -> String {
    serde_json::from_str::<Value>(manifest)
        .and_then(|v| serde_json::to_string_pretty(&v))
        .unwrap_or_else(|_| manifest.to_owned())
}

/// What the check of the upload wrote down, whatever it wrote.
fn findings(row: &VersionRow) -> Vec<Finding> {
    fn walk(prefix: &str, value: &Value, out: &mut Vec<Finding>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let name = if prefix.is_empty() { key.clone() } else { format!("{prefix} {key}") };
                    walk(&name, value, out);
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    walk(&format!("{prefix} {}", i + 1), item, out);
                }
            }
            Value::Null => {}
            other => out.push(Finding {
                name: prefix.replace('_', " "),
                value: match other {
                    Value::String(s) => s.clone(),
                    Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(0.0)),
                    Value::Number(n) => n.as_u64().map_or_else(|| n.to_string(), count),
                    other => other.to_string(),
                },
            }),
        }
    }
    let mut out = Vec::new();
    if let Some(text) = &row.check_result {
        match serde_json::from_str(text) {
            Ok(value) => walk("", &value, &mut out),
            Err(_) => out.push(Finding { name: "result".into(), value: text.clone() }),
        }
    }
    out
}

pub(super) fn by_hardware(trials: Vec<TrialRow>) -> Vec<Hardware> {
    #[derive(Default)]
    struct Sum {
        devices: u64,
        failed: u64,
        deviation: f64,
        p50_us: Vec<u32>,
        p99_us: u32,
        rss_kib: u32,
    }
    let mut groups: BTreeMap<String, Sum> = BTreeMap::new();
    for row in trials {
        let Ok(trial) = serde_json::from_str::<TrialReport>(&row.trial) else {
            continue;
        };
        let name = row
            .inventory
            .as_deref()
            .and_then(|text| serde_json::from_str::<Inventory>(text).ok())
            .map_or_else(|| "unknown hardware".into(), |i| hardware(&i));
        let sum = groups.entry(name).or_default();
        sum.devices += 1;
        sum.failed += u64::from(matches!(row.state.as_str(), "failed" | "rejected"));
        sum.deviation = trial.deviations.iter().map(|d| d.max_abs).fold(sum.deviation, f64::max);
        sum.p50_us.push(trial.p50_us);
        sum.p99_us = sum.p99_us.max(trial.p99_us);
        sum.rss_kib = sum.rss_kib.max(trial.rss_kib);
    }
    groups
        .into_iter()
        .map(|(name, mut sum)| {
            sum.p50_us.sort_unstable();
            let median = sum.p50_us.get(sum.p50_us.len() / 2).copied().unwrap_or(0);
            Hardware {
                name,
                devices: count(sum.devices),
                failed: sum.failed,
                deviation: number(sum.deviation),
                p50: micros(f64::from(median)),
                p99: micros(f64::from(sum.p99_us)),
                memory: bytes(u64::from(sum.rss_kib) * 1024),
            }
        })
        .collect()
}

pub(super) fn live_figures(live: &BundleLive, hours: &[HourRow]) -> Live {
    let mut merged = Counters::default();
    for hour in hours {
        merged.latency_us.merge(&hour.counters.latency_us);
    }
    let quantile = |q| merged.latency_us.quantile(q).map_or_else(|| "–".into(), micros);
    Live {
        devices: count(live.devices),
        rows: count(live.rows),
        errors: count(live.errors),
        error_share: share(live.errors, live.rows + live.errors),
        labelled: count(live.labelled),
        accuracy: share(live.correct, live.labelled),
        p50: quantile(0.5),
        p99: quantile(0.99),
    }
}

fn columns(hours: &[HourRow]) -> Columns {
    Columns {
        label: hours_words(hours),
        columns: hours
            .iter()
            .map(|h| Column {
                value: h.counters.rows,
                title: format!(
                    "{}: {} rows, {} failed{}",
                    iso(longshore_trust::UnixMs(h.hour)),
                    count(h.counters.rows),
                    count(h.counters.errors),
                    match h.counters.labelled() {
                        0 => String::new(),
                        n => format!(", right {}", share(h.counters.correct(), n)),
                    }
                ),
            })
            .collect(),
    }
}

fn hours_words(hours: &[HourRow]) -> String {
    match (hours.first(), hours.last()) {
        (Some(first), Some(last)) => format!(
            "Rows an hour, {} hours with data from {} to {}",
            hours.len(),
            iso(longshore_trust::UnixMs(first.hour)),
            iso(longshore_trust::UnixMs(last.hour))
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_wire::v1::Deviation;

    fn trial(device: &str, p50_us: u32, max_abs: f64, state: &str) -> TrialRow {
        let trial = TrialReport {
            load_ms: 12,
            golden_rows: 8,
            deviations: vec![Deviation { output: "scores".into(), max_abs, max_rel: 0.0 }],
            p50_us,
            p99_us: p50_us * 2,
            rss_kib: 2048,
        };
        TrialRow {
            device: device.into(),
            trial: serde_json::to_string(&trial).unwrap(),
            state: state.into(),
            inventory: None,
        }
    }

    #[test]
    fn trials_are_grouped_by_hardware_and_show_the_worst() {
        let groups = by_hardware(vec![
            trial("a", 100, 0.001, "committed"),
            trial("b", 300, 0.25, "failed"),
            trial("c", 200, 0.0, "committed"),
        ]);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].devices, "3");
        assert_eq!(groups[0].failed, 1);
        assert_eq!(groups[0].deviation, "0.25");
        assert_eq!(groups[0].p50, "200 µs");
        assert_eq!(groups[0].p99, "600 µs");
    }

    #[test]
    fn a_check_result_of_any_shape_is_shown() {
        let row = VersionRow {
            model: "m".into(),
            version: "1.0.0".into(),
            bundle: String::new(),
            manifest: String::new(),
            bytes: 0,
            state: "refused".into(),
            state_reason: String::new(),
            check_result: Some(
                r#"{"reason":{"code":"x","detail":"why"},"outputs":[{"max_abs":0.5}]}"#.into(),
            ),
            release_counter: None,
            approved_at: None,
            created: 0,
            changed: 0,
        };
        let shown: Vec<String> = findings(&row).iter().map(|f| format!("{}={}", f.name, f.value)).collect();
        assert_eq!(shown, ["outputs 1 max abs=0.5", "reason code=x", "reason detail=why"]);
        let odd = VersionRow { check_result: Some("not json".into()), ..row };
        assert_eq!(findings(&odd)[0].value, "not json");
    }
}
