//! `longshore keys init`: every key of a new fleet, sorted by who must hold it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use longshore_trust::tuf::edit::{self, RoleKeys, RootSpec, TargetsSpec};
use longshore_trust::{FleetId, PublicKey, SigningKey, UnixMs};
use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::private::{KeyFile, generate};
use super::{InitArgs, passphrase};
use crate::context::{Context, Failure};
use crate::trust_store::write_durably;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Validity of root and targets.
const VALID_MS: u64 = 365 * DAY_MS;

/// `fleet.json`: which fleet this is, and who approves its models. Public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetFile {
    /// Always 1.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// Whether one key alone can approve.
    pub solo: bool,
    /// Hex of the release keys (ed25519): new models are delegated to them.
    pub release_keys: Vec<String>,
    /// How many of them must sign.
    pub release_threshold: u32,
}

impl FleetFile {
    /// From the operator's trust store.
    pub fn read(trust_dir: &Path) -> Result<Self, Failure> {
        let path = trust_dir.join("fleet.json");
        let bad = |why: String| Failure::usage(format!("{} cannot be used: {why}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| bad(e.to_string()))?;
        serde_json::from_str(&text).map_err(|e| bad(e.to_string()))
    }
    /// Lets `keys` approve models.
    pub(super) fn set_release(&mut self, keys: &RoleKeys) {
        self.release_keys = keys.keys.iter().map(|k| hex::encode(k.raw())).collect();
        self.release_threshold = keys.threshold;
    }
    /// Writes it into the trust store unless it says what `before` says. Whether it did.
    pub(super) fn write_if_changed(&self, trust_dir: &Path, before: &Self) -> Result<bool, Failure> {
        if self == before {
            return Ok(false);
        }
        write_durably(&trust_dir.join("fleet.json"), &self.to_json())?;
        Ok(true)
    }
    fn to_json(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self).expect("strings and numbers always encode");
        out.push(b'\n');
        out
    }
    /// Who approves models.
    pub fn release(&self) -> Result<RoleKeys, Failure> {
        let keys = self.release_keys.iter().map(|key| {
            let raw = hex::decode(key).unwrap_or_default();
            PublicKey::ed25519(&raw)
                .map_err(|e| Failure::usage(format!("fleet.json names {key:?} as a release key: {e}")))
        });
        Ok(RoleKeys { keys: keys.collect::<Result<_, _>>()?, threshold: self.release_threshold })
    }
}

/// Keys of one role, with who they are for.
struct Holders {
    role: &'static str,
    keys: Vec<SigningKey>,
    threshold: u32,
}

impl Holders {
    fn new(role: &'static str, count: usize, threshold: u32) -> Result<Self, Failure> {
        let keys = (0..count).map(|_| generate()).collect::<Result<_, _>>()?;
        Ok(Self { role, keys, threshold })
    }
    fn public(&self) -> RoleKeys {
        RoleKeys { keys: self.keys.iter().map(SigningKey::public).collect(), threshold: self.threshold }
    }
    fn sign(&self, document: &mut edit::Signed) {
        for key in &self.keys {
            document.sign(key);
        }
    }
}

/// Files to be made, relative to the folder; `true` for what only the owner may read.
type Files = BTreeMap<PathBuf, (bool, Vec<u8>)>;

/// Runs it.
pub(super) fn run(context: &Context, args: &InitArgs) -> Result<(), Failure> {
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-keys", args.fleet)));
    refuse_to_overwrite(&out)?;
    let passphrase = passphrase::for_new_keys(&args.passphrase)?;
    let files = make(&args.fleet, args.solo, passphrase.as_ref().map(|p| p.as_str()), Timestamp::now())?;
    write_all(&out, &files)?;
    report(context, args, &out, &files, passphrase.is_some());
    Ok(())
}

fn make(fleet: &FleetId, solo: bool, passphrase: Option<&str>, now: Timestamp) -> Result<Files, Failure> {
    let (count, threshold) = if solo { (1, 1) } else { (3, 2) };
    let root = Holders::new("root", count, threshold)?;
    let targets = Holders::new("targets", count, threshold)?;
    let release = Holders::new("release", count, threshold)?;
    let snapshot = Holders::new("snapshot", 1, 1)?;
    let timestamp = Holders::new("timestamp", 1, 1)?;
    let director = Holders::new("director", 1, 1)?;
    let time = Holders::new("time", 1, 1)?;
    let now_ms = UnixMs(u64::try_from(now.as_millisecond()).unwrap_or(0));

    let mut root_json = edit::root(&RootSpec {
        version: 1,
        expires: now_ms.plus_ms(VALID_MS),
        fleet: fleet.clone(),
        solo,
        root: root.public(),
        targets: targets.public(),
        snapshot: snapshot.public(),
        timestamp: timestamp.public(),
        director: director.public(),
        time: Some(time.public()),
    })
    .issued(now_ms);
    root.sign(&mut root_json);
    let mut targets_json = edit::targets(&TargetsSpec {
        version: 1,
        expires: now_ms.plus_ms(VALID_MS),
        targets: BTreeMap::new(),
        delegations: Vec::new(),
    })
    .issued(now_ms);
    targets.sign(&mut targets_json);
    let fleet_file = FleetFile {
        schema: 1,
        fleet: fleet.clone(),
        solo,
        release_keys: release.keys.iter().map(|k| hex::encode(k.public().raw())).collect(),
        release_threshold: threshold,
    };
    let fleet_json = fleet_file.to_json();
    let ca = Authority::new(fleet, now)?;

    let mut files = Files::new();
    for holders in [&root, &targets, &release] {
        for (n, key) in holders.keys.iter().enumerate() {
            let path = Path::new("offline").join(format!("{}-{}.key", holders.role, n + 1));
            let file = KeyFile::seal(holders.role, key, passphrase)?;
            files.insert(path, (true, file.to_json().to_vec()));
        }
    }
    for holders in [&snapshot, &timestamp, &director, &time] {
        let path = Path::new("online").join(format!("{}.key", holders.role));
        files.insert(path, (true, KeyFile::online(&holders.keys[0]).to_json().to_vec()));
    }
    files.insert("online/ca.key".into(), (true, ca.key_pem.as_bytes().to_vec()));
    for dir in ["trust", "online"] {
        let mut public = |name: &str, bytes: Vec<u8>| files.insert(Path::new(dir).join(name), (false, bytes));
        public("fleet.json", fleet_json.clone());
        public("1.root.json", root_json.to_bytes());
        public("1.targets.json", targets_json.to_bytes());
        public("ca.pem", ca.cert_pem.as_bytes().to_vec());
    }
    Ok(files)
}

/// Unencrypted keys in `out`, for tests of other modules.
#[cfg(test)]
pub(super) fn make_in(out: &Path, fleet: &FleetId, solo: bool) {
    write_all(out, &make(fleet, solo, None, Timestamp::now()).unwrap()).unwrap();
}

fn refuse_to_overwrite(out: &Path) -> Result<(), Failure> {
    let empty = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(e) => return Err(Failure::usage(format!("cannot use {}: {e}", out.display()))),
    };
    if empty {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is not empty and keys are never overwritten: name another folder with --out",
        out.display()
    )))
}

