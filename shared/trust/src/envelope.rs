//! The signed envelope of everything that is not TUF metadata.
//!
//! `postcard{ v: u8, kind: u8, body: bytes, key_id: [8], sig: [64] }`, the signature over DSSE PAE(payload type of the
//! kind, body). One payload type a kind, so a signature for one kind never serves as another. What was received is what
//! is verified: nothing is re-encoded, and the body is not looked at before its signature holds.

use serde::{Deserialize, Serialize};

use crate::{KeyId, PublicKey, SigningKey, Verified, dsse};

/// Longest message on the wire, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 48 * 1024;
/// The envelope version this build writes.
pub const VERSION: u8 = 1;

/// What an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Device to fleet, on every connect; not stored.
    Hello = 1,
    /// Device to fleet: life cycle, inventory and health.
    Report = 2,
    /// Device to fleet: window counters.
    Windows = 3,
    /// Device to fleet: gap rows and things that happened.
    Events = 4,
    /// Director to device: what to run.
    Assignment = 16,
    /// Director to device: do something now.
    Command = 17,
    /// Director to device: stored up to here.
    Receipt = 18,
    /// Fleet to device: what time it is, signed with the time key.
    Time = 19,
    /// Device to fleet at enrolment: proof that it holds its report key.
    Claim = 32,
    /// Device to fleet: it wants a new client certificate.
    Renewal = 33,
    /// Device to fleet: it has wiped itself.
    Wiped = 34,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Hello,
        Self::Report,
        Self::Windows,
        Self::Events,
        Self::Assignment,
        Self::Command,
        Self::Receipt,
        Self::Time,
        Self::Claim,
        Self::Renewal,
        Self::Wiped,
    ];
    /// From the number on the wire.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == n)
    }
    /// The DSSE payload type.
    #[must_use]
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Hello => "application/vnd.longshore.hello.v1+postcard",
            Self::Report => "application/vnd.longshore.report.v1+postcard",
            Self::Windows => "application/vnd.longshore.windows.v1+postcard",
            Self::Events => "application/vnd.longshore.events.v1+postcard",
            Self::Assignment => "application/vnd.longshore.assignment.v1+postcard",
            Self::Command => "application/vnd.longshore.command.v1+postcard",
            Self::Receipt => "application/vnd.longshore.receipt.v1+postcard",
            Self::Time => "application/vnd.longshore.time.v1+postcard",
            Self::Claim => "application/vnd.longshore.claim.v1+postcard",
            Self::Renewal => "application/vnd.longshore.renewal.v1+postcard",
            Self::Wiped => "application/vnd.longshore.wiped.v1+postcard",
        }
    }
}

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes is over the limit of {MAX_MESSAGE_BYTES}")]
    TooLong(usize),
    /// Not an envelope, or bytes behind it.
    #[error("not a message envelope")]
    Malformed,
    /// Made by a newer or older protocol.
    #[error("envelope version {0} is not known here")]
    UnknownVersion(u8),
    /// Another kind than expected.
    #[error("message kind {got}, expected {expected:?}")]
    WrongKind {
        /// The number found.
        got: u8,
        /// What was asked for.
        expected: Kind,
    },
    /// Signed by a key that is not the one expected.
    #[error("signed by key {0}, which is not the expected one")]
    WrongKey(KeyId),
    /// The signature is wrong.
    #[error("the signature of the message does not verify")]
    BadSignature,
}

/// The outer layer, parsed but not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    v: u8,
    kind: u8,
    body: Vec<u8>,
    key_id: KeyId,
    sig: (Half, Half),
}
type Half = [u8; 32];

