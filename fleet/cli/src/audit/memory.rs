//! What this machine remembers of the log: `audit-log.toml` in the operator's trust store.
//!
//! The key the log was first seen with and the newest checkpoint that held. A log that does not continue it was changed
//! behind the operator's back, whatever the server says.

use std::path::PathBuf;

use longshore_trust::Digest;
use longshore_trust::log::{Checkpoint, Frontier, LogKey};
use serde::{Deserialize, Serialize};

use super::verify::tampered;
use crate::context::{Context, Failure, Saved};
use crate::trust_store::write_durably;

const FILE: &str = "audit-log.toml";

/// As it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Verifier key.
    pub key: String,
    /// The newest checkpoint that held, as it was signed.
    pub checkpoint: String,
    /// The right edge of its tree, so that checking can go on from there.
    pub peaks: Vec<Digest>,
}

impl Remembered {
    /// The checkpoint, checked again, and its tree.
    pub fn open(&self, key: &LogKey) -> Result<(Checkpoint, Frontier), Failure> {
        let checkpoint =
            Checkpoint::open(self.checkpoint.as_bytes(), key).map_err(|e| tampered(&e))?.into_inner();
        let frontier = Frontier::from_peaks(checkpoint.size, self.peaks.clone());
        frontier.filter(|f| f.root() == checkpoint.root).map(|f| (checkpoint, f)).ok_or_else(|| {
            Failure::usage(format!("{FILE} in the trust store is damaged: remove it to begin anew"))
        })
    }
}

/// The file, and what it says.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    /// What it says; nothing at first.
    pub said: Option<Remembered>,
}

impl Memory {
    /// Of the trust store that the context names; `None` when it names none.
    pub fn of(context: &Context) -> Result<Option<Self>, Failure> {
        let dir = match context.given_trust() {
            Some(dir) => dir.to_owned(),
            None => match Saved::load()?.trust {
                Some(dir) => dir,
                None => return Ok(None),
            },
        };
        let path = dir.join(FILE);
        let said = match std::fs::read_to_string(&path) {
            Ok(text) => Some(toml::from_str(&text).map_err(|e| {
                Failure::usage(format!("{} is damaged: {e}; remove it to begin anew", path.display()))
            })?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::usage(format!("cannot read {}: {e}", path.display()))),
        };
        Ok(Some(Self { path, said }))
    }
    /// Remembers.
    pub fn write(&self, remembered: &Remembered) -> Result<(), Failure> {
        let text = toml::to_string(remembered).map_err(|e| Failure::refused("io", e.to_string()))?;
        write_durably(&self.path, text.as_bytes()).map_err(|e| {
            Failure::refused("io", format!("cannot remember the checkpoint in {}: {e}", self.path.display()))
        })
    }
}
