//! The reports for people.

use std::fmt::Write as _;

use longshore_stats::quality::proportion::Share;
use longshore_stats::rows;

use super::{classification, regression};
use crate::page::{details, escape, estimate, number, page, paired_bars, table};

fn strings<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Two classes.
pub fn classification(report: &classification::Report) -> String {
    let m = &report.metrics;
    let lead = format!("{}: {} rows, {} of the class.", report.source.display(), m.n, m.positives);
    let mut body = String::from("<section><h2>Figures</h2>");
    body +=
        &estimate("accuracy", m.accuracy.value, m.accuracy.interval.lo, m.accuracy.interval.hi, 1.0, None);
    if let Some(auc) = m.auc {
        body += &estimate("AUC", auc.value, auc.interval.lo, auc.interval.hi, 1.0, Some(0.5));
    }
    let figures = [
        ("F1", m.f1.unwrap_or(f64::NAN)),
        ("Brier score", m.brier),
        ("log loss", m.logloss),
        ("expected calibration error, ten bins", m.ece10),
    ];
    let rows = figures.iter().map(|(name, v)| vec![(*name).to_owned(), number(*v)]);
    body += &table(&std::iter::once(strings(["figure", "value"])).chain(rows).collect::<Vec<_>>());
    let c = &m.confusion;
    body += &table(&[
        strings(["truth", "answered no", "answered yes"]),
        vec!["no".into(), c.count(0, 0).to_string(), c.count(0, 1).to_string()],
        vec!["yes".into(), c.count(1, 0).to_string(), c.count(1, 1).to_string()],
    ]);
    body += "</section>\n";
    body += &calibration(report);
    if let Some(groups) = &report.groups {
        body += &fairness(groups);
    }
    if report.skipped > 0 {
        let _ = write!(
            body,
            "<p class=\"note\">{} rows without label or valid score were left out.</p>",
            report.skipped
        );
    }
    page("Quality of predictions", &lead, &body)
}

fn calibration(report: &classification::Report) -> String {
    let labels: Vec<String> =
        (0..10).map(|i| format!("{:.1} to {:.1}", f64::from(i) / 10.0, f64::from(i + 1) / 10.0)).collect();
    let zero = |v: f64| if v.is_nan() { 0.0 } else { v };
    let said: Vec<f64> = report.reliability.iter().map(|r| zero(r.mean_score)).collect();
    let was: Vec<f64> = report.reliability.iter().map(|r| r.hits.map_or(0.0, |h| h.value)).collect();
    let mut rows = vec![strings(["score", "rows", "mean score", "of the class", "95 %"])];
    for (label, r) in labels.iter().zip(&report.reliability) {
        let (value, interval) = share(r.hits);
        rows.push(vec![label.clone(), r.rows.to_string(), number(r.mean_score), value, interval]);
    }
    let chart = paired_bars("mean score and share of the class in each of ten bins", &labels, &said, &was);
    format!(
        "<section><h2>Calibration</h2><p class=\"note\">Left bars: what the scores say. Right bars: what was true.</p>{chart}{}</section>\n",
        details("The numbers behind the chart", &table(&rows))
    )
}

fn share(s: Option<Share>) -> (String, String) {
    s.map_or(("-".into(), String::new()), |s| {
        (number(s.value), format!("{} to {}", number(s.interval.lo), number(s.interval.hi)))
    })
}

fn fairness(groups: &super::fairness::Groups) -> String {
    let mut rows = vec![strings([
        "group",
        "rows",
        "selected",
        "95 %",
        "true positive",
        "95 %",
        "false positive",
        "95 %",
    ])];
    for (name, n, rates) in groups.rates() {
        let cells = rates.into_iter().map(share).flat_map(|(a, b)| [a, b]);
        rows.push([name.to_owned(), n.to_string()].into_iter().chain(cells).collect());
    }
    let mut out = format!("<section><h2>By {}</h2>{}", escape(&groups.column), table(&rows));
    for (_, name, c) in groups.comparisons() {
        match c {
            Some(c) => {
                let limit = name.contains("impact").then_some(0.8);
                out += &estimate(name, c.value, c.interval.lo, c.interval.hi, 1.0, limit);
            }
            None => {
                let _ = write!(out, "<p class=\"note\">{name}: fewer than two groups have the rate.</p>");
            }
        }
    }
    out + "<p class=\"note\">Lines run from 0 to 1. Intervals hold for all pairs of groups together. The dashed line is four fifths, below \
         which a selection rate is often taken for disparate impact.</p></section>\n"
}

/// Numbers.
pub fn regression(report: &regression::Report) -> String {
    let m = &report.metrics;
    let lead = format!("{}: {} rows.", report.source.display(), m.n);
    let mut rows = vec![strings([
        "rows",
        "count",
        "MAE",
        "95 %",
        "RMSE",
        "bias",
        "median error",
        "95th percentile",
        "R2",
    ])];
    let all = std::iter::once(("all", m)).chain(report.groups.iter().map(|(n, m)| (n.as_str(), m)));
    for (name, m) in all {
        rows.push(vec![
            name.to_owned(),
            m.n.to_string(),
            number(m.mae),
            format!("{} to {}", number(m.mae_interval.lo), number(m.mae_interval.hi)),
            number(m.rmse),
            number(m.bias),
            number(m.median_ae),
            number(m.p95_ae),
            number(m.r2.unwrap_or(f64::NAN)),
        ]);
    }
    // Equal bins around 0, as far as 99 % of the errors reach; the rest is in the end bins.
    let size = rows::sorted_finite(report.errors.iter().map(|e| e.abs()));
    let reach = rows::quantile(&size, 0.99).filter(|r| *r > 0.0).unwrap_or(1.0);
    let edges: Vec<f64> = (1..20).map(|i| reach * (f64::from(i) / 10.0 - 1.0)).collect();
    let errors = rows::sorted_finite(report.errors.iter().copied());
    let counts = rows::counts(&errors, &edges);
    let shares: Vec<f64> = counts.iter().map(|n| *n as f64 / errors.len().max(1) as f64).collect();
    let labels: Vec<String> = std::iter::once(format!("< {}", number(edges[0])))
        .chain(edges.iter().map(|e| format!("≥ {}", number(*e))))
        .collect();
    let chart = paired_bars(
        "prediction minus truth: share of rows in each bin",
        &labels,
        &vec![0.0; labels.len()],
        &shares,
    );
    let mut data = vec![strings(["prediction minus truth", "rows"])];
    data.extend(labels.iter().zip(&counts).map(|(l, n)| vec![l.clone(), n.to_string()]));
    let body = format!(
        "<section><h2>Figures</h2>{}</section>\n<section><h2>Prediction minus truth</h2>{chart}{}</section>\n",
        table(&rows),
        details("The numbers behind the chart", &table(&data))
    );
    page("Quality of predictions", &lead, &body)
}
