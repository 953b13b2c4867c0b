//! The report for people: features by effect, each with its chart, verdict and intervals.

use std::fmt::Write as _;

use longshore_stats::distance::shares;
use longshore_stats::drift::Verdict;

use super::compare::{FeatureReport, Kind, Report};
use crate::page::{details, escape, estimate, number, page as whole_page, paired_bars, table};

/// The page.
pub fn page(report: &Report) -> String {
    let mut features: Vec<&FeatureReport> = report.features.iter().collect();
    features.sort_by(|a, b| b.effect().total_cmp(&a.effect()));
    let lead = format!(
        "{} Reference: {} ({} rows). Current: {} ({} rows).",
        report.summary(),
        report.reference.display(),
        report.rows.0,
        report.current.display(),
        report.rows.1
    );
    let mut body = String::from(
        "<p class=\"note\"><svg width=\"12\" height=\"12\"><rect class=\"r\" width=\"12\" height=\"12\"/></svg> reference \
         <svg width=\"12\" height=\"12\"><rect class=\"c\" width=\"12\" height=\"12\"/></svg> current. \
         Features are ordered by effect: the population stability index over the bins of the test. The dashed line is the \
         smallest effect that is called drift.</p>",
    );
    let end = features.iter().map(|f| f.drift.evidence.interval.hi).fold(0.2, f64::max).min(2.0);
    let _ = write!(body, "<p class=\"note\">Lines of effects run from 0 to {}.</p>", number(end));
    body.push_str(&overview(&features));
    for f in &features {
        body.push_str(&section(report, f, end));
    }
    for (_, reason) in &report.skipped {
        let _ = write!(body, "<p class=\"note\">Not compared: {}.</p>", escape(reason));
    }
    if !report.only_in_current.is_empty() {
        let names = report.only_in_current.join(", ");
        let _ = write!(
            body,
            "<p class=\"note\">Only in the current table, not compared: {}.</p>",
            escape(&names)
        );
    }
    whole_page("Drift report", &lead, &body)
}

/// All features at a glance.
fn overview(features: &[&FeatureReport]) -> String {
    let header =
        ["feature", "verdict", "effect", "95 %", "KS, guaranteed", "rows"].map(str::to_owned).to_vec();
    let row = |f: &&FeatureReport| {
        let (e, ks) = (&f.drift.evidence, f.drift.bounds.map(|b| b.ks));
        let between = |lo: f64, hi: f64| {
            if lo.is_nan() { "-".to_owned() } else { format!("{} to {}", number(lo), number(hi)) }
        };
        vec![
            f.name.clone(),
            f.verdict.name().to_owned(),
            number(e.effect),
            between(e.interval.lo, e.interval.hi),
            ks.map_or("-".to_owned(), |i| between(i.lo, i.hi)),
            e.m.to_string(),
        ]
    };
    format!(
        "<section>{}</section>\n",
        table(&std::iter::once(header).chain(features.iter().map(row)).collect::<Vec<_>>())
    )
}

fn labels(f: &FeatureReport) -> Vec<String> {
    match &f.kind {
        Kind::Numeric { edges, .. } => {
            let first = edges.first().map_or("all".to_owned(), |e| format!("< {}", number(*e)));
            [first].into_iter().chain(edges.iter().map(|e| format!("≥ {}", number(*e)))).collect()
        }
        Kind::Categorical { vocabulary } => vocabulary.iter().cloned().chain(["other".to_owned()]).collect(),
    }
}

/// What the verdict means here, in a sentence.
fn meaning(report: &Report, f: &FeatureReport) -> String {
    let gone = f.windows.1.absent();
    let tail = if gone > f.windows.0.absent() && gone * 20 > f.drift.evidence.m {
        format!(" {gone} of {} current rows have no usable value.", f.drift.evidence.m)
    } else {
        String::new()
    };
    let text = match f.verdict {
        Verdict::Drifted { .. } => "The difference is neither chance nor small.".to_owned(),
        Verdict::Stable { .. } => "No difference that matters.".to_owned(),
        Verdict::Undecided { .. } => format!(
            "No difference was found, but with so few rows an effect of {} cannot be excluded.",
            report.policy.effect_material
        ),
        Verdict::Insufficient { rows, needed } => {
            format!("{rows} rows are too few for any test; it takes {needed}.")
        }
    };
    text + &tail
}

fn section(report: &Report, f: &FeatureReport, end: f64) -> String {
    let e = &f.drift.evidence;
    let labels = labels(f);
    let empty = || vec![0.0; labels.len()];
    let reference = shares(&f.counts.0).unwrap_or_else(empty);
    let current = shares(&f.counts.1).unwrap_or_else(empty);
    let verdict = f.verdict.name();
    let mut out = format!(
        "<section><div class=\"head\"><h2>{}</h2><span class=\"badge {verdict}\">{verdict}</span><span>{}</span></div>",
        escape(&f.name),
        escape(&meaning(report, f))
    );
    let title = format!("{}: shares of reference and current rows in each bin", f.name);
    out.push_str(&paired_bars(&title, &labels, &reference, &current));
    if !e.effect.is_nan() {
        let limit = Some(report.policy.effect_min);
        out.push_str(&estimate("effect", e.effect, e.interval.lo, e.interval.hi, end, limit));
    }
    out.push_str(&figures(f));
    let mut rows =
        vec![["bin", "reference", "current", "reference %", "current %"].map(str::to_owned).to_vec()];
    for (i, label) in labels.iter().enumerate() {
        let percent = |s: f64| format!("{:.2}", s * 100.0);
        rows.push(vec![
            label.clone(),
            f.counts.0[i].to_string(),
            f.counts.1[i].to_string(),
            percent(reference[i]),
            percent(current[i]),
        ]);
    }
    out + &details("The numbers behind the chart", &table(&rows)) + "</section>\n"
}

fn figures(f: &FeatureReport) -> String {
    let e = &f.drift.evidence;
    let mut rows = vec![vec!["figure".to_owned(), "value".to_owned(), "interval".to_owned()]];
    let mut row = |name: String, value: f64, interval: Option<(f64, f64)>| {
        let interval = interval.map_or(String::new(), |(lo, hi)| format!("{} to {}", number(lo), number(hi)));
        rows.push(vec![name, number(value), interval]);
    };
    row("rows, reference".into(), e.n as f64, None);
    row("rows, current".into(), e.m as f64, None);
    row(format!("chi-square test, {} bins: p", e.bins), e.p(), None);
    row("p corrected for all features".into(), f.q, None);
    if let Kind::Numeric { exact, .. } = &f.kind {
        let bounds = f.drift.bounds;
        let ks = exact.as_ref().map_or(f64::NAN, |x| x.ks);
        row("Kolmogorov-Smirnov, guaranteed from counts".into(), ks, bounds.map(|b| (b.ks.lo, b.ks.hi)));
        let w1 = exact.as_ref().map_or(f64::NAN, |x| x.w1);
        row("Wasserstein".into(), w1, None);
        row("Wasserstein within the reference's range".into(), f64::NAN, bounds.map(|b| (b.w1.lo, b.w1.hi)));
    }
    if let Some(d) = f.distances {
        row(format!("population stability index, {} bins", d.bins), d.psi, None);
        row("Jensen-Shannon distance, base 2".into(), d.js, None);
        row("Hellinger distance".into(), d.hellinger, None);
        row("largest difference of a share".into(), d.linf, None);
        row("share in bins unknown to the reference".into(), d.unseen, None);
    }
    table(&rows)
}
