//! Tensor data in JSON: flat or nested arrays of numbers, booleans or strings. An integer stays exact until it meets a
//! fraction.

use std::fmt;

use longshore_bundle::DType;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// The elements of a `data` array, in row-major order.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Flat {
    /// No element yet.
    #[default]
    Empty,
    /// Booleans.
    Bools(Vec<bool>),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Numbers, at least one of which is no i64.
    Floats(Vec<f64>),
    /// Strings.
    Texts(Vec<String>),
}

impl Flat {
    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Bools(v) => v.len(),
            Self::Ints(v) => v.len(),
            Self::Floats(v) => v.len(),
            Self::Texts(v) => v.len(),
        }
    }

    fn push_int(&mut self, v: i64) -> Result<(), &'static str> {
        match self {
            Self::Empty => *self = Self::Ints(vec![v]),
            Self::Ints(all) => all.push(v),
            Self::Floats(all) => all.push(v as f64),
            _ => return Err("numbers and other values are mixed"),
        }
        Ok(())
    }
    fn push_float(&mut self, v: f64) -> Result<(), &'static str> {
        match self {
            Self::Empty => *self = Self::Floats(vec![v]),
            Self::Ints(all) => {
                let mut floats: Vec<f64> = all.iter().map(|&i| i as f64).collect();
                floats.push(v);
                *self = Self::Floats(floats);
            }
            Self::Floats(all) => all.push(v),
            _ => return Err("numbers and other values are mixed"),
        }
        Ok(())
    }
    fn push_bool(&mut self, v: bool) -> Result<(), &'static str> {
        match self {
            Self::Empty => *self = Self::Bools(vec![v]),
            Self::Bools(all) => all.push(v),
            _ => return Err("booleans and other values are mixed"),
        }
        Ok(())
    }
    fn push_text(&mut self, v: &str) -> Result<(), &'static str> {
        match self {
            Self::Empty => *self = Self::Texts(vec![v.to_owned()]),
            Self::Texts(all) => all.push(v.to_owned()),
            _ => return Err("strings and other values are mixed"),
        }
        Ok(())
    }

    /// The little-endian bytes of these elements as `dtype`.
    ///
    /// # Errors
    /// What does not fit, for people.
    pub fn to_bytes(&self, dtype: DType) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(self.len() * dtype.size_bytes().unwrap_or(8));
        match (self, dtype) {
            (Self::Empty, _) => {}
            (_, DType::Fp16) => {
                return Err("FP16 has no JSON form; send it as binary data, or as FP32".into());
            }
            (Self::Texts(v), DType::Bytes) => {
                for text in v {
                    out.extend_from_slice(
                        &u32::try_from(text.len()).map_err(|_| "a string is too long")?.to_le_bytes(),
                    );
                    out.extend_from_slice(text.as_bytes());
                }
            }
            (Self::Bools(v), DType::Bool) => out.extend(v.iter().map(|&b| u8::from(b))),
            (Self::Ints(v), _) if dtype.is_integer() || dtype == DType::Bool => {
                for &i in v {
                    write_int(&mut out, dtype, i)?;
                }
            }
            (Self::Ints(v), _) if dtype.is_float() => {
                v.iter().try_for_each(|&i| write_float(&mut out, dtype, i as f64))?;
            }
            (Self::Floats(v), _) if dtype.is_float() => {
                v.iter().try_for_each(|&f| write_float(&mut out, dtype, f))?;
            }
            (Self::Floats(_), _) => {
                return Err(format!("data holds fractions or numbers too large for {dtype}"));
            }
            (Self::Texts(_), _) => return Err(format!("data holds strings, which are no {dtype}")),
            (Self::Bools(_), _) => return Err(format!("data holds booleans, which are no {dtype}")),
            (Self::Ints(_), _) => return Err(format!("data holds numbers, which are no {dtype}")),
        }
        Ok(out)
    }
}

