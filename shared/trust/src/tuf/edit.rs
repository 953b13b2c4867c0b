//! Writing metadata: what `longshore keys`, `longshore approve` and the fleet server sign.
//!
//! A specification in, a [`Signed`] document out; signatures are added one key at a time, so that documents can travel
//! between the holders of a threshold. What is written here reads back as the same specification.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::TufError;
use super::keys::{RoleKeySet, Signatures, key_id, key_value};
use super::metadata::{Head, Root, Scope, Targets, Unverified};
use super::trusted::TargetInfo;
use super::{date, json::canonical};
use crate::{FleetId, PublicKey, SigningKey, UnixMs};

const SPEC_VERSION: &str = "1.0.34";

/// The keys of a role and how many of them must sign. Equal when they are the same keys, in whatever order.
#[derive(Debug, Clone)]
pub struct RoleKeys {
    /// Distinct public keys.
    pub keys: Vec<PublicKey>,
    /// How many must sign, at least 1.
    pub threshold: u32,
}

impl PartialEq for RoleKeys {
    fn eq(&self, other: &Self) -> bool {
        let within = |a: &[PublicKey], b: &[PublicKey]| a.iter().all(|k| b.contains(k));
        self.threshold == other.threshold
            && self.keys.len() == other.keys.len()
            && within(&self.keys, &other.keys)
            && within(&other.keys, &self.keys)
    }
}
impl Eq for RoleKeys {}

impl RoleKeys {
    fn to_set(&self) -> RoleKeySet {
        RoleKeySet {
            keys: self.keys.iter().map(|k| (key_id(k), Some(k.clone()))).collect(),
            threshold: self.threshold,
        }
    }
    fn of_set(set: &RoleKeySet) -> Self {
        Self { keys: set.public_keys(), threshold: set.threshold }
    }
    fn entry(&self) -> Value {
        let ids: Vec<String> = self.keys.iter().map(key_id).collect();
        json!({"keyids": ids, "threshold": self.threshold})
    }
    /// An entry that holds its keys itself: of a role that TUF does not know.
    fn own_entry(&self) -> Value {
        let (mut entry, mut keys) = (self.entry(), Map::new());
        self.add_to(&mut keys);
        entry["keys"] = Value::Object(keys);
        entry
    }
    fn add_to(&self, keys: &mut Map<String, Value>) {
        for key in &self.keys {
            keys.insert(key_id(key), key_value(key));
        }
    }
}

/// All of root.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSpec {
    /// Rises by exactly 1.
    pub version: u64,
    /// End of validity.
    pub expires: UnixMs,
    /// The fleet it is for.
    pub fleet: FleetId,
    /// Whether one key alone can approve.
    pub solo: bool,
    /// Signs the next root.
    pub root: RoleKeys,
    /// Signs delegations.
    pub targets: RoleKeys,
    /// Signs snapshots (online).
    pub snapshot: RoleKeys,
    /// Signs timestamps (online).
    pub timestamp: RoleKeys,
    /// Signs assignments and commands (online).
    pub director: RoleKeys,
    /// Attests the time (online). Roots made before there was this role have none.
    pub time: Option<RoleKeys>,
}

/// All of a targets document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsSpec {
    /// Never falls.
    pub version: u64,
    /// End of validity.
    pub expires: UnixMs,
    /// Path to file.
    pub targets: BTreeMap<String, TargetInfo>,
    /// In order of precedence.
    pub delegations: Vec<DelegationSpec>,
}

/// A role handed to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationSpec {
    /// Role name.
    pub role: String,
    /// Who signs it.
    pub keys: RoleKeys,
    /// What it may name; `*` does not cross `/`.
    pub paths: Vec<String>,
    /// Whether a path it covers is searched nowhere behind it.
    pub terminating: bool,
}

/// A document on its way to its threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    signed: Map<String, Value>,
    signatures: Signatures,
}

