//! Every byte of every served document changed: accepted only if what is signed is still the same.
//! One bit a byte, another bit for its neighbour: case and value of hex digits, structure and text are all met.

use longshore_trust::tuf::{canonical, parse_json};

use crate::repo::*;

fn signed_part(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(canonical(parse_json(bytes).ok()?.get("signed")?))
}

#[test]
fn no_changed_byte_changes_what_is_trusted() {
    let mut repo = Repo::new();
    let before = Client::up_to_date(&repo);
    repo.release(&["root", "targets", "models/m"]);
    let files = [
        ("2.root.json", "root.json"),
        ("timestamp.json", "timestamp.json"),
        ("2.snapshot.json", "snapshot.json"),
        ("2.targets.json", "targets.json"),
        ("2.models%2Fm.json", "models%2Fm.json"),
    ];
    for (served, stored) in files {
        let original = repo.served[served].clone();
        let mut accepted = 0;
        for (at, flip) in (0..original.len()).zip([0x01, 0x20].into_iter().cycle()) {
            let mut bytes = original.clone();
            bytes[at] ^= flip;
            let same = signed_part(&bytes) == signed_part(&original);
            repo.served.insert(served.into(), bytes.clone());
            let mut client = before.clone();
            let done = client.refresh(&repo, &["m/1.0.0/manifest.json"]).is_ok();
            assert!(!done || same, "{served}: byte {at} ^ {flip:#x} was accepted");
            if client.stored[stored] == bytes {
                assert!(same, "{served}: byte {at} ^ {flip:#x} was kept");
                accepted += 1;
            } else {
                assert_eq!(client.stored[stored], before.stored[stored], "{served}: byte {at} ^ {flip:#x}");
            }
        }
        // Case of hex digits in key ids does not reach the signed part, but nearly every other byte does.
        assert!(accepted < original.len() / 4, "{served}: {accepted} changes accepted");
        repo.served.insert(served.into(), original);
    }
    before.clone().refresh(&repo, &["m/1.0.0/manifest.json"]).unwrap();
}
#[test]
fn truncated_documents_are_refused() {
    let mut repo = Repo::new();
    let before = Client::up_to_date(&repo);
    repo.release(&["targets"]);
    for served in ["timestamp.json", "2.snapshot.json", "2.targets.json"] {
        let original = repo.served[served].clone();
        for length in (0..original.len()).step_by(3) {
            repo.served.insert(served.into(), original[..length].to_vec());
            before.clone().refresh(&repo, &[]).unwrap_err();
        }
        repo.served.insert(served.into(), original);
    }
}
