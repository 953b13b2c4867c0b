//! The offline view: expiry stops news, not work.

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
