//! The online keys: `<data>/online/`, made by `longshore keys init`, copied here by `longshore-fleet init`.
//!
//! They say which approved metadata is current (snapshot, timestamp), choose among approved bundles (director), tell
//! devices the time (time) and name devices (CA). None of them can approve a bundle.

use std::io;
use std::path::{Path, PathBuf};

use longshore_trust::{FleetId, SigningKey};
use serde::Deserialize;

use crate::tls::{Ca, TlsError};

/// Roles with signing keys: each has `<role>.key` or, after a rotation, `<role>-<anything>.key`, or both.
const ROLES: [(&str, &str); 3] =
    [("snapshot", "snapshot.key"), ("timestamp", "timestamp.key"), ("director", "director.key")];
/// The other files, all of which must be there.
const FILES: [&str; 5] = ["ca.key", "ca.pem", "1.root.json", "1.targets.json", "fleet.json"];

/// The key files of a role, the first one first, the others by name.
fn key_files(dir: &Path, role: &str) -> Vec<String> {
    let first = format!("{role}.key");
    let further = format!("{role}-");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|n| *n == first || (n.starts_with(&further) && n.ends_with(".key"))).collect();
    names.sort_by_key(|n| (*n != first, n.clone()));
    names
}

/// All files of a directory of online keys.
#[must_use]
pub fn files(dir: &Path) -> Vec<String> {
    let keys = ROLES.iter().flat_map(|(role, _)| key_files(dir, role));
    // Online keys made before there was this role have none.
    let keys = keys.chain(key_files(dir, "time"));
    keys.chain(FILES.iter().map(|f| (*f).to_owned())).collect()
}

/// Why the online keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// There are none.
    #[error(
        "{path} holds no online keys ({missing} is missing). Make keys once with `longshore keys init --fleet NAME \
         --out KEYS`, then run `longshore-fleet init --online KEYS/online --data DIR`"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The first missing file.
        missing: &'static str,
    },
    /// One cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One is not what it should be.
    #[error("{path} is not {what}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// The CA.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// All online keys and the first metadata.
pub struct OnlineKeys {
    /// Sign snapshot.json: one, or several while one takes over from another.
    pub snapshot: Vec<SigningKey>,
    /// Sign timestamp.json.
    pub timestamp: Vec<SigningKey>,
    /// Sign assignments, commands, receipts.
    pub director: Vec<SigningKey>,
    /// Attest the time to devices; keys made before there was this role have none.
    pub time: Vec<SigningKey>,
    /// Signs certificates.
    pub ca: Ca,
    /// Whose keys these are.
    pub fleet: FleetId,
    /// `1.root.json`, as signed offline.
    pub root: Vec<u8>,
    /// `1.targets.json`, as signed offline.
    pub targets: Vec<u8>,
}

#[derive(Deserialize)]
struct KeyFile {
    keytype: String,
    seed: String,
}
#[derive(Deserialize)]
struct FleetFile {
    fleet: FleetId,
}

impl OnlineKeys {
    /// Reads a directory of online keys.
    ///
    /// # Errors
    /// [`OnlineError`].
    pub fn load(dir: &Path) -> Result<Self, OnlineError> {
        let no_key =
            ROLES.into_iter().find(|(role, _)| key_files(dir, role).is_empty()).map(|(_, file)| file);
        if let Some(missing) = no_key.or_else(|| FILES.into_iter().find(|f| !dir.join(f).is_file())) {
            return Err(OnlineError::Missing { path: dir.to_owned(), missing });
        }
        let keys = |role: &str| -> Result<Vec<SigningKey>, OnlineError> {
            key_files(dir, role).iter().map(|name| key(&dir.join(name))).collect()
        };
        let fleet: FleetFile = json(&dir.join("fleet.json"), "the name of a fleet")?;
        let ca = Ca::from_pem(&text(&dir.join("ca.pem"))?, &text(&dir.join("ca.key"))?)?;
        Ok(Self {
            snapshot: keys("snapshot")?,
            timestamp: keys("timestamp")?,
            director: keys("director")?,
            time: keys("time")?,
            ca,
            fleet: fleet.fleet,
            root: bytes(&dir.join("1.root.json"))?,
            targets: bytes(&dir.join("1.targets.json"))?,
        })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, OnlineError> {
    std::fs::read(path).map_err(|source| OnlineError::Read { path: path.to_owned(), source })
}
fn text(path: &Path) -> Result<String, OnlineError> {
    std::fs::read_to_string(path).map_err(|source| OnlineError::Read { path: path.to_owned(), source })
}
fn json<T: serde::de::DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, OnlineError> {
    serde_json::from_slice(&bytes(path)?).map_err(|e| OnlineError::Malformed {
        path: path.to_owned(),
        what,
        // The text of a key file must not end up in a log: position only.
        why: format!("line {}, column {}", e.line(), e.column()),
    })
}
pub(crate) fn key(path: &Path) -> Result<SigningKey, OnlineError> {
    let file: KeyFile = json(path, "an online key")?;
    let malformed =
        |why: &str| OnlineError::Malformed { path: path.to_owned(), what: "an online key", why: why.into() };
    if file.keytype != "ed25519" {
        return Err(malformed("only keytype ed25519 is used"));
    }
    let mut seed = [0u8; 32];
    hex::decode_to_slice(&file.seed, &mut seed).map_err(|_| malformed("the seed is not 64 hex digits"))?;
    Ok(SigningKey::from_seed(&seed))
}
