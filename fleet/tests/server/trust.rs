//! The trust repository as its clients verify it.

use std::collections::BTreeMap;

use longshore_fleet::app;
use longshore_fleet::trust_repo::{Submitted, TrustRepo, TrustRepoError};
use longshore_trust::tuf::edit::{self, DelegationSpec, TargetsSpec};
use longshore_trust::tuf::{Change, ReleaseInfo, TargetInfo, Updater, drive};
use longshore_trust::{Digest, ReleaseCounter, SigningKey, UnixMs};

use crate::support::{Home, LATER, key, role, signed};

fn release_keys() -> Vec<SigningKey> {
    (31..=33).map(key).collect()
}

fn delegating(version: u64) -> TargetsSpec {
    TargetsSpec {
        version,
        expires: LATER,
        targets: BTreeMap::new(),
        delegations: vec![DelegationSpec {
            role: "models/digits".into(),
            keys: role(&release_keys(), 2),
            paths: vec!["digits/*/*".into(), "digits/*/*/*".into()],
            terminating: true,
        }],
    }
}

fn model(version: u64, expires: UnixMs) -> TargetsSpec {
    let release = ReleaseInfo { release_counter: ReleaseCounter(7), rollback_ok: Vec::new(), hw: Vec::new() };
    let manifest = TargetInfo { length: 8, sha256: Digest::of(b"manifest"), custom: release.to_custom() };
    TargetsSpec {
        version,
        expires,
        targets: [("digits/1.0.0/manifest.json".to_owned(), manifest)].into(),
        delegations: Vec::new(),
    }
}

