//! Bundles: what one model version is, and how it is made and read.
//!
//! A bundle is a directory of files named and pinned by `manifest.json`; its identity is the SHA-256 of that manifest.
//! Always true here: a [`Manifest`] that exists obeys every rule of the schema; reading never opens an archive; parsing
//! and validating do no I/O (only [`dir`] and [`author`] touch files); nothing reads a clock or a random source.

#![forbid(unsafe_code)]

#[cfg(feature = "author")]
pub mod author;
mod check;
pub mod dir;
mod error;
pub mod golden;
mod manifest;
#[cfg(feature = "oms")]
pub mod oms;
mod parse;
mod path;
pub mod reference;
mod steps;
mod tensor;
mod verdict;

pub use dir::{Bundle, read_dir};
pub use error::{ManifestError, Refusal};
pub use golden::Golden;
pub use manifest::{
    Batch, CodeRef, DatasetRef, FEATURES_MAX, Feature, FeatureKind, FileEntry, Lineage, LineageMode,
    Manifest, Monitor, Policy, Requires, Role, RunRef, Tolerance,
};
pub use path::{BundlePath, MANIFEST, SIGNATURE};
pub use steps::{PostStep, PreStep};
pub use tensor::{DType, Dim, Tensor, TensorSpec};
pub use verdict::{DeviceFacts, Verdict};
