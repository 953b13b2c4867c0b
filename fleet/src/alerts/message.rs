//! What is said about an alert: one JSON document, frozen when the alert changed; receivers of other kinds get it in their own
//! form when it is sent.

use longshore_fleet_core::alert::State;
use longshore_fleet_core::alert::state::Ended;
use longshore_trust::UnixMs;
use serde_json::{Value, json};

use crate::app::App;
use crate::store::alert::AlertRow;

/// A time as receivers read it: RFC 3339, UTC.
pub fn iso(at: UnixMs) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| at.to_string(), |t| t.to_string())
}

/// Where a person finds a page of the console; nothing when the server does not know its own address.
pub fn link(app: &App, page: &str) -> Option<String> {
    let base = app.config.alerts.console_url.trim_end_matches('/');
    (!base.is_empty()).then(|| format!("{base}/{page}"))
}

/// What is said about an alert. `what` is `fired`, `repeated`, `grown` or `resolved`.
pub fn alert(app: &App, row: &AlertRow, what: &str, now: UnixMs) -> Value {
    json!({ "type": format!("alert.{what}"), "timestamp": iso(now), "data": about(app, row) })
}

/// An alert as receivers and the API see it.
pub fn about(app: &App, row: &AlertRow) -> Value {
    let (since, ended, ack) = match &row.alert.state {
        State::Pending { since } => (Some(*since), None, None),
        State::Firing { since, .. } => (Some(*since), None, None),
        State::Acknowledged { since, ack, .. } => (Some(*since), None, Some(ack)),
        State::Resolved { since, at, ended, ack, .. } => (Some(*since), Some((*at, ended)), ack.as_ref()),
    };
    let resolved = ended.map(|(at, why)| {
        let (by, note) = match why {
            Ended::Recovered => ("recovered", ""),
            Ended::Unmeasured => {
                ("unmeasured", "nothing was measured for a day: this is not the same as good")
            }
            Ended::RuleGone => ("rule_gone", "the rule is no longer in the configuration"),
            Ended::Person { note, .. } => ("person", note.as_str()),
        };
        let who = if let Ended::Person { who, .. } = why { Some(who) } else { None };
        json!({ "at": iso(at), "by": by, "who": who, "note": note })
    });
    json!({
        "fleet": app.fleet,
        "alert": row.id,
        "rule": row.cause.rule,
        "kind": row.kind,
        "severity": row.severity,
        "state": row.alert.state.name(),
        "model": Some(&row.cause.model).filter(|m| !m.is_empty()),
        "cohort": row.cause.cohort,
        "summary": row.evidence.summary,
        "evidence": row.evidence,
        "labels": labels(row),
        "since": since.map(iso),
        "flaps": row.alert.flaps,
        "acknowledged": ack.map(|a| json!({ "at": iso(a.at), "by": a.by, "note": a.note })),
        "resolved": resolved,
        "url": link(app, &format!("alerts/{}", row.id)),
    })
}

/// The labels of the rule.
pub fn labels(row: &AlertRow) -> Value {
    serde_json::from_str(&row.labels).unwrap_or_else(|_| json!({}))
}

/// A request for a new training: the model, the version that serves, and why.
pub fn retraining(app: &App, row: &AlertRow, now: UnixMs) -> Value {
    let version = row.evidence.versions.first();
    json!({
        "type": "model.retrain",
        "timestamp": iso(now),
        "data": {
            "fleet": app.fleet,
            "alert": row.id,
            "rule": row.cause.rule,
            "kind": row.kind,
            "model": row.cause.model,
            "version": version.map(|v| &v.version),
            "bundle": version.map(|v| &v.bundle),
            "cohort": row.cause.cohort,
            "features": row.evidence.features.iter().map(|f| &f.name).collect::<Vec<_>>(),
            "summary": row.evidence.summary,
            "evidence": row.evidence,
            "url": link(app, &format!("alerts/{}", row.id)),
        },
    })
}

/// What a receiver is sent to see that it is reached.
pub fn test(app: &App, who: &str, now: UnixMs) -> Value {
    json!({
        "type": "alert.test",
        "timestamp": iso(now),
        "data": {
            "fleet": app.fleet,
            "alert": 0,
            "rule": "test",
            "kind": "test",
            "severity": "info",
            "state": "firing",
            "model": null,
            "cohort": "fleet",
            "summary": format!("Test of this receiver, asked for by {who}. Nothing is wrong."),
            "evidence": {},
            "labels": {},
            "since": iso(now),
            "flaps": 0,
            "acknowledged": null,
            "resolved": null,
            "url": null,
        },
    })
}
