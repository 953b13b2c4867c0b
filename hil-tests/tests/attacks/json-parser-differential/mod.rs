//! Documents with two readings, and two readers.

use longshore_agent_core::backoff::Jitter;
use longshore_bundle::Manifest;
use longshore_trust::tuf::{TufError, canonical, parse_json};
use serde_json::Value;

use crate::field::{Field, ROLE};

#[test]
fn a_document_with_two_readings_is_refused_whichever_of_them_is_signed() {
    let field = Field::new();
    let name = format!("{}.models%2Fdigits.json", field.client.version(ROLE) + 1);
    let dressings: [(&str, fn(&str, &str) -> String); 7] = [
        ("signed twice, the good one last", |good, evil| format!("{{\"signed\":{evil},{}", &good[1..])),
        ("signed twice, the good one first", |good, evil| {
            format!("{},\"signed\":{evil}}}", &good[..good.len() - 1])
        }),
        ("one of them in another spelling", |good, evil| {
            format!("{},\"\\u0073igned\":{evil}}}", &good[..good.len() - 1])
        }),
        ("a second document behind the first", |good, evil| {
            format!("{good}{{\"signatures\":[],\"signed\":{evil}}}")
        }),
        ("something behind it", |good, _| format!("{good} x")),
        ("a byte order mark before it", |good, _| format!("\u{feff}{good}")),
        ("a version twice inside", |good, _| good.replacen("\"version\":", "\"version\":1,\"version\":", 1)),
    ];
    for (what, dress) in dressings {
        let mut field = Field::new();
        field.repo.release(&[ROLE]);
        let good = String::from_utf8(field.repo.served[&name].clone()).unwrap();
        assert!(good.starts_with('{') && good.ends_with('}'));
        let mut evil = field.repo.roles[ROLE].clone();
        evil["targets"]["digits/9.0.0/manifest.json"] = crate::field::approved(9);
        let dressed = dress(&good, &evil.to_string());
        field.repo.served.insert(name.clone(), dressed.into_bytes());
        let refusal = field.client.refresh(&field.repo, &["digits/9.0.0/manifest.json"]).unwrap_err();
        assert!(matches!(refusal, TufError::Json { .. }), "{what}: {refusal}");
        field.tell(9, |_| {});
        field.unharmed(what);
    }
}

#[test]
fn twenty_thousand_mutated_documents_have_one_reading_or_none() {
    let field = Field::new();
    let documents: Vec<&Vec<u8>> = field.repo.served.values().collect();
    let pieces: [&[u8]; 12] = [
        b"\"version\":1,",
        b"\\u0000",
        b"1e2",
        b"-0",
        b"{",
        b"[[[[",
        b"\xff",
        b"\xed\xa0\x80",
        b"\"\"",
        b"9007199254740993",
        b",",
        b"\"signed\":{},",
    ];
    let mut dice = Jitter::new(20_261_123);
    let (mut accepted, mut refused) = (0u32, 0u32);
    for _ in 0..20_000 {
        let mut bytes = documents[dice.up_to(documents.len() as u64 - 1) as usize].clone();
        for _ in 0..=dice.up_to(2) {
            let at = dice.up_to(bytes.len() as u64 - 1) as usize;
            match dice.up_to(3) {
                0 => bytes[at] = dice.up_to(255) as u8,
                1 => _ = bytes.remove(at),
                2 => {
                    let piece = pieces[dice.up_to(pieces.len() as u64 - 1) as usize];
                    bytes.splice(at..at, piece.iter().copied());
                }
                _ => {
                    let to = at + dice.up_to((bytes.len() - at) as u64) as usize;
                    let copied = bytes[at..to].to_vec();
                    bytes.splice(at..at, copied);
                }
            }
        }
        let Ok(ours) = parse_json(&bytes) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let theirs: Value = serde_json::from_slice(&bytes).expect("what we accept is JSON");
        assert_eq!(ours, theirs);
        // What is signed is made of the value alone: no layout of it has another canonical form.
        assert_eq!(
            canonical(&ours),
            canonical(&parse_json(&serde_json::to_vec_pretty(&theirs).unwrap()).unwrap())
        );
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} {refused}");
    println!("20000 documents: {accepted} with one reading, {refused} refused, 0 with two");
}

#[test]
fn a_manifest_with_two_readings_is_no_manifest() {
    let good = crate::api::Fleet::manifest("1.0.0");
    assert!(Manifest::parse(good.as_bytes()).is_ok());
    for (what, text) in [
        ("a field twice", good.replacen("\"schema\":1", "\"schema\":1,\"schema\":1", 1)),
        ("a field in two spellings", good.replacen("\"schema\":1", "\"schema\":1,\"\\u0073chema\":1", 1)),
        ("something behind it", format!("{good}{{}}")),
        ("an unknown field", good.replacen("\"schema\":1", "\"schema\":1,\"run\":\"rm\"", 1)),
    ] {
        assert_ne!(text, good, "{what}");
        assert!(Manifest::parse(text.as_bytes()).is_err(), "{what}");
    }
}
