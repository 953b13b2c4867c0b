use proptest::prelude::*;
use serde_json::json;

use super::*;

fn message(body: &[u8], header_length: Option<usize>) -> String {
    let refused = parse(body, header_length).unwrap_err();
    assert_eq!(refused.status, 400);
    refused.message
}

fn with_input(input: &Value) -> Vec<u8> {
    json!({ "inputs": [input] }).to_string().into_bytes()
}

#[test]
fn json_tensors_are_read() {
    let body = json!({
        "id": "42",
        "parameters": { "label": ["3", 4], "group": "north", "binary_data_output": true },
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2.5], [3, 4]] }],
        "outputs": [{ "name": "y", "parameters": { "binary_data": false } }, { "name": "z" }],
    });
    let r = parse(body.to_string().as_bytes(), None).unwrap();
    assert_eq!(r.id.as_deref(), Some("42"));
    assert_eq!(r.inputs, [Tensor::from_f32("x", &[2, 2], &[1.0, 2.5, 3.0, 4.0])]);
    assert_eq!(r.labels, [LabelValue::Name("3".into()), LabelValue::Index(4)]);
    assert_eq!(r.groups, ["north"]);
    assert!(r.binary);
    assert_eq!(
        r.outputs,
        [Wanted { name: "y".into(), binary: Some(false) }, Wanted { name: "z".into(), binary: None }]
    );
}

#[test]
fn binary_tensors_follow_the_head_in_order() {
    let head = json!({ "inputs": [
        { "name": "a", "datatype": "UINT8", "shape": [3], "parameters": { "binary_data_size": 3 } },
        { "name": "b", "datatype": "INT64", "shape": [1], "data": [5] },
        { "name": "c", "datatype": "FP32", "shape": [1, 1], "parameters": { "binary_data_size": 4 } },
    ]})
    .to_string();
    let mut body = head.clone().into_bytes();
    body.extend([1, 2, 3]);
    body.extend(1.5f32.to_le_bytes());
    let r = parse(&body, Some(head.len())).unwrap();
    assert_eq!(r.inputs[0].data, [1, 2, 3]);
    assert_eq!(r.inputs[1], Tensor::from_i64("b", &[1], &[5]));
    assert_eq!(r.inputs[2], Tensor::from_f32("c", &[1, 1], &[1.5]));
    // Every truncation is refused, and names the input that lost its bytes.
    for cut in head.len()..body.len() {
        let what = message(&body[..cut], Some(head.len()));
        let name = if cut < head.len() + 3 { "`a`" } else { "`c`" };
        assert!(what.contains(name) && what.contains("cut off"), "{what}");
    }
    body.push(0);
    assert!(message(&body, Some(head.len())).contains("1 bytes follow"));
    assert!(message(&body, Some(body.len() + 1)).contains("Inference-Header-Content-Length"));
}

#[test]
fn each_refusal_names_its_field() {
    let cases = [
        (json!({ "datatype": "FP32", "shape": [1], "data": [1] }), "name"),
        (json!({ "name": "x", "shape": [1], "data": [1] }), "datatype"),
        (json!({ "name": "x", "datatype": "FLOAT", "shape": [1], "data": [1] }), "input `x`: datatype"),
        (json!({ "name": "x", "datatype": "FP32", "data": [1] }), "shape"),
        (json!({ "name": "x", "datatype": "FP32", "shape": [-1], "data": [1] }), "-1"),
        (
            json!({ "name": "x", "datatype": "FP32", "shape": [2], "data": [1] }),
            "input `x`: data has 1 elements",
        ),
        (json!({ "name": "x", "datatype": "FP32", "shape": [u64::MAX, 3], "data": [1] }), "input `x`: shape"),
        (json!({ "name": "x", "datatype": "FP32", "shape": [1] }), "neither data nor"),
        (json!({ "name": "x", "datatype": "FP32", "shape": [1], "data": ["1"] }), "input `x`: data"),
        (
            json!({ "name": "x", "datatype": "INT8", "shape": [1], "data": [300] }),
            "input `x`: data: the value 300",
        ),
        (
            json!({ "name": "x", "datatype": "FP32", "shape": [1], "data": [1], "parameters": { "binary_data_size": 4 } }),
            "both",
        ),
        (
            json!({ "name": "x", "datatype": "FP32", "shape": [1], "parameters": { "binary_data_size": "4" } }),
            "binary_data_size",
        ),
        (
            json!({ "name": "x", "datatype": "FP32", "shape": [1], "parameters": { "shared_memory_region": "r" } }),
            "shared memory",
        ),
    ];
    for (input, want) in cases {
        let got = message(&with_input(&input), None);
        assert!(got.contains(want), "{got:?} must name {want:?}");
    }
    assert!(message(b"{}", None).contains("inputs"));
    assert!(message(br#"{"inputs":[]}"#, None).contains("inputs"));
    assert!(message(b"", None).contains("not valid"));
    let x = json!({ "name": "x", "datatype": "FP32", "shape": [1], "data": [1] });
    for (parameters, want) in [
        (json!({ "label": true }), "parameters.label"),
        (json!({ "group": ["a", true] }), "parameters.group"),
        (json!({ "label": [{}] }), "parameters.label"),
        (json!({ "group": [] }), "parameters.group"),
        (json!({ "explain": 1 }), "parameters.explain"),
        (json!({ "binary_data_output": 1 }), "parameters.binary_data_output"),
    ] {
        let got = message(json!({ "inputs": [x], "parameters": parameters }).to_string().as_bytes(), None);
        assert!(got.contains(want), "{got:?} must name {want:?}");
    }
    let got = message(json!({ "id": 3, "inputs": [x] }).to_string().as_bytes(), None);
    assert!(got.contains("id"), "{got}");
}

#[test]
fn a_nan_is_refused_where_it_is() {
    let head =
        json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2], "parameters": { "binary_data_size": 8 } }] })
            .to_string();
    let mut body = head.clone().into_bytes();
    body.extend(1f32.to_le_bytes());
    body.extend(f32::NAN.to_le_bytes());
    let request = parse(&body, Some(head.len())).unwrap();
    assert!(request.without_nan().unwrap_err().message.contains("`x`: data: holds NaN"));
}

#[test]
fn deep_json_is_refused() {
    for open in [r#"{"inputs":"#, r#"{"parameters":{"a":"#, ""] {
        let body = format!("{open}{}", "[".repeat(200_000));
        assert!(message(body.as_bytes(), None).contains("not valid"));
        let body = format!("{open}{}", r#"{"a":"#.repeat(200_000));
        assert!(message(body.as_bytes(), None).contains("not valid"));
    }
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), length in prop::option::of(0usize..400)) {
        let _ = parse(&body, length);
    }

    #[test]
    fn no_mutation_of_a_request_panics(at in 0usize..200, byte: u8, length in 0usize..220) {
        let head = json!({ "id": "a", "inputs": [
            { "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, -2] },
            { "name": "b", "datatype": "INT8", "shape": [4], "parameters": { "binary_data_size": 4 } },
        ]}).to_string();
        let mut body = head.into_bytes();
        body.extend([1, 2, 3, 4]);
        let at = at % body.len();
        body[at] = byte;
        let _ = parse(&body, Some(length));
    }
}
