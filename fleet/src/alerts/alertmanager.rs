//! Alerts as Prometheus Alertmanager wants them: `POST /api/v2/alerts`, sent again while they fire, with an end when over.
//!
//! Alertmanager forgets what is not sent again: every message says until when it holds, which is longer than the time between
//! two messages. A label set is one alert there, so nothing that changes is a label.

use longshore_trust::UnixMs;
use serde_json::{Map, Value, json};

use super::message::iso;

/// How often what fires is sent again, ms.
pub const EVERY_MS: u64 = 60_000;
/// How long it holds without being sent again, ms.
const HOLDS_MS: u64 = 5 * 60_000;

/// One alert, out of the message about it.
pub fn alert(message: &Value, now: UnixMs) -> Value {
    let data = &message["data"];
    let text = |key: &str| data[key].as_str().unwrap_or_default();
    let mut labels = Map::new();
    if let Some(given) = data["labels"].as_object() {
        labels.extend(given.clone());
    }
    for (label, key) in [
        ("alertname", "rule"),
        ("severity", "severity"),
        ("kind", "kind"),
        ("fleet", "fleet"),
        ("model", "model"),
        ("cohort", "cohort"),
    ] {
        if !text(key).is_empty() {
            labels.insert(label.into(), text(key).into());
        }
    }
    let mut annotations = Map::new();
    annotations.insert("summary".into(), text("summary").into());
    annotations.insert("alert".into(), data["alert"].to_string().into());
    if let Some(by) = data["acknowledged"]["by"].as_str() {
        annotations.insert("acknowledged_by".into(), by.into());
    }
    let ends = match data["resolved"]["at"].as_str() {
        Some(at) => at.to_owned(),
        None => iso(now.plus_ms(HOLDS_MS)),
    };
    let mut out = json!({
        "labels": labels, "annotations": annotations, "startsAt": text("since"), "endsAt": ends,
    });
    if !text("url").is_empty() {
        out["generatorURL"] = text("url").into();
    }
    out
}
