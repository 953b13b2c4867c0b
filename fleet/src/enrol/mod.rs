//! Enrolment: a claim token and proof of the report key buy one device identity.
//!
//! What always holds: token burning, the device's row and its certificate are one transaction, so parallel claims of one
//! token yield exactly one device. A nonce serves one claim. The device that used a token may ask again with the same
//! report key (its answer may have been lost); nobody else can. A token that replaces a device's board ends the old keys
//! in that transaction, and assigns to the new board what the old one ran.

mod leave;
mod nonce;
mod renew;
mod replace;

pub use leave::tell_to_wipe;
pub use nonce::Nonces;
pub use renew::{RenewError, RenewRequest, may_renew, renew, shown};

use longshore_trust::{DeviceId, Digest, FleetId, PublicKey, UnixMs};
use longshore_wire::v1::{self, Claim};

use crate::director::{Director, DirectorError};
use crate::store::device::{self, NewDevice, TokenRow};
use crate::store::{Store, StoreError, audit, identity};
use crate::tls::{Ca, CertificateRequest, DeviceCertificate, TlsError, Validity};

/// Longest JSON of labels, bytes.
const MAX_LABELS_BYTES: usize = 4096;

/// In whose name certificates are issued.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    /// Signs them.
    pub ca: &'a Ca,
    /// The fleet they are for.
    pub fleet: &'a FleetId,
    /// Assigns to a new board what the old one ran.
    pub director: &'a Director,
    /// How long they are good, seconds.
    pub life_s: u64,
}

/// What a device sends to enrol.
pub struct EnrolRequest {
    /// The signed claim.
    pub claim: Vec<u8>,
    /// The certificate request.
    pub csr_pem: String,
    /// The raw report key that signed the claim.
    pub report_key: Vec<u8>,
    /// Labels, a JSON object.
    pub labels: serde_json::Map<String, serde_json::Value>,
}

/// An enrolled device.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Its id.
    pub device: DeviceId,
    /// Its client certificate.
    pub certificate: DeviceCertificate,
    /// Epoch and number of the last command that was not meant for it: a board that was just enrolled obeys no old one.
    pub commands_after: (u64, u64),
    /// Version of the last assignment that was not meant for it.
    pub assignments_after: u64,
}

/// Why a claim is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The assignment of a replaced board.
    #[error(transparent)]
    Director(#[from] DirectorError),
    /// Not a claim, or its signature is wrong.
    #[error("the claim is not acceptable: {0}")]
    Claim(String),
    /// The certificate request.
    #[error(transparent)]
    Request(#[from] TlsError),
    /// For another fleet.
    #[error("the claim is for fleet {claimed}, this is fleet {here}: use a token of this fleet")]
    Fleet {
        /// What the device asked for.
        claimed: FleetId,
        /// What this is.
        here: FleetId,
    },
    /// Not a nonce of ours, used, or too old.
    #[error("the nonce is unknown, used or too old: ask for a new one")]
    Nonce,
    /// No such token.
    #[error("this claim token is not known here: make one with `longshore devices token`")]
    TokenUnknown,
    /// Too late.
    #[error("this claim token has expired: make a new one with `longshore devices token`")]
    TokenExpired,
    /// Somebody else was faster.
    #[error("this claim token was used by device {0}: every device needs its own")]
    TokenUsed(String),
    /// Bound to another board.
    #[error("this claim token is for the board with serial number {0:?}")]
    Serial(String),
    /// Bound to another device.
    #[error("this claim token is for device {0}")]
    Device(String),
    /// The device is being wiped.
    #[error("device {0} is being decommissioned: wait for its receipt, or revoke it first")]
    Wiping(DeviceId),
    /// The id is in use.
    #[error(
        "there is a device {0} already: choose another id; for a new board of the same device make the token with \
         `longshore devices token --replace {0}`"
    )]
    Exists(DeviceId),
    /// Labels that are no short strings.
    #[error("labels must be strings, {MAX_LABELS_BYTES} bytes together at most")]
    Labels,
}

impl EnrolError {
    /// For machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) | Self::Director(_) => "internal",
            Self::Claim(_) => "enrol.claim",
            Self::Request(_) => "enrol.request",
            Self::Fleet { .. } => "enrol.fleet",
            Self::Nonce => "enrol.nonce",
            Self::TokenUnknown => "enrol.token_unknown",
            Self::TokenExpired => "enrol.token_expired",
            Self::TokenUsed(_) => "enrol.token_used",
            Self::Serial(_) => "enrol.serial",
            Self::Device(_) => "enrol.device",
            Self::Wiping(_) => "enrol.wiping",
            Self::Exists(_) => "enrol.device_exists",
            Self::Labels => "enrol.labels",
        }
    }
}

