//! A repository of which every document can be changed before it is signed, and a client that keeps what it is told to.

use std::collections::BTreeMap;

use longshore_trust::tuf::{self, Change, Trusted, TufError, Updater, edit};
use longshore_trust::{Digest, SigningKey, UnixMs};
use serde_json::{Value, json};

pub const DAY_MS: u64 = 24 * 3600 * 1000;
/// 2026-01-01T00:00:00Z
pub const NOW: UnixMs = UnixMs(1_767_225_600_000);
pub const SOON: &str = "2026-02-01T00:00:00Z";
pub const PAST: &str = "2025-12-31T23:59:59Z";

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
pub fn key_value(n: u8) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex::encode(key(n).public().raw())}})
}
pub fn key_id(n: u8) -> String {
    tuf::key_id(&key(n).public())
}

/// Which keys stand for which role.
pub const ROOT: u8 = 1;
pub const TIMESTAMP: u8 = 2;
pub const SNAPSHOT: u8 = 3;
pub const TARGETS: u8 = 4;
pub const RELEASE: u8 = 5;

/// `{signatures, signed}` with one signature of each key.
pub fn signed(document: &Value, keys: &[u8]) -> Vec<u8> {
    let message = tuf::canonical(document);
    let list: Vec<Value> = keys
        .iter()
        .map(|k| json!({"keyid": key_id(*k), "sig": hex::encode(key(*k).sign(&message))}))
        .collect();
    serde_json::to_vec(&json!({"signatures": list, "signed": document})).unwrap()
}

fn keyed(keys: &[u8]) -> Value {
    json!({"keyids": keys.iter().map(|k| key_id(*k)).collect::<Vec<_>>(), "threshold": 1})
}
pub fn head(kind: &str) -> Value {
    json!({"_type": kind, "spec_version": "1.0.34", "version": 1, "expires": SOON})
}
pub fn target(contents: &[u8]) -> Value {
    json!({"length": contents.len(), "hashes": {"sha256": Digest::of(contents).to_hex()}})
}
pub fn delegation(name: &str, keys: &[u8], paths: &[&str], terminating: bool) -> Value {
    let mut value = keyed(keys);
    value["name"] = name.into();
    value["paths"] = json!(paths);
    value["terminating"] = terminating.into();
    value
}

/// Documents (not yet signed), who signs each, and what is served.
pub struct Repo {
    pub root: Value,
    pub timestamp: Value,
    pub snapshot: Value,
    /// `targets` and delegated roles.
    pub roles: BTreeMap<String, Value>,
    pub signers: BTreeMap<String, Vec<u8>>,
    pub served: BTreeMap<String, Vec<u8>>,
    /// Whether snapshot and timestamp name hashes and lengths.
    pub hashes: bool,
}

