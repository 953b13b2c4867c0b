//! Our tensors to tract's and back: one copy of the bytes each way.

use longshore_bundle::{DType, Tensor};
use tract_onnx::prelude as tract;
use tract_onnx::tract_hir::internal::TDim;

/// tract's element type.
pub(crate) fn datum_type(dtype: DType) -> Option<tract::DatumType> {
    use tract::DatumType as D;
    Some(match dtype {
        DType::Bool => D::Bool,
        DType::Uint8 => D::U8,
        DType::Uint16 => D::U16,
        DType::Uint32 => D::U32,
        DType::Uint64 => D::U64,
        DType::Int8 => D::I8,
        DType::Int16 => D::I16,
        DType::Int32 => D::I32,
        DType::Int64 => D::I64,
        DType::Fp16 => D::F16,
        DType::Fp32 => D::F32,
        DType::Fp64 => D::F64,
        DType::Bytes => return None,
    })
}

/// Our element type; quantised types count as what they are stored in, symbolic dimensions as INT64.
pub(crate) fn dtype(datum_type: tract::DatumType) -> Option<DType> {
    use tract::DatumType as D;
    Some(match datum_type.unquantized() {
        D::Bool => DType::Bool,
        D::U8 => DType::Uint8,
        D::U16 => DType::Uint16,
        D::U32 => DType::Uint32,
        D::U64 => DType::Uint64,
        D::I8 => DType::Int8,
        D::I16 => DType::Int16,
        D::I32 => DType::Int32,
        D::I64 | D::TDim => DType::Int64,
        D::F16 => DType::Fp16,
        D::F32 => DType::Fp32,
        D::F64 => DType::Fp64,
        _ => return None,
    })
}

/// A tract tensor of the same content. `data` must be as long as dtype and shape say.
pub(crate) fn to_tract(dtype: DType, shape: &[usize], data: &[u8]) -> tract::TractResult<tract::TValue> {
    let Some(dt) = datum_type(dtype) else {
        tract_onnx::tract_hir::internal::bail!("byte strings cannot enter a graph");
    };
    let mut out = tract::Tensor::zero_dt(dt, shape)?;
    let bytes = out.as_bytes_mut();
    if bytes.len() != data.len() {
        tract_onnx::tract_hir::internal::bail!(
            "{} bytes of data for a tensor of {}",
            data.len(),
            bytes.len()
        );
    }
    bytes.copy_from_slice(data);
    if dtype == DType::Bool {
        // Any other byte is no valid bool.
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    Ok(tract::IntoTValue::into_tvalue(out))
}

/// One of our tensors with the content of `value`.
pub(crate) fn from_tract(name: &str, value: &tract::Tensor) -> tract::TractResult<Tensor> {
    let found = value.datum_type();
    let Some(dtype) = dtype(found) else {
        tract_onnx::tract_hir::internal::bail!(
            "output `{name}` has element type {found:?}, which cannot be served"
        );
    };
    let shape = value.shape().to_vec();
    let data = if found == tract::DatumType::TDim {
        let dims = value.try_as_plain_ram()?;
        let dims = dims.as_slice::<TDim>()?;
        let mut data = Vec::with_capacity(dims.len() * 8);
        for d in dims {
            data.extend_from_slice(&d.to_i64()?.to_le_bytes());
        }
        data
    } else {
        value.as_bytes().to_vec()
    };
    Ok(Tensor { name: name.to_owned(), dtype, shape, data })
}
