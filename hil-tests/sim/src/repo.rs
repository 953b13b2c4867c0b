//! What offline keys approved, as real TUF metadata, and what a device makes of it.
//!
//! Every publication is signed with real keys. A device that refreshes goes from the trust it had to the trust it has by
//! the verifier of `shared/trust`; because that is pure, each step from one to the other is verified once and remembered.

use std::collections::BTreeMap;

use longshore_agent_core::{TargetView, TargetsView};
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::tuf::{Change, ReleaseInfo, RollbackOk, TargetInfo, Trusted, Updater, drive, file_of};
use longshore_trust::{
    Digest, Envelope, FleetId, Kind, ModelName, PublicKey, ReleaseCounter, SigningKey, UnixMs, Verified,
};

use crate::message::BundleNo;

/// Metadata outlives every run: freezing it is not simulated.
const FAR: UnixMs = UnixMs(4_000_000_000_000);

/// A bundle that exists, approved or not.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: Digest,
    /// Path of its manifest.
    pub path: String,
    /// Length of its manifest, bytes.
    pub length: u64,
    /// Its release counter.
    pub counter: ReleaseCounter,
    /// Bundles to which offline keys signed a way back from it.
    pub ways_back: Vec<BundleNo>,
    /// Offline keys approved it.
    pub approved: bool,
}

/// What one device trusts, shared by all that trust the same.
struct Trust {
    stored: BTreeMap<String, Vec<u8>>,
    view: TargetsView,
    director: usize,
}

/// The catalogue, its metadata and the keys.
pub struct Repo {
    /// The fleet.
    pub fleet: FleetId,
    /// The model.
    pub model: ModelName,
    bundles: Vec<Bundle>,
    offline: Vec<SigningKey>,
    online: SigningKey,
    directors: Vec<SigningKey>,
    proofs: Vec<Verified<Vec<u8>>>,
    root_version: u64,
    director: usize,
    published: Vec<BTreeMap<String, Vec<u8>>>,
    trusts: Vec<Trust>,
    steps: BTreeMap<(usize, usize), usize>,
}

fn sign(mut document: Signed, keys: &[SigningKey]) -> Vec<u8> {
    for key in keys {
        document.sign(key);
    }
    document.to_bytes()
}
fn role(keys: &[SigningKey], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(SigningKey::public).collect(), threshold }
}

impl Repo {
    /// The catalogue: number 0 is the version that is never rolled out again, 1 the one that runs, the others come after it.
    /// The last one is not approved by anybody. With `way_back`, each approved version names all that came before it.
    #[must_use]
    pub fn new(seed: u64, versions: u8, way_back: bool) -> Self {
        let key = |n: u8| {
            let mut bytes = [n; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            SigningKey::from_seed(&bytes)
        };
        let model: ModelName = "meter".parse().expect("a valid name");
        let bundle = |n: u8| Bundle {
            version: format!("{n}.0.0"),
            digest: Digest::of(&[b'b', n]),
            path: format!("{model}/{n}.0.0/manifest.json"),
            length: 1_000 + u64::from(n),
            counter: ReleaseCounter(u64::from(n) + 1),
            ways_back: if way_back && n >= 2 { (1..n).rev().collect() } else { vec![] },
            approved: n < versions,
        };
        let bundles = (0..=versions).map(bundle).collect();
        let mut repo = Self {
            fleet: "sim".parse().expect("a valid id"),
            model,
            bundles,
            offline: vec![key(1), key(2), key(3)],
            online: key(4),
            directors: Vec::new(),
            proofs: Vec::new(),
            root_version: 0,
            director: 0,
            published: Vec::new(),
            trusts: Vec::new(),
            steps: BTreeMap::new(),
        };
        repo.new_director(key(5));
        let root = repo.published[0]["1.root.json"].clone();
        let stored = BTreeMap::from([("root.json".to_owned(), root)]);
        repo.trusts.push(Trust { stored, view: TargetsView::default(), director: 0 });
        repo
    }
    /// The bundles.
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }
    /// One bundle.
    #[must_use]
    pub fn bundle(&self, n: BundleNo) -> &Bundle {
        &self.bundles[usize::from(n)]
    }
    /// Number of a bundle.
    #[must_use]
    pub fn number(&self, digest: &Digest) -> Option<BundleNo> {
        self.bundles.iter().position(|b| b.digest == *digest).and_then(|n| BundleNo::try_from(n).ok())
    }
    /// The bundle that nobody approved.
    #[must_use]
    pub fn unapproved(&self) -> &Bundle {
        self.bundles.last().expect("there is always one")
    }
    /// Number of the key with which the director signs now.
    #[must_use]
    pub fn director(&self) -> usize {
        self.director
    }
    /// A key of the director.
    #[must_use]
    pub fn key(&self, n: usize) -> &SigningKey {
        &self.directors[n]
    }
    /// That key, as others know it.
    #[must_use]
    pub fn public(&self, n: usize) -> PublicKey {
        self.directors[n].public()
    }
    /// An envelope of that key was really opened: stands for every message of the same signer.
    #[must_use]
    pub fn proof(&self, key: usize) -> Verified<Vec<u8>> {
        self.proofs[key].clone()
    }
    /// Offline keys sign a root that names a new director.
    pub fn rotate(&mut self) {
        let mut bytes = *self.directors[self.director].seed();
        bytes[31] = bytes[31].wrapping_add(1);
        bytes[30] = 9;
        self.new_director(SigningKey::from_seed(&bytes));
    }

