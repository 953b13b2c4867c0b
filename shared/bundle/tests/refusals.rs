//! Each thing a device refuses in a manifest, with the field it names.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use longshore_bundle::{Manifest, ManifestError, Refusal};
use serde_json::{Value, json};

fn good() -> Value {
    let file =
        |path: &str, role: &str| json!({ "path": path, "sha256": "0".repeat(64), "length": 1, "role": role });
    json!({
        "schema": 1,
        "model": "m",
        "version": "1.0.0",
        "created": "2026-01-31T12:00:00Z",
        "files": [file("model.onnx", "model"), file("golden.safetensors", "golden")],
        "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", 4] }],
        "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 3] }],
        "batch": { "axis": 0, "max": 16 },
        "monitor": { "classes": ["a", "b", "c"], "score_output": "y" },
    })
}

fn parse(v: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(v.to_string().as_bytes())
}

/// The refusal of the good manifest with one value put at a JSON pointer (or taken out: `null`).
fn refusal(pointer: &str, value: Value) -> ManifestError {
    let mut v = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match v.pointer_mut(parent).unwrap() {
        Value::Object(map) if value.is_null() => drop(map.remove(key)),
        Value::Object(map) => drop(map.insert(key.to_owned(), value)),
        Value::Array(list) => match key.parse::<usize>() {
            Ok(i) if i < list.len() => list[i] = value,
            _ => list.push(value),
        },
        _ => panic!("{parent} is neither object nor list"),
    }
    let error = parse(&v).expect_err(pointer);
    assert_eq!(error.file, "manifest.json");
    error
}

#[test]
fn the_good_manifest_is_taken() {
    let m = parse(&good()).unwrap();
    assert_eq!((m.classes(), m.max_rows(), m.batch_symbol()), (3, 16, Some("N")));
    assert_eq!((m.model_path(), m.golden_path()), ("model.onnx", "golden.safetensors"));
}

#[test]
fn a_newer_schema_is_told_apart_from_nonsense() {
    assert_eq!(refusal("/schema", json!(2)).reason, Refusal::Schema(2));
    assert_eq!(refusal("/schema", json!("one")).field, "schema");
    // A newer schema may have any fields.
    let mut v = good();
    v["schema"] = json!(7);
    v["something_new"] = json!({});
    assert_eq!(parse(&v).unwrap_err().reason, Refusal::Schema(7));
    assert!(matches!(Manifest::parse(b"not json").unwrap_err().reason, Refusal::Syntax(_)));
    assert!(matches!(Manifest::parse(b"[]").unwrap_err().reason, Refusal::Syntax(_)));
}

#[test]
fn unknown_missing_and_repeated_fields_are_named() {
    assert_eq!(refusal("/surprise", json!(1)).field, "surprise");
    let e = refusal("/monitor/surprise", json!(1));
    assert!(e.field == "monitor" && e.to_string().contains("`surprise`"), "{e}");
    let e = refusal("/files/0/surprise", json!(1));
    assert!(e.field == "files[0]" && e.to_string().contains("`surprise`"), "{e}");
    assert!(refusal("/inputs", Value::Null).to_string().contains("`inputs`"));
    let twice = good().to_string().replacen("\"model\":\"m\"", "\"model\":\"m\",\"model\":\"m\"", 1);
    assert!(Manifest::parse(twice.as_bytes()).unwrap_err().to_string().contains("duplicate field `model`"));
}

#[test]
fn paths_that_could_leave_the_bundle_are_refused() {
    for bad in ["../model.onnx", "/etc/passwd", "a/../b", "..", "a\\b", "C:\\x", "", "a/b/c", ".hidden"] {
        let e = refusal("/files/0/path", json!(bad));
        assert!(e.field == "files[0].path" && matches!(e.reason, Refusal::Path { .. }), "{bad:?}: {e}");
    }
    for reserved in ["manifest.json", "model.sig", "Manifest.json", "nul.onnx"] {
        let e = refusal("/files/0/path", json!(reserved));
        assert_eq!(e.reason, Refusal::ReservedName(reserved.to_owned()));
    }
}

#[test]
fn a_path_may_be_named_once_whatever_its_case() {
    for twin in ["model.onnx", "MODEL.onnx"] {
        let file = json!({ "path": twin, "sha256": "0".repeat(64), "length": 1, "role": "card" });
        let e = refusal("/files/2", file);
        assert_eq!((e.field.as_str(), e.reason), ("files[2].path", Refusal::Duplicate(twin.to_owned())));
    }
    let below = json!({ "path": "model.onnx/x", "sha256": "0".repeat(64), "length": 1, "role": "card" });
    assert!(matches!(refusal("/files/2", below).reason, Refusal::Duplicate(_)));
}

