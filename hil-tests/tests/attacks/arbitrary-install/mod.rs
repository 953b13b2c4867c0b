//! A device that runs an approved bundle is told, and given, something else.

use longshore_agent_core::update::{FetchFailure, Input};
use longshore_trust::{Digest, EnvelopeError, SigningKey};
use longshore_wire::v1::{Assignment, Commit, MessageError, UpdateState, open, seal};

use crate::field::{Field, Mirror, ROLE, job};
use crate::repo::target;
use crate::twin::{assignment, bundle, header, model};

#[test]
fn what_no_offline_key_named_is_not_even_fetched() {
    let mut field = Field::new();
    field.tell(9, |_| {});
    assert_eq!(field.refused(), Some("assignment.not_a_target"));
    assert_eq!(field.last(), (UpdateState::Rejected, Some("assignment.not_a_target")));
    assert!(!field.device.disk.staged.contains(&bundle(9)));
    field.unharmed("a path of the attacker's own");
}

#[test]
fn an_approved_path_stands_for_its_approved_bytes_only() {
    for (what, change) in [
        ("other bytes", (|a| a.slots[0].sha256 = Digest::of(b"evil")) as fn(&mut Assignment)),
        ("another length", |a| a.slots[0].length += 1),
        ("another counter", |a| a.slots[0].release_counter.0 += 1),
    ] {
        let mut field = Field::new();
        field.tell(3, change);
        assert_eq!(
            field.last(),
            (UpdateState::Rejected, Some("assignment.disagrees_with_targets")),
            "{what}"
        );
        field.unharmed(what);
    }
    // Unchanged it is taken: the refusals above are for what was changed.
    let mut field = Field::new();
    field.tell(3, |_| {});
    assert_eq!(field.device.serving, Some(bundle(3)));
}

#[test]
fn other_bytes_from_the_mirror_are_found_on_the_disk_and_thrown_away() {
    let mut field = Field::new();
    let (good, evil) =
        (b"the manifest that was approved".as_slice(), b"the manifest of the attacker!!".as_slice());
    assert_eq!(good.len(), evil.len());
    let mut entry = target(good);
    entry["custom"] = serde_json::json!({"release_counter": 4});
    field.repo.roles.get_mut(ROLE).unwrap()["targets"]["digits/4.0.0/manifest.json"] = entry;
    field.repo.release(&[ROLE]);
    let trusted = field.client.refresh(&field.repo, &["digits/4.0.0/manifest.json"]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut mirror = Mirror::default();
    mirror.put("digits/4.0.0/manifest.json", &Digest::of(good), evil);
    let Err(FetchFailure::Refused(why)) = job(&trusted, dir.path(), "digits", "4.0.0").run(&mirror) else {
        panic!("it was taken");
    };
    assert_eq!(why.code, "download.mismatch");
    let left: Vec<_> = std::fs::read_dir(dir.path().join("staging")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!dir.path().join("bundles").exists());
    // What the core makes of it: the update has failed for good, what ran goes on.
    let digest = Digest::of(good);
    field.tell(4, |a| (a.slots[0].sha256, a.slots[0].length) = (digest, good.len() as u64));
    field.device.feed(Input::Fetched(model(), digest, Err(FetchFailure::Refused(why))));
}

#[test]
fn an_assignment_of_anybody_else_is_no_assignment() {
    let order = assignment(9, 1, Commit::Local);
    let (director, thief) = (SigningKey::from_seed(&[9; 32]), SigningKey::from_seed(&[66; 32]));
    let forged = seal(header(1, 9), order, &thief).unwrap();
    let refusal = open::<Assignment>(&forged, &director.public()).unwrap_err();
    assert!(matches!(refusal, MessageError::Envelope(EnvelopeError::WrongKey(_))), "{refusal}");
}
