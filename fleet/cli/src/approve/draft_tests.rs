//! What may become the next version of a model's role.

use longshore_trust::tuf::edit::{self, Signed, TargetsSpec};
use longshore_trust::{Digest, UnixMs};
use serde_json::json;

use super::candidate::{Candidate, MANIFEST};
use super::draft::{Draft, approved};

const NOW: UnixMs = UnixMs(1_767_225_600_000);
const DAY_MS: u64 = 24 * 3600 * 1000;

fn manifest(version: &str, parent: Option<Digest>, note: &str) -> Vec<u8> {
    let file = |path: &str, role: &str| json!({"path": path, "sha256": Digest::of(note.as_bytes()), "length": 10, "role": role});
    let mut value = json!({
        "schema": 1, "model": "digits", "version": version, "created": "2026-01-01T00:00:00Z",
        "files": [file("model.onnx", "model"), file("golden.safetensors", "golden")],
        "inputs": [{"name": "pixels", "dtype": "FP32", "shape": ["N", 64]}],
        "outputs": [{"name": "scores", "dtype": "FP32", "shape": ["N", 10]}],
        "batch": {"axis": 0, "max": 64},
    });
    if let Some(parent) = parent {
        value["parent"] = json!(parent);
    }
    serde_json::to_vec(&value).unwrap()
}
fn candidate(version: &str, parent: Option<Digest>) -> Candidate {
    let name = format!("digits@{version}").parse().unwrap();
    Candidate::check(&name, &manifest(version, parent, version)).unwrap()
}
fn spec(draft: &Draft) -> TargetsSpec {
    edit::read_targets(&draft.document.to_bytes()).unwrap()
}
/// The role after `versions` were approved one by one.
fn role_with(versions: &[&str]) -> Option<TargetsSpec> {
    versions.iter().fold(None, |current, version| {
        let draft = Draft::new(current.as_ref(), &candidate(version, None), true, NOW).unwrap().unwrap();
        Some(spec(&draft))
    })
}

#[test]
fn the_first_release_names_every_file_and_has_no_way_back() {
    let draft = Draft::new(None, &candidate("1.0.0", None), true, NOW).unwrap().unwrap();
    let spec = spec(&draft);
    let paths: Vec<&str> = spec.targets.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        ["digits/1.0.0/golden.safetensors", "digits/1.0.0/manifest.json", "digits/1.0.0/model.onnx"]
    );
    assert_eq!((spec.version, spec.expires), (1, NOW.plus_ms(180 * DAY_MS)));
    assert_eq!((draft.release.release_counter.0, draft.release.rollback_ok.len()), (1, 0));
    assert!(draft.previous.is_none());
}
#[test]
fn each_release_counts_one_up_and_signs_the_way_back() {
    let current = role_with(&["1.0.0", "1.1.0"]).unwrap();
    let next = candidate("1.2.0", None);
    let draft = Draft::new(Some(&current), &next, true, NOW).unwrap().unwrap();
    let spec = spec(&draft);
    assert_eq!((spec.version, spec.targets.len()), (3, 9));
    assert_eq!(draft.release.release_counter.0, 3);
    let before = candidate("1.1.0", None).digest;
    assert_eq!(draft.release.rollback_ok.len(), 1);
    assert_eq!((draft.release.rollback_ok[0].from, draft.release.rollback_ok[0].to), (next.digest, before));
    assert_eq!(draft.version_of(&before), "1.1.0");
    let counters: Vec<u64> = approved(&spec).iter().map(|a| a.release.release_counter.0).collect();
    assert_eq!(counters, [1, 2, 3]);
}
#[test]
fn a_parent_that_is_approved_is_a_second_way_back_and_any_other_is_none() {
    let current = role_with(&["1.0.0", "1.1.0"]).unwrap();
    let first = candidate("1.0.0", None).digest;
    let back = |parent| {
        let draft =
            Draft::new(Some(&current), &candidate("1.2.0", Some(parent)), true, NOW).unwrap().unwrap();
        draft.release.rollback_ok.iter().map(|r| r.to).collect::<Vec<_>>()
    };
    let last = candidate("1.1.0", None).digest;
    assert_eq!(back(first), [last, first]);
    assert_eq!(back(last), [last]);
    assert_eq!(back(Digest::of(b"unknown")), [last]);
}
#[test]
fn without_a_way_back_none_is_signed() {
    let current = role_with(&["1.0.0"]).unwrap();
    let draft = Draft::new(Some(&current), &candidate("1.1.0", None), false, NOW).unwrap().unwrap();
    assert_eq!(draft.release.rollback_ok, []);
}
#[test]
fn an_approved_version_is_never_approved_again_with_other_contents() {
    let current = role_with(&["1.0.0"]).unwrap();
    assert!(Draft::new(Some(&current), &candidate("1.0.0", None), true, NOW).unwrap().is_none());
    let name = "digits@1.0.0".parse().unwrap();
    let other = Candidate::check(&name, &manifest("1.0.0", None, "other contents")).unwrap();
    assert_eq!(Draft::new(Some(&current), &other, true, NOW).unwrap_err().code, "approve.conflict");
}
#[test]
fn a_manifest_of_another_bundle_is_refused() {
    for name in ["digits@1.0.1", "other@1.0.0"] {
        let refusal = Candidate::check(&name.parse().unwrap(), &manifest("1.0.0", None, "x")).unwrap_err();
        assert_eq!(refusal.code, "approve.manifest", "{name}");
    }
    let name = "digits@1.0.0".parse().unwrap();
    assert_eq!(Candidate::check(&name, b"{}").unwrap_err().code, "approve.manifest");
}

