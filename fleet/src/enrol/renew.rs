//! Renewal: a device that holds its report key and shows its certificate gets a new certificate.
//!
//! What always holds: the present certificate stays good until the new one has been shown in a connection; a certificate
//! that has expired, or is dated in the future by a clock of ours that was ahead, buys a renewal and nothing else, and only
//! with a signature of the report key over a fresh nonce; a certificate that was followed by another buys nothing.

use longshore_trust::{Digest, UnixMs};
use longshore_wire::v1::{self, Renewal};

use super::{Issuer, Nonces};
use crate::store::{Store, StoreError, audit, identity};
use crate::tls::{CertificateRequest, DeviceCertificate, Peer, TlsError, Validity};

/// What a device sends to renew.
pub struct RenewRequest {
    /// The signed [`Renewal`].
    pub statement: Vec<u8>,
    /// The certificate request for the new TLS key.
    pub csr_pem: String,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate request.
    #[error(transparent)]
    Request(#[from] TlsError),
    /// Revoked, or never there.
    #[error("device {0} was revoked: enrol it again with a new token")]
    Revoked(String),
    /// The certificate was followed by another one.
    #[error(
        "this certificate of device {0} was followed by a newer one: use that, or enrol the device again"
    )]
    Superseded(String),
    /// The statement.
    #[error("the request to renew is not acceptable: {0}")]
    Statement(String),
    /// The nonce.
    #[error("the nonce is unknown, used or too old: ask for a new one")]
    Nonce,
    /// Not due.
    #[error("this certificate is good until {} (Unix ms): renew it after half of its life", .0.until)]
    Early(Validity),
}

impl RenewError {
    /// For machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "internal",
            Self::Request(_) => "renew.request",
            Self::Revoked(_) => "device.revoked",
            Self::Superseded(_) => "renew.superseded",
            Self::Statement(_) => "renew.statement",
            Self::Nonce => "renew.nonce",
            Self::Early(_) => "renew.early",
        }
    }
}

/// How a certificate stands to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The present one.
    Present,
    /// The next one, seen for the first time.
    Next,
    /// Issued after everything the registry knows: it was restored from a backup.
    Ahead,
}

fn standing(peer: &Peer, known: &identity::Certificates, now: UnixMs) -> Option<Standing> {
    if peer.cert_sha256 == known.present {
        Some(Standing::Present)
    } else if known.next == Some(peer.cert_sha256) {
        Some(Standing::Next)
    } else if known.until.is_some() && peer.validity.from > known.from && peer.validity.from <= now {
        // A date in the future says nothing about the order in which certificates were issued.
        Some(Standing::Ahead)
    } else {
        None
    }
}

/// Whether this peer may ask for a renewal now, by its certificate alone; a nonce is worth giving out then.
///
/// # Errors
/// [`RenewError`].
pub async fn may_renew(store: &Store, peer: &Peer, now: UnixMs) -> Result<(), RenewError> {
    let known = store.certificates(&peer.device).await?;
    let known = known.ok_or_else(|| RenewError::Revoked(peer.device.to_string()))?;
    match standing(peer, &known, now) {
        None => Err(RenewError::Superseded(peer.device.to_string())),
        Some(Standing::Ahead) => Ok(()),
        Some(_) => due(peer, now),
    }
}

fn due(peer: &Peer, now: UnixMs) -> Result<(), RenewError> {
    let Validity { from, until } = peer.validity;
    // One that is dated in the future is good for nothing else until then, and its device has no other.
    let early = from <= now && now < from.plus_ms(until.since(from) / 2);
    if early { Err(RenewError::Early(peer.validity)) } else { Ok(()) }
}

/// Issues the certificate that follows the one `peer` has shown.
///
/// # Errors
/// [`RenewError`]; nothing is changed then.
pub async fn renew(
    store: &Store,
    issuer: &Issuer<'_>,
    nonces: &Nonces,
    peer: &Peer,
    request: RenewRequest,
    now: UnixMs,
) -> Result<DeviceCertificate, RenewError> {
    let revoked = || RenewError::Revoked(peer.device.to_string());
    let device = store.device_identity(&peer.device).await?.ok_or_else(revoked)?;
    let wrong = |why: &dyn std::fmt::Display| RenewError::Statement(why.to_string());
    let message = v1::open::<Renewal>(&request.statement, &device.report_key).map_err(|e| wrong(&e))?;
    let (header, statement) = (&message.header, &message.body);
    if header.fleet != *issuer.fleet || header.device != peer.device {
        return Err(wrong(&"it was signed for another device"));
    }
    if statement.present != peer.cert_sha256 {
        return Err(wrong(&"it was signed for another certificate than the one shown"));
    }
    if !nonces.take(&statement.nonce, &peer.cert_sha256, now) {
        return Err(RenewError::Nonce);
    }
    let csr = CertificateRequest::from_pem(&request.csr_pem)?;
    if csr.sha256() != statement.csr_sha256 {
        return Err(wrong(&"it was signed for another certificate request"));
    }
    let mut tx = store.write().await?;
    let known = identity::certificates(&mut tx, &peer.device).await?.ok_or_else(revoked)?;
    let superseded = || RenewError::Superseded(peer.device.to_string());
    match standing(peer, &known, now).ok_or_else(superseded)? {
        Standing::Present => due(peer, now)?,
        Standing::Next => {
            identity::promote(&mut tx, &peer.device, &peer.cert_sha256).await?;
        }
        Standing::Ahead => {
            identity::adopt(&mut tx, &peer.device, &peer.cert_sha256, peer.validity).await?;
            let detail = "a certificate issued after the backup this registry was restored from";
            audit::record(&mut tx, now, peer.device.as_str(), "device.adopt", peer.device.as_str(), detail)
                .await?;
        }
    }
    let validity = Validity::starting(now, issuer.life_s);
    let certificate = issuer.ca.issue_device(issuer.fleet, &peer.device, &csr, validity)?;
    identity::set_next(&mut tx, &peer.device, &certificate).await?;
    let detail =
        if peer.is_good(now) { "" } else { "with a certificate that had expired, or is dated in the future" };
    audit::record(&mut tx, now, peer.device.as_str(), "device.renew", peer.device.as_str(), detail).await?;
    tx.commit().await?;
    tracing::info!(device = %peer.device, until = certificate.validity.until.0, "issued the next certificate");
    Ok(certificate)
}

/// A certificate was shown. Whether it is the next one, which is the present one from now on.
///
/// # Errors
/// When the database refuses.
pub async fn shown(store: &Store, peer: &Peer, next: Option<&Digest>) -> Result<bool, StoreError> {
    if next != Some(&peer.cert_sha256) {
        return Ok(false);
    }
    let mut tx = store.write().await?;
    let promoted = identity::promote(&mut tx, &peer.device, &peer.cert_sha256).await?;
    tx.commit().await?;
    Ok(promoted)
}
