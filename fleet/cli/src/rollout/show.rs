//! How plans and rollouts look to people.

use std::fmt::Write as _;

use serde_json::Value;

use crate::show::{ago, list, table, text};

/// Devices that are left out and named; more are only counted.
const MOST_LEFT_OUT: usize = 20;
/// Devices that `show` lists.
const MOST_DEVICES: usize = 200;
const DEVICE_COLUMNS: [&str; 7] = ["wave", "device", "state", "code", "online", "rows", "changed"];

/// A plan before it is started.
pub fn plan(p: &Value) -> String {
    let mut out =
        format!("{}@{}: {} wave(s)\n", text(p, "model"), text(p, "version"), list(p, "waves").len());
    waves(&mut out, p);
    rehearsal(&mut out, &p["rehearsal"]);
    let excluded = list(p, "excluded");
    if excluded.len() > MOST_LEFT_OUT {
        line(&mut out, &format!("left out: {} devices; the first of them:", excluded.len()));
    }
    for excluded in excluded.iter().take(MOST_LEFT_OUT) {
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

/// What a plan will probably do.
fn rehearsal(out: &mut String, r: &Value) {
    if !r.is_object() {
        return;
    }
    let verdicts: Vec<String> = r["verdicts"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(verdict, n)| format!("{n} {}", verdict.replace('_', " ")))
        .collect();
    line(out, &format!("devices: {}", verdicts.join(", ")));
    let eta = r["eta_ms"].as_u64().map_or_else(
        || "it cannot be said when the last wave passes".to_owned(),
        |ms| format!("the last wave has probably passed after {}", length(ms)),
    );
    line(out, &format!("downloads: {}; {eta}", bytes(r["bytes"].as_u64().unwrap_or(0))));
    for wave in list(r, "waves") {
        let n = text(wave, "wave");
        if wave["devices"] == 0 {
            continue;
        }
        let passes = wave["passes_ms"]
            .as_u64()
            .map_or_else(|| "cannot be said".to_owned(), |ms| format!("after {}", length(ms)));
        line(
            out,
            &format!(
                "wave {n}: {}; {} of {} connected, about {:.0} there by then, {} never heard of; passes: {passes}",
                bytes(wave["bytes"].as_u64().unwrap_or(0)),
                text(wave, "online"),
                text(wave, "devices"),
                wave["reached"].as_f64().unwrap_or(0.0),
                text(wave, "unknown")
            ),
        );
        for power in list(wave, "power") {
            line(out, &format!("wave {n}: {}", text(power, "text")));
        }
    }
}

/// A length of time in the unit that suits it.
fn length(ms: u64) -> String {
    match ms {
        0..=119_999 => format!("{} s", ms / 1000),
        120_000..=7_199_999 => format!("{} min", ms / 60_000),
        7_200_000..=172_799_999 => format!("{:.1} h", ms as f64 / 3_600_000.0),
        _ => format!("{:.1} d", ms as f64 / 86_400_000.0),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n} B"),
        10_000..=9_999_999 => format!("{:.0} kB", n as f64 / 1e3),
        10_000_000..=9_999_999_999 => format!("{:.0} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
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
    for said in shadow(&r["shadow"]).into_iter().flatten() {
        line(&mut out, &format!("shadow: {said}"));
    }
    let mut rows: Vec<Vec<String>> = list(r, "waves")
        .iter()
        .flat_map(|w| list(w, "devices").iter().map(move |d| device(&text(w, "wave"), d)))
        .collect();
    let all: usize = list(r, "waves").iter().map(size).sum();
    rows.truncate(MOST_DEVICES);
    if !rows.is_empty() {
        let more = all.saturating_sub(rows.len());
        line(&mut out, &format!("\n{}", table(&DEVICE_COLUMNS, rows)));
        if more > 0 {
            let id = text(r, "id");
            line(&mut out, &format!("and {more} more: `longshore rollout devices {id}`"));
        }
    }
    out
}

/// Devices of a rollout.
pub fn devices(value: &Value) -> String {
    let devices = list(value, "items");
    if devices.is_empty() {
        return "No such device in this rollout.\n".into();
    }
    let rows = devices.iter().map(|d| device(&text(d, "wave"), d)).collect();
    format!("{}\n", table(&DEVICE_COLUMNS, rows))
}

fn device(wave: &str, d: &Value) -> Vec<String> {
    let online = if d["online"] == Value::Bool(true) { "yes" } else { "no" };
    vec![
        wave.to_owned(),
        text(d, "device"),
        text(d, "state"),
        text(d, "code"),
        online.to_owned(),
        text(d, "rows"),
        ago(d, "changed"),
    ]
}

/// All devices of a wave, also those that are not listed.
fn size(wave: &Value) -> usize {
    let counted = wave["device_counts"].as_object().into_iter().flatten();
    let counted: u64 = counted.filter_map(|(_, n)| n.as_u64()).sum();
    list(wave, "devices").len().max(usize::try_from(counted).unwrap_or(0))
}

/// What a version did in shadow; nothing where it was not.
pub fn shadow(s: &Value) -> Option<Vec<String>> {
    if s["rows"].is_null() {
        return None;
    }
    let percent = |f: &Value| {
        let part = |name: &str| f[name].as_f64().unwrap_or(0.0) * 100.0;
        format!("{:.2} % ({:.2} to {:.2}, n = {})", part("value"), part("lower"), part("upper"), f["n"])
    };
    let mut out = vec![format!(
        "{} rows compared, {} skipped by the budget, {} failed in it",
        s["rows"], s["skipped"], s["errors"]
    )];
    if s["agreement"].is_object() {
        out.push(format!("the same answer: {}", percent(&s["agreement"])));
    }
    if let Some(kappa) = s["kappa"]["value"].as_f64() {
        out.push(format!("agreement beyond chance (Cohen's kappa): {kappa:.3}"));
    }
    if let Some(ratio) = s["latency"]["ratio_p99"].as_f64() {
        out.push(format!("p99 of a run: {ratio:.2} times the active version's"));
    }
    if s["accuracy_difference"].is_object() {
        out.push(format!("accuracy less the active version's: {}", percent(&s["accuracy_difference"])));
    }
    if let Some(p) = s["mcnemar"]["p"].as_f64() {
        let n = &s["mcnemar"]["discordant"];
        let p = if p < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") };
        out.push(format!("McNemar's test: {p}, {n} rows on which one of them was right"));
    }
    Some(out)
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
            let (devices, all) = (list(w, "devices"), size(w));
            let offline = devices.iter().filter(|d| d["online"] == Value::Bool(false)).count();
            // Of a wave that is listed in part it is not known here.
            let offline = if devices.len() < all { "-".to_owned() } else { offline.to_string() };
            let state = if w["state"].is_string() { text(w, "state") } else { "-".into() };
            vec![i.to_string(), text(w, "select"), all.to_string(), offline, state]
        })
        .collect();
    line(out, &table(&["wave", "select", "devices", "offline", "state"], rows).to_string());
}

fn line(out: &mut String, said: &str) {
    out.push_str(said);
    out.push('\n');
}
