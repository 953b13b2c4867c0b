//! OpenSSF Model Signing signatures of uploaded bundles.

use longshore_trust::{Digest, UnixMs};

use super::{Store, StoreError, Tx, to_i64};

/// A signature that came with an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleSignature {
    /// SHA-256 of the signature file, which is kept among the objects.
    pub object: Digest,
    /// Hint of the trusted key that it verified with; `None` when there was no key to check it with.
    pub key: Option<String>,
}

/// Keeps the signature of a bundle; the last one counts.
///
/// # Errors
/// When the database refuses.
pub async fn put(
    tx: &mut Tx,
    bundle: &Digest,
    signature: &BundleSignature,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO bundle_signature (bundle, object, key, time) VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(bundle.to_hex())
    .bind(signature.object.to_hex())
    .bind(signature.key.as_deref().unwrap_or_default())
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

impl Store {
    /// The signature of a bundle.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn bundle_signature(&self, bundle: &Digest) -> Result<Option<BundleSignature>, StoreError> {
        let row: Option<(String, String)> =
            sqlx::query_as("SELECT object, key FROM bundle_signature WHERE bundle = ?1")
                .bind(bundle.to_hex())
                .fetch_optional(self.read())
                .await?;
        row.map(|(object, key)| {
            let object = object.parse().map_err(|e| StoreError::corrupt("digest of a signature", e))?;
            Ok(BundleSignature { object, key: Some(key).filter(|k| !k.is_empty()) })
        })
        .transpose()
    }
}
