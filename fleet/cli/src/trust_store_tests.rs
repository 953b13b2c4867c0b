//! The operator's trust store against servers that lie.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use longshore_trust::SigningKey;
use longshore_trust::tuf::edit;

use super::*;
use crate::keys::{KeyFile, made_for_tests};

/// Serves a map of paths; what is not in it is 404.
struct Server {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    url: String,
}
impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = Arc::new(Mutex::new(BTreeMap::<String, Vec<u8>>::new()));
        let served = Arc::clone(&files);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                reader.read_line(&mut request).unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    line.clear();
                }
                let path = request.split(' ').nth(1).unwrap_or_default();
                let found = served.lock().unwrap().get(path).cloned();
                let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
                let body = found.unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { files, url }
    }
    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(format!("/trust/{name}"), bytes);
    }
}

struct Fleet {
    keys: PathBuf,
    server: Server,
    client: Client,
    _dir: tempfile::TempDir,
}
impl Fleet {
    /// Keys of a solo fleet, and a server that serves version `n` of snapshot and timestamp.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = made_for_tests(dir.path(), "harbour");
        let server = Server::start();
        let client = Client::new(server.url.clone(), None);
        let fleet = Self { keys, server, client, _dir: dir };
        fleet.server.put("1.targets.json", std::fs::read(fleet.keys.join("online/1.targets.json")).unwrap());
        fleet.publish(1);
        fleet
    }
    fn key(&self, name: &str) -> SigningKey {
        let path = self.keys.join("online").join(name);
        KeyFile::read(&path).unwrap().open(&path, None).unwrap()
    }
    fn publish(&self, version: u64) {
        let expires = now().plus_ms(3_600_000);
        let mut snapshot = edit::snapshot(version, expires, BTreeMap::from([("targets.json".to_owned(), 1)]));
        snapshot.sign(&self.key("snapshot.key"));
        let snapshot = snapshot.to_bytes();
        let mut timestamp = edit::timestamp(version, expires, &snapshot, version);
        timestamp.sign(&self.key("timestamp.key"));
        self.server.put(&format!("{version}.snapshot.json"), snapshot);
        self.server.put("timestamp.json", timestamp.to_bytes());
    }
    fn trust(&self) -> PathBuf {
        self.keys.join("trust")
    }
    fn refresh(&self) -> Result<TrustStore<'_>, Failure> {
        TrustStore::refresh(self.trust(), &self.client)
    }
}
fn kept(dir: &Path, file: &str) -> bool {
    dir.join(file).is_file()
}

#[test]
fn a_new_store_begins_with_the_root_made_by_keys_init() {
    let fleet = Fleet::new();
    let store = fleet.refresh().unwrap();
    assert_eq!(store.trusted().fleet().unwrap().as_str(), "harbour");
    assert!(store.bytes_of("targets").is_some() && store.bytes_of("root").is_some());
    assert!(store.bytes_of("models/unknown").is_none());
    for file in ["timestamp.json", "snapshot.json", "targets.json"] {
        assert!(kept(&fleet.trust(), file), "{file}");
    }
}
#[test]
fn a_server_that_goes_back_in_time_is_refused() {
    let fleet = Fleet::new();
    fleet.publish(2);
    fleet.refresh().unwrap();
    fleet.publish(1);
    let refusal = fleet.refresh().err().unwrap();
    assert_eq!((refusal.exit, refusal.code.as_str()), (1, "trust.refused"));
    assert!(refusal.message.contains("older than version 2"), "{}", refusal.message);
}
#[test]
fn a_server_of_another_fleet_is_refused() {
    let fleet = Fleet::new();
    let other = Fleet::new();
    let refusal = TrustStore::refresh(fleet.trust(), &other.client).err().unwrap();
    assert_eq!(refusal.code, "trust.refused");
    assert!(!kept(&fleet.trust(), "timestamp.json"));
}
#[test]
fn a_server_that_is_not_there_is_exit_code_3() {
    let fleet = Fleet::new();
    let gone = Client::new("http://127.0.0.1:1".into(), None);
    assert_eq!(TrustStore::refresh(fleet.trust(), &gone).err().unwrap().exit, 3);
}
#[test]
fn a_folder_that_is_no_trust_store_is_a_usage_error() {
    let fleet = Fleet::new();
    let empty = tempfile::tempdir().unwrap();
    let refusal = TrustStore::refresh(empty.path().to_owned(), &fleet.client).err().unwrap();
    assert_eq!(refusal.exit, 2);
    assert_eq!(load_offline(Path::new("/nonexistent")).unwrap_err().exit, 2);
}
