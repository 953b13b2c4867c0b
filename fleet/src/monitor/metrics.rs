//! Verdicts as Prometheus metrics: of the whole fleet, by model version. The number of series is bounded: of the features
//! of a version only those that moved most, and of the versions only those that are judged.

use std::fmt::Write as _;

use longshore_fleet_core::monitor::{Cohort, DriftRow, Estimate, QualityRow, State};

use crate::store::{Store, StoreError};

/// Features of one version that are named.
const FEATURES: usize = 10;
/// Versions that are named.
const VERSIONS: usize = 200;

/// The text.
///
/// # Errors
/// When the database cannot be read.
pub async fn metrics(store: &Store) -> Result<String, StoreError> {
    let mut quality = store.quality_current(None, None, Some(&Cohort::Fleet)).await?;
    quality.truncate(VERSIONS);
    let mut out = String::new();
    of_quality(&mut out, &quality);
    let mut drift = Vec::new();
    for q in &quality {
        let bundle = q.bundle.to_hex();
        drift.push(store.drift_current(Some(q.model.as_str()), Some(&bundle), Some(&Cohort::Fleet)).await?);
    }
    of_drift(&mut out, drift);
    Ok(out)
}

fn labels(model: &str, version: &str) -> String {
    format!("model=\"{}\",version=\"{}\"", escape(model), escape(version))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn family(out: &mut String, name: &str, help: &str, series: &[(String, f64)]) {
    if series.is_empty() {
        return;
    }
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} gauge");
    for (labels, value) in series {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

fn of_quality(out: &mut String, rows: &[QualityRow]) {
    type Value = fn(&QualityRow) -> Option<f64>;
    let families: [(&str, &str, Value); 9] = [
        ("longshore_model_rows", "Rows answered in the judged span", |q| Some(q.rows as f64)),
        ("longshore_model_errors", "Rows refused or failed in the judged span", |q| Some(q.errors as f64)),
        ("longshore_model_labelled_rows", "Rows with a label in the judged span", |q| {
            Some(q.labelled as f64)
        }),
        ("longshore_model_accuracy", "Share of right answers among labelled rows", |q| {
            q.accuracy.map(|a| a.value)
        }),
        ("longshore_model_accuracy_lower", "Lower end of its 95 % interval", |q| q.accuracy.map(|a| a.lo)),
        ("longshore_model_accuracy_estimated", "Accuracy without labels, where it can be estimated", |q| {
            match &q.estimated {
                Estimate::Estimable { accuracy, .. } => Some(accuracy.value),
                Estimate::NotEstimable { .. } => None,
            }
        }),
        ("longshore_model_out_of_range", "Share of rows outside the reference's range", |q| {
            q.out_of_range.map(|m| m.value)
        }),
        ("longshore_model_devices", "Devices that run the version", |q| Some(q.devices as f64)),
        ("longshore_model_devices_silent", "Of these, not heard of", |q| Some(q.silent_devices as f64)),
    ];
    for (name, help, value) in families {
        let series: Vec<_> =
            rows.iter().filter_map(|q| Some((labels(q.model.as_str(), &q.version), value(q)?))).collect();
        family(out, name, help, &series);
    }
    let quantiles = rows.iter().flat_map(|q| {
        let of = labels(q.model.as_str(), &q.version);
        let both = q.latency.map(|l| [("0.5", l.p50.value), ("0.99", l.p99.value)]);
        both.into_iter()
            .flatten()
            .map(move |(quantile, us)| (format!("{of},quantile=\"{quantile}\""), us / 1e6))
    });
    let quantiles: Vec<_> = quantiles.collect();
    family(out, "longshore_model_latency_seconds", "Latency of a request in the judged span", &quantiles);
}

fn of_drift(out: &mut String, versions: Vec<Vec<DriftRow>>) {
    let (mut counts, mut effects, mut drifted) = (Vec::new(), Vec::new(), Vec::new());
    for mut rows in versions {
        let Some(first) = rows.first() else { continue };
        let of = labels(first.model.as_str(), &first.version);
        for state in State::ALL {
            let n = rows.iter().filter(|r| r.state == state).count();
            counts.push((format!("{of},state=\"{state}\""), n as f64));
        }
        let effect = |r: &DriftRow| r.effect.map_or(-1.0, |e| e.value);
        rows.sort_by(|a, b| effect(b).total_cmp(&effect(a)));
        for row in rows.iter().filter(|r| r.effect.is_some()).take(FEATURES) {
            let of = format!("{of},feature=\"{}\"", escape(&row.feature));
            effects.push((of.clone(), effect(row)));
            drifted.push((of, f64::from(u8::from(row.state == State::Drifted))));
        }
    }
    family(out, "longshore_drift_features", "Monitored features by verdict", &counts);
    family(
        out,
        "longshore_drift_psi",
        "Population stability index of the features that moved most",
        &effects,
    );
    family(out, "longshore_drift_drifted", "Whether the verdict on them is drifted", &drifted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_from_outside_cannot_end_its_line() {
        let mut out = String::new();
        family(&mut out, "n", "h", &[(labels("m", "1\"} 7\nx"), 1.0)]);
        assert_eq!(out, "# HELP n h.\n# TYPE n gauge\nn{model=\"m\",version=\"1\\\"} 7\\nx\"} 1\n");
    }
    #[test]
    fn of_nothing_there_are_no_series() {
        let mut out = String::new();
        of_quality(&mut out, &[]);
        of_drift(&mut out, vec![Vec::new()]);
        assert_eq!(out, "");
    }
}
