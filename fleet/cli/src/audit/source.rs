//! Where the log is read from: a server, or a directory that was exported.
//!
//! An export is `entries.jsonl` (each line is one entry's canonical bytes: its leaf is `sha256(00 || line)`), `checkpoint`
//! (the newest, a signed note), `checkpoints.jsonl` (all of them) and `log-key`. Nothing of it is believed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use longshore_trust::Digest;
use longshore_trust::log::{Entry, MAX_NOTE_BYTES};
use serde_json::{Value, json};

use crate::context::Failure;
use crate::http::Client;

/// Entries asked for at a time.
pub const PAGE: u32 = 500;

/// Gives entries and checkpoints, unchecked.
pub trait Source {
    /// The newest checkpoint.
    fn checkpoint(&self) -> Result<Vec<u8>, Failure>;
    /// Every checkpoint there is.
    fn checkpoints(&self) -> Result<Vec<String>, Failure>;
    /// Up to `limit` entries from number `from` on.
    fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, Failure>;
    /// The proof that the log of `from` entries begins the log of `to`; `None` where nobody can be asked.
    fn consistency(&self, from: u64, to: u64) -> Result<Option<Vec<Digest>>, Failure>;
    /// The key the source claims.
    fn claimed_key(&self) -> Result<String, Failure>;
}

/// The fleet server.
pub struct Server<'a> {
    client: &'a Client,
}

impl<'a> Server<'a> {
    /// Of this client.
    pub fn new(client: &'a Client) -> Self {
        Self { client }
    }
}

fn strange(what: &str) -> Failure {
    Failure::refused("api.answer", format!("the server answered with {what} that cannot be read"))
}

impl Source for Server<'_> {
    fn checkpoint(&self) -> Result<Vec<u8>, Failure> {
        let found = self.client.get_bytes("/api/v1/audit/checkpoint", MAX_NOTE_BYTES as u64)?;
        found
            .ok_or_else(|| Failure::refused("audit.empty", "the audit log of this server has no entries yet"))
    }
    fn checkpoints(&self) -> Result<Vec<String>, Failure> {
        let all = self.client.pages("/audit/checkpoints")?;
        all.iter()
            .map(|c| c["note"].as_str().map(str::to_owned).ok_or_else(|| strange("a checkpoint")))
            .collect()
    }
    fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, Failure> {
        let mut page: Value = self.client.get(&format!("/audit/entries?cursor={from}&limit={limit}"))?;
        serde_json::from_value(page["items"].take()).map_err(|_| strange("entries"))
    }
    fn consistency(&self, from: u64, to: u64) -> Result<Option<Vec<Digest>>, Failure> {
        let answer: Value = self.client.get(&format!("/audit/proof/consistency?from={from}&to={to}"))?;
        hashes(&answer).map(Some)
    }
    fn claimed_key(&self) -> Result<String, Failure> {
        let log: Value = self.client.get("/audit")?;
        log["key"].as_str().map(str::to_owned).ok_or_else(|| strange("the key of its audit log"))
    }
}

/// The hashes of a proof.
pub fn hashes(answer: &Value) -> Result<Vec<Digest>, Failure> {
    let list = answer["proof"].as_array().ok_or_else(|| strange("a proof"))?;
    list.iter().map(|h| h.as_str().and_then(|h| h.parse().ok()).ok_or_else(|| strange("a proof"))).collect()
}

/// A directory.
pub struct Export {
    dir: PathBuf,
    lines: std::cell::RefCell<(u64, std::io::Lines<BufReader<File>>)>,
}

impl Export {
    /// Opens one.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let lines = std::cell::RefCell::new((0, lines(dir)?));
        Ok(Self { dir: dir.to_owned(), lines })
    }
    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.dir.join(name);
        std::fs::read(&path).map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))
    }
    fn damaged(&self, name: &str, line: u64) -> Failure {
        let path = self.dir.join(name);
        Failure::refused(
            "audit.tampered",
            format!("{}, line {line}: not what an export holds", path.display()),
        )
    }
}

fn lines(dir: &Path) -> Result<std::io::Lines<BufReader<File>>, Failure> {
    let path = dir.join("entries.jsonl");
    let file = File::open(&path).map_err(|e| {
        Failure::usage(format!("{} is no export of an audit log: {}: {e}", dir.display(), path.display()))
    })?;
    Ok(BufReader::new(file).lines())
}

