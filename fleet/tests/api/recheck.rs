//! The child process that looks at an upload.

use std::process::Command;

use longshore_trust::Digest;
use serde_json::{Value, json};

/// What the child says about a bundle with these files, and whether it passed.
fn recheck(files: &[(&str, &str, &[u8])]) -> (bool, Value) {
    let dir = tempfile::tempdir().unwrap();
    let mut named = Vec::new();
    for (path, role, bytes) in files {
        std::fs::write(dir.path().join(path), bytes).unwrap();
        named.push(json!({ "path": path, "role": role, "sha256": Digest::of(bytes), "length": bytes.len() }));
    }
    let manifest = json!({
        "schema": 1, "model": "m", "version": "1.0.0", "created": "2026-01-31T12:00:00Z", "files": named,
        "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", 4] }],
        "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 3] }],
        "batch": { "axis": 0, "max": 16 },
        "monitor": { "classes": ["a", "b", "c"], "score_output": "y" },
    });
    std::fs::write(dir.path().join("manifest.json"), manifest.to_string()).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_longshore-fleet"))
        .arg("recheck")
        .arg(dir.path())
        .env_clear()
        .output()
        .unwrap();
    let said = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stdout)));
    (out.status.success(), said)
}

#[test]
fn what_is_no_model_is_refused_with_a_reason() {
    let (passed, said) =
        recheck(&[("model.onnx", "model", b"not an ONNX file"), ("golden.safetensors", "golden", b"x")]);
    assert!(!passed);
    assert!(said["code"].as_str().is_some_and(|c| c.contains('.')), "{said}");
    assert!(said["error"].as_str().is_some_and(|e| !e.is_empty()), "{said}");
    let measures: Vec<&str> = said["sandbox"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for wanted in ["rlimits", "memory-limit-4096MiB", "no_new_privs"] {
        assert!(measures.contains(&wanted), "{measures:?}");
    }
    assert!(!measures.iter().any(|m| m.starts_with("missing:whole_process")), "{measures:?}");
}

#[test]
fn a_directory_without_a_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out =
        Command::new(env!("CARGO_BIN_EXE_longshore-fleet")).arg("recheck").arg(dir.path()).output().unwrap();
    assert!(!out.status.success());
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(said["error"].as_str().unwrap().contains("manifest.json"), "{said}");
}