impl Repo {
    /// Everything at version 1; the model role `models/m` names `m/1.0.0/manifest.json`.
    pub fn new() -> Self {
        let mut root = head("root");
        root["consistent_snapshot"] = true.into();
        root["keys"] = json!({});
        for k in 1..=5 {
            root["keys"][key_id(k)] = key_value(k);
        }
        root["roles"] = json!({
            "root": keyed(&[ROOT]), "timestamp": keyed(&[TIMESTAMP]),
            "snapshot": keyed(&[SNAPSHOT]), "targets": keyed(&[TARGETS]),
        });
        root["x-fleet"] = "harbour".into();
        let mut targets = head("targets");
        targets["targets"] = json!({});
        targets["delegations"] = json!({
            "keys": {key_id(RELEASE): key_value(RELEASE)},
            "roles": [delegation("models/m", &[RELEASE], &["m/*/*"], true)],
        });
        let mut model = head("targets");
        model["targets"] = json!({"m/1.0.0/manifest.json": target(b"manifest")});
        model["targets"]["m/1.0.0/manifest.json"]["custom"] = json!({"release_counter": 1});
        let mut snapshot = head("snapshot");
        snapshot["meta"] = json!({});
        let mut timestamp = head("timestamp");
        timestamp["meta"] = json!({});
        let signers = [
            ("root", ROOT),
            ("timestamp", TIMESTAMP),
            ("snapshot", SNAPSHOT),
            ("targets", TARGETS),
            ("models/m", RELEASE),
        ];
        let mut repo = Self {
            root,
            timestamp,
            snapshot,
            roles: BTreeMap::from([("targets".to_owned(), targets), ("models/m".to_owned(), model)]),
            signers: signers.into_iter().map(|(role, k)| (role.to_owned(), vec![k])).collect(),
            served: BTreeMap::new(),
            hashes: false,
        };
        repo.publish_root();
        repo.publish_role("targets");
        repo.publish_role("models/m");
        repo.publish_snapshot();
        repo.publish_timestamp();
        repo
    }
    pub fn document(&mut self, role: &str) -> &mut Value {
        match role {
            "root" => &mut self.root,
            "timestamp" => &mut self.timestamp,
            "snapshot" => &mut self.snapshot,
            _ => self.roles.get_mut(role).unwrap(),
        }
    }
    pub fn bump(&mut self, role: &str) {
        let document = self.document(role);
        document["version"] = (document["version"].as_u64().unwrap() + 1).into();
    }
    fn bytes(&mut self, role: &str) -> (u64, Vec<u8>) {
        let keys = self.signers[role].clone();
        let document = self.document(role);
        (document["version"].as_u64().unwrap_or(0), signed(document, &keys))
    }
    pub fn publish_root(&mut self) {
        let (version, bytes) = self.bytes("root");
        self.served.insert(format!("{version}.root.json"), bytes);
    }
    pub fn publish_role(&mut self, role: &str) {
        let (version, bytes) = self.bytes(role);
        self.snapshot["meta"][format!("{role}.json")] = self.meta(version, &bytes);
        self.served.insert(format!("{version}.{}", tuf::file_of(role)), bytes);
    }
    pub fn publish_snapshot(&mut self) {
        let (version, bytes) = self.bytes("snapshot");
        self.timestamp["meta"]["snapshot.json"] = self.meta(version, &bytes);
        self.served.insert(format!("{version}.snapshot.json"), bytes);
    }
    pub fn publish_timestamp(&mut self) {
        let (_, bytes) = self.bytes("timestamp");
        self.served.insert("timestamp.json".to_owned(), bytes);
    }
    fn meta(&self, version: u64, bytes: &[u8]) -> Value {
        if self.hashes {
            json!({"version": version, "length": bytes.len(), "hashes": {"sha256": Digest::of(bytes).to_hex()}})
        } else {
            json!({"version": version})
        }
    }
    /// One version up for each of `roles`, then snapshot and timestamp.
    pub fn release(&mut self, roles: &[&str]) {
        for role in roles {
            self.bump(role);
            if *role == "root" {
                self.publish_root();
            } else {
                self.publish_role(role);
            }
        }
        self.bump("snapshot");
        self.publish_snapshot();
        self.bump("timestamp");
        self.publish_timestamp();
    }
    pub fn set_role_keys(&mut self, role: &str, keys: &[u8], threshold: u64) {
        for k in keys {
            self.root["keys"][key_id(*k)] = key_value(*k);
        }
        self.root["roles"][role] = keyed(keys);
        self.root["roles"][role]["threshold"] = threshold.into();
        self.signers.insert(role.to_owned(), keys.to_vec());
    }
}

/// A trust store and the requests its last refresh made.
#[derive(Default, Clone)]
pub struct Client {
    pub stored: BTreeMap<String, Vec<u8>>,
    pub requests: Vec<String>,
    pub now: UnixMs,
}

impl Client {
    pub fn new(repo: &Repo) -> Self {
        Self {
            stored: BTreeMap::from([("root.json".to_owned(), repo.served["1.root.json"].clone())]),
            requests: Vec::new(),
            now: NOW,
        }
    }
    /// Has refreshed once, with the model's role.
    pub fn up_to_date(repo: &Repo) -> Self {
        let mut client = Self::new(repo);
        client.refresh(repo, &["m/1.0.0/manifest.json"]).unwrap();
        client
    }
    pub fn refresh(&mut self, repo: &Repo, targets: &[&str]) -> Result<Trusted, TufError> {
        self.requests.clear();
        let mut updater = Updater::new(self.stored.clone(), self.now)?;
        updater.refresh(&targets.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        let (requests, stored) = (&mut self.requests, &mut self.stored);
        tuf::drive(
            &mut updater,
            &mut |name, _max| {
                requests.push(name.to_owned());
                Ok(repo.served.get(name).cloned())
            },
            &mut |change| {
                match change {
                    Change::Write { file, bytes } => stored.insert(file, bytes),
                    Change::Remove { file } => stored.remove(&file),
                };
                Ok(())
            },
        )?;
        Ok(updater.trusted().clone())
    }
    /// Version of a stored role, 0 when there is none.
    pub fn version(&self, role: &str) -> u64 {
        let kind = if matches!(role, "root" | "timestamp" | "snapshot") { role } else { "targets" };
        self.stored.get(&tuf::file_of(role)).map_or(0, |b| edit::head_of(kind, b).unwrap().0)
    }
}
