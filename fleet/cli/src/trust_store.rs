//! The operator's own trust store: a folder with the fleet's root and what was verified since.
//!
//! The server's word is never taken for what is approved: every command that needs to know asks here, and this verifies
//! what the server serves against the operator's root, keeping progress so that nothing can be rolled back later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use longshore_trust::UnixMs;
use longshore_trust::tuf::{self, Change, Trusted, TufError, Updater};

use crate::context::Failure;
use crate::http::Client;

/// The root a new store begins with, as `longshore keys init` names it.
const FIRST_ROOT: &str = "1.root.json";

/// Likewise its targets.
const FIRST_TARGETS: &str = "1.targets.json";

/// The wall clock.
pub fn now() -> UnixMs {
    UnixMs(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0))
}

pub(crate) fn refused(dir: &Path, e: &TufError) -> Failure {
    Failure::refused(
        "trust.refused",
        format!("trust metadata is refused (trust store {}): {e}", dir.display()),
    )
}

/// Every file of the store; the first root stands in for the current one until there is any.
fn read_stored(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let entries = std::fs::read_dir(dir)
        .map_err(|e| Failure::usage(format!("cannot read the trust store {}: {e}", dir.display())))?;
    let mut stored = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") && name != "fleet.json" {
            stored.insert(name, std::fs::read(entry.path())?);
        }
    }
    if !stored.contains_key("root.json") {
        let first = stored.get(FIRST_ROOT).cloned().ok_or_else(|| {
            Failure::usage(format!(
                "{} is no trust store: it holds neither root.json nor {FIRST_ROOT}. \
                 Pass --trust with the `trust` folder made by `longshore keys init`.",
                dir.display()
            ))
        })?;
        stored.insert("root.json".into(), first);
    }
    Ok(stored)
}

/// What a store holds that may never have met a server: the first targets stand in for the current ones as well.
pub(crate) fn read_offline(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut stored = read_stored(dir)?;
    if let (false, Some(first)) = (stored.contains_key("targets.json"), stored.get(FIRST_TARGETS).cloned()) {
        stored.insert("targets.json".into(), first);
    }
    Ok(stored)
}

/// What the store says without asking anyone.
pub fn load_offline(dir: &Path) -> Result<Trusted, Failure> {
    Trusted::load(&read_stored(dir)?, None).map_err(|e| refused(dir, &e))
}

/// A store and the server it is brought up to date from.
pub struct TrustStore<'a> {
    dir: PathBuf,
    client: &'a Client,
    updater: Updater,
    files: BTreeMap<String, Vec<u8>>,
}

impl<'a> TrustStore<'a> {
    /// Opens `dir` and verifies what the server serves now.
    pub fn refresh(dir: PathBuf, client: &'a Client) -> Result<Self, Failure> {
        let files = read_stored(&dir)?;
        let mut updater = Updater::new(files.clone(), now()).map_err(|e| refused(&dir, &e))?;
        updater.refresh(&[]);
        let mut this = Self { dir, client, updater, files };
        this.drive()?;
        Ok(this)
    }
    /// Loads the roles that lead to `path`.
    pub fn resolve(&mut self, path: String) -> Result<(), Failure> {
        self.updater.resolve(&[path]);
        self.drive()
    }
    /// Loads every delegated role that is published.
    pub fn resolve_all(&mut self) -> Result<(), Failure> {
        let bytes = self.bytes_of("targets").unwrap_or_default();
        let targets = tuf::edit::read_targets(bytes).map_err(|e| refused(&self.dir, &e))?;
        let published = targets.delegations.iter().filter(|d| self.trusted().lists(&d.role));
        // Any path that a role may name leads to it; whether the role names it does not matter here.
        let paths =
            published.filter_map(|d| d.paths.first()).map(|p| p.replace(['*', '?'], "x")).collect::<Vec<_>>();
        self.updater.resolve(&paths);
        self.drive()
    }
    /// What is trusted now.
    pub fn trusted(&self) -> &Trusted {
        self.updater.trusted()
    }
    /// Verified bytes of a role.
    pub fn bytes_of(&self, role: &str) -> Option<&[u8]> {
        let verified = role == "root" || self.trusted().has_role(role);
        self.files.get(&tuf::file_of(role)).filter(|_| verified).map(Vec::as_slice)
    }

    fn drive(&mut self) -> Result<(), Failure> {
        let Self { dir, client, updater, files } = self;
        // The updater knows reasons as text only; the failure itself holds the exit code.
        let mut transport = None;
        let mut fetch = |name: &str, max_len: u64| {
            client.get_bytes(&format!("/trust/{name}"), max_len + 1).map_err(|f| {
                let reason = f.message.clone();
                transport = Some(f);
                reason
            })
        };
        let mut persist = |change: Change| match change {
            Change::Write { file, bytes } => {
                write_durably(&dir.join(&file), &bytes)?;
                files.insert(file, bytes);
                Ok(())
            }
            Change::Remove { file } => {
                files.remove(&file);
                std::fs::remove_file(dir.join(file))
            }
        };
        let driven = tuf::drive(updater, &mut fetch, &mut persist);
        match (driven, transport) {
            (Ok(()), _) => Ok(()),
            (Err(TufError::Fetch { .. }), Some(failure)) => Err(failure),
            (Err(e), _) => Err(refused(dir, &e)),
        }
    }
}

/// All of it or none: a neighbour file, synced, then renamed.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
#[path = "trust_store_tests.rs"]
mod tests;
