//! Signatures against forgeries, and statements that are signed but must not be believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::*;

const KEYS: [(&str, &str, &str); 3] = [
    (
        include_str!("../../tests/keys/p256.pem"),
        include_str!("../../tests/keys/p256.pkcs8.pem"),
        include_str!("../../tests/keys/p256.pub.pem"),
    ),
    (
        include_str!("../../tests/keys/p384.pem"),
        include_str!("../../tests/keys/p384.pkcs8.pem"),
        include_str!("../../tests/keys/p384.pub.pem"),
    ),
    (
        include_str!("../../tests/keys/p521.pem"),
        include_str!("../../tests/keys/p521.pkcs8.pem"),
        include_str!("../../tests/keys/p521.pub.pem"),
    ),
];

fn model() -> Model {
    let files = ["b/c.bin", "a.bin", "b.bin", "模型.bin"].map(|n| (n.to_owned(), Digest::of(n.as_bytes())));
    Model { name: "m".into(), files: files.into(), ignored: vec![".git".into()], follow_links: false }
}
fn key(n: usize) -> PrivateKey {
    PrivateKey::from_pem(KEYS[n].0).unwrap()
}
/// A signature over a statement of one's own choice.
fn forge(statement: &[u8], change: impl Fn(&mut Value)) -> String {
    let message = longshore_trust::dsse::pae("application/vnd.in-toto+json", statement);
    let mut bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": { "publicKey": { "hint": key(0).public().hint().unwrap() } },
        "dsseEnvelope": {
            "payload": BASE64.encode(statement), "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": BASE64.encode(key(0).sign(&message).unwrap()) }],
        },
    });
    change(&mut bundle);
    bundle.to_string()
}
fn judge(statement: &Value) -> Result<Model, OmsError> {
    verify(forge(statement.to_string().as_bytes(), |_| {}).as_bytes(), &key(0).public())
}
fn statement() -> Value {
    serde_json::from_slice(&model().to_statement().unwrap()).unwrap()
}
/// With the subject's digest made right again.
fn mended(mut s: Value) -> Value {
    let digests = s["predicate"]["resources"].as_array().unwrap().iter();
    let digests: Vec<u8> =
        digests.flat_map(|r| r["digest"].as_str().unwrap().parse::<Digest>().unwrap().0).collect();
    s["subject"][0]["digest"]["sha256"] = Digest::of(&digests).to_hex().into();
    s
}

#[test]
fn each_curve_signs_what_it_verifies_and_the_same_way_every_time() {
    for (sec1, pkcs8, public) in KEYS {
        let (private, public) = (PrivateKey::from_pem(sec1).unwrap(), PublicKey::from_pem(public).unwrap());
        assert_eq!((private.public(), public.to_pem().unwrap()), (public.clone(), public.to_pem().unwrap()));
        let bundle = sign(&model(), &private).unwrap();
        assert_eq!(verify(bundle.as_bytes(), &public).unwrap(), model());
        assert_eq!(sign(&model(), &PrivateKey::from_pem(pkcs8).unwrap()).unwrap(), bundle);
    }
}

#[test]
fn a_key_of_another_curve_or_person_is_refused() {
    let bundle = sign(&model(), &key(0)).unwrap();
    for n in [1, 2] {
        let public = key(n).public();
        assert!(matches!(verify(bundle.as_bytes(), &public), Err(OmsError::OtherKey { .. })));
        // Without the hint, the signature itself decides.
        let mut value: Value = serde_json::from_str(&bundle).unwrap();
        value["verificationMaterial"]["publicKey"] = json!({ "rawBytes": "AA==" });
        assert_eq!(verify(value.to_string().as_bytes(), &public), Err(OmsError::BadSignature));
    }
}

#[test]
fn no_changed_byte_of_a_signature_is_accepted_with_another_meaning() {
    let public = key(0).public();
    let bundle = sign(&model(), &key(0)).unwrap().into_bytes();
    let (mut tried, mut same) = (0, 0);
    for at in 0..bundle.len() {
        for flip in [1u8, 0x20, 0x80] {
            let mut bytes = bundle.clone();
            bytes[at] ^= flip;
            tried += 1;
            if let Ok(found) = verify(&bytes, &public) {
                assert_eq!(found, model(), "byte {at} ^ {flip}");
                same += 1;
            }
        }
    }
    println!("{tried} changed signatures, {same} accepted with the same meaning, 0 with another");
    // A changed byte in what is not signed (names of unknown members) may pass; nothing else does.
    assert!(same * 20 < tried, "{same} of {tried}");
}