#[test]
fn files_have_roles_lengths_and_digests() {
    assert_eq!(refusal("/files/0/role", json!("golden")).reason, Refusal::RoleCount("model", 0));
    assert_eq!(refusal("/files/1/role", json!("card")).reason, Refusal::RoleCount("golden", 0));
    let second = json!({ "path": "m2.onnx", "sha256": "0".repeat(64), "length": 1, "role": "model" });
    assert_eq!(refusal("/files/2", second).reason, Refusal::RoleCount("model", 2));
    assert_eq!(refusal("/files/0/length", json!(0)).field, "files[0].length");
    assert!(matches!(refusal("/files/0/length", json!(3u64 << 30)).reason, Refusal::TooMany { .. }));
    assert_eq!(refusal("/files/0/sha256", json!("0")).field, "files[0]");
    assert_eq!(refusal("/files/0/sha256", json!("F".repeat(64))).field, "files[0]");
    assert_eq!(refusal("/files/0/role", json!("virus")).field, "files[0]");
}

#[test]
fn shapes_and_types_are_bounded() {
    assert_eq!(refusal("/inputs", json!([])).field, "inputs");
    assert_eq!(refusal("/inputs/0/dtype", json!("FLOAT")).field, "inputs[0]");
    assert_eq!(refusal("/inputs/0/dtype", json!("BYTES")).field, "inputs[0].dtype");
    for shape in [
        json!(["N", 0]),
        json!(["N", 1u64 << 40]),
        json!(["1N", 4]),
        json!(["N M", 4]),
        json!(["N", 1 << 20, 1 << 20]),
        json!(["", 4]),
        json!(vec![1; 9]),
    ] {
        assert_eq!(refusal("/inputs/0/shape", shape.clone()).field, "inputs[0].shape", "{shape}");
    }
    assert_eq!(refusal("/inputs/0/shape", json!(["N", -1])).field, "inputs[0]");
    assert_eq!(refusal("/inputs/0/shape", json!(["N", 1.5])).field, "inputs[0]");
    assert_eq!(refusal("/inputs/0/name", json!("")).field, "inputs[0].name");
    let twin = json!({ "name": "x", "dtype": "FP32", "shape": [1] });
    assert_eq!(refusal("/inputs/1", twin).reason, Refusal::Duplicate("x".into()));
}

#[test]
fn the_batch_axis_must_be_a_symbol_that_appears_once() {
    assert_eq!(refusal("/batch/axis", json!(1)).field, "batch.axis");
    assert_eq!(refusal("/batch/max", json!(0)).field, "batch.max");
    assert_eq!(refusal("/batch/max", json!(1_000_000)).field, "batch.max");
    assert_eq!(refusal("/inputs/0/shape", json!(["N", "N"])).field, "inputs[0].shape");
}

#[test]
fn steps_must_fit_what_they_work_on() {
    let pre = |step: Value| {
        let mut v = good();
        v["preprocess"] = json!([step]);
        parse(&v).unwrap_err()
    };
    assert_eq!(pre(json!({ "op": "shell", "cmd": "rm" })).field, "preprocess[0]");
    assert_eq!(
        pre(json!({ "op": "scale", "input": "z", "factor": 1 })).reason,
        Refusal::MissingTensor("z".into())
    );
    let bad = [
        json!({ "op": "normalize", "input": "x", "mean": [0.0], "std": [0.0] }),
        json!({ "op": "normalize", "input": "x", "mean": [0.0, 1.0], "std": [1.0] }),
        json!({ "op": "normalize", "input": "x", "mean": [0.0], "std": [1.0], "axis": 5 }),
        json!({ "op": "clip", "input": "x", "min": 1.0, "max": 0.0 }),
        json!({ "op": "window", "input": "x", "size": 5, "step": 1 }),
        json!({ "op": "window", "input": "x", "size": 4, "step": 0 }),
        json!({ "op": "one_hot", "input": "x", "classes": 3 }),
    ];
    for step in bad {
        assert!(pre(step.clone()).field.starts_with("preprocess[0]"), "{step}");
    }
    let post = |step: Value| {
        let mut v = good();
        v["postprocess"] = json!([step]);
        parse(&v).unwrap_err()
    };
    assert_eq!(post(json!({ "op": "softmax", "output": "z" })).reason, Refusal::MissingTensor("z".into()));
    assert_eq!(
        post(json!({ "op": "argmax", "output": "y", "to": "y" })).reason,
        Refusal::Duplicate("y".into())
    );
    assert!(matches!(post(json!({ "op": "labels", "output": "y" })).reason, Refusal::DType { .. }));
}

