//! Nothing in a draft stays unsaid: a document holds what a reader of the draft is shown, and nothing else.
//!
//! A verifier keeps members it does not know, because it checks what was signed. Whoever is asked for a signature must
//! not sign such a member unseen, nor a time of issue to come, which would make devices without a clock believe that it
//! is later than it is, for ever.

use serde_json::{Map, Value};

use super::CeremonyError;
use crate::UnixMs;
use crate::tuf::edit::{self, Signed};
use crate::tuf::metadata::Head;

/// How far ahead the clock of whoever made the draft may be.
const AHEAD_MS: u64 = 24 * 3600 * 1000;

/// Refuses a document of `role` (root, targets or `models/<name>`) when it says more than its specification does.
///
/// # Errors
/// [`CeremonyError::Unsaid`] and [`CeremonyError::IssuedLater`]; when it is malformed.
pub fn check(role: &str, document: &Signed, now: UnixMs) -> Result<(), CeremonyError> {
    let bytes = document.to_bytes();
    let plain = match role {
        "root" => edit::root(&edit::read_root(&bytes)?),
        _ => edit::targets(&edit::read_targets(&bytes)?),
    };
    let said = document.signed();
    let kind = if role == "root" { "root" } else { "targets" };
    if let Some(at) = Head::read(role, kind, said)?.issued
        && at > now.plus_ms(AHEAD_MS)
    {
        return Err(CeremonyError::IssuedLater { role: role.to_owned() });
    }
    match differs(said, plain.signed()) {
        Some(member) => Err(CeremonyError::Unsaid { role: role.to_owned(), member }),
        None => Ok(()),
    }
}

/// The first member in which they differ. Key ids may stand in any order.
fn differs(said: &Map<String, Value>, plain: &Map<String, Value>) -> Option<String> {
    let names = said.keys().chain(plain.keys().filter(|name| !said.contains_key(*name)));
    let mut names = names.filter(|name| *name != "x-issued");
    names.find(|name| said.get(*name).cloned().map(sorted) != plain.get(*name).cloned().map(sorted)).cloned()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let members = map.into_iter().map(|(name, value)| match value {
                Value::Array(mut ids) if name == "keyids" => {
                    ids.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                    (name, Value::Array(ids))
                }
                value => (name, sorted(value)),
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
