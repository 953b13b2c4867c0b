//! Taking signed metadata: one document that gathers its signatures here, or the documents of a ceremony together.

use std::collections::BTreeMap;

use longshore_trust::tuf::ceremony::{Draft, Offline, Seat, Side};
use longshore_trust::tuf::edit::{self, RoleKeys, Signed};
use longshore_trust::{ModelName, UnixMs};

use super::{Submitted, TrustRepo, TrustRepoError, merge};
use crate::events::FleetEvent;
use crate::store::{self, Tx, audit};

impl TrustRepo {
    /// Takes signed metadata of `root`, `targets` or `models/<name>`: publishes it when its threshold is met, keeps it
    /// with the signatures it has otherwise. `actor` goes into the audit log with it.
    ///
    /// # Errors
    /// [`TrustRepoError`] says what is wrong and what to do; nothing is changed then.
    pub async fn submit(
        &self,
        actor: &str,
        role: &str,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<Submitted, TrustRepoError> {
        let document = Signed::from_bytes(bytes)?;
        let version = document.version();
        let mut tx = self.store.write().await?;
        let published = published(&mut tx).await?;
        let draft = Draft::new(BTreeMap::from([(role.to_owned(), document)]))?;
        if let Some(old) = published_already(&mut tx, role, &draft).await? {
            let keys = present_keys(&published, role)?;
            let signatures = edit::valid_signatures(&old, &keys)?;
            return Ok(Submitted::Published { version, signatures, threshold: keys.threshold });
        }
        published.check(&draft, now)?;
        let seats = published.seats(&draft)?;
        if seats.iter().all(|s| s.signers.is_empty()) {
            return Err(TrustRepoError::refused(
                role,
                "no key of this role has signed it: sign it with a key that the present metadata names",
            ));
        }
        let pending = store::trust::pending(&mut tx, role, version).await?;
        let merged = merge::collect(bytes, pending.as_deref(), &keys_of(&seats, role))?;
        let draft = Draft::new(BTreeMap::from([(role.to_owned(), Signed::from_bytes(&merged)?)]))?;
        let missing = published.check(&draft, now)?;
        if role == "root" {
            self.signers.can_serve(&edit::read_root(&merged)?)?;
        }
        let first = published.seats(&draft)?.into_iter().next();
        let (signatures, threshold) = first.map_or((0, 0), |s| (s.signers.len(), s.keys.threshold));
        if !missing.is_empty() {
            store::trust::set_pending(&mut tx, role, version, &merged, now).await?;
            let detail = format!("version {version}: {signatures} of {threshold} signatures");
            audit::record(&mut tx, now, actor, "trust.submit", role, &detail).await?;
            tx.commit().await?;
            return Ok(Submitted::Pending { version, signatures, threshold });
        }
        let documents = BTreeMap::from([(role.to_owned(), merged)]);
        self.publish_all(&mut tx, &documents, now).await?;
        let detail = format!("version {version} published");
        audit::record(&mut tx, now, actor, "trust.submit", role, &detail).await?;
        tx.commit().await?;
        self.announce(&documents)?;
        Ok(Submitted::Published { version, signatures, threshold })
    }

    /// Publishes the documents of a ceremony in one step, or none of them. What is published already is left out.
    /// Gives each role with its version now.
    ///
    /// # Errors
    /// [`TrustRepoError`] says what is wrong and what to do; nothing is changed then.
    pub async fn submit_together(
        &self,
        documents: &BTreeMap<String, Vec<u8>>,
        actor: &str,
        now: UnixMs,
    ) -> Result<Vec<(String, u64)>, TrustRepoError> {
        let mut tx = self.store.write().await?;
        let published = published(&mut tx).await?;
        let read = documents.iter().map(|(role, bytes)| Ok((role.clone(), Signed::from_bytes(bytes)?)));
        let draft = Draft::new(read.collect::<Result<_, TrustRepoError>>()?)?;
        let versions = draft.documents().map(|(role, d)| (role.to_owned(), d.version())).collect();
        let mut news = BTreeMap::new();
        for (role, document) in draft.documents() {
            if published_already(&mut tx, role, &draft).await?.is_none() {
                news.insert(role.to_owned(), document.clone());
            }
        }
        if news.is_empty() && !documents.is_empty() {
            return Ok(versions);
        }
        let draft = Draft::new(news)?;
        if let Some(seat) = published.check(&draft, now)?.into_iter().next() {
            let whose = match seat.side {
                Side::Present => "the keys that are published",
                Side::New => "the keys that the draft names",
            };
            let (have, need) = (seat.signers.len(), seat.keys.threshold);
            return Err(TrustRepoError::Incomplete { role: seat.role, whose, have, need });
        }
        let seats = published.seats(&draft)?;
        let mut accepted = BTreeMap::new();
        for (role, document) in draft.documents() {
            let bytes = merge::collect(&document.to_bytes(), None, &keys_of(&seats, role))?;
            if role == "root" {
                self.signers.can_serve(&edit::read_root(&bytes)?)?;
            }
            accepted.insert(role.to_owned(), bytes);
        }
        self.publish_all(&mut tx, &accepted, now).await?;
        for (role, document) in draft.documents() {
            let detail = format!("version {} published", document.version());
            audit::record(&mut tx, now, actor, "trust.submit", role, &detail).await?;
        }
        tx.commit().await?;
        self.announce(&accepted)?;
        Ok(versions)
    }

    /// Publishes checked documents, and one snapshot and timestamp that name them.
    async fn publish_all(
        &self,
        tx: &mut Tx,
        documents: &BTreeMap<String, Vec<u8>>,
        now: UnixMs,
    ) -> Result<(), TrustRepoError> {
        for (role, bytes) in documents {
            let version = Signed::from_bytes(bytes)?.version();
            store::trust::publish(tx, role, version, bytes, now).await?;
            if role != "root" {
                self.index(tx, role, &edit::read_targets(bytes)?, now).await?;
            }
        }
        self.make_current(tx, now).await
    }

    /// After the commit: the keys of a new root sign from now on, and everybody hears of the news.
    fn announce(&self, documents: &BTreeMap<String, Vec<u8>>) -> Result<(), TrustRepoError> {
        for (role, bytes) in documents {
            tracing::info!(role, version = Signed::from_bytes(bytes)?.version(), "published trust metadata");
            if role == "root" {
                self.signers.follow(&edit::read_root(bytes)?);
            }
            if let Some(model) = role.strip_prefix("models/").and_then(|m| m.parse::<ModelName>().ok()) {
                self.events.publish(FleetEvent::Model(model));
            }
        }
        self.events.publish(FleetEvent::Summary);
        self.gateway.doorbell();
        Ok(())
    }
}

async fn published(tx: &mut Tx) -> Result<Offline, TrustRepoError> {
    let bytes = store::trust::newest_offline(tx).await?;
    if !bytes.contains_key("root") {
        return Err(TrustRepoError::refused("root", "none is published: run `longshore-fleet init`"));
    }
    Ok(Offline::new(bytes)?)
}

/// The published bytes of `role`, if they say exactly what the draft says.
async fn published_already(
    tx: &mut Tx,
    role: &str,
    draft: &Draft,
) -> Result<Option<Vec<u8>>, TrustRepoError> {
    let Some((_, old)) = store::trust::newest(tx, role).await? else { return Ok(None) };
    let same = draft.get(role).map(Signed::message) == Some(Signed::from_bytes(&old)?.message());
    Ok(same.then_some(old))
}

/// The keys of `role` by published metadata.
fn present_keys(published: &Offline, role: &str) -> Result<RoleKeys, TrustRepoError> {
    let delegations = published.targets().map(|t| t.delegations.as_slice()).unwrap_or_default();
    match role {
        "root" => Ok(published.root().root.clone()),
        "targets" => Ok(published.root().targets.clone()),
        _ => {
            delegations.iter().find(|d| d.role == role).map(|d| d.keys.clone()).ok_or_else(|| {
                TrustRepoError::refused(role, "targets metadata does not delegate to this role")
            })
        }
    }
}

/// Keys whose signatures are worth collecting: of a new root, its own too.
fn keys_of(seats: &[Seat], role: &str) -> RoleKeys {
    let mut keys = RoleKeys { keys: Vec::new(), threshold: 1 };
    for key in seats.iter().filter(|s| s.role == role).flat_map(|s| &s.keys.keys) {
        if !keys.keys.contains(key) {
            keys.keys.push(key.clone());
        }
    }
    keys
}
