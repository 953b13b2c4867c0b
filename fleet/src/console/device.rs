//! One device: what it is, what it runs and who approved that, what happened to it.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use longshore_fleet_core::rollout::{DeviceState, RolloutState};
use longshore_wire::v1::{Health, TrialReport};
use serde::Deserialize;
use serde_json::Value;

use super::badge::{Badge, Tone};
use super::devices::{condition, hardware, inventory, labels};
use super::error::PageError;
use super::figures::{bytes, count, micros, number, share, short, sum};
use super::rollout_device;
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{Ago, When, span};
use crate::store::views::{
    BundleTotal, DeviceModelRow, DeviceRow, Happening, Metadata, Moment, RolloutOfDevice,
};

/// Moments on one page of the timeline.
const PAGE: u32 = 40;

/// Rollouts that are listed.
const ROLLOUTS: u32 = 10;

/// The address of the page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    before: Option<u64>,
}

/// A name and its value.
struct Fact {
    name: &'static str,
    value: String,
}

struct Runs {
    model: String,
    version: String,
    link: Option<String>,
    digest: String,
    state: Badge,
    wanted: Option<String>,
    approved: String,
    signed_by: Vec<String>,
    journal: String,
}

struct InRollout {
    what: String,
    link: String,
    closely: String,
    rollout_state: Badge,
    wave: i64,
    state: Badge,
    code: String,
    means: String,
    since: Ago,
}

struct Total {
    model: String,
    version: String,
    rows: String,
    errors: String,
    accuracy: String,
    labelled: String,
    p50: String,
    p99: String,
}

struct Line {
    when: When,
    badge: Badge,
    text: String,
    more: Vec<String>,
    link: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "device.html")]
struct Page {
    shell: Shell,
    id: String,
    state: Badge,
    revoked: bool,
    quarantine: Option<String>,
    failures: i64,
    seen: Option<When>,
    enrolled: When,
    labels: Vec<String>,
    runs: Vec<Runs>,
    rollouts: Vec<InRollout>,
    totals: Vec<Total>,
    facts: Vec<Fact>,
    health: Vec<Fact>,
    timeline: Vec<Line>,
    older: Option<String>,
    paged: bool,
}

/// `GET /devices/{id}`.
pub(super) async fn page(
    ctx: Ctx,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let Some(device) = store.view_device(&id).await? else {
        return Err(PageError::missing("device", id, "/devices"));
    };
    let metadata = store.view_metadata().await?;
    let models = store.view_device_models(&[&id]).await?;
    let rollouts = store.view_rollouts_of_device(&id, ROLLOUTS).await?;
    let totals = store.view_device_totals(&id).await?;
    let moments = store.view_timeline(&id, asked.before.unwrap_or(u64::MAX), PAGE).await?;
    let older = (moments.len() == PAGE as usize)
        .then(|| moments.last())
        .flatten()
        .map(|m| format!("/devices/{}?before={}", encode(&id), m.time));
    let page = Page {
        shell: ctx.shell(Section::Devices, &id).await?.listening("device", &id),
        state: condition(&ctx, &device),
        revoked: device.revoked_at.is_some(),
        quarantine: device.quarantine_reason.as_deref().map(super::error::sentence),
        failures: device.failures,
        seen: device.last_seen.map(|at| ctx.when(at)),
        enrolled: ctx.when(device.enrolled_at),
        labels: labels(&device),
        runs: models.iter().map(|m| runs(m, &metadata)).collect(),
        rollouts: rollouts.into_iter().map(|r| in_rollout(&ctx, &id, r)).collect(),
        totals: totals.iter().map(total).collect(),
        facts: facts(&device),
        health: health(&device),
        timeline: moments.iter().map(|m| line(&ctx, m)).collect(),
        older,
        paged: asked.before.is_some(),
        id,
    };
    html(&page)
}

