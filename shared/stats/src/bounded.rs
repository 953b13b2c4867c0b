//! Lists that are read no further than they may be long.
//!
//! Rules about what was read come too late for its size: an entry of six bytes in a file is some hundred in memory, and a
//! device that reads a bundle has little of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a list of at most `MAX` entries.
///
/// # Errors
/// The deserializer's, and for a longer list.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(List::<T, MAX>(PhantomData))
}

struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} entries")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut out = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if out.len() == MAX {
                return Err(A::Error::custom(format_args!("a list has more than {MAX} entries")));
            }
            out.push(entry);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Three(#[serde(deserialize_with = "super::list::<_, _, 3>")] Vec<u16>);

    #[test]
    fn a_list_is_read_up_to_its_limit() {
        for len in 0..6u16 {
            let list = Three((0..len).collect());
            let bytes = postcard::to_stdvec(&list).unwrap();
            let text = serde_json::to_string(&list).unwrap();
            if len <= 3 {
                assert_eq!(postcard::from_bytes::<Three>(&bytes).unwrap(), list);
                assert_eq!(serde_json::from_str::<Three>(&text).unwrap(), list);
            } else {
                assert!(postcard::from_bytes::<Three>(&bytes).is_err(), "{len}");
                assert!(serde_json::from_str::<Three>(&text).is_err(), "{len}");
            }
        }
    }
}
