//! What a loaded model does with requests.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod onnx;

use longshore_runtime::{Limits, LoadError, Model, RunError, Tensor};

fn classifier() -> Model {
    Model::load(&onnx::classifier_manifest(), &onnx::classifier(), &Limits::default()).unwrap()
}

fn softmax(h: [f64; 3]) -> [f64; 3] {
    let e = h.map(f64::exp);
    let sum: f64 = e.iter().sum();
    e.map(|v| v / sum)
}

#[test]
fn any_batch_up_to_the_limit_is_answered_row_by_row() {
    let model = classifier();
    for rows in 1..=8usize {
        let values: Vec<f32> = (0..rows * 2).map(|i| i as f32 * 0.25 - 1.0).collect();
        let x = [Tensor::from_f32("x", &[rows, 2], &values)];
        assert_eq!(model.rows(&x).unwrap(), rows);
        let out = model.run(&x).unwrap();
        assert_eq!((out[0].name.as_str(), out[0].shape.as_slice()), ("y", &[rows, 3][..]));
        let got: Vec<f64> = out[0].values().collect();
        let predictions = model.predictions(rows, &out);
        for r in 0..rows {
            let (a, b) = (f64::from(values[2 * r]), f64::from(values[2 * r + 1]));
            let want = softmax([a, 2.0 * b, -a + 0.5 * b]);
            for k in 0..3 {
                assert!((got[r * 3 + k] - want[k]).abs() < 1e-6, "row {r}: {got:?}");
            }
            let best = (0..3).max_by(|&i, &j| want[i].total_cmp(&want[j]).then(j.cmp(&i))).unwrap();
            assert_eq!(predictions[r].class, Some(u32::try_from(best).unwrap()));
            assert!((f64::from(predictions[r].score) - want[best]).abs() < 1e-6 && !predictions[r].nan);
        }
    }
}

#[test]
fn wrong_requests_are_the_clients_fault_and_say_what_is_wrong() {
    let model = classifier();
    let good = Tensor::from_f32("x", &[1, 2], &[0.0, 0.0]);
    let cases: Vec<(Vec<Tensor>, &str)> = vec![
        (vec![], "input `x` is missing"),
        (vec![good.clone(), Tensor { name: "z".into(), ..good.clone() }], "input `z` is not an input"),
        (vec![good.clone(), good.clone()], "input `x` is not an input of this model, or is given twice"),
        (vec![Tensor::from_i64("x", &[1, 2], &[0, 0])], "element type is INT64, expected FP32"),
        (vec![Tensor::from_f32("x", &[1, 3], &[0.0; 3])], "shape is [1, 3], expected [N, 2]"),
        (vec![Tensor::from_f32("x", &[2], &[0.0; 2])], "shape is [2], expected [N, 2]"),
        (vec![Tensor::from_f32("x", &[0, 2], &[])], "shape is [0, 2], expected [N, 2]"),
        (vec![Tensor { data: vec![0; 7], ..good.clone() }], "is 7 bytes long"),
        (vec![Tensor { shape: vec![usize::MAX, 2], ..good.clone() }], "bytes long"),
        (vec![Tensor::from_f32("x", &[9, 2], &[0.0; 18])], "9 rows in one request, at most 8"),
        (vec![Tensor::from_strings("x", &[1, 2], ["a", "b"])], "element type is BYTES"),
    ];
    for (inputs, text) in cases {
        let error = model.run(&inputs).unwrap_err();
        assert!(error.is_input() && error.to_string().contains(text), "{text:?}: {error}");
        assert_eq!(model.rows(&inputs).unwrap_err(), error);
    }
}

#[test]
fn nan_in_one_row_is_seen_in_that_row() {
    let model = classifier();
    let x = [Tensor::from_f32("x", &[2, 2], &[0.0, 1.0, f32::NAN, 0.0])];
    let out = model.run(&x).unwrap();
    let p = model.predictions(2, &out);
    assert_eq!((p[0].nan, p[0].class.is_some(), p[1].nan, p[1].class), (false, true, true, None));
}

#[test]
fn threads_share_one_model() {
    let model = classifier();
    let want = model.run(&[Tensor::from_f32("x", &[1, 2], &[0.5, 0.25])]).unwrap();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(model.run(&[Tensor::from_f32("x", &[1, 2], &[0.5, 0.25])]).unwrap(), want);
                }
            });
        }
    });
}

