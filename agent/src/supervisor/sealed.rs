//! Files of a bundle as sealed memory: copied while they are hashed, then closed to every change.
//!
//! What was checked is what is used: after the seal nobody, not even this process, can change a byte.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use longshore_bundle::{Manifest, Role};
use longshore_trust::Digest;
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::Digest as _;

/// A bundle ready to be handed over.
#[derive(Debug)]
pub struct SealedBundle {
    /// Its manifest.
    pub manifest: Manifest,
    /// Paths, `manifest.json` first.
    pub paths: Vec<String>,
    /// One sealed memory file each.
    pub fds: Vec<OwnedFd>,
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
    let fd = rustix::fs::memfd_create("bundle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|e| error(path, e))?;
    let mut to = File::from(fd);
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut copied = 0;
    loop {
        let n = from.read(&mut buffer).map_err(|e| error(path, e))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).map_err(|e| error(path, e))?;
        copied += n as u64;
    }
    if Digest(hasher.finalize().into()) != *sha256 || length.is_some_and(|l| l != copied) {
        return Err(error(path, "its bytes are not the ones that were approved"));
    }
    to.seek(SeekFrom::Start(0)).map_err(|e| error(path, e))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&to, seals).map_err(|e| error(path, e))?;
    Ok(to.into())
}

/// Copies every file of a bundle.
///
/// # Errors
/// [`SealError`] for the first file that is missing or changed.
pub fn bundle(dir: &Path, digest: &Digest) -> Result<SealedBundle, SealError> {
    let path = dir.join("manifest.json");
    let first = seal(&path, None, digest)?;
    let mut bytes = Vec::new();
    // Parsed from the sealed copy, so that what is parsed is what was hashed.
    let mut copy = File::from(first.try_clone().map_err(|e| error(&path, e))?);
    copy.read_to_end(&mut bytes).map_err(|e| error(&path, e))?;
    copy.seek(SeekFrom::Start(0)).map_err(|e| error(&path, e))?;
    let manifest = Manifest::parse(&bytes).map_err(|e| error(&path, e))?;
    let (mut paths, mut fds) = (vec!["manifest.json".to_owned()], vec![first]);
    // Cards and bills of material are for people; no engine reads them.
    let used = manifest.files.iter().filter(|f| !matches!(f.role, Role::Card | Role::Mlbom));
    for file in used {
        let path = file.path.as_str();
        fds.push(seal(&dir.join(path), Some(file.length), &file.sha256)?);
        paths.push(path.to_owned());
    }
    Ok(SealedBundle { manifest, paths, fds })
}
