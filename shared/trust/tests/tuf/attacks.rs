//! What an attacker who owns the server, the network or some keys may try. Nothing of it may be accepted, and what was
//! trusted before stays.

use longshore_trust::tuf::{
    Input, MAX_ROOT_BYTES, MAX_SNAPSHOT_BYTES, MAX_TARGETS_BYTES, MAX_TIMESTAMP_BYTES, Output, TufError,
    Updater,
};
use serde_json::{Value, json};

use crate::repo::*;

const MANIFEST: &str = "m/1.0.0/manifest.json";
const ROLES: [&str; 5] = ["root", "timestamp", "snapshot", "targets", "models/m"];

/// A client at version 1, and a repository at version 2 of everything after `change`.
fn attacked(change: impl FnOnce(&mut Repo)) -> (Client, Repo) {
    let mut repo = Repo::new();
    let client = Client::up_to_date(&repo);
    change(&mut repo);
    repo.release(&["root", "targets", "models/m"]);
    (client, repo)
}
fn refused(client: &mut Client, repo: &Repo, role: &str) -> TufError {
    let refusal = client.refresh(repo, &[MANIFEST]).unwrap_err();
    assert_eq!(client.version(role), 1, "{role} must stay at version 1: {refusal}");
    refusal
}

#[test]
fn unsigned_metadata() {
    for role in ROLES {
        let (mut client, repo) = attacked(|repo| {
            repo.signers.insert(role.into(), vec![]);
        });
        let refusal = refused(&mut client, &repo, role);
        assert!(matches!(refusal, TufError::Threshold { have: 0, need: 1, .. }), "{role}: {refusal}");
    }
}
#[test]
fn metadata_signed_by_another_roles_key() {
    for role in ROLES {
        let (mut client, repo) = attacked(|repo| {
            repo.signers.insert(role.into(), vec![99]);
        });
        assert!(matches!(refused(&mut client, &repo, role), TufError::Threshold { have: 0, .. }));
    }
}
#[test]
fn a_signature_of_other_contents() {
    for role in ROLES {
        let (mut client, mut repo) = attacked(|_| {});
        for bytes in repo.served.values_mut() {
            let mut tree: Value = serde_json::from_slice(bytes).unwrap();
            let mine = match tree["signed"]["_type"].as_str().unwrap() {
                "targets" if tree["signed"].get("delegations").is_none() => "models/m",
                kind => kind,
            }
            .to_owned();
            if mine == role && tree["signed"]["version"] == 2 {
                tree["signed"]["expires"] = "2030-01-01T00:00:00Z".into();
                *bytes = serde_json::to_vec(&tree).unwrap();
            }
        }
        assert!(matches!(refused(&mut client, &repo, role), TufError::Threshold { have: 0, .. }));
    }
}
#[test]
fn expired_metadata() {
    for role in ROLES {
        let (mut client, repo) = attacked(|repo| {
            repo.document(role)["expires"] = PAST.into();
        });
        let refusal = client.refresh(&repo, &[MANIFEST]).unwrap_err();
        let TufError::Expired { role: named, .. } = &refusal else { panic!("{role}: {refusal}") };
        assert_eq!(named, role);
        // Root is kept even when it has expired (5.3.10): it may hold the keys of the next one.
        assert_eq!(client.version(role), if role == "root" { 2 } else { 1 });
    }
}
#[test]
fn metadata_expires_at_the_second_it_names() {
    let repo = Repo::new();
    let mut client = Client::new(&repo);
    client.now = longshore_trust::UnixMs(1_769_904_000_000 - 1);
    client.refresh(&repo, &[]).unwrap();
    client.now = client.now.plus_ms(1);
    assert!(matches!(client.refresh(&repo, &[]).unwrap_err(), TufError::Expired { .. }));
}
#[test]
fn an_indefinite_freeze_ends_with_the_timestamp() {
    let repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    client.now = NOW.plus_ms(40 * DAY_MS);
    assert!(matches!(client.refresh(&repo, &[]).unwrap_err(), TufError::Expired { .. }));
}
#[test]
fn lower_versions() {
    for role in ["timestamp", "snapshot", "targets", "models/m"] {
        let mut repo = Repo::new();
        repo.release(&["targets", "models/m"]);
        let mut client = Client::up_to_date(&repo);
        repo.release(&[]);
        repo.document(role)["version"] = 1.into();
        match role {
            "timestamp" => repo.publish_timestamp(),
            "snapshot" => {
                repo.publish_snapshot();
                repo.publish_timestamp();
            }
            _ => {
                repo.publish_role(role);
                repo.publish_snapshot();
                repo.publish_timestamp();
            }
        }
        let refusal = client.refresh(&repo, &[MANIFEST]).unwrap_err();
        assert_eq!(refusal, TufError::Rollback { role: role.into(), trusted: 2, got: 1 });
        assert_eq!(client.version(role), 2);
    }
}
#[test]
fn a_root_that_skips_a_version_or_repeats_one() {
    for version in [1, 3] {
        let mut repo = Repo::new();
        let mut client = Client::up_to_date(&repo);
        repo.root["version"] = version.into();
        let bytes = signed(&repo.root, &[ROOT]);
        repo.served.insert("2.root.json".into(), bytes);
        let refusal = refused(&mut client, &repo, "root");
        assert_eq!(refusal, TufError::WrongVersion { role: "root".into(), expected: 2, got: version });
    }
}
#[test]
fn a_role_dropped_from_the_snapshot() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    repo.snapshot["meta"].as_object_mut().unwrap().remove("models/m.json");
    repo.release(&[]);
    assert_eq!(refused(&mut client, &repo, "snapshot"), TufError::Dropped { role: "models/m".into() });
}
#[test]
fn mix_and_match_by_hash() {
    // The snapshot of one moment with the targets of another, each validly signed and of the version named.
    let mut repo = Repo::new();
    repo.hashes = true;
    let mut client = Client::up_to_date(&repo);
    repo.release(&["targets"]);
    let targets = repo.roles.get_mut("targets").unwrap();
    targets["expires"] = "2026-02-02T00:00:00Z".into();
    let bytes = signed(&repo.roles["targets"], &[TARGETS]);
    repo.served.insert("2.targets.json".into(), bytes);
    let refusal = refused(&mut client, &repo, "targets");
    assert!(matches!(refusal, TufError::Mismatch { .. }), "{refusal}");
}
#[test]
fn mix_and_match_by_version() {
    for role in ["snapshot", "targets", "models/m"] {
        let (mut client, mut repo) = attacked(|_| {});
        let file = longshore_trust::tuf::file_of(role);
        let old = repo.served[&format!("1.{file}")].clone();
        repo.served.insert(format!("2.{file}"), old);
        // A snapshot of the version before has nothing older in it, so it is its version that gives it away.
        let refusal = refused(&mut client, &repo, role);
        assert!(matches!(refusal, TufError::WrongVersion { expected: 2, got: 1, .. }), "{refusal}");
    }
}
#[test]
fn a_document_of_another_type_signed_by_the_right_key() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    let mut fake = repo.snapshot.clone();
    fake["version"] = 2.into();
    fake["meta"] = json!({"snapshot.json": {"version": 2}});
    repo.served.insert("timestamp.json".into(), signed(&fake, &[TIMESTAMP]));
    assert!(matches!(refused(&mut client, &repo, "timestamp"), TufError::Malformed { .. }));
}
#[test]
fn a_threshold_faked_by_repeating_a_signature() {
    let (mut client, mut repo) = attacked(|repo| repo.set_role_keys("timestamp", &[TIMESTAMP, 20], 2));
    let one = signed(&repo.timestamp, &[TIMESTAMP]);
    let mut tree: Value = serde_json::from_slice(&one).unwrap();
    let signature = tree["signatures"][0].clone();
    tree["signatures"].as_array_mut().unwrap().push(signature);
    repo.served.insert("timestamp.json".into(), serde_json::to_vec(&tree).unwrap());
    let refusal = client.refresh(&repo, &[]).unwrap_err();
    assert_eq!(refusal, TufError::DuplicateSignature { role: "timestamp".into(), key_id: key_id(TIMESTAMP) });
}
#[test]
fn a_threshold_faked_by_one_key_under_several_ids() {
    let (mut client, mut repo) = attacked(|repo| {
        let ids = [key_id(TIMESTAMP), "alias-1".to_owned(), "alias-2".to_owned()];
        for id in &ids {
            repo.root["keys"][id] = key_value(TIMESTAMP);
        }
        repo.root["roles"]["timestamp"] = json!({"keyids": ids, "threshold": 3});
    });
    let mut tree: Value = serde_json::from_slice(&signed(&repo.timestamp, &[TIMESTAMP])).unwrap();
    for id in ["alias-1", "alias-2"] {
        let mut signature = tree["signatures"][0].clone();
        signature["keyid"] = id.into();
        tree["signatures"].as_array_mut().unwrap().push(signature);
    }
    repo.served.insert("timestamp.json".into(), serde_json::to_vec(&tree).unwrap());
    let refusal = client.refresh(&repo, &[]).unwrap_err();
    assert_eq!(refusal, TufError::Threshold { role: "timestamp".into(), have: 1, need: 3 });
}
#[test]
fn one_key_under_several_spellings_of_its_hex() {
    let (mut client, mut repo) = attacked(|repo| {
        let mut shouted = key_value(TIMESTAMP);
        let upper = shouted["keyval"]["public"].as_str().unwrap().to_uppercase();
        shouted["keyval"]["public"] = upper.into();
        repo.root["keys"]["shouted"] = shouted;
        repo.root["roles"]["timestamp"] = json!({"keyids": [key_id(TIMESTAMP), "shouted"], "threshold": 2});
    });
    let mut tree: Value = serde_json::from_slice(&signed(&repo.timestamp, &[TIMESTAMP])).unwrap();
    let mut signature = tree["signatures"][0].clone();
    signature["keyid"] = "shouted".into();
    tree["signatures"].as_array_mut().unwrap().push(signature);
    repo.served.insert("timestamp.json".into(), serde_json::to_vec(&tree).unwrap());
    assert!(matches!(client.refresh(&repo, &[]).unwrap_err(), TufError::Threshold { have: 1, need: 2, .. }));
}
#[test]
fn a_key_id_twice_in_a_role() {
    let (mut client, repo) = attacked(|repo| {
        repo.root["roles"]["timestamp"]["keyids"] = json!([key_id(TIMESTAMP), key_id(TIMESTAMP)]);
    });
    assert!(matches!(refused(&mut client, &repo, "root"), TufError::Malformed { .. }));
}
#[test]
fn a_threshold_of_zero() {
    let (mut client, repo) = attacked(|repo| {
        repo.root["roles"]["targets"]["threshold"] = 0.into();
    });
    assert!(matches!(refused(&mut client, &repo, "root"), TufError::Malformed { .. }));
}
#[test]
fn a_new_root_needs_the_old_and_the_new_threshold() {
    for signers in [vec![ROOT], vec![ROOT, 30], vec![30, 31], vec![99, 98, 97]] {
        let mut repo = Repo::new();
        let mut client = Client::up_to_date(&repo);
        repo.set_role_keys("root", &[30, 31], 2);
        repo.signers.insert("root".into(), signers.clone());
        repo.bump("root");
        repo.publish_root();
        let refusal = refused(&mut client, &repo, "root");
        assert!(matches!(refusal, TufError::Threshold { .. }), "{signers:?}: {refusal}");
    }
}
#[test]
fn metadata_on_revoked_keys() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    repo.set_role_keys("targets", &[40], 1);
    repo.signers.insert("targets".into(), vec![TARGETS]);
    repo.release(&["root", "targets"]);
    refused(&mut client, &repo, "targets");
    assert_eq!(client.version("root"), 2);
}
#[test]
fn a_stored_role_on_revoked_keys_is_not_used_either() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    repo.set_role_keys("targets", &[40], 1);
    repo.bump("root");
    repo.publish_root();
    // The stored targets, signed by the revoked key, still has the version that the snapshot names.
    assert!(matches!(client.refresh(&repo, &[]).unwrap_err(), TufError::Threshold { .. }));
}
#[test]
fn endless_data() {
    for (role, max) in [
        ("root", MAX_ROOT_BYTES),
        ("timestamp", MAX_TIMESTAMP_BYTES),
        ("snapshot", MAX_SNAPSHOT_BYTES),
        ("targets", MAX_TARGETS_BYTES),
    ] {
        let (mut client, mut repo) = attacked(|_| {});
        let name = match role {
            "timestamp" => "timestamp.json".to_owned(),
            _ => format!("2.{role}.json"),
        };
        let bytes = repo.served.get_mut(&name).unwrap();
        bytes.resize(usize::try_from(max).unwrap(), b' ');
        client.clone().refresh(&repo, &[]).unwrap_or_else(|e| panic!("{role} of exactly the limit: {e}"));
        repo.served.get_mut(&name).unwrap().push(b' ');
        let refusal = refused(&mut client, &repo, role);
        assert_eq!(refusal, TufError::TooLong { name, max_bytes: max });
    }
}
#[test]
fn a_signed_length_is_the_limit_when_it_is_smaller() {
    let mut repo = Repo::new();
    repo.hashes = true;
    repo.release(&["targets"]);
    let client = Client::new(&repo);
    let mut updater = Updater::new(client.stored, NOW).unwrap();
    updater.refresh(&[]);
    updater.handle(Input::NotFound);
    updater.handle(Input::Fetched(repo.served["timestamp.json"].clone()));
    while let Output::Persist { .. } = updater.poll() {}
    let Output::Fetch { name, max_len } = updater.poll() else { panic!() };
    assert_eq!(max_len, repo.served[&name].len() as u64);
}
#[test]
fn a_bad_initial_root_fails_without_any_request() {
    let repo = Repo::new();
    let mut tree: Value = serde_json::from_slice(&repo.served["1.root.json"]).unwrap();
    tree["signed"].as_object_mut().unwrap().remove("version");
    let no_version = serde_json::to_vec(&tree).unwrap();
    for bytes in [no_version, signed(&repo.root, &[]), signed(&repo.root, &[TARGETS]), b"{}".to_vec(), vec![]]
    {
        let mut client = Client::new(&repo);
        client.stored.insert("root.json".into(), bytes);
        client.refresh(&repo, &[]).unwrap_err();
        assert!(client.requests.is_empty());
    }
    let mut client = Client::new(&repo);
    client.stored.clear();
    assert_eq!(client.refresh(&repo, &[]).unwrap_err(), TufError::NoRoot);
}
#[test]
fn a_transport_that_fails_is_no_proof_that_root_is_newest() {
    let repo = Repo::new();
    let client = Client::up_to_date(&repo);
    let mut updater = Updater::new(client.stored, NOW).unwrap();
    updater.refresh(&[]);
    updater.handle(Input::FetchFailed("connection reset".into()));
    assert!(matches!(updater.poll(), Output::Failed(TufError::Fetch { .. })));
    assert!(updater.trusted().target(MANIFEST).is_some(), "what was trusted before is still there");
}
#[test]
fn an_invalid_extra_signature_does_no_harm() {
    for sig in ["", "zz", "00", &"00".repeat(64)] {
        let (mut client, mut repo) = attacked(|repo| repo.set_role_keys("timestamp", &[TIMESTAMP, 20], 1));
        let mut tree: Value = serde_json::from_slice(&signed(&repo.timestamp, &[TIMESTAMP])).unwrap();
        tree["signatures"].as_array_mut().unwrap().push(json!({"keyid": key_id(20), "sig": sig}));
        repo.served.insert("timestamp.json".into(), serde_json::to_vec(&tree).unwrap());
        client.refresh(&repo, &[]).unwrap();
        assert_eq!(client.version("timestamp"), 2);
    }
}
