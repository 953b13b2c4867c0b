//! A first manifest for an ONNX file: what it says of itself, shapes the author names, and what the engine works out.

use longshore_bundle::{Batch, Dim, Manifest, TensorSpec, author};
use longshore_runtime::describe::{Description, describe};
use longshore_runtime::{Limits, LoadError, Model};
use longshore_trust::ModelName;

use super::not_loaded;
use crate::context::Failure;

/// `--shape NAME=1,3,N,N`.
#[derive(Debug, Clone)]
pub struct Shape {
    name: String,
    dims: Vec<Dim>,
}

/// Reads one `--shape`.
pub fn parse_shape(text: &str) -> Result<Shape, String> {
    let (name, dims) =
        text.rsplit_once('=').ok_or("write it as NAME=1,3,224,224 (letters stand for any length)")?;
    let dim = |d: &str| match d.trim().parse::<u64>() {
        Ok(n) => Dim::Fixed(n),
        Err(_) => Dim::Symbol(d.trim().to_owned()),
    };
    let dims = if dims.trim().is_empty() { Vec::new() } else { dims.split(',').map(dim).collect() };
    Ok(Shape { name: name.to_owned(), dims })
}

/// Who the model is.
pub struct Identity {
    /// Model name.
    pub name: ModelName,
    /// Version.
    pub version: semver::Version,
    /// Time of the build, RFC 3339.
    pub created: String,
}

/// What became of an ONNX file.
pub struct Drafted {
    /// A manifest without files.
    pub manifest: Manifest,
    /// What the author should know.
    pub notes: Vec<String>,
}

/// The manifest as the file describes itself, with the shapes the author names.
pub fn from_description(
    description: &Description,
    shapes: &[Shape],
    identity: Identity,
) -> Result<Manifest, Failure> {
    let mut inputs = description.inputs.clone();
    for shape in shapes {
        let Some(input) = inputs.iter_mut().find(|i| i.name == shape.name) else {
            let known: Vec<&str> = description.inputs.iter().map(|i| i.name.as_str()).collect();
            let text =
                format!("--shape {}: the model has no such input; it has {}", shape.name, known.join(", "));
            return Err(Failure::usage(text));
        };
        input.shape.clone_from(&shape.dims);
    }
    Ok(author::draft(identity.name, identity.version, identity.created, inputs, description.outputs.clone()))
}

/// Drafts a manifest and lets the engine correct its outputs. A graph that loads only with one row is given one row.
pub fn draft(onnx: &[u8], file: &str, shapes: &[Shape], identity: Identity) -> Result<Drafted, Failure> {
    let description = describe(onnx).map_err(|e| not_loaded(file, &e))?;
    if let Some(text) = description.unusable.first() {
        return Err(Failure::refused("model.unusable", format!("{file}: {text}")));
    }
    let mut manifest = from_description(&description, shapes, identity)?;
    let limits = Limits::default();
    let mut notes = Vec::new();
    let probed = match Model::probe(&manifest, onnx, &limits) {
        Ok(outputs) => Ok(outputs),
        Err(first) => match with_one_row(&manifest) {
            None => Err(first),
            Some(single) => match Model::probe(&single, onnx, &limits) {
                Ok(outputs) => {
                    let said = reason(&first);
                    notes.push(format!(
                        "the graph loads only with one row a request ({said}); it takes no batches"
                    ));
                    manifest = single;
                    Ok(outputs)
                }
                Err(_) => Err(first),
            },
        },
    };
    let outputs = probed.map_err(|e| not_loaded(file, &e))?;
    manifest.outputs = author::infer_outputs(&manifest, &outputs);
    Ok(Drafted { manifest, notes })
}

fn reason(error: &LoadError) -> String {
    match error {
        LoadError::Node { node, operator, .. } => {
            format!("node `{node}`, operator `{operator}`, needs to know it")
        }
        other => other.to_string(),
    }
}

/// The same manifest with a batch of one.
fn with_one_row(manifest: &Manifest) -> Option<Manifest> {
    let symbol = manifest.batch_symbol()?.to_owned();
    let fix = |specs: &[TensorSpec]| -> Vec<TensorSpec> {
        let dim = |d: &Dim| if *d == Dim::Symbol(symbol.clone()) { Dim::Fixed(1) } else { d.clone() };
        specs.iter().map(|s| TensorSpec { shape: s.shape.iter().map(dim).collect(), ..s.clone() }).collect()
    };
    Some(Manifest {
        inputs: fix(&manifest.inputs),
        outputs: fix(&manifest.outputs),
        batch: None::<Batch>,
        ..manifest.clone()
    })
}
