//! The trust repository as its clients verify it.

use std::collections::BTreeMap;

use longshore_fleet::store::audit::Search;
use longshore_fleet::trust_repo::{Submitted, TrustRepo, TrustRepoError};
use longshore_fleet::{app, backup};
use longshore_trust::tuf::edit::{self, DelegationSpec, TargetsSpec};
use longshore_trust::tuf::{Change, ReleaseInfo, TargetInfo, Updater, drive};
use longshore_trust::{Digest, Envelope, Kind, ReleaseCounter, SigningKey, UnixMs};

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
    let pending = trust.submit("tester", "targets", &one, now).await.unwrap();
    assert_eq!(pending, Submitted::Pending { version: 2, signatures: 1, threshold: 2 });
    assert_eq!(
        trust.submit("tester", "targets", &one, now).await.unwrap(),
        pending,
        "the same key twice counts once"
    );
    assert_eq!(refresh(trust, &mut stored, now).await.unwrap()["targets"], 1);
    let waiting = trust.pending("targets").await.unwrap().unwrap();
    let mut waiting = edit::Signed::from_bytes(&waiting).unwrap();
    waiting.sign(&targets[1]);
    let done = trust.submit("tester", "targets", &waiting.to_bytes(), now).await.unwrap();
    assert_eq!(done, Submitted::Published { version: 2, signatures: 2, threshold: 2 });
    assert_eq!(refresh(trust, &mut stored, now).await.unwrap()["targets"], 2);

    // The second signer starts from the unsigned document: signatures are joined here.
    let document = |keys: &[SigningKey]| signed(edit::targets(&model(1, LATER)), keys);
    let release = release_keys();
    let first = trust.submit("tester", "models/digits", &document(&release[..1]), now).await.unwrap();
    assert!(matches!(first, Submitted::Pending { signatures: 1, .. }));
    let second = trust.submit("tester", "models/digits", &document(&release[1..2]), now).await.unwrap();
    assert!(matches!(second, Submitted::Published { signatures: 2, .. }));
    let versions = refresh(trust, &mut stored, now).await.unwrap();
    assert_eq!((versions["models/digits"], versions["snapshot"]), (1, 3));
    assert!(
        running.app.store.is_target("digits/1.0.0/manifest.json", &Digest::of(b"manifest")).await.unwrap()
    );
    assert!(!running.app.store.is_target("digits/1.0.0/manifest.json", &Digest::of(b"other")).await.unwrap());
    let again = trust.submit("tester", "models/digits", &document(&release[..2]), now).await.unwrap();
    assert!(matches!(again, Submitted::Published { version: 1, .. }), "a late signature changes nothing");
    // Three submissions of targets, two of the model's role: each stands in the log that commits with it.
    let search = Search { action: Some("trust.submit".into()), ..Search::default() };
    let entries = running.app.store.audit_search(&search, 9).await.unwrap();
    let newest = (entries[0].actor.as_str(), entries[0].object.as_str(), entries[0].detail.as_str());
    assert_eq!((entries.len(), newest), (5, ("tester", "models/digits", "version 1 published")));

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
        assert!(trust.submit("tester", role, &bytes, now).await.is_err(), "{what}");
    }
    let older = trust.submit("tester", "targets", &targets(&delegating(3), &keys[..2]), now).await;
    assert!(matches!(older, Err(TrustRepoError::Version { next: 2, .. })));
    assert!(matches!(trust.submit("tester", "targets", &good, now).await, Ok(Submitted::Published { .. })));
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
    let only_old = trust.submit("tester", "root", &signed(edit::root(&spec), &old[..2]), now).await.unwrap();
    assert!(matches!(only_old, Submitted::Pending { .. }));
    let mut other_online = spec.clone();
    other_online.director = role(&[key(99)], 1);
    let both: Vec<SigningKey> = vec![key(1), key(2), key(41), key(42)];
    assert!(trust.submit("tester", "root", &signed(edit::root(&other_online), &both), now).await.is_err());
    let done = trust.submit("tester", "root", &signed(edit::root(&spec), &new[..2]), now).await.unwrap();
    assert!(matches!(done, Submitted::Published { version: 2, .. }));
    let mut stored: BTreeMap<String, Vec<u8>> = [("root.json".to_owned(), home.keys().root)].into();
    assert_eq!(refresh(trust, &mut stored, now).await.unwrap()["root"], 2);
    running.stop().await;
}

