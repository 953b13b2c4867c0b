//! How many nodes lie behind one another. The engine's work for each node grows with what lies around it, so a chain of
//! tens of thousands of nodes keeps a device busy for minutes; real models have hundreds.

use std::collections::BTreeMap;

use tract_onnx::pb;

use crate::load::{Limits, LoadError};
use crate::locate::node_name;

/// Measures the longest chain of one graph (its subgraphs are measured by themselves).
///
/// # Errors
/// [`LoadError::Limit`] when it is too long, [`LoadError::NotOnnx`] when the graph feeds itself.
pub(super) fn check(graph: &pb::GraphProto, limits: &Limits) -> Result<(), LoadError> {
    let makers = makers(graph);
    let inputs_of = |n: usize| graph.node[n].input.iter().filter_map(|i| makers.get(i.as_str()).copied());
    let mut waits = vec![0usize; graph.node.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (n, wait) in waits.iter_mut().enumerate() {
        for maker in inputs_of(n) {
            *wait += 1;
            readers[maker].push(n);
        }
    }
    let mut ready: Vec<usize> = (0..graph.node.len()).filter(|n| waits[*n] == 0).collect();
    let mut depth = vec![1usize; graph.node.len()];
    while let Some(n) = ready.pop() {
        if depth[n] > limits.max_depth {
            return Err(LoadError::Limit {
                what: "nodes behind one another",
                found: depth[n],
                limit: limits.max_depth,
            });
        }
        for &reader in &readers[n] {
            depth[reader] = depth[reader].max(depth[n] + 1);
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(reader);
            }
        }
    }
    match waits.iter().position(|w| *w > 0) {
        None => Ok(()),
        Some(n) => {
            let node = node_name(&graph.node[n]);
            Err(LoadError::NotOnnx(format!("its graph feeds itself: node `{node}` waits for its own result")))
        }
    }
}

/// Which node makes a tensor.
fn makers(graph: &pb::GraphProto) -> BTreeMap<&str, usize> {
    let named =
        graph.node.iter().enumerate().flat_map(|(n, node)| node.output.iter().map(move |o| (o.as_str(), n)));
    named.filter(|(name, _)| !name.is_empty()).collect()
}
