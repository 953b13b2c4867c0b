//! Tensors and their types, as the Open Inference Protocol names them.
//!
//! Data is row-major, little-endian bytes: exactly what the protocol's binary tensors and safetensors hold, so that a
//! request needs no conversion.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754, 16 bits.
    Fp16,
    /// IEEE 754, 32 bits.
    Fp32,
    /// IEEE 754, 64 bits.
    Fp64,
    /// Byte strings, each a 32-bit little-endian length and its bytes. Only outputs of a `labels` step have it.
    Bytes,
}

impl DType {
    /// The protocol's name, e.g. `FP32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }
    /// The type with this protocol name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [DType; 13] = [
            DType::Bool,
            DType::Uint8,
            DType::Uint16,
            DType::Uint32,
            DType::Uint64,
            DType::Int8,
            DType::Int16,
            DType::Int32,
            DType::Int64,
            DType::Fp16,
            DType::Fp32,
            DType::Fp64,
            DType::Bytes,
        ];
        ALL.into_iter().find(|d| d.name() == name)
    }
    /// Bytes of one element; `None` for byte strings, whose elements differ.
    #[must_use]
    pub fn size_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
    /// Whether it is a floating-point type.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Fp32 | Self::Fp64)
    }
    /// Whether it is a whole-number type.
    #[must_use]
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::Bytes)
    }
}
impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always this long.
    Fixed(u64),
    /// As long as the request says; the same symbol is the same length everywhere.
    Symbol(String),
}
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => n.fmt(f),
            Self::Symbol(s) => f.write_str(s),
        }
    }
}

/// Name, element type and shape of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// As in the ONNX graph.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape; empty for a scalar.
    pub shape: Vec<Dim>,
}
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} [", self.name, self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            d.fmt(f)?;
        }
        f.write_str("]")
    }
}

/// A named tensor: `data` is row-major little-endian and as long as `dtype` and `shape` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Input or output name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<u8>,
}

impl Tensor {
    /// A tensor of 32-bit floats.
    #[must_use]
    pub fn from_f32(name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { name: name.into(), dtype: DType::Fp32, shape: shape.to_vec(), data }
    }
    /// A tensor of 64-bit integers.
    #[must_use]
    pub fn from_i64(name: impl Into<String>, shape: &[usize], values: &[i64]) -> Self {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { name: name.into(), dtype: DType::Int64, shape: shape.to_vec(), data }
    }
    /// A tensor of byte strings.
    #[must_use]
    pub fn from_strings<'a>(
        name: impl Into<String>,
        shape: &[usize],
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut data = Vec::new();
        for v in values {
            data.extend_from_slice(&u32::try_from(v.len()).unwrap_or(u32::MAX).to_le_bytes());
            data.extend_from_slice(v.as_bytes());
        }
        Self { name: name.into(), dtype: DType::Bytes, shape: shape.to_vec(), data }
    }
    /// Number of elements the shape names; `None` when it overflows.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }
    /// Number of bytes that dtype and shape ask for; `None` for byte strings or on overflow.
    #[must_use]
    pub fn expected_bytes(&self) -> Option<usize> {
        self.elements()?.checked_mul(self.dtype.size_bytes()?)
    }
    /// Every element as an f64 (64-bit integers above 2^53 are rounded); nothing for byte strings.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let size = self.dtype.size_bytes().unwrap_or(usize::MAX);
        self.data.chunks_exact(size).map(|b| element(self.dtype, b))
    }
    /// One element as an f64; `None` beyond the last, and for byte strings.
    #[inline]
    #[must_use]
    pub fn number(&self, at: usize) -> Option<f64> {
        let size = self.dtype.size_bytes()?;
        let from = at.checked_mul(size)?;
        self.data.get(from..from.checked_add(size)?).map(|b| element(self.dtype, b))
    }
    /// Sets one element to a number, rounded to what its type can hold. Nothing happens beyond the last, and for byte
    /// strings.
    pub fn set_number(&mut self, at: usize, value: f64) {
        let Some(size) = self.dtype.size_bytes() else { return };
        let to = at.checked_mul(size).and_then(|from| self.data.get_mut(from..from.checked_add(size)?));
        let Some(to) = to else { return };
        let whole = value.round_ties_even();
        match self.dtype {
            DType::Bool => to[0] = u8::from(value != 0.0),
            DType::Uint8 => to[0] = whole as u8,
            DType::Int8 => to.copy_from_slice(&(whole as i8).to_le_bytes()),
            DType::Uint16 => to.copy_from_slice(&(whole as u16).to_le_bytes()),
            DType::Int16 => to.copy_from_slice(&(whole as i16).to_le_bytes()),
            DType::Uint32 => to.copy_from_slice(&(whole as u32).to_le_bytes()),
            DType::Int32 => to.copy_from_slice(&(whole as i32).to_le_bytes()),
            DType::Uint64 => to.copy_from_slice(&(whole as u64).to_le_bytes()),
            DType::Int64 => to.copy_from_slice(&(whole as i64).to_le_bytes()),
            DType::Fp32 => to.copy_from_slice(&(value as f32).to_le_bytes()),
            DType::Fp64 => to.copy_from_slice(&value.to_le_bytes()),
            // No arithmetic of ours makes halves; such an element stays as it is.
            DType::Fp16 | DType::Bytes => {}
        }
    }
    /// The byte strings of a `BYTES` tensor, lossily as text; empty for other types.
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        let mut rest = match self.dtype {
            DType::Bytes => self.data.as_slice(),
            _ => &[],
        };
        let mut out = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let len = (u32::from_le_bytes(*len) as usize).min(tail.len());
            out.push(String::from_utf8_lossy(&tail[..len]).into_owned());
            rest = &tail[len..];
        }
        out
    }
    /// Whether a floating-point element is NaN.
    #[must_use]
    pub fn has_nan(&self) -> bool {
        self.dtype.is_float() && self.values().any(f64::is_nan)
    }
}

