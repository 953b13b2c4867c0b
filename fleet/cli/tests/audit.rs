//! `longshore audit verify` on exports: honest ones, and ones made by somebody who holds everything, even the log's key.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_trust::log::{Checkpoint, ENTRY_VERSION, Entry, Frontier, LogKey, origin};
use longshore_trust::{FleetId, SigningKey, UnixMs};
use serde_json::{Value, json};

struct Log {
    key: SigningKey,
    public: LogKey,
    entries: Vec<Entry>,
    tree: Frontier,
    notes: Vec<String>,
    epoch: u64,
}

impl Log {
    fn new() -> Self {
        let key = SigningKey::from_seed(&[5; 32]);
        let public = LogKey::new(&origin(&FleetId::new("harbour").unwrap()), key.public()).unwrap();
        Self { key, public, entries: Vec::new(), tree: Frontier::default(), notes: Vec::new(), epoch: 1 }
    }
    fn add(&mut self, action: &str, object: &str) {
        let entry = Entry {
            action: action.into(),
            actor: "admin".into(),
            detail: "with \"quotes\"\nand a line".into(),
            index: self.tree.size(),
            object: object.into(),
            time: UnixMs(1_700_000_000_000),
            v: ENTRY_VERSION,
        };
        self.tree.append(entry.leaf());
        self.entries.push(entry);
    }
    fn grow(mut self, n: usize, what: &str) -> Self {
        for i in 0..n {
            self.add("rollout.start", &format!("{what}-{i}"));
        }
        self.sign();
        self
    }
    fn sign(&mut self) {
        let c = Checkpoint {
            origin: self.public.name().into(),
            size: self.tree.size(),
            root: self.tree.root(),
            epoch: self.epoch,
        };
        self.notes.push(c.sign(&self.key).to_note(&self.public));
    }
    fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        let mut lines = Vec::new();
        for entry in &self.entries {
            lines.extend(entry.canonical());
            lines.push(b'\n');
        }
        std::fs::write(dir.join("entries.jsonl"), lines).unwrap();
        let notes: String = self.notes.iter().map(|n| format!("{}\n", json!({ "note": n }))).collect();
        std::fs::write(dir.join("checkpoints.jsonl"), notes).unwrap();
        std::fs::write(dir.join("log-key"), format!("{}\n", self.public)).unwrap();
        std::fs::write(dir.join("checkpoint"), self.notes.last().unwrap()).unwrap();
    }
}

struct Desk {
    dir: tempfile::TempDir,
}
impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("trust")).unwrap();
        Self { dir }
    }
    fn export(&self) -> PathBuf {
        self.dir.path().join("export")
    }
    /// Exit code and JSON.
    fn verify(&self, more: &[&str]) -> (i32, Value) {
        let out = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(["audit", "verify", "--json", "--dir"])
            .arg(self.export())
            .arg("--trust")
            .arg(self.dir.path().join("trust"))
            .args(more)
            .env("XDG_CONFIG_HOME", self.dir.path())
            .output()
            .unwrap();
        let said = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        (out.status.code().unwrap(), said)
    }
    fn refused(&self, more: &[&str], code: &str, words: &str) {
        let (exit, said) = self.verify(more);
        assert_eq!((exit, said["code"].as_str()), (1, Some(code)), "{said}");
        assert!(said["error"].as_str().unwrap().contains(words), "{said}");
    }
}

#[test]
fn an_honest_log_holds_is_remembered_and_goes_on() {
    let desk = Desk::new();
    let log = Log::new().grow(700, "a");
    log.write(&desk.export());
    let (exit, said) = desk.verify(&[]);
    assert_eq!((exit, said["size"].as_u64(), said["key_from"].as_str()), (0, Some(700), Some("first use")));
    assert_eq!(said["consistent_since"], Value::Null);
    let log = log.grow(77, "b");
    log.write(&desk.export());
    let (exit, said) = desk.verify(&["--new"]);
    assert_eq!((exit, said["entries_checked"].as_u64()), (0, Some(77)));
    assert_eq!(said["consistent_since"]["size"], 700);
    let (exit, said) = desk.verify(&[]);
    assert_eq!(
        (exit, said["entries_checked"].as_u64(), said["checkpoints_checked"].as_u64()),
        (0, Some(777), Some(2))
    );
}

