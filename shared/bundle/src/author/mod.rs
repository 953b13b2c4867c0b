//! Making a bundle out of an author's files.
//!
//! Always true here: the same inputs give the same bytes (the time of the build is an argument); nothing is written
//! before everything has passed the checks a device makes, and what is written appears all at once.

mod data;
mod draft;
mod mlbom;
mod number;
mod vectors;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use longshore_trust::Digest;

pub use data::{DataError, read_columns, read_columns_with, read_npz};
pub use draft::{
    answers, answers_of_arrays, columns_of_arrays, describe_classes, draft, features_of, infer_outputs,
};
pub use mlbom::mlbom;
pub use number::Digits;
pub use vectors::golden_of;

use crate::{Bundle, BundlePath, FileEntry, MANIFEST, Manifest, ManifestError, Refusal, Role};

/// Columns of a table, each with its name.
pub type NamedColumns = Vec<(String, longshore_stats::profile::Column)>;

/// A file to go into a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where it will lie.
    pub path: BundlePath,
    /// What it is.
    pub role: Role,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl NewFile {
    /// A file under the usual name of its role.
    #[must_use]
    pub fn of(role: Role, bytes: Vec<u8>) -> Self {
        let name = match role {
            Role::Model => "model.onnx",
            Role::Reference => "reference.lsp",
            Role::Golden => "golden.safetensors",
            Role::Card => "card.md",
            Role::Mlbom => "mlbom.cdx.json",
        };
        Self { path: BundlePath::new(name).expect("the usual names are valid"), role, bytes }
    }
}

/// A bundle that is ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The manifest, with every file pinned.
    pub manifest: Manifest,
    /// Its bytes.
    pub manifest_bytes: Vec<u8>,
    /// The files it names.
    pub files: Vec<NewFile>,
}

/// Pins `files` in the manifest and checks everything as a device would, but for running the model.
///
/// # Errors
/// [`ManifestError`]: what a device would refuse.
pub fn assemble(mut manifest: Manifest, mut files: Vec<NewFile>) -> Result<Assembled, ManifestError> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    manifest.files = files
        .iter()
        .map(|f| FileEntry {
            path: f.path.clone(),
            sha256: Digest::of(&f.bytes),
            length: f.bytes.len() as u64,
            role: f.role,
        })
        .collect();
    let manifest_bytes = manifest.to_json();
    // What a device reads is the bytes, so the bytes are what is checked.
    let manifest = Manifest::parse(&manifest_bytes)?;
    let bytes_of = |role: Role| files.iter().find(|f| f.role == role).map(|f| f.bytes.as_slice());
    if let Some(golden) = bytes_of(Role::Golden) {
        crate::golden::parse(golden, &manifest)?;
    }
    if let Some(profile) = bytes_of(Role::Reference) {
        crate::reference::parse(profile, &manifest)?;
    }
    Ok(Assembled { manifest, manifest_bytes, files })
}

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something is there already.
    #[error("{0} exists already; remove it or choose another --out")]
    Exists(PathBuf),
    /// The file system refused.
    #[error("cannot write {path}: {error}")]
    Io {
        /// What was being written.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// What was written is not what was to be written.
    #[error(transparent)]
    Differs(#[from] ManifestError),
}

impl Assembled {
    /// Writes the bundle to `out`, which must not exist (an empty folder may): first beside it, then renamed, so that
    /// half a bundle is never there.
    ///
    /// # Errors
    /// [`WriteError`]; `out` is untouched then.
    pub fn write(&self, out: &Path) -> Result<Bundle, WriteError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| WriteError::Io { path, error }
        };
        match fs::read_dir(out).map(|mut entries| entries.next().is_some()) {
            Ok(false) => {}
            Ok(true) => return Err(WriteError::Exists(out.to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(WriteError::Exists(out.to_owned()));
            }
            Err(e) => return Err(io(out)(e)),
        }
        let parent = match out.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
            _ => PathBuf::from("."),
        };
        fs::create_dir_all(&parent).map_err(io(&parent))?;
        let digest = Manifest::digest(&self.manifest_bytes);
        let staging = parent.join(format!(".longshore-{}-{}", digest.short(), std::process::id()));
        let written = self.write_into(&staging).and_then(|()| {
            if out.is_dir() {
                fs::remove_dir(out).map_err(io(out))?;
            }
            fs::rename(&staging, out).map_err(io(out))
        });
        if written.is_err() {
            // The failure is what matters; what is left behind is hidden and named after this process.
            let _ = fs::remove_dir_all(&staging);
        }
        written?;
        Ok(crate::read_dir(out)?)
    }

    fn write_into(&self, dir: &Path) -> Result<(), WriteError> {
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            let folder = path.parent().unwrap_or(dir);
            fs::create_dir_all(folder)
                .and_then(|()| fs::File::create(&path))
                .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
                .map_err(|error| WriteError::Io { path: path.clone(), error })
        };
        for f in &self.files {
            put(f.path.as_str(), &f.bytes)?;
        }
        put(MANIFEST, &self.manifest_bytes)
    }
}

pub(crate) fn rule(file: &str, field: impl Into<String>, text: impl Into<String>) -> ManifestError {
    ManifestError::new(file, field, Refusal::Rule(text.into()))
}
