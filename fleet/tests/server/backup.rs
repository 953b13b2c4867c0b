//! Backup and restore: nothing is lost that devices still hold, and nothing counts twice.

use longshore_fleet::app;
use longshore_fleet::backup::{self, BackupError};
use longshore_fleet::gateway::store_batch;
use longshore_trust::{Digest, Seq, UnixMs};

use crate::ingest::{counters, hello, windows};
use crate::support::{self, Home};

#[tokio::test(flavor = "multi_thread")]
async fn devices_fill_up_a_restored_fleet_without_counting_twice() {
    let home = Home::new().await;
    let running = home.start().await;
    let store = running.app.store.clone();
    let device = support::enrol(&home, &store, "dev-1", 60).await;
    let message = |n| windows(&device, n, counters(n));
    let early: Vec<_> = (1..=5).map(message).collect();
    store_batch(&store, &early, 1, UnixMs(5)).await.unwrap();
    let object = running.app.objects.put(b"a bundle file").await.unwrap();

    let out = home.dir.path().join("backup");
    let about = backup::backup(&home.data(), &out, app::now()).await.unwrap();
    assert_eq!((about.epoch, about.objects), (1, 1));
    assert!(matches!(backup::backup(&home.data(), &out, app::now()).await, Err(BackupError::NotEmpty(_))));
    let late: Vec<_> = (6..=9).map(message).collect();
    store_batch(&store, &late, 1, UnixMs(5)).await.unwrap();
    let before = store.rows_counted().await.unwrap();
    assert_eq!(before, (1..=9).sum::<u64>());
    running.stop().await;

    let refused = backup::restore(&out, &home.data(), false, app::now()).await;
    assert!(matches!(refused, Err(BackupError::Occupied(_))));
    assert_eq!(backup::restore(&out, &home.data(), true, app::now()).await.unwrap(), 2);
    let running = home.start().await;
    let store = running.app.store.clone();
    assert_eq!(running.app.director.epoch(), 2);
    assert_eq!(store.rows_counted().await.unwrap(), (1..=5).sum::<u64>());
    assert!(running.app.objects.contains(&object));
    // The device knows everything as receipted; the new epoch's lower receipt makes it offer its ring again.
    let out2 = store_batch(&store, &[hello(&device, 10, 1)], 2, UnixMs(6)).await.unwrap();
    assert_eq!(out2.receipts[&(device.id.clone(), device.stream)], Seq(5));
    let ring: Vec<_> = (3..=9).map(message).collect();
    let out2 = store_batch(&store, &ring, 2, UnixMs(6)).await.unwrap();
    assert_eq!(out2.receipts[&(device.id.clone(), device.stream)], Seq(9));
    assert_eq!(out2.duplicates, 3);
    assert_eq!(store.rows_counted().await.unwrap(), before);
    running.stop().await;

    // Again from the same backup: the epoch still rises, because the present one is looked at, and on a machine that
    // knows nothing of the last restore, because the backup remembers.
    assert_eq!(backup::restore(&out, &home.data(), true, app::now()).await.unwrap(), 3);
    std::fs::remove_file(home.data().database()).unwrap();
    assert_eq!(backup::restore(&out, &home.data(), false, app::now()).await.unwrap(), 4);
    assert!(
        !home.data().root().join("fleet.db.restoring-wal").exists(),
        "nothing is left beside the database"
    );
    let store = longshore_fleet::store::Store::open(&home.data().database()).await.unwrap();
    assert_eq!(store.epoch().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_director_never_reuses_a_number() {
    use longshore_fleet::director::AssignmentDraft;
    use longshore_wire::v1::{CommandAction, Commit, Guard, Probation};
    let home = Home::new().await;
    let running = home.start().await;
    let device = support::enrol(&home, &running.app.store, "dev-1", 60).await;
    let out = home.dir.path().join("backup");
    backup::backup(&home.data(), &out, app::now()).await.unwrap();
    let draft = || AssignmentDraft {
        device: device.id.clone(),
        generation: longshore_trust::Generation(1),
        rollout: None,
        slots: Vec::new(),
        probation: Probation { min_ms: 0, commit: Commit::Local },
        guard: Guard::default(),
        activate_by: support::LATER,
        not_after: support::LATER,
    };
    let issue = async |app: &longshore_fleet::app::App| {
        let mut tx = app.store.write().await.unwrap();
        let version = app.director.assign(&mut tx, draft(), app::now()).await.unwrap();
        let seq = app
            .director
            .command(&mut tx, &device.id, CommandAction::Flush, support::LATER, app::now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        (version, seq)
    };
    let first = issue(&running.app).await;
    let second = issue(&running.app).await;
    assert!(first.0 < second.0 && first.1 < second.1);
    let pending = running.app.store.pending_for(&device.id, app::now()).await.unwrap();
    assert_eq!((pending.assignment.is_some(), pending.commands.len()), (true, 2));
    running.stop().await;
    backup::restore(&out, &home.data(), true, app::now()).await.unwrap();
    let running = home.start().await;
    let third = issue(&running.app).await;
    assert!(second.0 < third.0 && second.1 < third.1, "{second:?} {third:?}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_backup_is_refused() {
    let home = Home::new().await;
    let nothing = home.dir.path().join("nothing");
    let refused = backup::restore(&nothing, &home.data(), true, app::now()).await;
    assert!(matches!(refused, Err(BackupError::NotABackup { .. })));
    assert!(!home.data().database().with_extension("db.replaced").exists());
    assert_eq!(
        Digest::of(&home.keys().root),
        Digest::of(&std::fs::read(home.data().online().join("1.root.json")).unwrap())
    );
}

#[tokio::test]
async fn the_record_and_its_copies_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    // A directory that was made beforehand keeps its mode: the file has to see to itself.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (record, copy) = (dir.path().join("fleet.db"), dir.path().join("copy.db"));
    let store = longshore_fleet::store::Store::open(&record).await.unwrap();
    store.copy_into(&copy).await.unwrap();
    for path in [&record, &dir.path().join("fleet.db-wal"), &copy] {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    assert!(store.copy_into(&copy).await.is_err(), "no copy is written over another");
    store.close().await;
}
