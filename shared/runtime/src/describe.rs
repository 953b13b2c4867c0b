//! What an ONNX file says of itself: enough to draft a manifest, so that authors are asked for nothing that is known.

use std::collections::{BTreeMap, BTreeSet};

use longshore_bundle::{DType, Dim, TensorSpec};
use serde::Serialize;
use tract_onnx::pb::{self, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::Framework as _;

use crate::LoadError;

/// An ONNX file, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Program that wrote it.
    pub producer: String,
    /// Version of the operator set.
    pub opset: i64,
    /// Nodes, subgraphs included.
    pub nodes: usize,
    /// How often each operator occurs.
    pub operators: BTreeMap<String, usize>,
    /// Inputs that a request must bring. Unknown dimensions are symbols.
    pub inputs: Vec<TensorSpec>,
    /// Outputs. Unknown dimensions are symbols; what is written here is often wrong.
    pub outputs: Vec<TensorSpec>,
    /// The graph in the file has no inputs with these element types: text, sequences, maps.
    pub unusable: Vec<String>,
}

/// Reads what `onnx` says of itself; loads nothing.
///
/// # Errors
/// [`LoadError::NotOnnx`].
pub fn describe(onnx: &[u8]) -> Result<Description, LoadError> {
    let proto = tract_onnx::onnx()
        .proto_model_for_read(&mut std::io::Cursor::new(onnx))
        .map_err(|e| LoadError::NotOnnx(e.root_cause().to_string()))?;
    let graph = proto.graph.as_ref().ok_or_else(|| LoadError::NotOnnx("it holds no graph".to_owned()))?;
    let opset = proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    let mut operators = BTreeMap::new();
    count(graph, &mut operators);
    let given: BTreeSet<&str> = graph.initializer.iter().map(|i| i.name.as_str()).collect();
    let mut symbols = Symbols::default();
    let mut unusable = Vec::new();
    let inputs = graph.input.iter().filter(|i| !given.contains(i.name.as_str()));
    let inputs = inputs.filter_map(|i| spec(i, &mut symbols, &mut unusable)).collect();
    let outputs = graph.output.iter().filter_map(|o| spec(o, &mut symbols, &mut unusable)).collect();
    Ok(Description {
        producer: format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned(),
        opset: opset.map_or(0, |o| o.version),
        nodes: operators.values().sum(),
        operators,
        inputs,
        outputs,
        unusable,
    })
}

fn count(graph: &pb::GraphProto, operators: &mut BTreeMap<String, usize>) {
    for node in &graph.node {
        *operators.entry(node.op_type.clone()).or_default() += 1;
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|g| count(g, operators));
        }
    }
}

/// Names of unknown dimensions: the same parameter of the file is the same symbol.
#[derive(Default)]
struct Symbols {
    by_param: BTreeMap<String, String>,
    next: usize,
}

impl Symbols {
    fn of(&mut self, param: &str, is_batch: bool) -> Dim {
        let nameless = param.is_empty() || param == "?" || param.starts_with("unk__");
        if let Some(s) = self.by_param.get(param).filter(|_| !nameless) {
            return Dim::Symbol(s.clone());
        }
        if is_batch && !self.by_param.values().any(|s| s == "N") {
            self.by_param
                .insert(if nameless { "\0batch".to_owned() } else { param.to_owned() }, "N".to_owned());
            return Dim::Symbol("N".to_owned());
        }
        if is_batch && nameless {
            return Dim::Symbol("N".to_owned());
        }
        self.next += 1;
        let symbol = format!("d{}", self.next);
        if !nameless {
            self.by_param.insert(param.to_owned(), symbol.clone());
        }
        Dim::Symbol(symbol)
    }
}

fn spec(info: &pb::ValueInfoProto, symbols: &mut Symbols, unusable: &mut Vec<String>) -> Option<TensorSpec> {
    let value = info.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = value else {
        unusable.push(format!("`{}` is no tensor", info.name));
        return None;
    };
    let Some(dtype) = DataType::try_from(tensor.elem_type).ok().and_then(dtype) else {
        let found = DataType::try_from(tensor.elem_type).map_or("unknown", |d| d.as_str_name());
        unusable.push(format!("`{}` has element type {found}, which cannot be served", info.name));
        return None;
    };
    let dims = tensor.shape.as_ref().map(|s| s.dim.as_slice()).unwrap_or_default();
    let shape = dims
        .iter()
        .enumerate()
        .map(|(axis, d)| match &d.value {
            Some(dimension::Value::DimValue(n)) if *n > 0 => Dim::Fixed(n.unsigned_abs()),
            Some(dimension::Value::DimParam(p)) => symbols.of(p, axis == 0),
            _ => symbols.of("", axis == 0),
        })
        .collect();
    Some(TensorSpec { name: info.name.clone(), dtype, shape })
}

fn dtype(d: DataType) -> Option<DType> {
    Some(match d {
        DataType::Bool => DType::Bool,
        DataType::Uint8 => DType::Uint8,
        DataType::Uint16 => DType::Uint16,
        DataType::Uint32 => DType::Uint32,
        DataType::Uint64 => DType::Uint64,
        DataType::Int8 => DType::Int8,
        DataType::Int16 => DType::Int16,
        DataType::Int32 => DType::Int32,
        DataType::Int64 => DType::Int64,
        DataType::Float16 => DType::Fp16,
        DataType::Float => DType::Fp32,
        DataType::Double => DType::Fp64,
        _ => return None,
    })
}
