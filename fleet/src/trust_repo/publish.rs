//! Publishing: the first metadata, fresh snapshots and timestamps, and what the record remembers of them.

use longshore_trust::tuf::ReleaseInfo;
use longshore_trust::tuf::edit::{self, RoleKeys, RootSpec, TargetsSpec};
use longshore_trust::{Digest, ModelName, UnixMs};

use super::{TrustRepo, TrustRepoError};
use crate::events::FleetEvent;
use crate::store::{self, Tx};

const HOUR_MS: u64 = 3_600_000;
/// Versions of snapshot and timestamp that belong to one epoch. A restored record does not know how many its lost days
/// had signed; devices do, and take nothing that is older. Above all of them is what the next epoch begins with.
const VERSIONS_AN_EPOCH: u64 = 1_000_000;
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
        self.signers.can_serve(&spec)?;
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
        self.signers.follow(&spec);
        Ok(())
    }

    /// Remembers which files a role names, and marks the bundles it releases.
    pub(super) async fn index(
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

    /// Signs snapshot and timestamp anew when they have used up half of their time, or are of an epoch before a restore.
    /// Whether it did.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn refresh(&self, now: UnixMs) -> Result<bool, TrustRepoError> {
        let before = first_version(self.store.epoch().await?);
        let due = async |role: &str, validity_h: u64| -> Result<bool, TrustRepoError> {
            let Some(bytes) = self.store.role_bytes(role, None).await? else { return Ok(false) };
            let (version, expires) = edit::head_of(role, &bytes)?;
            Ok(version < before || expires < now.plus_ms(validity_h * HOUR_MS / 2))
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
    pub(super) async fn make_current(&self, tx: &mut Tx, now: UnixMs) -> Result<(), TrustRepoError> {
        let root = current_root(tx).await?;
        let meta = store::trust::targets_versions(tx).await?;
        let meta = meta.into_iter().map(|(role, v)| (format!("{role}.json"), v)).collect();
        let version = self.next_version(tx, "snapshot").await?;
        let expires = now.plus_ms(self.validity.snapshot_d * 24 * HOUR_MS);
        let mut snapshot = edit::snapshot(version, expires, meta).issued(now);
        snapshot.sign(&*self.signers.snapshot(&root)?);
        let bytes = snapshot.to_bytes();
        store::trust::publish(tx, "snapshot", version, &bytes, now).await?;
        self.sign_timestamp(tx, &bytes, version, now).await
    }

    async fn next_version(&self, tx: &mut Tx, role: &str) -> Result<u64, TrustRepoError> {
        let newest = store::trust::newest_version(tx, role).await?.unwrap_or(0);
        Ok(first_version(self.store.epoch().await?).max(newest + 1))
    }

    async fn sign_timestamp(
        &self,
        tx: &mut Tx,
        snapshot: &[u8],
        snapshot_version: u64,
        now: UnixMs,
    ) -> Result<(), TrustRepoError> {
        let version = self.next_version(tx, "timestamp").await?;
        let expires = now.plus_ms(self.validity.timestamp_h * HOUR_MS);
        let mut timestamp = edit::timestamp(version, expires, snapshot, snapshot_version).issued(now);
        timestamp.sign(&*self.signers.timestamp(&current_root(tx).await?)?);
        store::trust::publish(tx, "timestamp", version, &timestamp.to_bytes(), now).await?;
        store::trust::prune_online(tx, KEEP_SNAPSHOTS).await?;
        Ok(())
    }
}

/// The first version of snapshot and timestamp in an epoch of the fleet.
fn first_version(epoch: u64) -> u64 {
    epoch.saturating_sub(1) * VERSIONS_AN_EPOCH + 1
}

/// The root under which the server signs.
async fn current_root(tx: &mut Tx) -> Result<RootSpec, TrustRepoError> {
    let (_, root) = store::trust::newest(tx, "root")
        .await?
        .ok_or_else(|| TrustRepoError::refused("root", "none is published: run `longshore-fleet init`"))?;
    Ok(edit::read_root(&root)?)
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
