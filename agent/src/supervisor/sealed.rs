//! Files of a bundle as sealed memory: copied while they are hashed, then closed to every change.
//!
//! What was checked is what is used: after the seal nobody, not even this process, can change a byte.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use longshore_bundle::{Manifest, Role};
use longshore_stats::places::{Places, Shape};
use longshore_stats::quality::answers::ReferenceAnswers;
use longshore_trust::Digest;
use longshore_wire::v1::Reason;

use crate::engine;
use crate::engine::sealed::{self, Sealed};
use crate::page::LEVEL;

/// Longest manifest; `longshore bundle build` makes them of some KB.
const MANIFEST_BYTES: u64 = 4 << 20;

/// A bundle ready to be handed over.
#[derive(Debug)]
pub struct SealedBundle {
    /// Its manifest.
    pub manifest: Manifest,
    /// Paths, `manifest.json` first.
    pub paths: Vec<String>,
    /// One sealed memory file each.
    pub fds: Vec<OwnedFd>,
    /// Places of its monitored features, where it has a reference; why that cannot be used.
    pub shape: Result<Option<Shape>, Reason>,
}

/// Why a bundle cannot be used: which file, and what about it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct SealError {
    path: String,
    what: String,
}

fn error(path: &Path, what: impl std::fmt::Display) -> SealError {
    SealError { path: path.display().to_string(), what: what.to_string() }
}

fn seal(path: &Path, length: Option<u64>, sha256: &Digest) -> Result<OwnedFd, SealError> {
    let mut from = File::open(path).map_err(|e| error(path, e))?;
    let (fd, copied, digest) =
        sealed::seal("bundle", &mut from, length.unwrap_or(MANIFEST_BYTES)).map_err(|e| error(path, e))?;
    if digest != *sha256 || length.is_some_and(|l| l != copied) {
        return Err(error(path, "its bytes are not the ones that were approved"));
    }
    Ok(fd)
}

/// Copies every file of a bundle.
///
/// # Errors
/// [`SealError`] for the first file that is missing or changed.
pub fn bundle(dir: &Path, digest: &Digest) -> Result<SealedBundle, SealError> {
    let path = dir.join("manifest.json");
    let first = seal(&path, None, digest)?;
    // Parsed from the sealed copy, so that what is parsed is what was hashed.
    let copy = first.try_clone().map_err(|e| error(&path, e))?;
    let bytes = Sealed::open(copy).map_err(|e| error(&path, e))?;
    let manifest = Manifest::parse(&bytes).map_err(|e| error(&path, e))?;
    let (mut paths, mut fds) = (vec!["manifest.json".to_owned()], vec![first]);
    // Cards and bills of material are for people; no engine reads them.
    let used = manifest.files.iter().filter(|f| !matches!(f.role, Role::Card | Role::Mlbom));
    for file in used {
        let path = file.path.as_str();
        fds.push(seal(&dir.join(path), Some(file.length), &file.sha256)?);
        paths.push(path.to_owned());
    }
    let shape = shape(&manifest, &paths, &fds);
    Ok(SealedBundle { manifest, paths, fds, shape })
}

/// What the model of a bundle answered its reference, where that is known; of the files only those two are read, and they
/// are hashed anew.
///
/// # Errors
/// [`SealError`] for the file that is missing or changed.
pub fn answers(dir: &Path, digest: &Digest) -> Result<Option<ReferenceAnswers>, SealError> {
    let path = dir.join("manifest.json");
    let manifest = Sealed::open(seal(&path, None, digest)?).map_err(|e| error(&path, e))?;
    let manifest = Manifest::parse(&manifest).map_err(|e| error(&path, e))?;
    let Some(file) = manifest.file(Role::Reference) else { return Ok(None) };
    let path = dir.join(file.path.as_str());
    let sealed = Sealed::open(seal(&path, Some(file.length), &file.sha256)?).map_err(|e| error(&path, e))?;
    let profile =
        engine::load::reference(&manifest, |_| Some(&sealed)).map_err(|why| error(&path, why.detail))?;
    Ok(profile.and_then(|p| p.answers))
}

/// Reads the reference, which is data and no program: of all that a bundle brings, the only thing but the manifest that is
/// parsed outside of the sandbox.
fn shape(manifest: &Manifest, paths: &[String], fds: &[OwnedFd]) -> Result<Option<Shape>, Reason> {
    let broken = |e: &dyn std::fmt::Display| engine::load::reason("bundle.reference", e);
    let file = manifest.file(Role::Reference).map(|f| f.path.as_str());
    let fd = file.and_then(|path| paths.iter().position(|p| p == path)).map(|at| &fds[at]);
    let sealed = match fd {
        Some(fd) => {
            let copy = fd.try_clone().map_err(|e| broken(&e))?;
            Some(Sealed::open(copy).map_err(|e| broken(&e))?)
        }
        None => None,
    };
    let profile = engine::load::reference(manifest, |_| sealed.as_deref())?;
    Ok(profile.map(|p| Places::new(&p, LEVEL).shape().clone()))
}
