//! OpenSSF Model Signing at the door: a signature that comes with an upload must hold, and may be required.
//!
//! No file is read for it: the signed list of hashes must be the list that the manifest pins.

use std::collections::BTreeMap;

use longshore_bundle::oms::{self, PublicKey};
use longshore_bundle::{MANIFEST, Manifest};
use longshore_trust::Digest;

use super::problem::Problem;
use crate::config::Oms;

/// The hint of the trusted key that the signature of this bundle verifies with; `None` when it does not have to, because
/// none is configured.
///
/// # Errors
/// A problem document when a signature is required and missing, or what is there does not hold.
pub(super) fn check(
    config: &Oms,
    signature: Option<&str>,
    manifest: &Manifest,
    bundle: &Digest,
) -> Result<Option<String>, Problem> {
    let Some(signature) = signature else {
        return if config.require {
            Err(Problem::invalid(
                "oms.required",
                "this fleet takes only bundles with an OpenSSF Model Signing signature of a key it trusts: \
                 run `longshore bundle sign DIR --private-key PEM`, then publish again",
            ))
        } else {
            Ok(None)
        };
    };
    let mut refusal = None;
    for pem in &config.public_keys {
        let key = PublicKey::from_pem(pem).map_err(|e| Problem::internal(&e))?;
        match oms::verify(signature.as_bytes(), &key) {
            Ok(model) => {
                let mut expected: BTreeMap<String, Digest> =
                    manifest.files.iter().map(|f| (f.path.as_str().to_owned(), f.sha256)).collect();
                expected.insert(MANIFEST.to_owned(), *bundle);
                let mismatch = model.compare(&expected);
                if !mismatch.is_empty() {
                    let mut problem = Problem::invalid(
                        "oms.mismatch",
                        "the signature holds, but is of other files than this bundle's: sign the directory as it is now",
                    );
                    problem.errors = [mismatch.missing, mismatch.extra, mismatch.changed].concat();
                    return Err(problem);
                }
                return key.hint().map(Some).map_err(|e| Problem::internal(&e));
            }
            Err(e) => refusal = Some(e),
        }
    }
    match refusal {
        None => Ok(None),
        Some(e) if config.public_keys.len() == 1 => Err(Problem::invalid(e.code(), e.to_string())),
        Some(_) => Err(Problem::invalid(
            "oms.bad_signature",
            format!(
                "the signature verifies with none of the {} keys that this fleet trusts",
                config.public_keys.len()
            ),
        )),
    }
}
