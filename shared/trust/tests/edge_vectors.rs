//! Signatures and keys at the edge of what a verifier may take for one: what two implementations could disagree about is
//! refused, and where a standard leaves a choice the choice is held here.
//!
//! The ed25519 vectors were made by arithmetic on the curve, not by a signer: in each the named equation really holds, so
//! what refuses it is the check that the vector is for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use longshore_trust::{KeyError, PublicKey, SigningKey};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as P256Key};

/// The key of seed 07…07.
const A: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
/// The same point plus one of order 8.
const A_WITH_TORSION: &str = "fbb3211d177bccefd763d01a88f6473e43e5cf0a0740e44ab5c64460eefd4675";
/// R of a good signature of "message".
const R: &str = "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23";

struct Vector {
    what: &'static str,
    key: &'static str,
    r: &'static str,
    s: &'static str,
    message: &'static [u8],
    good: bool,
}

const fn vector(
    what: &'static str,
    key: &'static str,
    r: &'static str,
    s: &'static str,
    message: &'static [u8],
    good: bool,
) -> Vector {
    Vector { what, key, r, s, message, good }
}

const ED25519: [Vector; 12] = [
    vector(
        "an ordinary one",
        A,
        R,
        "afbb01cf48ad3b2eafd169e4b36a9e0255f5e1431250d8bd3872c66273882f06",
        b"message",
        true,
    ),
    vector(
        "S + L",
        A,
        R,
        "9c8ff72b63104e86856e618792647d1755f5e1431250d8bd3872c66273882f16",
        b"message",
        false,
    ),
    vector(
        "S + 2L",
        A,
        R,
        "8963ed887d7360de5b0b592a715e5c2c55f5e1431250d8bd3872c66273882f26",
        b"message",
        false,
    ),
    vector(
        "S + 7L",
        A,
        R,
        "2a87ba590163bc968b1b2f59ca3fb79455f5e1431250d8bd3872c66273882f76",
        b"message",
        false,
    ),
    vector(
        "S with its top bit set",
        A,
        R,
        "afbb01cf48ad3b2eafd169e4b36a9e0255f5e1431250d8bd3872c66273882f86",
        b"message",
        false,
    ),
    vector(
        "R with a part of order 8: only the equation times 8 holds",
        A,
        "4c261951fba9f4ba7ece40431f212269f58becc2473c54cecda0e8f1e6f9d253",
        "5bc6db3f10527b457963c41ae8fe2a8b4a00a7996dd8aa39be434a1a09da9105",
        b"message",
        false,
    ),
    vector(
        "R neutral",
        A,
        "0100000000000000000000000000000000000000000000000000000000000000",
        "d4c5323131ff9683cfb3d30197c786c9043f1052d6c2d5293f19d6f36b911104",
        b"message",
        false,
    ),
    vector(
        "R neutral, spelt p + 1",
        A,
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "429287529325c4ed20a20ad97fccf713cadc367a64bb7024b811454179bf3707",
        b"message",
        false,
    ),
    vector(
        "R neutral, with the sign of a zero",
        A,
        "0100000000000000000000000000000000000000000000000000000000000080",
        "6c48dd23977cad979fe5b405427c91b5ef937d68089cb19ded46e0e110fca50f",
        b"message",
        false,
    ),
    vector(
        "R neutral, both",
        A,
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "e710a0412b22cba965f92b5d7d06ca6243a0a82584947989a8242736b19ea20b",
        b"message",
        false,
    ),
    vector(
        "a key with a part of order 8: only the equation times 8 holds",
        A_WITH_TORSION,
        R,
        "9de91015cb16acbaa37becc2c9afac05d4b5fea48fde4897b04dedfdab536a06",
        b"message 0",
        false,
    ),
    // Only who made that key can sign with it, and every verifier agrees about this one: no harm in it.
    vector(
        "a key with a part of order 8: both equations hold",
        A_WITH_TORSION,
        R,
        "e9ebab8fe6868e93386585464432e39c923faa6c022caecc06e5fe55919cf405",
        b"message 4",
        true,
    ),
];

