//! `manifest.json`, schema 1: what a bundle is, what it needs, how to watch it.

use std::collections::BTreeMap;

use longshore_trust::{Digest, ModelName};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{BundlePath, Dim, ManifestError, PostStep, PreStep, TensorSpec};

/// Most features one bundle may monitor.
pub const FEATURES_MAX: usize = 256;

/// A manifest that has passed every check. Built by [`Manifest::parse`]; authors fill one in and serialize it with
/// [`Manifest::to_json`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always 1.
    pub schema: u64,
    /// The model.
    pub model: ModelName,
    /// Version of this bundle.
    pub version: Version,
    /// When it was built, RFC 3339, UTC.
    pub created: String,
    /// Digest of the bundle it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// Every file but the manifest.
    pub files: Vec<FileEntry>,
    /// Inputs of the graph; they override what the ONNX file says.
    pub inputs: Vec<TensorSpec>,
    /// Outputs of the graph that are served.
    pub outputs: Vec<TensorSpec>,
    /// Which axis holds the rows of a request; without it a request is one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Done to inputs before the graph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preprocess: Vec<PreStep>,
    /// Done to outputs after the graph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub postprocess: Vec<PostStep>,
    /// What a device must offer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Requires,
    /// How it is watched.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monitor: Monitor,
    /// How far outputs may be from the golden vectors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub golden: Tolerance,
    /// What it was made of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lineage: Lineage,
    /// What it is for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it lies.
    pub path: BundlePath,
    /// SHA-256 of its content.
    pub sha256: Digest,
    /// Its length, bytes.
    pub length: u64,
    /// What it is.
    pub role: Role,
}

/// What a file is. A bundle has one model and one golden file, and at most one of each other role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The ONNX graph.
    Model,
    /// Reference profile of the training or validation data.
    Reference,
    /// Inputs and expected outputs.
    Golden,
    /// Model card, for people.
    Card,
    /// CycloneDX ML-BOM, for machines.
    Mlbom,
}

impl Role {
    /// As written in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Reference => "reference",
            Self::Golden => "golden",
            Self::Card => "card",
            Self::Mlbom => "mlbom",
        }
    }
}

/// Rows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Axis of the first input that holds the rows; its dimension must be a symbol, and wherever that symbol appears it
    /// is the number of rows.
    #[serde(default)]
    pub axis: u32,
    /// Most rows in one request.
    pub max: u32,
}

/// What a device must offer. Empty fields ask for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requires {
    /// CPU architectures (`aarch64`, `arm`, `x86_64`, `riscv64`); empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Oldest agent that can run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_agent: Option<Version>,
    /// Most memory it may take, MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rss_mb: Option<u32>,
    /// Slowest 99th percentile of one golden run, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_p99_ms: Option<u32>,
    /// Features a device must offer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// How a bundle is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Length of a window, seconds. A device makes none longer than its configuration says (`intervals.window`), and none
    /// shorter than it makes counters durable (`intervals.journal`).
    pub window_s: u32,
    /// Names of the classes, in the order of the scores; their number is K. Empty for a regression.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Output (after postprocessing) with a score for each class, or with one score for the second of two classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_output: Option<String>,
    /// Output (after postprocessing) with the index of the predicted class; without it the greatest score wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_output: Option<String>,
    /// Features whose distribution is watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
    /// Name of the group attribute for fairness; declared, never inferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its values, 2 to 16; a row that names another is counted as undeclared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The class that is good for whom it is given to; the second of two when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub favourable: Option<String>,
    /// Smallest error of a regression that matters, in the unit of its output; without it errors are not tabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_unit: Option<f64>,
    /// Labels of devices by which what they see is kept apart at the fleet, at most 3. What is merged cannot be cut again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cohorts: Vec<String>,
    /// Share of rows that are explained, per mille.
    #[serde(skip_serializing_if = "is_default")]
    pub explain_permille: u16,
    /// How long labels may take to arrive, seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub label_delay_s: u64,
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            window_s: 3600,
            classes: Vec::new(),
            score_output: None,
            class_output: None,
            features: Vec::new(),
            group: None,
            groups: Vec::new(),
            favourable: None,
            error_unit: None,
            cohorts: Vec::new(),
            explain_permille: 0,
            label_delay_s: 0,
        }
    }
}

