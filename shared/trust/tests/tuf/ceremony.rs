//! Drafts: what a change of keys makes necessary, who must sign it, and what is refused.

use std::collections::BTreeMap;

use longshore_trust::tuf::ceremony::{CeremonyError, Draft, KeyChange, KeyRole, Offline, Side};
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::{FleetId, PublicKey};
use proptest::prelude::*;

use crate::repo::{DAY_MS, NOW, key};

fn public(n: u8) -> PublicKey {
    key(n).public()
}
fn keys(ids: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: ids.iter().map(|n| public(*n)).collect(), threshold }
}
fn fleet() -> FleetId {
    "harbour".parse().unwrap()
}
fn root() -> RootSpec {
    RootSpec {
        version: 1,
        expires: NOW.plus_ms(40 * DAY_MS),
        fleet: fleet(),
        solo: true,
        root: keys(&[1], 1),
        targets: keys(&[4], 1),
        snapshot: keys(&[7], 1),
        timestamp: keys(&[8], 1),
        director: keys(&[9], 1),
        time: Some(keys(&[13], 1)),
    }
}
fn targets(models: &[&str]) -> TargetsSpec {
    let delegation = |model: &&str| DelegationSpec {
        role: format!("models/{model}"),
        keys: keys(&[10], 1),
        paths: vec![format!("{model}/*/*")],
        terminating: true,
    };
    TargetsSpec {
        version: 3,
        expires: NOW.plus_ms(40 * DAY_MS),
        targets: BTreeMap::new(),
        delegations: models.iter().map(delegation).collect(),
    }
}
fn signed(mut document: Signed, ids: &[u8]) -> Vec<u8> {
    for n in ids {
        document.sign(&key(*n));
    }
    document.to_bytes()
}
/// A solo fleet with models a and b, of which a has releases.
fn solo() -> Offline {
    let model = TargetsSpec { version: 5, delegations: vec![], ..targets(&[]) };
    let bytes = [
        ("root", signed(edit::root(&root()), &[1])),
        ("targets", signed(edit::targets(&targets(&["a", "b"])), &[4])),
        ("models/a", signed(edit::targets(&model), &[10])),
        ("snapshot", b"not looked at".to_vec()),
    ];
    Offline::new(bytes.into_iter().map(|(r, b)| (r.to_owned(), b)).collect()).unwrap()
}
fn change(add: &[u8], remove: &[u8], threshold: Option<u32>) -> KeyChange {
    KeyChange {
        add: add.iter().map(|n| public(*n)).collect(),
        remove: remove.iter().map(|n| public(*n)).collect(),
        threshold,
    }
}
fn role(text: &str) -> KeyRole {
    text.parse().unwrap()
}
fn rotated(text: &str, change: &KeyChange) -> Result<Draft, CeremonyError> {
    let mut draft = Draft::default();
    draft.rotate(&solo(), &role(text), change, Some(1), NOW)?;
    Ok(draft)
}
fn roles(draft: &Draft) -> Vec<&str> {
    draft.documents().map(|(role, _)| role).collect()
}
fn sign(draft: &mut Draft, role: &str, ids: &[u8]) {
    for n in ids {
        draft.get_mut(role).unwrap().sign(&key(*n));
    }
}
fn missing(draft: &Draft) -> Vec<(String, Side)> {
    solo().check(draft, NOW).unwrap().into_iter().map(|s| (s.role, s.side)).collect()
}

