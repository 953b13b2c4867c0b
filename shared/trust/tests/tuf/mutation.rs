//! Every byte of every served document changed, dropped and doubled: accepted only if what is signed is still the same.

use longshore_trust::tuf::{canonical, parse_json};

use crate::repo::*;

const MANIFEST: &str = "m/1.0.0/manifest.json";

fn signed_part(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(canonical(parse_json(bytes).ok()?.get("signed")?))
}

/// The mutants of one byte. Bit 0 turns digits and letters into their neighbours, bit 5 changes case and turns text into
/// structure.
fn mutants(original: &[u8], at: usize) -> [Vec<u8>; 4] {
    let flipped = |bit: u8| {
        let mut bytes = original.to_vec();
        bytes[at] ^= bit;
        bytes
    };
    let mut dropped = original.to_vec();
    dropped.remove(at);
    let mut doubled = original.to_vec();
    doubled.insert(at, original[at]);
    [flipped(0x01), flipped(0x20), dropped, doubled]
}

/// Serves every mutant of a document to a client that trusts the version before.
fn mutate(served: &str, stored: &str) {
    let mut repo = Repo::new();
    let before = Client::up_to_date(&repo);
    repo.release(&["root", "targets", "models/m"]);
    let original = repo.served[served].clone();
    let (mut tried, mut same_accepted, mut other_accepted) = (0, 0, 0);
    for at in 0..original.len() {
        for bytes in mutants(&original, at) {
            tried += 1;
            let same = signed_part(&bytes) == signed_part(&original);
            repo.served.insert(served.into(), bytes.clone());
            let mut client = before.clone();
            let done = client.refresh(&repo, &[MANIFEST]).is_ok();
            let kept = client.stored[stored] == bytes;
            assert!(kept || client.stored[stored] == before.stored[stored], "{served}: byte {at}");
            if (done || kept) && !same {
                other_accepted += 1;
            }
            same_accepted += u32::from(kept && same);
        }
    }
    println!(
        "{served}: {tried} mutants, {same_accepted} accepted whose signed part is the same, {other_accepted} accepted \
         whose signed part differs, 0 panics"
    );
    assert_eq!(other_accepted, 0);
    // White space and the case of hex digits do not reach the signed part; nearly every other byte does.
    assert!(same_accepted < tried / 4, "{served}: {same_accepted} of {tried} accepted");
    repo.served.insert(served.into(), original);
    before.clone().refresh(&repo, &[MANIFEST]).unwrap();
}

#[test]
fn no_changed_byte_of_root_changes_what_is_trusted() {
    mutate("2.root.json", "root.json");
}
#[test]
fn no_changed_byte_of_timestamp_changes_what_is_trusted() {
    mutate("timestamp.json", "timestamp.json");
}
#[test]
fn no_changed_byte_of_snapshot_changes_what_is_trusted() {
    mutate("2.snapshot.json", "snapshot.json");
}
#[test]
fn no_changed_byte_of_targets_changes_what_is_trusted() {
    mutate("2.targets.json", "targets.json");
}
#[test]
fn no_changed_byte_of_a_delegated_role_changes_what_is_trusted() {
    mutate("2.models%2Fm.json", "models%2Fm.json");
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
