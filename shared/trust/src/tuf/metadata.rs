//! The five documents, read from their verified or about-to-be-verified trees.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::TufError;
use super::keys::{RoleKeySet, Signatures, key_map, role_keys};
use super::{date, json, name};
use crate::{Digest, FleetId, PublicKey, UnixMs};

/// The names that no delegated role may carry.
pub(super) const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// A document before its signatures are checked: the tree, the bytes they cover, and the signatures.
pub(super) struct Unverified {
    pub signed: Map<String, Value>,
    pub message: Vec<u8>,
    pub signatures: Signatures,
}

impl Unverified {
    /// Splits `bytes` into what is signed and the signatures.
    pub fn parse(role: &str, bytes: &[u8]) -> Result<Self, TufError> {
        let tree = json::parse(bytes)
            .map_err(|e| TufError::Json { what: format!("{role} metadata"), reason: e.to_string() })?;
        let Value::Object(mut envelope) = tree else {
            return Err(TufError::malformed(role, "it is not an object"));
        };
        let signed =
            envelope.remove("signed").ok_or_else(|| TufError::malformed(role, "`signed` is missing"))?;
        let message = json::canonical(&signed);
        let Value::Object(signed) = signed else {
            return Err(TufError::malformed(role, "`signed` is not an object"));
        };
        let list = envelope
            .get("signatures")
            .and_then(Value::as_array)
            .ok_or_else(|| TufError::malformed(role, "`signatures` is not a list"))?;
        let mut signatures = Signatures::new();
        for entry in list {
            let text = |field| {
                entry
                    .get(field)
                    .and_then(Value::as_str)
                    .ok_or_else(|| TufError::malformed(role, format!("a signature has no {field}")))
            };
            let key_id = text("keyid")?.to_owned();
            let sig = text("sig")?.to_owned();
            if signatures.insert(key_id.clone(), sig).is_some() {
                return Err(TufError::DuplicateSignature { role: role.to_owned(), key_id });
            }
        }
        Ok(Self { signed, message, signatures })
    }
    /// Checks the signatures and hands out the tree.
    pub fn verify(self, role: &str, keys: &RoleKeySet) -> Result<Map<String, Value>, TufError> {
        keys.verify(role, &self.message, &self.signatures)?;
        Ok(self.signed)
    }
}

/// What all documents begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub version: u64,
    pub expires: UnixMs,
    /// When it was signed, if it says so: it is not earlier now.
    pub issued: Option<UnixMs>,
}

impl Head {
    pub fn read(role: &str, kind: &str, signed: &Map<String, Value>) -> Result<Self, TufError> {
        let text = |field: &str| {
            signed
                .get(field)
                .and_then(Value::as_str)
                .ok_or_else(|| TufError::malformed(role, format!("`{field}` is missing or not a string")))
        };
        let found = text("_type")?;
        if found != kind {
            return Err(TufError::malformed(role, format!("`_type` is {found:?}, expected {kind:?}")));
        }
        let spec = text("spec_version")?;
        if spec != "1" && !spec.starts_with("1.") {
            return Err(TufError::malformed(role, format!("spec_version {spec:?} is not 1.x")));
        }
        let expires = date::parse(text("expires")?).ok_or_else(|| {
            TufError::malformed(role, "`expires` is not a date of the form 2030-01-31T00:00:00Z")
        })?;
        let version = signed
            .get("version")
            .and_then(Value::as_u64)
            .filter(|v| *v > 0)
            .ok_or_else(|| TufError::malformed(role, "`version` is not a positive number"))?;
        let issued = match signed.get("x-issued") {
            None => None,
            Some(v) => Some(v.as_str().and_then(date::parse).ok_or_else(|| {
                TufError::malformed(role, "`x-issued` is not a date of the form 2030-01-31T00:00:00Z")
            })?),
        };
        Ok(Self { version, expires, issued })
    }
}

