//! What the fleet knows, as far as rules look at it. Plain numbers, counted by the store, judged by nobody yet.

use std::collections::BTreeMap;

use longshore_trust::{DeviceId, Digest, ModelName, UnixMs};

use crate::monitor::Measured;

/// Everything that one look at the fleet found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// What was measured of models, by version and cohort.
    pub models: Vec<ModelFact>,
    /// Devices that a rule about devices counts, by the rule's name. A rule without an entry was not measured.
    pub devices: BTreeMap<String, DeviceFact>,
    /// Published trust metadata.
    pub trust: Vec<TrustFact>,
}

/// What was measured of one version of a model in one cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFact {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: String,
    /// Digest of the bundle's manifest.
    pub bundle: Digest,
    /// The cohort as it is written, `fleet` for everybody.
    pub cohort: String,
    /// What.
    pub what: What,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Verdicts of features, p-values corrected over everything that was looked at together.
    Drift(Vec<FeatureFact>),
    /// Share of right answers among labelled ones.
    Accuracy {
        /// The share.
        share: Measured,
        /// Accuracy that the bundle's manifest names.
        reference: Option<f64>,
    },
    /// Accuracy estimated without labels.
    Estimated {
        /// The estimate, or why there is none.
        share: Result<Measured, String>,
        /// Accuracy that the bundle's manifest names.
        reference: Option<f64>,
    },
    /// Largest difference between declared groups.
    Fairness {
        /// Which measure.
        name: String,
        /// The difference.
        difference: Measured,
    },
    /// Latency of requests, 99th percentile, ms.
    Latency(Measured),
    /// Share of rows that failed.
    Errors(Measured),
}

/// What the verdict about one feature is.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureFact {
    /// Its name.
    pub name: String,
    /// What the verdict says.
    pub state: FeatureState,
    /// Population stability index: the size of the effect.
    pub effect: f64,
    /// Lower and upper end of its interval.
    pub interval: (f64, f64),
    /// Corrected p-value.
    pub p: f64,
    /// Rows looked at.
    pub rows: u64,
}

/// What a verdict says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureState {
    /// Neither chance nor small.
    Drifted,
    /// No difference that matters.
    Stable,
    /// Too few rows to say.
    Unknown,
}

/// Devices that a rule counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceFact {
    /// Devices beyond the rule's threshold.
    pub hits: u64,
    /// Devices that were looked at.
    pub of: u64,
    /// Devices that would still be beyond it if it were a tenth easier to meet: below `hits` nothing has become better.
    pub near: u64,
    /// The worst value: ms of silence, share of free disk, degrees, lost rows.
    pub worst: Option<f64>,
    /// Sum over devices, where that means something (lost rows).
    pub total: u64,
    /// Some of them.
    pub sample: Vec<DeviceId>,
}

/// Metadata of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFact {
    /// The role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: UnixMs,
    /// The server signs it anew by itself.
    pub online: bool,
}
