//! From a manifest and the bytes of an ONNX file to a model that can run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use longshore_bundle::{Dim, Manifest, PostStep, PreStep, TensorSpec};
use tract_onnx::prelude::{InferenceModelExt as _, TypedModel, TypedSimplePlan};
use tract_onnx::tract_hir::internal::{
    DimFact, DimLike as _, Factoid as _, InferenceFact, InferenceModel, OutletId, ShapeFactoid, SymbolValues,
    TVec, ToDim as _,
};

use crate::convert;
use crate::guard;
use crate::locate::{NodeIndex, advice, causes};
use crate::predict::PredictionPlan;

/// How large a model may be. The defaults are far above what an edge device can run.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Nodes in the graph, subgraphs included.
    pub max_nodes: usize,
    /// Bytes of the ONNX file, and of the weights in it.
    pub max_model_bytes: usize,
    /// Nodes behind one another.
    pub max_depth: usize,
    /// Bytes of one input tensor.
    pub max_tensor_bytes: usize,
    /// Bytes of any tensor that the graph makes, for the largest batch.
    pub max_made_bytes: u64,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_nodes: 50_000,
            max_model_bytes: 1 << 30,
            max_depth: 10_000,
            max_tensor_bytes: 256 << 20,
            max_made_bytes: 1 << 30,
        }
    }
}

/// Why a model does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No ONNX file, or one that breaks its own rules.
    #[error("not a valid ONNX model: {0}")]
    NotOnnx(String),
    /// Larger than allowed.
    #[error("too large: {found} {what}, at most {limit} are allowed")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A tensor that the graph makes is larger than allowed.
    #[error(
        "node `{node}` (operator `{operator}`) makes a tensor of {bytes} bytes for {rows} rows, at most {limit} are allowed: lower `batch.max`, or use a smaller model"
    )]
    Made {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// Bytes it would take.
        bytes: u128,
        /// Rows of the largest batch.
        rows: u32,
        /// Bytes allowed.
        limit: u64,
    },
    /// More memory than this process may have.
    #[error("loading it takes more memory than there is: {0}")]
    Memory(String),
    /// Weights that lie about themselves.
    #[error("{place}: {reason}")]
    BadTensor {
        /// Which tensor.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The manifest and the graph do not agree.
    #[error("manifest.json: {field}: {reason}")]
    Mismatch {
        /// Field of the manifest.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A node cannot be loaded.
    #[error("node `{node}` (operator `{operator}`): {reason}. To do: {advice}")]
    Node {
        /// Its name, or its first output's.
        node: String,
        /// Its operator.
        operator: String,
        /// What the engine says.
        reason: String,
        /// What to change in the export.
        advice: &'static str,
    },
    /// The engine refuses the graph without naming a node.
    #[error("the engine refuses the graph: {0}")]
    Graph(String),
    /// The engine broke.
    #[error("the engine broke while loading this model: {0}")]
    Panicked(String),
}

impl LoadError {
    /// Stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotOnnx(_) => "model.not_onnx",
            Self::Limit { .. } | Self::Made { .. } => "model.limit",
            Self::Memory(_) => "model.memory",
            Self::BadTensor { .. } => "model.bad_tensor",
            Self::Mismatch { .. } => "model.mismatch",
            Self::Node { .. } => "model.node",
            Self::Graph(_) => "model.graph",
            Self::Panicked(_) => "model.panicked",
        }
    }
}

