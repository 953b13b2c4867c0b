//! Golden vectors from what authors have: arrays named after the tensors, of the types numpy happens to use.

use crate::{DType, Golden, Manifest, ManifestError, Refusal, Tensor, TensorSpec};

const FILE: &str = "golden vectors";

/// Finds the inputs and outputs of the manifest among `arrays` (named `input.<name>`, `output.<name>` or just `<name>`;
/// a single input may be called `x`, `X` or `inputs`, a single output `y`, `Y`, `outputs` or `expected`), converts their
/// element types where nothing is lost but precision, and checks them.
///
/// # Errors
/// [`ManifestError`] naming the tensor.
pub fn golden_of(arrays: Vec<Tensor>, manifest: &Manifest) -> Result<Golden, ManifestError> {
    let outputs: Vec<TensorSpec> =
        manifest.api_outputs()?.into_iter().filter(|o| o.dtype != DType::Bytes).collect();
    let mut arrays = arrays;
    let mut named = Vec::new();
    let sides = [
        ("input", manifest.api_inputs(), &["x", "X", "inputs", "input"]),
        ("output", outputs, &["y", "Y", "outputs", "expected"]),
    ];
    for (prefix, specs, usual) in sides {
        for spec in &specs {
            let full = format!("{prefix}.{}", spec.name);
            let is_it = |t: &Tensor| {
                t.name == full
                    || t.name == spec.name
                    || (specs.len() == 1 && usual.contains(&t.name.as_str()))
            };
            // The most exact name wins.
            let at = arrays.iter().position(|t| t.name == full).or_else(|| arrays.iter().position(is_it));
            let Some(at) = at else {
                return Err(ManifestError::new(FILE, &full, Refusal::MissingTensor(full.clone())));
            };
            let mut tensor =
                convert(arrays.remove(at), spec.dtype).map_err(|r| ManifestError::new(FILE, &full, r))?;
            tensor.name = full;
            named.push(tensor);
        }
    }
    named.extend(arrays);
    crate::golden::from_tensors(named, manifest).map_err(|e| ManifestError { file: FILE.to_owned(), ..e })
}

/// `tensor` with elements of type `dtype`: whole numbers only when every value is one that fits.
fn convert(tensor: Tensor, dtype: DType) -> Result<Tensor, Refusal> {
    if tensor.dtype == dtype {
        return Ok(tensor);
    }
    let wrong = || Refusal::DType { found: tensor.dtype.to_string(), expected: dtype.to_string() };
    let values = tensor.values();
    let data: Vec<u8> = match dtype {
        DType::Fp32 => values.flat_map(|v| (v as f32).to_le_bytes()).collect(),
        DType::Fp64 => values.flat_map(f64::to_le_bytes).collect(),
        DType::Bytes | DType::Fp16 => return Err(wrong()),
        _ => {
            let (min, max): (f64, f64) = match dtype {
                DType::Bool => (0.0, 1.0),
                DType::Uint8 => (0.0, u8::MAX.into()),
                DType::Uint16 => (0.0, u16::MAX.into()),
                DType::Uint32 => (0.0, u32::MAX.into()),
                DType::Uint64 => (0.0, 9_007_199_254_740_992.0),
                DType::Int8 => (i8::MIN.into(), i8::MAX.into()),
                DType::Int16 => (i16::MIN.into(), i16::MAX.into()),
                DType::Int32 => (i32::MIN.into(), i32::MAX.into()),
                _ => (-9_007_199_254_740_992.0, 9_007_199_254_740_992.0),
            };
            let size = dtype.size_bytes().ok_or_else(wrong)?;
            let mut data = Vec::new();
            for v in values {
                if v.fract() != 0.0 || !(min..=max).contains(&v) {
                    return Err(wrong());
                }
                data.extend_from_slice(&(v as i64).to_le_bytes()[..size]);
            }
            data
        }
    };
    Ok(Tensor { dtype, data, ..tensor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_converted_only_where_values_survive() {
        let doubles = Tensor {
            name: "x".into(),
            dtype: DType::Fp64,
            shape: vec![2],
            data: [1.0f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        assert_eq!(convert(doubles.clone(), DType::Fp32).unwrap(), Tensor::from_f32("x", &[2], &[1.0, -2.0]));
        assert_eq!(convert(doubles.clone(), DType::Int64).unwrap(), Tensor::from_i64("x", &[2], &[1, -2]));
        assert!(convert(doubles, DType::Uint8).is_err());
        assert!(convert(Tensor::from_f32("x", &[1], &[0.5]), DType::Int32).is_err());
    }
}
