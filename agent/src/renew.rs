//! A new client certificate in place of the present one.
//!
//! In an order that a power cut may stop anywhere: a new key is on the disk before it is asked for, the new certificate is
//! on the disk before it is tried, and both take the place of the old ones only after a connection with them was answered.
//! Until then the old ones are there and good. Files: `next.key`, `next.pem`, then `tls.key`, `cert.pem`
//! ([`identity::switch`]).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_trust::{Digest, EnvelopeError, TimeQuality, UnixMs};
use longshore_wire::v1::{Renewal, seal};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::fetch::{HttpError, Remote};
use crate::identity::{self, Identity, IdentityError, statement_header, write_private};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The fleet says that the present certificate is not due.
    NotDue,
    /// The new certificate is in place.
    Renewed,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The fleet was not reached.
    #[error("the certificate could not be renewed: {0}")]
    Http(#[from] HttpError),
    /// The fleet refused.
    #[error("the fleet refused to renew the certificate ({code}): {detail}")]
    Refused {
        /// Its code.
        code: String,
        /// Its words.
        detail: String,
    },
    /// Its answer is not what a fleet answers.
    #[error("the fleet's answer to a renewal is not understood: {0}")]
    Answer(&'static str),
    /// This device's own files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The disk.
    #[error("the new certificate could not be stored: {0}")]
    Disk(#[from] std::io::Error),
    /// The new key.
    #[error("no new key could be made: {0}")]
    Key(#[from] rcgen::Error),
    /// Never in practice: the statement is short.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// One attempt, or the rest of one that was interrupted.
///
/// # Errors
/// [`RenewError`]; the present certificate is as good as it was.
pub fn attempt(state_dir: &Path, time: UnixMs, time_quality: TimeQuality) -> Result<Outcome, RenewError> {
    let load = || Identity::load(state_dir)?.ok_or(RenewError::Answer("this device has no identity"));
    let mut me = load()?;
    let dir = identity::dir(state_dir);
    if let Some(cert) = stored(&dir.join(identity::NEXT_CERT))?
        && let Some(key) = stored(&dir.join(identity::NEXT_KEY))?
    {
        match prove(&me, &cert, &key) {
            Ok(()) => {
                identity::switch(state_dir)?;
                return Ok(Outcome::Renewed);
            }
            Err(e) => match verdict(&e) {
                Verdict::Take => {
                    identity::switch(state_dir)?;
                    me = load()?;
                }
                Verdict::Forget => std::fs::remove_file(dir.join(identity::NEXT_CERT))?,
                Verdict::Keep => return Err(e),
            },
        }
    }
    let key = next_key(&dir)?;
    let pair = rcgen::KeyPair::from_pem(&key)?;
    let csr = rcgen::CertificateParams::default().serialize_request(&pair)?;
    let remote = Remote::new(&me.url, &me.ca_pem, &me.cert_pem, &me.key_pem)?;
    let nonce = match answer(remote.post("device/v1/renew/nonce", &json!({}))?) {
        Err(RenewError::Refused { code, .. }) if code == "renew.early" => return Ok(Outcome::NotDue),
        other => other?,
    };
    let nonce = nonce["nonce"].as_str().and_then(|n| STANDARD.decode(n).ok());
    let nonce: [u8; 32] =
        nonce.and_then(|n| n.try_into().ok()).ok_or(RenewError::Answer("no nonce of 32 bytes"))?;
    let der = CertificateDer::from_pem_slice(me.cert_pem.as_bytes())
        .map_err(|_| RenewError::Answer("cert.pem holds no certificate"))?;
    let header = statement_header(&me.fleet, &me.device, (time, time_quality));
    let renewal = Renewal { nonce, present: Digest::of(&der), csr_sha256: Digest::of(csr.der()) };
    let statement = STANDARD.encode(seal(header, renewal, &me.report_key)?);
    let body = json!({ "statement": statement, "csr_pem": csr.pem()? });
    let given = answer(remote.post("device/v1/renew", &body)?)?;
    let cert = given["cert_pem"].as_str().ok_or(RenewError::Answer("no certificate"))?;
    write_private(&dir.join(identity::NEXT_CERT), cert.as_bytes())?;
    prove(&me, cert, &key)?;
    identity::switch(state_dir)?;
    Ok(Outcome::Renewed)
}

/// What becomes of a next certificate that was not proven.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The fleet knows it, and it has expired meanwhile: it may be the only one that the fleet still takes, because the answer
    /// to an earlier proof was lost. It buys a renewal.
    Take,
    /// The fleet does not know it, or it is none: another one is asked for with the present one.
    Forget,
    /// Whatever else went wrong says nothing about it.
    Keep,
}

fn verdict(e: &RenewError) -> Verdict {
    match e {
        RenewError::Refused { code, .. } if code == "device.certificate_expired" => Verdict::Take,
        RenewError::Refused { code, .. } if code == "device.revoked" => Verdict::Forget,
        RenewError::Http(HttpError::Identity(_)) => Verdict::Forget,
        _ => Verdict::Keep,
    }
}

/// A connection of its own with the new certificate: from its answer on the fleet takes no other.
fn prove(me: &Identity, cert_pem: &str, key_pem: &str) -> Result<(), RenewError> {
    let remote = Remote::new(&me.url, &me.ca_pem, cert_pem, key_pem)?;
    answer(remote.post("device/v1/renew/proof", &json!({}))?).map(|_| ())
}

fn answer((status, body): (u16, Value)) -> Result<Value, RenewError> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let text = |field: &str| body[field].as_str().unwrap_or_default().chars().take(300).collect();
    match status {
        400..500 => Err(RenewError::Refused { code: text("code"), detail: text("detail") }),
        _ => Err(RenewError::Answer("the server failed to answer")),
    }
}

fn stored(path: &Path) -> std::io::Result<Option<Zeroizing<String>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The key of an attempt that was begun before, or a new one.
fn next_key(dir: &Path) -> Result<Zeroizing<String>, RenewError> {
    let path = dir.join(identity::NEXT_KEY);
    if let Some(pem) = stored(&path)?
        && rcgen::KeyPair::from_pem(&pem).is_ok()
    {
        return Ok(pem);
    }
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let pem = Zeroizing::new(pair.serialize_pem());
    write_private(&path, pem.as_bytes())?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_certificate_is_given_up_only_when_the_fleet_does_not_know_it() {
        let refused = |code: &str| RenewError::Refused { code: code.into(), detail: String::new() };
        let unreachable = HttpError::Unreachable { url: "https://f".into(), reason: "no route".into() };
        for (e, wanted) in [
            (refused("device.certificate_expired"), Verdict::Take),
            (refused("device.revoked"), Verdict::Forget),
            (RenewError::Http(HttpError::Identity("no key".into())), Verdict::Forget),
            // Of a proxy, of a server that is older or overloaded, of a network that is not there.
            (refused(""), Verdict::Keep),
            (refused("not_found"), Verdict::Keep),
            (RenewError::Http(unreachable), Verdict::Keep),
            (RenewError::Answer("the server failed to answer"), Verdict::Keep),
        ] {
            assert_eq!(verdict(&e), wanted, "{e}");
        }
    }
}
