//! Walks a type by its own `Deserialize`: every leaf that any of its values can have, with its path and kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer as _,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// What was met: path to kind.
pub type Leaves = BTreeMap<String, &'static str>;

/// Every leaf of `T`. Each enum, wherever it stands, is taken in each of its variants.
pub fn leaves<T: DeserializeOwned>(name: &str) -> Leaves {
    let mut state = State::default();
    // Nested enums come round only with the right variants around them.
    let mut quiet = 0;
    while quiet < 500 {
        let before = state.leaves.len();
        if let Err(e) = T::deserialize(Walk { path: name.to_owned(), state: &mut state }) {
            // A list that must agree with something beside it: it was looked into, and is empty from now on.
            let list = state.lists.pop().unwrap_or_else(|| panic!("{name}: {e}"));
            assert!(state.empty.insert(list), "{name}: {e}");
        }
        state.lists.clear();
        quiet = if state.leaves.len() == before { quiet + 1 } else { 0 };
    }
    state.leaves
}

#[derive(Default)]
struct State {
    leaves: Leaves,
    next: BTreeMap<String, u32>,
    /// Lists of this round, in the order they were met.
    lists: Vec<String>,
    /// Lists that are given as empty ones.
    empty: BTreeSet<String>,
}

struct Walk<'a> {
    path: String,
    state: &'a mut State,
}

#[derive(Debug)]
pub struct Error(String);
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}
impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

impl<'a> Walk<'a> {
    fn leaf(&mut self, kind: &'static str) {
        self.state.leaves.insert(self.path.clone(), kind);
    }
    fn below(&mut self, part: &str) -> Walk<'_> {
        Walk { path: format!("{}{part}", self.path), state: self.state }
    }
}

macro_rules! number {
    ($($method:ident $visit:ident $kind:literal $value:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
            self.leaf($kind);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Error;

    number! {
        deserialize_bool visit_bool "bool" false;
        deserialize_u8 visit_u8 "integer" 0;
        deserialize_u16 visit_u16 "integer" 0;
        deserialize_u32 visit_u32 "integer" 0;
        deserialize_u64 visit_u64 "integer" 0;
        deserialize_i8 visit_i8 "integer" 0;
        deserialize_i16 visit_i16 "integer" 0;
        deserialize_i32 visit_i32 "integer" 0;
        deserialize_i64 visit_i64 "integer" 0;
        deserialize_u128 visit_u128 "integer" 0;
        deserialize_i128 visit_i128 "integer" 0;
        deserialize_f32 visit_f32 "float" 0.0;
        deserialize_f64 visit_f64 "float" 0.0;
        deserialize_char visit_char "text" 'a';
        deserialize_str visit_str "text" "a";
        deserialize_string visit_str "text" "a";
        deserialize_bytes visit_bytes "bytes" &[];
        deserialize_byte_buf visit_bytes "bytes" &[];
    }
    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.leaf("anything");
        visitor.visit_unit()
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.state.lists.push(self.path.clone());
        let names = if self.state.empty.contains(&self.path) { Vec::new() } else { vec!["[]".into()] };
        visitor.visit_seq(Parts { walk: self, names, at: 0 })
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Parts { walk: self, names: vec!["[]".into(); len], at: 0 })
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Parts { walk: self, names: vec!["{key}".into(), "{}".into()], at: 0 })
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let names = fields.iter().map(|f| format!(".{f}")).collect();
        visitor.visit_seq(Parts { walk: self, names, at: 0 })
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let next = self.state.next.entry(self.path.clone()).or_default();
        let index = *next;
        *next = (index + 1) % u32::try_from(variants.len()).map_err(Error::custom)?;
        let path = format!("{}::{}", self.path, variants[index as usize]);
        self.state.leaves.insert(self.path.clone(), "one of");
        visitor.visit_enum(Variant { walk: Walk { path, state: self.state }, index })
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("names are given, not asked for"))
    }
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Parts of a sequence, a struct, or a map of one entry.
struct Parts<'a> {
    walk: Walk<'a>,
    names: Vec<String>,
    at: usize,
}
impl Parts<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(name) = self.names.get(self.at).cloned() else { return Ok(None) };
        self.at += 1;
        seed.deserialize(self.walk.below(&name)).map(Some)
    }
}
impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Error;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next(seed)
    }
}
impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Error;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next(seed)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.next(seed)?.ok_or_else(|| Error::custom("a key without a value"))
    }
}

struct Variant<'a> {
    walk: Walk<'a>,
    index: u32,
}
impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Walk<'a>;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Walk<'a>), Error> {
        let name: serde::de::value::U32Deserializer<Error> = self.index.into_deserializer();
        Ok((seed.deserialize(name)?, self.walk))
    }
}
impl<'de> VariantAccess<'de> for Walk<'_> {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self)
    }
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}
