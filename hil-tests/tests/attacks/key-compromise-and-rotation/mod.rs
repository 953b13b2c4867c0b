//! What stolen keys are good for before and after they are rotated away.

use longshore_trust::tuf::TufError;
use longshore_trust::{EnvelopeError, SigningKey};
use longshore_wire::v1::{Assignment, Commit, MessageError, open, seal};
use serde_json::json;

use crate::field::{Field, ROLE, approved};
use crate::repo::{RELEASE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, key, key_id, key_value};
use crate::twin::{assignment, bundle, header, path};

/// The attacker's bundle in the model's role, signed with `keys`.
fn forged(keys: &[u8]) -> Field {
    let mut field = Field::new();
    field.repo.roles.get_mut(ROLE).unwrap()["targets"][path(9)] = approved(9);
    field.repo.signers.insert(ROLE.into(), keys.to_vec());
    field.repo.release(&[ROLE]);
    field
}

#[test]
fn online_keys_and_the_keys_of_other_roles_cannot_approve() {
    for keys in [
        vec![TIMESTAMP],
        vec![SNAPSHOT],
        vec![TARGETS],
        vec![ROOT],
        vec![TIMESTAMP, SNAPSHOT, TARGETS, ROOT, 9],
    ] {
        let mut field = forged(&keys);
        field.tell(9, |_| {});
        assert_eq!(field.device.core.offered().unwrap().1.unwrap().code, "trust.refused", "{keys:?}");
        field.unharmed("a release by keys of other roles");
        field.pass(200_000);
        assert_eq!(field.last().1, Some("trust.refused"), "{keys:?}");
    }
    let mut field = forged(&[RELEASE]);
    field.tell(9, |_| {});
    assert_eq!(field.device.serving, Some(bundle(9)), "with the right key it is a release");
}

#[test]
fn half_of_the_root_keys_replace_no_key() {
    let mut field = Field::new();
    field.repo.set_role_keys("root", &[ROOT, 30], 2);
    field.repo.signers.insert("root".into(), vec![ROOT, 30]);
    field.repo.release(&["root"]);
    field.client.refresh(&field.repo, &[]).unwrap();
    // One of the two is stolen. It makes itself the director, and the release key.
    field.repo.root["x-director"] =
        json!({"keyids": [key_id(66)], "threshold": 1, "keys": {key_id(66): key_value(66)}});
    field.repo.signers.insert("root".into(), vec![30]);
    field.repo.release(&["root"]);
    let refusal = field.client.refresh(&field.repo, &[]).unwrap_err();
    assert_eq!(refusal, TufError::Threshold { role: "root".into(), have: 1, need: 2 });
    assert_eq!(field.client.version("root"), 2);
}

#[test]
fn a_release_key_that_was_rotated_away_signs_nothing_any_more() {
    let mut field = Field::new();
    let targets = field.repo.roles.get_mut("targets").unwrap();
    targets["delegations"]["keys"][key_id(77)] = key_value(77);
    for role in targets["delegations"]["roles"].as_array_mut().unwrap() {
        role["keyids"] = json!([key_id(77)]);
    }
    for role in [ROLE, "models/m"] {
        field.repo.signers.insert(role.into(), vec![77]);
    }
    field.repo.release(&["targets", ROLE, "models/m"]);
    field.tell(3, |_| {});
    assert_eq!(field.device.serving, Some(bundle(3)), "the new key is in force");
    // The thief releases with the old one.
    field.repo.roles.get_mut(ROLE).unwrap()["targets"][path(9)] = approved(9);
    field.repo.signers.insert(ROLE.into(), vec![RELEASE]);
    field.repo.release(&[ROLE]);
    field.tell(9, |_| {});
    assert_eq!(field.device.serving, Some(bundle(3)));
    assert_eq!(field.device.core.offered().unwrap().1.unwrap().code, "trust.refused");
}

#[test]
fn a_director_that_was_rotated_away_assigns_nothing_any_more() {
    let mut field = Field::new();
    let director = |k: u8| json!({"keyids": [key_id(k)], "threshold": 1, "keys": {key_id(k): key_value(k)}});
    field.repo.root["x-director"] = director(50);
    field.repo.release(&["root"]);
    let trusted = field.client.refresh(&field.repo, &[]).unwrap();
    let stolen = seal(header(1, 9), assignment(9, 3, Commit::Local), &key(50)).unwrap();
    assert!(open::<Assignment>(&stolen, &trusted.director().unwrap()).is_ok(), "it was the director");
    field.repo.root["x-director"] = director(51);
    field.repo.release(&["root"]);
    let trusted = field.client.refresh(&field.repo, &[]).unwrap();
    let refusal = open::<Assignment>(&stolen, &trusted.director().unwrap()).unwrap_err();
    assert!(matches!(refusal, MessageError::Envelope(EnvelopeError::WrongKey(_))), "{refusal}");
    let good: SigningKey = key(51);
    let order = seal(header(1, 10), assignment(10, 3, Commit::Local), &good).unwrap();
    assert!(open::<Assignment>(&order, &trusted.director().unwrap()).is_ok());
}
