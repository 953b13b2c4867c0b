//! The workflow of chapter 5 as it should go.

use longshore_trust::tuf::{Input, MAX_ROOT_HOPS, Output, ReleaseInfo, TufError, Updater};

use crate::repo::*;

const MANIFEST: &str = "m/1.0.0/manifest.json";

#[test]
fn a_first_refresh_asks_for_each_role_once_in_order() {
    let repo = Repo::new();
    let mut client = Client::new(&repo);
    let trusted = client.refresh(&repo, &[MANIFEST]).unwrap();
    assert_eq!(
        client.requests,
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.models%2Fm.json"]
    );
    for (name, served) in [
        ("root.json", "1.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "1.snapshot.json"),
        ("targets.json", "1.targets.json"),
        ("models%2Fm.json", "1.models%2Fm.json"),
    ] {
        assert_eq!(client.stored[name], repo.served[served], "{name} is kept byte for byte");
    }
    let (role, info) = trusted.target(MANIFEST).unwrap();
    assert_eq!((role, info.length), ("models/m", 8));
    assert_eq!(ReleaseInfo::from_custom(&info.custom).unwrap().release_counter.0, 1);
    assert_eq!(trusted.targets_of("models/m").count(), 1);
    assert_eq!(trusted.fleet().unwrap().as_str(), "harbour");
}
#[test]
fn what_has_not_changed_is_not_fetched_again() {
    let repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    client.refresh(&repo, &[MANIFEST]).unwrap();
    assert_eq!(client.requests, ["2.root.json", "timestamp.json"]);
}
#[test]
fn without_targets_no_delegated_role_is_fetched() {
    let repo = Repo::new();
    let mut client = Client::new(&repo);
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.requests.last().unwrap(), "1.targets.json");
}
#[test]
fn further_targets_are_looked_up_in_the_same_snapshot() {
    let repo = Repo::new();
    let client = Client::up_to_date(&repo);
    let mut updater = Updater::new(client.stored, NOW).unwrap();
    updater.refresh(&[]);
    let Output::Fetch { name, .. } = updater.poll() else { panic!() };
    assert_eq!(name, "2.root.json");
    assert_eq!(
        updater.poll(),
        Output::Fetch { name, max_len: 512 * 1024 },
        "a wish stands until it is answered"
    );
    updater.handle(Input::NotFound);
    updater.handle(Input::Fetched(repo.served["timestamp.json"].clone()));
    assert_eq!(updater.poll(), Output::Done);
    updater.resolve(&[MANIFEST.to_owned()]);
    assert_eq!(updater.poll(), Output::Done);
    assert!(updater.trusted().target(MANIFEST).is_some());
}
#[test]
fn a_target_that_no_role_names_is_no_error_and_no_target() {
    let repo = Repo::new();
    let trusted = Client::new(&repo).refresh(&repo, &["m/9.9.9/manifest.json", "unknown"]).unwrap();
    assert!(trusted.target("m/9.9.9/manifest.json").is_none());
    assert!(trusted.target("unknown").is_none());
}
#[test]
fn roots_are_followed_one_by_one() {
    let mut repo = Repo::new();
    let mut client = Client::new(&repo);
    for _ in 0..3 {
        repo.bump("root");
        repo.publish_root();
    }
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.requests[..4], ["2.root.json", "3.root.json", "4.root.json", "5.root.json"]);
    assert_eq!(client.version("root"), 4);
}
#[test]
fn at_most_256_roots_are_followed_in_one_refresh() {
    let mut repo = Repo::new();
    let mut client = Client::new(&repo);
    for _ in 0..300 {
        repo.bump("root");
        repo.publish_root();
    }
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.version("root"), 1 + u64::from(MAX_ROOT_HOPS));
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.version("root"), 301);
}
#[test]
fn an_expired_intermediate_root_is_passed_through() {
    let mut repo = Repo::new();
    let mut client = Client::new(&repo);
    repo.bump("root");
    repo.root["expires"] = PAST.into();
    repo.publish_root();
    repo.bump("root");
    repo.root["expires"] = SOON.into();
    repo.publish_root();
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.version("root"), 3);
}
#[test]
fn rotated_keys_take_over() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    for (n, role) in ["timestamp", "snapshot", "targets"].into_iter().enumerate() {
        repo.set_role_keys(role, &[20 + n as u8], 1);
    }
    repo.set_role_keys("root", &[30], 1);
    repo.signers.insert("root".into(), vec![ROOT, 30]);
    repo.release(&["root", "targets"]);
    client.refresh(&repo, &[MANIFEST]).unwrap();
    assert_eq!((client.version("root"), client.version("targets")), (2, 2));
}
#[test]
fn rotating_the_online_keys_recovers_from_a_fast_forward() {
    let mut repo = Repo::new();
    repo.timestamp["version"] = 1_000_000.into();
    repo.snapshot["version"] = 1_000_000.into();
    repo.publish_snapshot();
    repo.publish_timestamp();
    let mut client = Client::up_to_date(&repo);
    assert_eq!(client.version("snapshot"), 1_000_000);

    repo.set_role_keys("timestamp", &[20], 1);
    repo.set_role_keys("snapshot", &[21], 1);
    repo.bump("root");
    repo.publish_root();
    repo.timestamp["version"] = 2.into();
    repo.snapshot["version"] = 2.into();
    repo.publish_snapshot();
    repo.publish_timestamp();
    client.refresh(&repo, &[MANIFEST]).unwrap();
    assert_eq!((client.version("snapshot"), client.version("timestamp")), (2, 2));
}
#[test]
fn rotating_the_snapshot_key_alone_forgets_the_snapshot_and_what_it_listed() {
    let mut repo = Repo::new();
    repo.roles.get_mut("targets").unwrap()["version"] = 1_000_000.into();
    repo.publish_role("targets");
    repo.release(&[]);
    let mut client = Client::up_to_date(&repo);
    repo.set_role_keys("snapshot", &[21], 1);
    repo.roles.get_mut("targets").unwrap()["version"] = 3.into();
    repo.publish_role("targets");
    repo.snapshot["meta"].as_object_mut().unwrap().remove("models/m.json");
    repo.release(&["root"]);
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.version("targets"), 3);
}
#[test]
fn adding_an_online_key_does_not_open_the_way_back() {
    let mut repo = Repo::new();
    let old_timestamp = repo.served["timestamp.json"].clone();
    repo.release(&["targets"]);
    let mut client = Client::up_to_date(&repo);
    repo.set_role_keys("timestamp", &[TIMESTAMP, 20], 1);
    repo.bump("root");
    repo.publish_root();
    repo.served.insert("timestamp.json".into(), old_timestamp);
    let refusal = client.refresh(&repo, &[]).unwrap_err();
    assert_eq!(refusal, TufError::Rollback { role: "timestamp".into(), trusted: 2, got: 1 });
}
#[test]
fn a_timestamp_of_the_same_version_changes_nothing() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    let before = client.stored.clone();
    repo.timestamp["meta"]["snapshot.json"]["version"] = 100.into();
    repo.publish_timestamp();
    client.refresh(&repo, &[]).unwrap();
    assert_eq!(client.stored, before);
    assert_eq!(client.requests.last().unwrap(), "timestamp.json");
}
#[test]
fn progress_is_kept_when_a_later_role_fails() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    repo.release(&["root", "targets"]);
    repo.served.remove("2.targets.json");
    assert_eq!(client.refresh(&repo, &[]).unwrap_err(), TufError::NotFound { name: "2.targets.json".into() });
    assert_eq!(["root", "timestamp", "snapshot", "targets"].map(|role| client.version(role)), [2, 2, 2, 1]);
}
#[test]
fn unknown_fields_are_part_of_what_is_signed() {
    let mut repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    for role in ["root", "targets", "models/m"] {
        repo.document(role)["x-note"] = serde_json::json!({"ä": [1, null, "\u{1}"], "a\"\\": true});
    }
    repo.release(&["root", "targets", "models/m"]);
    client.refresh(&repo, &[MANIFEST]).unwrap();
    assert_eq!(client.version("models/m"), 2);
}
#[test]
fn a_repository_without_consistent_snapshots_is_read_by_plain_names() {
    let mut repo = Repo::new();
    repo.root["consistent_snapshot"] = false.into();
    repo.publish_root();
    for (plain, versioned) in [
        ("snapshot.json", "1.snapshot.json"),
        ("targets.json", "1.targets.json"),
        ("models%2Fm.json", "1.models%2Fm.json"),
    ] {
        let bytes = repo.served.remove(versioned).unwrap();
        repo.served.insert(plain.into(), bytes);
    }
    let mut client = Client::new(&repo);
    let trusted = client.refresh(&repo, &[MANIFEST]).unwrap();
    assert_eq!(trusted.find(MANIFEST).unwrap().url(), MANIFEST);
}
