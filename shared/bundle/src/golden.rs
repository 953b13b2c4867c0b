//! Golden vectors: inputs and the outputs a right engine gives for them, in one safetensors file.
//!
//! Tensors are named `input.<name>` and `output.<name>`; every input and output of the manifest is there, as a client
//! sends and gets them, and nothing else. No value is NaN.

use safetensors::{Dtype, SafeTensors};

use crate::{DType, Dim, Manifest, ManifestError, Refusal, Tensor, TensorSpec};

/// Longest golden file, bytes.
pub const GOLDEN_MAX_BYTES: usize = 64 << 20;

/// Inputs and expected outputs that fit a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// In the order of the manifest.
    pub inputs: Vec<Tensor>,
    /// In the order of the manifest.
    pub outputs: Vec<Tensor>,
    /// Rows.
    pub rows: usize,
}

fn refuse(field: &str, reason: Refusal, manifest: &Manifest) -> ManifestError {
    ManifestError::new(manifest.golden_path(), field, reason)
}

/// Reads and checks the bytes of a golden file.
///
/// # Errors
/// [`ManifestError`] naming the tensor: one missing, unknown, of another type or shape, or holding a NaN.
pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Golden, ManifestError> {
    if bytes.len() > GOLDEN_MAX_BYTES {
        let (found, limit) = (bytes.len() as u64, GOLDEN_MAX_BYTES as u64);
        return Err(refuse("(whole file)", Refusal::TooMany { what: "bytes", found, limit }, manifest));
    }
    let tensors = read_safetensors(bytes).map_err(|r| refuse("(whole file)", r, manifest))?;
    from_tensors(tensors, manifest)
}

/// The tensors of a safetensors file, sorted by name.
///
/// # Errors
/// [`Refusal::Syntax`] or [`Refusal::DType`].
pub fn read_safetensors(bytes: &[u8]) -> Result<Vec<Tensor>, Refusal> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Refusal::Syntax(format!("not a safetensors file: {e}")))?;
    let mut out = Vec::new();
    for (name, view) in file.tensors() {
        let dtype = dtype_of(view.dtype())?;
        out.push(Tensor { name, dtype, shape: view.shape().to_vec(), data: view.data().to_vec() });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn dtype_of(dtype: Dtype) -> Result<DType, Refusal> {
    Ok(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::Uint8,
        Dtype::I8 => DType::Int8,
        Dtype::U16 => DType::Uint16,
        Dtype::I16 => DType::Int16,
        Dtype::F16 => DType::Fp16,
        Dtype::U32 => DType::Uint32,
        Dtype::I32 => DType::Int32,
        Dtype::F32 => DType::Fp32,
        Dtype::U64 => DType::Uint64,
        Dtype::I64 => DType::Int64,
        Dtype::F64 => DType::Fp64,
        other => {
            let (found, expected) =
                (format!("{other:?}"), "a type of the Open Inference Protocol".to_owned());
            return Err(Refusal::DType { found, expected });
        }
    })
}

/// Sorts named tensors into inputs and outputs and checks them against the manifest.
///
/// # Errors
/// As [`parse`].
pub fn from_tensors(mut tensors: Vec<Tensor>, manifest: &Manifest) -> Result<Golden, ManifestError> {
    let inputs = manifest.api_inputs();
    // Text is derived from numbers that are compared already.
    let outputs: Vec<TensorSpec> =
        manifest.api_outputs()?.into_iter().filter(|o| o.dtype != DType::Bytes).collect();
    let mut symbols = Symbols::default();
    let inputs = take("input", &inputs, &mut tensors, &mut symbols, manifest)?;
    let outputs = take("output", &outputs, &mut tensors, &mut symbols, manifest)?;
    if let Some(stray) = tensors.first() {
        return Err(refuse(&stray.name, Refusal::StrayTensor(stray.name.clone()), manifest));
    }
    let rows = manifest.batch_symbol().and_then(|s| symbols.get(s)).unwrap_or(1);
    Ok(Golden { inputs, outputs, rows })
}

fn take<'a>(
    prefix: &str,
    specs: &'a [TensorSpec],
    tensors: &mut Vec<Tensor>,
    symbols: &mut Symbols<'a>,
    manifest: &Manifest,
) -> Result<Vec<Tensor>, ManifestError> {
    let mut out = Vec::new();
    for spec in specs {
        let wanted = format!("{prefix}.{}", spec.name);
        let Some(at) = tensors.iter().position(|t| t.name == wanted) else {
            return Err(refuse(&wanted, Refusal::MissingTensor(wanted.clone()), manifest));
        };
        let mut tensor = tensors.swap_remove(at);
        symbols.check(&tensor, spec).map_err(|r| refuse(&wanted, r, manifest))?;
        if let Some(i) = first_nan(&tensor) {
            return Err(refuse(&wanted, Refusal::NaN(i), manifest));
        }
        tensor.name.clone_from(&spec.name);
        out.push(tensor);
    }
    Ok(out)
}

