//! `longshore metrics regression`.

use std::path::PathBuf;

use longshore_stats::quality::regression::Metrics;
use serde_json::{Value, json};

use super::{Table, html, write_page};
use crate::context::{Context, Failure};
use crate::show;

/// Which table.
#[derive(clap::Args)]
pub struct Args {
    /// CSV or NPZ with the columns `label` (the truth) and `prediction` (or `score`)
    #[arg(long, visible_alias = "predictions", value_name = "FILE")]
    scores: PathBuf,
    /// Column that says which group a row belongs to: errors are shown for each as well
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
    /// Prediction minus truth of every row, for the chart.
    pub errors: Vec<f64>,
    pub groups: Vec<(String, Metrics)>,
    pub skipped: u64,
}

/// Computes and prints.
///
/// # Errors
/// When the table cannot be read, lacks a column, or has no usable row.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let report = report(args)?;
    write_page(args.html.as_ref(), || html::regression(&report))?;
    if context.json() {
        let groups = report.groups.iter().map(|(name, m)| {
            let mut value = json(m);
            value["group"] = json!(name);
            value
        });
        let groups: Vec<Value> = groups.collect();
        let mut value = json(&report.metrics);
        value["skipped"] = json!(report.skipped);
        value["groups"] = json!(groups);
        println!("{value}");
        return Ok(());
    }
    let header = ["rows", "count", "MAE", "95 %", "RMSE", "bias", "median", "95th", "R2"];
    let all = std::iter::once(("all", &report.metrics));
    let rows = all.chain(report.groups.iter().map(|(n, m)| (n.as_str(), m))).map(|(name, m)| row(name, m));
    println!("{}", show::table(&header, rows.collect()));
    if report.skipped > 0 {
        println!("note: {} rows lack one of the two numbers and were left out", report.skipped);
    }
    Ok(())
}

fn row(name: &str, m: &Metrics) -> Vec<String> {
    let n = crate::page::number;
    let interval = format!("{} to {}", n(m.mae_interval.lo), n(m.mae_interval.hi));
    let r2 = m.r2.map_or("-".into(), n);
    vec![
        name.into(),
        m.n.to_string(),
        n(m.mae),
        interval,
        n(m.rmse),
        n(m.bias),
        n(m.median_ae),
        n(m.p95_ae),
        r2,
    ]
}

fn json(m: &Metrics) -> Value {
    json!({
        "n": m.n,
        "mae": m.mae,
        "rmse": m.rmse,
        "bias": m.bias,
        "median_ae": m.median_ae,
        "p95_ae": m.p95_ae,
        "r2": m.r2,
        "intervals": { "mae": crate::drift::interval(m.mae_interval) },
    })
}

fn report(args: &Args) -> Result<Report, Failure> {
    let table = Table::read(&args.scores)?;
    let truth = table.numbers(&["label"])?;
    let predictions = table.numbers(&["prediction", "score"])?;
    let words = args.group.as_deref().map(|g| table.words(g)).transpose()?;
    let pairs: Vec<Option<(f64, f64)>> =
        truth.iter().zip(&predictions).map(|(t, p)| t.zip(*p).filter(|(t, p)| (p - t).is_finite())).collect();
    let rows: Vec<(f64, f64)> = pairs.iter().flatten().copied().collect();
    let metrics = Metrics::of(&rows).ok_or_else(|| {
        let text = "no row has both a label and a prediction";
        Failure::refused("table", format!("{}: {text}", args.scores.display()))
    })?;
    let mut by_group = std::collections::BTreeMap::<String, Vec<(f64, f64)>>::new();
    for (pair, word) in pairs.iter().zip(words.iter().flatten()) {
        if let (Some(pair), Some(word)) = (pair, word) {
            by_group.entry(word.clone()).or_default().push(*pair);
        }
    }
    let groups = by_group.into_iter().filter_map(|(name, rows)| Some((name, Metrics::of(&rows)?))).collect();
    Ok(Report {
        source: args.scores.clone(),
        metrics,
        errors: rows.iter().map(|(t, p)| p - t).collect(),
        groups,
        skipped: (pairs.len() - rows.len()) as u64,
    })
}