impl Source for Export {
    fn checkpoint(&self) -> Result<Vec<u8>, Failure> {
        self.read("checkpoint")
    }
    fn checkpoints(&self) -> Result<Vec<String>, Failure> {
        let text = String::from_utf8(self.read("checkpoints.jsonl")?)
            .map_err(|_| self.damaged("checkpoints.jsonl", 1))?;
        (1u64..)
            .zip(text.lines())
            .map(|(n, line)| {
                let value: Value =
                    serde_json::from_str(line).map_err(|_| self.damaged("checkpoints.jsonl", n))?;
                value["note"].as_str().map(str::to_owned).ok_or_else(|| self.damaged("checkpoints.jsonl", n))
            })
            .collect()
    }
    fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, Failure> {
        let mut at = self.lines.borrow_mut();
        if from < at.0 {
            *at = (0, lines(&self.dir)?);
        }
        let mut found = Vec::new();
        while found.len() < limit as usize {
            let Some(line) = at.1.next() else { break };
            let line = line?;
            let entry: Entry =
                serde_json::from_str(&line).map_err(|_| self.damaged("entries.jsonl", at.0 + 1))?;
            at.0 += 1;
            // Only canonical lines: what a person greps is what was hashed.
            if entry.canonical() != line.as_bytes() {
                return Err(self.damaged("entries.jsonl", at.0));
            }
            if at.0 > from {
                found.push(entry);
            }
        }
        Ok(found)
    }
    fn consistency(&self, _: u64, _: u64) -> Result<Option<Vec<Digest>>, Failure> {
        Ok(None)
    }
    fn claimed_key(&self) -> Result<String, Failure> {
        let text = self.read("log-key")?;
        String::from_utf8(text).map(|t| t.trim().to_owned()).map_err(|_| self.damaged("log-key", 1))
    }
}

/// Writes what `server` gives into a new directory, as it is.
pub fn export(server: &Server<'_>, out: &Path, quiet: bool) -> Result<(), Failure> {
    if out.exists() {
        return Err(Failure::usage(format!("{} exists already: name a new directory", out.display())));
    }
    // Before the newest: the server goes on signing while entries are fetched, and a checkpoint of more entries than the
    // newest has would be proof of a log that was cut.
    let mut all = String::new();
    for c in server.checkpoints()? {
        all.push_str(&json!({ "note": c }).to_string());
        all.push('\n');
    }
    let note = server.checkpoint()?;
    std::fs::create_dir_all(out)?;
    let mut entries = BufWriter::new(File::create(out.join("entries.jsonl"))?);
    let size = String::from_utf8_lossy(&note).lines().nth(1).and_then(|l| l.parse().ok()).unwrap_or(0u64);
    let bar = progress(size, quiet);
    let mut next = 0;
    while next < size {
        let page = server.entries(next, PAGE)?;
        if page.is_empty() {
            break;
        }
        for entry in page.into_iter().filter(|e| e.index < size) {
            entries.write_all(&entry.canonical())?;
            entries.write_all(b"\n")?;
            next = entry.index + 1;
        }
        bar.set_position(next);
    }
    bar.finish_and_clear();
    entries.flush()?;
    entries.get_ref().sync_all()?;
    std::fs::write(out.join("checkpoints.jsonl"), all)?;
    std::fs::write(out.join("log-key"), server.claimed_key()? + "\n")?;
    // Last: a directory without it is an export that was not finished.
    std::fs::write(out.join("checkpoint"), note)?;
    Ok(())
}

/// A bar for entries; none where nobody looks.
pub fn progress(size: u64, quiet: bool) -> indicatif::ProgressBar {
    if quiet {
        return indicatif::ProgressBar::hidden();
    }
    let style =
        indicatif::ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} entries, {eta} left")
            .expect("a constant template");
    indicatif::ProgressBar::new(size).with_style(style)
}

/// Milliseconds since 1970 as a date of this time zone.
pub fn date(ms: i64) -> String {
    let zone = jiff::tz::TimeZone::system();
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone).strftime("%F %T%:z").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// For a query of a URL.
pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}
