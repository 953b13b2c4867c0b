//! The inbox: what fires first, then what somebody has taken on, then what is over; who is told, and who has been silenced.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::badge::{Badge, Tone};
use super::error::PageError;
use super::figures::count;
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::Ago;
use crate::store::alert::{AlertRow, Filter, Place};

/// Alerts on one page.
const PAGE: u32 = 50;

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    state: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    after: String,
}

/// One alert in a list.
pub(super) struct Line {
    pub(super) id: u64,
    pub(super) link: String,
    pub(super) severity: Badge,
    pub(super) state: Badge,
    pub(super) summary: String,
    pub(super) rule: String,
    pub(super) since: Ago,
    pub(super) who: String,
    pub(super) flaps: u32,
    pub(super) firing: bool,
}

struct Choice {
    value: String,
    chosen: bool,
}

struct Told {
    name: String,
    kind: &'static str,
    place: String,
    queued: String,
    dead: i64,
}

struct Watched {
    name: String,
    kind: &'static str,
    what: String,
    severity: Badge,
    retrain: bool,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct Page {
    shell: Shell,
    lines: Vec<Line>,
    firing: u64,
    states: Vec<Choice>,
    severities: Vec<Choice>,
    models: Vec<Choice>,
    rules: Vec<Choice>,
    filtered: bool,
    paged: bool,
    first: String,
    next: Option<String>,
    receivers: Vec<Told>,
    watched: Vec<Watched>,
    shipped: bool,
    silences: usize,
    dead: i64,
}

/// How urgent an alert is.
pub(super) fn tone(severity: &str) -> Tone {
    match severity {
        "critical" => Tone::Bad,
        "warning" => Tone::Warn,
        _ => Tone::Idle,
    }
}

/// A state of an alert.
pub(super) fn state(name: &str) -> Badge {
    let tone = match name {
        "firing" => Tone::Bad,
        "acknowledged" => Tone::Busy,
        "pending" => Tone::Warn,
        _ => Tone::Ok,
    };
    Badge::new(tone, name)
}

/// An alert as a line.
pub(super) fn line(ctx: &Ctx, row: &AlertRow) -> Line {
    use longshore_fleet_core::alert::State;
    let ms = |t: longshore_trust::UnixMs| i64::try_from(t.0).unwrap_or(i64::MAX);
    let (since, who) = match &row.alert.state {
        State::Pending { since } | State::Firing { since, .. } => (*since, String::new()),
        State::Acknowledged { since, ack, .. } => (*since, ack.by.clone()),
        State::Resolved { at, ack, .. } => (*at, ack.as_ref().map_or_else(String::new, |a| a.by.clone())),
    };
    Line {
        id: row.id,
        link: format!("/alerts/{}", row.id),
        severity: Badge::new(tone(row.severity.as_str()), row.severity.as_str()),
        state: state(row.alert.state.name()),
        summary: row.evidence.summary.clone(),
        rule: row.cause.rule.clone(),
        since: ctx.when(ms(since)).brief(),
        who,
        flaps: row.alert.flaps,
        firing: matches!(row.alert.state, State::Firing { .. }),
    }
}

fn place(text: &str) -> Option<Place> {
    let (rank, id) = text.split_once('.')?;
    Some((rank.parse().ok()?, id.parse().ok()?))
}

/// `GET /alerts`.
pub(super) async fn page(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let filter = Filter {
        state: asked.state.clone(),
        severity: asked.severity.clone(),
        model: asked.model.clone(),
        rule: asked.rule.clone(),
    };
    let mut rows = store.alerts(&filter, place(&asked.after), PAGE + 1).await?;
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    let address = |after: Option<Place>| {
        let mut parts = Vec::new();
        let given = [
            ("state", &asked.state),
            ("severity", &asked.severity),
            ("model", &asked.model),
            ("rule", &asked.rule),
        ];
        for (key, value) in given {
            if !value.is_empty() {
                parts.push(format!("{key}={}", encode(value)));
            }
        }
        parts.extend(after.map(|(rank, id)| format!("after={rank}.{id}")));
        if parts.is_empty() { "/alerts".to_owned() } else { format!("/alerts?{}", parts.join("&")) }
    };
    let choices = |values: Vec<String>, chosen: &str| {
        values.into_iter().map(|value| Choice { chosen: value == chosen, value }).collect::<Vec<_>>()
    };
    let words = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let settings = &ctx.app.config.alerting;
    let deliveries = store.delivery_counts().await?;
    let of = |receiver: &str, state: &str| {
        let found = deliveries.iter().find(|c| c.receiver == receiver && c.state == state);
        found.map_or(0, |c| c.deliveries)
    };
    let page = Page {
        shell: ctx.shell(Section::Alerts, "Alerts").await?.listening("alerts", "all"),
        firing: store.alerts_firing().await?,
        states: choices(words(&["firing", "acknowledged", "active", "pending", "resolved"]), &asked.state),
        severities: choices(words(&["critical", "warning", "info"]), &asked.severity),
        models: choices(store.alert_models().await?, &asked.model),
        rules: choices(settings.rules.iter().map(|r| r.name.clone()).collect(), &asked.rule),
        filtered: [&asked.state, &asked.severity, &asked.model, &asked.rule].iter().any(|v| !v.is_empty()),
        paged: !asked.after.is_empty(),
        first: address(None),
        next: rows.last().filter(|_| more).map(|(place, _)| address(Some(*place))),
        lines: rows.iter().map(|(_, row)| line(&ctx, row)).collect(),
        receivers: settings
            .receivers
            .iter()
            .map(|r| Told {
                name: r.name.clone(),
                kind: r.kind_name(),
                place: r.place(),
                queued: count(u64::try_from(of(&r.name, "queued")).unwrap_or(0)),
                dead: of(&r.name, "dead"),
            })
            .collect(),
        watched: settings
            .rules
            .iter()
            .map(|r| Watched {
                name: r.name.clone(),
                kind: r.kind.as_str(),
                what: watches(r),
                severity: Badge::new(tone(r.severity.as_str()), r.severity.as_str()),
                retrain: r.retrain,
            })
            .collect(),
        shipped: settings.shipped,
        silences: store.silences_in_force(ctx.now).await?.len(),
        dead: deliveries.iter().filter(|c| c.state == "dead").map(|c| c.deliveries).sum(),
    };
    html(&page)
}

/// What a rule waits for, in words.
fn watches(rule: &longshore_fleet_core::alert::Rule) -> String {
    use longshore_fleet_core::alert::rule::{Kind, Threshold};
    use longshore_fleet_core::policy::human_duration;
    let limit = match (rule.threshold, rule.kind) {
        (Threshold::LongerMs(ms), Kind::TrustExpiry) => format!("ends within {}", human_duration(ms)),
        (Threshold::LongerMs(ms), _) => format!("longer than {}", human_duration(ms)),
        (Threshold::Drop(v), _) => format!("{v} below the manifest's"),
        (Threshold::Value(v), Kind::Accuracy | Kind::AccuracyEstimated) => format!("below {v}"),
        (Threshold::Value(v), Kind::Disk) => format!("less than {:.0} % free", v * 100.0),
        (Threshold::Value(v), Kind::Latency) => format!("p99 above {v} ms"),
        (Threshold::Value(v), Kind::Temperature) => format!("above {v} °C"),
        (Threshold::Value(v), Kind::Drift) => format!("significant, and PSI at least {v}"),
        (Threshold::Value(v), _) => format!("more than {v}"),
    };
    let held =
        if rule.for_ms == 0 { String::new() } else { format!(", for {}", human_duration(rule.for_ms)) };
    let model = if rule.model == "*" { String::new() } else { format!(", models {}", rule.model) };
    format!("{limit}{held}{model}")
}