#[test]
fn ed25519_vectors() {
    let mut accepted = 0;
    for v in &ED25519 {
        let key = PublicKey::ed25519(&hex::decode(v.key).unwrap()).unwrap();
        let signature = hex::decode([v.r, v.s].concat()).unwrap();
        assert_eq!(key.verify(v.message, &signature).is_ok(), v.good, "{}", v.what);
        accepted += u32::from(v.good);
    }
    println!("ed25519: {} vectors, {accepted} accepted as they should be", ED25519.len());
}
#[test]
fn ed25519_signatures_of_other_lengths_or_variants_are_refused() {
    let (key, message) = (SigningKey::from_seed(&[7; 32]), b"message");
    let good = key.sign(message);
    for length in (0..=128).filter(|n| *n != 64) {
        let mut other = [good.as_slice(), &good].concat();
        other.truncate(length);
        assert_eq!(key.public().verify(message, &other), Err(KeyError::BadSignature), "{length} bytes");
    }
    for wrong in [[0u8; 64], [0xff; 64], [1; 64]] {
        assert_eq!(key.public().verify(message, &wrong), Err(KeyError::BadSignature));
    }
    // Halves in the other order, and big-endian ones.
    let (r, s) = good.split_at(32);
    let reversed: Vec<u8> = r.iter().rev().chain(s.iter().rev()).copied().collect();
    for wrong in [[s, r].concat(), reversed] {
        assert_eq!(key.public().verify(message, &wrong), Err(KeyError::BadSignature));
    }
}
#[test]
fn ed25519_keys_of_other_lengths_or_off_the_curve_are_refused() {
    let good = SigningKey::from_seed(&[7; 32]).public().raw();
    for length in (0..=64).filter(|n| *n != 32) {
        let mut other = [good.as_slice(), &good].concat();
        other.truncate(length);
        assert!(PublicKey::ed25519(&other).is_err(), "{length} bytes");
    }
    // y = 2 is on no point of the curve.
    let mut off = [0; 32];
    off[0] = 2;
    assert!(PublicKey::ed25519(&off).is_err());
    // Points of full order whose y is below 19 have a second spelling, y + p: only the first is a key.
    let (mut first, mut second) = (0, 0);
    for y in 0..19u8 {
        for sign in [0, 0x80] {
            let mut low = [0; 32];
            (low[0], low[31]) = (y, sign);
            let mut high = [0xff; 32];
            (high[0], high[31]) = (0xed + y, 0x7f | sign);
            first += u32::from(PublicKey::ed25519(&low).is_ok());
            second += u32::from(PublicKey::ed25519(&high).is_ok());
        }
    }
    assert_eq!((first, second), (20, 0));
}

/// The order of P-256's group.
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const N_PLUS_1: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552";
/// The prime of its field.
const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";

fn p256() -> (P256Key, PublicKey) {
    let secret = P256Key::from_slice(&[3; 32]).unwrap();
    let public = PublicKey::P256(*secret.verifying_key());
    (secret, public)
}
/// A DER INTEGER of these content bytes, as they are.
fn integer(content: &[u8]) -> Vec<u8> {
    [&[0x02, u8::try_from(content.len()).unwrap()], content].concat()
}
fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}
/// The shortest content of a positive INTEGER.
fn positive(raw: &[u8]) -> Vec<u8> {
    let start = raw.iter().position(|b| *b != 0).unwrap_or(raw.len() - 1);
    let digits = &raw[start..];
    if digits[0] & 0x80 == 0 { digits.to_vec() } else { [&[0], digits].concat() }
}
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    sequence(&[integer(&positive(r)), integer(&positive(s))])
}

#[test]
fn p256_signatures_have_one_encoding() {
    let (secret, public) = p256();
    let message = b"message";
    let good: Signature = secret.sign(message);
    let (r, s) = (good.r().to_bytes().to_vec(), good.s().to_bytes().to_vec());
    let plain = der(&r, &s);
    public.verify(message, &plain).unwrap();
    let padded = |raw: &[u8]| integer(&[&[0], positive(raw).as_slice()].concat());
    let body = [integer(&positive(&r)), integer(&positive(&s))].concat();
    let length = u8::try_from(body.len()).unwrap();
    let zero = vec![0; 32];
    let one = [zero[1..].to_vec(), vec![1]].concat();
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("r and s without DER", [r.clone(), s.clone()].concat()),
        ("a byte behind it", [plain.as_slice(), &[0]].concat()),
        ("a byte missing", plain[..plain.len() - 1].to_vec()),
        ("a byte behind s, inside", sequence(&[body.clone(), vec![0]])),
        ("a third integer", sequence(&[body.clone(), integer(&[1])])),
        ("only r", sequence(&[integer(&positive(&r))])),
        ("r padded", sequence(&[padded(&r), integer(&positive(&s))])),
        ("s padded", sequence(&[integer(&positive(&r)), padded(&s)])),
        ("a long length", [&[0x30, 0x81, length], body.as_slice()].concat()),
        ("a longer length", [&[0x30, 0x82, 0, length], body.as_slice()].concat()),
        ("no definite length (BER)", [&[0x30, 0x80], body.as_slice(), &[0, 0]].concat()),
        ("a set", [&[0x31, length], body.as_slice()].concat()),
        ("r = 0", der(&zero, &s)),
        ("s = 0", der(&r, &zero)),
        ("both 0", der(&zero, &zero)),
        ("r = 1, s = 1", der(&one, &one)),
        ("r = n", der(&hex::decode(N).unwrap(), &s)),
        ("s = n", der(&r, &hex::decode(N).unwrap())),
        ("r = n + 1", der(&hex::decode(N_PLUS_1).unwrap(), &s)),
        ("r = p", der(&hex::decode(P).unwrap(), &s)),
        ("s + n", der(&r, &plus_n(&s))),
        ("r + n", der(&plus_n(&r), &s)),
        ("r negative", sequence(&[integer(&[0xff]), integer(&positive(&s))])),
        ("s negative", sequence(&[integer(&positive(&r)), integer(&[0x80])])),
        ("r empty", sequence(&[integer(&[]), integer(&positive(&s))])),
        ("s and r changed over", der(&s, &r)),
        ("2000 bytes", [plain.clone(), vec![0; 2000]].concat()),
    ];
    for (what, bytes) in &wrong {
        assert_eq!(public.verify(message, bytes), Err(KeyError::BadSignature), "{what}");
    }
    let mut changed = 0;
    for at in 0..plain.len() {
        for bit in 0..8 {
            let mut bytes = plain.clone();
            bytes[at] ^= 1 << bit;
            assert!(public.verify(message, &bytes).is_err(), "byte {at}, bit {bit}");
            changed += 1;
        }
    }
    println!("P-256: {} vectors and {changed} single-bit changes refused", wrong.len());
}

