//! Keys: what we make is ed25519; what we also accept is ECDSA on P-256.

use std::fmt;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};

/// The first 8 bytes of SHA-256 over the raw public key: finds a key, proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a key or signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no public key of the kind they claim.
    #[error("not a valid {0} public key")]
    NotAKey(&'static str),
    /// The signature is wrong.
    #[error("the signature does not verify")]
    BadSignature,
}

/// A public key that has been checked to be one.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519, verified strictly (no small-order points, no malleable signatures).
    Ed25519(ed25519_dalek::VerifyingKey),
    /// ECDSA on P-256 with SHA-256; signatures in strict DER. Either of the two signatures `(r, s)` and `(r, n - s)` is
    /// taken, because other programs make either; nothing may be told apart by the bytes of a signature.
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// From the 32 bytes of an ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`] when they are no point, a weak one, or not its canonical encoding.
    pub fn ed25519(raw: &[u8]) -> Result<Self, KeyError> {
        let raw: [u8; 32] = raw.try_into().map_err(|_| KeyError::NotAKey("ed25519"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&raw).map_err(|_| KeyError::NotAKey("ed25519"))?;
        // One encoding a key: distinct keys are told apart by their bytes.
        if key.is_weak() || key.to_edwards().compress().to_bytes() != raw {
            Err(KeyError::NotAKey("ed25519"))
        } else {
            Ok(Self::Ed25519(key))
        }
    }
    /// The raw bytes: 32 for ed25519, 33 (SEC1 compressed) for P-256.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(k) => k.to_bytes().to_vec(),
            Self::P256(k) => k.to_encoded_point(true).as_bytes().to_vec(),
        }
    }
    /// Short id for look-ups.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = crate::Digest::of(&self.raw());
        KeyId(digest.0[..8].try_into().expect("a digest has 32 bytes"))
    }
    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        match self {
            Self::Ed25519(k) => {
                let sig =
                    ed25519_dalek::Signature::from_slice(signature).map_err(|_| KeyError::BadSignature)?;
                k.verify_strict(message, &sig).map_err(|_| KeyError::BadSignature)
            }
            Self::P256(k) => {
                use p256::ecdsa::signature::Verifier as _;
                let sig = p256::ecdsa::Signature::from_der(signature).map_err(|_| KeyError::BadSignature)?;
                k.verify(message, &sig).map_err(|_| KeyError::BadSignature)
            }
        }
    }
}
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// An ed25519 private key; wiped when dropped, never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From a 32-byte seed that the caller drew at random.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }
    /// The seed, to be stored.
    #[must_use]
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verifying_key())
    }
    /// 64-byte signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}
