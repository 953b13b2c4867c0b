//! The offline view: expiry stops news, not work.

use longshore_trust::UnixMs;
use longshore_trust::tuf::{Trusted, TufError};

use crate::repo::*;

const MANIFEST: &str = "m/1.0.0/manifest.json";

#[test]
fn years_later_what_was_verified_is_still_known() {
    let repo = Repo::new();
    let client = Client::up_to_date(&repo);
    let trusted = Trusted::load(&client.stored, None).unwrap();
    assert_eq!(trusted.target(MANIFEST).unwrap().0, "models/m");
    assert_eq!(trusted.versions().len(), 5);
    assert!(matches!(
        Trusted::load(&client.stored, Some(NOW.plus_ms(400 * DAY_MS))).unwrap_err(),
        TufError::Expired { .. }
    ));
    assert!(Trusted::load(&client.stored, Some(NOW)).unwrap().target(MANIFEST).is_some());
}
#[test]
fn a_refresh_interrupted_between_roles_leaves_the_old_targets_usable() {
    let mut repo = Repo::new();
    repo.hashes = true;
    repo.release(&[]);
    let mut client = Client::up_to_date(&repo);
    repo.release(&["root", "targets", "models/m"]);
    for lost in ["2.models%2Fm.json", "2.targets.json", "3.snapshot.json"] {
        repo.served.remove(lost);
        client.refresh(&repo, &[MANIFEST]).unwrap_err();
        let trusted = Trusted::load(&client.stored, None).unwrap();
        assert!(trusted.target(MANIFEST).is_some(), "without {lost}");
    }
}
#[test]
fn a_stored_file_that_was_tampered_with_is_left_out() {
    let repo = Repo::new();
    for file in ["targets.json", "models%2Fm.json"] {
        let mut client = Client::up_to_date(&repo);
        let bytes = client.stored.get_mut(file).unwrap();
        let at = bytes.windows(4).position(|w| w == b"2026").unwrap();
        bytes[at + 3] = b'7';
        assert!(Trusted::load(&client.stored, None).unwrap().target(MANIFEST).is_none(), "{file}");
        // And the next refresh fetches it anew.
        client.refresh(&repo, &[MANIFEST]).unwrap();
        assert!(Trusted::load(&client.stored, None).unwrap().target(MANIFEST).is_some());
    }
}
#[test]
fn a_tampered_root_is_an_error() {
    let repo = Repo::new();
    let mut client = Client::up_to_date(&repo);
    client.stored.get_mut("root.json").unwrap()[40] ^= 1;
    assert!(Trusted::load(&client.stored, None).is_err());
}
#[test]
fn the_keys_of_one_model_do_not_set_the_clock_of_a_fleet() {
    let issued = |dates: &[(&str, &str)]| {
        let mut repo = Repo::new();
        for (role, date) in dates {
            repo.document(role)["x-issued"] = (*date).into();
        }
        repo.publish_root();
        repo.publish_role("targets");
        repo.publish_role("models/m");
        repo.publish_snapshot();
        repo.publish_timestamp();
        let trusted = Trusted::load(&Client::up_to_date(&repo).stored, None).unwrap();
        assert!(trusted.target(MANIFEST).is_some());
        (trusted.issued_offline(), trusted.issued_online())
    };
    let (early, far) = ("2025-11-30T00:00:00Z", "2999-01-01T00:00:00Z");
    let early_ms = UnixMs(NOW.0 - 32 * DAY_MS);
    assert_eq!(issued(&[("models/m", far), ("snapshot", far)]), (None, None));
    assert_eq!(issued(&[("models/m", far), ("root", early)]), (Some(early_ms), None));
    assert_eq!(issued(&[("models/m", far), ("targets", early)]), (Some(early_ms), None));
    let later = UnixMs(early_ms.0 + DAY_MS);
    assert_eq!(issued(&[("targets", "2025-12-01T00:00:00Z"), ("root", early)]).0, Some(later));
    assert_eq!(issued(&[("timestamp", early)]), (None, Some(early_ms)));
}