/// What a device would trust after asking `trust` for everything.
async fn refresh(
    trust: &TrustRepo,
    stored: &mut BTreeMap<String, Vec<u8>>,
    now: UnixMs,
) -> Result<BTreeMap<String, u64>, String> {
    let mut updater = Updater::new(stored.clone(), now).map_err(|e| e.to_string())?;
    // The role is delegated before it is published: until then nobody asks for its targets.
    let wanted = trust.metadata("1.models%2Fdigits.json").await.unwrap();
    let wanted: Vec<String> = wanted.iter().map(|_| "digits/1.0.0/manifest.json".to_owned()).collect();
    updater.refresh(&wanted);
    let trust = trust.clone();
    let handle = tokio::runtime::Handle::current();
    let (updater, changes, result) = tokio::task::spawn_blocking(move || {
        let mut changes = Vec::new();
        let result = drive(
            &mut updater,
            &mut |name, _| handle.block_on(trust.metadata(name)).map_err(|e| e.to_string()),
            &mut |change| {
                changes.push(change);
                Ok(())
            },
        );
        (updater, changes, result)
    })
    .await
    .unwrap();
    for change in changes {
        match change {
            Change::Write { file, bytes } => stored.insert(file, bytes),
            Change::Remove { file } => stored.remove(&file),
        };
    }
    result.map_err(|e| e.to_string())?;
    Ok(updater.trusted().versions())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_verify_what_a_threshold_has_signed_step_by_step() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let now = app::now();
    let mut stored: BTreeMap<String, Vec<u8>> = [("root.json".to_owned(), home.keys().root)].into();
    let versions = refresh(trust, &mut stored, now).await.unwrap();
    assert_eq!((versions["root"], versions["targets"], versions["snapshot"]), (1, 1, 1));

    // One of two: kept, not served.
    let targets = &home.offline.targets;
    let one = signed(edit::targets(&delegating(2)), &targets[..1]);
    let pending = trust.submit("targets", &one, now).await.unwrap();
    assert_eq!(pending, Submitted::Pending { version: 2, signatures: 1, threshold: 2 });
    assert_eq!(trust.submit("targets", &one, now).await.unwrap(), pending, "the same key twice counts once");
    assert_eq!(refresh(trust, &mut stored, now).await.unwrap()["targets"], 1);
    let waiting = trust.pending("targets").await.unwrap().unwrap();
    let mut waiting = edit::Signed::from_bytes(&waiting).unwrap();
    waiting.sign(&targets[1]);
    let done = trust.submit("targets", &waiting.to_bytes(), now).await.unwrap();
    assert_eq!(done, Submitted::Published { version: 2, signatures: 2, threshold: 2 });
    assert_eq!(refresh(trust, &mut stored, now).await.unwrap()["targets"], 2);

    // The second signer starts from the unsigned document: signatures are joined here.
    let document = |keys: &[SigningKey]| signed(edit::targets(&model(1, LATER)), keys);
    let release = release_keys();
    let first = trust.submit("models/digits", &document(&release[..1]), now).await.unwrap();
    assert!(matches!(first, Submitted::Pending { signatures: 1, .. }));
    let second = trust.submit("models/digits", &document(&release[1..2]), now).await.unwrap();
    assert!(matches!(second, Submitted::Published { signatures: 2, .. }));
    let versions = refresh(trust, &mut stored, now).await.unwrap();
    assert_eq!((versions["models/digits"], versions["snapshot"]), (1, 3));
    assert!(
        running.app.store.is_target("digits/1.0.0/manifest.json", &Digest::of(b"manifest")).await.unwrap()
    );
    assert!(!running.app.store.is_target("digits/1.0.0/manifest.json", &Digest::of(b"other")).await.unwrap());
    let again = trust.submit("models/digits", &document(&release[..2]), now).await.unwrap();
    assert!(matches!(again, Submitted::Published { version: 1, .. }), "a late signature changes nothing");

    // Before the timestamp has used up its time, fresh ones are signed.
    assert!(!trust.refresh(now).await.unwrap());
    let later = now.plus_ms(40 * 3_600_000);
    assert!(trust.refresh(later).await.unwrap());
    let versions = refresh(trust, &mut stored, later).await.unwrap();
    assert_eq!((versions["snapshot"], versions["timestamp"]), (3, 4));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_not_right_is_refused() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let now = app::now();
    let keys = &home.offline.targets;
    let targets = |spec: &TargetsSpec, keys: &[SigningKey]| signed(edit::targets(spec), keys);
    let foreign = [key(91), key(92)];
    let expired = TargetsSpec { expires: UnixMs(1000), ..delegating(2) };
    let good = targets(&delegating(2), &keys[..2]);
    let mut changed = String::from_utf8(good.clone()).unwrap();
    changed = changed.replace("digits/*/*/*", "digits/*/*/x");
    for (what, role, bytes) in [
        ("no key of the role", "targets", targets(&delegating(2), &foreign)),
        ("online keys", "targets", targets(&delegating(2), &home.offline.online[..2])),
        ("expired", "targets", targets(&expired, &keys[..2])),
        ("an older version", "targets", targets(&delegating(1), &keys[..2])),
        ("a version too far", "targets", targets(&delegating(3), &keys[..2])),
        ("changed after signing", "targets", changed.into_bytes()),
        ("not delegated", "models/digits", targets(&model(1, LATER), &release_keys()[..2])),
        ("signed by the server only", "snapshot", targets(&delegating(2), &keys[..2])),
        ("not JSON", "targets", b"{".to_vec()),
        ("another document", "root", targets(&delegating(2), &keys[..2])),
    ] {
        assert!(trust.submit(role, &bytes, now).await.is_err(), "{what}");
    }
    let older = trust.submit("targets", &targets(&delegating(3), &keys[..2]), now).await;
    assert!(matches!(older, Err(TrustRepoError::Version { next: 2, .. })));
    assert!(matches!(trust.submit("targets", &good, now).await, Ok(Submitted::Published { .. })));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_needs_both_thresholds_and_this_server_s_keys() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let now = app::now();
    let old = &home.offline.root;
    let new: Vec<SigningKey> = (41..=43).map(key).collect();
    let mut spec = home.offline.root_spec(2);
    spec.root = role(&new, 2);
    let only_old = trust.submit("root", &signed(edit::root(&spec), &old[..2]), now).await.unwrap();
    assert!(matches!(only_old, Submitted::Pending { .. }));
    let mut other_online = spec.clone();
    other_online.director = role(&[key(99)], 1);
    let both: Vec<SigningKey> = vec![key(1), key(2), key(41), key(42)];
    assert!(trust.submit("root", &signed(edit::root(&other_online), &both), now).await.is_err());
    let done = trust.submit("root", &signed(edit::root(&spec), &new[..2]), now).await.unwrap();
    assert!(matches!(done, Submitted::Published { version: 2, .. }));
    let mut stored: BTreeMap<String, Vec<u8>> = [("root.json".to_owned(), home.keys().root)].into();
    assert_eq!(refresh(trust, &mut stored, now).await.unwrap()["root"], 2);
    running.stop().await;
}
