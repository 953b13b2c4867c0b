//! How plans and rollouts look to people.

use std::fmt::Write as _;

use serde_json::Value;

use crate::show::{ago, list, table, text};

/// A plan before it is started.
pub fn plan(p: &Value) -> String {
    let mut out =
        format!("{}@{}: {} wave(s)\n", text(p, "model"), text(p, "version"), list(p, "waves").len());
    waves(&mut out, p);
    for excluded in list(p, "excluded") {
        line(
            &mut out,
            &format!(
                "left out: {} ({}): {}",
                text(excluded, "device"),
                text(excluded, "verdict"),
                text(excluded, "reason")
            ),
        );
    }
    for lint in list(p, "lint") {
        let said = lint
            .as_str()
            .map_or_else(|| format!("{}: {}", text(lint, "level"), text(lint, "text")), str::to_owned);
        line(&mut out, &format!("note: {said}"));
    }
    out
}

/// A rollout with its waves and gates.
pub fn rollout(r: &Value) -> String {
    let mut out =
        format!("{} {}@{}: {}", text(r, "id"), text(r, "model"), text(r, "version"), text(r, "state"));
    if r["reason"].is_string() {
        let _ = write!(out, " ({})", text(r, "reason"));
    }
    out.push('\n');
    waves(&mut out, r);
    for wave in list(r, "waves") {
        for gate in list(wave, "gates") {
            line(
                &mut out,
                &format!(
                    "wave {} {}: {} - {}",
                    text(wave, "wave"),
                    text(gate, "gate"),
                    text(gate, "verdict"),
                    text(gate, "said")
                ),
            );
        }
    }
    let rows: Vec<Vec<String>> = list(r, "waves")
        .iter()
        .flat_map(|w| {
            list(w, "devices")
                .iter()
                .map(move |d| vec![text(w, "wave"), text(d, "device"), text(d, "state"), text(d, "code")])
        })
        .collect();
    if !rows.is_empty() {
        line(&mut out, &format!("\n{}", table(&["wave", "device", "state", "code"], rows)));
    }
    out
}

/// Many rollouts.
pub fn list_of(value: &Value) -> String {
    let rollouts = list(value, "items");
    if rollouts.is_empty() {
        return "No rollouts yet. Start one with `longshore rollout start --model MODEL@VERSION --policy careful`\n".into();
    }
    let rows = rollouts
        .iter()
        .map(|r| {
            vec![
                text(r, "id"),
                format!("{}@{}", text(r, "model"), text(r, "version")),
                text(r, "state"),
                ago(r, "created"),
                text(r, "reason"),
            ]
        })
        .collect();
    format!("{}\n", table(&["rollout", "brings", "state", "made", "reason"], rows))
}

fn waves(out: &mut String, value: &Value) {
    let rows = list(value, "waves")
        .iter()
        .enumerate()
        .map(|(i, w)| {
            let devices = list(w, "devices");
            let offline = devices.iter().filter(|d| d["online"] == Value::Bool(false)).count();
            let state = if w["state"].is_string() { text(w, "state") } else { "-".into() };
            vec![i.to_string(), text(w, "select"), devices.len().to_string(), offline.to_string(), state]
        })
        .collect();
    line(out, &table(&["wave", "select", "devices", "offline", "state"], rows).to_string());
}

fn line(out: &mut String, said: &str) {
    out.push_str(said);
    out.push('\n');
}
