//! Trust metadata: refreshed over HTTPS, kept in `trust/` as received.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use longshore_agent_core::{TargetView, TargetsView};
use longshore_trust::UnixMs;
use longshore_trust::tuf::{Change, ReleaseInfo, Trusted, TufError, Updater, drive};

use super::http::Remote;

fn stored(dir: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            out.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(out)
}

fn cannot_read(dir: &Path, e: &io::Error) -> TufError {
    TufError::Store { file: dir.display().to_string(), reason: e.to_string() }
}

/// What is trusted now, offline. Expiry is not looked at: it stops news, not work.
///
/// # Errors
/// [`TufError`].
pub fn load_trusted(dir: &Path) -> Result<Trusted, TufError> {
    Trusted::load(&stored(dir).map_err(|e| cannot_read(dir, &e))?, None)
}

fn persist(dir: &Path, change: Change) -> io::Result<()> {
    match change {
        Change::Write { file, bytes } => {
            let part = dir.join(format!("{file}.part"));
            let mut f = fs::File::create(&part)?;
            f.write_all(&bytes)?;
            f.sync_data()?;
            fs::rename(&part, dir.join(file))?;
        }
        Change::Remove { file } => match fs::remove_file(dir.join(file)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        },
    }
    fs::File::open(dir)?.sync_all()
}

/// Refreshes and looks at `paths`. Progress is kept even when a later role fails.
///
/// # Errors
/// [`TufError`], also for a network that is not there.
pub fn refresh(
    remote: &Remote,
    dir: &Path,
    paths: &[String],
    now: UnixMs,
) -> Result<(Trusted, TargetsView), TufError> {
    let mut updater = Updater::new(stored(dir).map_err(|e| cannot_read(dir, &e))?, now)?;
    updater.refresh(paths);
    drive(
        &mut updater,
        &mut |name, limit| remote.get(&format!("trust/{name}"), limit).map_err(|e| e.to_string()),
        &mut |change| persist(dir, change),
    )?;
    let trusted = updater.trusted().clone();
    let view = view_of(&trusted, paths);
    Ok((trusted, view))
}

/// The part of the metadata that assignments are held against.
#[must_use]
pub fn view_of(trusted: &Trusted, paths: &[String]) -> TargetsView {
    let mut targets = BTreeMap::new();
    for path in paths {
        let Some((_, info)) = trusted.target(path) else { continue };
        // A manifest without release data was never approved as one.
        let Ok(release) = ReleaseInfo::from_custom(&info.custom) else { continue };
        targets.insert(
            path.clone(),
            TargetView {
                length: info.length,
                sha256: info.sha256,
                release_counter: release.release_counter,
                rollback_ok: release.rollback_ok.iter().map(|r| (r.from, r.to)).collect(),
                hw: release.hw,
            },
        );
    }
    TargetsView { versions: trusted.versions(), targets }
}
