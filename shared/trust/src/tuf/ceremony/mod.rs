//! Ceremonies: the next versions of what offline keys sign, made without a network and signed in turns.
//!
//! What always holds: a draft goes exactly one version beyond what is published; it is complete only when it has every
//! signature that a client will ask for, those of the keys that leave and of the keys that come; and what it leaves
//! untouched stays valid under the keys it names. The command that makes a draft and the server that publishes it ask
//! the same [`Offline::check`].

mod change;
mod error;
mod plain;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub use change::{KeyChange, KeyRole};
pub use error::CeremonyError;
pub use plain::check as check_plain;

use super::edit::{self, RoleKeys, RootSpec, Signed, TargetsSpec};
use super::error::TufError;
use super::{json as strict, key_id};
use crate::{FleetId, UnixMs};

/// Longest draft read, in bytes: all documents at their own limits, in a readable layout.
pub const MAX_DRAFT_BYTES: u64 = 32 * 1024 * 1024;
const DRAFT_KIND: &str = "longshore key ceremony";

/// What is published of the roles that offline keys sign: root, targets, `models/<name>`.
#[derive(Debug, Clone)]
pub struct Offline {
    root: RootSpec,
    targets: Option<TargetsSpec>,
    models: BTreeMap<String, TargetsSpec>,
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Offline {
    /// From verified bytes by role name; roles that are not signed offline are left out.
    ///
    /// # Errors
    /// When root is missing, or a document was made by another program.
    pub fn new(mut bytes: BTreeMap<String, Vec<u8>>) -> Result<Self, CeremonyError> {
        bytes.retain(|role, _| is_offline(role));
        let root = edit::read_root(bytes.get("root").ok_or(TufError::NoRoot)?)?;
        let targets = bytes.get("targets").map(|b| edit::read_targets(b)).transpose()?;
        let models = bytes.iter().filter(|(role, _)| is_model(role));
        let models = models.map(|(role, b)| Ok((role.clone(), edit::read_targets(b)?)));
        Ok(Self { models: models.collect::<Result<_, TufError>>()?, root, targets, bytes })
    }
    /// The published root.
    #[must_use]
    pub fn root(&self) -> &RootSpec {
        &self.root
    }
    /// The published targets.
    #[must_use]
    pub fn targets(&self) -> Option<&TargetsSpec> {
        self.targets.as_ref()
    }
    /// A published model role.
    #[must_use]
    pub fn model(&self, role: &str) -> Option<&TargetsSpec> {
        self.models.get(role)
    }
    /// Whether a role is published.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        self.bytes.contains_key(role)
    }
    fn version(&self, role: &str) -> u64 {
        match role {
            "root" => self.root.version,
            "targets" => self.targets.as_ref().map_or(0, |t| t.version),
            _ => self.models.get(role).map_or(0, |t| t.version),
        }
    }

    /// Who must sign each document of `draft`, and who has.
    ///
    /// # Errors
    /// When the draft is malformed, or names a role that nobody delegated to.
    pub fn seats(&self, draft: &Draft) -> Result<Vec<Seat>, CeremonyError> {
        let (new_root, new_targets) = (draft.root(self)?, draft.targets(self)?);
        let mut seats = Vec::new();
        for (role, document) in draft.documents() {
            let mut seat = |side, keys: &RoleKeys| {
                let signers = document.signers(keys);
                seats.push(Seat { role: role.to_owned(), side, keys: keys.clone(), signers });
            };
            match role {
                "root" => {
                    seat(Side::Present, &self.root.root);
                    if self.root.root != new_root.root {
                        seat(Side::New, &new_root.root);
                    }
                }
                "targets" => seat(side(draft, "root"), &new_root.targets),
                _ => {
                    let found = new_targets.as_ref().and_then(|t| delegation(t, role));
                    let keys = found.ok_or_else(|| CeremonyError::NotDelegated { role: role.to_owned() })?;
                    seat(side(draft, "targets"), keys);
                }
            }
        }
        Ok(seats)
    }