/// Checks a claim and makes the device.
///
/// # Errors
/// [`EnrolError`]; nothing is changed then, and the token stays good unless another device has it.
pub async fn enrol(
    store: &Store,
    issuer: &Issuer<'_>,
    nonces: &Nonces,
    request: EnrolRequest,
    now: UnixMs,
) -> Result<Enrolled, EnrolError> {
    let claim_error = |e: &dyn std::fmt::Display| EnrolError::Claim(e.to_string());
    let report_key = PublicKey::ed25519(&request.report_key).map_err(|e| claim_error(&e))?;
    let message = v1::open::<Claim>(&request.claim, &report_key).map_err(|e| claim_error(&e))?.into_inner();
    let (header, claim) = (message.header, message.body);
    let fleet = issuer.fleet;
    if claim.fleet != *fleet || header.fleet != *fleet {
        return Err(EnrolError::Fleet { claimed: claim.fleet, here: fleet.clone() });
    }
    if header.device != claim.device || claim.report_key[..] != report_key.raw() {
        return Err(EnrolError::Claim("header, claim and key do not name the same device".into()));
    }
    let token_hash = Digest::of(&claim.token);
    if !nonces.take(&claim.nonce, &token_hash, now) {
        return Err(EnrolError::Nonce);
    }
    let csr = CertificateRequest::from_pem(&request.csr_pem)?;
    if csr.sha256() != claim.csr_sha256 {
        return Err(EnrolError::Claim("it was signed for another certificate request".into()));
    }
    let labels = serde_json::to_string(&request.labels).map_err(|_| EnrolError::Labels)?;
    if labels.len() > MAX_LABELS_BYTES || !request.labels.values().all(serde_json::Value::is_string) {
        return Err(EnrolError::Labels);
    }
    if claim.serial.len() > 128 {
        return Err(EnrolError::Claim("the serial number is longer than 128 bytes".into()));
    }

    let mut tx = store.write().await?;
    let token = device::token(&mut tx, &token_hash).await?.ok_or(EnrolError::TokenUnknown)?;
    let known = device::enrolled(&mut tx, &claim.device).await?;
    let again = match (&token.used_by, &known) {
        (None, _) => false,
        (Some(by), Some((key, false))) if by == claim.device.as_str() && *key == report_key.raw() => true,
        (Some(by), _) => return Err(EnrolError::TokenUsed(by.clone())),
    };
    if token.expires <= now {
        return Err(EnrolError::TokenExpired);
    }
    for_whom(&token, &claim)?;
    let enrolled = matches!(known, Some((_, false)));
    let replaced = enrolled && !again;
    if replaced && !token.replaces {
        return Err(EnrolError::Exists(claim.device));
    }
    if enrolled && identity::wipe_seq(&mut tx, &claim.device).await?.is_some() {
        return Err(EnrolError::Wiping(claim.device));
    }
    let slots = if replaced { replace::retire(&mut tx, &claim.device, now).await? } else { Vec::new() };
    if known.as_ref().is_some_and(|(key, revoked)| *revoked && *key != report_key.raw()) {
        // Whoever has the name now is not who was shut out: what that one signed is checked by its own key, and what it ran
        // says nothing about this one.
        identity::retire_keys(&mut tx, &claim.device, "revoked", now).await?;
        identity::start_anew(&mut tx, &claim.device).await?;
    }
    let certificate =
        issuer.ca.issue_device(fleet, &claim.device, &csr, Validity::starting(now, issuer.life_s))?;
    let new = NewDevice {
        id: claim.device.clone(),
        report_key,
        certificate: certificate.clone(),
        serial: claim.serial,
        labels,
    };
    device::enrol(&mut tx, &new, now).await?;
    device::burn_token(&mut tx, &token_hash, &claim.device, now).await?;
    let (seq, assignments_after) = identity::numbers(&mut tx, &claim.device).await?;
    let commands_after = (issuer.director.epoch(), seq.0);
    replace::reassign(&mut tx, issuer.director, &claim.device, slots, now).await?;
    let detail = match (again, replaced) {
        (true, _) => "asked once more with the same key",
        (false, true) => "a new board in place of the old one, whose keys have ended",
        (false, false) => "",
    };
    audit::record(&mut tx, now, claim.device.as_str(), "device.enrol", claim.device.as_str(), detail).await?;
    tx.commit().await?;
    tracing::info!(device = %claim.device, again, "enrolled");
    Ok(Enrolled { device: claim.device, certificate, commands_after, assignments_after })
}

/// Whether a token is for this board and this device.
fn for_whom(token: &TokenRow, claim: &Claim) -> Result<(), EnrolError> {
    if let Some(serial) = token.serial.as_ref().filter(|s| **s != claim.serial) {
        return Err(EnrolError::Serial(serial.clone()));
    }
    match token.device.as_ref().filter(|d| *d != claim.device.as_str()) {
        Some(device) => Err(EnrolError::Device(device.clone())),
        None => Ok(()),
    }
}
