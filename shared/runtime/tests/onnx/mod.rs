//! Just enough of ONNX's protobuf to write small models in tests, right ones and wrong ones.

#![allow(dead_code, reason = "each test binary uses its part")]

/// A length-delimited field.
pub fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = varint(field << 3 | 2);
    out.extend(varint(content.len() as u64));
    out.extend_from_slice(content);
    out
}
/// A number field.
pub fn number(field: u64, value: i64) -> Vec<u8> {
    let mut out = varint(field << 3);
    out.extend(varint(value as u64));
    out
}
fn varint(mut v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
    out
}
pub fn text(field: u64, s: &str) -> Vec<u8> {
    bytes(field, s.as_bytes())
}

pub const FLOAT: i64 = 1;
pub const INT64: i64 = 7;
pub const STRING: i64 = 8;
pub const BOOL: i64 = 9;

/// A dimension: a number, or a letter.
pub enum D {
    N(i64),
    S(&'static str),
}

/// ValueInfoProto.
pub fn value(name: &str, dtype: i64, dims: &[D]) -> Vec<u8> {
    let dims = dims.iter().flat_map(|d| {
        let dim = match d {
            D::N(n) => number(1, *n),
            D::S(s) => text(2, s),
        };
        bytes(1, &dim)
    });
    let shape = bytes(2, &dims.collect::<Vec<_>>());
    let tensor = [number(1, dtype), shape].concat();
    [text(1, name), bytes(2, &bytes(1, &tensor))].concat()
}
/// TensorProto with raw data.
pub fn tensor(name: &str, dtype: i64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| number(1, *d)).collect();
    [dims, number(2, dtype), text(8, name), bytes(9, raw)].concat()
}
/// NodeProto; `attributes` are AttributeProto bytes.
pub fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    inputs.iter().for_each(|i| out.extend(text(1, i)));
    outputs.iter().for_each(|o| out.extend(text(2, o)));
    out.extend(text(3, name));
    out.extend(text(4, op));
    attributes.iter().for_each(|a| out.extend(bytes(5, a)));
    out
}
/// An integer attribute.
pub fn int(name: &str, v: i64) -> Vec<u8> {
    [text(1, name), number(3, v), number(20, 2)].concat()
}
/// A list of floats.
pub fn floats(name: &str, v: &[f32]) -> Vec<u8> {
    let values: Vec<u8> =
        v.iter().flat_map(|v| [varint(7 << 3 | 5), v.to_le_bytes().to_vec()].concat()).collect();
    [text(1, name), values, number(20, 6)].concat()
}
/// A graph attribute.
pub fn subgraph(name: &str, graph: &[u8]) -> Vec<u8> {
    [text(1, name), bytes(6, graph), number(20, 5)].concat()
}
/// GraphProto.
pub fn graph(
    nodes: &[Vec<u8>],
    initializers: &[Vec<u8>],
    inputs: &[Vec<u8>],
    outputs: &[Vec<u8>],
) -> Vec<u8> {
    let mut out = Vec::new();
    nodes.iter().for_each(|n| out.extend(bytes(1, n)));
    out.extend(text(2, "g"));
    initializers.iter().for_each(|i| out.extend(bytes(5, i)));
    inputs.iter().for_each(|i| out.extend(bytes(11, i)));
    outputs.iter().for_each(|o| out.extend(bytes(12, o)));
    out
}
/// ModelProto with opset 17.
pub fn model(graph: &[u8]) -> Vec<u8> {
    [number(1, 8), bytes(7, graph), bytes(8, &[text(1, ""), number(2, 17)].concat())].concat()
}

pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// `y = softmax(x W)`: x `[N,2]`, y `[N,3]`.
pub fn classifier() -> Vec<u8> {
    let w = tensor("W", FLOAT, &[2, 3], &f32s(&[1.0, 0.0, -1.0, 0.0, 2.0, 0.5]));
    let nodes = [
        node("MatMul", "dense", &["x", "W"], &["h"], &[]),
        node("Softmax", "probabilities", &["h"], &["y"], &[int("axis", -1)]),
    ];
    let x = value("x", FLOAT, &[D::S("batch"), D::N(2)]);
    let y = value("y", FLOAT, &[D::S("batch"), D::N(3)]);
    model(&graph(&nodes, &[w], &[x], &[y]))
}

/// A manifest of one input `x` and one output `y` with these shapes, as JSON dims.
pub fn manifest(x: &str, y: &str, more: &str) -> longshore_bundle::Manifest {
    let sha = "0".repeat(64);
    let file = |path: &str, role: &str| {
        format!(r#"{{"path":"{path}","sha256":"{sha}","length":1,"role":"{role}"}}"#)
    };
    let json = format!(
        r#"{{"schema":1,"model":"m","version":"1.0.0","created":"2026-01-01T00:00:00Z",
            "files":[{},{}],
            "inputs":[{{"name":"x","dtype":"FP32","shape":{x}}}],
            "outputs":[{{"name":"y","dtype":"FP32","shape":{y}}}]{more}}}"#,
        file("model.onnx", "model"),
        file("golden.safetensors", "golden"),
    );
    longshore_bundle::Manifest::parse(json.as_bytes()).unwrap()
}

/// The manifest of [`classifier`].
pub fn classifier_manifest() -> longshore_bundle::Manifest {
    let more = r#","batch":{"axis":0,"max":8},"monitor":{"classes":["a","b","c"],"score_output":"y"}"#;
    manifest(r#"["N",2]"#, r#"["N",3]"#, more)
}