impl Signed {
    fn new(signed: Value) -> Self {
        match signed {
            Value::Object(signed) => Self { signed, signatures: Signatures::new() },
            _ => unreachable!("every document is built as an object"),
        }
    }
    /// Says when it is signed (whole seconds), so that a device without a clock knows that it is not earlier. To be
    /// called before anything is signed.
    #[must_use]
    pub fn issued(mut self, at: UnixMs) -> Self {
        debug_assert!(self.signatures.is_empty(), "what is signed must not change");
        self.signed.insert("x-issued".into(), date::format(at).into());
        self
    }
    /// What a signature covers.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        canonical(&Value::Object(self.signed.clone()))
    }
    /// Adds the signature of `key`, or renews it.
    pub fn sign(&mut self, key: &SigningKey) {
        let sig = hex::encode(key.sign(&self.message()));
        self.signatures.insert(key_id(&key.public()), sig);
    }
    /// As it is stored and served. Deterministic.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let list = self.signatures.iter();
        let list: Vec<Value> = list.map(|(id, sig)| json!({"keyid": id, "sig": sig})).collect();
        let mut out = serde_json::to_vec_pretty(&json!({"signatures": list, "signed": self.signed}))
            .expect("a tree with string keys always encodes");
        out.push(b'\n');
        out
    }
    /// Reads a document to add a signature to it. Nothing is verified.
    ///
    /// # Errors
    /// When it is not a TUF document.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TufError> {
        let unverified = Unverified::parse("trust", bytes)?;
        let this = Self { signed: unverified.signed, signatures: unverified.signatures };
        if this.version() == 0 {
            return Err(TufError::malformed("trust", "`version` is not a positive number"));
        }
        Ok(this)
    }
    /// Whether it carries any signature, right or wrong.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }
    /// Takes over the signatures of another copy.
    pub(super) fn join(&mut self, other: &Self) {
        for (id, sig) in &other.signatures {
            self.signatures.entry(id.clone()).or_insert_with(|| sig.clone());
        }
    }
    /// The part that is signed.
    pub(super) fn signed(&self) -> &Map<String, Value> {
        &self.signed
    }
    /// The version, as signed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.signed.get("version").and_then(Value::as_u64).unwrap_or(0)
    }
    /// The document type: `root`, `timestamp`, `snapshot` or `targets`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.signed.get("_type").and_then(Value::as_str).unwrap_or_default()
    }
    /// Distinct keys of `keys` that have signed it.
    #[must_use]
    pub fn valid_signatures(&self, keys: &RoleKeys) -> usize {
        keys.to_set().count(&self.message(), &self.signatures)
    }
    /// Which of `keys` have signed it.
    #[must_use]
    pub fn signers(&self, keys: &RoleKeys) -> Vec<PublicKey> {
        let message = self.message();
        let alone = |key: &PublicKey| RoleKeySet {
            keys: BTreeMap::from([(key_id(key), Some(key.clone()))]),
            threshold: 1,
        };
        let signed = |key: &&PublicKey| alone(key).count(&message, &self.signatures) == 1;
        keys.keys.iter().filter(signed).cloned().collect()
    }
}

fn head(kind: &str, version: u64, expires: UnixMs) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("_type".into(), kind.into());
    map.insert("spec_version".into(), SPEC_VERSION.into());
    map.insert("version".into(), version.into());
    map.insert("expires".into(), date::format(expires).into());
    map
}

/// An unsigned root.
#[must_use]
pub fn root(spec: &RootSpec) -> Signed {
    let roles = [
        ("root", &spec.root),
        ("targets", &spec.targets),
        ("snapshot", &spec.snapshot),
        ("timestamp", &spec.timestamp),
    ];
    let (mut keys, mut entries) = (Map::new(), Map::new());
    for (name, role) in roles {
        role.add_to(&mut keys);
        entries.insert(name.into(), role.entry());
    }
    let mut map = head("root", spec.version, spec.expires);
    map.insert("consistent_snapshot".into(), true.into());
    map.insert("keys".into(), keys.into());
    map.insert("roles".into(), entries.into());
    map.insert("x-fleet".into(), spec.fleet.as_str().into());
    map.insert("x-solo".into(), spec.solo.into());
    map.insert("x-director".into(), spec.director.own_entry());
    if let Some(time) = &spec.time {
        map.insert("x-time".into(), time.own_entry());
    }
    Signed::new(map.into())
}

/// Unsigned targets metadata, top-level or delegated.
#[must_use]
pub fn targets(spec: &TargetsSpec) -> Signed {
    let mut files = Map::new();
    for (path, info) in &spec.targets {
        let mut entry = json!({"length": info.length, "hashes": {"sha256": info.sha256.to_hex()}});
        if !info.custom.is_empty() {
            entry["custom"] = Value::Object(info.custom.clone());
        }
        files.insert(path.clone(), entry);
    }
    let mut map = head("targets", spec.version, spec.expires);
    map.insert("targets".into(), files.into());
    if !spec.delegations.is_empty() {
        let mut keys = Map::new();
        let mut roles = Vec::new();
        for d in &spec.delegations {
            d.keys.add_to(&mut keys);
            let mut entry = d.keys.entry();
            entry["name"] = d.role.as_str().into();
            entry["paths"] = d.paths.clone().into();
            entry["terminating"] = d.terminating.into();
            roles.push(entry);
        }
        map.insert("delegations".into(), json!({"keys": keys, "roles": roles}));
    }
    Signed::new(map.into())
}

