//! What the editor writes, the verifier accepts; and it reads back as it was specified.

use std::collections::BTreeMap;

use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::tuf::{self, ReleaseInfo, RollbackOk, TargetInfo, Trusted};
use longshore_trust::{Digest, ReleaseCounter};

use crate::repo::{DAY_MS, NOW, key};

fn keys(ids: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: ids.iter().map(|n| key(*n).public()).collect(), threshold }
}
fn root_spec() -> RootSpec {
    RootSpec {
        version: 1,
        expires: NOW.plus_ms(365 * DAY_MS),
        fleet: "harbour".parse().unwrap(),
        solo: false,
        root: keys(&[1, 2, 3], 2),
        targets: keys(&[4, 5, 6], 2),
        snapshot: keys(&[7], 1),
        timestamp: keys(&[8], 1),
        director: keys(&[9], 1),
        time: Some(keys(&[13], 1)),
    }
}
fn release() -> ReleaseInfo {
    let rollback_ok = vec![RollbackOk { from: Digest::of(b"new"), to: Digest::of(b"old") }];
    ReleaseInfo { release_counter: ReleaseCounter(7), rollback_ok, hw: vec!["rpi4".into()] }
}
fn model_spec() -> TargetsSpec {
    let manifest = TargetInfo { length: 3, sha256: Digest::of(b"new"), custom: release().to_custom() };
    let plain = TargetInfo { length: 1, sha256: Digest::of(b"x"), custom: serde_json::Map::new() };
    TargetsSpec {
        version: 3,
        expires: NOW.plus_ms(DAY_MS),
        targets: BTreeMap::from([
            ("m/1.0.0/manifest.json".to_owned(), manifest),
            ("m/1.0.0/a/x".to_owned(), plain),
        ]),
        delegations: vec![],
    }
}
fn top_spec() -> TargetsSpec {
    TargetsSpec {
        version: 2,
        expires: NOW.plus_ms(DAY_MS),
        targets: BTreeMap::new(),
        delegations: vec![DelegationSpec {
            role: "models/m".into(),
            keys: keys(&[10, 11, 12], 2),
            paths: vec!["m/*/*".into(), "m/*/*/*".into()],
            terminating: true,
        }],
    }
}
fn sign(mut document: Signed, ids: &[u8]) -> Vec<u8> {
    for n in ids {
        document.sign(&key(*n));
    }
    document.to_bytes()
}

#[test]
fn a_fleet_written_by_the_editor_verifies() {
    let snapshot_meta = BTreeMap::from([("targets.json".to_owned(), 2), ("models/m.json".to_owned(), 3)]);
    let snapshot = sign(edit::snapshot(5, NOW.plus_ms(DAY_MS), snapshot_meta), &[7]);
    let stored: BTreeMap<String, Vec<u8>> = [
        ("root.json", sign(edit::root(&root_spec()), &[1, 3])),
        ("timestamp.json", sign(edit::timestamp(6, NOW.plus_ms(DAY_MS), &snapshot, 5), &[8])),
        ("snapshot.json", snapshot),
        ("targets.json", sign(edit::targets(&top_spec()), &[4, 5])),
        ("models%2Fm.json", sign(edit::targets(&model_spec()), &[11, 12])),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect();
    let trusted = Trusted::load(&stored, Some(NOW)).unwrap();
    let (role, info) = trusted.target("m/1.0.0/manifest.json").unwrap();
    assert_eq!(role, "models/m");
    assert_eq!(ReleaseInfo::from_custom(&info.custom).unwrap(), release());
    assert_eq!(trusted.target("m/1.0.0/a/x").unwrap().1.sha256, Digest::of(b"x"));
    assert_eq!(trusted.director(), Some(key(9).public()));
    assert_eq!(trusted.fleet().unwrap().as_str(), "harbour");
    assert_eq!(trusted.root_sha256(), Digest::of(&stored["root.json"]));
    assert_eq!(trusted.versions()["models/m"], 3);
    assert_eq!(trusted.expires()["targets"], NOW.plus_ms(DAY_MS));
    assert!(!trusted.solo());
}
#[test]
fn specifications_read_back_as_they_were() {
    let sorted = |mut k: RoleKeys| {
        k.keys.sort_by_key(tuf::key_id);
        k
    };
    let found = edit::read_root(&edit::root(&root_spec()).to_bytes()).unwrap();
    let spec = root_spec();
    for (a, b) in
        [(&found.root, &spec.root), (&found.targets, &spec.targets), (&found.director, &spec.director)]
    {
        assert_eq!(sorted(a.clone()), sorted(b.clone()));
    }
    assert_eq!((found.version, found.expires, found.fleet, found.solo), (1, spec.expires, spec.fleet, false));
    assert_eq!(edit::read_targets(&edit::targets(&model_spec()).to_bytes()).unwrap(), model_spec());
    let found = edit::read_targets(&edit::targets(&top_spec()).to_bytes()).unwrap();
    assert_eq!(found.delegations[0].paths, top_spec().delegations[0].paths);
    // Once read, it is stable: two holders who rebuild a document get the same bytes to sign.
    assert_eq!(edit::read_targets(&edit::targets(&found).to_bytes()).unwrap(), found);
}
#[test]
fn signatures_gather_on_the_same_bytes() {
    let role = keys(&[10, 11, 12], 2);
    let mut document = edit::targets(&model_spec());
    assert_eq!(document.valid_signatures(&role), 0);
    document.sign(&key(10));
    document.sign(&key(10));
    document.sign(&key(99));
    assert_eq!(edit::valid_signatures(&document.to_bytes(), &role).unwrap(), 1);
    let mut travelled = Signed::from_bytes(&document.to_bytes()).unwrap();
    assert_eq!(travelled, document);
    travelled.sign(&key(12));
    assert_eq!(edit::valid_signatures(&travelled.to_bytes(), &role).unwrap(), 2);
    assert_eq!(travelled.message(), document.message());
    let mut signers = travelled.signers(&role);
    signers.sort_by_key(|k| k.raw());
    let mut expected = vec![key(10).public(), key(12).public()];
    expected.sort_by_key(|k| k.raw());
    assert_eq!(signers, expected);
    assert_eq!((travelled.version(), travelled.kind()), (3, "targets"));
}
#[test]
fn what_is_no_document_is_not_reopened() {
    for bytes in
        [&b"{}"[..], b"", br#"{"signed":{},"signatures":[]}"#, br#"{"signed":{"version":0},"signatures":[]}"#]
    {
        assert!(Signed::from_bytes(bytes).is_err());
    }
}
#[test]
fn release_data_that_is_missing_or_malformed_is_an_error() {
    for custom in
        ["{}", r#"{"release_counter":"1"}"#, r#"{"release_counter":1,"rollback_ok":[{"from":"x"}]}"#]
    {
        assert!(ReleaseInfo::from_custom(&serde_json::from_str(custom).unwrap()).is_err(), "{custom}");
    }
    let later = r#"{"release_counter":1,"a field of later versions":true}"#;
    assert_eq!(ReleaseInfo::from_custom(&serde_json::from_str(later).unwrap()).unwrap().rollback_ok, []);
}
