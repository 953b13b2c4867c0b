//! Operators that the engine lacks but that are a few others in disguise.

use tract_onnx::pb::{self, attribute_proto::AttributeType, tensor_proto::DataType};

use crate::locate::node_name;

/// Replaces every `Scaler` (what scikit-learn's `StandardScaler` and `MinMaxScaler` become) by `(x - offset) * scale`.
pub(crate) fn scalers(graph: &mut pb::GraphProto) {
    if !graph.node.iter().any(is_scaler) {
        return;
    }
    let mut nodes = Vec::with_capacity(graph.node.len() + 4);
    for node in std::mem::take(&mut graph.node) {
        if !is_scaler(&node) {
            nodes.push(node);
            continue;
        }
        let name = node_name(&node).to_owned();
        let floats = |wanted: &str| {
            let attribute = node.attribute.iter().find(|a| a.name == wanted);
            attribute.map(|a| a.floats.clone()).unwrap_or_default()
        };
        let mut last = node.input.first().cloned().unwrap_or_default();
        let to = pb::AttributeProto {
            name: "to".to_owned(),
            r#type: AttributeType::Int as i32,
            i: DataType::Float as i64,
            ..Default::default()
        };
        let mut steps = vec![("Cast", None, vec![to])];
        for (operator, values, neutral) in [("Sub", floats("offset"), 0.0), ("Mul", floats("scale"), 1.0)] {
            let values = if values.is_empty() { vec![neutral] } else { values };
            let constant = format!("{name}/{operator}/by");
            graph.initializer.push(pb::TensorProto {
                name: constant.clone(),
                dims: vec![values.len() as i64],
                data_type: DataType::Float as i32,
                float_data: values,
                ..Default::default()
            });
            steps.push((operator, Some(constant), Vec::new()));
        }
        let count = steps.len();
        for (i, (operator, constant, attribute)) in steps.into_iter().enumerate() {
            let output = match node.output.first() {
                Some(output) if i + 1 == count => output.clone(),
                _ => format!("{name}/{operator}/out"),
            };
            nodes.push(pb::NodeProto {
                name: format!("{name}/{operator}"),
                op_type: operator.to_owned(),
                input: std::iter::once(last).chain(constant).collect(),
                output: vec![output.clone()],
                attribute,
                ..Default::default()
            });
            last = output;
        }
    }
    graph.node = nodes;
}

/// Whether [`scalers`] replaces this node.
pub(crate) fn is_scaler(node: &pb::NodeProto) -> bool {
    node.op_type == "Scaler" && node.domain == "ai.onnx.ml"
}