/// A model that is ready to run. Nothing is kept between runs; any number of threads may run it at once.
pub struct Model {
    pub(crate) plan: Arc<TypedSimplePlan>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) graph_inputs: Vec<TensorSpec>,
    pub(crate) graph_outputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) preprocess: Vec<PreStep>,
    pub(crate) postprocess: Vec<PostStep>,
    pub(crate) batch_symbol: Option<String>,
    pub(crate) max_rows: usize,
    pub(crate) max_tensor_bytes: usize,
    pub(crate) class_names: Vec<String>,
    pub(crate) prediction: PredictionPlan,
    pub(crate) nodes: NodeIndex,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Loads and optimises `onnx` as `manifest` describes it.
    ///
    /// # Errors
    /// [`LoadError`], naming node and operator where the engine tells. Never panics, whatever the bytes.
    pub fn load(manifest: &Manifest, onnx: &[u8], limits: &Limits) -> Result<Self, LoadError> {
        catch_unwind(AssertUnwindSafe(|| load(manifest, onnx, limits)))
            .unwrap_or_else(|panic| Err(broke(&*panic)))
    }
    /// Outputs of the graph as the engine works them out, whatever the manifest says of their types and shapes: for
    /// drafting a manifest. Dimensions the engine cannot tell are symbols.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn probe(manifest: &Manifest, onnx: &[u8], limits: &Limits) -> Result<Vec<TensorSpec>, LoadError> {
        let probe = || {
            let proto = guard::decode(onnx, limits)?;
            let nodes = proto.graph.as_ref().map(NodeIndex::of).unwrap_or_default();
            let (typed, _) = build(manifest, &proto, &nodes, limits)?;
            engine_outputs(manifest, &typed)
        };
        catch_unwind(AssertUnwindSafe(probe)).unwrap_or_else(|panic| Err(broke(&*panic)))
    }
    /// Inputs as a client sends them.
    #[must_use]
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }
    /// Outputs as a client gets them.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }
    /// Outputs of the graph as the engine worked them out; dimensions it cannot tell are symbols.
    #[must_use]
    pub fn graph_outputs(&self) -> &[TensorSpec] {
        &self.graph_outputs
    }
    /// Most rows in one request.
    #[must_use]
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }
    /// Number of classes K; 0 for a regression.
    #[must_use]
    pub fn classes(&self) -> u32 {
        u32::try_from(self.class_names.len()).unwrap_or(u32::MAX)
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").chars().take(400).collect()
}

/// Whether the engine broke because it did not get memory: it says so by a panic.
pub(crate) fn wants_memory(text: &str) -> bool {
    ["failed to allocate", "capacity overflow", "memory allocation"].iter().any(|t| text.contains(t))
}

fn broke(panic: &(dyn std::any::Any + Send)) -> LoadError {
    let text = panic_text(panic);
    if wants_memory(&text) { LoadError::Memory(text) } else { LoadError::Panicked(text) }
}

fn load(manifest: &Manifest, onnx: &[u8], limits: &Limits) -> Result<Model, LoadError> {
    let api_outputs = manifest
        .api_outputs()
        .map_err(|e| LoadError::Mismatch { field: e.field.clone(), reason: e.reason.to_string() })?;
    let proto = guard::decode(onnx, limits)?;
    let graph = proto.graph.as_ref().ok_or_else(|| LoadError::NotOnnx("it holds no graph".to_owned()))?;
    let nodes = NodeIndex::of(graph);
    let (typed, plan) = build(manifest, &proto, &nodes, limits)?;
    let graph_outputs = check_outputs(manifest, &typed)?;
    Ok(Model {
        plan,
        inputs: manifest.api_inputs(),
        graph_inputs: manifest.inputs.clone(),
        graph_outputs,
        prediction: PredictionPlan::new(manifest, &api_outputs),
        outputs: api_outputs,
        preprocess: manifest.preprocess.clone(),
        postprocess: manifest.postprocess.clone(),
        batch_symbol: manifest.batch_symbol().map(str::to_owned),
        max_rows: manifest.max_rows() as usize,
        max_tensor_bytes: limits.max_tensor_bytes,
        class_names: manifest.monitor.classes.clone(),
        nodes,
    })
}

/// An error of the engine, with the node it is about.
pub(crate) fn engine_error(nodes: &NodeIndex, error: &tract_onnx::prelude::TractError) -> LoadError {
    let causes = causes(error);
    let reason = causes.last().cloned().unwrap_or_default();
    match nodes.locate(&causes) {
        Some(place) => {
            let advice = advice(&place.operator, &causes.join(" "));
            LoadError::Node { node: place.node, operator: place.operator, reason, advice }
        }
        None => LoadError::Graph(causes.join(": ")),
    }
}

