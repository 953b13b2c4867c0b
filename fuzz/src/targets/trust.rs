//! TUF metadata, canonical JSON and signed envelopes.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use longshore_trust::tuf::edit::{
    DelegationSpec, RoleKeys, RootSpec, Signed, TargetsSpec, root, snapshot, targets, timestamp,
};
use longshore_trust::tuf::{Change, TargetInfo, Trusted, Updater, canonical, drive, file_of, parse_json};
use longshore_trust::{Digest, Envelope, Kind, SigningKey, UnixMs};
use serde_json::{Map, Value};

pub fn json_seeds() -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> =
        ["{}", "[1,-2,9007199254740991]", r#"{"b":[],"a":"\u00e9\ud83d\ude00\"\\","c":null}"#]
            .iter()
            .map(|s| s.as_bytes().to_vec())
            .collect();
    out.push(Repository::new().root);
    out
}

/// Reads, writes canonically, reads again; what is accepted here is accepted by others, with the same meaning.
pub fn canonical_json(bytes: &[u8]) {
    let Ok(tree) = parse_json(bytes) else { return };
    let once = canonical(&tree);
    let again = parse_json(&once);
    // Control characters stay as they are in this canonical form, which is then no JSON.
    if !once.iter().any(|b| *b < 0x20) {
        assert_eq!(again.as_ref(), Ok(&tree), "canonical form reads back");
        assert_eq!(canonical(&again.unwrap_or_default()), once, "and is the same again");
    }
    let common: Value = serde_json::from_slice(bytes).expect("a common reader takes it as well");
    assert_eq!(common, tree, "and reads the same");
}

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const FAR: UnixMs = UnixMs(4_000_000_000_000);
/// Roles by their number in an input.
const ROLES: [&str; 5] = ["root", "timestamp", "snapshot", "targets", "models/m"];
const PATH: &str = "m/1.0.0/manifest.json";

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
fn role(n: u8) -> RoleKeys {
    RoleKeys { keys: vec![key(n).public()], threshold: 1 }
}

/// A small repository. Roles are numbered as in [`tuf`]'s inputs.
#[derive(Clone)]
struct Repository {
    root: Vec<u8>,
    next_root: Vec<u8>,
    timestamp: Vec<u8>,
    snapshot: Vec<u8>,
    targets: Vec<u8>,
    delegated: Vec<u8>,
}

impl Repository {
    /// Signing takes longer than all that is done with it: made once.
    fn new() -> Self {
        static MADE: OnceLock<Repository> = OnceLock::new();
        MADE.get_or_init(Self::make).clone()
    }
    fn make() -> Self {
        let spec = RootSpec {
            version: 1,
            expires: FAR,
            fleet: "demo".parse().expect("a name"),
            solo: true,
            root: role(1),
            targets: role(2),
            snapshot: role(3),
            timestamp: role(4),
            director: role(5),
            time: Some(role(7)),
        };
        let signed = |mut doc: Signed, n: u8| {
            doc.sign(&key(n));
            doc.to_bytes()
        };
        let file = TargetInfo { length: 3, sha256: Digest::of(b"abc"), custom: Map::new() };
        let delegation = DelegationSpec {
            role: "models/m".into(),
            keys: role(6),
            paths: vec!["m/*/*".into()],
            terminating: true,
        };
        let top =
            TargetsSpec { version: 1, expires: FAR, targets: BTreeMap::new(), delegations: vec![delegation] };
        let below = TargetsSpec {
            version: 1,
            expires: FAR,
            targets: BTreeMap::from([(PATH.to_owned(), file)]),
            delegations: vec![],
        };
        let meta = BTreeMap::from([("targets.json".to_owned(), 1), ("models/m.json".to_owned(), 1)]);
        let snapshot = signed(snapshot(1, FAR, meta), 3);
        Self {
            root: signed(root(&spec), 1),
            next_root: signed(root(&RootSpec { version: 2, ..spec }), 1),
            timestamp: signed(timestamp(1, FAR, &snapshot, 1), 4),
            snapshot,
            targets: signed(targets(&top), 2),
            delegated: signed(targets(&below), 6),
        }
    }
    fn slot(&mut self, n: u8) -> (&mut Vec<u8>, u8) {
        match n % 5 {
            0 => (&mut self.next_root, 1),
            1 => (&mut self.timestamp, 4),
            2 => (&mut self.snapshot, 3),
            3 => (&mut self.targets, 2),
            _ => (&mut self.delegated, 6),
        }
    }
}