#[test]
fn what_is_monitored_must_exist() {
    assert_eq!(refusal("/monitor/score_output", json!("z")).reason, Refusal::MissingTensor("z".into()));
    assert!(matches!(refusal("/monitor/class_output", json!("y")).reason, Refusal::DType { .. }));
    assert_eq!(refusal("/monitor/classes", json!(["a", "b", "c", "d"])).field, "monitor.classes");
    assert_eq!(refusal("/monitor/classes", json!(["a", "a", "c"])).reason, Refusal::Duplicate("a".into()));
    assert_eq!(refusal("/monitor/classes", json!(["a"])).field, "monitor.classes");
    assert_eq!(refusal("/monitor/score_output", Value::Null).field, "monitor.classes");
    assert_eq!(refusal("/monitor/window_s", json!(0)).field, "monitor.window_s");
    let feature = |i: u32| json!({ "name": format!("f{i}"), "input": "x", "index": i });
    assert_eq!(refusal("/monitor/features", json!([feature(4)])).field, "monitor.features[0].index");
    assert_eq!(
        refusal("/monitor/features", json!([{ "name": "f", "input": "q" }])).field,
        "monitor.features[0].input"
    );
    assert_eq!(
        refusal("/monitor/features", json!([feature(0), feature(0)])).reason,
        Refusal::Duplicate("f0".into())
    );
}

#[test]
fn no_more_than_256_features_are_monitored() {
    let mut v = good();
    v["inputs"][0]["shape"] = json!(["N", 300]);
    let features = |n: u32| {
        (0..n).map(|i| json!({ "name": format!("f{i}"), "input": "x", "index": i })).collect::<Vec<_>>()
    };
    v["monitor"]["features"] = json!(features(256));
    parse(&v).unwrap();
    v["monitor"]["features"] = json!(features(257));
    let e = parse(&v).unwrap_err();
    assert_eq!(e.reason, Refusal::TooMany { what: "features", found: 257, limit: 256 });
    assert_eq!(e.field, "monitor.features");
}

#[test]
fn numbers_must_make_sense() {
    for (pointer, value) in [
        ("/golden", json!({ "abs": -1.0 })),
        ("/golden", json!({ "rel": 2.0 })),
        ("/created", json!("yesterday")),
        ("/created", json!("2026-13-01T00:00:00Z")),
        ("/version", json!("1.0")),
        ("/model", json!("Upper Case")),
        ("/parent", json!("abc")),
        ("/policy", json!({ "retention_days": 0 })),
    ] {
        let e = refusal(pointer, value.clone());
        assert!(e.field.starts_with(&pointer[1..]), "{pointer} {value}: {e}");
    }
}

#[test]
fn an_endless_manifest_is_not_parsed() {
    let long = format!("{}{}", good(), " ".repeat(300 * 1024));
    assert!(matches!(
        Manifest::parse(long.as_bytes()).unwrap_err().reason,
        Refusal::TooMany { what: "bytes", .. }
    ));
}

#[test]
fn groups_are_declared_with_their_values_and_what_is_good_for_them() {
    let monitor = |more: Value| {
        let mut m = good()["monitor"].clone();
        m.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        m
    };
    for (more, field) in [
        (json!({ "group": "site" }), "monitor.groups"),
        (json!({ "group": "site", "groups": ["north"], "favourable": "a" }), "monitor.groups"),
        (json!({ "group": "site", "groups": ["north", "north"], "favourable": "a" }), "monitor.groups[1]"),
        (json!({ "groups": ["north", "south"] }), "monitor.group"),
        (json!({ "favourable": "a" }), "monitor.group"),
        (json!({ "group": "site", "groups": ["north", "south"] }), "monitor.favourable"),
        (json!({ "group": "site", "groups": ["north", "south"], "favourable": "z" }), "monitor.favourable"),
        (json!({ "error_unit": 0.1 }), "monitor.error_unit"),
        (json!({ "error_unit": -1.0 }), "monitor.error_unit"),
        (json!({ "cohorts": ["a", "b", "c", "d"] }), "monitor.cohorts"),
        (json!({ "cohorts": ["a", "a"] }), "monitor.cohorts[1]"),
    ] {
        let e = refusal("/monitor", monitor(more.clone()));
        assert_eq!(e.field, field, "{more}: {e}");
    }
    let mut v = good();
    v["monitor"] =
        monitor(json!({ "group": "site", "groups": ["n", "s"], "favourable": "b", "cohorts": ["ring"] }));
    assert_eq!(parse(&v).unwrap().monitor.favourable_class(), Some(1));
}
