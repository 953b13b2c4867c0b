//! Collecting signatures: documents travel between the holders of a threshold, each of whom adds one.

use std::collections::BTreeMap;

use longshore_trust::tuf::edit::{RoleKeys, Signed};
use longshore_trust::tuf::{TufError, parse_json};
use serde_json::{Value, json};

/// `bytes`, with only the signatures that `keys` really made, joined with those that `pending` has collected for the
/// same content.
pub(super) fn collect(bytes: &[u8], pending: Option<&[u8]>, keys: &RoleKeys) -> Result<Vec<u8>, TufError> {
    let submitted = Signed::from_bytes(bytes)?;
    let mut signatures = valid(bytes, keys)?;
    if let Some(pending) = pending
        && Signed::from_bytes(pending)?.message() == submitted.message()
    {
        signatures.extend(valid(pending, keys)?);
    }
    let mut document = tree(bytes)?;
    let list: Vec<Value> = signatures.into_iter().map(|(id, sig)| json!({"keyid": id, "sig": sig})).collect();
    document["signatures"] = list.into();
    let mut out = serde_json::to_vec_pretty(&document).expect("a tree with string keys always encodes");
    out.push(b'\n');
    Ok(out)
}

/// The signatures that verify, by key id.
fn valid(bytes: &[u8], keys: &RoleKeys) -> Result<BTreeMap<String, Value>, TufError> {
    let mut document = tree(bytes)?;
    let all = document["signatures"].as_array().cloned().unwrap_or_default();
    let mut good = BTreeMap::new();
    for signature in all {
        document["signatures"] = json!([signature]);
        let alone = serde_json::to_vec(&document).expect("a tree with string keys always encodes");
        let holds = Signed::from_bytes(&alone)?.valid_signatures(keys) == 1;
        if let (true, Some(id)) = (holds, signature["keyid"].as_str()) {
            good.insert(id.to_owned(), signature["sig"].clone());
        }
    }
    Ok(good)
}

fn tree(bytes: &[u8]) -> Result<Value, TufError> {
    // The strict reader has the last word on what is acceptable JSON.
    Signed::from_bytes(bytes)?;
    parse_json(bytes).map_err(|e| TufError::Json { what: "trust".into(), reason: e.to_string() })
}