fn build(
    manifest: &Manifest,
    proto: &tract_onnx::pb::ModelProto,
    nodes: &NodeIndex,
    limits: &Limits,
) -> Result<(TypedModel, Arc<TypedSimplePlan>), LoadError> {
    let fail = |e: tract_onnx::prelude::TractError| engine_error(nodes, &e);
    let framework = tract_onnx::onnx().with_ignore_value_info(true);
    let parsed = framework.parse(proto, None).map_err(fail)?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        return Err(LoadError::NotOnnx(format!("nothing in the graph makes the tensor `{name}`")));
    }
    let mut model = parsed.model;
    set_inputs(manifest, &mut model)?;
    let mut outlets: Vec<OutletId> = Vec::new();
    for (i, spec) in manifest.outputs.iter().enumerate() {
        let outlet = parsed.outlets_by_name.get(&spec.name).ok_or_else(|| {
            let known: Vec<&str> =
                proto.graph.iter().flat_map(|g| g.output.iter().map(|o| o.name.as_str())).collect();
            LoadError::Mismatch {
                field: format!("outputs[{i}].name"),
                reason: format!("the graph has no output `{}`; it has {}", spec.name, known.join(", ")),
            }
        })?;
        outlets.push(*outlet);
    }
    model.select_output_outlets(&outlets).map_err(fail)?;
    let typed = model.into_typed().map_err(fail)?;
    check_sizes(manifest, &typed, nodes, limits)?;
    let typed = typed.into_decluttered().map_err(fail)?;
    let optimised = typed.clone().into_optimized().map_err(fail)?;
    let plan = TypedSimplePlan::new(optimised).map_err(fail)?;
    Ok((typed, plan))
}

/// Every tensor of the graph must fit for the largest batch; other symbols count as one.
fn check_sizes(
    manifest: &Manifest,
    typed: &TypedModel,
    nodes: &NodeIndex,
    limits: &Limits,
) -> Result<(), LoadError> {
    let rows = manifest.max_rows();
    let mut values = SymbolValues::default();
    for symbol in typed.symbols.all_symbols() {
        let is_batch = manifest.batch_symbol().is_some_and(|b| symbol.to_string() == b);
        values.set(&symbol, if is_batch { i64::from(rows) } else { 1 });
    }
    for node in &typed.nodes {
        for outlet in &node.outputs {
            let bytes =
                outlet.fact.shape.iter().try_fold(outlet.fact.datum_type.size_of() as u128, |n, dim| {
                    let length = dim.eval(&values).to_i64().ok()?;
                    Some(n.saturating_mul(u128::from(length.unsigned_abs())))
                });
            if let Some(bytes) = bytes.filter(|b| *b > u128::from(limits.max_made_bytes)) {
                let place = nodes.locate(&[format!("\"{}\"", node.name)]);
                let (node, operator) = place.map_or_else(
                    || (node.name.clone(), node.op.name().into_owned()),
                    |p| (p.node, p.operator),
                );
                return Err(LoadError::Made { node, operator, bytes, rows, limit: limits.max_made_bytes });
            }
        }
    }
    Ok(())
}

