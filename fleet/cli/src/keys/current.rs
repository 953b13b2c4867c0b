//! What the operator's trust store says is published: the ground on which drafts are made and judged. Files only.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_trust::tuf::ceremony::{CeremonyError, Offline};
use longshore_trust::tuf::{self, Trusted};

use super::FleetFile;
use crate::context::Failure;
use crate::trust_store;

/// A verified trust store and the offline roles in it.
pub(super) struct Current {
    pub published: Offline,
    pub trusted: Trusted,
    pub fleet: FleetFile,
}

impl Current {
    /// Reads and verifies the store in `dir`.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let stored = trust_store::read_offline(dir)?;
        let trusted = Trusted::load(&stored, None).map_err(|e| trust_store::refused(dir, &e))?;
        let mut bytes = BTreeMap::new();
        for role in trusted.versions().into_keys() {
            if let Some(found) = stored.get(&tuf::file_of(&role)) {
                bytes.insert(role, found.clone());
            }
        }
        let published = Offline::new(bytes).map_err(|e| refused(&e))?;
        for d in published.targets().iter().flat_map(|t| &t.delegations) {
            if trusted.lists(&d.role) && !published.has(&d.role) {
                return Err(Failure::usage(format!(
                    "the trust store {} does not hold {}: run `longshore keys status` on a machine that reaches the \
                     server, then copy its trust folder here",
                    dir.display(),
                    d.role
                )));
            }
        }
        Ok(Self { published, trusted, fleet: FleetFile::read(dir)? })
    }
}

/// A ceremony that is refused, as a failure of the command.
pub(super) fn refused(e: &CeremonyError) -> Failure {
    Failure::refused("keys.refused", e.to_string())
}

/// Lets `fleet.json` name the release keys that every model's role names, if they all name the same: the next model is
/// given to these. Whether the file was changed.
pub(super) fn follow_release_keys(dir: &Path, current: &Current) -> Result<bool, Failure> {
    let delegations = current.published.targets().map(|t| t.delegations.as_slice()).unwrap_or_default();
    let Some(first) = delegations.first() else { return Ok(false) };
    if !delegations.iter().all(|d| d.keys == first.keys) {
        return Ok(false);
    }
    let mut fleet = current.fleet.clone();
    fleet.set_release(&first.keys);
    fleet.solo = current.published.root().solo;
    fleet.write_if_changed(dir, &current.fleet)
}
