//! Every signed message kind, every byte of it changed, dropped, doubled and cut off: nothing is accepted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use longshore_trust::{Envelope, EnvelopeError, Kind, SigningKey};

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

#[test]
fn no_mutant_of_a_signed_message_is_accepted() {
    let (mut tried, mut accepted) = (0, 0);
    for kind in Kind::ALL {
        // Over 127 bytes, so that the length takes two bytes, which could be spelt in more than one way.
        let original = Envelope::seal(kind, (0..200).collect(), &key()).unwrap();
        Envelope::open(&original, kind, &key().public()).unwrap();
        let mut check = |mutant: &[u8]| {
            tried += 1;
            accepted += u32::from(Envelope::open(mutant, kind, &key().public()).is_ok());
        };
        for at in 0..original.len() {
            for bit in 0..8 {
                let mut mutant = original.clone();
                mutant[at] ^= 1 << bit;
                check(&mutant);
            }
            let mut dropped = original.clone();
            dropped.remove(at);
            check(&dropped);
            for byte in [original[at], 0, 0x80] {
                let mut longer = original.clone();
                longer.insert(at, byte);
                check(&longer);
            }
            check(&original[..at]);
        }
    }
    println!("{tried} mutants of {} signed messages, {accepted} accepted, 0 panics", Kind::ALL.len());
    assert_eq!(accepted, 0);
}
#[test]
fn a_length_spelt_in_a_longer_way_is_another_message_and_refused() {
    let original = Envelope::seal(Kind::Report, (0..200).collect(), &key()).unwrap();
    // v, kind, then the length 200 as a varint: c8 01.
    assert_eq!(original[2..4], [0xc8, 0x01]);
    let longer = [&original[..3], &[0x81, 0x00], &original[4..]].concat();
    assert_eq!(Envelope::open(&longer, Kind::Report, &key().public()), Err(EnvelopeError::Malformed));
}
#[test]
fn a_signature_for_one_kind_opens_no_other() {
    let mut refused = 0;
    for kind in Kind::ALL {
        let sealed = Envelope::seal(kind, b"body".to_vec(), &key()).unwrap();
        for other in Kind::ALL.into_iter().filter(|k| *k != kind) {
            let mut renamed = sealed.clone();
            renamed[1] = other as u8;
            assert!(Envelope::open(&sealed, other, &key().public()).is_err());
            assert!(Envelope::open(&renamed, other, &key().public()).is_err());
            refused += 2;
        }
    }
    println!("{refused} messages offered as another kind, all refused");
}
