//! Leaving the fleet: everything is deleted, the fleet is told with a signature, then the keys go.
//!
//! In an order that a power cut may stop anywhere. `wipe.json` says how far it has come; while it is there, nothing else
//! is done on this device:
//! 1. *asked*: nothing serves any more; the fleet is told that it begins, if it can be reached;
//! 2. *begun*: bundles, database, trust metadata and whatever else lies in the state and run directories are deleted;
//! 3. *erased*: the fleet is told until it answers. The keys are still there, for this alone;
//! 4. *acknowledged*: the keys are deleted, and `decommissioned.json` takes the place of `wipe.json`.
//!
//! Files are unlinked. What a flash chip keeps of them underneath is beyond this program: for that, encrypt the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_agent_core::backoff::{Backoff, Jitter};
use longshore_trust::{DeviceId, FleetId, Seq, UnixMs};
use longshore_wire::v1::{WipeStage, Wiped, seal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::Config;
use crate::fetch::Remote;
use crate::host::{self, notify};
use crate::identity::{self, Identity, statement_header, write_private};

const INTENT: &str = "wipe.json";
const DONE: &str = "decommissioned.json";
/// Waits between two tries to tell the fleet.
const RETRY: Backoff = Backoff { first_ms: 2_000, cap_ms: 3_600_000 };

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Asked,
    Begun,
    Erased,
    Acknowledged,
}

/// `wipe.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    /// Of the command.
    epoch: u64,
    seq: u64,
    stage: Stage,
    bundles: u32,
    files: u64,
    bytes: u64,
}

/// What is left of a device that was decommissioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decommissioned {
    /// The fleet it was in.
    pub fleet: Option<FleetId>,
    /// What it was.
    pub device: Option<DeviceId>,
    /// When, by its own clock.
    pub time: UnixMs,
}

/// How the fleet took a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It has it.
    Kept,
    /// It was not reached, or wants it later: why.
    NotYet(String),
}

/// Who is told.
pub trait Fleet {
    /// Hands a receipt over.
    fn tell(&self, receipt: Wiped) -> Told;
}

/// Whether this device is being wiped.
#[must_use]
pub fn is_pending(state_dir: &Path) -> bool {
    state_dir.join(INTENT).exists()
}

/// What a decommissioned device still knows.
#[must_use]
pub fn decommissioned(state_dir: &Path) -> Option<Decommissioned> {
    serde_json::from_slice(&fs::read(state_dir.join(DONE)).ok()?).ok()
}

/// Forgets that it was decommissioned: it has joined a fleet again.
///
/// # Errors
/// Whatever the filesystem says.
pub fn forget(state_dir: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(state_dir.join(DONE)))
}

/// Writes down that it is to be wiped by this command; from now on nothing else is done.
///
/// # Errors
/// Whatever the filesystem says.
pub fn ask(state_dir: &Path, epoch: u64, seq: u64) -> io::Result<()> {
    let bundles = fs::read_dir(state_dir.join("bundles")).map_or(0, |entries| entries.flatten().count());
    let bundles = u32::try_from(bundles).unwrap_or(u32::MAX);
    save(state_dir, &Intent { epoch, seq, stage: Stage::Asked, bundles, files: 0, bytes: 0 })
}

fn save(state_dir: &Path, intent: &Intent) -> io::Result<()> {
    write_private(&state_dir.join(INTENT), &serde_json::to_vec_pretty(intent)?)
}

/// Takes up the wipe where it was left, and does not return before it is over.
///
/// # Errors
/// When the disk cannot be changed.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    tracing::warn!("this device was decommissioned by its fleet: it is being wiped");
    notify::ready("being wiped");
    let fleet = match Identity::load(&config.state_dir) {
        Ok(identity) => identity.map(|me| Https { me }),
        Err(e) => {
            tracing::warn!("the fleet cannot be told: {e}");
            None
        }
    };
    let mut jitter = Jitter::new(u64::from_ne_bytes(host::random()));
    let mut failures = 0;
    loop {
        let fleet = fleet.as_ref().map(|f| f as &dyn Fleet);
        match step(&config.state_dir, &config.run_dir, fleet)? {
            Step::Went => failures = 0,
            Step::Over => break,
            Step::Waits(why) => {
                let wait = RETRY.wait_ms(failures, &mut jitter);
                tracing::warn!(wait_ms = wait, "the fleet has not taken the wipe receipt yet: {why}");
                failures += 1;
                pause(Duration::from_millis(wait));
            }
        }
    }
    tracing::warn!("wiped. To use this device again, enrol it with a new token");
    Ok(ExitCode::SUCCESS)
}

