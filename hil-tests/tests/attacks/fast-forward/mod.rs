//! Numbers as high as they go, and the way back down.

use longshore_trust::tuf::{MAX_INTEGER, TufError};

use crate::field::{Field, ROLE};
use crate::repo::{SNAPSHOT, TIMESTAMP};
use crate::twin::bundle;

#[test]
fn the_owner_gets_the_fleet_back_by_rotating_the_stolen_keys() {
    let mut field = Field::new();
    for role in ["timestamp", "snapshot"] {
        field.repo.document(role)["version"] = MAX_INTEGER.into();
    }
    field.repo.publish_snapshot();
    field.repo.publish_timestamp();
    field.client.refresh(&field.repo, &[]).unwrap();
    assert_eq!(field.client.version("timestamp"), MAX_INTEGER as u64, "the attack works so far");

    // The owner signs on where they were: refused, the numbers are lower.
    for role in ["timestamp", "snapshot"] {
        field.repo.document(role)["version"] = 9.into();
    }
    field.repo.publish_snapshot();
    field.repo.publish_timestamp();
    let refusal = field.client.refresh(&field.repo, &[]).unwrap_err();
    assert!(matches!(refusal, TufError::Rollback { .. }), "{refusal}");

    // A new root with new online keys.
    field.repo.set_role_keys("timestamp", &[40], 1);
    field.repo.set_role_keys("snapshot", &[41], 1);
    field.repo.bump("root");
    field.repo.publish_root();
    field.repo.publish_snapshot();
    field.repo.publish_timestamp();
    field.tell(3, |_| {});
    assert_eq!(field.device.serving, Some(bundle(3)), "devices follow the owner again");
    assert_eq!((field.client.version("timestamp"), field.client.version("snapshot")), (9, 9));

    // And the thief does not get in again.
    field.repo.signers.insert("timestamp".into(), vec![TIMESTAMP]);
    field.repo.signers.insert("snapshot".into(), vec![SNAPSHOT]);
    field.repo.release(&[ROLE]);
    assert!(matches!(field.client.refresh(&field.repo, &[]), Err(TufError::Threshold { .. })));
}

#[test]
fn a_number_beyond_what_every_reader_agrees_on_is_malformed() {
    for version in
        ["9007199254740992", "18446744073709551615", "18446744073709551616", "1e300", "1.5", "-1", "0"]
    {
        let mut field = Field::new();
        let text = String::from_utf8(field.repo.served["timestamp.json"].clone()).unwrap();
        let number = field.repo.timestamp["version"].to_string();
        let forged = text.replace(&format!("\"version\":{number}"), &format!("\"version\":{version}"));
        assert_ne!(forged, text);
        field.repo.served.insert("timestamp.json".into(), forged.into_bytes());
        let refusal = field.client.refresh(&field.repo, &[]).unwrap_err();
        assert!(
            matches!(
                refusal,
                TufError::Json { .. } | TufError::Malformed { .. } | TufError::Threshold { .. }
            ),
            "{version}: {refusal}"
        );
    }
}
