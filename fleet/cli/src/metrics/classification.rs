//! `longshore metrics classification`.

use std::path::PathBuf;

use longshore_stats::profile::Column;
use longshore_stats::quality::classification::Metrics;
use longshore_stats::quality::proportion::Share;
use serde_json::{Value, json};

use super::fairness::Groups;
use super::{Table, html, write_page};
use crate::context::{Context, Failure};
use crate::show;

/// Which table.
#[derive(clap::Args)]
pub struct Args {
    /// CSV or NPZ with the columns `label` (1 or true for the class, 0 or false otherwise) and `score` (its probability);
    /// a score of 0.5 or more counts as the class
    #[arg(long, value_name = "FILE")]
    scores: PathBuf,
    /// Column that says which group a row belongs to [default: `group`, if there is one]
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Also write a page to look at: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What was found.
pub struct Report {
    pub source: PathBuf,
    pub metrics: Metrics,
    /// Calibration: scores and rows of the class, by ten equal bins.
    pub reliability: Vec<Reliability>,
    pub groups: Option<Groups>,
    /// Rows without a label or a valid score.
    pub skipped: u64,
}

/// One bin of the calibration chart.
pub struct Reliability {
    pub rows: u64,
    pub mean_score: f64,
    pub hits: Option<Share>,
}

/// Computes and prints.
///
/// # Errors
/// When the table cannot be read, lacks a column, or has no usable row.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let report = report(args)?;
    write_page(args.html.as_ref(), || html::classification(&report))?;
    if context.json() {
        println!("{}", json(&report));
    } else {
        print(&report);
    }
    Ok(())
}

fn report(args: &Args) -> Result<Report, Failure> {
    let table = Table::read(&args.scores)?;
    let labels = labels(&table)?;
    let scores = table.numbers(&["score"])?;
    let group = match &args.group {
        Some(name) => Some(name.as_str()),
        None => Some("group").filter(|g| table.has(g)),
    };
    let words = group.map(|name| table.words(name)).transpose()?;
    let mut rows = Vec::new();
    let mut in_groups = Vec::new();
    let mut skipped = 0;
    for (i, (label, score)) in labels.into_iter().zip(scores).enumerate() {
        let Some(row) = label.zip(score.filter(|s| (0.0..=1.0).contains(s))).map(|(y, s)| (s, y)) else {
            skipped += 1;
            continue;
        };
        rows.push(row);
        if let Some(words) = &words {
            in_groups.push(words.get(i).cloned().flatten());
        }
    }
    let metrics = Metrics::of(&rows).ok_or_else(|| {
        let text = "no row has both a label and a score between 0 and 1";
        Failure::refused("table", format!("{}: {text}", args.scores.display()))
    })?;
    let groups = group.map(|name| Groups::of(name, &rows, &in_groups));
    Ok(Report { source: args.scores.clone(), reliability: reliability(&rows), metrics, groups, skipped })
}

fn labels(table: &Table) -> Result<Vec<Option<bool>>, Failure> {
    let wrong = |row: usize, what: String| {
        let text = format!("column `label`, row {}: {what} is neither 0 nor 1", row + 2);
        Failure::refused("table", format!("{}: {text}", table.path.display()))
    };
    match table.column(&["label"])? {
        Column::Numeric(values) => {
            let one = |(i, v): (usize, &Option<f64>)| match v {
                None => Ok(None),
                Some(v) if v.is_nan() => Ok(None),
                Some(v) if *v == 0.0 || *v == 1.0 => Ok(Some(*v == 1.0)),
                Some(v) => Err(wrong(i, v.to_string())),
            };
            values.iter().enumerate().map(one).collect()
        }
        Column::Categorical(words) => {
            let one =
                |(i, w): (usize, &Option<String>)| match w.as_deref().map(str::to_ascii_lowercase).as_deref()
                {
                    None => Ok(None),
                    Some("true" | "1") => Ok(Some(true)),
                    Some("false" | "0") => Ok(Some(false)),
                    Some(other) => Err(wrong(i, format!("`{other}`"))),
                };
            words.iter().enumerate().map(one).collect()
        }
    }
}

fn reliability(rows: &[(f64, bool)]) -> Vec<Reliability> {
    (0..10)
        .map(|bin| {
            let (from, to) = (f64::from(bin) / 10.0, f64::from(bin + 1) / 10.0);
            let inside: Vec<_> = rows.iter().filter(|(s, _)| *s >= from && (*s < to || bin == 9)).collect();
            let hits = inside.iter().filter(|r| r.1).count() as u64;
            let n = inside.len() as u64;
            let mean_score = inside.iter().map(|r| r.0).sum::<f64>() / n as f64;
            Reliability { rows: n, mean_score, hits: Share::of(hits, n) }
        })
        .collect()
}

fn json(report: &Report) -> Value {
    let m = &report.metrics;
    let interval = crate::drift::interval;
    let mut out = json!({
        "n": m.n,
        "positives": m.positives,
        "skipped": report.skipped,
        "threshold": longshore_stats::quality::classification::THRESHOLD,
        "confusion": {
            "tp": m.confusion.count(1, 1),
            "fp": m.confusion.count(0, 1),
            "fn": m.confusion.count(1, 0),
            "tn": m.confusion.count(0, 0),
        },
        "acc": m.accuracy.value,
        "f1": m.f1,
        "auc": m.auc.map(|a| a.value),
        "brier": m.brier,
        "logloss": m.logloss,
        "ece10": m.ece10,
        "intervals": { "acc": interval(m.accuracy.interval), "auc": m.auc.map(|a| interval(a.interval)) },
    });
    if let Some(groups) = &report.groups {
        groups.add_to(&mut out);
    }
    out
}

fn print(report: &Report) {
    let m = &report.metrics;
    let between = |i: longshore_stats::bounds::Interval| format!("{:.4} to {:.4}", i.lo, i.hi);
    let or_dash = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
    let row = |name: &str, value: String, interval: String| vec![name.to_owned(), value, interval];
    let rows = vec![
        row("rows", m.n.to_string(), String::new()),
        row("accuracy", format!("{:.4}", m.accuracy.value), between(m.accuracy.interval)),
        row("F1", or_dash(m.f1), String::new()),
        row("AUC", or_dash(m.auc.map(|a| a.value)), m.auc.map_or(String::new(), |a| between(a.interval))),
        row("Brier score", format!("{:.4}", m.brier), String::new()),
        row("log loss", format!("{:.4}", m.logloss), String::new()),
        row("calibration error", format!("{:.4}", m.ece10), String::new()),
    ];
    println!("{}", show::table(&["figure", "value", "95 %"], rows));
    if let Some(groups) = &report.groups {
        groups.print();
    }
    if report.skipped > 0 {
        println!("note: {} rows have no label or no score between 0 and 1 and were left out", report.skipped);
    }
}