fn set_inputs(manifest: &Manifest, model: &mut InferenceModel) -> Result<(), LoadError> {
    let outlets: Vec<OutletId> = model.inputs.clone();
    let name_of = |model: &InferenceModel, o: &OutletId| model.node(o.node).name.clone();
    let names: Vec<String> = outlets.iter().map(|o| name_of(model, o)).collect();
    if let Some(name) = names.iter().find(|n| !manifest.inputs.iter().any(|i| i.name == **n)) {
        return Err(LoadError::Mismatch {
            field: "inputs".to_owned(),
            reason: format!("the graph needs an input `{name}` that the manifest does not name"),
        });
    }
    let mut ordered = Vec::new();
    for (i, spec) in manifest.inputs.iter().enumerate() {
        let mismatch = |reason| LoadError::Mismatch { field: format!("inputs[{i}]"), reason };
        let Some(at) = names.iter().position(|n| *n == spec.name) else {
            let names = names.join(", ");
            return Err(mismatch(format!("the graph has no input `{}`; it has {names}", spec.name)));
        };
        let Some(dt) = convert::datum_type(spec.dtype) else {
            return Err(mismatch("strings do not enter a graph".to_owned()));
        };
        let said = model.outlet_fact(outlets[at]).ok().and_then(|f| f.datum_type.concretize());
        if let Some(said) = said.filter(|s| *s != dt) {
            let said = convert::dtype(said).map_or_else(|| format!("{said:?}"), |d| d.to_string());
            return Err(mismatch(format!(
                "`{}` is {} here, but the graph takes {said}",
                spec.name, spec.dtype
            )));
        }
        let dims: TVec<DimFact> = spec
            .shape
            .iter()
            .map(|d| match d {
                Dim::Fixed(n) => DimFact::from((*n as usize).to_dim()),
                Dim::Symbol(s) => DimFact::from(model.symbols.sym(s).to_dim()),
            })
            .collect();
        let fact = InferenceFact::new().with_datum_type(dt).with_shape(ShapeFactoid::closed(dims));
        let set = model.set_outlet_fact(outlets[at], fact);
        set.map_err(|e| mismatch(format!("the graph refuses this shape: {}", e.root_cause())))?;
        ordered.push(outlets[at]);
    }
    for symbol in model.symbols.all_symbols() {
        // Helps the optimiser; a request never has an empty dimension.
        let _ = model.symbols.add_assertion(format!("{symbol} >= 1"));
    }
    model.inputs = ordered;
    Ok(())
}

/// Outputs as the engine sees them.
fn engine_outputs(manifest: &Manifest, typed: &TypedModel) -> Result<Vec<TensorSpec>, LoadError> {
    let mut found = Vec::new();
    for (i, spec) in manifest.outputs.iter().enumerate() {
        let mismatch = |reason| LoadError::Mismatch { field: format!("outputs[{i}]"), reason };
        let fact = typed.output_fact(i).map_err(|e| mismatch(e.to_string()))?;
        let Some(dtype) = convert::dtype(fact.datum_type) else {
            let found = fact.datum_type;
            return Err(mismatch(format!(
                "`{}` has element type {found:?}, which cannot be served",
                spec.name
            )));
        };
        let symbol = |axis: usize, dim: &tract_onnx::prelude::TDim| {
            let text = dim.to_string();
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            Dim::Symbol(if plain { text } else { format!("d{axis}") })
        };
        let dim = |(axis, d): (usize, &tract_onnx::prelude::TDim)| {
            d.to_usize().map_or_else(|_| symbol(axis, d), |n| Dim::Fixed(n as u64))
        };
        let shape = fact.shape.iter().enumerate().map(dim).collect();
        found.push(TensorSpec { name: spec.name.clone(), dtype, shape });
    }
    Ok(found)
}

/// Compares outputs as the engine sees them with the manifest.
fn check_outputs(manifest: &Manifest, typed: &TypedModel) -> Result<Vec<TensorSpec>, LoadError> {
    let found = engine_outputs(manifest, typed)?;
    for (i, (spec, real)) in manifest.outputs.iter().zip(&found).enumerate() {
        let mismatch = |reason| LoadError::Mismatch { field: format!("outputs[{i}]"), reason };
        if real.dtype != spec.dtype {
            let text = format!("`{}` is {} here, but the graph gives {}", spec.name, spec.dtype, real.dtype);
            return Err(mismatch(text));
        }
        let clash = |(a, b): (&Dim, &Dim)| matches!((a, b), (Dim::Fixed(a), Dim::Fixed(b)) if a != b);
        if real.shape.len() != spec.shape.len() || real.shape.iter().zip(&spec.shape).any(clash) {
            let (said, real) = (guard::show_shape(&spec.shape), guard::show_shape(&real.shape));
            return Err(mismatch(format!("`{}` is {said} here, but the graph gives {real}", spec.name)));
        }
    }
    Ok(found)
}
