//! A hostile file dressed as an approved bundle: hashes, lengths and golden vectors are all in order.

use longshore_bundle::Manifest;
use longshore_bundle::author;
use longshore_trust::Digest;
use serde_json::json;

use crate::corpus::{Hostile, Shapes};
use crate::rig::Bundle;

/// The bundle of one hostile file.
pub fn of(hostile: &Hostile, digits: &Bundle) -> Bundle {
    match hostile.shapes {
        Shapes::Small => small(&hostile.onnx),
        Shapes::Digits => with_model(digits, &hostile.onnx),
    }
}

/// The example with another model in it.
fn with_model(digits: &Bundle, onnx: &[u8]) -> Bundle {
    let mut manifest: serde_json::Value = serde_json::from_slice(&digits.files[0].1).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        if file["role"] == "model" {
            file["sha256"] = json!(Digest::of(onnx));
            file["length"] = json!(onnx.len());
        }
    }
    let mut files = digits.files.clone();
    let path = digits.manifest.model_path();
    files.iter_mut().find(|(p, _)| p == path).unwrap().1 = onnx.to_vec();
    files[0].1 = manifest.to_string().into_bytes();
    let manifest = Manifest::parse(&files[0].1).unwrap();
    Bundle { manifest, files, golden_inputs: digits.golden_inputs.clone() }
}

/// `x [N,2] -> y [N,3]`; the golden input holds a number that is a bomb where it is taken as a size.
pub fn small(onnx: &[u8]) -> Bundle {
    let x: [f32; 4] = [1e9, 3.0, -2.0, 0.5];
    let row = |a: f32, b: f32| [a, 2.0 * b, 0.5 * b - a];
    let y = [row(x[0], x[1]), row(x[2], x[3])].concat();
    bundle(onnx, &[2, 2], &x, &[2, 3], &y)
}

/// A bundle with one input `x` and one output `y`, both FP32 and of symbolic batch size.
pub fn bundle(onnx: &[u8], x_shape: &[usize], x: &[f32], y_shape: &[usize], y: &[f32]) -> Bundle {
    let tensor = longshore_bundle::Tensor::from_f32;
    let io = |name: &str, shape: &[usize]| {
        let mut dims = vec![json!("N")];
        dims.extend(shape[1..].iter().map(|d| json!(d)));
        json!({ "name": name, "dtype": "FP32", "shape": dims })
    };
    let manifest = |golden: &[u8]| {
        let text = json!({
            "schema": 1, "model": "meter-digits", "version": "6.6.6", "created": "2026-01-31T12:00:00Z",
            "files": [
                { "path": "golden.safetensors", "role": "golden", "sha256": Digest::of(golden), "length": golden.len().max(1) },
                { "path": "model.onnx", "role": "model", "sha256": Digest::of(onnx), "length": onnx.len() },
            ],
            "inputs": [io("x", x_shape)], "outputs": [io("y", y_shape)],
            "batch": { "axis": 0, "max": 1024 },
        });
        let bytes = text.to_string().into_bytes();
        (Manifest::parse(&bytes).unwrap(), bytes)
    };
    let vectors = vec![tensor("input.x", x_shape, x), tensor("output.y", y_shape, y)];
    let golden = author::golden_of(vectors, &manifest(&[]).0).unwrap();
    let golden_bytes = golden.to_bytes().unwrap();
    let (manifest, bytes) = manifest(&golden_bytes);
    let files = vec![
        ("manifest.json".to_owned(), bytes),
        ("golden.safetensors".to_owned(), golden_bytes),
        ("model.onnx".to_owned(), onnx.to_vec()),
    ];
    Bundle { manifest, files, golden_inputs: golden.inputs }
}