#[test]
fn raising_every_threshold_signs_everything_anew_and_clears_the_mark_of_a_solo_fleet() {
    let (published, mut draft) = (solo(), Draft::default());
    for (name, first) in [("root", 1), ("targets", 4), ("release", 10)] {
        assert!(draft.get("root").is_none_or(|d| edit::read_root(&d.to_bytes()).unwrap().solo));
        let change = change(&[first + 1 + 100, first + 2 + 100], &[], Some(2));
        draft.rotate(&published, &role(name), &change, Some(1), NOW).unwrap();
    }
    // b has a role and no release: there is nothing of it to be signed anew.
    assert_eq!(roles(&draft), ["root", "targets", "models/a"]);
    let root = edit::read_root(&draft.get("root").unwrap().to_bytes()).unwrap();
    assert_eq!((root.version, root.solo, root.root.threshold, root.targets.threshold), (2, false, 2, 2));
    let targets = edit::read_targets(&draft.get("targets").unwrap().to_bytes()).unwrap();
    assert_eq!(targets.version, 4);
    assert!(targets.delegations.iter().all(|d| d.keys.threshold == 2 && d.keys.keys.len() == 3));

    let of = |role: &str, side| (role.to_owned(), side);
    assert_eq!(
        missing(&draft),
        [
            of("root", Side::Present),
            of("root", Side::New),
            of("targets", Side::New),
            of("models/a", Side::New)
        ]
    );
    sign(&mut draft, "root", &[1]);
    sign(&mut draft, "targets", &[105, 4]);
    sign(&mut draft, "models/a", &[111, 112]);
    assert_eq!(missing(&draft), [of("root", Side::New)]);
    sign(&mut draft, "root", &[102]);
    assert_eq!(missing(&draft), []);
}
#[test]
fn a_lost_release_key_is_replaced_without_it() {
    let draft = rotated("models/a", &change(&[111], &[10], None)).unwrap();
    assert_eq!(roles(&draft), ["targets", "models/a"]);
    let mut draft = draft;
    sign(&mut draft, "targets", &[4]);
    sign(&mut draft, "models/a", &[10]);
    assert_eq!(missing(&draft).len(), 1, "the old key signs nothing any more");
    sign(&mut draft, "models/a", &[111]);
    assert_eq!(missing(&draft), []);
    // The other model keeps its key.
    let targets = edit::read_targets(&draft.get("targets").unwrap().to_bytes()).unwrap();
    assert_eq!(targets.delegations[1].keys, keys(&[10], 1));
}
#[test]
fn online_keys_need_only_root() {
    for name in ["snapshot", "timestamp", "director"] {
        let draft = rotated(name, &change(&[120], &[], None)).unwrap();
        assert_eq!(roles(&draft), ["root"]);
        assert_eq!(missing(&draft), [("root".to_owned(), Side::Present)]);
        let two = rotated(name, &change(&[120], &[], Some(2))).unwrap_err();
        assert!(matches!(two, CeremonyError::OnlineThreshold { threshold: 2, .. }), "{two}");
    }
}
#[test]
fn a_director_threshold_above_one_is_refused_however_it_came_about() {
    let spec = RootSpec { version: 2, director: keys(&[9, 120], 2), ..root() };
    let bytes = signed(edit::root(&spec), &[1]);
    let refusal = edit::read_root(&bytes).unwrap_err().to_string();
    assert!(refusal.contains("x-director") && refusal.contains("threshold above 1"), "{refusal}");
    for spec in [
        RootSpec { version: 2, snapshot: keys(&[7, 120], 2), ..root() },
        RootSpec { version: 2, timestamp: keys(&[8, 120], 2), ..root() },
    ] {
        let draft = single("root", edit::root(&spec));
        assert!(matches!(
            solo().check(&draft, NOW),
            Err(CeremonyError::OnlineThreshold { threshold: 2, .. })
        ));
    }
}
#[test]
fn a_revoked_key_leaves_every_role_that_names_it() {
    let (published, mut draft) = (solo(), Draft::default());
    let alone = draft.clone().revoke(&published, &public(10), Some(1), NOW).unwrap_err();
    assert!(matches!(alone, CeremonyError::Threshold { have: 0, threshold: 1, .. }), "{alone}");
    draft.rotate(&published, &role("release"), &change(&[111], &[], None), Some(1), NOW).unwrap();
    let left = draft.revoke(&published, &public(10), Some(1), NOW).unwrap();
    assert_eq!(left, [role("models/a"), role("models/b")]);
    assert_eq!(roles(&draft), ["targets", "models/a"]);
    assert!(draft.revoke(&published, &public(77), Some(1), NOW).is_err(), "nobody names it");
}
#[test]
fn renewing_changes_nothing_but_version_and_expiry() {
    let (published, mut draft) = (solo(), Draft::default());
    for name in ["root", "targets", "release"] {
        draft.renew(&published, &role(name), Some(1), NOW).unwrap();
    }
    assert_eq!(roles(&draft), ["root", "targets", "models/a"]);
    let new = edit::read_root(&draft.get("root").unwrap().to_bytes()).unwrap();
    assert_eq!(new, RootSpec { version: 2, expires: NOW.plus_ms(365 * DAY_MS), ..root() });
    let model = edit::read_targets(&draft.get("models/a").unwrap().to_bytes()).unwrap();
    assert_eq!((model.version, model.expires), (6, NOW.plus_ms(180 * DAY_MS)));
    assert!(draft.renew(&published, &role("models/b"), Some(1), NOW).is_err(), "nothing of it is published");
    assert!(draft.renew(&published, &role("timestamp"), Some(1), NOW).is_err(), "the server does that");
}
#[test]
fn changes_that_cannot_be_made_are_refused() {
    for (what, name, change) in [
        ("no key left", "root", change(&[], &[1], None)),
        ("more than there are", "root", change(&[102], &[], Some(3))),
        ("none at all", "root", change(&[102], &[], Some(0))),
        ("a key that is there", "root", change(&[1], &[], None)),
        ("a key that is not", "root", change(&[], &[55], None)),
        ("the same key twice", "root", change(&[102, 102], &[], None)),
        ("no such model", "models/c", change(&[111], &[], None)),
    ] {
        assert!(rotated(name, &change).is_err(), "{what}");
    }
    let mut draft = rotated("root", &change(&[102], &[], None)).unwrap();
    sign(&mut draft, "root", &[1]);
    let again = draft.rotate(&solo(), &role("root"), &change(&[103], &[], None), Some(1), NOW);
    assert_eq!(again, Err(CeremonyError::Signed), "a change would void the signature");
    for text in ["", "models/", "models/UPPER", "roots"] {
        assert!(text.parse::<KeyRole>().is_err(), "{text}");
    }
}