/// An unsigned snapshot. `meta`: file name (`targets.json`, `models/x.json`) to version.
#[must_use]
pub fn snapshot(version: u64, expires: UnixMs, meta: BTreeMap<String, u64>) -> Signed {
    let entries = meta.into_iter().map(|(file, v)| (file, json!({"version": v})));
    let meta: Map<String, Value> = entries.collect();
    let mut map = head("snapshot", version, expires);
    map.insert("meta".into(), meta.into());
    Signed::new(map.into())
}

/// An unsigned timestamp for exactly these snapshot bytes.
#[must_use]
pub fn timestamp(version: u64, expires: UnixMs, snapshot_bytes: &[u8], snapshot_version: u64) -> Signed {
    let sha256 = crate::Digest::of(snapshot_bytes).to_hex();
    let entry =
        json!({"version": snapshot_version, "length": snapshot_bytes.len(), "hashes": {"sha256": sha256}});
    let mut map = head("timestamp", version, expires);
    map.insert("meta".into(), json!({"snapshot.json": entry}));
    Signed::new(map.into())
}

/// How many distinct keys of `keys` signed the document: for "is the threshold met".
///
/// # Errors
/// When it is not a TUF document, or names a key twice in its signatures.
pub fn valid_signatures(bytes: &[u8], keys: &RoleKeys) -> Result<usize, TufError> {
    Ok(Signed::from_bytes(bytes)?.valid_signatures(keys))
}

/// The specification of a root. The caller has verified the bytes.
///
/// # Errors
/// When it is malformed, or not a root of ours (no fleet or director in it).
pub fn read_root(bytes: &[u8]) -> Result<RootSpec, TufError> {
    let root = Root::read(&Unverified::parse("root", bytes)?.signed)?;
    let missing = |what: &str| TufError::malformed("root", format!("`{what}` is missing"));
    let role = |name: &str| RoleKeys::of_set(root.keys_of(name));
    Ok(RootSpec {
        version: root.head.version,
        expires: root.head.expires,
        solo: root.solo,
        root: role("root"),
        targets: role("targets"),
        snapshot: role("snapshot"),
        timestamp: role("timestamp"),
        director: RoleKeys::of_set(root.director.as_ref().ok_or_else(|| missing("x-director"))?),
        time: root.time.as_ref().map(RoleKeys::of_set),
        fleet: root.fleet.ok_or_else(|| missing("x-fleet"))?,
    })
}

/// The specification of targets metadata. The caller has verified the bytes.
///
/// # Errors
/// When it is malformed, or uses what we do not write (targets without SHA-256, delegation by hash prefix).
pub fn read_targets(bytes: &[u8]) -> Result<TargetsSpec, TufError> {
    let doc = Targets::read("targets", &Unverified::parse("targets", bytes)?.signed)?;
    let targets = doc.targets.into_iter().map(|(path, file)| {
        let sha256 = file.hashes.sha256();
        let sha256 =
            sha256.ok_or_else(|| TufError::malformed("targets", format!("{path} has no SHA-256")))?;
        let (length, custom) = (file.length, file.custom);
        Ok((path, TargetInfo { length, sha256, custom }))
    });
    let targets = targets.collect::<Result<_, TufError>>()?;
    let delegations = doc.delegations.into_iter().map(|d| match d.scope {
        Scope::Paths(paths) => Ok(DelegationSpec {
            keys: RoleKeys::of_set(&d.keys),
            role: d.role,
            paths,
            terminating: d.terminating,
        }),
        Scope::HashPrefixes(_) => Err(TufError::malformed("targets", "a delegation by hash prefix")),
    });
    Ok(TargetsSpec {
        version: doc.head.version,
        expires: doc.head.expires,
        targets,
        delegations: delegations.collect::<Result<_, TufError>>()?,
    })
}

/// Version and expiry of any document. Nothing is verified.
///
/// # Errors
/// When it is not a TUF document of type `kind`.
pub fn head_of(kind: &str, bytes: &[u8]) -> Result<(u64, UnixMs), TufError> {
    let head = Head::read(kind, kind, &Unverified::parse(kind, bytes)?.signed)?;
    Ok((head.version, head.expires))
}
