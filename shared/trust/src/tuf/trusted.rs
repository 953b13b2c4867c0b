//! The verified view: what root, timestamp, snapshot and targets say once every check has passed.
//!
//! A role is reached through a delegation, and it is the delegation that is verified: the same file may be good for one
//! delegator and not for another, so the view remembers pairs of delegator and role.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::error::TufError;
use super::metadata::{Head, Root, Snapshot, TargetFile, Targets, Timestamp, Unverified};
use super::name::file_of;
use crate::{Digest, FleetId, KeyId, PublicKey, UnixMs};

/// At most so many delegated roles are visited for one target.
pub const MAX_ROLES_VISITED: usize = 32;

/// A file named by verified targets metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the contents.
    pub sha256: Digest,
    /// What the role says about it beyond length and hash.
    pub custom: Map<String, Value>,
}

/// A target as found for a path: where to fetch it and how to check it, whatever its hash algorithm.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The role that names it.
    pub role: &'a str,
    path: &'a str,
    file: &'a TargetFile,
    consistent: bool,
}

impl Found<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.file.length
    }
    /// Where it is served, relative to the target base.
    #[must_use]
    pub fn url(&self) -> String {
        let hashes = &self.file.hashes.0;
        let preferred = ["sha256", "sha512"].into_iter().find_map(|a| hashes.get(a));
        let hash = preferred.or_else(|| hashes.values().next()).filter(|_| self.consistent);
        super::name::target_url(self.path, hash.map(String::as_str))
    }
    /// Whether `bytes` are the signed contents.
    ///
    /// # Errors
    /// [`TufError::Mismatch`] or [`TufError::NoKnownHash`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), TufError> {
        if bytes.len() as u64 != self.file.length {
            return Err(TufError::Mismatch { what: self.path.to_owned(), property: "length" });
        }
        self.file.hashes.check(self.path, bytes)
    }
}

#[derive(Debug, Clone)]
struct Loaded {
    doc: Targets,
    digest: Digest,
    infos: BTreeMap<String, TargetInfo>,
}

/// Where a search for a target stands.
pub(super) enum Search<'a> {
    /// Named by this role.
    Found(&'a str),
    /// No role names it.
    Nowhere,
    /// This delegation must be loaded before the search can go on.
    Needs { delegator: String, role: String },
}

/// Verified trust metadata.
#[derive(Debug, Clone)]
pub struct Trusted {
    root: Root,
    root_sha256: Digest,
    timestamp: Option<Timestamp>,
    snapshot: Option<Snapshot>,
    roles: BTreeMap<String, Loaded>,
    verified: BTreeSet<(String, String)>,
}

