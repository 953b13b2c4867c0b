//! What is checked of an ONNX file before the engine sees it: sizes, because an absurd dimension would end the process
//! by an allocation and not by an error; and what the engine cannot do, because here the node can be named.

use std::collections::{BTreeMap, BTreeSet};

use longshore_bundle::Dim;
use tract_onnx::pb::{self, tensor_proto::DataType};
use tract_onnx::prelude::Framework as _;

use crate::load::{Limits, LoadError};
use crate::locate::{advice, node_name};
use crate::rewrite;

mod depth;
mod growth;

/// Deepest nesting of subgraphs.
const DEPTH_MAX: usize = 8;

/// Decodes and checks `onnx`, and takes out everything that the manifest overrides.
pub(crate) fn decode(onnx: &[u8], limits: &Limits) -> Result<pb::ModelProto, LoadError> {
    if onnx.len() > limits.max_model_bytes {
        return Err(LoadError::Limit {
            what: "bytes in the ONNX file",
            found: onnx.len(),
            limit: limits.max_model_bytes,
        });
    }
    let framework = tract_onnx::onnx();
    let mut proto = framework
        .proto_model_for_read(&mut std::io::Cursor::new(onnx))
        .map_err(|e| LoadError::NotOnnx(e.root_cause().to_string()))?;
    let Some(graph) = proto.graph.as_mut() else {
        return Err(LoadError::NotOnnx("it holds no graph".to_owned()));
    };
    if graph.node.is_empty() && graph.output.is_empty() {
        return Err(LoadError::NotOnnx("its graph is empty".to_owned()));
    }
    let mut totals = Totals::default();
    check_graph(graph, limits, &mut totals, 0)?;
    if let Some(first) = unsupported(graph).into_iter().next() {
        return Err(first);
    }
    forget_shapes(graph);
    rewrite::scalers(graph);
    name_apart(graph);
    Ok(proto)
}

/// Exporters give several nodes one name, or a node the name of a weight; the engine wants each name once.
fn name_apart(graph: &mut pb::GraphProto) {
    let inputs = graph.input.iter().map(|i| i.name.clone());
    let mut taken: BTreeSet<String> =
        inputs.chain(graph.initializer.iter().map(|i| i.name.clone())).collect();
    // Where the search for a free name goes on: from the start again it would take ages for a name used ten thousand times.
    let mut next: BTreeMap<String, u32> = BTreeMap::new();
    for node in &mut graph.node {
        let name = node_name(node).to_owned();
        if !taken.insert(name.clone()) {
            let k = next.entry(name.clone()).or_insert(1);
            loop {
                *k += 1;
                let free = format!("{name}~{k}");
                if taken.insert(free.clone()) {
                    node.name = free;
                    break;
                }
            }
        }
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(name_apart);
        }
    }
}

#[derive(Default)]
struct Totals {
    nodes: usize,
    tensor_bytes: usize,
}

fn check_graph(
    graph: &pb::GraphProto,
    limits: &Limits,
    totals: &mut Totals,
    depth: usize,
) -> Result<(), LoadError> {
    if depth > DEPTH_MAX {
        return Err(LoadError::Limit { what: "levels of subgraphs", found: depth, limit: DEPTH_MAX });
    }
    totals.nodes += graph.node.len();
    if totals.nodes > limits.max_nodes {
        return Err(LoadError::Limit { what: "nodes", found: totals.nodes, limit: limits.max_nodes });
    }
    let made = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str));
    let given = graph.input.iter().map(|i| i.name.as_str());
    let stored = graph.initializer.iter().map(|i| i.name.as_str());
    let known: BTreeSet<&str> = made.chain(given).chain(stored).collect();
    if let Some(output) = graph.output.iter().find(|o| !known.contains(o.name.as_str())) {
        return Err(LoadError::NotOnnx(format!("nothing in the graph makes its output `{}`", output.name)));
    }
    for tensor in &graph.initializer {
        check_tensor(tensor, &format!("initializer `{}`", tensor.name), limits, totals)?;
    }
    for node in &graph.node {
        for attribute in &node.attribute {
            for tensor in attribute.t.iter().chain(&attribute.tensors) {
                let place = format!("node `{}` (operator `{}`)", node_name(node), node.op_type);
                check_tensor(tensor, &place, limits, totals)?;
            }
            for sub in attribute.g.iter().chain(&attribute.graphs) {
                check_graph(sub, limits, totals, depth + 1)?;
            }
        }
    }
    growth::check(graph, limits)?;
    depth::check(graph, limits)
}

