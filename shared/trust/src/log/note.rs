//! Signed notes (C2SP signed-note): text, a blank line, and a line a signature. Only ed25519, the algorithm 0x01.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::{Digest, PublicKey, SigningKey, Verified};

/// Longest note that is read.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Most signature lines that are looked at.
const MAX_SIGNATURES: usize = 32;
const ED25519: u8 = 1;

/// Why a note or its key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// Nobody known signed it.
    #[error("the note is not signed by {0}")]
    NotSigned(String),
    /// The signature of a known key is wrong.
    #[error("the signature of {0} does not verify")]
    BadSignature(String),
    /// Not a verifier key.
    #[error("{0:?} is no verifier key: it looks like name+8 hex digits+base64")]
    Key(String),
}

/// Whose signatures count: a name and an ed25519 public key, written `name+hash+base64(0x01 || key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    name: String,
    key: PublicKey,
}

impl LogKey {
    /// Of a log of this name.
    ///
    /// # Errors
    /// [`NoteError::Key`] when a name cannot be one, or the key is not ed25519.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        let fits = !name.is_empty()
            && name.len() <= 200
            && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control());
        if fits && matches!(key, PublicKey::Ed25519(_)) {
            Ok(Self { name: name.to_owned(), key })
        } else {
            Err(NoteError::Key(name.chars().take(80).collect()))
        }
    }
    /// The log's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
    /// SHA-256(name, newline, 0x01, key), the first four bytes: finds the key, proves nothing.
    fn hash(&self) -> [u8; 4] {
        let digest = Digest::of(&[self.name.as_bytes(), b"\n", &self.typed()].concat());
        digest.0[..4].try_into().expect("a digest has 32 bytes")
    }
    fn typed(&self) -> Vec<u8> {
        [&[ED25519], self.key.raw().as_slice()].concat()
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, hex::encode(self.hash()), BASE64.encode(self.typed()))
    }
}

impl FromStr for LogKey {
    type Err = NoteError;
    fn from_str(s: &str) -> Result<Self, NoteError> {
        let wrong = || NoteError::Key(s.chars().take(120).collect());
        // The base64 may hold a plus itself.
        let mut parts = s.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let typed = BASE64.decode(key).map_err(|_| wrong())?;
        let Some((&ED25519, raw)) = typed.split_first() else {
            return Err(wrong());
        };
        let key = Self::new(name, PublicKey::ed25519(raw).map_err(|_| wrong())?)?;
        if hex::encode(key.hash()) == hash { Ok(key) } else { Err(wrong()) }
    }
}

/// The note of `text` with one signature.
#[must_use]
pub(super) fn write_note(text: &str, key: &LogKey, signature: &[u8; 64]) -> String {
    let blob = [key.hash().as_slice(), signature].concat();
    format!("{text}\n\u{2014} {} {}\n", key.name, BASE64.encode(blob))
}

/// Signs `text`, which ends with a newline and has no other control character.
///
/// # Errors
/// [`NoteError::Malformed`] when the text cannot be a note's.
pub fn sign_note(text: &str, name: &str, key: &SigningKey) -> Result<String, NoteError> {
    check_text(text)?;
    Ok(write_note(text, &LogKey::new(name, key.public())?, &key.sign(text.as_bytes())))
}

fn check_text(text: &str) -> Result<(), NoteError> {
    match () {
        () if !text.ends_with('\n') => Err(NoteError::Malformed("its text does not end with a newline")),
        () if text.chars().any(|c| c.is_ascii_control() && c != '\n') => {
            Err(NoteError::Malformed("its text holds a control character"))
        }
        () => Ok(()),
    }
}

/// Checks a note and hands out its text and the signature. Signatures of others are passed over.
///
/// # Errors
/// [`NoteError`].
pub fn open_note(note: &[u8], by: &LogKey) -> Result<(Verified<String>, [u8; 64]), NoteError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(NoteError::Malformed("it is too long"));
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
    let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed("it has no signature"))?;
    let text = format!("{text}\n");
    check_text(&text)?;
    if !signatures.ends_with('\n') {
        return Err(NoteError::Malformed("its last line does not end"));
    }
    for line in signatures.lines().take(MAX_SIGNATURES) {
        let wrong = NoteError::Malformed("a signature line is not `\u{2014} name base64`");
        let rest = line.strip_prefix("\u{2014} ").ok_or_else(|| wrong.clone())?;
        let (name, blob) = rest.split_once(' ').ok_or_else(|| wrong.clone())?;
        let blob = BASE64.decode(blob).map_err(|_| wrong.clone())?;
        let (hash, signature) = blob.split_first_chunk::<4>().ok_or(wrong)?;
        if name != by.name || *hash != by.hash() {
            continue;
        }
        let bad = || NoteError::BadSignature(by.name.clone());
        let signature: [u8; 64] = signature.try_into().map_err(|_| bad())?;
        by.key.verify(text.as_bytes(), &signature).map_err(|_| bad())?;
        return Ok((Verified::new(text), signature));
    }
    Err(NoteError::NotSigned(by.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP signed-note and of Go's x/mod/sumdb/note.
    const EXAMPLE_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const EXAMPLE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn reads_the_example_of_the_specification() {
        let key: LogKey = EXAMPLE_KEY.parse().unwrap();
        assert_eq!(key.to_string(), EXAMPLE_KEY);
        let (text, _) = open_note(EXAMPLE.as_bytes(), &key).unwrap();
        assert!(text.starts_with("If you think") && text.ends_with("is.\n"));
    }
    #[test]
    fn no_changed_byte_is_accepted() {
        let key: LogKey = EXAMPLE_KEY.parse().unwrap();
        let mut tried = 0;
        for at in 0..EXAMPLE.len() {
            for flip in [1u8, 0x20, 0x80] {
                let mut bytes = EXAMPLE.as_bytes().to_vec();
                bytes[at] ^= flip;
                assert!(open_note(&bytes, &key).is_err(), "byte {at} ^ {flip}");
                tried += 1;
            }
        }
        println!("{tried} changed notes, 0 accepted");
    }
    #[test]
    fn a_changed_verifier_key_is_none() {
        for wrong in
            ["", "PeterNeumann", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]
        {
            assert!(wrong.parse::<LogKey>().is_err(), "{wrong}");
        }
    }
    #[test]
    fn signatures_of_others_are_passed_over_and_one_of_ours_must_hold() {
        let ours = SigningKey::from_seed(&[1; 32]);
        let key = LogKey::new("ours", ours.public()).unwrap();
        let other = sign_note("text\n", "theirs", &SigningKey::from_seed(&[2; 32])).unwrap();
        assert_eq!(open_note(other.as_bytes(), &key), Err(NoteError::NotSigned("ours".into())));
        let mine = sign_note("text\n", "ours", &ours).unwrap();
        let both = format!("{other}{}", mine.strip_prefix("text\n\n").unwrap());
        assert!(open_note(both.as_bytes(), &key).is_ok());
        assert!(open_note(both.replace("text", "test").as_bytes(), &key).is_err());
    }
}