fn in_rollout(ctx: &Ctx, device: &str, r: RolloutOfDevice) -> InRollout {
    let state = r.rollout_state.parse::<RolloutState>();
    let settled = r.state.parse::<DeviceState>().is_ok_and(DeviceState::is_terminal);
    let means = match state {
        Ok(s) if s.is_active() => format!(
            "occupies it: no other rollout of {} can begin here before this one ends{}",
            r.model,
            if r.reason.is_empty() { String::new() } else { format!(" ({})", r.reason) }
        ),
        Ok(s) if !s.is_terminal() => "not begun: it occupies nothing yet".into(),
        _ if settled => "over".into(),
        _ => "over; it had not ended here".into(),
    };
    InRollout {
        what: format!("{} {}", r.model, r.version),
        link: format!("/rollouts/{}", encode(&r.rollout)),
        closely: rollout_device::address(&r.rollout, device),
        rollout_state: Badge::state(&r.rollout_state),
        wave: r.wave,
        state: Badge::state(&r.state),
        code: r.code,
        means,
        since: ctx.when(r.changed).brief(),
    }
}

fn runs(row: &DeviceModelRow, metadata: &[Metadata]) -> Runs {
    let role = format!("models/{}", row.model);
    let signed_by = if row.approved_at.is_some() {
        metadata
            .iter()
            .find(|m| m.role == role)
            .map(|m| m.keyids.iter().map(|k| short(k)).collect())
            .unwrap_or_default()
    } else {
        Vec::new()
    };
    let wanted = match (&row.wanted, &row.active) {
        (Some(wanted), active) if Some(wanted) != active.as_ref() => {
            Some(if row.wanted_version.is_empty() { short(wanted) } else { row.wanted_version.clone() })
        }
        _ => None,
    };
    let approved = match (row.release_counter, row.approved_at) {
        (Some(counter), Some(at)) => format!(
            "release {counter}, {}",
            super::time::iso(longshore_trust::UnixMs(u64::try_from(at).unwrap_or(0)))
        ),
        _ if row.active.is_none() => String::new(),
        _ => "not in this catalogue".into(),
    };
    Runs {
        model: row.model.clone(),
        link: (!row.version.is_empty())
            .then(|| format!("/models/{}/{}", encode(&row.model), encode(&row.version))),
        version: if row.version.is_empty() { "nothing yet".into() } else { row.version.clone() },
        digest: row.active.as_deref().map(short).unwrap_or_default(),
        state: Badge::state(&row.state),
        wanted,
        approved,
        signed_by,
        journal: sum(row.rows_journal),
    }
}

fn total(total: &BundleTotal) -> Total {
    let c = &total.counters;
    let quantile = |q| c.latency_us.quantile(q).map_or_else(|| "–".into(), micros);
    Total {
        model: total.model.clone(),
        version: if total.version.is_empty() { short(&total.bundle) } else { total.version.clone() },
        rows: count(c.rows),
        errors: count(c.errors),
        accuracy: share(c.correct(), c.labelled()),
        labelled: count(c.labelled()),
        p50: quantile(0.5),
        p99: quantile(0.99),
    }
}

fn facts(device: &DeviceRow) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |name, value: String| {
        if !value.is_empty() {
            facts.push(Fact { name, value });
        }
    };
    add("Serial number", device.serial.clone());
    if let Some(i) = inventory(device) {
        add("Hardware", hardware(&i));
        add("Processor", format!("{} ({} cores)", i.cpu, i.cores));
        add("Memory", bytes(i.memory_kib.saturating_mul(1024)));
        add("Disk", bytes(i.disk_kib.saturating_mul(1024)));
        add("System", format!("{} {}, kernel {}", i.os, i.os_version, i.kernel));
        add("Agent", i.agent);
        add("Engine sandbox", i.sandbox.join(", "));
        add("Features", i.features.join(", "));
    }
    let versions: BTreeMap<String, u64> = serde_json::from_str(&device.tuf_versions).unwrap_or_default();
    let versions: Vec<String> = versions.iter().map(|(role, v)| format!("{role} {v}")).collect();
    add("Trusts metadata", versions.join(", "));
    add("Last assignment", device.assignment_version.to_string());
    add("Stream", device.stream.clone());
    facts
}

