//! The bundle that is to be approved, as the server holds it, with its manifest checked.

use std::collections::BTreeMap;

use longshore_bundle::Manifest;
use longshore_trust::Digest;
use longshore_trust::tuf::TargetInfo;
use serde::Deserialize;

use super::BundleName;
use crate::context::Failure;
use crate::http::Client;

/// Name of the file that is the bundle's identity.
pub(super) const MANIFEST: &str = "manifest.json";

/// A version of a model as `GET /models/{m}/versions/{v}` gives it; other fields are not needed here.
#[derive(Debug, Deserialize)]
struct VersionView {
    manifest: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    reason: Option<String>,
}

/// A bundle and the facts that a signature would make trusted.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub name: BundleName,
    /// SHA-256 of the manifest: the identity of the bundle.
    pub digest: Digest,
    pub manifest: Manifest,
    manifest_bytes: u64,
}

impl Candidate {
    /// Downloads and checks it. Versions that failed the server's re-check, or still wait for it, are refused.
    pub fn fetch(client: &Client, name: &BundleName) -> Result<Self, Failure> {
        let view: VersionView = client.get(&format!("/models/{}/versions/{}", name.model, name.version))?;
        match view.state.as_str() {
            "draft" => {
                return Err(Failure::refused(
                    "approve.draft",
                    format!("the server is still checking {name}: try again in a moment"),
                ));
            }
            "refused" | "retired" => {
                let why = view.reason.filter(|r| !r.is_empty()).map(|r| format!(": {r}")).unwrap_or_default();
                return Err(Failure::refused(
                    "approve.state",
                    format!("{name} is {} and cannot be approved{why}", view.state),
                ));
            }
            _ => {}
        }
        Self::check(name, view.manifest.as_bytes())
    }
    /// From the bytes of its manifest.
    pub fn check(name: &BundleName, manifest: &[u8]) -> Result<Self, Failure> {
        let bad = |why: String| {
            Failure::refused("approve.manifest", format!("the manifest of {name} is refused: {why}"))
        };
        let parsed = Manifest::parse(manifest).map_err(|e| bad(e.to_string()))?;
        if parsed.model != name.model || parsed.version != name.version {
            return Err(bad(format!("it is that of {}@{}", parsed.model, parsed.version)));
        }
        Ok(Self {
            name: name.clone(),
            digest: Digest::of(manifest),
            manifest: parsed,
            manifest_bytes: manifest.len() as u64,
        })
    }
    /// Target path of a file of this bundle.
    pub fn path_of(&self, file: &str) -> String {
        format!("{}/{}/{file}", self.name.model, self.name.version)
    }
    /// All files of the bundle as targets, the manifest's without its release data.
    pub fn targets(&self) -> BTreeMap<String, TargetInfo> {
        let target = |length, sha256| TargetInfo { length, sha256, custom: serde_json::Map::new() };
        let files = self.manifest.files.iter();
        let mut out: BTreeMap<_, _> =
            files.map(|f| (self.path_of(f.path.as_str()), target(f.length, f.sha256))).collect();
        out.insert(self.path_of(MANIFEST), target(self.manifest_bytes, self.digest));
        out
    }
}
