//! EC keys of the three curves that the specification names, out of PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use longshore_trust::Digest;
use p256::ecdsa::signature::{RandomizedSigner as _, Signer as _, Verifier as _};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use p521::elliptic_curve::rand_core::{self, CryptoRng, RngCore};
use sha2::{Digest as _, Sha512};

use super::OmsError;

/// A curve and the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256 with SHA-256.
    P256,
    /// P-384 with SHA-384.
    P384,
    /// P-521 with SHA-512.
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];
    /// DER of the curve's object identifier.
    const fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
        }
    }
    /// The one curve that a key in DER names.
    fn of(der: &[u8]) -> Result<Self, OmsError> {
        let named = |c: &Self| der.windows(c.oid().len()).any(|w| w == c.oid());
        let mut found = Self::ALL.into_iter().filter(named);
        match (found.next(), found.next()) {
            (Some(curve), None) => Ok(curve),
            _ => Err(OmsError::Key("it names none of the curves P-256, P-384 and P-521".into())),
        }
    }
}

/// A private EC key; its scalar is wiped when dropped, and never printed.
pub enum PrivateKey {
    /// On P-256.
    P256(p256::SecretKey),
    /// On P-384.
    P384(p384::SecretKey),
    /// On P-521.
    P521(p521::SecretKey),
}