impl Golden {
    /// The bytes of a golden file; the same vectors always give the same bytes.
    ///
    /// # Errors
    /// When a tensor holds byte strings or its data does not fit its shape.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        let sides = [("input", &self.inputs), ("output", &self.outputs)];
        let named =
            sides.into_iter().flat_map(|(p, ts)| ts.iter().map(move |t| (format!("{p}.{}", t.name), t)));
        let views = named
            .map(|(name, t)| {
                let view = safetensors::tensor::TensorView::new(
                    safetensors_dtype(t.dtype)?,
                    t.shape.clone(),
                    &t.data,
                );
                Ok((name, view.map_err(|e| Refusal::Syntax(e.to_string()))?))
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        safetensors::serialize(views, None).map_err(|e| Refusal::Syntax(e.to_string()))
    }
}

fn safetensors_dtype(dtype: DType) -> Result<Dtype, Refusal> {
    Ok(match dtype {
        DType::Bool => Dtype::BOOL,
        DType::Uint8 => Dtype::U8,
        DType::Int8 => Dtype::I8,
        DType::Uint16 => Dtype::U16,
        DType::Int16 => Dtype::I16,
        DType::Fp16 => Dtype::F16,
        DType::Uint32 => Dtype::U32,
        DType::Int32 => Dtype::I32,
        DType::Fp32 => Dtype::F32,
        DType::Uint64 => Dtype::U64,
        DType::Int64 => Dtype::I64,
        DType::Fp64 => Dtype::F64,
        DType::Bytes => {
            return Err(Refusal::DType { found: "BYTES".into(), expected: "a number type".into() });
        }
    })
}

fn first_nan(t: &Tensor) -> Option<usize> {
    t.dtype.is_float().then(|| t.values().position(f64::is_nan)).flatten()
}

/// What each symbol stands for in one request: the same length everywhere.
#[derive(Debug, Clone, Default)]
pub struct Symbols<'a>(Vec<(&'a str, usize)>);

impl<'a> Symbols<'a> {
    /// The length of a symbol that some tensor has fixed.
    #[must_use]
    pub fn get(&self, symbol: &str) -> Option<usize> {
        self.0.iter().find(|(s, _)| *s == symbol).map(|(_, n)| *n)
    }
    /// Compares a tensor with what it should be, and learns from it what symbols stand for.
    ///
    /// # Errors
    /// [`Refusal::DType`], [`Refusal::Shape`] or [`Refusal::Length`].
    pub fn check(&mut self, tensor: &Tensor, spec: &'a TensorSpec) -> Result<(), Refusal> {
        if tensor.dtype != spec.dtype {
            let (found, expected) = (tensor.dtype.to_string(), spec.dtype.to_string());
            return Err(Refusal::DType { found, expected });
        }
        let shape = || {
            let mut expected = Vec::new();
            for d in &spec.shape {
                expected.push(match d {
                    Dim::Symbol(s) => self.get(s).map_or(s.clone(), |n| format!("{s}={n}")),
                    Dim::Fixed(n) => n.to_string(),
                });
            }
            Refusal::Shape {
                found: format!("{:?}", tensor.shape),
                expected: format!("[{}]", expected.join(", ")),
            }
        };
        if tensor.shape.len() != spec.shape.len() {
            return Err(shape());
        }
        for (&found, dim) in tensor.shape.iter().zip(&spec.shape) {
            let fits = match dim {
                Dim::Fixed(n) => found as u64 == *n,
                Dim::Symbol(s) => found > 0 && self.get(s).is_none_or(|n| n == found),
            };
            if !fits {
                return Err(shape());
            }
        }
        for (&found, dim) in tensor.shape.iter().zip(&spec.shape) {
            if let Dim::Symbol(s) = dim
                && self.get(s).is_none()
            {
                self.0.push((s, found));
            }
        }
        match tensor.expected_bytes() {
            Some(n) if n == tensor.data.len() => Ok(()),
            n => {
                let expected = n.map_or(u64::MAX, |n| n as u64);
                Err(Refusal::Length { found: tensor.data.len() as u64, expected })
            }
        }
    }
}