/// Who may sign what.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub head: Head,
    pub consistent_snapshot: bool,
    pub roles: BTreeMap<String, RoleKeySet>,
    pub fleet: Option<FleetId>,
    pub director: Option<RoleKeySet>,
    pub time: Option<RoleKeySet>,
    pub solo: bool,
}

impl Root {
    pub fn read(signed: &Map<String, Value>) -> Result<Self, TufError> {
        let bad = |reason: &str| TufError::malformed("root", reason);
        let head = Head::read("root", "root", signed)?;
        let keys = key_map("root", signed.get("keys"))?;
        let listed = signed.get("roles").and_then(Value::as_object);
        let listed = listed.ok_or_else(|| bad("`roles` is not an object"))?;
        let mut roles = BTreeMap::new();
        for role in TOP_LEVEL {
            let entry = listed.get(role).and_then(Value::as_object);
            let entry = entry.ok_or_else(|| bad(&format!("role {role} is missing")))?;
            roles.insert(role.to_owned(), role_keys("root", entry, &keys)?);
        }
        let consistent_snapshot = match signed.get("consistent_snapshot") {
            None => false,
            Some(v) => v.as_bool().ok_or_else(|| bad("`consistent_snapshot` is not a boolean"))?,
        };
        let fleet = match signed.get("x-fleet") {
            None => None,
            Some(v) => {
                let id = v.as_str().and_then(|s| FleetId::new(s).ok());
                Some(id.ok_or_else(|| bad("`x-fleet` is not a fleet id"))?)
            }
        };
        let director = own_role(signed, "x-director")?;
        let time = own_role(signed, "x-time")?;
        let solo = match signed.get("x-solo") {
            None => false,
            Some(v) => v.as_bool().ok_or_else(|| bad("`x-solo` is not a boolean"))?,
        };
        Ok(Self { head, consistent_snapshot, roles, fleet, director, time, solo })
    }
    pub fn keys_of(&self, role: &str) -> &RoleKeySet {
        &self.roles[role]
    }
    pub fn director_keys(&self) -> Vec<PublicKey> {
        self.director.as_ref().map(RoleKeySet::public_keys).unwrap_or_default()
    }
    pub fn time_keys(&self) -> Vec<PublicKey> {
        self.time.as_ref().map(RoleKeySet::public_keys).unwrap_or_default()
    }
}

/// A role of ours beside TUF's own: its keys stand in its entry.
fn own_role(signed: &Map<String, Value>, name: &str) -> Result<Option<RoleKeySet>, TufError> {
    let Some(value) = signed.get(name) else { return Ok(None) };
    let entry =
        value.as_object().ok_or_else(|| TufError::malformed("root", format!("`{name}` is not an object")))?;
    let keys = key_map("root", entry.get("keys"))?;
    let keys = role_keys("root", entry, &keys)?;
    if keys.threshold != 1 {
        let reason = format!("`{name}` has a threshold above 1, but a device checks one signature");
        return Err(TufError::malformed("root", reason));
    }
    Ok(Some(keys))
}

/// What a delegator signs about a file: its version and, if it likes, its length and hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MetaFile {
    pub version: u64,
    pub length: Option<u64>,
    pub hashes: Option<Hashes>,
}

impl MetaFile {
    fn read(role: &str, value: &Value) -> Result<Self, TufError> {
        let bad = |reason: &str| TufError::malformed(role, reason);
        let version = value.get("version").and_then(Value::as_u64).filter(|v| *v > 0);
        let version = version.ok_or_else(|| bad("a file's version is not a positive number"))?;
        let length = match value.get("length") {
            None => None,
            Some(v) => Some(v.as_u64().ok_or_else(|| bad("a file's length is not a number"))?),
        };
        let hashes = match value.get("hashes") {
            None => None,
            Some(v) => Some(Hashes::read(role, v)?),
        };
        Ok(Self { version, length, hashes })
    }
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), TufError> {
        if self.length.is_some_and(|n| n != bytes.len() as u64) {
            return Err(TufError::Mismatch { what: what.to_owned(), property: "length" });
        }
        match &self.hashes {
            Some(hashes) => hashes.check(what, bytes),
            None => Ok(()),
        }
    }
}

