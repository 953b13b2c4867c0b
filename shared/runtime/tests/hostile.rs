//! Bytes that mean harm: loading them is an error, never a panic, an abort or a giant allocation.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod onnx;

use longshore_runtime::{Limits, LoadError, Model, describe::describe, doctor};
use onnx::{D, FLOAT, INT64, f32s, graph, node, tensor, value};
use proptest::prelude::*;

fn load(bytes: &[u8]) -> Result<Model, LoadError> {
    Model::load(&onnx::classifier_manifest(), bytes, &Limits::default())
}

fn xy() -> ([Vec<u8>; 1], [Vec<u8>; 1]) {
    ([value("x", FLOAT, &[D::S("N"), D::N(2)])], [value("y", FLOAT, &[D::S("N"), D::N(3)])])
}

#[test]
fn what_is_no_model_is_refused() {
    for bytes in [&b""[..], b"\0", b"PK\x03\x04", b"not an onnx file", &[0xff; 64]] {
        assert!(matches!(load(bytes), Err(LoadError::NotOnnx(_))), "{bytes:?}");
    }
}

#[test]
fn every_truncation_is_refused_or_harmless() {
    let whole = onnx::classifier();
    for n in 0..whole.len() {
        // A cut between two fields of the model may leave a valid one; it must only not break anything.
        let _ = load(&whole[..n]);
    }
    assert!(load(&whole[..whole.len() / 2]).is_err());
}

#[test]
fn weights_must_be_as_long_as_their_dimensions_say() {
    let (x, y) = xy();
    let nodes = [node("MatMul", "dense", &["x", "W"], &["y"], &[])];
    for (dims, raw) in [
        (vec![i64::MAX, i64::MAX], vec![]),
        (vec![1 << 40, 3], f32s(&[0.0; 6])),
        (vec![-2, -3], f32s(&[0.0; 6])),
        (vec![2, 3], f32s(&[0.0; 5])),
        (vec![2, 3], vec![0; 23]),
        (vec![2, 4], f32s(&[0.0; 6])),
    ] {
        let bytes = onnx::model(&graph(&nodes, &[tensor("W", FLOAT, &dims, &raw)], &x, &y));
        let error = load(&bytes).unwrap_err();
        assert!(
            matches!(&error, LoadError::BadTensor { place, .. } if place.contains("`W`")),
            "{dims:?}: {error}"
        );
    }
}

#[test]
fn a_constant_larger_than_memory_is_not_made() {
    let (x, y) = xy();
    let shape: Vec<u8> = [1i64 << 35, 3].iter().flat_map(|v| v.to_le_bytes()).collect();
    let nodes = [
        node("ConstantOfShape", "huge", &["shape"], &["z"], &[]),
        node("MatMul", "dense", &["x", "z"], &["y"], &[]),
    ];
    let bytes = onnx::model(&graph(&nodes, &[tensor("shape", INT64, &[2], &shape)], &x, &y));
    let error = load(&bytes).unwrap_err();
    assert!(error.to_string().contains("`huge`"), "{error}");
}

#[test]
fn external_data_is_refused_without_looking_for_it() {
    let (x, y) = xy();
    let entry = [onnx::text(1, "location"), onnx::text(2, "/etc/passwd")].concat();
    let outside = [tensor("W", FLOAT, &[2, 3], &[]), onnx::bytes(13, &entry), onnx::number(14, 1)].concat();
    let nodes = [node("MatMul", "dense", &["x", "W"], &["y"], &[])];
    let error = load(&onnx::model(&graph(&nodes, &[outside], &x, &y))).unwrap_err();
    assert!(error.to_string().contains("save the model as one file"), "{error}");
}

#[test]
fn an_unknown_operator_is_named_with_its_node() {
    let (x, y) = xy();
    let nodes = [node("FancyNewOp", "the_node", &["x"], &["y"], &[])];
    let bytes = onnx::model(&graph(&nodes, &[], &x, &y));
    let error = load(&bytes).unwrap_err();
    assert!(
        matches!(&error, LoadError::Node { node, operator, .. } if node == "the_node" && operator == "FancyNewOp"),
        "{error}"
    );
    let found = doctor::examine(&bytes, &Limits::default(), |_| Ok(onnx::classifier_manifest()));
    assert_eq!(found.findings[0].operator.as_deref(), Some("FancyNewOp"));
}

#[test]
fn a_graph_that_feeds_itself_is_refused() {
    let (x, y) = xy();
    let nodes = [node("Add", "a", &["x", "b"], &["y"], &[]), node("Relu", "r", &["y"], &["b"], &[])];
    assert!(load(&onnx::model(&graph(&nodes, &[], &x, &y))).is_err());
}

