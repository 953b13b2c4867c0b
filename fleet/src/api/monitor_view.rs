//! What the API says of verdicts: the rows of `longshore_fleet_core::monitor` with their documentation.

use longshore_fleet_core::monitor::{Comparison, DriftRow, Measured, QualityRow, Span};
use longshore_stats::bounds::Interval;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::monitor::{FeatureView, Outlier};

/// A value with its 95 % interval and the rows it rests on.
#[derive(Serialize, ToSchema)]
pub struct Figure {
    /// The estimate.
    value: f64,
    /// Lower end.
    lo: f64,
    /// Upper end.
    hi: f64,
    /// Rows.
    n: u64,
}

impl From<Measured> for Figure {
    fn from(m: Measured) -> Self {
        Self { value: m.value, lo: m.lo, hi: m.hi, n: m.n }
    }
}

/// The verdict on one feature of one cohort.
#[derive(Serialize, ToSchema)]
pub struct Verdict {
    /// The model.
    model: String,
    /// The version.
    version: String,
    /// `fleet`, `label=value,…`, `hw:NAME` or `other`.
    cohort: String,
    /// The feature.
    feature: String,
    /// `stable`, `drifted`, `undecided` or `insufficient`.
    state: String,
    /// Population stability index over the bins of the test.
    effect: Option<Figure>,
    /// p of the test; null where the rows are too few for one.
    p: Option<f64>,
    /// The same, corrected over all features and cohorts of the version (Benjamini-Hochberg).
    p_adjusted: Option<f64>,
    /// Rows of the reference.
    n_reference: u64,
    /// Rows judged.
    n: u64,
    /// Rows that a test needs on either side.
    rows_needed: u64,
}

impl From<DriftRow> for Verdict {
    fn from(r: DriftRow) -> Self {
        Self {
            model: r.model.to_string(),
            version: r.version,
            cohort: r.cohort.to_string(),
            feature: r.feature,
            state: r.state.name().to_owned(),
            effect: r.effect.map(Figure::from),
            p: r.p,
            p_adjusted: r.p_adjusted,
            n_reference: r.n_reference,
            n: r.n,
            rows_needed: r.rows_needed,
        }
    }
}

/// What an answer is about.
#[derive(Serialize, ToSchema)]
pub struct About {
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// Digest of its bundle.
    pub bundle: String,
    /// What the rows cover: begin, ms since 1970 (whole hours; coarsened days reach further than what was asked for).
    pub from: u64,
    /// Its end.
    pub to: u64,
    /// When it was judged, ms.
    pub at: u64,
}

/// Drift of a version.
#[derive(Serialize, ToSchema)]
pub struct Drift {
    /// Of what.
    #[serde(flatten)]
    pub about: About,
    /// Accepted rate of false alarms, over all features and cohorts together.
    pub alpha: f64,
    /// Smallest effect that is called drift.
    pub min_effect: f64,
    /// Features in each state, of all cohorts that were asked for.
    pub states: std::collections::BTreeMap<String, u64>,
    /// Largest effect first.
    pub items: Vec<Verdict>,
    /// Cursor of the next page; null at the end.
    pub next: Option<String>,
}

/// One bin.
#[derive(Serialize, ToSchema)]
pub struct BinCount {
    /// What falls into it.
    label: String,
    /// Rows of the reference.
    reference: u64,
    /// Rows of the cohort.
    current: u64,
}

/// Something compared with this drift.
#[derive(Serialize, ToSchema)]
pub struct Cell {
    /// `itself`, `other_site`, `other_model` or `hardware`.
    axis: String,
    /// What was found there.
    #[serde(flatten)]
    found: Verdict,
}

/// A device against the rest of its cohort.
#[derive(Serialize, ToSchema)]
pub struct DeviceVerdict {
    /// The device.
    device: String,
    /// As for features.
    state: String,
    /// Effect against the rest of the cohort.
    effect: Option<Figure>,
    /// p corrected over the devices.
    p_adjusted: Option<f64>,
    /// Rows of the device.
    n: u64,
}