pub fn tuf_seeds() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for n in 0..5u8 {
        let whole = Repository::new().slot(n).0.clone();
        let tree: Value = serde_json::from_slice(&whole).expect("it was just written");
        out.push([&[n, 0][..], &whole].concat());
        out.push([&[n, 1][..], tree["signed"].to_string().as_bytes()].concat());
    }
    out
}

/// One document of a repository is replaced: by these bytes as they are, or (odd second byte) by these signed with the key
/// that should sign them.
pub fn tuf(bytes: &[u8]) {
    let [which, how, document @ ..] = bytes else { return };
    let stolen = how % 2 == 1;
    let mut repository = Repository::new();
    let (slot, signer) = repository.slot(*which);
    let honest = slot.clone();
    let document = if stolen {
        let Ok(Value::Object(signed)) = parse_json(document) else { return };
        let unsigned = serde_json::json!({ "signatures": [], "signed": signed }).to_string();
        let Ok(mut doc) = Signed::from_bytes(unsigned.as_bytes()) else { return };
        doc.sign(&key(signer));
        doc.to_bytes()
    } else {
        document.to_vec()
    };
    *slot = document.clone();
    if stolen && which % 5 == 2 {
        let mut pinned = timestamp(1, FAR, &document, 1);
        pinned.sign(&key(4));
        repository.timestamp = pinned.to_bytes();
    }
    let stored = BTreeMap::from([("root.json".to_owned(), repository.root.clone())]);
    let mut updater = Updater::new(stored.clone(), NOW).expect("the first root is honest");
    updater.refresh(&[PATH.to_owned()]);
    let mut fetch = |name: &str, max: u64| {
        let found = match name {
            "2.root.json" => Some(&repository.next_root),
            "timestamp.json" => Some(&repository.timestamp),
            n if n.ends_with("snapshot.json") => Some(&repository.snapshot),
            n if n.contains("models") => Some(&repository.delegated),
            n if n.ends_with("targets.json") => Some(&repository.targets),
            _ => None,
        };
        Ok(found
            .map(|b| b[..b.len().min(usize::try_from(max).unwrap_or(usize::MAX).saturating_add(1))].to_vec()))
    };
    let mut kept = stored;
    let ended = drive(&mut updater, &mut fetch, &mut |change| {
        match change {
            Change::Write { file, bytes } => drop(kept.insert(file, bytes)),
            Change::Remove { file } => drop(kept.remove(&file)),
        }
        Ok(())
    });
    // What was kept under the name of the role that was replaced.
    if !stolen && kept.get(&file_of(ROLES[usize::from(which % 5)])) == Some(&document) {
        let signed = |b: &[u8]| parse_json(b).ok().map(|t| canonical(&t["signed"]));
        let old = signed(&repository.root);
        let found = signed(&document);
        assert!(found == signed(&honest) || found == old, "accepted, and nobody signed it");
    }
    if ended.is_ok() {
        Trusted::load(&kept, Some(NOW)).expect("what was accepted and kept is trusted after a restart");
    } else {
        // Whatever was kept before the refusal is at least readable.
        Trusted::load(&kept, None).expect("a refusal leaves the store usable");
    }
}

const BODIES: [(Kind, &[u8]); 3] =
    [(Kind::Report, b"a report"), (Kind::Assignment, b""), (Kind::Receipt, &[0xff; 40])];

pub fn envelope_seeds() -> Vec<Vec<u8>> {
    BODIES.iter().map(|(kind, body)| Envelope::seal(*kind, body.to_vec(), &key(9)).expect("short")).collect()
}

/// Nothing opens but what was sealed.
pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    let again = postcard::to_stdvec(&envelope).expect("it was read");
    assert_eq!(Envelope::parse(&again).as_ref(), Ok(&envelope), "encodes and parses the same");
    for kind in Kind::ALL {
        if let Ok(body) = Envelope::open(bytes, kind, &key(9).public()) {
            assert!(
                BODIES.iter().any(|(k, b)| *k == kind && *b == body.as_slice()),
                "nobody sealed this as {kind:?}"
            );
        }
    }
}