#[test]
fn what_nothing_makes_is_missed() {
    let (x, y) = xy();
    let nowhere = [node("Relu", "r", &["ghost"], &["y"], &[])];
    let error = load(&onnx::model(&graph(&nowhere, &[], &x, &y))).unwrap_err();
    assert!(error.to_string().contains("`ghost`"), "{error}");
    let error =
        load(&onnx::model(&graph(&[node("Relu", "r", &["x"], &["z"], &[])], &[], &x, &y))).unwrap_err();
    assert!(error.to_string().contains("`y`"), "{error}");
}

#[test]
fn subgraphs_nest_only_so_deep() {
    let (x, y) = xy();
    let mut inner = graph(&[node("Relu", "r", &["x"], &["y"], &[])], &[], &[], &y);
    for _ in 0..40 {
        let branch = onnx::subgraph("then_branch", &inner);
        inner = graph(&[node("If", "if", &["c"], &["y"], &[branch])], &[], &[], &y);
    }
    let bytes = onnx::model(&graph(
        &[node("If", "top", &["c"], &["y"], &[onnx::subgraph("then_branch", &inner)])],
        &[],
        &x,
        &y,
    ));
    let error = load(&bytes).unwrap_err();
    assert!(
        matches!(error, LoadError::Limit { what: "levels of subgraphs", .. } | LoadError::NotOnnx(_)),
        "{error}"
    );
}

#[test]
fn more_nodes_than_allowed_are_refused() {
    let (x, y) = xy();
    let limits = Limits { max_nodes: 10, ..Limits::default() };
    let nodes: Vec<Vec<u8>> =
        (0..11).map(|i| node("Relu", &format!("r{i}"), &["x"], &[&format!("o{i}")], &[])).collect();
    let bytes = onnx::model(&graph(&nodes, &[tensor("y", FLOAT, &[1], &f32s(&[1.0]))], &x, &y));
    let error = Model::load(&onnx::classifier_manifest(), &bytes, &limits).unwrap_err();
    assert_eq!(error, LoadError::Limit { what: "nodes", found: 11, limit: 10 });
    let small = Limits { max_model_bytes: 100, ..Limits::default() };
    let error = Model::load(&onnx::classifier_manifest(), &onnx::classifier(), &small).unwrap_err();
    assert!(matches!(error, LoadError::Limit { .. }), "{error}");
}

#[test]
fn a_long_chain_of_nodes_does_not_exhaust_the_stack() {
    let (x, _) = xy();
    let y = [value("y", FLOAT, &[D::S("N"), D::N(2)])];
    let name = |i: usize| {
        if i == 0 {
            "x".to_owned()
        } else if i == 2000 {
            "y".to_owned()
        } else {
            format!("t{i}")
        }
    };
    let nodes: Vec<Vec<u8>> =
        (0..2000).map(|i| node("Sigmoid", &format!("s{i}"), &[&name(i)], &[&name(i + 1)], &[])).collect();
    let bytes = onnx::model(&graph(&nodes, &[], &x, &y));
    let manifest = onnx::manifest(r#"["N",2]"#, r#"["N",2]"#, r#","batch":{"max":8}"#);
    let model = Model::load(&manifest, &bytes, &Limits::default()).unwrap();
    assert_eq!(
        model.run(&[longshore_runtime::Tensor::from_f32("x", &[1, 2], &[0.0; 2])]).unwrap()[0].shape,
        [1, 2]
    );
}

#[test]
fn text_inputs_are_refused_with_a_reason() {
    let x = [value("x", onnx::STRING, &[D::S("N"), D::N(2)])];
    let (_, y) = xy();
    let bytes = onnx::model(&graph(&[node("Identity", "i", &["x"], &["y"], &[])], &[], &x, &y));
    let error = load(&bytes).unwrap_err();
    assert!(matches!(error, LoadError::Mismatch { .. }), "{error}");
    assert!(describe(&bytes).unwrap().unusable[0].contains("STRING"));
}

#[test]
fn a_symbolic_dimension_is_never_parsed_as_an_expression() {
    let deep: String = std::iter::repeat_n('(', 100_000).collect();
    let x = {
        let dim = onnx::bytes(1, &onnx::bytes(2, deep.as_bytes()));
        let tensor = [onnx::number(1, FLOAT), onnx::bytes(2, &dim)].concat();
        [onnx::text(1, "x"), onnx::bytes(2, &onnx::bytes(1, &tensor))].concat()
    };
    let (_, y) = xy();
    let w = tensor("W", FLOAT, &[2, 3], &f32s(&[0.0; 6]));
    let nodes = [node("MatMul", "dense", &["x", "W"], &["y"], &[])];
    load(&onnx::model(&graph(&nodes, &[w], &[x], &y))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn mutated_models_never_panic_out(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = onnx::classifier();
        for (at, with) in changes {
            let i = at.index(bytes.len());
            bytes[i] = with;
        }
        let _ = describe(&bytes);
        if let Ok(model) = load(&bytes) {
            let _ = model.run(&[longshore_runtime::Tensor::from_f32("x", &[1, 2], &[0.5; 2])]);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = describe(&bytes);
        prop_assert!(load(&bytes).is_err());
    }
}
