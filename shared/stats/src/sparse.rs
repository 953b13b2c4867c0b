//! How a table of counts is written where every byte counts: its length, which entries are not zero, and those entries.
//!
//! Text formats (JSON) get the plain list. Only tables of at most [`ENTRIES_MAX`] entries are written so: what is read
//! is at most some hundred times larger than its bytes, so a short message cannot fill a reader's memory.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

/// Most entries of such a table: a vocabulary, everything outside it, and room.
pub const ENTRIES_MAX: usize = 128;

/// Writes a table.
///
/// # Errors
/// The serializer's, and for a table of more than [`ENTRIES_MAX`] entries.
pub fn serialize<S: Serializer>(counts: &[u64], to: S) -> Result<S::Ok, S::Error> {
    if to.is_human_readable() {
        return counts.serialize(to);
    }
    if counts.len() > ENTRIES_MAX {
        let text = format!("a table of {} entries, at most {ENTRIES_MAX}", counts.len());
        return Err(serde::ser::Error::custom(text));
    }
    let masks = counts
        .chunks(64)
        .map(|chunk| chunk.iter().enumerate().fold(0u64, |mask, (i, n)| mask | (u64::from(*n != 0) << i)));
    let payload: Vec<u64> = masks.chain(counts.iter().copied().filter(|n| *n != 0)).collect();
    (counts.len() as u32, payload).serialize(to)
}

/// Reads a table.
///
/// # Errors
/// When its parts do not fit together.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    if from.is_human_readable() {
        return Vec::deserialize(from);
    }
    let (len, payload) = <(u32, Vec<u64>)>::deserialize(from)?;
    let len = len as usize;
    if len > ENTRIES_MAX {
        return Err(D::Error::custom("a table has too many entries"));
    }
    let (masks, values) = payload
        .split_at_checked(len.div_ceil(64))
        .ok_or_else(|| D::Error::custom("a table is shorter than its length says"))?;
    let beyond = masks.last().is_some_and(|m| !len.is_multiple_of(64) && m >> (len % 64) != 0);
    let set: u32 = masks.iter().map(|m| m.count_ones()).sum();
    // One way to write a table: its bytes are signed, and two writings of one thing would be two things.
    if beyond || set as usize != values.len() || values.contains(&0) {
        return Err(D::Error::custom("the entries of a table do not fit its mask"));
    }
    let mut values = values.iter().copied();
    Ok((0..len)
        .map(|i| if masks[i / 64] >> (i % 64) & 1 == 1 { values.next().unwrap_or(0) } else { 0 })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Table(#[serde(with = "super")] Vec<u64>);

    #[test]
    fn tables_come_back_and_zeros_cost_nothing() {
        for len in [0, 1, 31, 50, 63, 64, 65, 128] {
            for step in [1, 2, 7, 1000] {
                let table = Table((0..len).map(|i| if i % step == 0 { i << 20 } else { 0 }).collect());
                let bytes = postcard::to_stdvec(&table).unwrap();
                assert_eq!(postcard::from_bytes::<Table>(&bytes).unwrap(), table);
                let text = serde_json::to_string(&table).unwrap();
                assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
            }
            let empty = postcard::to_stdvec(&Table(vec![0; len as usize])).unwrap();
            assert!(empty.len() <= 2 + 2 + 1, "{} bytes for {len} zeros", empty.len());
        }
        assert!(postcard::to_stdvec(&Table(vec![0; 129])).is_err());
    }
    #[test]
    fn what_does_not_fit_together_is_refused() {
        let read = |len: u32, payload: &[u64]| {
            postcard::from_bytes::<Table>(&postcard::to_stdvec(&(len, payload)).unwrap()).ok()
        };
        assert_eq!(read(2, &[0b10, 7]), Some(Table(vec![0, 7])));
        for (len, payload) in [
            (2, &[0b100, 7][..]),
            (2, &[0b10]),
            (2, &[0b10, 0]),
            (2, &[0b01, 7, 8]),
            (65, &[1]),
            (u32::MAX, &[]),
        ] {
            assert_eq!(read(len, payload), None, "{len} {payload:?}");
        }
    }
}
