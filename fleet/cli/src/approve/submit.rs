//! Handing signed metadata to the server, and fetching what others have begun to sign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_trust::tuf;
use longshore_trust::tuf::edit::Signed;
use serde::Deserialize;
use serde_json::json;

use crate::context::Failure;
use crate::http::Client;

/// What the server did with it.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    /// `published` or `pending`.
    pub state: String,
    #[serde(default)]
    pub signatures: u64,
    #[serde(default)]
    pub threshold: u64,
}

impl Outcome {
    pub fn published(&self) -> bool {
        self.state == "published"
    }
}

/// The version of `role` that waits for signatures.
pub(super) fn pending(client: &Client, role: &str) -> Result<Option<Signed>, Failure> {
    let path = format!("/api/v1/trust/pending/{}", tuf::encode_name(role));
    let bytes = client.get_bytes(&path, tuf::MAX_TARGETS_BYTES)?;
    bytes.map(|b| super::reopen(&b, role)).transpose()
}

/// Sends `document` as the next version of `role`.
pub(super) fn submit(client: &Client, role: &str, document: &Signed) -> Result<Outcome, Failure> {
    let body = json!({"role": role, "metadata": STANDARD.encode(document.to_bytes())});
    client.post("/trust/metadata", &body)
}