/// Hashes by algorithm, in hex as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashes(pub BTreeMap<String, String>);

impl Hashes {
    fn read(role: &str, value: &Value) -> Result<Self, TufError> {
        let bad = || TufError::malformed(role, "`hashes` is not an object of hex strings");
        let map = value.as_object().filter(|m| !m.is_empty()).ok_or_else(bad)?;
        let entries = map.iter().map(|(k, v)| match v.as_str() {
            Some(hash) => Ok((k.clone(), hash.to_owned())),
            None => Err(bad()),
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }
    pub fn sha256(&self) -> Option<Digest> {
        let mut out = [0; 32];
        hex::decode_to_slice(self.0.get("sha256")?, &mut out).ok()?;
        Some(Digest(out))
    }
    /// Every hash known here must match, and there must be one.
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), TufError> {
        use sha2::Digest as _;
        let mut known = false;
        for (property, found) in [
            ("sha256", self.0.get("sha256").map(|h| (h, sha2::Sha256::digest(bytes).to_vec()))),
            ("sha512", self.0.get("sha512").map(|h| (h, sha2::Sha512::digest(bytes).to_vec()))),
        ] {
            let Some((signed, found)) = found else { continue };
            known = true;
            if hex::decode(signed).ok() != Some(found) {
                return Err(TufError::Mismatch { what: what.to_owned(), property });
            }
        }
        if known { Ok(()) } else { Err(TufError::NoKnownHash { what: what.to_owned() }) }
    }
}

/// Which snapshot is current.
#[derive(Debug, Clone)]
pub(super) struct Timestamp {
    pub head: Head,
    pub snapshot: MetaFile,
}

impl Timestamp {
    pub fn read(signed: &Map<String, Value>) -> Result<Self, TufError> {
        let head = Head::read("timestamp", "timestamp", signed)?;
        let entry = signed.get("meta").and_then(|m| m.get("snapshot.json"));
        let entry =
            entry.ok_or_else(|| TufError::malformed("timestamp", "it does not name snapshot.json"))?;
        Ok(Self { head, snapshot: MetaFile::read("timestamp", entry)? })
    }
}

/// Which targets metadata is current, by file name (`<role>.json`, not encoded).
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub head: Head,
    pub meta: BTreeMap<String, MetaFile>,
}

impl Snapshot {
    pub fn read(signed: &Map<String, Value>) -> Result<Self, TufError> {
        let head = Head::read("snapshot", "snapshot", signed)?;
        let map = signed.get("meta").and_then(Value::as_object);
        let map = map.ok_or_else(|| TufError::malformed("snapshot", "`meta` is not an object"))?;
        let meta = map
            .iter()
            .map(|(file, entry)| Ok((file.clone(), MetaFile::read("snapshot", entry)?)))
            .collect::<Result<_, TufError>>()?;
        Ok(Self { head, meta })
    }
    pub fn of(&self, role: &str) -> Option<&MetaFile> {
        self.meta.get(&format!("{role}.json"))
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetFile {
    pub length: u64,
    pub hashes: Hashes,
    pub custom: Map<String, Value>,
}

impl TargetFile {
    fn read(role: &str, value: &Value) -> Result<Self, TufError> {
        let length = value.get("length").and_then(Value::as_u64);
        let length = length.ok_or_else(|| TufError::malformed(role, "a target has no length"))?;
        let hashes = value.get("hashes").unwrap_or(&Value::Null);
        let custom = value.get("custom").and_then(Value::as_object).cloned();
        Ok(Self { length, hashes: Hashes::read(role, hashes)?, custom: custom.unwrap_or_default() })
    }
}

/// Which targets a delegation covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Path patterns.
    Paths(Vec<String>),
    /// Prefixes of the hex SHA-256 of the path.
    HashPrefixes(Vec<String>),
}

impl Scope {
    pub fn covers(&self, path: &str) -> bool {
        match self {
            Self::Paths(patterns) => patterns.iter().any(|p| name::matches(p, path)),
            Self::HashPrefixes(prefixes) => {
                let hash = Digest::of(path.as_bytes()).to_hex();
                prefixes.iter().any(|p| hash.starts_with(p.as_str()))
            }
        }
    }
}

/// A role handed to others.
#[derive(Debug, Clone)]
pub(super) struct Delegation {
    pub role: String,
    pub keys: RoleKeySet,
    pub terminating: bool,
    pub scope: Scope,
}

/// Files, and roles that may name further files.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    pub head: Head,
    pub targets: BTreeMap<String, TargetFile>,
    pub delegations: Vec<Delegation>,
}

