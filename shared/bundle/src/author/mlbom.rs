//! A CycloneDX 1.6 ML-BOM out of a manifest: the model, its data sets, its figures, for tools that read such things.

use longshore_trust::Digest;
use serde_json::{Value, json};

use crate::Manifest;

/// The bytes of `mlbom.cdx.json`. The serial number is derived from the content, so that builds are reproducible.
#[must_use]
pub fn mlbom(manifest: &Manifest, model: &Digest) -> Vec<u8> {
    let name = manifest.model.as_str();
    let version = manifest.version.to_string();
    let datasets: Vec<Value> = manifest
        .lineage
        .dataset
        .iter()
        .enumerate()
        .map(|(i, d)| {
            let mut component = json!({
                "type": "data",
                "bom-ref": format!("dataset-{i}"),
                "name": d.name,
                "data": [{ "type": "dataset", "name": d.name }],
            });
            if let Some(sha256) = &d.sha256 {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256.to_hex() }]);
            }
            if let Some(uri) = &d.uri {
                component["externalReferences"] = json!([{ "type": "distribution", "url": uri }]);
            }
            if let Some(license) = &d.license {
                component["licenses"] = json!([{ "expression": license }]);
            }
            component
        })
        .collect();
    let formats = |specs: &[crate::TensorSpec]| -> Vec<Value> {
        specs.iter().map(|s| json!({ "format": s.to_string() })).collect()
    };
    let mut parameters = json!({
        "inputs": formats(&manifest.api_inputs()),
        "outputs": formats(&manifest.api_outputs().unwrap_or_default()),
    });
    if !datasets.is_empty() {
        let refs: Vec<Value> =
            (0..datasets.len()).map(|i| json!({ "ref": format!("dataset-{i}") })).collect();
        parameters["datasets"] = refs.into();
    }
    if !manifest.monitor.classes.is_empty() {
        parameters["task"] = "classification".into();
    }
    let mut card = json!({ "modelParameters": parameters });
    if !manifest.lineage.metrics.is_empty() {
        let figures: Vec<Value> = manifest
            .lineage
            .metrics
            .iter()
            .map(|(k, v)| json!({ "type": k, "value": v.to_string() }))
            .collect();
        card["quantitativeAnalysis"] = json!({ "performanceMetrics": figures });
    }
    let uses: Vec<&String> = manifest.policy.intended_use.iter().collect();
    let limits: Vec<&String> = manifest.policy.out_of_scope.iter().collect();
    if !uses.is_empty() || !limits.is_empty() {
        card["considerations"] = json!({ "useCases": uses, "technicalLimitations": limits });
    }
    let mut component = json!({
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": name,
        "version": version,
        "hashes": [{ "alg": "SHA-256", "content": model.to_hex() }],
        "modelCard": card,
    });
    if let Some(code) = &manifest.lineage.code {
        let mut reference = json!({ "type": "vcs", "url": code.repo });
        if let Some(commit) = &code.commit {
            reference["comment"] = format!("commit {commit}").into();
        }
        component["externalReferences"] = json!([reference]);
    }
    let seed = Digest::of(format!("{name}@{version} {} {}", manifest.created, model.to_hex()).as_bytes());
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&seed)),
        "version": 1,
        "metadata": {
            "timestamp": manifest.created,
            "tools": { "components": [{ "type": "application", "name": "longshore", "version": env!("CARGO_PKG_VERSION") }] },
            "component": component,
        },
        "components": datasets,
    });
    let mut out = serde_json::to_vec_pretty(&bom).expect("JSON values have string keys");
    out.push(b'\n');
    out
}

/// A version 8 UUID (RFC 9562: custom content) from a digest.
fn uuid(digest: &Digest) -> String {
    let mut b: [u8; 16] = digest.0[..16].try_into().expect("a digest has 32 bytes");
    b[6] = b[6] & 0x0f | 0x80;
    b[8] = b[8] & 0x3f | 0x80;
    let h: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}
