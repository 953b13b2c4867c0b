//! What the fleet's merged counters say about a model: drift, quality, fairness, each with what it rests on.
//!
//! Always true here: every figure carries its number of rows, its interval and a state; too little evidence is a state of
//! its own, never "all is well". Cohorts are merged before they are judged. P-values are corrected over everything that
//! is looked at together (Benjamini and Hochberg). Nothing here reads a clock or a file.

pub mod cohort;
pub mod comparison;
pub mod fairness;
pub mod quality;
pub mod shape;
pub mod verdict;

use std::fmt;

use longshore_stats::bounds::Interval;
use longshore_trust::{Digest, ModelName, UnixMs};
use serde::{Deserialize, Serialize};

pub use cohort::Cohort;
pub use comparison::{Axis, Comparison};
pub use fairness::{FairnessMeasure, FairnessReport, GroupRates};
pub use quality::{Classification, Estimate, LatencyUs, Regression};
pub use shape::{BundleShape, ShapeError};

/// What a verdict says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Too few rows for any test.
    Insufficient,
    /// No difference that matters.
    Stable,
    /// No difference was found, but too few rows to exclude one that matters.
    Undecided,
    /// A difference that is neither chance nor small.
    Drifted,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Insufficient, Self::Stable, Self::Undecided, Self::Drifted];
    /// As written everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Insufficient => "insufficient",
            Self::Stable => "stable",
            Self::Undecided => "undecided",
            Self::Drifted => "drifted",
        }
    }
}
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl From<&longshore_stats::drift::Verdict> for State {
    fn from(v: &longshore_stats::drift::Verdict) -> Self {
        use longshore_stats::drift::Verdict as V;
        match v {
            V::Stable { .. } => Self::Stable,
            V::Drifted { .. } => Self::Drifted,
            V::Undecided { .. } => Self::Undecided,
            V::Insufficient { .. } => Self::Insufficient,
        }
    }
}

/// A span of time, from inclusive, to exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its begin, ms since 1970.
    pub from: UnixMs,
    /// Its end.
    pub to: UnixMs,
}

/// A value with its 95 % interval and the rows it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// Rows.
    pub n: u64,
}

impl Measured {
    /// `value` with the ends of `interval`; `None` when an end is no number (JSON has no NaN and no infinity).
    #[must_use]
    pub fn new(value: f64, interval: Interval, n: u64) -> Option<Self> {
        let Interval { lo, hi } = interval;
        (value.is_finite() && lo.is_finite() && hi.is_finite()).then_some(Self { value, lo, hi, n })
    }
}

/// The current verdict on one feature of one cohort of one model version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftRow {
    /// The model.
    pub model: ModelName,
    /// The bundle.
    pub bundle: Digest,
    /// Its version.
    pub version: String,
    /// Whose rows.
    pub cohort: Cohort,
    /// The feature.
    pub feature: String,
    /// The verdict.
    pub state: State,
    /// Population stability index with its interval; `None` without rows.
    pub effect: Option<Measured>,
    /// p of the test; `None` where the rows are too few for one.
    pub p: Option<f64>,
    /// The same corrected over all features and cohorts of the version.
    pub p_adjusted: Option<f64>,
    /// Rows of the reference.
    pub n_reference: u64,
    /// Rows judged.
    pub n: u64,
    /// Rows that a test needs on either side.
    pub rows_needed: u64,
    /// Which rows.
    pub span: Span,
    /// When it was judged.
    pub at: UnixMs,
}

/// The current quality of one cohort of one model version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityRow {
    /// The model.
    pub model: ModelName,
    /// The bundle.
    pub bundle: Digest,
    /// Its version.
    pub version: String,
    /// Whose rows.
    pub cohort: Cohort,
    /// Requests.
    pub requests: u64,
    /// Rows answered.
    pub rows: u64,
    /// Rows refused or failed.
    pub errors: u64,
    /// errors / (rows + errors).
    pub error_rate: Option<Measured>,
    /// Rows whose output held a NaN.
    pub nan: u64,
    /// Share of answers of low margin.
    pub low_margin: Option<Measured>,
    /// Share of rows with a feature outside the reference's range.
    pub out_of_range: Option<Measured>,
    /// Rows with a label.
    pub labelled: u64,
    /// Share of right answers among them.
    pub accuracy: Option<Measured>,
    /// Further figures of a classification with labels.
    pub classification: Option<Classification>,
    /// Figures of a regression with labels.
    pub regression: Option<Regression>,
    /// Accuracy without labels, or why there is none.
    pub estimated: Estimate,
    /// Fairness between declared groups; `None` where none are declared.
    pub fairness: Option<FairnessReport>,
    /// Latency of a request.
    pub latency: Option<LatencyUs>,
    /// Devices that run the version (of the whole fleet, whatever the cohort).
    pub devices: u64,
    /// Of these, not heard of for the configured time.
    pub silent_devices: u64,
    /// Which rows.
    pub span: Span,
    /// When it was judged.
    pub at: UnixMs,
}