impl Monitor {
    /// Index of the class that is good for whom it is given to; `None` where no groups are compared.
    #[must_use]
    pub fn favourable_class(&self) -> Option<usize> {
        self.group.as_ref()?;
        match &self.favourable {
            Some(name) => self.classes.iter().position(|c| c == name),
            None => (self.classes.len() == 2).then_some(1),
        }
    }
}

/// A monitored feature: one column of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Name, unique in the bundle; the reference profile uses it too.
    pub name: String,
    /// Input it comes from.
    pub input: String,
    /// Index into one row of the input, flattened.
    #[serde(default)]
    pub index: u32,
    /// Kind of values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: FeatureKind,
}

/// Kind of a feature's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// Numbers on a scale.
    #[default]
    Numeric,
    /// Numbers that stand for kinds.
    Categorical,
}

/// A value `a` passes for expected `b` when `|a - b| <= abs + rel * |b|`. Whole numbers must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// Absolute part.
    pub abs: f64,
    /// Relative part.
    pub rel: f64,
}
impl Default for Tolerance {
    fn default() -> Self {
        Self { abs: 1e-4, rel: 1e-4 }
    }
}

/// What a bundle was made of.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lineage {
    /// Data sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dataset: Vec<DatasetRef>,
    /// The code that trained it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeRef>,
    /// The training run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunRef>,
    /// Figures measured when it was made, e.g. `accuracy`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetRef {
    /// Its name.
    pub name: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// SHA-256 of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Its licence, as an SPDX identifier where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// Code in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRef {
    /// The repository.
    pub repo: String,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A training run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRef {
    /// Tool that ran it, e.g. `mlflow`.
    pub tool: String,
    /// Id in that tool.
    pub id: String,
    /// Where it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// What a bundle is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Intended use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intended_use: Option<String>,
    /// Uses it is not meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_scope: Option<String>,
    /// How long records of it are kept, days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// How many predictions leave a trace of their input's hash.
    #[serde(skip_serializing_if = "is_default")]
    pub lineage: LineageMode,
}

/// How many predictions leave a trace of their input's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineageMode {
    /// None.
    #[default]
    Off,
    /// Some.
    Sampled,
    /// All.
    All,
}

impl Manifest {
    /// Parses and checks the bytes of a `manifest.json`.
    ///
    /// # Errors
    /// [`ManifestError`]: the first rule that is broken, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = crate::parse::parse(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }
    /// The identity of the bundle whose manifest has these bytes.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> Digest {
        Digest::of(bytes)
    }
    /// Indented JSON with a newline at the end; the same manifest always gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out =
            serde_json::to_vec_pretty(self).expect("a manifest has only string keys and finite numbers");
        out.push(b'\n');
        out
    }
    /// The file with a role.
    #[must_use]
    pub fn file(&self, role: Role) -> Option<&FileEntry> {
        self.files.iter().find(|f| f.role == role)
    }
    /// Path of the model inside the bundle.
    #[must_use]
    pub fn model_path(&self) -> &str {
        self.file(Role::Model).map_or("model.onnx", |f| f.path.as_str())
    }
    /// Path of the golden vectors inside the bundle.
    #[must_use]
    pub fn golden_path(&self) -> &str {
        self.file(Role::Golden).map_or("golden.safetensors", |f| f.path.as_str())
    }
    /// The symbol that stands for the number of rows.
    #[must_use]
    pub fn batch_symbol(&self) -> Option<&str> {
        let axis = self.batch?.axis as usize;
        self.inputs.iter().find_map(|i| match i.shape.get(axis) {
            Some(Dim::Symbol(s)) => Some(s.as_str()),
            _ => None,
        })
    }
    /// Most rows in one request.
    #[must_use]
    pub fn max_rows(&self) -> u32 {
        self.batch.map_or(1, |b| b.max)
    }
    /// Number of classes K; 0 for a regression.
    #[must_use]
    pub fn classes(&self) -> u32 {
        u32::try_from(self.monitor.classes.len()).unwrap_or(u32::MAX)
    }
    /// Size of all files with the manifest, bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |n, f| n.saturating_add(f.length))
    }
}

fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}
