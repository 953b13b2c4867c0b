//! Making a draft: keys come and go, thresholds rise, validity is renewed.

use std::fmt;
use std::str::FromStr;

use super::{CeremonyError, Draft, Offline};
use crate::tuf::edit::{self, RoleKeys, TargetsSpec};
use crate::tuf::key_id;
use crate::{ModelName, PublicKey, UnixMs};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Validity of root and targets.
const TOP_VALID_MS: u64 = 365 * DAY_MS;
/// Validity of a model's role.
const MODEL_VALID_MS: u64 = 180 * DAY_MS;

/// Whose keys change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRole {
    /// Signs the next root.
    Root,
    /// Signs delegations.
    Targets,
    /// Signs snapshots (online).
    Snapshot,
    /// Signs timestamps (online).
    Timestamp,
    /// Signs assignments and commands (online).
    Director,
    /// Attests the time (online).
    Time,
    /// Approves bundles, of every model.
    Release,
    /// Approves bundles of one model.
    Model(ModelName),
}

impl KeyRole {
    /// Whether the server holds its private keys.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Snapshot | Self::Timestamp | Self::Director | Self::Time)
    }
}
impl FromStr for KeyRole {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s {
            "root" => Self::Root,
            "targets" => Self::Targets,
            "snapshot" => Self::Snapshot,
            "timestamp" => Self::Timestamp,
            "director" => Self::Director,
            "time" => Self::Time,
            "release" => Self::Release,
            _ => match s.strip_prefix("models/").map(ModelName::new) {
                Some(Ok(model)) => Self::Model(model),
                Some(Err(e)) => return Err(e.to_string()),
                None => {
                    return Err(
                        "roles are root, targets, release, models/<name>, snapshot, timestamp, director and time"
                            .into(),
                    );
                }
            },
        })
    }
}
impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Targets => f.write_str("targets"),
            Self::Snapshot => f.write_str("snapshot"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Director => f.write_str("director"),
            Self::Time => f.write_str("time"),
            Self::Release => f.write_str("release"),
            Self::Model(m) => write!(f, "models/{m}"),
        }
    }
}

/// A change to the keys of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Keys that come.
    pub add: Vec<PublicKey>,
    /// Keys that leave.
    pub remove: Vec<PublicKey>,
    /// How many must sign; as before when `None`.
    pub threshold: Option<u32>,
}

impl KeyChange {
    /// The keys after the change.
    ///
    /// # Errors
    /// When a key to remove is not there, one to add is, or the threshold cannot be reached.
    pub fn apply(&self, role: &str, keys: &RoleKeys) -> Result<RoleKeys, CeremonyError> {
        let short = |k: &PublicKey| key_id(k)[..16].to_owned();
        let mut out = keys.clone();
        for key in &self.remove {
            let at = out.keys.iter().position(|k| k == key);
            let at = at.ok_or_else(|| {
                CeremonyError::change(role, format!("key {} is not one of its keys", short(key)))
            })?;
            out.keys.remove(at);
        }
        for key in &self.add {
            if out.keys.contains(key) {
                return Err(CeremonyError::change(
                    role,
                    format!("key {} is one of its keys already", short(key)),
                ));
            }
            out.keys.push(key.clone());
        }
        out.threshold = self.threshold.unwrap_or(keys.threshold);
        super::check_keys(role, &out)?;
        Ok(out)
    }
}

impl Draft {
    /// Changes the keys of `role`. Whatever this makes necessary (metadata that the new keys must sign anew) becomes
    /// part of the draft. `release_threshold`: how many release keys sign while no model has its role yet.
    ///
    /// # Errors
    /// [`CeremonyError`] when somebody has signed the draft, or the change cannot be made.
    pub fn rotate(
        &mut self,
        published: &Offline,
        role: &KeyRole,
        change: &KeyChange,
        release_threshold: Option<u32>,
        now: UnixMs,
    ) -> Result<(), CeremonyError> {
        if self.is_signed() {
            return Err(CeremonyError::Signed);
        }
        if role.is_online() && change.threshold.is_some_and(|n| n != 1) {
            let threshold = change.threshold.unwrap_or(1);
            let role = match role {
                KeyRole::Snapshot => "snapshot",
                KeyRole::Timestamp => "timestamp",
                KeyRole::Time => "time",
                _ => "director",
            };
            return Err(CeremonyError::OnlineThreshold { role, threshold });
        }
        match role {
            KeyRole::Release => self.rotate_models(published, None, change, now)?,
            KeyRole::Model(m) => self.rotate_models(published, Some(&format!("models/{m}")), change, now)?,
            _ => {
                let mut root = self.next_root(published, now)?;
                let keys = match role {
                    KeyRole::Root => &mut root.root,
                    KeyRole::Targets => &mut root.targets,
                    KeyRole::Snapshot => &mut root.snapshot,
                    KeyRole::Timestamp => &mut root.timestamp,
                    // A fleet made before there was this role gets it so.
                    KeyRole::Time => root.time.get_or_insert(RoleKeys { keys: Vec::new(), threshold: 1 }),
                    _ => &mut root.director,
                };
                *keys = change.apply(&role.to_string(), keys)?;
                self.documents.insert("root".into(), edit::root(&root).issued(now));
            }
        }
        self.complete(published, release_threshold, now)
    }

    fn rotate_models(
        &mut self,
        published: &Offline,
        only: Option<&str>,
        change: &KeyChange,
        now: UnixMs,
    ) -> Result<(), CeremonyError> {
        let mut targets = self.next_targets(published, now)?;
        let mut found = false;
        for d in targets.delegations.iter_mut().filter(|d| only.is_none_or(|o| o == d.role)) {
            d.keys = change.apply(&d.role, &d.keys)?;
            found = true;
        }
        if let (false, Some(role)) = (found, only) {
            return Err(CeremonyError::NotDelegated { role: role.to_owned() });
        }
        if found {
            self.documents.insert("targets".into(), edit::targets(&targets).issued(now));
        }
        Ok(())
    }

