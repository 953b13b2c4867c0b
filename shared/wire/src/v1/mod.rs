//! Version 1 of every message.
//!
//! Seal with [`seal`], read with [`open`]. A message is signed as encoded and verified as received.

mod down;
mod identity;
mod up;

use longshore_trust::{
    DeviceId, Envelope, EnvelopeError, FleetId, Kind, PublicKey, Seq, SigningKey, StreamId, TimeQuality,
    UnixMs, Verified,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use down::{
    Assignment, Command, CommandAction, Commit, Guard, Mode, Probation, Receipt, Slot, TargetsVersion,
};
pub use identity::{Claim, Renewal, TimeAnswer, WipeStage, Wiped};
pub use up::{
    CommandReport, Deviation, Event, EventKind, Events, Gap, GapCause, GapKind, Health, Hello, Inventory,
    MAX_LOG_HEADS, ModelHealth, Reason, Report, ReportBody, TrialReport, UpdateReport, UpdateState, Window,
    WindowKey, Windows,
};

/// The schema number in every header of this version.
pub const SCHEMA: u16 = 1;

/// The signed header that opens every body, up and down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u16,
    /// The fleet it belongs to; a message for another fleet is refused.
    pub fleet: FleetId,
    /// The device it is from (up) or for (down).
    pub device: DeviceId,
    /// Up: the device's stream. Down: the director's epoch (`fleet_epoch`).
    pub stream: StreamId,
    /// Up: position in the stream, from 1 (0 for `hello`, which is not stored). Down: rises with each message to this device.
    pub seq: Seq,
    /// When it was sealed, by the sender's clock.
    pub time: UnixMs,
    /// How far that clock can be believed.
    pub time_quality: TimeQuality,
}

/// A body that knows its kind.
pub trait Body: Serialize + DeserializeOwned {
    /// The envelope kind of this body.
    const KIND: Kind;
}

/// Header and body: what is signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message<B> {
    /// Who, which, when.
    pub header: Header,
    /// What.
    pub body: B,
}

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The envelope or its signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Signed, but not a body of this kind.
    #[error("the signed body is not a {0:?} message of schema {SCHEMA}")]
    Body(Kind),
    /// Signed, but a schema this build does not know.
    #[error("message schema {0} is not known here (this build knows {SCHEMA})")]
    UnknownSchema(u16),
}

/// Encodes, signs and bounds a message.
///
/// # Errors
/// [`EnvelopeError::TooLong`] when it is over the budget of 48 KiB.
pub fn seal<B: Body>(header: Header, body: B, key: &SigningKey) -> Result<Vec<u8>, EnvelopeError> {
    let bytes = postcard::to_stdvec(&Message { header, body }).expect("wire types always encode");
    Envelope::seal(B::KIND, bytes, key)
}

/// Verifies, then decodes a message.
///
/// # Errors
/// [`MessageError`].
pub fn open<B: Body>(bytes: &[u8], key: &PublicKey) -> Result<Verified<Message<B>>, MessageError> {
    Envelope::open(bytes, B::KIND, key)?.try_map(|body| decode(&body))
}

/// Verifies a message and decodes its header alone: for a body that this build cannot read. Every schema opens with the
/// same header.
///
/// # Errors
/// [`MessageError`].
pub fn open_header(bytes: &[u8], kind: Kind, key: &PublicKey) -> Result<Verified<Header>, MessageError> {
    Envelope::open(bytes, kind, key)?
        .try_map(|body| postcard::take_from_bytes::<Header>(&body).map(|(header, _)| header))
        .map_err(|_| MessageError::Body(kind))
}

/// Decodes a body that was verified.
fn decode<B: Body>(body: &[u8]) -> Result<Message<B>, MessageError> {
    // The schema is the first field of the first field: a varint at the start of the bytes.
    let (schema, _) = postcard::take_from_bytes::<u16>(body).map_err(|_| MessageError::Body(B::KIND))?;
    if schema != SCHEMA {
        return Err(MessageError::UnknownSchema(schema));
    }
    let (message, rest) =
        postcard::take_from_bytes::<Message<B>>(body).map_err(|_| MessageError::Body(B::KIND))?;
    if rest.is_empty() { Ok(message) } else { Err(MessageError::Body(B::KIND)) }
}
