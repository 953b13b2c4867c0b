//! The files of one bundle: fetched into `staging/`, put into `bundles/<digest>/` by one rename.
//!
//! The manifest comes first; it names every other file, and each must be a target of its own with the same length and
//! hash: director, offline keys and manifest have to agree. A directory under `bundles/` is complete or not there.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use longshore_agent_core::assignment::reason;
use longshore_agent_core::update::{FetchFailure, Installed};
use longshore_bundle::{DeviceFacts, Manifest, Verdict};
use longshore_trust::tuf::Trusted;
use longshore_trust::{Digest, ModelName};

use super::file::{FileError, Limits, RangeSource, fetch_file, hash_file};

/// Code of the answer of a download that was cancelled.
pub const CANCELLED: &str = "download.cancelled";
/// Longest manifest, bytes.
const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// Everything a download needs.
#[derive(Debug, Clone)]
pub struct BundleJob {
    /// The model.
    pub model: ModelName,
    /// The bundle.
    pub wanted: Installed,
    /// Verified metadata.
    pub trusted: Arc<Trusted>,
    /// `bundles/` and `staging/` are in here.
    pub state_dir: PathBuf,
    /// Bytes that have to stay free.
    pub keep_free_bytes: u64,
    /// Bytes this attempt may fetch.
    pub attempt_bytes: u64,
    /// Memory of this device, MB.
    pub memory_mb: Option<u64>,
    /// Features of this agent.
    pub features: Vec<String>,
    /// Set when nobody wants it any more.
    pub cancel: Arc<AtomicBool>,
}

/// Where a bundle lies when it is complete.
#[must_use]
pub fn bundle_dir(state_dir: &Path, bundle: &Digest) -> PathBuf {
    state_dir.join("bundles").join(bundle.to_hex())
}

fn failed(e: FileError) -> FetchFailure {
    let text = e.to_string();
    match e {
        FileError::Cancelled => FetchFailure::Transient(reason(CANCELLED, text)),
        FileError::Transient { .. } => FetchFailure::Transient(reason("download.network", text)),
        FileError::Slow { .. } => FetchFailure::Transient(reason("download.slow", text)),
        FileError::Disk { .. } => FetchFailure::Transient(reason("download.disk", text)),
        FileError::NoSpace { .. } => FetchFailure::NoSpace(reason("no_space", text)),
        FileError::Refused { .. } => FetchFailure::Refused(reason("download.refused", text)),
        FileError::Mismatch { .. } => FetchFailure::Refused(reason("download.mismatch", text)),
    }
}

fn disk(what: &Path, e: io::Error) -> FetchFailure {
    let text = format!("{}: {e}", what.display());
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            FetchFailure::NoSpace(reason("no_space", text))
        }
        _ => FetchFailure::Transient(reason("download.disk", text)),
    }
}

fn sync_dir(dir: &Path) -> Result<(), FetchFailure> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| disk(dir, e))
}

/// A file of a bundle whose hash was checked just now.
struct Part {
    path: String,
    part: PathBuf,
}

impl BundleJob {
    /// Runs to the end; blocking.
    ///
    /// # Errors
    /// [`FetchFailure`], with what is worth another try told apart.
    pub fn run(&self, source: &dyn RangeSource) -> Result<(), FetchFailure> {
        let begun = Instant::now();
        let clock = || begun.elapsed();
        let limits = Limits { cancel: &self.cancel, budget: Cell::new(self.attempt_bytes), clock: &clock };
        let target = bundle_dir(&self.state_dir, &self.wanted.bundle);
        if verify_bundle(&target, &self.wanted.bundle).is_ok() {
            return Ok(());
        }
        let staging = self.state_dir.join("staging");
        fs::create_dir_all(&staging).map_err(|e| disk(&staging, e))?;

        let manifest_part = self.one(
            source,
            &limits,
            &staging,
            &self.wanted.manifest_path,
            self.wanted.length,
            &self.wanted.bundle,
        )?;
        let bytes = fs::read(&manifest_part).map_err(|e| disk(&manifest_part, e))?;
        let manifest = self.read_manifest(&bytes)?;
        self.room(&staging, manifest.total_bytes())?;

        let base = self.wanted.manifest_path.trim_end_matches("manifest.json");
        let mut parts = vec![Part { path: "manifest.json".into(), part: manifest_part }];
        for file in &manifest.files {
            let path = format!("{base}{}", file.path.as_str());
            let part = self.one(source, &limits, &staging, &path, file.length, &file.sha256)?;
            parts.push(Part { path: file.path.as_str().to_owned(), part });
        }
        self.assemble(&staging, &target, &parts)
    }

    fn read_manifest(&self, bytes: &[u8]) -> Result<Manifest, FetchFailure> {
        let refused = |code: &str, text: String| FetchFailure::Refused(reason(code, text));
        let manifest = Manifest::parse(bytes).map_err(|e| refused("manifest.invalid", e.to_string()))?;
        if manifest.model != self.model || manifest.version.to_string() != self.wanted.version {
            let text = format!(
                "the manifest is of {} {}, not of {} {}",
                manifest.model, manifest.version, self.model, self.wanted.version
            );
            return Err(refused("manifest.lies", text));
        }
        let agent = semver::Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo checked it");
        let features: Vec<&str> = self.features.iter().map(String::as_str).collect();
        let facts = DeviceFacts {
            arch: std::env::consts::ARCH,
            agent: &agent,
            memory_mb: self.memory_mb,
            features: &features,
        };
        match manifest.requires.verdict(&facts) {
            Verdict::Compatible => Ok(manifest),
            Verdict::Incompatible { reason: why } => Err(FetchFailure::Rejected(reason("incompatible", why))),
            Verdict::Outgrown { needs } => {
                Err(FetchFailure::Rejected(reason("outgrown", format!("it needs agent {needs} or newer"))))
            }
        }
    }

