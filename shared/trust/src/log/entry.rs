//! One line of the audit log, and the bytes that are hashed.

use serde::{Deserialize, Serialize};

use super::tree::leaf_hash;
use crate::{Digest, UnixMs};

/// The `v` of entries as this build writes them.
pub const ENTRY_VERSION: u32 = 1;

/// Who did what to what, and when.
///
/// Its canonical bytes are RFC 8785 JSON: the members below in this (alphabetical) order, no white space, integers in
/// decimal, strings as UTF-8 with the short escapes. One line a file, so `sha256(00 || line)` is its leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What was done, e.g. `rollout.start`.
    pub action: String,
    /// Who did it: a person, a device, or `server`.
    pub actor: String,
    /// More, for people.
    pub detail: String,
    /// Its number, from 0.
    pub index: u64,
    /// To what it was done.
    pub object: String,
    /// When, by the server's clock.
    pub time: UnixMs,
    /// Which members there are: [`ENTRY_VERSION`].
    pub v: u32,
}

impl Entry {
    /// The bytes that are hashed.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and integers always encode")
    }
    /// Its place in the tree.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        leaf_hash(&self.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_leaf_are_what_an_outsider_computes() {
        let entry = Entry {
            action: "session.refused".into(),
            actor: "anonymous".into(),
            detail: "a \"name\"\nwith \u{1} and é".into(),
            index: 7,
            object: "admin".into(),
            time: UnixMs(1_700_000_000_123),
            v: ENTRY_VERSION,
        };
        let line = r#"{"action":"session.refused","actor":"anonymous","detail":"a \"name\"\nwith \u0001 and é","index":7,"object":"admin","time":1700000000123,"v":1}"#;
        assert_eq!(String::from_utf8(entry.canonical()).unwrap(), line);
        assert_eq!(serde_json::from_str::<Entry>(line).unwrap(), entry);
        // printf '\0%s' "$line" | sha256sum
        assert_eq!(entry.leaf().to_hex(), LEAF);
    }
    const LEAF: &str = "7b756e34686df167f6f332b5f716de514e2c38865341e6ef7113c925d88269c5";
}
