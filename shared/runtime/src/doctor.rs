//! Why a model does not load: every operator that the engine lacks, or the node it stumbles over, and what to change.

use longshore_bundle::Manifest;
use serde::Serialize;
use tract_onnx::prelude::Framework as _;

use crate::describe::{Description, describe};
use crate::{Limits, LoadError, Model, guard};

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What the file says of itself, when it could be read.
    pub description: Option<Description>,
    /// What is wrong; nothing when it loads.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Node of the graph, when it is about one.
    pub node: Option<String>,
    /// Its operator.
    pub operator: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What to change in the export.
    pub advice: String,
}

impl From<LoadError> for Finding {
    fn from(error: LoadError) -> Self {
        let advice = match &error {
            LoadError::NotOnnx(_) => "export the model again; the file may be cut short",
            LoadError::Limit { .. } | LoadError::Memory(_) => "use a smaller model",
            LoadError::Made { .. } => "lower `batch.max`, or use a smaller model",
            LoadError::BadTensor { .. } => "export the model again as a single file",
            LoadError::Mismatch { .. } => {
                "let `longshore bundle build` infer inputs and outputs, or name shapes with --shape"
            }
            LoadError::Node { advice, .. } => advice,
            LoadError::Graph(_) | LoadError::Panicked(_) => {
                "simplify the graph (onnxsim), fix the input shapes (--shape), or export with opset 17"
            }
        };
        let (node, operator, reason) = match &error {
            LoadError::Node { node, operator, reason, .. } => {
                (Some(node.clone()), Some(operator.clone()), reason.clone())
            }
            other => (None, None, other.to_string()),
        };
        Self { node, operator, reason, advice: advice.to_owned() }
    }
}

/// Examines `onnx`. `draft` makes a manifest of what the file says of itself, for the trial load.
pub fn examine(
    onnx: &[u8],
    limits: &Limits,
    draft: impl FnOnce(&Description) -> Result<Manifest, String>,
) -> Diagnosis {
    let description = match describe(onnx) {
        Ok(d) => d,
        Err(e) => {
            return Diagnosis { description: None, findings: vec![e.into()] };
        }
    };
    let mut findings: Vec<Finding> = Vec::new();
    for text in &description.unusable {
        findings.push(Finding {
            node: None,
            operator: None,
            reason: text.clone(),
            advice: "make it a numeric tensor: encode text before the model; for scikit-learn pass \
                     options={'zipmap': False}"
                .to_owned(),
        });
    }
    let proto = tract_onnx::onnx().proto_model_for_read(&mut std::io::Cursor::new(onnx));
    if let Some(graph) = proto.ok().and_then(|p| p.graph) {
        let mut seen = std::collections::BTreeSet::new();
        for error in guard::unsupported(&graph) {
            let finding = Finding::from(error);
            if seen.insert(finding.operator.clone()) {
                findings.push(finding);
            }
        }
    }
    if findings.is_empty() {
        match draft(&description) {
            Ok(manifest) => findings.extend(Model::load(&manifest, onnx, limits).err().map(Finding::from)),
            Err(reason) => findings.push(Finding {
                node: None,
                operator: None,
                reason,
                advice: "name the shapes of the inputs with --shape".to_owned(),
            }),
        }
    }
    Diagnosis { description: Some(description), findings }
}
