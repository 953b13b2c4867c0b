//! From a load request and its descriptors to a model that can answer. Nothing is believed: every file is sealed, the
//! manifest has the digest that was asked for, every other file has the length and hash that the manifest names.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use longshore_bundle::{FileEntry, Manifest, Role};
use longshore_runtime::{Limits, Model};
use longshore_stats::Profile;
use longshore_trust::Digest;
use longshore_wire::v1::Reason;

use super::protocol::LoadRequest;
use super::room::Room;
use super::sealed::Sealed;

/// Longest detail of a reason, characters (`wire.md`).
const DETAIL_CHARS: usize = 500;

/// A bundle whose model is in memory.
#[derive(Debug)]
pub struct LoadedBundle {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its model.
    pub model: Model,
    /// What the monitored features looked like in the author's data, where there is a reference.
    pub reference: Option<Profile>,
    /// Content of the golden vectors, when they were handed over.
    pub golden: Option<Sealed>,
    /// Milliseconds to parse and optimise.
    pub load_ms: u32,
}

/// A reason with its detail cut to what the wire takes.
#[must_use]
pub fn reason(code: impl Into<String>, detail: impl std::fmt::Display) -> Reason {
    Reason { code: code.into(), detail: detail.to_string().chars().take(DETAIL_CHARS).collect() }
}

/// Loads the bundle of `request`; `fds` are one sealed memfd for each of its files. Where models are loaded already, `room`
/// says whether one more fits.
///
/// # Errors
/// A typed reason: `bundle.…` for the files, `model.…` for the model, `engine.…` for a broken request.
pub(super) fn load(
    request: &LoadRequest,
    fds: Vec<OwnedFd>,
    room: Option<&Room>,
) -> Result<LoadedBundle, Reason> {
    if request.files.len() != fds.len() {
        let detail = format!("{} files were named and {} handed over", request.files.len(), fds.len());
        return Err(reason("engine.request", detail));
    }
    let mut files = BTreeMap::new();
    for (path, fd) in request.files.iter().zip(fds) {
        let sealed = Sealed::open(fd).map_err(|e| reason("engine.not_sealed", format!("{path}: {e}")))?;
        files.insert(path.as_str(), sealed);
    }
    let manifest = read_manifest(request, files.get("manifest.json"))?;
    for entry in &manifest.files {
        if let Some(content) = files.get(entry.path.as_str()) {
            check_file(entry, content)?;
        }
    }
    let onnx = files.get(manifest.model_path()).ok_or_else(|| {
        reason("engine.request", format!("the model {} was not handed over", manifest.model_path()))
    })?;
    room.map_or(Ok(()), |r| r.for_model(onnx.len() as u64))?;
    let start = Instant::now();
    let model = Model::load(&manifest, onnx, &Limits::default()).map_err(|e| reason(e.code(), e))?;
    let load_ms = u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX);
    let reference = reference(&manifest, |path| files.get(path).map(|f| &f[..]))?;
    let golden = manifest.file(Role::Golden).and_then(|f| files.remove(f.path.as_str()));
    Ok(LoadedBundle { manifest, model, reference, golden, load_ms })
}

/// The monitored features of the reference of a bundle that has both, checked against its manifest. Its bytes were hashed
/// before.
///
/// # Errors
/// `bundle.reference` when it is broken or does not have what the manifest monitors.
pub fn reference<'a>(
    manifest: &Manifest,
    content: impl FnOnce(&str) -> Option<&'a [u8]>,
) -> Result<Option<Profile>, Reason> {
    let Some(file) = manifest.file(Role::Reference) else { return Ok(None) };
    let path = file.path.as_str();
    let bytes =
        content(path).ok_or_else(|| reason("engine.request", format!("{path} was not handed over")))?;
    let profile = longshore_bundle::reference::parse(bytes, manifest);
    let profile = profile.map_err(|e| reason("bundle.reference", e))?;
    let monitored = longshore_bundle::reference::monitored(&profile, manifest);
    Ok(Some(monitored).filter(|p| !p.features.is_empty()))
}

fn read_manifest(request: &LoadRequest, bytes: Option<&Sealed>) -> Result<Manifest, Reason> {
    let bytes = bytes.ok_or_else(|| reason("engine.request", "manifest.json was not handed over"))?;
    let found = Digest::of(bytes);
    if found != request.digest {
        let detail = format!("manifest.json has SHA-256 {found}, wanted {}", request.digest);
        return Err(reason("bundle.digest", detail));
    }
    let manifest = Manifest::parse(bytes).map_err(|e| reason(e.reason.code(), &e))?;
    if manifest.model != request.model || manifest.version.to_string() != request.version {
        let detail = format!(
            "the manifest is of {} {}, wanted {} {}",
            manifest.model, manifest.version, request.model, request.version
        );
        return Err(reason("bundle.identity", detail));
    }
    Ok(manifest)
}

fn check_file(entry: &FileEntry, content: &[u8]) -> Result<(), Reason> {
    if content.len() as u64 != entry.length {
        let detail =
            format!("{} is {} bytes long, the manifest says {}", entry.path, content.len(), entry.length);
        return Err(reason("bundle.length", detail));
    }
    let found = Digest::of(content);
    if found != entry.sha256 {
        let detail = format!("{} has SHA-256 {found}, the manifest says {}", entry.path, entry.sha256);
        return Err(reason("bundle.hash", detail));
    }
    Ok(())
}
