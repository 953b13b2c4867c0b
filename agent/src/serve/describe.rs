//! What the server and its models say about themselves, in the shapes KServe and Triton clients expect.

use longshore_bundle::{DType, Dim, TensorSpec};
use serde_json::{Value, json};

use super::models::Served;

/// The platform of every model here.
const PLATFORM: &str = "onnx_tract";

/// `GET /v2`.
#[must_use]
pub fn server() -> Value {
    json!({
        "name": "longshore-agent",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "statistics"],
    })
}

/// `GET /v2/models/{model}`.
#[must_use]
pub fn model(m: &Served) -> Value {
    let specs = |all: &[TensorSpec]| -> Vec<Value> {
        all.iter().map(|s| json!({ "name": s.name, "datatype": s.dtype.name(), "shape": shape(s) })).collect()
    };
    json!({
        "name": m.name(),
        "versions": [m.version],
        "platform": PLATFORM,
        "inputs": specs(m.model.inputs()),
        "outputs": specs(m.model.outputs()),
        "parameters": { "bundle": m.digest.to_hex() },
    })
}

/// `GET /v2/models/{model}/config`, as Triton gives it.
#[must_use]
pub fn config(m: &Served) -> Value {
    // Shapes hold the batch dimension, which Triton says with max_batch_size 0.
    let specs = |all: &[TensorSpec]| -> Vec<Value> {
        all.iter()
            .map(|s| json!({ "name": s.name, "data_type": type_name(s.dtype), "dims": shape(s) }))
            .collect()
    };
    json!({
        "name": m.name(),
        "platform": PLATFORM,
        "backend": "tract",
        "max_batch_size": 0,
        "input": specs(m.model.inputs()),
        "output": specs(m.model.outputs()),
        "version_policy": { "latest": { "num_versions": 1 } },
    })
}

/// `GET /v2/models/{model}/stats`, as Triton gives it.
#[must_use]
pub fn stats(m: &Served) -> Value {
    let c = m.page().snapshot().unwrap_or_default();
    let ns = m.busy_us().saturating_mul(1000);
    json!({ "model_stats": [{
        "name": m.name(),
        "version": m.version,
        "inference_count": c.rows,
        "execution_count": c.requests,
        "inference_stats": { "success": { "count": c.requests, "ns": ns }, "fail": { "count": c.errors, "ns": 0 } },
    }] })
}

/// One entry of `POST /v2/repository/index`.
#[must_use]
pub fn index_entry(m: &Served) -> Value {
    json!({ "name": m.name(), "version": m.version, "state": "READY", "reason": "" })
}

fn shape(s: &TensorSpec) -> Vec<i64> {
    s.shape
        .iter()
        .map(|d| match d {
            Dim::Fixed(n) => i64::try_from(*n).unwrap_or(i64::MAX),
            Dim::Symbol(_) => -1,
        })
        .collect()
}

fn type_name(d: DType) -> String {
    match d {
        DType::Bytes => "TYPE_STRING".to_owned(),
        other => format!("TYPE_{}", other.name()),
    }
}
