//! Draft files on their way between the holders of keys.

use std::path::{Path, PathBuf};

use longshore_trust::FleetId;
use longshore_trust::tuf::ceremony::{Draft, MAX_DRAFT_BYTES};

use super::current::refused;
use crate::context::Failure;
use crate::trust_store::write_durably;

/// Reads a draft of `fleet`.
pub(super) fn read(path: &Path, fleet: &FleetId) -> Result<Draft, Failure> {
    let cannot = |e: std::io::Error| Failure::usage(format!("cannot read the draft {}: {e}", path.display()));
    if std::fs::metadata(path).map_err(cannot)?.len() > MAX_DRAFT_BYTES {
        return Err(Failure::usage(format!("{} is too long for a draft", path.display())));
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    Draft::of_file(&bytes, fleet)
        .map_err(|e| Failure::refused("keys.draft", format!("{}: {e}", path.display())))
}
/// The draft that a change is added to: that in the file, or an empty one.
pub(super) fn read_or_new(path: &Path, fleet: &FleetId) -> Result<Draft, Failure> {
    if path.exists() { read(path, fleet) } else { Ok(Draft::default()) }
}
/// Writes it in one piece.
pub(super) fn write(path: &Path, draft: &Draft, fleet: &FleetId) -> Result<(), Failure> {
    write_durably(path, &draft.to_file(fleet))
        .map_err(|e| Failure::refused("io", format!("cannot write the draft {}: {e}", path.display())))
}
/// One draft out of copies that were signed apart.
pub(super) fn join(paths: &[PathBuf], fleet: &FleetId) -> Result<Draft, Failure> {
    let mut joined: Option<Draft> = None;
    for path in paths {
        let next = read(path, fleet)?;
        let Some(draft) = &mut joined else {
            joined = Some(next);
            continue;
        };
        if !draft.join(&next) {
            let (path, first) = (path.display(), paths[0].display());
            let why = format!("{path} is another draft than {first}: only copies of one can be joined");
            return Err(Failure::refused("keys.draft", why));
        }
    }
    joined.ok_or_else(|| refused(&longshore_trust::tuf::ceremony::CeremonyError::Empty))
}