/// The dimensions of a tensor must be those of the data it brings.
fn check_tensor(
    tensor: &pb::TensorProto,
    place: &str,
    limits: &Limits,
    totals: &mut Totals,
) -> Result<(), LoadError> {
    let bad = |reason: String| LoadError::BadTensor { place: place.to_owned(), reason };
    if tensor.data_location == Some(1) || !tensor.external_data.is_empty() {
        return Err(bad("its data lies in another file; save the model as one file \
                        (onnx.save_model(..., save_as_external_data=False))"
            .to_owned()));
    }
    let dims = tensor.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
    let Some(elements) = dims else {
        return Err(bad(format!("its dimensions {:?} are absurd", tensor.dims)));
    };
    let dtype =
        DataType::try_from(tensor.data_type).map_err(|_| bad("its element type is unknown".to_owned()))?;
    let size = match dtype {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => 8,
        DataType::Complex128 => 16,
        DataType::String | DataType::Undefined => 0,
        _ => {
            return Err(bad(format!("element type {} is not supported", dtype.as_str_name())));
        }
    };
    let there = if !tensor.raw_data.is_empty() && size > 0 {
        let len = tensor.raw_data.len();
        if !len.is_multiple_of(size) {
            return Err(bad(format!("its {len} bytes are no whole number of elements")));
        }
        len / size
    } else {
        [
            tensor.float_data.len(),
            tensor.int32_data.len(),
            tensor.int64_data.len(),
            tensor.double_data.len(),
            tensor.uint64_data.len(),
            tensor.string_data.len(),
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    };
    if there != elements {
        return Err(bad(format!(
            "its dimensions {:?} ask for {elements} elements, it has {there}",
            tensor.dims
        )));
    }
    totals.tensor_bytes = totals.tensor_bytes.saturating_add(elements.saturating_mul(size));
    if totals.tensor_bytes > limits.max_model_bytes {
        let (found, limit) = (totals.tensor_bytes, limits.max_model_bytes);
        return Err(LoadError::Limit { what: "bytes of weights", found, limit });
    }
    Ok(())
}

/// Every node whose operator the engine does not know.
pub(crate) fn unsupported(graph: &pb::GraphProto) -> Vec<LoadError> {
    fn walk(graph: &pb::GraphProto, known: &tract_onnx::Onnx, out: &mut Vec<LoadError>) {
        for node in &graph.node {
            if !known.op_register.0.contains_key(&node.op_type) && !rewrite::is_scaler(node) {
                let domain = match node.domain.as_str() {
                    "" | "ai.onnx" => String::new(),
                    d => format!(" of domain `{d}`"),
                };
                out.push(LoadError::Node {
                    node: node_name(node).to_owned(),
                    operator: node.op_type.clone(),
                    reason: format!("the engine does not have this operator{domain}"),
                    advice: advice(&node.op_type, ""),
                });
            }
            for attribute in &node.attribute {
                attribute.g.iter().chain(&attribute.graphs).for_each(|g| walk(g, known, out));
            }
        }
    }
    let mut out = Vec::new();
    walk(graph, &tract_onnx::onnx(), &mut out);
    out
}

/// Shapes of inputs come from the manifest, all others from inference. What the file says of them is often wrong, and
/// its symbolic dimensions are expressions to be parsed: neither is wanted.
fn forget_shapes(graph: &mut pb::GraphProto) {
    graph.value_info.clear();
    for input in &mut graph.input {
        if let Some(pb::type_proto::Value::TensorType(t)) =
            input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            t.shape = None;
        }
    }
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(forget_shapes);
        }
    }
}

/// A shape for people.
pub(crate) fn show_shape(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}
