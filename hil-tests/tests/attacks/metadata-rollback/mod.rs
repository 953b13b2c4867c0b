//! A repository that is put back to a state that was valid once.

use longshore_trust::tuf::TufError;
use longshore_wire::v1::{TargetsVersion, UpdateState};

use crate::field::{Field, ROLE, approved};
use crate::repo::Client;
use crate::twin::path;

#[test]
fn no_role_goes_back_to_what_it_was_and_a_restart_forgets_nothing() {
    let mut field = Field::new();
    let old = field.repo.served.clone();
    field.repo.roles.get_mut(ROLE).unwrap()["targets"].as_object_mut().unwrap().remove(&path(3));
    field.repo.release(&["targets", ROLE]);
    field.client.refresh(&field.repo, &["digits/1.0.0/manifest.json"]).unwrap();
    // The whole repository as it was, with bundle 3 still in it.
    field.repo.served = old;
    let restarted = Client { stored: field.client.stored.clone(), ..Client::default() };
    for mut client in [field.client.clone(), Client { now: field.client.now, ..restarted }] {
        let refusal = client.refresh(&field.repo, &["digits/3.0.0/manifest.json"]).unwrap_err();
        assert!(matches!(&refusal, TufError::Rollback { role, .. } if role == "timestamp"), "{refusal}");
        assert_eq!(client.stored, field.client.stored, "nothing of it was kept");
    }
    field.tell(3, |_| {});
    field.unharmed("a bundle that was withdrawn");
    assert_eq!(field.device.core.offered().unwrap().1.unwrap().code, "trust.refused");
}

#[test]
fn with_the_timestamp_key_too_the_snapshot_stands_and_with_both_the_roles() {
    for (role, fresh) in [
        ("snapshot", &["timestamp"][..]),
        ("targets", &["timestamp", "snapshot"]),
        (ROLE, &["timestamp", "snapshot"]),
    ] {
        let mut field = Field::new();
        field.repo.release(&["targets", ROLE]);
        field.client.refresh(&field.repo, &["digits/1.0.0/manifest.json"]).unwrap();
        let trusted = field.client.version(role);
        field.repo.document(role)["version"] = (trusted - 1).into();
        if role == "snapshot" {
            field.repo.publish_snapshot();
        } else {
            field.repo.publish_role(role);
        }
        for online in fresh.iter().rev() {
            field.repo.bump(online);
            if *online == "snapshot" { field.repo.publish_snapshot() } else { field.repo.publish_timestamp() }
        }
        let refusal = field.client.refresh(&field.repo, &["digits/1.0.0/manifest.json"]).unwrap_err();
        assert_eq!(refusal, TufError::Rollback { role: role.into(), trusted, got: trusted - 1 });
        assert_eq!(field.client.version(role), trusted);
    }
}

#[test]
fn metadata_older_than_the_director_looked_at_is_waited_for_and_not_used() {
    let mut field = Field::new();
    field.repo.roles.get_mut(ROLE).unwrap()["targets"][path(4)] = approved(4);
    let newer = field.client.version(ROLE) + 1;
    // The server signs for the newer role and serves the older one.
    field.tell(3, |a| a.targets_versions = vec![TargetsVersion { role: ROLE.into(), version: newer }]);
    assert_eq!(field.device.core.offered().unwrap().1.unwrap().code, "trust.behind");
    field.unharmed("while it waits");
    field.pass(200_000);
    assert_eq!(field.last(), (UpdateState::Expired, Some("trust.behind")));
}
