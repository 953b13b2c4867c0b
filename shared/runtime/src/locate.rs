//! From an error of the engine to the node and operator of the ONNX graph it is about, and what to change in the export.

use std::collections::BTreeMap;

use tract_onnx::pb;

/// Names of the nodes in a graph and its subgraphs, with their operators.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeIndex(BTreeMap<String, String>);

/// Where an error came from, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub node: String,
    pub operator: String,
}

impl NodeIndex {
    pub(crate) fn of(graph: &pb::GraphProto) -> Self {
        let mut index = Self::default();
        index.add(graph);
        index
    }
    fn add(&mut self, graph: &pb::GraphProto) {
        for node in &graph.node {
            self.0.insert(node_name(node).to_owned(), node.op_type.clone());
            for attribute in &node.attribute {
                attribute.g.iter().chain(&attribute.graphs).for_each(|g| self.add(g));
            }
        }
    }
    /// The engine names nodes in double quotes, and those it derives by a suffix: the longest node name that starts a
    /// quoted name wins, the innermost cause first.
    pub(crate) fn locate(&self, causes: &[String]) -> Option<Place> {
        causes.iter().rev().find_map(|cause| {
            cause.split('"').skip(1).step_by(2).find_map(|quoted| self.longest_prefix(quoted))
        })
    }
    fn longest_prefix(&self, name: &str) -> Option<Place> {
        let found = self.0.get_key_value(name).or_else(|| {
            let longest = self.0.iter().filter(|(n, _)| !n.is_empty() && name.starts_with(n.as_str()));
            longest.max_by_key(|(n, _)| n.len())
        });
        found.map(|(node, operator)| Place { node: node.clone(), operator: operator.clone() })
    }
}

/// The name the engine gives a node: its own, or else its first output's.
pub(crate) fn node_name(node: &pb::NodeProto) -> &str {
    match node.name.as_str() {
        "" => node.output.first().map_or("", String::as_str),
        name => name,
    }
}

/// The chain of an error, outermost first, each line cut to a readable length.
pub(crate) fn causes(error: &tract_onnx::prelude::TractError) -> Vec<String> {
    error.chain().map(|c| c.to_string().chars().take(400).collect()).collect()
}

/// What an author can change when this operator does not load.
pub(crate) fn advice(operator: &str, reason: &str) -> &'static str {
    match operator {
        "If" | "Loop" | "Scan" => {
            "control flow depends on data the engine does not know beforehand: export with fixed inputs so that it \
             folds away (torch.onnx.export without scripting, or onnxsim), or split the model"
        }
        "NonZero" | "Unique" | "Compress" | "NonMaxSuppression" => {
            "the size of its result depends on the data: leave it out of the graph and do it after the model"
        }
        "StringNormalizer" | "TfIdfVectorizer" | "StringSplit" | "StringConcat" | "RegexFullMatch"
        | "LabelEncoder" | "CategoryMapper" => {
            "strings do not enter a graph here: encode text before the model and export from the first numeric tensor"
        }
        "TreeEnsembleRegressor" | "SVMClassifier" | "SVMRegressor" => {
            "convert the estimator to plain tensor operators (hummingbird-ml), or choose one that exports to them: \
             a linear model, an MLP, nearest neighbours, or a random forest classifier"
        }
        "ZipMap" => "export with options={'zipmap': False} so that probabilities are a tensor",
        "Reshape" | "Expand" | "Tile" | "Resize" | "Upsample" | "ConstantOfShape" | "Range" => {
            "a shape is computed inside the graph: fix the input shape (`--shape NAME=1,3,224,224`) or simplify the \
             graph (onnxsim)"
        }
        "LSTM" | "GRU" | "RNN" => "fix the batch size and the sequence length (`--shape`) before exporting",
        _ if reason.contains("nify") || reason.contains("shape") || reason.contains("symbol") => {
            "fix the batch size or the input shape (`--shape NAME=1,3,224,224`), or simplify the graph (onnxsim)"
        }
        _ => "export with opset 17, simplify the graph (onnxsim), or replace the operator",
    }
}
