//! The whole check of a bundle: files, load, golden vectors. `longshore bundle test`, and what the fleet does with an
//! upload before it believes it.

use std::path::Path;

use longshore_bundle::{Bundle, Manifest, ManifestError, Role};
use longshore_trust::Digest;
use serde::Serialize;

use crate::golden::{self, GoldenError, GoldenReport};
use crate::{Limits, LoadError, MemoryFigures, Model};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Model name.
    pub model: String,
    /// Version.
    pub version: String,
    /// Identity of the bundle: SHA-256 of its manifest.
    pub digest: Digest,
    /// Files checked, the manifest included.
    pub files: usize,
    /// Bytes of the files the manifest names.
    pub total_bytes: u64,
    /// Time to load and optimise the model, ms.
    pub load_ms: u64,
    /// Peak resident memory of the process that checked, kB; `None` where the system does not tell.
    pub peak_rss_kb: Option<u64>,
    /// What the golden vectors showed.
    pub golden: GoldenReport,
}

/// Why a bundle fails its check.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// A file or the manifest.
    #[error(transparent)]
    Bundle(#[from] ManifestError),
    /// The model does not load.
    #[error("{file}: {error}")]
    Load {
        /// File of the model.
        file: String,
        /// Why.
        error: LoadError,
    },
    /// The golden vectors.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// More memory than the manifest promises.
    #[error("checking took {found_mb} MB of memory, `requires.max_rss_mb` allows {limit_mb} MB")]
    Memory {
        /// Measured, MB.
        found_mb: u64,
        /// Allowed, MB.
        limit_mb: u32,
    },
}

impl CheckError {
    /// Stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(e) => e.reason.code(),
            Self::Load { error, .. } => error.code(),
            Self::Golden(e) => e.code(),
            Self::Memory { .. } => "check.memory",
        }
    }
}

/// Checks the bundle in `dir` as a device would.
///
/// # Errors
/// [`CheckError`]: the first thing a device would refuse.
pub fn recheck(dir: &Path, limits: &Limits) -> Result<CheckReport, CheckError> {
    recheck_bundle(&longshore_bundle::read_dir(dir)?, limits)
}

/// As [`recheck`], for a directory that has been read.
///
/// # Errors
/// As [`recheck`].
pub fn recheck_bundle(bundle: &Bundle, limits: &Limits) -> Result<CheckReport, CheckError> {
    Contents::read(bundle)?.check(limits, &MemoryFigures::open())
}

/// The files of a bundle that a check looks into, in memory: what comes after needs no file system.
#[derive(Debug)]
pub struct Contents {
    manifest: Manifest,
    digest: Digest,
    model: Vec<u8>,
    golden: Vec<u8>,
    reference: Option<Vec<u8>>,
}

impl Contents {
    /// Reads them, each compared with the manifest once more. None of them is parsed.
    ///
    /// # Errors
    /// [`CheckError::Bundle`] when one is missing or has changed.
    pub fn read(bundle: &Bundle) -> Result<Self, CheckError> {
        let read = |role: Role| {
            let missing =
                || ManifestError::manifest("files", longshore_bundle::Refusal::RoleCount(role.name(), 0));
            bundle.read_role(role)?.ok_or_else(missing)
        };
        Ok(Self {
            manifest: bundle.manifest.clone(),
            digest: bundle.digest,
            model: read(Role::Model)?,
            golden: read(Role::Golden)?,
            reference: bundle.read_role(Role::Reference)?,
        })
    }

    /// Parses, loads and runs them.
    ///
    /// # Errors
    /// [`CheckError`]: the first thing a device would refuse.
    pub fn check(&self, limits: &Limits, memory: &MemoryFigures) -> Result<CheckReport, CheckError> {
        let manifest = &self.manifest;
        if let Some(profile) = &self.reference {
            longshore_bundle::reference::parse(profile, manifest)?;
        }
        let vectors = longshore_bundle::golden::parse(&self.golden, manifest)?;
        let begin = std::time::Instant::now();
        let model = Model::load(manifest, &self.model, limits)
            .map_err(|error| CheckError::Load { file: manifest.model_path().to_owned(), error })?;
        let load_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let golden = golden::run_vectors(&model, manifest, &vectors)?;
        let peak_rss_kb = memory.peak_kib();
        if let (Some(kb), Some(limit_mb)) = (peak_rss_kb, manifest.requires.max_rss_mb)
            && kb > u64::from(limit_mb) * 1024
        {
            return Err(CheckError::Memory { found_mb: kb / 1024, limit_mb });
        }
        Ok(CheckReport {
            model: manifest.model.to_string(),
            version: manifest.version.to_string(),
            digest: self.digest,
            files: manifest.files.len() + 1,
            total_bytes: manifest.total_bytes(),
            load_ms,
            peak_rss_kb,
            golden,
        })
    }
}