impl Envelope {
    /// Signs `body` and encodes the whole.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLong`] when the result would not be accepted on the other side.
    pub fn seal(kind: Kind, body: Vec<u8>, key: &SigningKey) -> Result<Vec<u8>, EnvelopeError> {
        let sig = key.sign(&dsse::pae(kind.payload_type(), &body));
        let (a, b) = sig.split_at(32);
        let half = |s: &[u8]| Half::try_from(s).expect("half of 64 bytes");
        let envelope =
            Self { v: VERSION, kind: kind as u8, body, key_id: key.public().id(), sig: (half(a), half(b)) };
        let bytes = postcard::to_stdvec(&envelope).expect("an envelope always encodes");
        if bytes.len() > MAX_MESSAGE_BYTES { Err(EnvelopeError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// Parses the outer layer only.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it is too long, no envelope, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        let (envelope, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(|_| EnvelopeError::Malformed)?;
        if envelope.v != VERSION {
            return Err(EnvelopeError::UnknownVersion(envelope.v));
        }
        // A number could be spelt in more than one way: a message has one spelling.
        let spelt = postcard::to_stdvec(&envelope).map_err(|_| EnvelopeError::Malformed)?;
        if rest.is_empty() && spelt == bytes { Ok(envelope) } else { Err(EnvelopeError::Malformed) }
    }
    /// Who claims to have signed it: for finding the key, before anything is believed.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
    /// The kind it claims.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_u8(self.kind)
    }
    /// Checks kind and signature and hands out the body.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn verify(self, expected: Kind, key: &PublicKey) -> Result<Verified<Vec<u8>>, EnvelopeError> {
        if self.kind != expected as u8 {
            return Err(EnvelopeError::WrongKind { got: self.kind, expected });
        }
        if self.key_id != key.id() {
            return Err(EnvelopeError::WrongKey(self.key_id));
        }
        let sig = [self.sig.0, self.sig.1].concat();
        key.verify(&dsse::pae(expected.payload_type(), &self.body), &sig)
            .map_err(|_| EnvelopeError::BadSignature)?;
        Ok(Verified::new(self.body))
    }
    /// [`Envelope::parse`] and [`Envelope::verify`] in one step.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn open(bytes: &[u8], expected: Kind, key: &PublicKey) -> Result<Verified<Vec<u8>>, EnvelopeError> {
        Self::parse(bytes)?.verify(expected, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    #[test]
    fn opens_what_was_sealed() {
        let bytes = Envelope::seal(Kind::Report, b"body".to_vec(), &key(1)).unwrap();
        assert_eq!(*Envelope::open(&bytes, Kind::Report, &key(1).public()).unwrap(), b"body".to_vec());
    }
    #[test]
    fn a_signature_for_one_kind_is_not_one_for_another() {
        let mut bytes = Envelope::seal(Kind::Assignment, b"body".to_vec(), &key(1)).unwrap();
        assert!(matches!(
            Envelope::open(&bytes, Kind::Command, &key(1).public()),
            Err(EnvelopeError::WrongKind { .. })
        ));
        bytes[1] = Kind::Command as u8;
        assert_eq!(Envelope::open(&bytes, Kind::Command, &key(1).public()), Err(EnvelopeError::BadSignature));
    }
    #[test]
    fn no_single_changed_byte_is_accepted() {
        let bytes = Envelope::seal(Kind::Report, vec![7; 100], &key(1)).unwrap();
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut b = bytes.clone();
                b[at] ^= flip;
                assert!(Envelope::open(&b, Kind::Report, &key(1).public()).is_err(), "byte {at} ^ {flip}");
            }
        }
    }
    #[test]
    fn trailing_bytes_and_oversize_are_refused() {
        let mut bytes = Envelope::seal(Kind::Report, vec![7; 10], &key(1)).unwrap();
        bytes.push(0);
        assert_eq!(Envelope::parse(&bytes), Err(EnvelopeError::Malformed));
        assert!(matches!(
            Envelope::seal(Kind::Report, vec![0; MAX_MESSAGE_BYTES], &key(1)),
            Err(EnvelopeError::TooLong(_))
        ));
    }
}