#[test]
fn every_way_of_changing_an_export_is_refused() {
    let desk = Desk::new();
    let log = Log::new().grow(20, "a").grow(20, "b");
    let spoil = |file: &str, change: &dyn Fn(&str) -> String, words: &str| {
        log.write(&desk.export());
        let path = desk.export().join(file);
        std::fs::write(&path, change(&std::fs::read_to_string(&path).unwrap())).unwrap();
        desk.refused(&[], "audit.tampered", words);
    };
    let lines = |text: &str, f: &dyn Fn(&mut Vec<&str>)| {
        let mut lines: Vec<&str> = text.lines().collect();
        f(&mut lines);
        lines.join("\n") + "\n"
    };
    spoil("entries.jsonl", &|t| t.replacen("b-3", "b-4", 1), "one of them was changed");
    spoil(
        "entries.jsonl",
        &|t| {
            lines(t, &|l| {
                l.remove(7);
            })
        },
        "entry 7 is missing",
    );
    spoil("entries.jsonl", &|t| lines(t, &|l| l.swap(3, 4)), "entry 3 is missing");
    spoil("entries.jsonl", &|t| lines(t, &|l| l.truncate(39)), "entry 39 is missing");
    spoil("entries.jsonl", &|t| t.replacen("\":\"", "\": \"", 1), "line 1");
    spoil("checkpoint", &|t| t.replacen("\n40\n", "\n39\n", 1), "does not verify");
    spoil("checkpoints.jsonl", &|t| t.replacen("\\n20\\n", "\\n21\\n", 1), "does not verify");
    let key = LogKey::new(log.public.name(), SigningKey::from_seed(&[6; 32]).public()).unwrap().to_string();
    log.write(&desk.export());
    desk.refused(&["--log-key", &key], "audit.tampered", "not signed by");
}

#[test]
fn a_log_that_was_rewritten_and_signed_again_is_refused_by_who_saw_the_old_one() {
    let desk = Desk::new();
    Log::new().grow(30, "a").write(&desk.export());
    assert_eq!(desk.verify(&[]).0, 0);
    Log::new().grow(12, "a").grow(30, "other").write(&desk.export());
    desk.refused(&[], "audit.tampered", "does not continue the 30 entries");
    desk.refused(&["--new"], "audit.tampered", "");
    desk.refused(&["--accept-restore"], "audit.tampered", "does not continue the 30 entries");
    Log::new().grow(12, "a").write(&desk.export());
    desk.refused(&[], "audit.tampered", "has seen 30 entries");
    // Another key is not taken for the one that was remembered.
    let mut other = Log::new();
    other.key = SigningKey::from_seed(&[6; 32]);
    other.public = LogKey::new(other.public.name(), other.key.public()).unwrap();
    let other = other.grow(30, "a");
    other.write(&desk.export());
    desk.refused(&[], "audit.tampered", "not signed by");
    desk.refused(&["--log-key", &other.public.to_string()], "audit.other_key", "remembers another key");
}

#[test]
fn a_restore_is_told_from_a_forgery_and_can_be_accepted() {
    let desk = Desk::new();
    Log::new().grow(30, "a").grow(10, "lost").write(&desk.export());
    assert_eq!(desk.verify(&[]).0, 0);
    for grown in [5, 100] {
        let mut log = Log::new().grow(30, "a");
        log.epoch = 2;
        log.add("fleet.restore", "epoch 2");
        log.grow(grown, "after").write(&desk.export());
        desk.refused(&[], "audit.rolled_back", "epoch 2");
    }
    let (exit, said) = desk.verify(&["--accept-restore"]);
    assert_eq!((exit, said["restores"][0]["object"].as_str()), (0, Some("epoch 2")));
    assert_eq!(desk.verify(&[]).0, 0);
    // A higher epoch alone excuses nothing: the restore has to be an entry.
    let mut log = Log::new();
    log.epoch = 3;
    log.grow(300, "forged").write(&desk.export());
    desk.refused(&["--accept-restore"], "audit.tampered", "does not continue");
}
