//! Publishing: submitted metadata, fresh snapshots and timestamps.

use longshore_trust::tuf::ReleaseInfo;
use longshore_trust::tuf::edit::{self, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::{Digest, ModelName, UnixMs};

use super::{Submitted, TrustRepo, TrustRepoError, merge};
use crate::events::FleetEvent;
use crate::store::{self, Tx};

const HOUR_MS: u64 = 3_600_000;
/// Snapshots that are still served for clients that have just read an older timestamp.
const KEEP_SNAPSHOTS: u32 = 20;

impl TrustRepo {
    /// Publishes the first root and targets, as `longshore keys init` signed them. Nothing is changed when exactly these
    /// are published already.
    ///
    /// # Errors
    /// When their signatures do not reach their thresholds, the root does not name this server's online keys, or another
    /// root is published.
    pub async fn import(&self, root: &[u8], targets: &[u8], now: UnixMs) -> Result<(), TrustRepoError> {
        let spec = edit::read_root(root)?;
        threshold("root", root, &spec.root)?;
        threshold("targets", targets, &spec.targets)?;
        self.names_our_keys(&spec)?;
        let mut tx = self.store.write().await?;
        if let Some((_, published)) = store::trust::newest(&mut tx, "root").await? {
            let same = self.store.role_bytes("root", Some(spec.version)).await?.as_deref() == Some(root);
            return if same || published == root {
                Ok(())
            } else {
                Err(TrustRepoError::refused("root", "this data directory belongs to another root of trust"))
            };
        }
        store::trust::publish(&mut tx, "root", spec.version, root, now).await?;
        let first = edit::read_targets(targets)?;
        store::trust::publish(&mut tx, "targets", first.version, targets, now).await?;
        self.index(&mut tx, "targets", &first, now).await?;
        self.make_current(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes signed metadata of `root`, `targets` or `models/<name>`: publishes it when its threshold is met, keeps it
    /// with the signatures it has otherwise.
    ///
    /// # Errors
    /// [`TrustRepoError`] says what is wrong and what to do; nothing is changed then.
    pub async fn submit(&self, role: &str, bytes: &[u8], now: UnixMs) -> Result<Submitted, TrustRepoError> {
        let kind = match role {
            "root" => "root",
            _ => "targets",
        };
        let (version, expires) = edit::head_of(kind, bytes)?;
        if expires <= now {
            return Err(TrustRepoError::refused(role, "it has expired already: sign it anew"));
        }
        let mut tx = self.store.write().await?;
        let keys = keys_of(&mut tx, role).await?;
        let threshold = keys.threshold;
        let published = store::trust::newest(&mut tx, role).await?;
        if let Some((v, old)) = &published {
            let same = Signed::from_bytes(old)?.message() == Signed::from_bytes(bytes)?.message();
            if *v == version && same {
                let signatures = edit::valid_signatures(old, &keys)?;
                return Ok(Submitted::Published { version, signatures, threshold });
            }
        }
        let last = published.map_or(0, |(v, _)| v);
        if version != last + 1 {
            return Err(TrustRepoError::Version {
                role: role.to_owned(),
                got: version,
                published: last,
                next: last + 1,
            });
        }
        let pending = store::trust::pending(&mut tx, role, version).await?;
        let counted = all_keys(role, bytes, &keys)?;
        let document = merge::collect(bytes, pending.as_deref(), &counted)?;
        let signatures = edit::valid_signatures(&document, &keys)?;
        if edit::valid_signatures(bytes, &counted)? == 0 {
            return Err(TrustRepoError::refused(
                role,
                "no key of this role has signed it: sign it with a key that the present metadata names",
            ));
        }
        let complete = signatures >= threshold as usize && self.fits(&mut tx, role, &document).await?;
        if !complete {
            store::trust::set_pending(&mut tx, role, version, &document, now).await?;
            tx.commit().await?;
            return Ok(Submitted::Pending { version, signatures, threshold });
        }
        store::trust::publish(&mut tx, role, version, &document, now).await?;
        if role != "root" {
            let spec = edit::read_targets(&document)?;
            self.index(&mut tx, role, &spec, now).await?;
            self.make_current(&mut tx, now).await?;
        }
        tx.commit().await?;
        tracing::info!(role, version, signatures, "published trust metadata");
        if let Some(model) = role.strip_prefix("models/").and_then(|m| m.parse::<ModelName>().ok()) {
            self.events.publish(FleetEvent::Model(model));
        }
        self.events.publish(FleetEvent::Summary);
        self.gateway.doorbell();
        Ok(Submitted::Published { version, signatures, threshold })
    }

    /// What else must hold before publication. `Ok(false)`: more signatures are needed.
    async fn fits(&self, tx: &mut Tx, role: &str, document: &[u8]) -> Result<bool, TrustRepoError> {
        if role != "root" {
            edit::read_targets(document)?;
            return Ok(true);
        }
        let new = edit::read_root(document)?;
        if edit::valid_signatures(document, &new.root)? < new.root.threshold as usize {
            return Ok(false);
        }
        let (_, old) = store::trust::newest(tx, "root")
            .await?
            .ok_or_else(|| TrustRepoError::refused(role, "no root is published"))?;
        if edit::read_root(&old)?.fleet != new.fleet {
            return Err(TrustRepoError::refused(role, "it is for another fleet"));
        }
        self.names_our_keys(&new)?;
        if let Some((_, targets)) = store::trust::newest(tx, "targets").await? {
            let have = edit::valid_signatures(&targets, &new.targets)?;
            if have < new.targets.threshold as usize {
                return Err(TrustRepoError::refused(
                    role,
                    "the published targets metadata would not reach the threshold under its keys: publish targets \
                     signed by the old and the new keys first",
                ));
            }
        }
        Ok(true)
    }

    fn names_our_keys(&self, root: &RootSpec) -> Result<(), TrustRepoError> {
        let ours = [
            ("snapshot", &root.snapshot, self.snapshot.public()),
            ("timestamp", &root.timestamp, self.timestamp.public()),
            ("x-director", &root.director, self.director.clone()),
        ];
        for (name, keys, key) in ours {
            if !keys.keys.contains(&key) {
                return Err(TrustRepoError::refused(
                    "root",
                    format!(
                        "its role {name} does not name the {name} key in this server's `online` directory"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Remembers which files a role names, and marks the bundles it releases.
    async fn index(
        &self,
        tx: &mut Tx,
        role: &str,
        spec: &TargetsSpec,
        now: UnixMs,
    ) -> Result<(), TrustRepoError> {
        let files: Vec<(String, Digest, u64)> =
            spec.targets.iter().map(|(path, t)| (path.clone(), t.sha256, t.length)).collect();
        store::trust::set_targets(tx, role, &files).await?;
        let Some(model) = role.strip_prefix("models/") else {
            return Ok(());
        };
        for (path, target) in &spec.targets {
            let Some(version) = manifest_version(path, model) else {
                continue;
            };
            let release = ReleaseInfo::from_custom(&target.custom)
                .map_err(|e| TrustRepoError::refused(role, format!("{path}: {e}")))?;
            store::trust::mark_approved(tx, model, version, &target.sha256, release.release_counter, now)
                .await?;
        }
        Ok(())
    }

    /// Marks a version that has just been checked as approved if its release has been signed before. Whether it has.
    ///
    /// # Errors
    /// When the database refuses or the published metadata cannot be read.
    pub async fn approve_checked(
        &self,
        tx: &mut Tx,
        model: &ModelName,
        version: &str,
        bundle: &Digest,
        now: UnixMs,
    ) -> Result<bool, TrustRepoError> {
        let Some((_, bytes)) = store::trust::newest(tx, &format!("models/{model}")).await? else {
            return Ok(false);
        };
        let spec = edit::read_targets(&bytes)?;
        let Some(target) = spec.targets.get(&format!("{model}/{version}/manifest.json")) else {
            return Ok(false);
        };
        if target.sha256 != *bundle {
            return Ok(false);
        }
        let release = ReleaseInfo::from_custom(&target.custom)
            .map_err(|e| TrustRepoError::refused(&format!("models/{model}"), e.to_string()))?;
        let counter = release.release_counter;
        Ok(store::trust::mark_approved(tx, model.as_str(), version, bundle, counter, now).await?)
    }

    /// Signs snapshot and timestamp anew when they have used up half of their time. Whether it did.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn refresh(&self, now: UnixMs) -> Result<bool, TrustRepoError> {
        let due = async |role: &str, validity_h: u64| -> Result<bool, TrustRepoError> {
            match self.store.role_bytes(role, None).await? {
                None => Ok(false),
                Some(bytes) => Ok(edit::head_of(role, &bytes)?.1.0 < now.plus_ms(validity_h * HOUR_MS / 2).0),
            }
        };
        let snapshot_due = due("snapshot", self.validity.snapshot_d * 24).await?;
        if !snapshot_due && !due("timestamp", self.validity.timestamp_h).await? {
            return Ok(false);
        }
        let mut tx = self.store.write().await?;
        if snapshot_due {
            self.make_current(&mut tx, now).await?;
        } else if let Some((version, bytes)) = store::trust::newest(&mut tx, "snapshot").await? {
            self.sign_timestamp(&mut tx, &bytes, version, now).await?;
        }
        tx.commit().await?;
        tracing::info!(snapshot = snapshot_due, "signed fresh trust metadata");
        self.events.publish(FleetEvent::Summary);
        self.gateway.doorbell();
        Ok(true)
    }

    /// A new snapshot of all published targets metadata, and a timestamp that names it.
    async fn make_current(&self, tx: &mut Tx, now: UnixMs) -> Result<(), TrustRepoError> {
        let meta = store::trust::targets_versions(tx).await?;
        let meta = meta.into_iter().map(|(role, v)| (format!("{role}.json"), v)).collect();
        let version = store::trust::newest_version(tx, "snapshot").await?.unwrap_or(0) + 1;
        let expires = now.plus_ms(self.validity.snapshot_d * 24 * HOUR_MS);
        let mut snapshot = edit::snapshot(version, expires, meta);
        snapshot.sign(&self.snapshot);
        let bytes = snapshot.to_bytes();
        store::trust::publish(tx, "snapshot", version, &bytes, now).await?;
        self.sign_timestamp(tx, &bytes, version, now).await
    }

    async fn sign_timestamp(
        &self,
        tx: &mut Tx,
        snapshot: &[u8],
        snapshot_version: u64,
        now: UnixMs,
    ) -> Result<(), TrustRepoError> {
        let version = store::trust::newest_version(tx, "timestamp").await?.unwrap_or(0) + 1;
        let expires = now.plus_ms(self.validity.timestamp_h * HOUR_MS);
        let mut timestamp = edit::timestamp(version, expires, snapshot, snapshot_version);
        timestamp.sign(&self.timestamp);
        store::trust::publish(tx, "timestamp", version, &timestamp.to_bytes(), now).await?;
        store::trust::prune_online(tx, KEEP_SNAPSHOTS).await?;
        Ok(())
    }
}

/// The keys that must sign `role`, by the metadata that is published.
async fn keys_of(tx: &mut Tx, role: &str) -> Result<RoleKeys, TrustRepoError> {
    let missing = || TrustRepoError::refused(role, "no root is published: run `longshore-fleet init`");
    let (_, root) = store::trust::newest(tx, "root").await?.ok_or_else(missing)?;
    let root = edit::read_root(&root)?;
    match role {
        "root" => Ok(root.root),
        "targets" => Ok(root.targets),
        _ if role.starts_with("models/") => {
            let (_, targets) = store::trust::newest(tx, "targets").await?.ok_or_else(missing)?;
            let found = edit::read_targets(&targets)?.delegations.into_iter().find(|d| d.role == role);
            found.map(|d| d.keys).ok_or_else(|| {
                TrustRepoError::refused(
                    role,
                    "targets metadata does not delegate to this role: submit targets with the delegation first",
                )
            })
        }
        _ => Err(TrustRepoError::refused(
            role,
            "only root, targets and models/<name> are signed offline; the server signs the rest itself",
        )),
    }
}

/// Keys whose signatures are worth collecting: of a new root, its own too.
fn all_keys(role: &str, bytes: &[u8], present: &RoleKeys) -> Result<RoleKeys, TrustRepoError> {
    let mut keys = present.clone();
    if role == "root" {
        for key in edit::read_root(bytes)?.root.keys {
            if !keys.keys.contains(&key) {
                keys.keys.push(key);
            }
        }
    }
    Ok(keys)
}

fn threshold(role: &str, bytes: &[u8], keys: &RoleKeys) -> Result<(), TrustRepoError> {
    let have = edit::valid_signatures(bytes, keys)?;
    if have >= keys.threshold as usize {
        Ok(())
    } else {
        let need = keys.threshold;
        let why = format!("it carries {have} valid signatures of distinct keys, {need} are needed");
        Err(TrustRepoError::refused(role, why))
    }
}

/// The version in `<model>/<version>/manifest.json`.
fn manifest_version<'a>(path: &'a str, model: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(model)?.strip_prefix('/')?;
    let version = rest.strip_suffix("/manifest.json")?;
    (!version.contains('/')).then_some(version)
}