    /// Takes `key` out of every role that names it; the roles it was taken out of.
    ///
    /// # Errors
    /// When no role names it, or a threshold could not be reached without it.
    pub fn revoke(
        &mut self,
        published: &Offline,
        key: &PublicKey,
        release_threshold: Option<u32>,
        now: UnixMs,
    ) -> Result<Vec<KeyRole>, CeremonyError> {
        let (root, targets) = (self.root(published)?, self.targets(published)?);
        let top = [
            (KeyRole::Root, &root.root),
            (KeyRole::Targets, &root.targets),
            (KeyRole::Snapshot, &root.snapshot),
            (KeyRole::Timestamp, &root.timestamp),
            (KeyRole::Director, &root.director),
        ];
        let time = root.time.as_ref().map(|keys| (KeyRole::Time, keys));
        let mut roles: Vec<KeyRole> = top
            .into_iter()
            .chain(time)
            .filter(|(_, keys)| keys.keys.contains(key))
            .map(|(role, _)| role)
            .collect();
        for d in targets.iter().flat_map(|t| &t.delegations).filter(|d| d.keys.keys.contains(key)) {
            roles.extend(d.role.parse().ok());
        }
        if roles.is_empty() {
            return Err(CeremonyError::change("revoke", format!("no role names key {}", key_id(key))));
        }
        let change = KeyChange { remove: vec![key.clone()], ..KeyChange::default() };
        for role in &roles {
            self.rotate(published, role, &change, release_threshold, now)?;
        }
        Ok(roles)
    }

    /// Signs `role` (root, targets or a model's) anew with a later expiry and no other change.
    ///
    /// # Errors
    /// When somebody has signed the draft, or the role is not signed offline or not published.
    pub fn renew(
        &mut self,
        published: &Offline,
        role: &KeyRole,
        release_threshold: Option<u32>,
        now: UnixMs,
    ) -> Result<(), CeremonyError> {
        if self.is_signed() {
            return Err(CeremonyError::Signed);
        }
        match role {
            KeyRole::Root => {
                let root = self.next_root(published, now)?;
                self.documents.insert("root".into(), edit::root(&root).issued(now));
            }
            KeyRole::Targets => {
                let targets = self.next_targets(published, now)?;
                self.documents.insert("targets".into(), edit::targets(&targets).issued(now));
            }
            KeyRole::Release => {
                for role in published.models.keys() {
                    self.renew_model(published, role, now)?;
                }
            }
            KeyRole::Model(m) => self.renew_model(published, &format!("models/{m}"), now)?,
            _ => {
                let why = "the server signs it anew by itself; only root, targets, release and models/<name> need a person";
                return Err(CeremonyError::change(role, why));
            }
        }
        self.complete(published, release_threshold, now)
    }
    fn renew_model(&mut self, published: &Offline, role: &str, now: UnixMs) -> Result<(), CeremonyError> {
        let current = published.models.get(role);
        let mut spec =
            current.cloned().ok_or_else(|| CeremonyError::change(role, "nothing of it is published yet"))?;
        spec.version += 1;
        spec.expires = now.plus_ms(MODEL_VALID_MS);
        self.documents.insert(role.to_owned(), edit::targets(&spec).issued(now));
        Ok(())
    }

    /// What the new keys must sign anew becomes part of the draft, and root says whether one key alone can approve.
    fn complete(
        &mut self,
        published: &Offline,
        release_threshold: Option<u32>,
        now: UnixMs,
    ) -> Result<(), CeremonyError> {
        let mut root = self.root(published)?;
        if published.has("targets") && published.stays_valid(self, "targets", &root.targets).is_err() {
            let targets = self.next_targets(published, now)?;
            self.documents.insert("targets".into(), edit::targets(&targets).issued(now));
        }
        let targets = self.targets(published)?;
        let delegations = targets.as_ref().map(|t| t.delegations.as_slice()).unwrap_or_default();
        for d in delegations.iter().filter(|d| published.has(&d.role)) {
            if published.stays_valid(self, &d.role, &d.keys).is_err() {
                self.renew_model(published, &d.role, now)?;
            }
        }
        let solo = super::one_key_approves(&root, targets.as_ref(), release_threshold);
        // A threshold of a model's role that changes what root says of the fleet needs a new root, too.
        if self.get("root").is_some() || (self.get("targets").is_some() && solo != root.solo) {
            if self.get("root").is_none() {
                root = self.next_root(published, now)?;
            }
            root.solo = solo;
            self.documents.insert("root".into(), edit::root(&root).issued(now));
        }
        Ok(())
    }

    /// The root of the draft, or the next one with a fresh expiry.
    fn next_root(&self, published: &Offline, now: UnixMs) -> Result<edit::RootSpec, CeremonyError> {
        let mut root = self.root(published)?;
        if self.get("root").is_none() {
            root.version += 1;
        }
        root.expires = now.plus_ms(TOP_VALID_MS);
        Ok(root)
    }
    fn next_targets(&self, published: &Offline, now: UnixMs) -> Result<TargetsSpec, CeremonyError> {
        let targets = self.targets(published)?;
        let mut targets =
            targets.ok_or_else(|| CeremonyError::change("targets", "no targets metadata is published"))?;
        if self.get("targets").is_none() {
            targets.version += 1;
        }
        targets.expires = now.plus_ms(TOP_VALID_MS);
        Ok(targets)
    }
}
