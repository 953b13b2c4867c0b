//! Reading a bundle from a directory. A [`Bundle`] that exists has exactly the files its manifest pins.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use longshore_trust::Digest;

use crate::{FileEntry, MANIFEST, Manifest, ManifestError, Refusal, Role, SIGNATURE};

/// A bundle on disk whose files have been compared with the manifest.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Where it lies.
    pub dir: PathBuf,
    /// The bytes of its manifest.
    pub manifest_bytes: Vec<u8>,
    /// What they say.
    pub manifest: Manifest,
    /// SHA-256 of the manifest: the identity of the bundle.
    pub digest: Digest,
}

impl Bundle {
    /// The content of a file, compared with the manifest once more: what is used is what was checked.
    ///
    /// # Errors
    /// When the file has changed or cannot be read.
    pub fn read(&self, file: &FileEntry) -> Result<Vec<u8>, ManifestError> {
        read_pinned(&self.dir, file)
    }
    /// The content of the file with a role, when there is one.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn read_role(&self, role: Role) -> Result<Option<Vec<u8>>, ManifestError> {
        self.manifest.file(role).map(|f| self.read(f)).transpose()
    }
}

/// Reads `dir`, parses its manifest and compares every file's length and SHA-256.
///
/// # Errors
/// [`ManifestError`]: what is wrong with which file.
pub fn read_dir(dir: &Path) -> Result<Bundle, ManifestError> {
    let manifest_bytes = read_plain(dir, MANIFEST, crate::parse::MANIFEST_MAX_BYTES as u64 + 1)?;
    let manifest = Manifest::parse(&manifest_bytes)?;
    for file in &manifest.files {
        read_pinned(dir, file)?;
    }
    no_strays(dir, "", &manifest)?;
    let digest = Manifest::digest(&manifest_bytes);
    Ok(Bundle { dir: dir.to_owned(), manifest_bytes, manifest, digest })
}

fn io(file: &str, e: &std::io::Error) -> ManifestError {
    let reason = match e.kind() {
        std::io::ErrorKind::NotFound => Refusal::MissingFile,
        _ => Refusal::Io(e.to_string()),
    };
    ManifestError::new(file, "(content)", reason)
}

fn read_pinned(dir: &Path, file: &FileEntry) -> Result<Vec<u8>, ManifestError> {
    let path = file.path.as_str();
    let bytes = read_plain(dir, path, file.length.saturating_add(1))?;
    if bytes.len() as u64 != file.length {
        let found = fs::metadata(dir.join(path)).map_or(bytes.len() as u64, |m| m.len());
        return Err(ManifestError::new(path, "length", Refusal::Length { found, expected: file.length }));
    }
    let found = Digest::of(&bytes);
    if found != file.sha256 {
        return Err(ManifestError::new(path, "sha256", Refusal::Hash { found, expected: file.sha256 }));
    }
    Ok(bytes)
}

/// Reads at most `limit` bytes of a plain file; no part of the path below `dir` may be a link.
fn read_plain(dir: &Path, path: &str, limit: u64) -> Result<Vec<u8>, ManifestError> {
    let mut at = dir.to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    for (i, part) in parts.iter().enumerate() {
        at.push(part);
        let meta = fs::symlink_metadata(&at).map_err(|e| io(path, &e))?;
        let kind = kind_of(&meta);
        let last = i + 1 == parts.len();
        if (last && kind != "a file") || (!last && kind != "a folder") {
            return Err(ManifestError::new(path, "(type)", Refusal::NotAFile(kind)));
        }
    }
    let mut out = Vec::new();
    let file = fs::File::open(&at).map_err(|e| io(path, &e))?;
    file.take(limit).read_to_end(&mut out).map_err(|e| io(path, &e))?;
    Ok(out)
}

fn kind_of(meta: &fs::Metadata) -> &'static str {
    let t = meta.file_type();
    if t.is_symlink() {
        "a symbolic link"
    } else if t.is_file() {
        "a file"
    } else if t.is_dir() {
        "a folder"
    } else {
        "a device, pipe or socket"
    }
}

fn no_strays(dir: &Path, below: &str, manifest: &Manifest) -> Result<(), ManifestError> {
    let here = if below.is_empty() { dir.to_owned() } else { dir.join(below) };
    let shown = if below.is_empty() { "." } else { below };
    for entry in fs::read_dir(&here).map_err(|e| io(shown, &e))? {
        let entry = entry.map_err(|e| io(shown, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = kind_of(&entry.metadata().map_err(|e| io(&path, &e))?);
        match kind {
            "a folder" if below.is_empty() => no_strays(dir, &path, manifest)?,
            "a file" => {
                let known = path == MANIFEST || path == SIGNATURE;
                if !known && !manifest.files.iter().any(|f| f.path.as_str() == path) {
                    return Err(ManifestError::new(&path, "(name)", Refusal::StrayFile));
                }
            }
            _ => return Err(ManifestError::new(&path, "(type)", Refusal::NotAFile(kind))),
        }
    }
    Ok(())
}