    fn room(&self, staging: &Path, total: u64) -> Result<(), FetchFailure> {
        let stat = rustix::fs::statvfs(staging).map_err(|e| disk(staging, e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < total.saturating_add(self.keep_free_bytes) {
            let text = format!(
                "{total} bytes are needed and {} are to stay free; {free} are free",
                self.keep_free_bytes
            );
            return Err(FetchFailure::NoSpace(reason("no_space", text)));
        }
        Ok(())
    }

    /// One file into staging, after metadata has confirmed its length and hash.
    fn one(
        &self,
        source: &dyn RangeSource,
        limits: &Limits<'_>,
        staging: &Path,
        path: &str,
        length: u64,
        sha256: &Digest,
    ) -> Result<PathBuf, FetchFailure> {
        let lies = |text: String| FetchFailure::Refused(reason("manifest.disagrees_with_targets", text));
        let found = self
            .trusted
            .find(path)
            .ok_or_else(|| lies(format!("{path} is not a target that was approved")))?;
        let signed = self.trusted.target(path).map(|(_, i)| (i.length, i.sha256));
        if signed != Some((length, *sha256)) {
            return Err(lies(format!("{path}: length or hash differ from approved metadata")));
        }
        if path.ends_with("/manifest.json") && length > MANIFEST_BYTES {
            return Err(lies(format!("{path}: a manifest of {length} bytes")));
        }
        let part = staging.join(format!("{sha256}.part"));
        let url = format!("targets/{}", found.url());
        fetch_file(source, &url, length, sha256, &part, limits).map_err(failed)?;
        Ok(part)
    }

    /// Renames the parts into place and makes it durable.
    fn assemble(&self, staging: &Path, target: &Path, parts: &[Part]) -> Result<(), FetchFailure> {
        let making = staging.join(self.wanted.bundle.to_hex());
        let _ = fs::remove_dir_all(&making);
        let mut dirs = BTreeSet::from([making.clone()]);
        for p in parts {
            let to = making.join(&p.path);
            let parent = to.parent().unwrap_or(&making).to_owned();
            fs::create_dir_all(&parent).map_err(|e| disk(&parent, e))?;
            dirs.insert(parent);
            // Two files of a bundle may have the same bytes: the second finds its part gone.
            match fs::rename(&p.part, &to) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    let twin = parts.iter().find(|q| q.part == p.part && making.join(&q.path).exists());
                    let twin = twin.ok_or_else(|| disk(&p.part, e))?;
                    fs::copy(making.join(&twin.path), &to).map_err(|e| disk(&to, e))?;
                    File::open(&to).and_then(|f| f.sync_data()).map_err(|e| disk(&to, e))?;
                }
                other => other.map_err(|e| disk(&to, e))?,
            }
        }
        dirs.iter().try_for_each(|d| sync_dir(d))?;
        let bundles = self.state_dir.join("bundles");
        fs::create_dir_all(&bundles).map_err(|e| disk(&bundles, e))?;
        // A damaged copy that is in the way has just been replaced whole.
        let _ = fs::remove_dir_all(target);
        fs::rename(&making, target).map_err(|e| disk(target, e))?;
        sync_dir(&bundles)?;
        sync_dir(&self.state_dir)
    }
}

/// Hashes every file of a bundle on the disk; answers its manifest.
///
/// # Errors
/// Which file is missing or wrong.
pub fn verify_bundle(dir: &Path, bundle: &Digest) -> Result<Manifest, String> {
    let path = dir.join("manifest.json");
    let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    if Digest::of(&bytes) != *bundle {
        return Err(format!("{}: not the manifest that was approved", path.display()));
    }
    let manifest = Manifest::parse(&bytes).map_err(|e| e.to_string())?;
    for file in &manifest.files {
        let path = dir.join(file.path.as_str());
        let (length, sha256) = hash_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if length != file.length || sha256 != file.sha256 {
            return Err(format!("{}: its bytes are not the ones that were approved", path.display()));
        }
    }
    Ok(manifest)
}

/// Deletes bundles that no slot holds, and staging that no download needs.
pub fn collect(state_dir: &Path, keep: &BTreeSet<Digest>, downloading: bool) {
    let bundles = state_dir.join("bundles");
    for entry in fs::read_dir(&bundles).into_iter().flatten().flatten() {
        let known = entry.file_name().to_string_lossy().parse::<Digest>().is_ok_and(|d| keep.contains(&d));
        if !known && let Err(e) = fs::remove_dir_all(entry.path()) {
            tracing::warn!("{}: {e}", entry.path().display());
        }
    }
    if !downloading {
        for entry in fs::read_dir(state_dir.join("staging")).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(e) = removed {
                tracing::warn!("{}: {e}", path.display());
            }
        }
    }
}