/// Writes into a folder beside `out` and renames it at the end, so that `out` is complete or absent.
fn write_all(out: &Path, files: &Files) -> Result<(), Failure> {
    let name = out.file_name().ok_or_else(|| Failure::usage("--out needs a folder name"))?;
    let partial = out.with_file_name(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
    let written = write_into(&partial, files).and_then(|()| std::fs::rename(&partial, out));
    written.map_err(|e| {
        let _ = std::fs::remove_dir_all(&partial);
        Failure::refused("io", format!("cannot write the keys to {}: {e}; nothing was made", out.display()))
    })
}

fn write_into(dir: &Path, files: &Files) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    for (path, (secret, bytes)) in files {
        let path = dir.join(path);
        let parent = path.parent().unwrap_or(dir);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let mode = if *secret { 0o600 } else { 0o644 };
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

fn report(context: &Context, args: &InitArgs, out: &Path, files: &Files, encrypted: bool) {
    if context.json() {
        let list: Vec<String> = files.keys().map(|p| p.display().to_string()).collect();
        let value = serde_json::json!({
            "ok": true, "fleet": args.fleet, "solo": args.solo, "encrypted": encrypted, "out": out, "files": list,
        });
        println!("{value}");
        return;
    }
    let dir = out.display();
    let kind = if args.solo { "one key a role (solo)" } else { "2 of 3 keys a role" };
    println!("Made the keys of fleet {}, {kind}, in {dir}\n", args.fleet);
    println!(
        "  {dir}/offline   the keys that approve. Keep them off every server: each on its own stick, with its holder."
    );
    if args.solo {
        println!(
            "                  root-1, targets-1: lock away. release-1: needed for each `longshore approve`."
        );
    } else {
        println!(
            "                  root-N, targets-N: lock away. release-N: one to each release manager; two must approve."
        );
    }
    let state = if encrypted {
        "encrypted with your passphrase"
    } else {
        "NOT ENCRYPTED: whoever copies them can approve models"
    };
    println!("                  They are {state}.");
    println!(
        "  {dir}/trust     public. For every operator: the trust store that commands check the server against."
    );
    println!(
        "  {dir}/online    for the server, and for nobody else: it cannot approve models, only assign approved ones.\n"
    );
    println!("Next:");
    println!(
        "  longshore-fleet init --online {dir}/online --data DATA     on the server; then delete {dir}/online here"
    );
    println!("  longshore login --url URL --trust {dir}/trust");
    if args.solo {
        println!(
            "\nThis fleet counts as solo: one stolen key is enough to approve a model. Console and reports say so."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_trust::tuf::Trusted;

    fn made(solo: bool) -> Files {
        make(&"harbour".parse().unwrap(), solo, None, Timestamp::now()).unwrap()
    }
    fn trusted(files: &Files) -> Trusted {
        let root = files[Path::new("trust/1.root.json")].1.clone();
        Trusted::load(&BTreeMap::from([("root.json".to_owned(), root)]), None).unwrap()
    }

    #[test]
    fn a_solo_fleet_has_one_key_a_role_and_says_so_in_its_root() {
        let files = made(true);
        let keys = files.keys().filter(|p| p.starts_with("offline")).count();
        assert_eq!(keys, 3);
        let trusted = trusted(&files);
        assert!(trusted.solo());
        assert_eq!(trusted.fleet().unwrap().as_str(), "harbour");
        let spec = edit::read_root(&files[Path::new("online/1.root.json")].1).unwrap();
        assert_eq!((spec.root.threshold, spec.targets.threshold), (1, 1));
        assert_eq!(spec.director.keys, vec![trusted.director().unwrap()]);
    }
    #[test]
    fn without_solo_two_of_three_are_needed() {
        let files = made(false);
        assert_eq!(files.keys().filter(|p| p.starts_with("offline")).count(), 9);
        let spec = edit::read_root(&files[Path::new("trust/1.root.json")].1).unwrap();
        assert_eq!((spec.root.keys.len(), spec.root.threshold), (3, 2));
        assert_eq!((spec.targets.keys.len(), spec.targets.threshold), (3, 2));
        assert!(!spec.solo);
        let fleet: FleetFile = serde_json::from_slice(&files[Path::new("trust/fleet.json")].1).unwrap();
        let release = fleet.release().unwrap();
        assert_eq!((release.keys.len(), release.threshold), (3, 2));
    }
    #[test]
    fn every_private_key_is_for_its_owner_only_and_nothing_else_is_private() {
        for (path, (secret, bytes)) in made(true) {
            let is_key = path.extension().is_some_and(|e| e == "key");
            assert_eq!(secret, is_key, "{}", path.display());
            let text = String::from_utf8(bytes).unwrap();
            let private = text.contains("\"seed\"") || text.contains("PRIVATE KEY");
            assert_eq!(private, is_key, "{}", path.display());
        }
    }
    #[test]
    fn keys_are_never_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("keys");
        write_all(&out, &made(true)).unwrap();
        let mode = std::fs::metadata(out.join("offline/root-1.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refusal = refuse_to_overwrite(&out).unwrap_err();
        assert_eq!(refusal.exit, 2);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no half-made folder is left");
    }
}
