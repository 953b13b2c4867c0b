//! OpenSSF Model Signing v1.0, key method: a directory's files, their hashes, and one ECDSA signature over them.
//!
//! A signature is a Sigstore bundle (v0.3) that holds a DSSE envelope over an in-toto statement. Always true here: nothing
//! of the statement is read before the signature over its bytes holds; no I/O happens (who walks the directory hands in
//! names and hashes); a [`Model`] that exists names each file once, by a relative path that cannot leave the directory.
//!
//! Only `sha256` and whole files (`method: files`) are spoken; shards and BLAKE hashes are optional in the specification
//! and refused by name.

mod envelope;
mod key;
mod statement;
#[cfg(test)]
mod tests;

use longshore_trust::Digest;

pub use envelope::{MEDIA_TYPE, sign, verify};
pub use key::{Curve, PrivateKey, PublicKey};
pub use statement::{Mismatch, Model, NameError, PREDICATE_TYPE, check_name};

/// What the specification leaves out of every signature, at the top of the directory.
pub const GIT_PATHS: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];
/// Longest signature file that is read.
pub const MAX_BUNDLE_BYTES: usize = 64 << 20;

/// Why a signature is refused, or none is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OmsError {
    /// A PEM file that holds no usable key.
    #[error("not a usable key: {0}")]
    Key(String),
    /// A signature file that is not one.
    #[error("not a model signature: {0}")]
    Malformed(String),
    /// Signed with another method or algorithm.
    #[error("{0} is not supported: sign with an EC key, sha256 and the `files` method")]
    Unsupported(String),
    /// Made for another key.
    #[error("the signature was made with another key (its hint is {hint}, the given key's is {expected})")]
    OtherKey {
        /// In the file.
        hint: String,
        /// Of the given key.
        expected: String,
    },
    /// The signature does not hold.
    #[error("the signature does not verify with this key")]
    BadSignature,
    /// Signed, but its statement cannot be.
    #[error("the signed statement is refused: {0}")]
    Statement(String),
    /// The sum of its hashes is not what the statement names.
    #[error("the signed statement is inconsistent: its files hash to {found}, its subject is {expected}")]
    Subject {
        /// Recomputed.
        found: Digest,
        /// As it says.
        expected: String,
    },
}

impl OmsError {
    /// For machines: `oms.what`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Key(_) => "oms.key",
            Self::Malformed(_) => "oms.malformed",
            Self::Unsupported(_) => "oms.unsupported",
            Self::OtherKey { .. } => "oms.other_key",
            Self::BadSignature => "oms.bad_signature",
            Self::Statement(_) => "oms.statement",
            Self::Subject { .. } => "oms.subject",
        }
    }
}
