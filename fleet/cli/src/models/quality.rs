//! `longshore models quality`: how good a version is, with what that rests on.

use std::fmt::Write as _;

use serde_json::Value;

use crate::context::{Context, Failure};
use crate::drift::fleet::{Which, figure};
use crate::http::Client;
use crate::page::number;
use crate::show::{list, table, text};

/// Shows it.
pub fn run(context: &Context, client: &Client, which: &Which) -> Result<(), Failure> {
    let (path, query) = which.address(client)?;
    let found: Value = client.get(&format!("{path}/quality{query}"))?;
    if context.json() {
        println!("{found}")
    } else {
        print!("{}", people(&found))
    }
    Ok(())
}

fn people(found: &Value) -> String {
    let q = &found["quality"];
    let mut out =
        format!("{}@{}, cohort {}\n", text(found, "model"), text(found, "version"), text(found, "cohort"));
    let mut rows = Vec::new();
    let mut figures = |name: &str, v: &Value| rows.push(vec![name.to_owned(), figure(v), text(v, "n")]);
    figures("accuracy of labelled rows", &q["accuracy"]);
    if q["estimated"]["state"] == "estimable" {
        figures("accuracy, estimated", &q["estimated"]["accuracy"]);
    }
    let c = &q["classification"];
    figures("calibration error (ECE)", &c["ece"]);
    figures("Brier score", &c["brier"]);
    figures("AUC of right against wrong", &c["auc"]);
    figures("mean absolute error", &q["regression"]["mae"]);
    figures("root mean squared error", &q["regression"]["rmse"]);
    figures("failed rows", &q["error_rate"]);
    figures("answers of low margin", &q["low_margin"]);
    figures("rows out of range", &q["out_of_range"]);
    figures("latency p50, µs", &q["latency"]["p50"]);
    figures("latency p99, µs", &q["latency"]["p99"]);
    rows.retain(|r| r[1] != "-");
    let _ = writeln!(
        out,
        "{} rows, {} failed, {} labelled; runs on {} devices, {} of them silent",
        text(q, "rows"),
        text(q, "errors"),
        text(q, "labelled"),
        text(q, "devices"),
        text(q, "silent_devices")
    );
    if rows.is_empty() {
        out.push_str("No rows were counted in this span.\n");
    } else {
        let _ = writeln!(out, "{}", table(&["figure", "value (95 %)", "n"], rows));
    }
    if let Some(f1) = c["macro_f1"].as_f64() {
        let _ = writeln!(out, "macro F1 {} over {} labelled rows", number(f1), text(q, "labelled"));
    }
    match q["estimated"]["assumption"].as_str() {
        Some(assumption) => {
            let _ = writeln!(out, "the estimate assumes {assumption}");
        }
        None => {
            let _ = writeln!(out, "without labels: {}", text(&q["estimated"], "reason"));
        }
    }
    let fairness = &q["fairness"];
    if !fairness.is_null() {
        let measures = list(fairness, "measures").iter().map(|m| {
            vec![text(m, "name").replace('_', " "), figure(&m["measured"]), text(&m["measured"], "n")]
        });
        let _ = writeln!(out, "\n{}", table(&["between groups", "value (95 %)", "n"], measures.collect()));
        let _ = writeln!(
            out,
            "{} rows and {} labels are held on devices until their group has enough",
            text(fairness, "held_rows"),
            text(fairness, "held_labels")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_come_with_n_and_the_reason_why_there_is_no_estimate() {
        let found = json!({"model": "m", "version": "1.0.0", "cohort": "fleet", "quality": {
            "rows": 900, "errors": 1, "labelled": 200, "devices": 3, "silent_devices": 1,
            "accuracy": {"value": 0.925, "lo": 0.88, "hi": 0.95, "n": 200},
            "estimated": {"state": "not_estimable", "reason": "not estimable: 499 rows"},
        }});
        let shown = people(&found);
        for part in ["0.925 (0.88 to 0.95)", "200", "not estimable: 499 rows", "1 of them silent"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("Brier"), "what is not known is left out: {shown}");
    }
}