/// One feature, looked at closely.
#[derive(Serialize, ToSchema)]
pub struct Feature {
    /// Of what.
    #[serde(flatten)]
    pub about: About,
    /// The verdict.
    pub verdict: Verdict,
    /// Guaranteed interval of the Kolmogorov-Smirnov distance: `{lo, hi}`.
    #[schema(value_type = Object)]
    pub ks: Value,
    /// Guaranteed interval of the Wasserstein distance of values clipped to the reference's range.
    #[schema(value_type = Object)]
    pub w1: Value,
    /// Distances over the bins below: `psi`, `js`, `hellinger`, `linf`, `unseen`, `bins`.
    #[schema(value_type = Object)]
    pub distances: Value,
    /// Reference and current rows of each bin; values without a place on the scale last.
    pub bins: Vec<BinCount>,
    /// The same elsewhere.
    pub comparison: Vec<Cell>,
    /// Devices whose windows are kept, those that stand out most first.
    pub devices: Vec<DeviceVerdict>,
    /// Whether there are more devices than were judged.
    pub devices_cut: bool,
}

fn ends(i: Option<Interval>) -> Value {
    i.map_or(Value::Null, |i| json!({ "lo": i.lo, "hi": i.hi }))
}

impl Feature {
    /// From what was found.
    pub fn of(about: About, view: FeatureView) -> Self {
        let drift = &view.verdict.drift;
        let distances = drift.distances.map_or(Value::Null, |d| {
            json!({ "psi": d.psi, "js": d.js, "hellinger": d.hellinger, "linf": d.linf, "unseen": d.unseen,
                "bins": d.bins })
        });
        let cell = |c: Comparison| Cell {
            axis: serde_json::to_value(c.axis)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default(),
            found: c.found.into(),
        };
        let device = |o: Outlier| DeviceVerdict {
            device: o.device,
            state: o.state.name().to_owned(),
            effect: o.effect.map(Figure::from),
            p_adjusted: o.p_adjusted,
            n: o.n,
        };
        Self {
            ks: ends(drift.bounds.map(|b| b.ks)),
            w1: ends(drift.bounds.map(|b| b.w1)),
            distances,
            bins: view
                .bins
                .into_iter()
                .map(|b| BinCount { label: b.label, reference: b.reference, current: b.current })
                .collect(),
            comparison: view.comparison.into_iter().map(cell).collect(),
            devices: view.devices.into_iter().map(device).collect(),
            devices_cut: view.devices_cut,
            verdict: view.row.into(),
            about,
        }
    }
}

/// Quality of a version in one cohort.
#[derive(Serialize, ToSchema)]
pub struct Quality {
    /// Of what.
    #[serde(flatten)]
    pub about: About,
    /// The cohort.
    pub cohort: String,
    /// Rows, errors, accuracy with labels, estimated accuracy or why there is none, latency, devices; every share with its
    /// interval and number of rows.
    #[schema(value_type = Object)]
    pub quality: QualityRow,
}

/// Fairness of a version in one cohort.
#[derive(Serialize, ToSchema)]
pub struct Fairness {
    /// Of what.
    #[serde(flatten)]
    pub about: About,
    /// The cohort.
    pub cohort: String,
    /// Comparisons and groups with intervals, and rows held on devices; null where the manifest declares no groups.
    #[schema(value_type = Object)]
    pub fairness: Value,
}

/// One cohort.
#[derive(Serialize, ToSchema)]
pub struct CohortLine {
    /// As it is written.
    pub cohort: String,
    /// Rows answered in the span.
    pub rows: u64,
    /// Rows with a label.
    pub labelled: u64,
    /// Features in each state.
    pub states: std::collections::BTreeMap<String, u64>,
    /// Largest effect of a feature that drifted.
    pub worst: Option<Verdict>,
}

/// Cohorts of a version.
#[derive(Serialize, ToSchema)]
pub struct Cohorts {
    /// Of what.
    #[serde(flatten)]
    pub about: About,
    /// Labels of devices by which rows are kept apart; declared in the manifest.
    pub declared: Vec<String>,
    /// Whether there were more cohorts than are kept apart: the rest is counted under `other`.
    pub overflow: bool,
    /// The cohorts.
    pub items: Vec<CohortLine>,
}

impl About {
    /// Of a version over a span.
    pub fn of(source: &crate::monitor::Source, span: Span, at: longshore_trust::UnixMs) -> Self {
        Self {
            model: source.of.model.to_string(),
            version: source.of.version.clone(),
            bundle: source.of.bundle.to_hex(),
            from: span.from.0,
            to: span.to.0,
            at: at.0,
        }
    }
}