    /// Whether `draft` may be published on top of this, but for signatures that are still missing: those are given.
    ///
    /// # Errors
    /// [`CeremonyError`] says what is wrong and what to do.
    pub fn check(&self, draft: &Draft, now: UnixMs) -> Result<Vec<Seat>, CeremonyError> {
        if draft.documents.is_empty() {
            return Err(CeremonyError::Empty);
        }
        for (role, document) in draft.documents() {
            let published = self.version(role);
            if document.version() != published + 1 {
                let got = document.version();
                return Err(CeremonyError::Version { role: role.to_owned(), got, published });
            }
            let kind = if role == "root" { "root" } else { "targets" };
            let (_, expires) = edit::head_of(kind, &document.to_bytes())?;
            if expires <= now {
                return Err(CeremonyError::Expired { role: role.to_owned() });
            }
            plain::check(role, document, now)?;
        }
        let root = draft.root(self)?;
        let targets = draft.targets(self)?;
        if draft.get("root").is_some() {
            check_root(&self.root, &root)?;
            self.stays_valid(draft, "targets", &root.targets)?;
        }
        for d in targets.iter().flat_map(|t| &t.delegations) {
            check_keys(&d.role, &d.keys)?;
            not_online(&root, &d.role, &d.keys)?;
        }
        let changes_keys = draft.get("root").is_some() || draft.get("targets").is_some();
        if changes_keys && !root.solo && one_key_approves(&root, targets.as_ref(), None) {
            return Err(CeremonyError::NotMarkedSolo);
        }
        if let Some(targets) = targets.filter(|_| draft.get("targets").is_some()) {
            for role in self.models.keys() {
                let keys = delegation(&targets, role)
                    .ok_or_else(|| CeremonyError::Orphaned { role: role.clone() })?;
                self.stays_valid(draft, role, keys)?;
            }
        }
        let seats = self.seats(draft)?;
        Ok(seats.into_iter().filter(|s| !s.complete()).collect())
    }
    /// A published role that the draft leaves as it is must reach the threshold of the keys it names for it.
    fn stays_valid(&self, draft: &Draft, role: &str, keys: &RoleKeys) -> Result<(), CeremonyError> {
        let Some(bytes) = self.bytes.get(role).filter(|_| draft.get(role).is_none()) else {
            return Ok(());
        };
        let have = edit::valid_signatures(bytes, keys)?;
        if have >= keys.threshold as usize {
            return Ok(());
        }
        Err(CeremonyError::WouldBreak { role: role.to_owned(), have, need: keys.threshold })
    }
}

fn is_model(role: &str) -> bool {
    role.strip_prefix("models/").is_some_and(|m| !m.is_empty())
}
fn is_offline(role: &str) -> bool {
    role == "root" || role == "targets" || is_model(role)
}
fn side(draft: &Draft, delegator: &str) -> Side {
    if draft.get(delegator).is_some() { Side::New } else { Side::Present }
}
fn delegation<'a>(targets: &'a TargetsSpec, role: &str) -> Option<&'a RoleKeys> {
    targets.delegations.iter().find(|d| d.role == role).map(|d| &d.keys)
}
fn check_keys(role: &str, keys: &RoleKeys) -> Result<(), CeremonyError> {
    let distinct = keys.keys.iter().enumerate().all(|(i, k)| !keys.keys[..i].contains(k));
    if !distinct || keys.threshold == 0 || keys.threshold as usize > keys.keys.len() {
        let (have, threshold) = (keys.keys.len(), keys.threshold);
        return Err(CeremonyError::Threshold { role: role.to_owned(), have, threshold });
    }
    Ok(())
}

fn check_root(old: &RootSpec, new: &RootSpec) -> Result<(), CeremonyError> {
    if old.fleet != new.fleet {
        return Err(CeremonyError::OtherFleet { ours: old.fleet.clone(), theirs: new.fleet.clone() });
    }
    let online = [("snapshot", &new.snapshot), ("timestamp", &new.timestamp), ("director", &new.director)];
    let online = || online.into_iter().chain(new.time.as_ref().map(|keys| ("time", keys)));
    for (role, keys) in [("root", &new.root), ("targets", &new.targets)].into_iter().chain(online()) {
        check_keys(role, keys)?;
    }
    if let Some((role, keys)) = online().find(|(_, keys)| keys.threshold != 1) {
        return Err(CeremonyError::OnlineThreshold { role, threshold: keys.threshold });
    }
    not_online(new, "root", &new.root)?;
    not_online(new, "targets", &new.targets)
}
/// Whether one key alone can approve. `release`: how many release keys sign while no model has its role.
fn one_key_approves(root: &RootSpec, targets: Option<&TargetsSpec>, release: Option<u32>) -> bool {
    let models = targets.iter().flat_map(|t| &t.delegations).map(|d| d.keys.threshold).min();
    root.root.threshold == 1 || root.targets.threshold == 1 || models.or(release) == Some(1)
}
/// A key that lies on a server must never be able to approve.
fn not_online(root: &RootSpec, role: &str, keys: &RoleKeys) -> Result<(), CeremonyError> {
    for online in [&root.snapshot, &root.timestamp, &root.director].into_iter().chain(&root.time) {
        if let Some(key) = keys.keys.iter().find(|k| online.keys.contains(k)) {
            return Err(CeremonyError::OnlineKey { role: role.to_owned(), key_id: key_id(key) });
        }
    }
    Ok(())
}

/// Which keys a signature is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those that the published metadata names.
    Present,
    /// Those that the draft itself names.
    New,
}

/// A threshold that a document of a draft must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Whose document.
    pub role: String,
    /// By which metadata.
    pub side: Side,
    /// Who may sign.
    pub keys: RoleKeys,
    /// Who has.
    pub signers: Vec<crate::PublicKey>,
}

