//! What nodes make out of a size that the file states: it takes no bytes there, and any number of them here.

use std::collections::BTreeMap;

use tract_onnx::pb;

use crate::load::{Limits, LoadError};
use crate::locate::node_name;

/// Bytes of the smallest common element; the limit is one of bytes.
const ELEMENT_BYTES: u64 = 4;

/// Looks at every node whose result is as large as a constant says.
///
/// # Errors
/// [`LoadError::BadTensor`] naming the node.
pub(super) fn check(graph: &pb::GraphProto, limits: &Limits) -> Result<(), LoadError> {
    let constants = Constants::of(graph);
    let limit = limits.max_made_bytes / ELEMENT_BYTES;
    for node in &graph.node {
        let Some(elements) = made(node, &constants).filter(|n| *n > limit) else { continue };
        return Err(LoadError::BadTensor {
            place: format!("node `{}` (operator `{}`)", node_name(node), node.op_type),
            reason: format!("it makes a tensor of {elements} elements, at most {limit} are allowed"),
        });
    }
    Ok(())
}

/// At least how many elements the result has, where constants tell.
fn made(node: &pb::NodeProto, constants: &Constants<'_>) -> Option<u64> {
    let whole = |at: usize| constants.whole(node.input.get(at)?);
    let product = |dims: Vec<i64>| dims.iter().fold(1u64, |n, d| n.saturating_mul(d.unsigned_abs()));
    match node.op_type.as_str() {
        "ConstantOfShape" => whole(0).filter(|d| d.iter().all(|d| *d >= 0)).map(product),
        "Expand" | "Tile" => whole(1).filter(|d| d.iter().all(|d| *d >= 0)).map(product),
        "Resize" => whole(3).filter(|d| d.iter().all(|d| *d >= 0)).map(product),
        "Pad" => {
            let given = node.attribute.iter().find(|a| a.name == "pads").map(|a| a.ints.clone());
            let pads = given.or_else(|| whole(1))?;
            let half = pads.len() / 2;
            let side =
                |i: usize| pads[i].max(0).unsigned_abs().saturating_add(pads[half + i].max(0).unsigned_abs());
            Some((0..half).fold(1u64, |n, i| n.saturating_mul(side(i).max(1))))
        }
        "OneHot" => whole(1).and_then(|d| Some(d.first()?.max(&0).unsigned_abs())),
        "Range" => {
            let number = |at: usize| constants.number(node.input.get(at)?);
            let (from, to, step) = (number(0)?, number(1)?, number(2)?);
            let count = ((to - from) / step).ceil();
            // A step of nothing never arrives.
            Some(if count.is_nan() || count > 1e18 { u64::MAX } else { count.max(0.0) as u64 })
        }
        _ => None,
    }
}

/// Initializers and `Constant` nodes, by the name of their tensor.
struct Constants<'a>(BTreeMap<&'a str, &'a pb::TensorProto>);

impl<'a> Constants<'a> {
    fn of(graph: &'a pb::GraphProto) -> Self {
        let stored = graph.initializer.iter().map(|i| (i.name.as_str(), i));
        let nodes = graph.node.iter().filter(|n| n.op_type == "Constant");
        let made = nodes.filter_map(|n| {
            Some((n.output.first()?.as_str(), n.attribute.iter().find_map(|a| a.t.as_ref())?))
        });
        Self(stored.chain(made).collect())
    }
    /// Its elements as whole numbers; a size is never longer than a few of them.
    fn whole(&self, name: &str) -> Option<Vec<i64>> {
        let tensor = self.0.get(name)?;
        if tensor.dims.iter().any(|d| *d > 64) {
            return None;
        }
        let raw =
            tensor.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap_or_default()));
        Some(tensor.int64_data.iter().copied().chain(raw).collect())
    }
    /// Its only element.
    fn number(&self, name: &str) -> Option<f64> {
        let t = self.0.get(name)?;
        let raw = t.raw_data.as_slice();
        let stored = t.float_data.first().map(|v| f64::from(*v));
        let stored = stored.or(t.int64_data.first().map(|v| *v as f64)).or(t.double_data.first().copied());
        stored.or(t.int32_data.first().map(|v| f64::from(*v))).or_else(|| match t.data_type {
            1 => Some(f64::from(f32::from_le_bytes(raw.try_into().ok()?))),
            6 => Some(f64::from(i32::from_le_bytes(raw.try_into().ok()?))),
            7 => Some(i64::from_le_bytes(raw.try_into().ok()?) as f64),
            11 => Some(f64::from_le_bytes(raw.try_into().ok()?)),
            _ => None,
        })
    }
}