fn write_int(out: &mut Vec<u8>, dtype: DType, i: i64) -> Result<(), String> {
    macro_rules! narrow {
        ($t:ty) => {
            <$t>::try_from(i).ok().map(|v| out.extend_from_slice(&v.to_le_bytes()))
        };
    }
    let written = match dtype {
        DType::Bool => u8::try_from(i).ok().filter(|&v| v <= 1).map(|v| out.push(v)),
        DType::Uint8 => narrow!(u8),
        DType::Uint16 => narrow!(u16),
        DType::Uint32 => narrow!(u32),
        DType::Uint64 => narrow!(u64),
        DType::Int8 => narrow!(i8),
        DType::Int16 => narrow!(i16),
        DType::Int32 => narrow!(i32),
        DType::Int64 => narrow!(i64),
        DType::Fp16 | DType::Fp32 | DType::Fp64 | DType::Bytes => None,
    };
    written.ok_or_else(|| format!("the value {i} does not fit {dtype}"))
}

fn write_float(out: &mut Vec<u8>, dtype: DType, f: f64) -> Result<(), String> {
    if dtype == DType::Fp64 {
        out.extend_from_slice(&f.to_le_bytes());
        return Ok(());
    }
    let narrow = f as f32;
    if narrow.is_infinite() {
        return Err(format!("the value {f:e} does not fit {dtype}"));
    }
    out.extend_from_slice(&narrow.to_le_bytes());
    Ok(())
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut flat = Self::Empty;
        d.deserialize_seq(Collect(&mut flat))?;
        Ok(flat)
    }
}

/// Appends what it reads.
struct Collect<'a>(&'a mut Flat);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, booleans or strings, flat or nested")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Collect(self.0))?.is_some() {}
        Ok(())
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<(), E> {
        self.0.push_int(v).map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<(), E> {
        match i64::try_from(v) {
            Ok(v) => self.0.push_int(v),
            Err(_) => self.0.push_float(v as f64),
        }
        .map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<(), E> {
        self.0.push_float(v).map_err(E::custom)
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<(), E> {
        self.0.push_bool(v).map_err(E::custom)
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<(), E> {
        self.0.push_text(v).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(json: &str) -> Result<Flat, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn nested_arrays_are_row_major() {
        assert_eq!(flat("[[1,2],[3,4]]").unwrap(), Flat::Ints(vec![1, 2, 3, 4]));
        assert_eq!(flat("[[1,2.5],[3,4]]").unwrap(), Flat::Floats(vec![1.0, 2.5, 3.0, 4.0]));
        assert_eq!(flat("[]").unwrap().len(), 0);
        assert_eq!(flat(r#"["a","b"]"#).unwrap(), Flat::Texts(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn what_is_no_data_is_refused() {
        for json in ["1", "{}", "[1,null]", r#"[1,"a"]"#, "[true,1]", "[1,{}]", &"[".repeat(100_000)] {
            assert!(flat(json).is_err(), "{}", &json[..json.len().min(20)]);
        }
    }

    #[test]
    fn values_must_fit_their_type() {
        assert_eq!(Flat::Ints(vec![1, -1]).to_bytes(DType::Int8).unwrap(), [1, 0xff]);
        assert_eq!(Flat::Ints(vec![2]).to_bytes(DType::Fp32).unwrap(), 2f32.to_le_bytes());
        assert_eq!(Flat::Bools(vec![true, false]).to_bytes(DType::Bool).unwrap(), [1, 0]);
        assert_eq!(Flat::Texts(vec!["ab".into()]).to_bytes(DType::Bytes).unwrap(), [2, 0, 0, 0, b'a', b'b']);
        let big = Flat::Ints(vec![i64::MAX - 1]);
        assert_eq!(big.to_bytes(DType::Int64).unwrap(), (i64::MAX - 1).to_le_bytes(), "exact beyond 2^53");
        for (flat, dtype) in [
            (Flat::Ints(vec![300]), DType::Uint8),
            (Flat::Ints(vec![-1]), DType::Uint64),
            (Flat::Ints(vec![2]), DType::Bool),
            (Flat::Floats(vec![0.5]), DType::Int32),
            (Flat::Floats(vec![1e300]), DType::Fp32),
            (Flat::Texts(vec!["1".into()]), DType::Fp32),
            (Flat::Bools(vec![true]), DType::Fp32),
            (Flat::Ints(vec![1]), DType::Fp16),
            (Flat::Ints(vec![1]), DType::Bytes),
        ] {
            assert!(flat.to_bytes(dtype).is_err(), "{flat:?} as {dtype}");
        }
    }
}
