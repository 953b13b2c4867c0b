//! Keys and signatures as TUF metadata writes them.

use std::collections::BTreeMap;

use p256::pkcs8::DecodePublicKey as _;
use serde_json::{Map, Value, json};

use super::error::TufError;
use super::json;
use crate::{Digest, PublicKey};

/// Signatures of one document, by key id: an id occurs once.
pub(super) type Signatures = BTreeMap<String, String>;

/// The keys of one role, and how many of them must sign. `None` stands for a key of a kind that is not known here: it
/// is kept, and counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleKeySet {
    pub keys: BTreeMap<String, Option<PublicKey>>,
    pub threshold: u32,
}

impl RoleKeySet {
    /// How many *distinct public keys* of this role signed `message`.
    pub fn count(&self, message: &[u8], signatures: &Signatures) -> usize {
        let mut signed: Vec<Vec<u8>> = Vec::new();
        for (key_id, key) in &self.keys {
            let (Some(key), Some(sig)) = (key, signatures.get(key_id)) else {
                continue;
            };
            let raw = key.raw();
            if signed.contains(&raw) {
                continue;
            }
            if hex::decode(sig).is_ok_and(|sig| key.verify(message, &sig).is_ok()) {
                signed.push(raw);
            }
        }
        signed.len()
    }
    /// Refuses `role`'s document unless the threshold is met.
    pub fn verify(&self, role: &str, message: &[u8], signatures: &Signatures) -> Result<(), TufError> {
        let have = self.count(message, signatures);
        if have >= self.threshold as usize {
            Ok(())
        } else {
            Err(TufError::Threshold { role: role.to_owned(), have, need: self.threshold })
        }
    }
    /// The distinct public keys.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        let mut out: Vec<PublicKey> = Vec::new();
        for key in self.keys.values().flatten() {
            if !out.contains(key) {
                out.push(key.clone());
            }
        }
        out
    }
    /// Whether a key of `self` is no longer one of `newer`: the mark of a rotation, as opposed to a key added.
    pub fn lost_a_key_in(&self, newer: &Self) -> bool {
        let newer = newer.public_keys();
        self.public_keys().iter().any(|k| !newer.contains(k))
    }
}

/// A key of a kind known here: ed25519 (hex) or ECDSA on P-256 (PEM). Anything else is `None`, so that a repository may
/// use more kinds than we know.
pub(super) fn public_key(value: &Value) -> Option<PublicKey> {
    let public = value.get("keyval")?.get("public")?.as_str()?;
    let keytype = value.get("keytype")?.as_str()?;
    match (keytype, value.get("scheme")?.as_str()?) {
        ("ed25519", "ed25519") => PublicKey::ed25519(&hex::decode(public).ok()?).ok(),
        ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
            let key = p256::PublicKey::from_public_key_pem(public).ok()?;
            Some(PublicKey::P256(key.into()))
        }
        _ => None,
    }
}

/// `key` in TUF's form.
pub(super) fn key_value(key: &PublicKey) -> Value {
    match key {
        PublicKey::Ed25519(k) => {
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex::encode(k.as_bytes())}})
        }
        PublicKey::P256(k) => {
            use p256::pkcs8::{EncodePublicKey as _, LineEnding};
            let pem = p256::PublicKey::from(k)
                .to_public_key_pem(LineEnding::LF)
                .expect("a valid point always encodes");
            json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}})
        }
    }
}

/// SHA-256 of the key's canonical form: what we name keys by. Ids of others are opaque and never recomputed.
#[must_use]
pub fn key_id(key: &PublicKey) -> String {
    Digest::of(&json::canonical(&key_value(key))).to_hex()
}

/// `{keyids, threshold}` of a role, resolved in `keys`. Key ids without a key are kept as unknown.
pub(super) fn role_keys(
    doc: &str,
    role: &Map<String, Value>,
    keys: &BTreeMap<String, Option<PublicKey>>,
) -> Result<RoleKeySet, TufError> {
    let ids = role
        .get("keyids")
        .and_then(Value::as_array)
        .ok_or_else(|| TufError::malformed(doc, "a role has no list of keyids"))?;
    let mut set = BTreeMap::new();
    for id in ids {
        let id = id.as_str().ok_or_else(|| TufError::malformed(doc, "a keyid is not a string"))?;
        let key = keys.get(id).cloned().flatten();
        if set.insert(id.to_owned(), key).is_some() {
            return Err(TufError::malformed(doc, format!("keyid {id} occurs twice in one role")));
        }
    }
    let threshold = role
        .get("threshold")
        .and_then(Value::as_u64)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| TufError::malformed(doc, "a threshold is not a positive number"))?;
    Ok(RoleKeySet { keys: set, threshold })
}

/// The `keys` object of root or of delegations.
pub(super) fn key_map(
    doc: &str,
    value: Option<&Value>,
) -> Result<BTreeMap<String, Option<PublicKey>>, TufError> {
    let map = value
        .and_then(Value::as_object)
        .ok_or_else(|| TufError::malformed(doc, "`keys` is not an object"))?;
    map.iter()
        .map(|(id, key)| match key.as_object() {
            Some(_) => Ok((id.clone(), public_key(key))),
            None => Err(TufError::malformed(doc, format!("key {id} is not an object"))),
        })
        .collect()
}