/// Whether a document that others began to sign is signed too.
fn pending(change: impl FnOnce(&mut TargetsSpec)) -> Result<(), String> {
    let current = role_with(&["1.0.0"]).unwrap();
    let next = candidate("1.1.0", None);
    let draft = Draft::new(Some(&current), &next, true, NOW).unwrap().unwrap();
    let mut spec = spec(&draft);
    change(&mut spec);
    let document = Signed::from_bytes(&edit::targets(&spec).to_bytes()).unwrap();
    let taken = Draft::of_pending(document.clone(), Some(&current), &next, NOW.plus_ms(DAY_MS));
    let taken = taken.map_err(|f| f.message)?.unwrap();
    assert_eq!(taken.document, document, "signed byte for byte");
    assert!(taken.pending);
    Ok(())
}
#[test]
fn a_pending_release_of_exactly_this_bundle_is_signed_as_it_is() {
    pending(|_| {}).unwrap();
    // With or without a way back: that is shown, and the signer's to judge.
    let manifest = format!("digits/1.1.0/{MANIFEST}");
    pending(|s| s.targets.get_mut(&manifest).unwrap().custom["rollback_ok"] = json!([])).unwrap();
}
#[test]
fn a_pending_release_with_anything_that_is_not_shown_is_not_signed() {
    let current = role_with(&["1.0.0"]).unwrap();
    let next = candidate("1.1.0", None);
    let draft = Draft::new(Some(&current), &next, true, NOW).unwrap().unwrap();
    let plain: serde_json::Value = serde_json::from_slice(&draft.document.to_bytes()).unwrap();
    let taken = |member: &str, value: &str| {
        let mut tree = plain.clone();
        tree["signed"][member] = json!(value);
        let document = Signed::from_bytes(&serde_json::to_vec(&tree).unwrap()).unwrap();
        Draft::of_pending(document, Some(&current), &next, NOW)
    };
    // Every device without a clock would believe that it is 2199.
    assert_eq!(taken("x-issued", "2199-01-01T00:00:00Z").unwrap_err().code, "approve.pending");
    assert_eq!(taken("x-more", "").unwrap_err().code, "approve.pending");
    assert!(taken("x-issued", "2025-12-31T00:00:00Z").is_ok());
}
#[test]
fn a_pending_release_that_does_anything_else_is_not_signed() {
    let manifest = format!("digits/1.1.0/{MANIFEST}");
    let old = format!("digits/1.0.0/{MANIFEST}");
    let refused = |what: &str, change: &dyn Fn(&mut TargetsSpec)| {
        assert!(pending(change).is_err(), "{what}");
    };
    refused("another hash", &|s| {
        s.targets.get_mut("digits/1.1.0/model.onnx").unwrap().sha256 = Digest::of(b"evil")
    });
    refused("another manifest", &|s| s.targets.get_mut(&manifest).unwrap().sha256 = Digest::of(b"evil"));
    refused("a further file", &|s| {
        let copy = s.targets[&manifest].clone();
        s.targets.insert("digits/6.6.6/manifest.json".into(), copy);
    });
    refused("an old release changed", &|s| {
        s.targets.get_mut(&old).unwrap().custom["release_counter"] = json!(9)
    });
    refused("an old release gone", &|s| drop(s.targets.remove(&old)));
    refused("a counter that jumps", &|s| {
        s.targets.get_mut(&manifest).unwrap().custom["release_counter"] = json!(7)
    });
    refused("a way back to nowhere", &|s| {
        let to = json!([{"from": candidate("1.1.0", None).digest, "to": Digest::of(b"evil")}]);
        s.targets.get_mut(&manifest).unwrap().custom["rollback_ok"] = to;
    });
    refused("a board list", &|s| {
        s.targets.get_mut(&manifest).unwrap().custom.insert("unknown".into(), json!(true));
    });
    refused("a version that jumps", &|s| s.version += 1);
    refused("no end", &|s| s.expires = NOW.plus_ms(4000 * DAY_MS));
    refused("long over", &|s| s.expires = NOW);
    refused("a delegation", &|s| {
        s.delegations.push(edit::DelegationSpec {
            role: "evil".into(),
            keys: edit::RoleKeys {
                keys: vec![longshore_trust::SigningKey::from_seed(&[6; 32]).public()],
                threshold: 1,
            },
            paths: vec!["*/*/*".into()],
            terminating: false,
        });
    });
}