/// Everything of a ceremony, by role.
fn together(documents: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    documents.iter().map(|(role, bytes)| ((*role).to_owned(), bytes.to_vec())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_a_ceremony_are_published_together_or_not_at_all() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let now = app::now();
    let release = release_keys();
    trust
        .submit("tester", "targets", &signed(edit::targets(&delegating(2)), &home.offline.targets[..2]), now)
        .await
        .unwrap();
    trust
        .submit("tester", "models/digits", &signed(edit::targets(&model(1, LATER)), &release[..2]), now)
        .await
        .unwrap();
    let mut stored: BTreeMap<String, Vec<u8>> = [("root.json".to_owned(), home.keys().root)].into();
    refresh(trust, &mut stored, now).await.unwrap();

    // Targets and release keys change hands completely: no old key signs any of the new documents but root.
    let (new_targets, new_release) = ([key(51), key(52)], [key(53), key(54)]);
    let mut root = home.offline.root_spec(2);
    root.targets = role(&new_targets, 2);
    let mut targets = delegating(3);
    targets.delegations[0].keys = role(&new_release, 2);
    let root = signed(edit::root(&root), &home.offline.root[..2]);
    let targets = signed(edit::targets(&targets), &new_targets);
    let digits = signed(edit::targets(&model(2, LATER)), &new_release);
    let one_missing = signed(edit::targets(&model(2, LATER)), &new_release[..1]);

    let refused = |documents| trust.submit_together(documents, "admin", now);
    let part = together(&[("root", &root)]);
    let e = refused(&part).await.unwrap_err().to_string();
    assert!(e.contains("targets") && e.contains("sign targets anew in the same draft"), "{e}");
    let part = together(&[("root", &root), ("targets", &targets)]);
    let e = refused(&part).await.unwrap_err().to_string();
    assert!(e.contains("models/digits"), "{e}");
    let part = together(&[("root", &root), ("targets", &targets), ("models/digits", &one_missing)]);
    assert_eq!(refused(&part).await.unwrap_err().code(), "trust.incomplete");
    assert!(refused(&BTreeMap::new()).await.is_err());
    let versions = refresh(trust, &mut stored, now).await.unwrap();
    assert_eq!(
        (versions["root"], versions["targets"], versions["models/digits"]),
        (1, 2, 1),
        "nothing happened"
    );

    let all = together(&[("root", &root), ("targets", &targets), ("models/digits", &digits)]);
    trust.submit_together(&all, "admin", now).await.unwrap();
    let versions = refresh(trust, &mut stored, now).await.unwrap();
    assert_eq!((versions["root"], versions["targets"], versions["models/digits"]), (2, 3, 2));
    let again = trust.submit_together(&all, "admin", now).await.unwrap();
    assert_eq!(again.len(), 3, "the same again changes nothing");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_that_devices_could_not_follow_is_refused() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let now = app::now();
    let root = |change: &dyn Fn(&mut edit::RootSpec)| {
        let mut spec = home.offline.root_spec(2);
        change(&mut spec);
        signed(edit::root(&spec), &home.offline.root[..2])
    };
    for (what, bytes, part) in [
        ("a director of two", root(&|r| r.director = role(&[key(23), key(60)], 2)), "x-director"),
        ("a director that is not here", root(&|r| r.director = role(&[key(60)], 1)), "director"),
        ("a snapshot threshold of two", root(&|r| r.snapshot = role(&[key(21), key(60)], 2)), "snapshot"),
        (
            "an online key that approves",
            root(&|r| r.targets = role(&[key(21), key(11), key(12)], 2)),
            "online keys",
        ),
        ("targets keys that signed nothing", root(&|r| r.targets = role(&[key(61), key(62)], 2)), "targets"),
        ("a threshold beyond its keys", root(&|r| r.root = role(&[key(1), key(2)], 3)), "threshold"),
        ("another fleet", root(&|r| r.fleet = "other".parse().unwrap()), "fleet other"),
    ] {
        let e = trust.submit("tester", "root", &bytes, now).await.map(|_| ()).unwrap_err().to_string();
        assert!(e.contains(part), "{what}: {e}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_online_keys_sign_from_the_root_that_names_them_on() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let now = app::now();
    let mut stored: BTreeMap<String, Vec<u8>> = [("root.json".to_owned(), home.keys().root)].into();
    refresh(trust, &mut stored, now).await.unwrap();
    let mut spec = home.offline.root_spec(2);
    (spec.snapshot, spec.timestamp) = (role(&[key(71)], 1), role(&[key(72)], 1));
    spec.director = role(&[key(73)], 1);
    let root = signed(edit::root(&spec), &home.offline.root[..2]);
    assert!(trust.submit("tester", "root", &root, now).await.is_err(), "their private halves are not here");
    for (name, n) in [("snapshot", 71), ("timestamp", 72), ("director", 73)] {
        let text = format!("{{\"keytype\":\"ed25519\",\"seed\":\"{}\"}}", hex::encode([n; 32]));
        std::fs::write(home.data().online().join(format!("{name}-2.key")), text).unwrap();
    }
    let before = running.app.director.public();
    trust.submit("tester", "root", &root, now).await.unwrap();
    assert_ne!(running.app.director.public(), before);
    assert_eq!(running.app.director.public(), key(73).public());
    let versions = refresh(trust, &mut stored, now).await.unwrap();
    assert_eq!((versions["root"], versions["snapshot"], versions["timestamp"]), (2, 2, 2));
    // Renewal goes on under the new keys.
    let later = now.plus_ms(40 * 3_600_000);
    assert!(trust.refresh(later).await.unwrap());
    refresh(trust, &mut stored, later).await.unwrap();

    // What the old director's key signed is signed again; what nobody's key signed is not.
    let former = [before.clone(), key(73).public()];
    let renewed = |n: u8| {
        let sealed = Envelope::seal(Kind::Command, b"body".to_vec(), &key(n)).unwrap();
        let again = running.app.director.renewed(sealed.clone(), &former);
        (again == sealed, Envelope::open(&again, Kind::Command, &key(73).public()).is_ok())
    };
    assert_eq!(renewed(23), (false, true));
    assert_eq!(renewed(73), (true, true));
    assert_eq!(renewed(99), (true, false));
    running.stop().await;

    // After a restart too, and without the old keys.
    for name in ["snapshot", "timestamp", "director"] {
        std::fs::remove_file(home.data().online().join(format!("{name}.key"))).unwrap();
    }
    let running = home.start().await;
    assert_eq!(running.app.director.public(), key(73).public());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_warn_thirty_days_ahead() {
    let home = Home::new().await;
    let running = home.start().await;
    let trust = &running.app.trust;
    let day = 24 * 3_600_000;
    let due = async |now: UnixMs| {
        let text = trust.metrics(now).await.unwrap();
        assert!(
            text.contains("longshore_trust_expires_timestamp_seconds{role=\"root\"} 4000000000\n"),
            "{text}"
        );
        let last = text.lines().last().unwrap().rsplit(' ').next().unwrap();
        last.parse::<u32>().unwrap()
    };
    assert_eq!(due(UnixMs(LATER.0 - 31 * day)).await, 0);
    assert_eq!(due(UnixMs(LATER.0 - 29 * day)).await, 2, "root and targets");
    assert_eq!(due(LATER.plus_ms(day)).await, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_on_after_a_restore_that_forgot_what_they_have_seen() {
    let home = Home::new().await;
    let running = home.start().await;
    let now = app::now();
    let out = home.dir.path().join("backup");
    backup::backup(&home.data(), &out, now).await.unwrap();
    // Days pass in which the server signs again and again; the clients follow.
    let mut stored: BTreeMap<String, Vec<u8>> = [("root.json".to_owned(), home.keys().root)].into();
    for days in [40, 80, 120] {
        let later = now.plus_ms(days * 24 * 3_600_000);
        assert!(running.app.trust.refresh(later).await.unwrap());
        refresh(&running.app.trust, &mut stored, later).await.unwrap();
    }
    running.stop().await;
    let mut last = 4;
    for epoch in [2, 3] {
        assert_eq!(backup::restore(&out, &home.data(), true, now).await.unwrap(), epoch);
        let running = home.start().await;
        let versions = refresh(&running.app.trust, &mut stored, app::now()).await.unwrap();
        assert!(versions["timestamp"] > last && versions["snapshot"] > last, "{versions:?}");
        last = versions["timestamp"];
        assert!(!running.app.trust.refresh(app::now()).await.unwrap(), "once is enough");
        running.stop().await;
    }
}