#[test]
fn what_is_signed_but_cannot_be_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 19] = [
        ("_type", |s| s["_type"] = "https://in-toto.io/Statement/v0.1".into()),
        ("predicate type", |s| s["predicateType"] = "https://slsa.dev/provenance/v1".into()),
        ("exactly one subject", |s| s["subject"] = json!([])),
        ("exactly one subject", |s| s["subject"] = json!([s["subject"][0], s["subject"][0]])),
        ("has no name", |s| s["subject"][0]["name"] = "".into()),
        ("inconsistent", |s| s["subject"][0]["digest"]["sha256"] = "00".repeat(32).into()),
        ("how files were serialized", |s| s["predicate"] = Value::Null),
        ("shards", |s| s["predicate"]["serialization"]["method"] = "shards".into()),
        ("blake2b", |s| s["predicate"]["serialization"]["hash_type"] = "blake2b".into()),
        ("how files were serialized", |s| s["predicate"]["serialization"]["allow_symlinks"] = "false".into()),
        ("ignored path", |s| s["predicate"]["serialization"]["ignore_paths"] = json!([1])),
        ("lists no file", |s| s["predicate"]["resources"] = json!([])),
        ("listed twice", |s| s["predicate"]["resources"][1] = s["predicate"]["resources"][0].clone()),
        ("`.` or `..`", |s| s["predicate"]["resources"][0]["name"] = "../evil".into()),
        ("`.` or `..`", |s| s["predicate"]["resources"][0]["name"] = "a/../../evil".into()),
        ("absolute", |s| s["predicate"]["resources"][0]["name"] = "/etc/passwd".into()),
        ("`.` among other", |s| s["predicate"]["resources"][0]["name"] = ".".into()),
        ("control character", |s| s["predicate"]["resources"][0]["name"] = "a\u{1b}[2J".into()),
        ("64 hex digits", |s| s["predicate"]["resources"][0]["digest"] = "abc".into()),
    ];
    assert_eq!(judge(&statement()).unwrap(), model());
    for (words, change) in cases {
        let mut s = statement();
        change(&mut s);
        let keep = words == "inconsistent"
            || s["predicate"]["resources"].as_array().is_none()
            || words == "64 hex digits"
            || s["subject"].as_array().is_none_or(Vec::is_empty);
        let refused = judge(&if keep { s } else { mended(s) }).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

#[test]
fn two_readings_of_one_statement_are_refused() {
    let twice = model().to_statement().unwrap();
    let text = String::from_utf8(twice).unwrap();
    let doubled = text.replacen("{\"_type\"", "{\"_type\":\"x\",\"_type\"", 1);
    assert_ne!(doubled, text);
    let refused = verify(forge(doubled.as_bytes(), |_| {}).as_bytes(), &key(0).public()).unwrap_err();
    assert!(refused.to_string().contains("twice"), "{refused}");
}

#[test]
fn an_envelope_of_another_kind_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 6] = [
        ("media type", |b| b["mediaType"] = "application/json".into()),
        ("payload type", |b| b["dsseEnvelope"]["payloadType"] = "text/plain".into()),
        ("exactly one signature", |b| b["dsseEnvelope"]["signatures"] = json!([])),
        ("not base64", |b| b["dsseEnvelope"]["payload"] = "%".into()),
        ("has no payload", |b| {
            b["dsseEnvelope"] = json!({ "payloadType": "application/vnd.in-toto+json", "signatures": [{}] })
        }),
        ("plain key", |b| b["verificationMaterial"] = json!({ "x509CertificateChain": {} })),
    ];
    for (words, change) in cases {
        let bundle = forge(&model().to_statement().unwrap(), change);
        let refused = verify(bundle.as_bytes(), &key(0).public()).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

#[test]
fn keys_that_are_none_say_why() {
    let secp256k1 = "-----BEGIN EC PRIVATE KEY-----\nMHQCAQEEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBoAcGBSuBBAAK\n-----END EC PRIVATE KEY-----\n";
    for (pem, words) in [
        ("", "no PEM block"),
        (secp256k1, "none of the curves"),
        ("-----BEGIN EC PRIVATE KEY-----\n%%%\n-----END EC PRIVATE KEY-----", "damaged"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "encrypted"),
        (KEYS[0].2, "no PEM block"),
    ] {
        let refused = PrivateKey::from_pem(pem).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert!(PublicKey::from_pem(KEYS[0].0).is_err());
    // Text before the block is what `certtool` writes.
    assert!(PublicKey::from_pem(&format!("Public Key Info:\n\tBits: 256\n{}", KEYS[0].2)).is_ok());
}

#[test]
fn what_is_below_an_ignored_path_is_ignored_and_what_only_begins_like_it_is_not() {
    let ignored = [".git".to_owned(), "a/b".to_owned()];
    for (path, expected) in
        [(".git", true), (".git/x", true), (".gitx", false), ("a/b/c", true), ("a/bc", false), ("a", false)]
    {
        assert_eq!(Model::ignores(&ignored, path), expected, "{path}");
    }
}
