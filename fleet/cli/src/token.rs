//! The claim token of a new device: one use, 160 random bits, and the operator's own trust to pin.
//!
//! The server gets the hash only. Root and CA digests come from the operator's trust store and never from the server,
//! so a captured server cannot enrol a device into a trust of its own.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_trust::{DeviceId, Digest, FleetId};
use serde::{Deserialize, Serialize};

use crate::context::Failure;
use crate::keys::FleetFile;
use crate::trust_store;

/// Begins every claim token, so that one is recognised when it leaks.
const PREFIX: &str = "lsh1.";

/// What a claim token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Device plane of the server.
    pub url: String,
    /// The fleet to join.
    pub fleet: FleetId,
    /// The secret: hex of 20 random bytes.
    pub token: String,
    /// SHA-256 of the root.json to trust.
    pub root_sha256: Digest,
    /// SHA-256 of the fleet CA's PEM file.
    pub ca_sha256: Digest,
    /// The device it is for, if only one may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

/// A new token.
#[derive(Debug)]
pub struct ClaimToken {
    /// For the device's `--token-file`.
    pub text: String,
    /// For the server: SHA-256 of the 20 random bytes.
    pub hash: Digest,
}

/// Makes a token. `device_url` is the server's device plane (`https://host:8443`), `trust_dir` the operator's own trust
/// store.
pub fn new_token(
    device_url: &str,
    trust_dir: &Path,
    device: Option<DeviceId>,
) -> Result<ClaimToken, Failure> {
    let mut secret = [0; 20];
    getrandom::fill(&mut secret)
        .map_err(|e| Failure::refused("random", format!("the system gives no random bytes: {e}")))?;
    build(device_url, trust_dir, device, &secret)
}

fn build(
    device_url: &str,
    trust_dir: &Path,
    device: Option<DeviceId>,
    secret: &[u8; 20],
) -> Result<ClaimToken, Failure> {
    let fleet = FleetFile::read(trust_dir)?.fleet;
    let ca_path = trust_dir.join("ca.pem");
    let ca = std::fs::read(&ca_path)
        .map_err(|e| Failure::usage(format!("cannot read the fleet CA {}: {e}", ca_path.display())))?;
    let trusted = trust_store::load_offline(trust_dir)?;
    if trusted.fleet().as_ref() != Some(&fleet) {
        return Err(Failure::refused(
            "trust.fleet",
            format!("root and fleet.json in {} are of different fleets", trust_dir.display()),
        ));
    }
    let claim = Claim {
        url: device_url.trim_end_matches('/').to_owned(),
        fleet,
        token: hex::encode(secret),
        root_sha256: trusted.root_sha256(),
        ca_sha256: Digest::of(&ca),
        device,
    };
    let json = serde_json::to_vec(&claim).expect("strings always encode");
    Ok(ClaimToken { text: format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json)), hash: Digest::of(secret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_carries_the_operators_own_trust_and_the_server_gets_only_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let keys = crate::keys::made_for_tests(dir.path(), "harbour");
        let trust = keys.join("trust");
        let token = build("https://fleet.example:8443/", &trust, None, &[9; 20]).unwrap();
        let json = URL_SAFE_NO_PAD.decode(token.text.strip_prefix(PREFIX).unwrap()).unwrap();
        let claim: Claim = serde_json::from_slice(&json).unwrap();
        assert_eq!(claim.url, "https://fleet.example:8443");
        assert_eq!(claim.token, hex::encode([9; 20]));
        assert_eq!(claim.root_sha256, Digest::of(&std::fs::read(trust.join("1.root.json")).unwrap()));
        assert_eq!(claim.ca_sha256, Digest::of(&std::fs::read(trust.join("ca.pem")).unwrap()));
        assert_eq!(token.hash, Digest::of(&[9; 20]));
        assert!(!token.text.contains(&token.hash.to_hex()));
    }
    #[test]
    fn two_tokens_differ() {
        let dir = tempfile::tempdir().unwrap();
        let trust = crate::keys::made_for_tests(dir.path(), "harbour").join("trust");
        let make = || new_token("https://x", &trust, None).unwrap();
        assert_ne!(make().hash, make().hash);
    }
    #[test]
    fn a_trust_store_of_mixed_fleets_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let a = crate::keys::made_for_tests(&dir.path().join("a"), "harbour").join("trust");
        let b = crate::keys::made_for_tests(&dir.path().join("b"), "quay").join("trust");
        std::fs::copy(b.join("1.root.json"), a.join("1.root.json")).unwrap();
        assert_eq!(new_token("https://x", &a, None).unwrap_err().code, "trust.fleet");
    }
}
