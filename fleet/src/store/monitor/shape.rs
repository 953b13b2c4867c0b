//! Shapes of bundles, remembered: they never change, because a bundle is named by its content.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use longshore_bundle::Manifest;
use longshore_fleet_core::monitor::BundleShape;
use longshore_stats::Profile;
use longshore_trust::Digest;

use crate::store::{Store, StoreError, Tx};

/// Shapes that were read before.
#[derive(Debug, Default)]
pub struct Shapes(Mutex<HashMap<String, Arc<BundleShape>>>);

impl Shapes {
    fn get(&self, bundle: &str) -> Option<Arc<BundleShape>> {
        self.0.lock().expect("nothing panics while it holds the shapes").get(bundle).cloned()
    }
    fn put(&self, bundle: &str, shape: &Arc<BundleShape>) {
        let mut known = self.0.lock().expect("nothing panics while it holds the shapes");
        known.insert(bundle.to_owned(), Arc::clone(shape));
    }
}

/// Writes the shape of a bundle: when it is uploaded, and at the start of the server for those that were before.
///
/// # Errors
/// When the database refuses.
pub async fn put_shape(
    tx: &mut Tx,
    bundle: &Digest,
    manifest: &Manifest,
    reference: Option<&Profile>,
) -> Result<(), StoreError> {
    let shape = BundleShape::of(manifest, reference);
    let bytes = postcard::to_stdvec(&shape).expect("a shape always encodes");
    sqlx::query(
        "INSERT INTO bundle_shape (bundle, shape) VALUES (?1, ?2)
         ON CONFLICT (bundle) DO UPDATE SET shape = excluded.shape",
    )
    .bind(bundle.to_hex())
    .bind(bytes)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The shape of a bundle; `None` for one that is not in the catalogue.
pub(super) async fn of_bundle(tx: &mut Tx, bundle: &str) -> Result<Option<Arc<BundleShape>>, StoreError> {
    let shapes = Arc::clone(tx.shapes());
    if let Some(known) = shapes.get(bundle) {
        return Ok(Some(known));
    }
    let found: Option<(Option<Vec<u8>>, String)> = sqlx::query_as(
        "SELECT s.shape, v.manifest FROM bundle_version v LEFT JOIN bundle_shape s ON s.bundle = v.bundle
         WHERE v.bundle = ?1",
    )
    .bind(bundle.to_owned())
    .fetch_optional(tx.conn())
    .await?;
    let Some((stored, manifest)) = found else { return Ok(None) };
    if let Some(shape) = stored.and_then(|b| postcard::from_bytes::<BundleShape>(&b).ok()) {
        let shape = Arc::new(shape);
        shapes.put(bundle, &shape);
        return Ok(Some(shape));
    }
    // Its reference has not been read yet: profiles are refused until it has been.
    Ok(Manifest::parse(manifest.as_bytes()).ok().map(|m| Arc::new(BundleShape::of(&m, None))))
}

impl Store {
    /// Bundles of the catalogue whose shape is not stored, with their manifests.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn bundles_without_shape(&self) -> Result<Vec<(Digest, String)>, StoreError> {
        let rows: Vec<(String, String, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT v.bundle, v.manifest, s.shape FROM bundle_version v LEFT JOIN bundle_shape s ON s.bundle = v.bundle",
        )
        .fetch_all(self.read())
        .await?;
        let known =
            |s: &Option<Vec<u8>>| s.as_ref().is_some_and(|b| postcard::from_bytes::<BundleShape>(b).is_ok());
        rows.into_iter()
            .filter(|(_, _, shape)| !known(shape))
            .map(|(bundle, manifest, _)| {
                let bundle = bundle.parse().map_err(|e| StoreError::corrupt("bundle digest", e))?;
                Ok((bundle, manifest))
            })
            .collect()
    }
}