impl Targets {
    pub fn read(role: &str, signed: &Map<String, Value>) -> Result<Self, TufError> {
        let head = Head::read(role, "targets", signed)?;
        let map = signed.get("targets").and_then(Value::as_object);
        let map = map.ok_or_else(|| TufError::malformed(role, "`targets` is not an object"))?;
        let targets = map
            .iter()
            .map(|(path, file)| Ok((path.clone(), TargetFile::read(role, file)?)))
            .collect::<Result<_, TufError>>()?;
        let delegations = match signed.get("delegations") {
            None => Vec::new(),
            Some(value) => read_delegations(role, value)?,
        };
        Ok(Self { head, targets, delegations })
    }
    pub fn delegation(&self, role: &str) -> Option<&Delegation> {
        self.delegations.iter().find(|d| d.role == role)
    }
}

fn read_delegations(doc: &str, value: &Value) -> Result<Vec<Delegation>, TufError> {
    let bad = |reason: &str| TufError::malformed(doc, reason);
    let keys = key_map(doc, value.get("keys"))?;
    let list = value.get("roles").and_then(Value::as_array);
    let list = list.ok_or_else(|| bad("delegated `roles` is not a list"))?;
    let mut out: Vec<Delegation> = Vec::with_capacity(list.len());
    for entry in list {
        let entry = entry.as_object().ok_or_else(|| bad("a delegation is not an object"))?;
        let role = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        if role.is_empty() || TOP_LEVEL.contains(&role) {
            return Err(bad(&format!("a delegated role cannot be named {role:?}")));
        }
        if out.iter().any(|d| d.role == role) {
            return Err(bad(&format!("role {role} is delegated twice")));
        }
        let strings = |field: &str| -> Result<Option<Vec<String>>, TufError> {
            let Some(value) = entry.get(field) else {
                return Ok(None);
            };
            let items = value.as_array().ok_or_else(|| bad(&format!("`{field}` is not a list")))?;
            let items = items.iter().map(|v| v.as_str().map(str::to_owned));
            let items: Option<Vec<_>> = items.collect();
            items.ok_or_else(|| bad(&format!("`{field}` is not a list of strings"))).map(Some)
        };
        let scope = match (strings("paths")?, strings("path_hash_prefixes")?) {
            (Some(paths), None) => Scope::Paths(paths),
            (None, Some(prefixes)) => Scope::HashPrefixes(prefixes),
            _ => {
                return Err(bad(&format!("role {role} needs either `paths` or `path_hash_prefixes`")));
            }
        };
        let terminating = entry.get("terminating").and_then(Value::as_bool);
        out.push(Delegation {
            role: role.to_owned(),
            keys: role_keys(doc, entry, &keys)?,
            terminating: terminating.ok_or_else(|| bad("`terminating` is not a boolean"))?,
            scope,
        });
    }
    Ok(out)
}