fn health(device: &DeviceRow) -> Vec<Fact> {
    let health: Option<Health> = device.health.as_deref().and_then(|h| serde_json::from_str(h).ok());
    let Some(h) = health else { return Vec::new() };
    let mut facts = vec![
        Fact { name: "Up for", value: span(h.uptime_s.saturating_mul(1000)) },
        Fact { name: "Load", value: format!("{:.2}", f64::from(h.load1_centi) / 100.0) },
        Fact { name: "Memory free", value: bytes(h.memory_free_kib.saturating_mul(1024)) },
        Fact { name: "Disk free", value: bytes(h.disk_free_kib.saturating_mul(1024)) },
        Fact { name: "Agent's memory", value: bytes(h.agent_pss_kib.saturating_mul(1024)) },
        Fact { name: "Written to disk", value: bytes(h.written_bytes) },
        Fact { name: "Waiting to be sent", value: format!("{} messages", count(h.outbox_rows)) },
        Fact { name: "Engine starts", value: h.engine_starts.to_string() },
    ];
    if let Some(t) = h.temperature_centi_c {
        facts.insert(2, Fact { name: "Temperature", value: format!("{:.1} °C", f64::from(t) / 100.0) });
    }
    facts
}

fn line(ctx: &Ctx, moment: &Moment) -> Line {
    let when = ctx.when(i64::try_from(moment.time).unwrap_or(0));
    let mut more = Vec::new();
    // A device that was offline tells later what happened then.
    if moment.received > moment.time.saturating_add(60_000) {
        more.push(format!("Told {} later", span(moment.received - moment.time)));
    }
    match &moment.what {
        Happening::Update { model, version, bundle, state, code, detail, rollout, trial } => {
            let version = if version.is_empty() { short(bundle) } else { version.clone() };
            if !detail.is_empty() {
                more.push(detail.clone());
            }
            if let Some(trial) = trial.as_deref().and_then(|t| serde_json::from_str::<TrialReport>(t).ok()) {
                more.push(trial_words(&trial));
            }
            let code = if code.is_empty() { String::new() } else { format!(" ({code})") };
            Line {
                when,
                badge: Badge::state(state),
                text: format!("{model} {version}{code}"),
                more,
                link: (!rollout.is_empty())
                    .then(|| (format!("/rollouts/{}", encode(rollout)), "its rollout".into())),
            }
        }
        Happening::Event { kind, body } => {
            let value: Value = serde_json::from_str(body).unwrap_or_default();
            more.extend(event_words(&value));
            let tone = match kind.as_str() {
                "agent_start" => Tone::Idle,
                "refused" | "database_reset" => Tone::Bad,
                _ => Tone::Warn,
            };
            Line {
                when,
                badge: Badge::new(tone, kind.replace('_', " ")),
                text: String::new(),
                more,
                link: None,
            }
        }
    }
}

/// What a trial measured, in a line.
pub(super) fn trial_words(trial: &TrialReport) -> String {
    let worst = trial.deviations.iter().map(|d| d.max_abs).fold(0.0, f64::max);
    format!(
        "Trial: {} golden rows, largest deviation {}, p50 {}, p99 {}, {} of memory, loaded in {} ms",
        trial.golden_rows,
        number(worst),
        micros(f64::from(trial.p50_us)),
        micros(f64::from(trial.p99_us)),
        bytes(u64::from(trial.rss_kib) * 1024),
        trial.load_ms
    )
}

/// The fields of an event, in words: nested names are joined, nothing is left out.
fn event_words(value: &Value) -> Vec<String> {
    fn walk(prefix: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let name = if prefix.is_empty() || map.len() == 1 {
                        key.clone()
                    } else {
                        format!("{prefix} {key}")
                    };
                    walk(&name, value, out);
                }
            }
            Value::Null => {}
            Value::Number(n) if matches!(prefix.rsplit(' ').next(), Some("from" | "to" | "time")) => {
                let at = longshore_trust::UnixMs(n.as_u64().unwrap_or(0));
                out.push(format!("{prefix}: {}", super::time::iso(at)));
            }
            Value::String(text) => out.push(format!("{}: {text}", prefix.replace('_', " "))),
            other => out.push(format!("{}: {other}", prefix.replace('_', " "))),
        }
    }
    let mut out = Vec::new();
    walk("", value, &mut out);
    if out.is_empty() { out } else { vec![out.join(" · ")] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_whole() {
        let body =
            serde_json::json!({"kind": "counters", "cause": "power_cut", "count": 3, "from": 0, "to": 1000});
        let words = event_words(&body).join("");
        for part in [
            "kind: counters",
            "cause: power_cut",
            "count: 3",
            "from: 1970-01-01T00:00:00Z",
            "to: 1970-01-01T00:00:01Z",
        ] {
            assert!(words.contains(part), "{words}");
        }
        assert!(event_words(&Value::Null).is_empty());
    }
}
