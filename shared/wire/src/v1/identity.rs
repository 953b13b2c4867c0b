//! What proves who a device is, and what time it is. Sent over HTTPS, outside of any stream: sequence number 0.

use longshore_trust::{DeviceId, Digest, FleetId, Kind, Seq, UnixMs};
use serde::{Deserialize, Serialize};

use super::Body;

/// Signed with the report key at enrolment: the device holds it, and wants this certificate request answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The server's nonce.
    pub nonce: [u8; 32],
    /// The claim token (160 bits).
    pub token: [u8; 20],
    /// The fleet.
    pub fleet: FleetId,
    /// The device id it asks for.
    pub device: DeviceId,
    /// The raw ed25519 report key.
    pub report_key: [u8; 32],
    /// SHA-256 of the certificate request (DER) for the TLS key.
    pub csr_sha256: Digest,
    /// Serial number of the board, empty when unknown.
    pub serial: String,
}
impl Body for Claim {
    const KIND: Kind = Kind::Claim;
}

/// Signed with the report key: the device behind this certificate wants a new one for this request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The server's nonce.
    pub nonce: [u8; 32],
    /// SHA-256 of the client certificate (DER) it is asked with.
    pub present: Digest,
    /// SHA-256 of the certificate request (DER) for the new TLS key.
    pub csr_sha256: Digest,
}
impl Body for Renewal {
    const KIND: Kind = Kind::Renewal;
}

/// Signed with the report key: what a wipe command has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiped {
    /// Director's epoch of the command.
    pub epoch: u64,
    /// Its number.
    pub seq: Seq,
    /// How far it has come.
    pub stage: WipeStage,
    /// Bundles that were there when it began.
    pub bundles: u32,
    /// Files deleted so far, by this run of the agent.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}
impl Body for Wiped {
    const KIND: Kind = Kind::Wiped;
}

/// How far a wipe has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WipeStage {
    /// Nothing is served any more; nothing is deleted yet.
    Begun,
    /// Bundles, database and trust metadata are gone; the keys go when this is acknowledged.
    Done,
}

impl WipeStage {
    /// Name in lower snake_case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
        }
    }
}

/// Signed with the time key: the time when this nonce was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAnswer {
    /// The device's nonce.
    pub nonce: [u8; 32],
    /// The fleet's time.
    pub time: UnixMs,
}
impl Body for TimeAnswer {
    const KIND: Kind = Kind::Time;
}
