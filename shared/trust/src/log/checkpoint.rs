//! Checkpoints (C2SP tlog-checkpoint): how long a log is and what its root is, signed by the log.
//!
//! One extension line, `epoch N`, says how often the fleet had been restored from a backup, plus one: only across epochs
//! may a log be shorter than a checkpoint of it, and the restore that made it so is itself an entry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::note::{LogKey, NoteError, open_note, write_note};
use crate::{Digest, FleetId, SigningKey, Verified};

/// The name of a fleet's log: the first line of its checkpoints and the name of its key.
#[must_use]
pub fn origin(fleet: &FleetId) -> String {
    format!("longshore/{fleet}/audit")
}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: see [`origin`].
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root of the tree of these entries.
    pub root: Digest,
    /// The fleet's epoch: rises with every restore.
    pub epoch: u64,
}

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Signed, but not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// Of another log.
    #[error("a checkpoint of {got:?}, not of {expected:?}")]
    OtherLog {
        /// As signed.
        got: String,
        /// As the key says.
        expected: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\nepoch {}\n", self.origin, self.size, BASE64.encode(self.root.0), self.epoch)
    }
    /// Signs it.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> LogHead {
        let signature = key.sign(self.text().as_bytes());
        let (a, b) = signature.split_at(32);
        let half = |s: &[u8]| s.try_into().expect("half a signature has 32 bytes");
        LogHead { epoch: self.epoch, size: self.size, root: self.root, signature: (half(a), half(b)) }
    }
    /// Checks a signed checkpoint of the log that `by` names.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &[u8], by: &LogKey) -> Result<Verified<Self>, CheckpointError> {
        open_note(note, by)?.0.try_map(|text| Self::parse(&text, by.name()))
    }

    fn parse(text: &str, origin: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let got = lines.next().unwrap_or_default();
        if got != origin {
            let got = got.chars().take(200).collect();
            return Err(CheckpointError::OtherLog { got, expected: origin.to_owned() });
        }
        let number = |s: &str| s.parse::<u64>().ok().filter(|n| n.to_string() == s);
        let size =
            lines.next().and_then(number).ok_or(CheckpointError::Malformed("its second line is no size"))?;
        let root = lines
            .next()
            .and_then(|l| BASE64.decode(l).ok())
            .and_then(|b| <[u8; 32]>::try_from(b).ok())
            .map(Digest)
            .ok_or(CheckpointError::Malformed("its third line is no root"))?;
        let mut epochs = lines.filter_map(|l| l.strip_prefix("epoch "));
        match (epochs.next().and_then(number), epochs.next()) {
            (Some(epoch), None) => Ok(Self { origin: origin.to_owned(), size, root, epoch }),
            _ => Err(CheckpointError::Malformed("it has no line `epoch N`, or two")),
        }
    }
}

/// A signed checkpoint in the form that devices carry: all but the name of the log, which they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogHead {
    /// The fleet's epoch.
    pub epoch: u64,
    /// Entries.
    pub size: u64,
    /// Root.
    pub root: Digest,
    /// The log's ed25519 signature, in halves.
    pub signature: ([u8; 32], [u8; 32]),
}

impl LogHead {
    /// The same, out of a checked note.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn from_note(note: &[u8], by: &LogKey) -> Result<Self, CheckpointError> {
        let (text, signature) = open_note(note, by)?;
        let c = Checkpoint::parse(&text, by.name())?;
        let (a, b) = signature.split_at(32);
        let half = |s: &[u8]| s.try_into().expect("half a signature has 32 bytes");
        Ok(Self { epoch: c.epoch, size: c.size, root: c.root, signature: (half(a), half(b)) })
    }
    /// The note it was.
    #[must_use]
    pub fn to_note(&self, by: &LogKey) -> String {
        let signature: [u8; 64] =
            [self.signature.0, self.signature.1].concat().try_into().expect("two halves make a signature");
        write_note(&self.checkpoint(by.name()).text(), by, &signature)
    }
    /// Checks that this log signed it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(&self, by: &LogKey) -> Result<Verified<Checkpoint>, CheckpointError> {
        Checkpoint::open(self.to_note(by).as_bytes(), by)
    }
    fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: self.size, root: self.root, epoch: self.epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (SigningKey, LogKey) {
        let key = SigningKey::from_seed(&[7; 32]);
        let name = origin(&FleetId::new("harbour").unwrap());
        let public = LogKey::new(&name, key.public()).unwrap();
        (key, public)
    }

    #[test]
    fn head_and_note_are_two_forms_of_one_thing() {
        let (key, public) = log();
        let c = Checkpoint { origin: public.name().into(), size: 42, root: Digest::of(b"r"), epoch: 3 };
        let head = c.sign(&key);
        assert_eq!(*head.verify(&public).unwrap(), c);
        let note = head.to_note(&public);
        assert!(
            note.starts_with("longshore/harbour/audit\n42\n") && note.contains("\nepoch 3\n\n"),
            "{note}"
        );
        assert_eq!(LogHead::from_note(note.as_bytes(), &public).unwrap(), head);
        for changed in [LogHead { size: 43, ..head }, LogHead { epoch: 4, ..head }] {
            assert!(changed.verify(&public).is_err());
        }
    }
    #[test]
    fn what_is_not_a_checkpoint_is_refused_although_it_is_signed() {
        let (key, public) = log();
        let root = BASE64.encode([0; 32]);
        let name = public.name();
        for text in [
            format!("{name}\n\n"),
            format!("{name}\n042\n{root}\nepoch 1\n"),
            format!("{name}\n-1\n{root}\nepoch 1\n"),
            format!("{name}\n1\nAAAA\nepoch 1\n"),
            format!("{name}\n1\n{root}\n"),
            format!("{name}\n1\n{root}\nepoch 1\nepoch 2\n"),
            format!("longshore/other/audit\n1\n{root}\nepoch 1\n"),
        ] {
            let note = super::super::sign_note(&text, name, &key).unwrap();
            assert!(Checkpoint::open(note.as_bytes(), &public).is_err(), "{text}");
        }
    }
}