    fn new_director(&mut self, key: SigningKey) {
        let sealed = Envelope::seal(Kind::Assignment, b"proof".to_vec(), &key).expect("it is short");
        let proof = Envelope::open(&sealed, Kind::Assignment, &key.public()).expect("it was just signed");
        self.proofs.push(proof);
        self.directors.push(key);
        self.director = self.directors.len() - 1;
        self.root_version += 1;
        self.publish();
    }
    fn publish(&mut self) {
        let version = self.root_version;
        let online = std::slice::from_ref(&self.online);
        let root = RootSpec {
            version,
            expires: FAR,
            fleet: self.fleet.clone(),
            solo: false,
            root: role(&self.offline, 2),
            targets: role(&self.offline, 2),
            snapshot: role(online, 1),
            timestamp: role(online, 1),
            director: role(std::slice::from_ref(&self.directors[self.director]), 1),
            time: None,
        };
        let name = format!("models/{}", self.model);
        let top = TargetsSpec {
            version: 1,
            expires: FAR,
            targets: BTreeMap::new(),
            delegations: vec![DelegationSpec {
                role: name.clone(),
                keys: role(&self.offline, 2),
                paths: vec![format!("{}/*/*", self.model)],
                terminating: true,
            }],
        };
        let info = |b: &Bundle| {
            let rollback_ok =
                b.ways_back.iter().map(|to| RollbackOk { from: b.digest, to: self.bundle(*to).digest });
            let info =
                ReleaseInfo { release_counter: b.counter, rollback_ok: rollback_ok.collect(), hw: vec![] };
            TargetInfo { length: b.length, sha256: b.digest, custom: info.to_custom() }
        };
        let targets = self.bundles.iter().filter(|b| b.approved).map(|b| (b.path.clone(), info(b))).collect();
        let of_model = TargetsSpec { version: 1, expires: FAR, targets, delegations: vec![] };
        let two = &self.offline[..2];
        let meta = BTreeMap::from([("targets.json".to_owned(), 1), (format!("{name}.json"), 1)]);
        let snapshot = sign(edit::snapshot(version, FAR, meta), online);
        let mut files = self.published.last().cloned().unwrap_or_default();
        files.insert(format!("{version}.root.json"), sign(edit::root(&root), two));
        files.insert("1.targets.json".into(), sign(edit::targets(&top), two));
        files.insert(format!("1.{}", file_of(&name)), sign(edit::targets(&of_model), two));
        files
            .insert("timestamp.json".into(), sign(edit::timestamp(version, FAR, &snapshot, version), online));
        files.insert(format!("{version}.snapshot.json"), snapshot);
        self.published.push(files);
    }