impl Seat {
    /// Whether the threshold is reached.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.signers.len() >= self.keys.threshold as usize
    }
}

/// The next versions of some offline roles, with the signatures they have so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    documents: BTreeMap<String, Signed>,
}

impl Draft {
    /// Of documents by role name.
    ///
    /// # Errors
    /// When a role is not signed offline, or a document is of another type than its role.
    pub fn new(documents: BTreeMap<String, Signed>) -> Result<Self, CeremonyError> {
        for (role, document) in &documents {
            if !is_offline(role) {
                return Err(CeremonyError::NotOffline { role: role.clone() });
            }
            let kind = if role == "root" { "root" } else { "targets" };
            if document.kind() != kind {
                let got = document.kind().to_owned();
                return Err(CeremonyError::Kind { role: role.clone(), got });
            }
        }
        Ok(Self { documents })
    }
    /// Documents in the order in which they take effect: root, targets, models.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &Signed)> {
        let rank = |role: &str| match role {
            "root" => 0,
            "targets" => 1,
            _ => 2,
        };
        let mut list: Vec<_> = self.documents.iter().map(|(r, d)| (r.as_str(), d)).collect();
        list.sort_by_key(|(role, _)| rank(role));
        list.into_iter()
    }
    /// The document of a role.
    #[must_use]
    pub fn get(&self, role: &str) -> Option<&Signed> {
        self.documents.get(role)
    }
    /// The document of a role, to add a signature to it.
    pub fn get_mut(&mut self, role: &str) -> Option<&mut Signed> {
        self.documents.get_mut(role)
    }
    /// Whether anybody has signed anything of it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.documents.values().any(Signed::is_signed)
    }
    /// Takes over signatures that another copy of the same draft has. Whether it was the same.
    pub fn join(&mut self, other: &Self) -> bool {
        let same = self.documents.len() == other.documents.len()
            && self.documents.iter().all(|(r, d)| other.get(r).is_some_and(|o| o.message() == d.message()));
        if same {
            for (role, document) in &mut self.documents {
                document.join(&other.documents[role]);
            }
        }
        same
    }
    fn root(&self, published: &Offline) -> Result<RootSpec, CeremonyError> {
        match self.get("root") {
            Some(document) => Ok(edit::read_root(&document.to_bytes())?),
            None => Ok(published.root.clone()),
        }
    }
    fn targets(&self, published: &Offline) -> Result<Option<TargetsSpec>, CeremonyError> {
        match self.get("targets") {
            Some(document) => Ok(Some(edit::read_targets(&document.to_bytes())?)),
            None => Ok(published.targets.clone()),
        }
    }

    /// As a file that travels between the holders of keys.
    #[must_use]
    pub fn to_file(&self, fleet: &FleetId) -> Vec<u8> {
        let documents = self.documents().map(|(role, document)| {
            let metadata: Value =
                serde_json::from_slice(&document.to_bytes()).expect("what was just written is JSON");
            json!({"role": role, "metadata": metadata})
        });
        let documents: Vec<Value> = documents.collect();
        let file = json!({"kind": DRAFT_KIND, "schema": 1, "fleet": fleet, "documents": documents});
        let mut out = serde_json::to_vec_pretty(&file).expect("a tree with string keys always encodes");
        out.push(b'\n');
        out
    }
    /// Reads such a file; nothing is verified.
    ///
    /// # Errors
    /// When it is no draft of `fleet`.
    pub fn of_file(bytes: &[u8], fleet: &FleetId) -> Result<Self, CeremonyError> {
        let bad = |why: &str| CeremonyError::NotADraft { why: why.to_owned() };
        let tree = strict::parse(bytes).map_err(|e| bad(&e.to_string()))?;
        let text = |field: &str| tree.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("kind") != DRAFT_KIND || tree.get("schema") != Some(&json!(1)) {
            return Err(bad("it does not say that it is one"));
        }
        if text("fleet") != fleet.as_str() {
            return Err(bad(&format!(
                "it is for fleet {:?}, the trust store is that of {fleet}",
                text("fleet")
            )));
        }
        let list =
            tree.get("documents").and_then(Value::as_array).ok_or_else(|| bad("it has no documents"))?;
        let mut documents = BTreeMap::new();
        for entry in list {
            let role =
                entry.get("role").and_then(Value::as_str).ok_or_else(|| bad("a document has no role"))?;
            let metadata = entry.get("metadata").and_then(Value::as_object).cloned();
            let metadata: Map<String, Value> = metadata.ok_or_else(|| bad("a document has no metadata"))?;
            let metadata = serde_json::to_vec(&metadata).expect("a tree with string keys always encodes");
            if documents.insert(role.to_owned(), Signed::from_bytes(&metadata)?).is_some() {
                return Err(bad("a role occurs twice"));
            }
        }
        Self::new(documents)
    }
}