fn single(role: &str, document: Signed) -> Draft {
    Draft::new(BTreeMap::from([(role.to_owned(), document)])).unwrap()
}

#[test]
fn what_would_break_or_orphan_published_metadata_is_refused() {
    let published = solo();
    let breaks = single("root", edit::root(&RootSpec { version: 2, targets: keys(&[104], 1), ..root() }));
    assert_eq!(
        published.check(&breaks, NOW),
        Err(CeremonyError::WouldBreak { role: "targets".into(), have: 0, need: 1 })
    );
    let mut spec = TargetsSpec { version: 4, ..targets(&["a", "b"]) };
    spec.delegations[0].keys = keys(&[111], 1);
    let breaks = single("targets", edit::targets(&spec));
    assert_eq!(
        published.check(&breaks, NOW),
        Err(CeremonyError::WouldBreak { role: "models/a".into(), have: 0, need: 1 })
    );
    let orphan = single("targets", edit::targets(&TargetsSpec { version: 4, ..targets(&["b"]) }));
    assert_eq!(published.check(&orphan, NOW), Err(CeremonyError::Orphaned { role: "models/a".into() }));
    let unpublished = single("targets", edit::targets(&TargetsSpec { version: 4, ..targets(&["a"]) }));
    published.check(&unpublished, NOW).unwrap();
}
#[test]
fn drafts_of_the_wrong_kind_are_refused() {
    let published = solo();
    let check = |role: &str, document: Signed| published.check(&single(role, document), NOW).unwrap_err();
    for version in [1, 3] {
        let refusal = check("root", edit::root(&RootSpec { version, ..root() }));
        assert_eq!(refusal, CeremonyError::Version { role: "root".into(), got: version, published: 1 });
    }
    let expired = RootSpec { version: 2, expires: NOW, ..root() };
    assert!(matches!(check("root", edit::root(&expired)), CeremonyError::Expired { .. }));
    let other = RootSpec { version: 2, fleet: "other".parse().unwrap(), ..root() };
    assert!(matches!(check("root", edit::root(&other)), CeremonyError::OtherFleet { .. }));
    let approving = RootSpec { version: 2, root: keys(&[1, 9], 1), ..root() };
    assert!(matches!(check("root", edit::root(&approving)), CeremonyError::OnlineKey { .. }));
    let mut spec = TargetsSpec { version: 4, ..targets(&["a", "b"]) };
    spec.delegations[1].keys = keys(&[9], 1);
    assert!(matches!(check("targets", edit::targets(&spec)), CeremonyError::OnlineKey { .. }));
    let model = TargetsSpec { version: 1, ..targets(&[]) };
    assert!(matches!(check("models/c", edit::targets(&model)), CeremonyError::NotDelegated { .. }));
    assert_eq!(published.check(&Draft::default(), NOW), Err(CeremonyError::Empty));
    let wrong = |role: &str, d: Signed| Draft::new(BTreeMap::from([(role.to_owned(), d)])).is_err();
    assert!(wrong("root", edit::targets(&model)) && wrong("targets", edit::root(&root())));
    assert!(wrong("snapshot", edit::snapshot(1, NOW, BTreeMap::new())));
}
#[test]
fn a_draft_travels_as_a_file_and_copies_that_were_signed_apart_are_joined() {
    let mut first = rotated("root", &change(&[102, 103], &[], Some(2))).unwrap();
    let mut second = Draft::of_file(&first.to_file(&fleet()), &fleet()).unwrap();
    assert_eq!(second, first);
    sign(&mut first, "root", &[1]);
    sign(&mut second, "root", &[103]);
    assert!(first.join(&Draft::of_file(&second.to_file(&fleet()), &fleet()).unwrap()));
    assert_eq!(missing(&first), []);
    let other = rotated("root", &change(&[102], &[], None)).unwrap();
    assert!(!first.join(&other), "another draft");
    let file = first.to_file(&fleet());
    assert!(Draft::of_file(&file, &"other".parse().unwrap()).is_err());
    let text = String::from_utf8(file).unwrap();
    for wrong in
        [text.replace("\"schema\": 1", "\"schema\": 2"), text.replace("key ceremony", "x"), "{}".into()]
    {
        assert!(Draft::of_file(wrong.as_bytes(), &fleet()).is_err());
    }
}
#[test]
fn a_draft_changed_on_its_way_loses_its_signatures() {
    let mut draft = rotated("root", &change(&[102], &[], None)).unwrap();
    sign(&mut draft, "root", &[1]);
    assert_eq!(missing(&draft), []);
    let text = String::from_utf8(draft.to_file(&fleet())).unwrap();
    let changed = text.replace("\"threshold\": 1", "\"threshold\": 2");
    let changed = Draft::of_file(changed.as_bytes(), &fleet());
    let still = changed.is_ok_and(|d| solo().check(&d, NOW).is_ok_and(|missing| missing.is_empty()));
    assert!(!still, "a changed draft must not be complete");
}

