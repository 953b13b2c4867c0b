//! Which keys and signatures count.

use longshore_trust::{KeyError, PublicKey};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::json;

use crate::repo::*;

/// Every point of small order, in every encoding that decompresses ("Taming the many EdDSAs", table 6).
const SMALL_ORDER: [&str; 12] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn points_of_small_order_are_no_keys() {
    for hex in SMALL_ORDER {
        let raw = hex::decode(hex).unwrap();
        assert_eq!(PublicKey::ed25519(&raw), Err(KeyError::NotAKey("ed25519")), "{hex}");
    }
}
#[test]
fn a_key_has_one_encoding() {
    // y and y + p are the same point where y < 19: the second spelling would count as a second key.
    for low in 0..19u8 {
        for sign in [0, 0x80] {
            let mut raw = [0xff; 32];
            raw[0] = 0xed + low;
            raw[31] = 0x7f | sign;
            assert!(PublicKey::ed25519(&raw).is_err(), "p + {low}, sign {sign}");
        }
    }
}
#[test]
fn a_signature_with_r_of_small_order_is_refused_though_its_equation_holds() {
    // Made with R = the neutral element and S = H(R, A, M) * a, for the key of seed 07...07: S*B == R + H*A.
    let public = key(7).public();
    assert_eq!(hex::encode(public.raw()), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
    let signature = hex::decode(
        "0100000000000000000000000000000000000000000000000000000000000000\
         d4c5323131ff9683cfb3d30197c786c9043f1052d6c2d5293f19d6f36b911104",
    )
    .unwrap();
    assert_eq!(public.verify(b"message", &signature), Err(KeyError::BadSignature));
}
#[test]
fn a_signature_cannot_be_changed_into_another_valid_one() {
    // S + L satisfies the same equation as S; only the smaller one is a signature.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = key(7).sign(b"message");
    key(7).public().verify(b"message", &signature).unwrap();
    let mut carry = 0;
    for (byte, l) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(key(7).public().verify(b"message", &signature), Err(KeyError::BadSignature));
}
#[test]
fn signatures_of_other_lengths_are_refused() {
    let signature = key(7).sign(b"message");
    for wrong in [&signature[..0], &signature[..63], &[&signature[..], &[0]].concat()] {
        assert_eq!(key(7).public().verify(b"message", wrong), Err(KeyError::BadSignature));
    }
}

fn p256_key() -> (p256::ecdsa::SigningKey, serde_json::Value) {
    let secret = p256::ecdsa::SigningKey::from_slice(&[3; 32]).unwrap();
    let public = p256::PublicKey::from(secret.verifying_key());
    let pem = public.to_public_key_pem(LineEnding::LF).unwrap();
    let value = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}});
    (secret, value)
}

#[test]
fn ecdsa_on_p256_counts_towards_a_threshold() {
    use p256::ecdsa::signature::Signer as _;
    let (secret, value) = p256_key();
    for keytype in ["ecdsa", "ecdsa-sha2-nistp256"] {
        let mut repo = Repo::new();
        let mut client = Client::new(&repo);
        let mut value = value.clone();
        value["keytype"] = keytype.into();
        repo.root["keys"]["any-id"] = value;
        repo.root["roles"]["timestamp"] = json!({"keyids": ["any-id", key_id(TIMESTAMP)], "threshold": 2});
        repo.release(&["root"]);
        let bytes = repo.served["timestamp.json"].clone();
        let mut tree: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let message = longshore_trust::tuf::canonical(&tree["signed"]);
        let signature: p256::ecdsa::Signature = secret.sign(&message);
        let der = hex::encode(signature.to_der().as_bytes());
        tree["signatures"].as_array_mut().unwrap().push(json!({"keyid": "any-id", "sig": der}));
        repo.served.insert("timestamp.json".into(), serde_json::to_vec(&tree).unwrap());
        client.refresh(&repo, &[]).unwrap();

        // The same with a signature that is well formed and wrong.
        let other: p256::ecdsa::Signature = secret.sign(b"something else");
        tree["signatures"][1]["sig"] = hex::encode(other.to_der().as_bytes()).into();
        repo.served.insert("timestamp.json".into(), serde_json::to_vec(&tree).unwrap());
        Client::new(&repo).refresh(&repo, &[]).unwrap_err();
    }
}
#[test]
fn keys_of_kinds_unknown_here_are_kept_and_count_for_nothing() {
    let rsa = json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "-----BEGIN"}});
    for odd in [
        rsa,
        json!({}),
        json!({"keytype": 1}),
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}}),
    ] {
        let mut repo = Repo::new();
        let mut client = Client::new(&repo);
        repo.root["keys"]["odd"] = odd;
        repo.root["roles"]["timestamp"]["keyids"].as_array_mut().unwrap().push("odd".into());
        repo.root["roles"]["snapshot"]["keyids"].as_array_mut().unwrap().push("not in keys".into());
        repo.release(&["root"]);
        client.refresh(&repo, &[]).unwrap();
        repo.root["roles"]["timestamp"]["threshold"] = 2.into();
        repo.release(&["root"]);
        client.refresh(&repo, &[]).unwrap_err();
    }
}
