//! `longshore drift show` and `watch`: what the fleet found, feature by feature.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::page::number;
use crate::show::{ago, list, table, text};

/// Failed askings in a row before giving up: a server that restarts is waited for.
const PATIENCE: u32 = 60;

/// Which verdicts.
#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// MODEL@VERSION, or MODEL for the version that runs on most devices
    model: String,
    /// Whose rows: `fleet`, `label=value` (several with commas), `hw:NAME`, or `all`
    #[arg(long, default_value = "fleet", value_name = "COHORT")]
    cohort: String,
    /// The last so many hours or days, like 24h or 7d [default: what the server is configured to judge]
    #[arg(long, value_name = "SPAN")]
    span: Option<String>,
}

impl Which {
    /// Of a version and a cohort over a span.
    pub fn new(model: String, cohort: String, span: Option<String>) -> Self {
        Self { model, cohort, span }
    }
    /// Path of the version below `/api/v1`, and the query for everything about it.
    pub fn address(&self, client: &Client) -> Result<(String, String), Failure> {
        let (model, version) = match self.model.split_once('@') {
            Some((model, version)) if !model.is_empty() && !version.is_empty() => {
                (model.to_owned(), version.to_owned())
            }
            Some(_) => return Err(Failure::usage(format!("{:?} is no MODEL@VERSION", self.model))),
            None => (self.model.clone(), most_used(client, &self.model)?),
        };
        let mut query = format!("?cohort={}", percent(&self.cohort));
        if let Some(span) = &self.span {
            let _ = write!(query, "&span={}", percent(span));
        }
        Ok((format!("/models/{}/versions/{}", percent(&model), percent(&version)), query))
    }
}

/// The version of a model that runs on most devices; of equals the newest.
fn most_used(client: &Client, model: &str) -> Result<String, Failure> {
    let found: Value = client.get(&format!("/models/{}", percent(model)))?;
    let best = list(&found, "versions").iter().rev().max_by_key(|v| v["running_on"].as_u64());
    best.map(|v| text(v, "version")).ok_or_else(|| {
        Failure::refused("version.unknown", format!("{model} has no version yet: `longshore publish DIR`"))
    })
}

/// Text inside an address.
pub fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Shows verdicts, or one feature closely.
pub fn show(context: &Context, which: &Which, feature: Option<&str>) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let (path, query) = which.address(&client)?;
    let found = match feature {
        Some(feature) => client.get::<Value>(&format!("{path}/drift/{}{query}", percent(feature)))?,
        None => whole(&client, &path, &query)?,
    };
    if context.json() {
        println!("{found}");
    } else if feature.is_some() {
        print!("{}", closely(&found));
    } else {
        print!("{}", overview(&found));
    }
    Ok(())
}

/// All pages as one answer.
fn whole(client: &Client, path: &str, query: &str) -> Result<Value, Failure> {
    let ask = |cursor: &str| client.get::<Value>(&format!("{path}/drift{query}&limit=500{cursor}"));
    let mut found = ask("")?;
    while let Some(next) = found["next"].as_str().map(str::to_owned) {
        let mut more = ask(&format!("&cursor={next}"))?;
        let items = more["items"].take();
        if let (Value::Array(all), Value::Array(items)) = (&mut found["items"], items) {
            all.extend(items);
        }
        found["next"] = more["next"].take();
    }
    Ok(found)
}

/// Asks again and again; prints a line for every verdict that changes, until one drifts when `until_drift` is set.
pub fn watch(context: &Context, which: &Which, every: Duration, until_drift: bool) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let (path, query) = which.address(&client)?;
    let mut known = std::collections::BTreeMap::new();
    let mut failures = 0;
    loop {
        match whole(&client, &path, &query) {
            Ok(found) => {
                failures = 0;
                for v in list(&found, "items") {
                    let state = text(v, "state");
                    let key = (text(v, "cohort"), text(v, "feature"));
                    if known.insert(key, state.clone()).as_ref() != Some(&state) {
                        if context.json() { println!("{v}") } else { println!("{}", line(v)) }
                    }
                }
                if until_drift && known.values().any(|s| s == "drifted") {
                    return Ok(());
                }
            }
            Err(f) if f.exit == 3 && failures < PATIENCE => failures += 1,
            Err(f) => return Err(f),
        }
        std::thread::sleep(every);
    }
}