#[test]
fn the_manifests_input_facts_override_the_files() {
    // The file says 7 columns, wrongly; the weights say 2.
    let w = onnx::tensor("W", onnx::FLOAT, &[2, 3], &onnx::f32s(&[1.0; 6]));
    let x = onnx::value("x", onnx::FLOAT, &[onnx::D::S("unk__1"), onnx::D::N(7)]);
    let y = onnx::value("y", onnx::FLOAT, &[onnx::D::N(99)]);
    let nodes = [onnx::node("MatMul", "dense", &["x", "W"], &["y"], &[])];
    let bytes = onnx::model(&onnx::graph(&nodes, &[w], &[x], &[y]));
    let manifest = onnx::manifest(r#"["N",2]"#, r#"["N",3]"#, r#","batch":{"max":4}"#);
    let model = Model::load(&manifest, &bytes, &Limits::default()).unwrap();
    let out = model.run(&[Tensor::from_f32("x", &[3, 2], &[1.0; 6])]).unwrap();
    assert_eq!(out[0].shape, [3, 3]);
}

#[test]
fn steps_around_the_graph_change_what_clients_see() {
    let more = r#","batch":{"max":8},
        "preprocess":[{"op":"one_hot","input":"x","classes":2},{"op":"scale","input":"x","factor":2.0}],
        "postprocess":[{"op":"argmax","output":"y","to":"class"},{"op":"labels","output":"class","to":"name"}],
        "monitor":{"classes":["a","b","c"],"score_output":"y","class_output":"class"}"#;
    let manifest = onnx::manifest(r#"["N",2]"#, r#"["N",3]"#, more);
    let model = Model::load(&manifest, &onnx::classifier(), &Limits::default()).unwrap();
    let shown: Vec<String> = model.inputs().iter().chain(model.outputs()).map(ToString::to_string).collect();
    assert_eq!(shown, ["x INT64 [N]", "y FP32 [N,3]", "class INT64 [N]", "name BYTES [N]"]);
    let out = model.run(&[Tensor::from_i64("x", &[2], &[0, 1])]).unwrap();
    // Row 0 is (2, 0): h = (2, 0, -2). Row 1 is (0, 2): h = (0, 4, 1).
    assert_eq!(out[1].values().collect::<Vec<_>>(), [0.0, 1.0]);
    assert_eq!(out[2].strings(), ["a", "b"]);
    let p = model.predictions(2, &out);
    assert_eq!((p[0].class, p[1].class), (Some(0), Some(1)));
    assert!((f64::from(p[1].score) - softmax([0.0, 4.0, 1.0])[1]).abs() < 1e-6);
    let error = model.run(&[Tensor::from_i64("x", &[1], &[2])]).unwrap_err();
    assert!(matches!(error, RunError::Input { .. }) && error.is_input(), "{error}");
}

#[test]
fn a_manifest_that_lies_about_the_graph_is_refused() {
    let limits = Limits::default();
    let load = |m: &longshore_bundle::Manifest| Model::load(m, &onnx::classifier(), &limits).unwrap_err();
    let cases = [
        (onnx::manifest(r#"["N",2]"#, r#"["N",4]"#, ""), "`y` is [N, 4] here, but the graph gives"),
        (onnx::manifest(r#"["N",2]"#, r#"["N"]"#, ""), "`y` is [N] here, but the graph gives"),
    ];
    for (manifest, text) in cases {
        let error = load(&manifest);
        assert!(matches!(error, LoadError::Mismatch { .. }) && error.to_string().contains(text), "{error}");
    }
    let mut other = onnx::classifier_manifest();
    other.outputs[0].dtype = longshore_bundle::DType::Fp64;
    assert!(load(&other).to_string().contains("`y` is FP64 here, but the graph gives FP32"));
    let mut other = onnx::classifier_manifest();
    other.inputs[0].dtype = longshore_bundle::DType::Int64;
    assert!(load(&other).to_string().contains("`x` is INT64 here, but the graph takes FP32"));
    let mut other = onnx::classifier_manifest();
    other.inputs[0].name = "z".into();
    assert!(load(&other).to_string().contains('x'));
    let mut other = onnx::classifier_manifest();
    other.outputs[0].name = "z".into();
    other.monitor.score_output = None;
    other.monitor.classes.clear();
    assert!(load(&other).to_string().contains("the graph has no output `z`; it has y"));
    // A width that the weights cannot take: the engine names the node.
    let error = load(&onnx::manifest(r#"["N",5]"#, r#"["N",3]"#, ""));
    assert!(
        matches!(&error, LoadError::Node { node, operator, .. } if node == "dense" && operator == "MatMul"),
        "{error}"
    );
}

#[test]
fn a_scaler_of_scikit_learn_runs_as_arithmetic() {
    let attributes = [onnx::floats("offset", &[1.0, 2.0]), onnx::floats("scale", &[10.0, 0.5])];
    let mut scaler = onnx::node("Scaler", "standardise", &["x"], &["s"], &attributes);
    scaler.extend(onnx::text(7, "ai.onnx.ml"));
    let relu = onnx::node("Relu", "relu", &["s"], &["y"], &[]);
    let dims = [onnx::D::S("N"), onnx::D::N(2)];
    let (x, y) = (onnx::value("x", onnx::FLOAT, &dims), onnx::value("y", onnx::FLOAT, &dims));
    let bytes = onnx::model(&onnx::graph(&[scaler, relu], &[], &[x], &[y]));
    let manifest = onnx::manifest(r#"["N",2]"#, r#"["N",2]"#, r#","batch":{"max":4}"#);
    let model = Model::load(&manifest, &bytes, &Limits::default()).unwrap();
    let out = model.run(&[Tensor::from_f32("x", &[2, 2], &[2.0, 4.0, 0.0, 8.0])]).unwrap();
    assert_eq!(out[0].values().collect::<Vec<_>>(), [10.0, 1.0, 0.0, 3.0]);
}
