//! Every kind of message, offered as every other kind; and metadata against messages.

use longshore_trust::tuf::{self, edit};
use longshore_trust::{Envelope, EnvelopeError, Kind, SigningKey, UnixMs, dsse};

use crate::repo;

/// The same bytes with another kind in the envelope: what a thief can do without the key.
fn relabelled(sealed: &[u8], kind: Kind) -> Vec<u8> {
    let mut bytes = sealed.to_vec();
    assert_eq!(Kind::from_u8(bytes[1]).map(|k| k as u8), Some(bytes[1]));
    bytes[1] = kind as u8;
    bytes
}

#[test]
fn no_kind_passes_for_another() {
    let key = SigningKey::from_seed(&[7; 32]);
    let body = b"the same body for all".to_vec();
    let mut tried = 0;
    for signed_as in Kind::ALL {
        let sealed = Envelope::seal(signed_as, body.clone(), &key).unwrap();
        for taken_as in Kind::ALL {
            let plain = Envelope::open(&sealed, taken_as, &key.public());
            let dressed = Envelope::open(&relabelled(&sealed, taken_as), taken_as, &key.public());
            if signed_as == taken_as {
                assert!(plain.is_ok() && dressed.is_ok());
                continue;
            }
            assert!(matches!(plain, Err(EnvelopeError::WrongKind { .. })), "{signed_as:?} as {taken_as:?}");
            assert_eq!(dressed, Err(EnvelopeError::BadSignature), "{signed_as:?} as {taken_as:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, Kind::ALL.len() * (Kind::ALL.len() - 1));
    println!("{tried} pairs of kinds, 0 accepted");
}

#[test]
fn payload_types_are_distinct_and_none_is_a_prefix_of_another() {
    let types: Vec<&str> = Kind::ALL.iter().map(|k| k.payload_type()).collect();
    for (i, a) in types.iter().enumerate() {
        for b in &types[i + 1..] {
            assert!(!a.starts_with(b) && !b.starts_with(a), "{a} {b}");
            // Lengths are signed too, so a type cannot borrow bytes from the body.
            assert_ne!(dsse::pae(a, b"x"), dsse::pae(b, b"x"));
        }
    }
}

#[test]
fn a_signature_of_metadata_is_none_of_a_message_and_the_other_way_round() {
    // One key for both, the worst case: an operator who used the director's key for the timestamp.
    let key = repo::key(repo::TIMESTAMP);
    let mut timestamp = edit::timestamp(9, UnixMs(4_000_000_000_000), b"{}", 9);
    timestamp.sign(&key);
    let message = timestamp.message();
    let signature = key.sign(&message);
    for kind in Kind::ALL {
        let pae = dsse::pae(kind.payload_type(), &message);
        assert!(key.public().verify(&pae, &signature).is_err(), "metadata as {kind:?}");
        let signed = key.sign(&dsse::pae(kind.payload_type(), &message));
        assert!(key.public().verify(&message, &signed).is_err(), "{kind:?} as metadata");
        // And no DSSE encoding can be read as metadata at all.
        assert!(tuf::parse_json(&pae).is_err());
    }
}