impl PrivateKey {
    /// From PEM: `EC PRIVATE KEY` (SEC1) or `PRIVATE KEY` (PKCS #8), not encrypted. Text around the block is passed over.
    ///
    /// # Errors
    /// [`OmsError::Key`].
    pub fn from_pem(text: &str) -> Result<Self, OmsError> {
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
            let what = "it is encrypted; decrypt it with `openssl pkey` into a file that only you can read";
            return Err(OmsError::Key(what.into()));
        }
        let bad = |e: &dyn std::fmt::Display| OmsError::Key(format!("the private key cannot be read: {e}"));
        if let Some(der) = block(text, "EC PRIVATE KEY")? {
            return Ok(match Curve::of(&der)? {
                Curve::P256 => Self::P256(p256::SecretKey::from_sec1_der(&der).map_err(|e| bad(&e))?),
                Curve::P384 => Self::P384(p384::SecretKey::from_sec1_der(&der).map_err(|e| bad(&e))?),
                Curve::P521 => Self::P521(p521::SecretKey::from_sec1_der(&der).map_err(|e| bad(&e))?),
            });
        }
        let der = block(text, "PRIVATE KEY")?
            .ok_or_else(|| OmsError::Key("there is no PEM block of a private EC key".into()))?;
        Ok(match Curve::of(&der)? {
            Curve::P256 => Self::P256(p256::SecretKey::from_pkcs8_der(&der).map_err(|e| bad(&e))?),
            Curve::P384 => Self::P384(p384::SecretKey::from_pkcs8_der(&der).map_err(|e| bad(&e))?),
            Curve::P521 => Self::P521(p521::SecretKey::from_pkcs8_der(&der).map_err(|e| bad(&e))?),
        })
    }
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Self::P256(k) => PublicKey::P256(k.public_key()),
            Self::P384(k) => PublicKey::P384(k.public_key()),
            Self::P521(k) => PublicKey::P521(k.public_key()),
        }
    }
    /// Signature in DER; the same bytes for the same message: by RFC 6979, on P-521 with [`Nonces`].
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, OmsError> {
        let bad = |e: p256::ecdsa::Error| OmsError::Key(format!("it cannot sign: {e}"));
        Ok(match self {
            Self::P256(k) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(k).try_sign(message).map_err(bad)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(k) => {
                let signature: p384::ecdsa::Signature =
                    p384::ecdsa::SigningKey::from(k).try_sign(message).map_err(bad)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P521(k) => {
                let key = p521::ecdsa::SigningKey::from_bytes(&k.to_bytes()).map_err(bad)?;
                let signature: p521::ecdsa::Signature =
                    key.try_sign_with_rng(&mut Nonces::new(k, message), message).map_err(bad)?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}

/// A public EC key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// On P-256.
    P256(p256::PublicKey),
    /// On P-384.
    P384(p384::PublicKey),
    /// On P-521.
    P521(p521::PublicKey),
}

impl PublicKey {
    /// From PEM: `PUBLIC KEY` (SubjectPublicKeyInfo). Text around the block is passed over.
    ///
    /// # Errors
    /// [`OmsError::Key`].
    pub fn from_pem(text: &str) -> Result<Self, OmsError> {
        let der = block(text, "PUBLIC KEY")?
            .ok_or_else(|| OmsError::Key("there is no PEM block `PUBLIC KEY`".into()))?;
        let bad = |e: &dyn std::fmt::Display| OmsError::Key(format!("the public key cannot be read: {e}"));
        Ok(match Curve::of(&der)? {
            Curve::P256 => Self::P256(p256::PublicKey::from_public_key_der(&der).map_err(|e| bad(&e))?),
            Curve::P384 => Self::P384(p384::PublicKey::from_public_key_der(&der).map_err(|e| bad(&e))?),
            Curve::P521 => Self::P521(p521::PublicKey::from_public_key_der(&der).map_err(|e| bad(&e))?),
        })
    }
    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self {
            Self::P256(_) => Curve::P256,
            Self::P384(_) => Curve::P384,
            Self::P521(_) => Curve::P521,
        }
    }
    /// As PEM.
    ///
    /// # Errors
    /// Never in practice: a key that was read can be written.
    pub fn to_pem(&self) -> Result<String, OmsError> {
        let pem = match self {
            Self::P256(k) => k.to_public_key_pem(LineEnding::LF),
            Self::P384(k) => k.to_public_key_pem(LineEnding::LF),
            Self::P521(k) => k.to_public_key_pem(LineEnding::LF),
        };
        pem.map_err(|e| OmsError::Key(e.to_string()))
    }
    /// SHA-256 of the PEM, hex: how a signature names its key.
    ///
    /// # Errors
    /// As [`PublicKey::to_pem`].
    pub fn hint(&self) -> Result<String, OmsError> {
        Ok(Digest::of(self.to_pem()?.as_bytes()).to_hex())
    }
    /// Checks a DER signature.
    pub(super) fn verify(&self, message: &[u8], der: &[u8]) -> Result<(), OmsError> {
        let bad = |_| OmsError::BadSignature;
        match self {
            Self::P256(k) => p256::ecdsa::VerifyingKey::from(k)
                .verify(message, &p256::ecdsa::Signature::from_der(der).map_err(bad)?),
            Self::P384(k) => p384::ecdsa::VerifyingKey::from(k)
                .verify(message, &p384::ecdsa::Signature::from_der(der).map_err(bad)?),
            Self::P521(k) => p521::ecdsa::VerifyingKey::from_affine(*k.as_affine())
                .map_err(bad)?
                .verify(message, &p521::ecdsa::Signature::from_der(der).map_err(bad)?),
        }
        .map_err(bad)
    }
}

/// Nonces of P-521 signatures, whose crate has no RFC 6979: a hash of the private key, of the message and of a count, as
/// Ed25519 derives its own. Secret as long as the key is, and never the same for two messages.
struct Nonces {
    seed: zeroize::Zeroizing<Vec<u8>>,
    count: u64,
    left: zeroize::Zeroizing<Vec<u8>>,
}

impl Nonces {
    fn new(key: &p521::SecretKey, message: &[u8]) -> Self {
        let scalar = zeroize::Zeroizing::new(key.to_bytes().to_vec());
        let mut seed = zeroize::Zeroizing::new(b"longshore oms p-521 nonce 1".to_vec());
        seed.extend_from_slice(&scalar);
        seed.extend_from_slice(&Sha512::digest(message));
        Self { seed, count: 0, left: zeroize::Zeroizing::default() }
    }
}

impl RngCore for Nonces {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }
    fn fill_bytes(&mut self, to: &mut [u8]) {
        for byte in to {
            if self.left.is_empty() {
                let block = Sha512::new().chain_update(&*self.seed).chain_update(self.count.to_le_bytes());
                self.left = zeroize::Zeroizing::new(block.finalize().to_vec());
                self.count += 1;
            }
            *byte = self.left.pop().unwrap_or_default();
        }
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(to);
        Ok(())
    }
}
impl CryptoRng for Nonces {}

/// The content of the first PEM block with this label.
fn block(text: &str, label: &str) -> Result<Option<Vec<u8>>, OmsError> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let Some((_, rest)) = text.split_once(&begin) else { return Ok(None) };
    let broken = || OmsError::Key(format!("its PEM block `{label}` is damaged"));
    let (body, _) = rest.split_once(&end).ok_or_else(broken)?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(body).map(Some).map_err(|_| broken())
}