impl Trusted {
    /// The offline view of persisted metadata, for what is already installed. Signatures are checked. With `now` every
    /// role must be present, current and unexpired; without it nothing expires ("expiry stops news, not work"), and
    /// what an interrupted refresh left behind (an older snapshot under a newer timestamp) is used as it is, each role
    /// that does not verify left out.
    ///
    /// # Errors
    /// When root is missing or does not verify; with `now`, when anything is missing, out of date or expired.
    pub fn load(stored: &BTreeMap<String, Vec<u8>>, now: Option<UnixMs>) -> Result<Self, TufError> {
        let mut view = Self::from_root(stored.get("root.json").ok_or(TufError::NoRoot)?)?;
        let get = |role: &str| stored.get(&file_of(role)).map(Vec::as_slice);
        let missing = |role: &str| TufError::NotFound { name: file_of(role) };
        if let Some(now) = now {
            view.check_root_expiry(now)?;
            view.accept_timestamp(get("timestamp").ok_or_else(|| missing("timestamp"))?)?;
            view.check_timestamp_expiry(now)?;
            view.accept_snapshot(get("snapshot").ok_or_else(|| missing("snapshot"))?, true)?;
            view.check_snapshot(now)?;
            view.accept_targets(
                "root",
                "targets",
                get("targets").ok_or_else(|| missing("targets"))?,
                Some(now),
            )?;
        } else {
            if let Some(bytes) = get("timestamp") {
                let _ = view.accept_timestamp(bytes);
            }
            if let Some(bytes) = get("snapshot") {
                let _ = view.accept_snapshot(bytes, true);
            }
            if let Some(bytes) = get("targets") {
                let _ = view.accept_targets("root", "targets", bytes, None);
            }
        }
        view.load_delegated(&get, now);
        Ok(view)
    }
    /// Every stored role that a loaded role delegates to; a role that does not verify is left out.
    fn load_delegated<'b>(&mut self, get: &dyn Fn(&str) -> Option<&'b [u8]>, now: Option<UnixMs>) {
        let mut todo = vec!["targets".to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(delegator) = todo.pop() {
            let Some(loaded) = self.roles.get(&delegator).filter(|_| seen.insert(delegator.clone())) else {
                continue;
            };
            let children: Vec<String> = loaded.doc.delegations.iter().map(|d| d.role.clone()).collect();
            for role in children {
                let accepted = get(&role).map(|bytes| self.accept_targets(&delegator, &role, bytes, now));
                if matches!(accepted, Some(Ok(()))) {
                    todo.push(role);
                }
            }
        }
    }

    pub(super) fn from_root(bytes: &[u8]) -> Result<Self, TufError> {
        let unverified = Unverified::parse("root", bytes)?;
        let root = Root::read(&unverified.signed)?;
        unverified.verify("root", root.keys_of("root"))?;
        Ok(Self {
            root,
            root_sha256: Digest::of(bytes),
            timestamp: None,
            snapshot: None,
            roles: BTreeMap::new(),
            verified: BTreeSet::new(),
        })
    }

    /// The next root: signed by the old threshold and by its own. Says whether timestamp or snapshot keys were taken
    /// away, in which case the caller forgets the trusted timestamp and snapshot (spec 5.3.11).
    pub(super) fn accept_root(&mut self, bytes: &[u8]) -> Result<bool, TufError> {
        let unverified = Unverified::parse("root", bytes)?;
        let old = self.root.keys_of("root");
        old.verify("root", &unverified.message, &unverified.signatures)?;
        let root = Root::read(&unverified.signed)?;
        unverified.verify("root", root.keys_of("root"))?;
        let expected = self.root.head.version + 1;
        if root.head.version != expected {
            return Err(TufError::WrongVersion { role: "root".into(), expected, got: root.head.version });
        }
        let rotated = ["timestamp", "snapshot"]
            .into_iter()
            .any(|role| self.root.keys_of(role).lost_a_key_in(root.keys_of(role)));
        self.root = root;
        self.root_sha256 = Digest::of(bytes);
        Ok(rotated)
    }
    pub(super) fn check_root_expiry(&self, now: UnixMs) -> Result<(), TufError> {
        unexpired("root", self.root.head, now)
    }

    /// `false` when it has the version that is already trusted: then the trusted one stays, and that is no error.
    pub(super) fn accept_timestamp(&mut self, bytes: &[u8]) -> Result<bool, TufError> {
        let signed =
            Unverified::parse("timestamp", bytes)?.verify("timestamp", self.root.keys_of("timestamp"))?;
        let new = Timestamp::read(&signed)?;
        if let Some(old) = &self.timestamp {
            if new.head.version == old.head.version {
                return Ok(false);
            }
            not_older("timestamp", old.head.version, new.head.version)?;
            not_older("snapshot", old.snapshot.version, new.snapshot.version)?;
        }
        self.timestamp = Some(new);
        Ok(true)
    }
    /// Accepts a fetched timestamp only if it has not expired, so that an expired one never replaces a good one.
    pub(super) fn accept_fresh_timestamp(&mut self, bytes: &[u8], now: UnixMs) -> Result<bool, TufError> {
        let before = self.timestamp.clone();
        let changed = self.accept_timestamp(bytes)?;
        if let Err(e) = self.check_timestamp_expiry(now) {
            self.timestamp = before;
            return Err(e);
        }
        Ok(changed)
    }
    fn check_timestamp_expiry(&self, now: UnixMs) -> Result<(), TufError> {
        let timestamp = self.timestamp.as_ref().expect("checked only once there is one");
        unexpired("timestamp", timestamp.head, now)
    }

    /// A snapshot that is signed and not older in any part than the one before. A persisted one was checked against the
    /// hash in its own timestamp when it came and serves as the floor, so only a fetched one is checked against this one's.
    pub(super) fn accept_snapshot(&mut self, bytes: &[u8], persisted: bool) -> Result<(), TufError> {
        if let Some(timestamp) = self.timestamp.as_ref().filter(|_| !persisted) {
            timestamp.snapshot.check("snapshot", bytes)?;
        }
        let signed =
            Unverified::parse("snapshot", bytes)?.verify("snapshot", self.root.keys_of("snapshot"))?;
        let new = Snapshot::read(&signed)?;
        if let Some(old) = &self.snapshot {
            for (file, old) in &old.meta {
                let role = file.strip_suffix(".json").unwrap_or(file);
                let Some(new) = new.meta.get(file) else {
                    return Err(TufError::Dropped { role: role.to_owned() });
                };
                not_older(role, old.version, new.version)?;
            }
        }
        self.snapshot = Some(new);
        Ok(())
    }
    /// Accepts a fetched snapshot only if it is the one that timestamp names, and unexpired.
    pub(super) fn accept_fresh_snapshot(&mut self, bytes: &[u8], now: UnixMs) -> Result<(), TufError> {
        let before = self.snapshot.clone();
        let accepted = self.accept_snapshot(bytes, false).and_then(|()| self.check_snapshot(now));
        if accepted.is_err() {
            self.snapshot = before;
        }
        accepted
    }
    /// Whether the snapshot at hand is the current one.
    pub(super) fn check_snapshot(&self, now: UnixMs) -> Result<(), TufError> {
        let (Some(timestamp), Some(snapshot)) = (&self.timestamp, &self.snapshot) else {
            return Err(TufError::NotFound { name: "snapshot.json".into() });
        };
        exactly("snapshot", timestamp.snapshot.version, snapshot.head.version)?;
        unexpired("snapshot", snapshot.head, now)
    }

    /// Targets metadata of `role` as delegated by `delegator` (`root` for the top-level `targets`). Without `now` (the
    /// offline view) it may also be older than the snapshot says, and may stand without one.
    pub(super) fn accept_targets(
        &mut self,
        delegator: &str,
        role: &str,
        bytes: &[u8],
        now: Option<UnixMs>,
    ) -> Result<(), TufError> {
        let keys = if delegator == "root" {
            self.root.keys_of(role)
        } else {
            let loaded = self.roles.get(delegator).and_then(|l| l.doc.delegation(role));
            &loaded.ok_or_else(|| TufError::NotInSnapshot { role: role.to_owned() })?.keys
        };
        let meta = self.snapshot.as_ref().map(|s| s.of(role));
        let signed = match (meta, now) {
            (Some(Some(meta)), Some(_)) => {
                meta.check(role, bytes)?;
                Unverified::parse(role, bytes)?.verify(role, keys)?
            }
            (Some(Some(_)) | None, None) => Unverified::parse(role, bytes)?.verify(role, keys)?,
            _ => {
                return Err(TufError::NotInSnapshot { role: role.to_owned() });
            }
        };
        let doc = Targets::read(role, &signed)?;
        if let Some(now) = now {
            let meta = meta.flatten().expect("matched above");
            exactly(role, meta.version, doc.head.version)?;
            unexpired(role, doc.head, now)?;
        } else if let Some(meta) = meta.flatten() {
            if doc.head.version > meta.version {
                exactly(role, meta.version, doc.head.version)?;
            } else if doc.head.version == meta.version {
                meta.check(role, bytes)?;
            }
        }
        let digest = Digest::of(bytes);
        if self.roles.get(role).is_some_and(|l| l.digest != digest) {
            return Err(TufError::Inconsistent { role: role.to_owned() });
        }
        let infos = doc.targets.iter().filter_map(|(path, file)| {
            let sha256 = file.hashes.sha256()?;
            let (length, custom) = (file.length, file.custom.clone());
            Some((path.clone(), TargetInfo { length, sha256, custom }))
        });
        let infos = infos.collect();
        self.roles.insert(role.to_owned(), Loaded { doc, digest, infos });
        self.verified.insert((delegator.to_owned(), role.to_owned()));
        Ok(())
    }

    /// Pre-order, depth-first, in the order in which delegations are written; a terminating delegation that covers the
    /// path ends the search of everything behind it.
    pub(super) fn search(&self, path: &str) -> Search<'_> {
        let mut stack: Vec<(&str, &str)> = vec![("root", "targets")];
        let mut visited: BTreeSet<&str> = BTreeSet::new();
        while let Some((delegator, role)) = stack.pop() {
            if visited.contains(role) {
                continue;
            }
            if visited.len() > MAX_ROLES_VISITED {
                return Search::Nowhere;
            }
            let verified = self.verified.contains(&(delegator.to_owned(), role.to_owned()));
            let Some((name, loaded)) = self.roles.get_key_value(role).filter(|_| verified) else {
                return Search::Needs { delegator: delegator.to_owned(), role: role.to_owned() };
            };
            if loaded.doc.targets.contains_key(path) {
                return Search::Found(name);
            }
            visited.insert(role);
            let mut children = Vec::new();
            for delegation in loaded.doc.delegations.iter().filter(|d| d.scope.covers(path)) {
                children.push((role, delegation.role.as_str()));
                if delegation.terminating {
                    stack.clear();
                    break;
                }
            }
            stack.extend(children.into_iter().rev());
        }
        Search::Nowhere
    }

    /// What fetching needs of `role`: its version and, if signed, its length.
    pub(super) fn meta_of(&self, role: &str) -> Option<(u64, Option<u64>)> {
        let meta = match role {
            "snapshot" => Some(&self.timestamp.as_ref()?.snapshot),
            _ => self.snapshot.as_ref()?.of(role),
        };
        meta.map(|m| (m.version, m.length))
    }
    pub(super) fn consistent_snapshot(&self) -> bool {
        self.root.consistent_snapshot
    }
    pub(super) fn root_version(&self) -> u64 {
        self.root.head.version
    }

    /// Version of every loaded role, by role name.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, u64> {
        self.heads().map(|(role, head)| (role.to_owned(), head.version)).collect()
    }
    /// Expiry of every loaded role, by role name.
    #[must_use]
    pub fn expires(&self) -> BTreeMap<String, UnixMs> {
        self.heads().map(|(role, head)| (role.to_owned(), head.expires)).collect()
    }
    fn heads(&self) -> impl Iterator<Item = (&str, Head)> {
        let top = [
            Some(("root", self.root.head)),
            self.timestamp.as_ref().map(|t| ("timestamp", t.head)),
            self.snapshot.as_ref().map(|s| ("snapshot", s.head)),
        ];
        let roles = self.roles.iter().map(|(role, l)| (role.as_str(), l.doc.head));
        top.into_iter().flatten().chain(roles)
    }
    /// The role that names `path`, and what it says. Only loaded roles are searched, and a delegation that would come
    /// first but is not loaded ends the search.
    #[must_use]
    pub fn target(&self, path: &str) -> Option<(&str, &TargetInfo)> {
        let Search::Found(role) = self.search(path) else {
            return None;
        };
        Some((role, self.roles[role].infos.get(path)?))
    }
    /// Like [`Trusted::target`], for targets of any hash algorithm.
    #[must_use]
    pub fn find<'a>(&'a self, path: &str) -> Option<Found<'a>> {
        let Search::Found(role) = self.search(path) else {
            return None;
        };
        let (path, file) = self.roles[role].doc.targets.get_key_value(path)?;
        Some(Found { role, path, file, consistent: self.root.consistent_snapshot })
    }
    /// The targets of `role` that it is trusted for: those that a search from the top finds in it.
    pub fn targets_of(&self, role: &str) -> impl Iterator<Item = (&str, &TargetInfo)> {
        let found = self.roles.get_key_value(role);
        let entries = found.into_iter().flat_map(|(name, loaded)| {
            loaded.infos.iter().map(move |(path, info)| (name.as_str(), path.as_str(), info))
        });
        entries.filter_map(|(name, path, info)| match self.search(path) {
            Search::Found(role) if role == name => Some((path, info)),
            _ => None,
        })
    }
    /// Whether targets metadata of `role` is loaded.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains_key(role)
    }
    /// Whether the snapshot lists `role`.
    #[must_use]
    pub fn lists(&self, role: &str) -> bool {
        self.snapshot.as_ref().is_some_and(|s| s.of(role).is_some())
    }
    /// The fleet this root is for.
    #[must_use]
    pub fn fleet(&self) -> Option<FleetId> {
        self.root.fleet.clone()
    }
    /// The key that signs assignments and commands; while one takes over from another there are two, and this is either.
    #[must_use]
    pub fn director(&self) -> Option<PublicKey> {
        self.root.director_keys().into_iter().next()
    }
    /// The director's key to check a message with that says it was signed by `signer`: that one if it is one of the
    /// director's, else any, which then refuses it.
    #[must_use]
    pub fn director_named(&self, signer: KeyId) -> Option<PublicKey> {
        let keys = self.root.director_keys();
        keys.iter().find(|k| k.id() == signer).or(keys.first()).cloned()
    }
    /// The key to check an attested time with that says it was signed by `signer`, like [`Trusted::director_named`].
    #[must_use]
    pub fn time_key_named(&self, signer: KeyId) -> Option<PublicKey> {
        let keys = self.root.time_keys();
        keys.iter().find(|k| k.id() == signer).or(keys.first()).cloned()
    }
    /// Names the keys that can raise a device's online time floor (`x-time`, `timestamp`): another value means that the
    /// root has rotated one of them.
    #[must_use]
    pub fn time_keys_tag(&self) -> Digest {
        let mut keys: Vec<Vec<u8>> =
            self.root.keys_of("timestamp").public_keys().iter().map(PublicKey::raw).collect();
        keys.sort();
        keys.extend(self.root.time_keys().iter().map(PublicKey::raw));
        Digest::of(&keys.concat())
    }
    /// When root and the top-level targets at hand were signed, the later of them, as far as they say. What delegated roles
    /// say does not count: nothing takes back what this raises, and the keys of one model must not be able to set the
    /// clocks of a whole fleet.
    #[must_use]
    pub fn issued_offline(&self) -> Option<UnixMs> {
        let targets = self.roles.get("targets").and_then(|l| l.doc.head.issued);
        self.root.head.issued.max(targets)
    }
    /// When the timestamp at hand was signed, if it says so.
    #[must_use]
    pub fn issued_online(&self) -> Option<UnixMs> {
        self.timestamp.as_ref()?.head.issued
    }
    /// Whether one key alone can approve.
    #[must_use]
    pub fn solo(&self) -> bool {
        self.root.solo
    }
    /// SHA-256 of root.json as received.
    #[must_use]
    pub fn root_sha256(&self) -> Digest {
        self.root_sha256
    }
}

fn unexpired(role: &str, head: Head, now: UnixMs) -> Result<(), TufError> {
    if head.expires > now {
        return Ok(());
    }
    Err(TufError::Expired { role: role.to_owned(), at: head.expires, now })
}
fn not_older(role: &str, trusted: u64, got: u64) -> Result<(), TufError> {
    if got >= trusted {
        return Ok(());
    }
    Err(TufError::Rollback { role: role.to_owned(), trusted, got })
}
fn exactly(role: &str, expected: u64, got: u64) -> Result<(), TufError> {
    if got == expected {
        return Ok(());
    }
    Err(TufError::WrongVersion { role: role.to_owned(), expected, got })
}