#[inline]
fn element(dtype: DType, b: &[u8]) -> f64 {
    fn arr<const N: usize>(b: &[u8]) -> [u8; N] {
        b.try_into().expect("chunks have the size of the type")
    }
    match dtype {
        DType::Bool => f64::from(u8::from(b[0] != 0)),
        DType::Uint8 => f64::from(b[0]),
        DType::Int8 => f64::from(b[0] as i8),
        DType::Uint16 => f64::from(u16::from_le_bytes(arr(b))),
        DType::Int16 => f64::from(i16::from_le_bytes(arr(b))),
        DType::Fp16 => half_to_f64(u16::from_le_bytes(arr(b))),
        DType::Uint32 => f64::from(u32::from_le_bytes(arr(b))),
        DType::Int32 => f64::from(i32::from_le_bytes(arr(b))),
        DType::Fp32 => f64::from(f32::from_le_bytes(arr(b))),
        DType::Uint64 => u64::from_le_bytes(arr(b)) as f64,
        DType::Int64 => i64::from_le_bytes(arr(b)) as f64,
        DType::Fp64 => f64::from_le_bytes(arr(b)),
        DType::Bytes => f64::NAN,
    }
}

/// IEEE 754 binary16, widened exactly.
fn half_to_f64(h: u16) -> f64 {
    let sign = if h & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(h >> 10 & 0x1f), f64::from(h & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        e => sign * (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_widen_exactly() {
        for (h, want) in [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f64.powi(-24)), (0x7bff, 65504.0)] {
            assert_eq!(half_to_f64(h), want);
        }
        assert!(half_to_f64(0x7e00).is_nan());
        assert_eq!(half_to_f64(0xfc00), f64::NEG_INFINITY);
    }

    #[test]
    fn names_round_trip() {
        for name in ["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BYTES"] {
            assert_eq!(DType::from_name(name).unwrap().name(), name);
            assert_eq!(serde_json::to_string(&DType::from_name(name).unwrap()).unwrap(), format!("{name:?}"));
        }
        assert_eq!(DType::from_name("FLOAT"), None);
    }

    #[test]
    fn byte_strings_survive_truncation() {
        let t = Tensor::from_strings("x", &[2], ["zero", "one"]);
        assert_eq!(t.strings(), ["zero", "one"]);
        let cut = Tensor { data: t.data[..t.data.len() - 2].to_vec(), ..t };
        assert_eq!(cut.strings(), ["zero", "o"]);
    }

    #[test]
    fn elements_can_be_set() {
        for (name, value, want) in [
            ("UINT8", 2.5, 2.0),
            ("INT64", -3.0, -3.0),
            ("FP32", 0.5, 0.5),
            ("FP64", 0.1, 0.1),
            ("BOOL", 9.0, 1.0),
        ] {
            let dtype = DType::from_name(name).unwrap();
            let data = vec![0; 2 * dtype.size_bytes().unwrap()];
            let mut t = Tensor { name: "x".into(), dtype, shape: vec![2], data };
            t.set_number(1, value);
            t.set_number(2, 7.0);
            assert_eq!(t.values().collect::<Vec<_>>(), [0.0, want], "{name}");
        }
    }

    #[test]
    fn single_elements_are_those_of_all() {
        let t = Tensor::from_f32("x", &[3], &[1.5, -0.0, f32::INFINITY]);
        let each: Vec<f64> = (0..3).filter_map(|i| t.number(i)).collect();
        assert_eq!(each, t.values().collect::<Vec<_>>());
        assert_eq!((t.number(3), t.number(usize::MAX)), (None, None));
        assert_eq!(Tensor::from_strings("x", &[1], ["a"]).number(0), None);
    }

    #[test]
    fn overlong_shapes_do_not_overflow() {
        let t = Tensor { name: "x".into(), dtype: DType::Fp64, shape: vec![usize::MAX, 2], data: vec![] };
        assert_eq!((t.elements(), t.expected_bytes()), (None, None));
    }
}