fn line(v: &Value) -> String {
    format!(
        "{} {} in {}: {} (PSI {}, corrected p {}, {} rows)",
        jiff::Timestamp::now().strftime("%H:%M:%S"),
        text(v, "feature"),
        text(v, "cohort"),
        text(v, "state"),
        figure(&v["effect"]),
        p(&v["p_adjusted"]),
        text(v, "n")
    )
}

/// A value with its interval.
pub fn figure(v: &Value) -> String {
    match (v["value"].as_f64(), v["lo"].as_f64(), v["hi"].as_f64()) {
        (Some(value), Some(lo), Some(hi)) => format!("{} ({} to {})", number(value), number(lo), number(hi)),
        _ => "-".into(),
    }
}

fn p(v: &Value) -> String {
    v.as_f64().map_or("-".into(), |p| format!("{p:.1e}"))
}

fn row(v: &Value) -> Vec<String> {
    vec![
        text(v, "feature"),
        text(v, "cohort"),
        text(v, "state"),
        figure(&v["effect"]),
        p(&v["p_adjusted"]),
        text(v, "n_reference"),
        text(v, "n"),
    ]
}

fn overview(found: &Value) -> String {
    let mut out = format!(
        "{}@{}, {} h, judged {}\n",
        text(found, "model"),
        text(found, "version"),
        hours(found),
        ago(found, "at")
    );
    let items = list(found, "items");
    if items.is_empty() {
        out.push_str(
            "Nothing is monitored: build the bundle with `longshore bundle build --reference TABLE`.\n",
        );
        return out;
    }
    let header = ["feature", "cohort", "verdict", "PSI (95 %)", "corrected p", "reference", "rows"];
    let _ = writeln!(out, "{}", table(&header, items.iter().map(row).collect()));
    let states: Vec<String> =
        found["states"].as_object().into_iter().flatten().map(|(name, n)| format!("{n} {name}")).collect();
    let _ = writeln!(out, "{}", states.join(", "));
    out
}

fn hours(found: &Value) -> u64 {
    let ends = found["to"].as_u64().zip(found["from"].as_u64());
    ends.map_or(0, |(to, from)| to.saturating_sub(from) / 3_600_000)
}

fn closely(found: &Value) -> String {
    let mut out = format!("{}\n", line(&found["verdict"]));
    for (name, key) in [("KS distance, guaranteed", "ks"), ("W1 distance, guaranteed", "w1")] {
        if let (Some(lo), Some(hi)) = (found[key]["lo"].as_f64(), found[key]["hi"].as_f64()) {
            let _ = writeln!(out, "{name}: {} to {}", number(lo), number(hi));
        }
    }
    let bins =
        list(found, "bins").iter().map(|b| vec![text(b, "label"), text(b, "reference"), text(b, "current")]);
    let _ = writeln!(out, "\n{}", table(&["bin", "reference", "current"], bins.collect()));
    let cells = list(found, "comparison").iter().map(|c| {
        let mut line =
            vec![text(c, "axis").replace('_', " "), format!("{}@{}", text(c, "model"), text(c, "version"))];
        line.extend(row(c));
        line
    });
    let header = [
        "compared",
        "model",
        "feature",
        "cohort",
        "verdict",
        "PSI (95 %)",
        "corrected p",
        "reference",
        "rows",
    ];
    let _ = writeln!(out, "\n{}", table(&header, cells.collect()));
    let devices = list(found, "devices");
    if !devices.is_empty() {
        let of_device = |d: &Value| {
            vec![text(d, "device"), text(d, "state"), figure(&d["effect"]), p(&d["p_adjusted"]), text(d, "n")]
        };
        let header = ["device against the rest", "verdict", "PSI (95 %)", "corrected p", "rows"];
        let _ = writeln!(out, "\n{}", table(&header, devices.iter().take(20).map(of_device).collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash_and_addresses_are_encoded() {
        assert_eq!(figure(&Value::Null), "-");
        assert_eq!(figure(&json!({"value": 0.25, "lo": 0.1, "hi": 0.5})), "0.25 (0.1 to 0.5)");
        assert_eq!(percent("site=ams/1"), "site%3Dams%2F1");
    }
    #[test]
    fn an_answer_without_features_teaches_how_to_monitor() {
        let found =
            json!({"model": "m", "version": "1.0.0", "from": 0, "to": 86_400_000, "at": 0, "items": []});
        let shown = overview(&found);
        assert!(shown.contains("24 h") && shown.contains("bundle build --reference"), "{shown}");
    }
}