/// Sleeps without being taken for dead.
fn pause(long: Duration) {
    let (begun, every) = (Instant::now(), notify::watchdog_interval().unwrap_or(long));
    while begun.elapsed() < long {
        notify::watchdog();
        std::thread::sleep(every.min(long.saturating_sub(begun.elapsed())));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Went,
    Waits(String),
    Over,
}

/// One step, durable when it returns. `fleet`: `None` when there is no identity left to tell anybody with.
fn step(state_dir: &Path, run_dir: &Path, fleet: Option<&dyn Fleet>) -> anyhow::Result<Step> {
    let mut intent: Intent = match fs::read(state_dir.join(INTENT)) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Step::Over),
        Err(e) => return Err(e.into()),
    };
    let receipt = |intent: &Intent, stage| Wiped {
        epoch: intent.epoch,
        seq: Seq(intent.seq),
        stage,
        bundles: intent.bundles,
        files: intent.files,
        bytes: intent.bytes,
    };
    intent.stage = match intent.stage {
        Stage::Asked => {
            if let Some(Told::NotYet(why)) = fleet.map(|f| f.tell(receipt(&intent, WipeStage::Begun))) {
                // It is told again at the end.
                tracing::warn!("the fleet was not told that the wipe begins: {why}");
            }
            Stage::Begun
        }
        Stage::Begun => {
            for dir in [run_dir, state_dir] {
                erase(dir, &mut intent, &mut |path| fs::remove_file(path))?;
            }
            sync(state_dir)?;
            Stage::Erased
        }
        Stage::Erased => match fleet.map(|f| f.tell(receipt(&intent, WipeStage::Done))) {
            Some(Told::NotYet(why)) => return Ok(Step::Waits(why)),
            Some(Told::Kept) | None => Stage::Acknowledged,
        },
        Stage::Acknowledged => {
            finish(state_dir)?;
            return Ok(Step::Over);
        }
    };
    save(state_dir, &intent)?;
    Ok(Step::Went)
}

/// What a wipe leaves until its end.
const KEPT: [&str; 4] = ["identity", INTENT, "wipe.new", "lock"];

/// Deletes what is in a directory, all but [`KEPT`].
fn erase(
    dir: &Path,
    counted: &mut Intent,
    unlink: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if !KEPT.iter().any(|kept| entry.file_name() == *kept) {
            erase_path(&entry.path(), counted, unlink)?;
        }
    }
    Ok(())
}

fn erase_path(
    path: &Path,
    counted: &mut Intent,
    unlink: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    // A link is deleted, not followed.
    let facts = fs::symlink_metadata(path)?;
    if !facts.is_dir() {
        unlink(path)?;
        counted.files += 1;
        counted.bytes += facts.len();
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        erase_path(&entry?.path(), counted, unlink)?;
    }
    fs::remove_dir(path)
}

/// The keys go; a small file that says what this was stays.
fn finish(state_dir: &Path) -> io::Result<()> {
    let known = Identity::load(state_dir).ok().flatten();
    if !state_dir.join(DONE).exists() {
        let (fleet, device) = known.map(|me| (me.fleet, me.device)).unzip();
        let left = Decommissioned { fleet, device, time: host::now().0 };
        write_private(&state_dir.join(DONE), &serde_json::to_vec_pretty(&left)?)?;
    }
    match fs::remove_dir_all(identity::dir(state_dir)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    sync(state_dir)?;
    ignore_missing(fs::remove_file(state_dir.join(INTENT)))?;
    sync(state_dir)
}

fn sync(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The fleet, over HTTPS.
struct Https {
    me: Identity,
}

impl Fleet for Https {
    fn tell(&self, receipt: Wiped) -> Told {
        let me = &self.me;
        let header = statement_header(&me.fleet, &me.device, host::now());
        let sent = seal(header, receipt, &me.report_key).map_err(|e| e.to_string()).and_then(|bytes| {
            let body = json!({ "statement": STANDARD.encode(bytes) });
            Remote::new(&me.url, &me.ca_pem, &me.cert_pem, &me.key_pem)
                .and_then(|remote| remote.post("device/v1/wiped", &body))
                .map_err(|e| e.to_string())
        });
        match sent {
            Ok((200, _)) => Told::Kept,
            // It has the last receipt already (its answer was lost), or gave this device up: there is nobody to tell.
            Ok((403, body)) if body["code"] == "device.revoked" => Told::Kept,
            Ok((status, body)) => {
                Told::NotYet(format!("{status} {}", body["detail"].as_str().unwrap_or_default()))
            }
            Err(why) => Told::NotYet(why),
        }
    }
}

/// Where the intent lies, for messages.
#[must_use]
pub fn intent_path(state_dir: &Path) -> PathBuf {
    state_dir.join(INTENT)
}

#[cfg(test)]
mod tests;