proptest! {
    #[test]
    fn draft_files_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut file = rotated("root", &change(&[102], &[], None)).unwrap().to_file(&fleet());
        let i = at.index(file.len());
        file[i] = to;
        let _ = Draft::of_file(&file, &fleet()).map(|d| solo().check(&d, NOW));
    }
}

/// `document` with `member` set to `value` behind its maker's back.
fn altered(document: &Signed, member: &str, value: serde_json::Value) -> Signed {
    let mut tree: serde_json::Value = serde_json::from_slice(&document.to_bytes()).unwrap();
    *tree["signed"].pointer_mut(member).unwrap() = value;
    Signed::from_bytes(&serde_json::to_vec(&tree).unwrap()).unwrap()
}
#[test]
fn what_no_signer_is_shown_is_not_signed() {
    let next = || TargetsSpec { version: 4, ..targets(&["a", "b"]) };
    let plain = edit::targets(&next());
    assert_eq!(solo().check(&single("targets", plain.clone()), NOW).unwrap().len(), 1);
    let issued = |at| single("targets", edit::targets(&next()).issued(at));
    assert!(solo().check(&issued(NOW), NOW).is_ok());
    let later = issued(NOW.plus_ms(30 * DAY_MS));
    assert_eq!(solo().check(&later, NOW).unwrap_err(), CeremonyError::IssuedLater { role: "targets".into() });
    let first = "/delegations/roles/0";
    for (at, value) in [
        ("", serde_json::json!({"x-hidden": true})),
        (first, serde_json::json!({"x-hidden": true})),
        ("/delegations/keys", serde_json::json!({"unused": {"keytype": "x"}})),
    ] {
        let mut tree: serde_json::Value = serde_json::from_slice(&plain.to_bytes()).unwrap();
        let place = tree["signed"].pointer_mut(at).unwrap().as_object_mut().unwrap();
        place.extend(value.as_object().unwrap().clone());
        let document = Signed::from_bytes(&serde_json::to_vec(&tree).unwrap()).unwrap();
        let refused = solo().check(&single("targets", document), NOW).unwrap_err();
        assert!(matches!(refused, CeremonyError::Unsaid { .. }), "{at}: {refused}");
    }
    let root = edit::root(&RootSpec { version: 2, ..root() });
    let mixed = altered(&root, "/consistent_snapshot", false.into());
    let refused = solo().check(&single("root", mixed), NOW).unwrap_err();
    assert!(refused.to_string().contains("consistent_snapshot"), "{refused}");
}
#[test]
fn root_says_when_one_key_can_approve_whoever_made_the_draft() {
    let lie = edit::root(&RootSpec { version: 2, solo: false, ..root() });
    assert_eq!(solo().check(&single("root", lie), NOW).unwrap_err(), CeremonyError::NotMarkedSolo);

    // Two of three everywhere, until the release threshold is lowered: then root is part of the draft, and says so.
    let both = RootSpec { solo: false, root: keys(&[1, 2], 2), targets: keys(&[4, 5], 2), ..root() };
    let mut delegating = targets(&["a"]);
    delegating.delegations[0].keys = keys(&[10, 11], 2);
    let bytes = [
        ("root", signed(edit::root(&both), &[1, 2])),
        ("targets", signed(edit::targets(&delegating), &[4, 5])),
    ];
    let published = Offline::new(bytes.into_iter().map(|(r, b)| (r.to_owned(), b)).collect()).unwrap();
    let mut draft = Draft::default();
    draft.rotate(&published, &KeyRole::Release, &change(&[], &[], Some(1)), Some(2), NOW).unwrap();
    assert_eq!(roles(&draft), ["root", "targets"]);
    assert!(edit::read_root(&draft.get("root").unwrap().to_bytes()).unwrap().solo);
    published.check(&draft, NOW).unwrap();
    let alone = single("targets", draft.get("targets").unwrap().clone());
    assert_eq!(published.check(&alone, NOW).unwrap_err(), CeremonyError::NotMarkedSolo);
    let mut renewed = Draft::default();
    renewed.renew(&published, &KeyRole::Targets, Some(2), NOW).unwrap();
    assert_eq!(roles(&renewed), ["targets"]);
}
