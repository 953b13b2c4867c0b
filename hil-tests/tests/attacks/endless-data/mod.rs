//! A server that never stops sending, and what of it reaches memory and disk.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use longshore_agent::fetch::{FileError, HttpError, Limits, fetch_file};
use longshore_trust::{Digest, Envelope, EnvelopeError, Kind, SigningKey};

use crate::field::Mirror;
use crate::https::Rogue;

/// A server that sends for ever, with and without saying how much.
fn endless(head: &'static str, sent: &Arc<AtomicU64>) -> Rogue {
    let sent = Arc::clone(sent);
    Rogue::start(move |_, wire| {
        wire.write_all(head.as_bytes())?;
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 14, "a".repeat(1 << 14));
        let plain = "a".repeat(1 << 14);
        loop {
            wire.write_all(if head.contains("chunked") { chunk.as_bytes() } else { plain.as_bytes() })?;
            sent.fetch_add(1 << 14, Ordering::Relaxed);
        }
    })
}

const HEADS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
];
/// What sockets and TLS hold between the two ends, and a good deal more.
const IN_FLIGHT: u64 = 32 << 20;

#[test]
fn metadata_without_an_end_is_cut_at_its_cap_and_one_byte() {
    for head in HEADS {
        let sent = Arc::new(AtomicU64::new(0));
        let refusal = endless(head, &sent).remote().get("trust/timestamp.json", 16 * 1024).unwrap_err();
        assert!(matches!(refusal, HttpError::TooLong { limit: 16_384, .. }), "{head:?}: {refusal}");
        assert!(sent.load(Ordering::Relaxed) < IN_FLIGHT);
    }
}

#[test]
fn a_file_without_an_end_takes_no_more_room_than_was_signed_for_it() {
    for head in HEADS {
        let sent = Arc::new(AtomicU64::new(0));
        let rogue = endless(head, &sent);
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("x.part");
        let cancel = AtomicBool::new(false);
        let most = Cell::new(0);
        let limits = Limits {
            cancel: &cancel,
            budget: Cell::new(u64::MAX),
            clock: &|| {
                // Asked with every piece that is written.
                most.set(most.get().max(part.metadata().map_or(0, |m| m.len())));
                Duration::ZERO
            },
        };
        let length = 100_000;
        let refusal =
            fetch_file(&rogue.remote(), "x", length, &Digest::of(b"?"), &part, &limits).unwrap_err();
        assert!(matches!(refusal, FileError::Mismatch { .. }), "{refusal}");
        assert!(most.get() <= length, "{} bytes lay on the disk", most.get());
        assert!(!part.exists());
        assert!(sent.load(Ordering::Relaxed) < IN_FLIGHT);
    }
}

#[test]
fn a_source_that_ignores_its_end_is_cut_too() {
    let mut mirror = Mirror { endless: true, ..Mirror::default() };
    let bytes = vec![5u8; 1 << 20];
    mirror.files.insert("x".into(), bytes.clone());
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("x.part");
    let cancel = AtomicBool::new(false);
    let limits = Limits { cancel: &cancel, budget: Cell::new(u64::MAX), clock: &|| Duration::ZERO };
    let length = 1500;
    // The first bytes are right, so what was signed is there; and not a byte more.
    fetch_file(&mirror, "x", length, &Digest::of(&bytes[..1500]), &part, &limits).unwrap();
    assert_eq!(part.metadata().unwrap().len(), length);
}

#[test]
fn a_message_of_any_length_costs_at_most_its_bound() {
    let key = SigningKey::from_seed(&[1; 32]);
    for length in [48 * 1024 + 1, 1 << 20, 64 << 20] {
        let refusal = Envelope::open(&vec![1u8; length], Kind::Report, &key.public()).unwrap_err();
        assert_eq!(refusal, EnvelopeError::TooLong(length));
    }
    // A length inside that promises more than there is: no room is made for it.
    for promised in [u64::MAX, 1 << 40, 1 << 31] {
        let mut bytes = vec![1, Kind::Report as u8];
        let mut n = promised;
        while n >= 0x80 {
            bytes.push((n as u8) | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes.extend([0; 100]);
        assert_eq!(Envelope::open(&bytes, Kind::Report, &key.public()), Err(EnvelopeError::Malformed));
    }
}
