//! The files of a model: found, named and hashed.
//!
//! What always holds: every path is below the model; what is neither a plain file nor a directory is refused, and so are
//! links unless they are allowed and lead to a file inside; a file that changes while it is hashed is refused, so what was
//! hashed was one state of it. Names are text, with `/` between their parts, as they stand on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use longshore_bundle::oms::{Model, check_name};
use longshore_trust::Digest;
use sha2::{Digest as _, Sha256};

use crate::context::Failure;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Deepest nesting of directories.
const MAX_DEPTH: usize = 64;
/// Most files of a model.
const MAX_FILES: usize = 1_000_000;

/// A directory, or one file.
pub struct Tree {
    root: PathBuf,
    /// With links resolved, for telling what is inside.
    real: PathBuf,
    name: String,
    is_file: bool,
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::refused("oms.file", format!("{}: {why}", path.display()))
}

impl Tree {
    /// Of this path.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        let usage = |e| Failure::usage(format!("cannot read the model {}: {e}", root.display()));
        let real = fs::canonicalize(root).map_err(usage)?;
        let meta = fs::metadata(&real).map_err(usage)?;
        if !meta.is_dir() && !meta.is_file() {
            return Err(refused(root, "it is neither a file nor a directory"));
        }
        let name = real.file_name().unwrap_or("model".as_ref()).to_str();
        let name = name.ok_or_else(|| refused(root, "its name is not UTF-8"))?.to_owned();
        Ok(Self { root: root.to_owned(), real, name, is_file: meta.is_file() })
    }
    /// Its own name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Whether it is one file.
    pub fn is_file(&self) -> bool {
        self.is_file
    }
    /// A path below it, as a signature names it: absolute ones are looked for inside, others are taken as they are.
    /// `None` for what lies elsewhere, or for the whole.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let inside = if path.is_absolute() {
            let resolved = || {
                let parent = fs::canonicalize(path.parent()?).ok()?;
                Some(parent.join(path.file_name()?))
            };
            let found = path.strip_prefix(&self.root).ok().map(Path::to_owned);
            found.or_else(|| resolved()?.strip_prefix(&self.real).ok().map(Path::to_owned))?
        } else {
            // Relative to the model, or to here: whichever there is.
            match self.root.join(path).exists() {
                true => path.to_owned(),
                false => {
                    let here = std::path::absolute(path).ok()?;
                    match here.strip_prefix(&self.real) {
                        Ok(inside) => inside.to_owned(),
                        Err(_) => path.to_owned(),
                    }
                }
            }
        };
        let mut parts = Vec::new();
        for part in inside.components() {
            match part {
                Component::Normal(p) => parts.push(p.to_str()?),
                Component::CurDir => {}
                _ => return None,
            }
        }
        (!parts.is_empty()).then(|| parts.join("/"))
    }

    /// Every file that is not left out, by name.
    pub fn list(&self, ignored: &[String], follow_links: bool) -> Result<BTreeMap<String, PathBuf>, Failure> {
        let mut found = BTreeMap::new();
        if self.is_file {
            found.insert(self.name.clone(), self.real.clone());
        } else {
            self.walk("", ignored, follow_links, 0, &mut found)?;
        }
        Ok(found)
    }

    fn walk(
        &self,
        below: &str,
        ignored: &[String],
        follow_links: bool,
        depth: usize,
        found: &mut BTreeMap<String, PathBuf>,
    ) -> Result<(), Failure> {
        let dir = self.root.join(below);
        if depth > MAX_DEPTH {
            return Err(refused(&dir, format!("nested deeper than {MAX_DEPTH} directories")));
        }
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&dir).map_err(|e| refused(&dir, e))? {
            let name = entry.map_err(|e| refused(&dir, e))?.file_name();
            let text = name.to_str().ok_or_else(|| refused(&dir.join(&name), "its name is not UTF-8"))?;
            names.insert(text.to_owned());
        }
        for name in names {
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if Model::ignores(ignored, &path) {
                continue;
            }
            check_name(&path).map_err(|e| Failure::refused("oms.name", e.to_string()))?;
            let at = self.root.join(&path);
            let meta = fs::symlink_metadata(&at).map_err(|e| refused(&at, e))?;
            if meta.is_dir() {
                self.walk(&path, ignored, follow_links, depth + 1, found)?;
            } else {
                found.insert(path, self.plain(&at, &meta, follow_links)?);
            }
            if found.len() > MAX_FILES {
                return Err(refused(&self.root, format!("more than {MAX_FILES} files")));
            }
        }
        Ok(())
    }

    /// These files, where they are there.
    pub fn pick<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        follow_links: bool,
    ) -> Result<BTreeMap<String, PathBuf>, Failure> {
        let mut found = BTreeMap::new();
        for name in names {
            let at =
                if self.is_file && *name == self.name { self.real.clone() } else { self.root.join(name) };
            match fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_dir() => {
                    return Err(refused(&at, "it is a directory, where a file was signed"));
                }
                Ok(meta) => {
                    let at = self.plain(&at, &meta, follow_links)?;
                    // A directory on the way may be a link as well.
                    let real = fs::canonicalize(&at).map_err(|e| refused(&at, e))?;
                    if !real.starts_with(&self.real) {
                        return Err(refused(&at, "it lies outside of the model"));
                    }
                    found.insert(name.clone(), at);
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                    ) => {}
                Err(e) => return Err(refused(&at, e)),
            }
        }
        Ok(found)
    }

    /// A plain file, or the one inside that a link leads to.
    fn plain(&self, at: &Path, meta: &Metadata, follow_links: bool) -> Result<PathBuf, Failure> {
        if meta.is_file() {
            return Ok(at.to_owned());
        }
        if !meta.is_symlink() {
            return Err(refused(
                at,
                "it is a device, pipe or socket: only files and directories can be signed",
            ));
        }
        if !follow_links {
            return Err(refused(
                at,
                "it is a symbolic link: replace it by the file, leave it out, or sign with --allow-symlinks",
            ));
        }
        let real = fs::canonicalize(at).map_err(|e| refused(at, format!("the link leads nowhere: {e}")))?;
        match () {
            () if !real.starts_with(&self.real) => Err(refused(at, "the link leads out of the model")),
            () if !real.is_file() => Err(refused(at, "the link does not lead to a file")),
            () => Ok(real),
        }
    }

    /// Hashes files.
    pub fn hash(
        &self,
        paths: &BTreeMap<String, PathBuf>,
        quiet: bool,
    ) -> Result<BTreeMap<String, Digest>, Failure> {
        let total = paths.values().filter_map(|p| fs::metadata(p).ok()).map(|m| m.len()).sum();
        let bar = if quiet { indicatif::ProgressBar::hidden() } else { indicatif::ProgressBar::new(total) };
        let style =
            indicatif::ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}");
        bar.set_style(style.expect("a constant template"));
        let mut hashes = BTreeMap::new();
        let mut buffer = vec![0u8; CHUNK];
        for (name, path) in paths {
            hashes.insert(name.clone(), hash_file(path, &mut buffer, &bar)?);
        }
        bar.finish_and_clear();
        Ok(hashes)
    }
}

/// What tells one state of a file from another.
fn state(meta: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

fn hash_file(path: &Path, buffer: &mut [u8], bar: &indicatif::ProgressBar) -> Result<Digest, Failure> {
    let before = fs::symlink_metadata(path).map_err(|e| refused(path, e))?;
    let mut file = File::open(path).map_err(|e| refused(path, e))?;
    let opened = file.metadata().map_err(|e| refused(path, e))?;
    let changed = || refused(path, "it changed while it was hashed: sign what nobody writes to");
    if state(&opened) != state(&before) {
        return Err(changed());
    }
    let (mut sha, mut length) = (Sha256::new(), 0u64);
    loop {
        let n = file.read(buffer).map_err(|e| refused(path, e))?;
        if n == 0 {
            break;
        }
        sha.update(&buffer[..n]);
        length += n as u64;
        bar.inc(n as u64);
    }
    let after = file.metadata().map_err(|e| refused(path, e))?;
    if length != before.len() || state(&after) != state(&before) {
        return Err(changed());
    }
    Ok(Digest(sha.finalize().into()))
}
