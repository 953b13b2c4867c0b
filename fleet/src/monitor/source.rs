//! What verdicts are made from besides counters: the manifest and the reference profile of a bundle.

use longshore_bundle::{Manifest, Role, reference};
use longshore_fleet_core::monitor::verdict::Version;
use longshore_stats::Profile;
use longshore_trust::Digest;

use crate::app::App;
use crate::objects::ObjectDir;
use crate::store::{self, Store, StoreError, catalogue};

/// A version that can be judged.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which.
    pub of: Version,
    /// Its manifest.
    pub manifest: Manifest,
    /// The monitored features of its reference; `None` where it monitors none.
    pub reference: Option<Profile>,
}

/// Why a version cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its stored manifest is none.
    #[error("the manifest of {0} cannot be read: {1}")]
    Manifest(String, String),
    /// Its reference profile is lost or damaged.
    #[error("the reference profile of {0} cannot be read: {1}; publish the bundle again")]
    Reference(String, String),
}

/// The monitored features of a bundle's reference; `None` where it has no reference or monitors nothing.
async fn read_reference(objects: &ObjectDir, manifest: &Manifest) -> Result<Option<Profile>, String> {
    let Some(file) = manifest.file(Role::Reference) else { return Ok(None) };
    let bytes = objects.read(&file.sha256).await.map_err(|e| e.to_string())?;
    let profile = reference::parse(&bytes, manifest).map_err(|e| e.to_string())?;
    Ok(Some(reference::monitored(&profile, manifest)).filter(|p| !p.features.is_empty()))
}

impl Source {
    /// Of a version of the catalogue.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn of(app: &App, v: &catalogue::Version) -> Result<Self, SourceError> {
        let name = format!("{}@{}", v.model, v.version);
        let manifest = Manifest::parse(v.manifest.as_bytes())
            .map_err(|e| SourceError::Manifest(name.clone(), e.to_string()))?;
        let reference =
            read_reference(&app.objects, &manifest).await.map_err(|e| SourceError::Reference(name, e))?;
        let of = Version { model: v.model.clone(), bundle: v.bundle, version: v.version.clone() };
        Ok(Self { of, manifest, reference })
    }
    /// By the digest of the bundle; `None` for one that is not in the catalogue.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn of_bundle(app: &App, bundle: &str) -> Result<Option<Self>, SourceError> {
        let Some((model, version)) = app.store.view_version_of_bundle(bundle).await? else { return Ok(None) };
        match app.store.version(&model, &version).await? {
            Some(found) => Ok(Some(Self::of(app, &found).await?)),
            None => Ok(None),
        }
    }
    /// Names of the monitored features.
    #[must_use]
    pub fn features(&self) -> Vec<&str> {
        let features = self.reference.iter().flat_map(|r| &r.features);
        features.map(|f| f.name.as_str()).collect()
    }
}

/// Writes the shape of a bundle that is being added.
///
/// # Errors
/// When the database refuses.
pub async fn store_shape(
    tx: &mut store::Tx,
    objects: &ObjectDir,
    bundle: &Digest,
    manifest: &Manifest,
) -> Result<(), StoreError> {
    match read_reference(objects, manifest).await {
        Ok(reference) => store::monitor::put_shape(tx, bundle, manifest, reference.as_ref()).await,
        Err(why) => {
            // The check of the upload refuses it with this reason; until it is mended no profile of it is taken.
            tracing::warn!(%bundle, why, "the reference profile of a bundle cannot be read");
            Ok(())
        }
    }
}

/// At the start of the server: shapes of bundles that were uploaded before there were any.
///
/// # Errors
/// When the database refuses.
pub async fn store_missing_shapes(store: &Store, objects: &ObjectDir) -> Result<u64, StoreError> {
    let missing = store.bundles_without_shape().await?;
    let mut stored = 0;
    for (bundle, text) in missing {
        let Ok(manifest) = Manifest::parse(text.as_bytes()) else { continue };
        let mut tx = store.write().await?;
        store_shape(&mut tx, objects, &bundle, &manifest).await?;
        tx.commit().await?;
        stored += 1;
    }
    Ok(stored)
}