fn plus_n(raw: &[u8]) -> Vec<u8> {
    let n = hex::decode(N).unwrap();
    let mut out = vec![0; 33];
    let mut carry = 0u16;
    for i in (0..32).rev() {
        let sum = u16::from(raw[i]) + u16::from(n[i]) + carry;
        out[i + 1] = sum.to_be_bytes()[1];
        carry = sum >> 8;
    }
    out[0] = carry.to_be_bytes()[1];
    out
}

/// ECDSA knows two signatures for each: (r, s) and (r, n - s). OpenSSL, TPMs and the reference implementation of TUF make
/// either, so both are taken. It gives nothing away: keys are counted, not signatures, and nothing is told apart by the
/// bytes of a signature.
#[test]
fn the_twin_of_a_p256_signature_is_taken() {
    let (secret, public) = p256();
    let good: Signature = secret.sign(b"message");
    let (r, s) = (good.r().to_bytes(), good.s());
    let twin = (-*s).to_bytes();
    for s in [s.to_bytes(), twin] {
        public.verify(b"message", &der(&r, &s)).unwrap();
        assert!(public.verify(b"messagf", &der(&r, &s)).is_err());
    }
}
#[test]
fn a_p256_key_is_one_key_however_it_is_written() {
    use p256::pkcs8::DecodePublicKey as _;
    let (secret, public) = p256();
    let point = secret.verifying_key();
    let spki = |sec1: &[u8]| -> Vec<u8> {
        // SubjectPublicKeyInfo of an EC key on P-256 around the point's bytes.
        let head = hex::decode("301306072a8648ce3d020106082a8648ce3d030107").unwrap();
        let bits = [&[0x03, u8::try_from(sec1.len() + 1).unwrap(), 0], sec1].concat();
        sequence(&[head, bits])
    };
    let read = |der: &[u8]| p256::PublicKey::from_public_key_der(der).map(|k| PublicKey::P256(k.into()));
    let compressed = point.to_encoded_point(true);
    let full = point.to_encoded_point(false);
    for form in [&compressed, &full] {
        let found = read(&spki(form.as_bytes())).unwrap();
        assert_eq!((found.raw(), found.id()), (public.raw(), public.id()));
    }
    let mut off = full.as_bytes().to_vec();
    off[64] ^= 1;
    let mut hybrid = full.as_bytes().to_vec();
    hybrid[0] = 6 | (hybrid[64] & 1);
    let mut beyond = compressed.as_bytes().to_vec();
    beyond[1..].copy_from_slice(&hex::decode(P).unwrap());
    let mut other_curve = spki(full.as_bytes());
    let oid = other_curve.windows(8).position(|w| w == hex::decode("2a8648ce3d030107").unwrap()).unwrap();
    other_curve[oid + 7] = 1;
    for (what, bytes) in [
        ("off the curve", spki(&off)),
        ("hybrid form", spki(&hybrid)),
        ("the point at infinity", spki(&[0])),
        ("x = p", spki(&beyond)),
        ("too short", spki(&full.as_bytes()[..64])),
        ("too long", spki(&[full.as_bytes(), &[0]].concat())),
        ("another curve", other_curve),
        ("bytes behind it", [spki(full.as_bytes()), vec![0]].concat()),
        ("nothing", vec![]),
    ] {
        assert!(read(&bytes).is_err(), "{what}");
    }
}