    /// A device that trusts `from` refreshes now: what it trusts then.
    ///
    /// # Errors
    /// What the verifier says, which would be a bug of this simulator or of the verifier.
    pub fn refresh(&mut self, from: usize) -> Result<usize, String> {
        let newest = self.published.len() - 1;
        if let Some(to) = self.steps.get(&(from, newest)) {
            return Ok(*to);
        }
        let trust = self.verify(&self.trusts[from].stored, &self.published[newest])?;
        let to = match self.trusts.iter().position(|t| t.stored == trust.stored) {
            Some(known) => known,
            None => {
                self.trusts.push(trust);
                self.trusts.len() - 1
            }
        };
        self.steps.insert((from, newest), to);
        Ok(to)
    }
    fn verify(
        &self,
        stored: &BTreeMap<String, Vec<u8>>,
        served: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Trust, String> {
        let paths: Vec<String> = self.bundles.iter().map(|b| b.path.clone()).collect();
        let mut stored = stored.clone();
        let mut updater = Updater::new(stored.clone(), UnixMs(1)).map_err(|e| e.to_string())?;
        updater.refresh(&paths);
        let fetched = drive(&mut updater, &mut |name, _| Ok(served.get(name).cloned()), &mut |change| {
            match change {
                Change::Write { file, bytes } => stored.insert(file, bytes),
                Change::Remove { file } => stored.remove(&file),
            };
            Ok(())
        });
        fetched.map_err(|e| e.to_string())?;
        let trusted = updater.trusted();
        let signer = trusted.director().ok_or("the root names no director")?;
        let director = self.directors.iter().position(|k| k.public() == signer);
        let director = director.ok_or("the root names a director that this simulator did not make")?;
        Ok(Trust { stored, view: view(trusted, &paths), director })
    }
    /// What a device that trusts this holds assignments against.
    #[must_use]
    pub fn view(&self, trust: usize) -> TargetsView {
        self.trusts[trust].view.clone()
    }
    /// The director whom a device that trusts this obeys.
    #[must_use]
    pub fn director_of(&self, trust: usize) -> usize {
        self.trusts[trust].director
    }
}

fn view(trusted: &Trusted, paths: &[String]) -> TargetsView {
    let target = |path: &String| {
        let (_, info) = trusted.target(path)?;
        let release = ReleaseInfo::from_custom(&info.custom).ok()?;
        let view = TargetView {
            length: info.length,
            sha256: info.sha256,
            release_counter: release.release_counter,
            rollback_ok: release.rollback_ok.iter().map(|r| (r.from, r.to)).collect(),
            hw: release.hw,
        };
        Some((path.clone(), view))
    };
    TargetsView { versions: trusted.versions(), targets: paths.iter().filter_map(target).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_followed_and_only_what_was_approved_is_a_target() {
        let mut repo = Repo::new(1, 3, true);
        let first = repo.refresh(0).unwrap();
        assert_eq!(repo.director_of(first), 0);
        let view = repo.view(first);
        assert_eq!(view.targets.len(), 3);
        assert!(!view.targets.contains_key(&repo.unapproved().path));
        let way = (repo.bundle(2).digest, repo.bundle(1).digest);
        assert_eq!(view.targets[&repo.bundle(2).path].rollback_ok, vec![way]);
        repo.rotate();
        let second = repo.refresh(first).unwrap();
        assert_eq!((repo.director_of(second), repo.director()), (1, 1));
        assert_eq!(repo.refresh(second).unwrap(), second, "nothing new");
        assert_eq!(repo.refresh(0).unwrap(), second, "a device that slept takes both steps at once");
    }
}
