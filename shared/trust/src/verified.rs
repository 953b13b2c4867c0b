//! A value that only verification can make.

use std::ops::Deref;

/// `T`, taken from bytes whose signature or hash was checked. Only this crate makes one out of bytes; [`Verified::map`]
/// and [`Verified::try_map`] carry the proof through a parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }
    /// The value, with its proof given up.
    pub fn into_inner(self) -> T {
        self.0
    }
    /// What `f` makes of a verified value is verified.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Verified<U> {
        Verified(f(self.0))
    }
    /// Like [`Verified::map`], for a parse that may fail.
    ///
    /// # Errors
    /// Whatever `f` answers.
    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        f(self.0).map(Verified)
    }
}
impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Verified<Vec<u8>> {
    /// Bytes whose length and SHA-256 are those that a verified statement names.
    ///
    /// # Errors
    /// The digest found, when it differs (or the length does).
    pub fn by_digest(bytes: Vec<u8>, length: u64, sha256: &crate::Digest) -> Result<Self, crate::Digest> {
        let found = crate::Digest::of(&bytes);
        if bytes.len() as u64 == length && found == *sha256 { Ok(Self(bytes)) } else { Err(found) }
    }
}
