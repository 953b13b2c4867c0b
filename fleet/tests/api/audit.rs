//! The audit log through the API: what a reader needs to check it, and what the server notices itself.

use longshore_fleet::app::now;
use longshore_fleet::audit::{AuditLog, Seen};
use longshore_fleet::store::audit;
use longshore_trust::log::{Checkpoint, Entry, Frontier, LogHead, verify_consistency, verify_inclusion};
use longshore_trust::{Digest, SigningKey, UnixMs};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::Fleet;

async fn grow(fleet: &Fleet, n: u64) {
    let mut tx = fleet.app.store.write().await.unwrap();
    for i in 0..n {
        let detail = format!("number {i}");
        audit::record(&mut tx, now(), "tester", "test.entry", &format!("thing-{i}"), &detail).await.unwrap();
    }
    tx.commit().await.unwrap();
}
async fn head(fleet: &Fleet) -> LogHead {
    fleet.app.audit.checkpoint(now()).await.unwrap().unwrap()
}
/// What somebody with the database file in their hands can do.
async fn rewrite(fleet: &Fleet, sql: &'static [&'static str]) {
    let options = SqliteConnectOptions::new().filename(fleet.app.store.path());
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for statement in sql {
        sqlx::query(*statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}
fn hashes(answer: &Value) -> Vec<Digest> {
    answer["proof"].as_array().unwrap().iter().map(|h| h.as_str().unwrap().parse().unwrap()).collect()
}
async fn witnessed(fleet: &Fleet, log: &AuditLog, head: LogHead) -> Vec<(&'static str, String)> {
    let seen = Seen { device: "dev-1".parse().unwrap(), heads: vec![head] };
    log.witnessed(&[seen], now()).await.unwrap();
    let alarms = fleet.app.store.audit_alarms(10).await.unwrap();
    alarms.into_iter().map(|a| (a.kind.as_str(), a.detail)).collect()
}
/// The same log in a process that has just started.
async fn restarted(fleet: &Fleet, epoch: u64) -> AuditLog {
    let key = SigningKey::from_seed(&[9; 32]);
    AuditLog::open(fleet.app.store.clone(), key, &fleet.app.fleet, epoch).await.unwrap()
}

#[tokio::test]
async fn entries_checkpoint_and_proofs_fit_together() {
    let fleet = Fleet::new().await;
    grow(&fleet, 600).await;
    let old = head(&fleet).await;
    grow(&fleet, 37).await;
    let key = fleet.app.audit.public();
    let note = fleet.text("/audit/checkpoint").await;
    let checkpoint = Checkpoint::open(note.as_bytes(), key).unwrap();
    assert_eq!(checkpoint.size, fleet.app.store.audit_size().await.unwrap());

    let (mut tree, mut cursor, mut entries) = (Frontier::default(), String::from("0"), Vec::new());
    loop {
        let page = fleet.get(&format!("/audit/entries?limit=500&cursor={cursor}")).await.json;
        for item in page["items"].as_array().unwrap() {
            let entry: Entry = serde_json::from_value(item.clone()).unwrap();
            assert_eq!(entry.index, tree.size());
            tree.append(entry.leaf());
            entries.push(entry);
        }
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((tree.size(), tree.root()), (checkpoint.size, checkpoint.root));

    let size = checkpoint.size;
    for index in [0, 1, 255, 256, size - 1] {
        let answer = fleet.get(&format!("/audit/proof/inclusion?index={index}&size={size}")).await.json;
        let leaf = entries[usize::try_from(index).unwrap()].leaf();
        verify_inclusion(index, &leaf, size, &checkpoint.root, &hashes(&answer)).unwrap();
    }
    let path = format!("/audit/proof/consistency?from={}&to={size}", old.size);
    let proof = hashes(&fleet.get(&path).await.json);
    verify_consistency(old.size, &old.root, size, &checkpoint.root, &proof).unwrap();
    assert_eq!(fleet.get(&format!("/audit/proof/inclusion?index={size}&size={size}")).await.status, 404);
    let beyond = format!("/audit/proof/consistency?from=1&to={}", size + 1);
    assert_eq!(fleet.get(&beyond).await.status, 404);
    let signed = fleet.get("/audit/checkpoints").await.json;
    assert_eq!(signed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_search_finds_what_fits_in_pages() {
    let fleet = Fleet::new().await;
    grow(&fleet, 30).await;
    let page = fleet.get("/audit/search?action=test&limit=20").await.json;
    assert_eq!(page["items"].as_array().unwrap().len(), 20);
    assert_eq!(page["items"][0]["object"], "thing-29");
    let next = page["next"].as_str().unwrap();
    let rest = fleet.get(&format!("/audit/search?action=test&limit=20&cursor={next}")).await.json;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (10, &Value::Null));
    for (query, count) in
        [("actor=tester", 30), ("q=NUMBER%2017", 1), ("action=tes", 0), ("action=test.entry&q=thing-3", 1)]
    {
        let found = fleet.get(&format!("/audit/search?{query}")).await.json;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(fleet.get("/audit/search?cursor=x").await.status, 400);
}

#[tokio::test]
async fn nothing_of_the_log_can_be_changed_by_an_ordinary_statement() {
    let fleet = Fleet::new().await;
    grow(&fleet, 3).await;
    let options = SqliteConnectOptions::new().filename(fleet.app.store.path());
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit WHERE leaf = 2"] {
        let refused = sqlx::query(sql).execute(&pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

#[tokio::test]
async fn strangers_cannot_write_long_entries() {
    let fleet = Fleet::new().await;
    let mut tx = fleet.app.store.write().await.unwrap();
    audit::record(&mut tx, UnixMs(1), &"a".repeat(5_000), "x", &"é".repeat(5_000), &"d".repeat(9_000))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let entry = fleet.app.store.audit_search(&audit::Search::default(), 1).await.unwrap().remove(0);
    assert_eq!([&entry.actor, &entry.object, &entry.detail].map(|s| s.chars().count()), [201, 201, 2_001]);
}

#[tokio::test]
async fn what_a_device_saw_of_an_honest_log_is_no_news() {
    let fleet = Fleet::new().await;
    grow(&fleet, 5).await;
    let early = head(&fleet).await;
    grow(&fleet, 70).await;
    let late = head(&fleet).await;
    let log = restarted(&fleet, 1).await;
    assert_eq!(log.latest(), Some(late));
    for head in [early, late] {
        assert_eq!(witnessed(&fleet, &log, head).await, []);
    }
    // Somebody who does not have the log's key cannot raise an alarm.
    let forged = Checkpoint { origin: log.public().name().into(), size: 7, root: early.root, epoch: 1 };
    assert_eq!(witnessed(&fleet, &log, forged.sign(&SigningKey::from_seed(&[8; 32]))).await, []);
    assert_eq!(log.refused(), 1);
}

#[tokio::test]
async fn a_row_that_was_rewritten_is_found_at_the_next_report() {
    let fleet = Fleet::new().await;
    grow(&fleet, 9).await;
    let seen = head(&fleet).await;
    rewrite(
        &fleet,
        &["DROP TRIGGER audit_never_changes", "UPDATE audit SET actor = 'nobody' WHERE leaf = 4"],
    )
    .await;
    let alarms = witnessed(&fleet, &restarted(&fleet, 1).await, seen).await;
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].0, "entry");
    assert!(alarms[0].1.starts_with("entry 4 "), "{}", alarms[0].1);
}

#[tokio::test]
async fn a_log_whose_tree_and_checkpoints_were_rewritten_as_well_is_found_at_the_next_report() {
    let fleet = Fleet::new().await;
    grow(&fleet, 9).await;
    let seen = head(&fleet).await;
    // The whole thing anew, as somebody with the database and the log's key would do it.
    rewrite(
        &fleet,
        &[
            "DROP TRIGGER audit_never_changes",
            "DROP TRIGGER audit_never_shrinks",
            "DELETE FROM audit",
            "DELETE FROM audit_node",
            "DELETE FROM audit_checkpoint",
        ],
    )
    .await;
    grow(&fleet, 40).await;
    let log = restarted(&fleet, 1).await;
    assert!(log.checkpoint(now()).await.unwrap().is_some(), "the server alone cannot know");
    let alarms = witnessed(&fleet, &log, seen).await;
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].0, "fork");
    assert!(
        alarms[0].1.contains("device dev-1") && alarms[0].1.contains("does not begin like"),
        "{}",
        alarms[0].1
    );
    // Once, and as an entry of the log as well.
    assert_eq!(witnessed(&fleet, &restarted(&fleet, 1).await, seen).await.len(), 1);
    let of_the_log = audit::Search { action: Some("log".into()), ..Default::default() };
    let entries = fleet.app.store.audit_search(&of_the_log, 9).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["log.fork"]);
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_found_at_the_next_report() {
    let fleet = Fleet::new().await;
    grow(&fleet, 40).await;
    let seen = head(&fleet).await;
    rewrite(
        &fleet,
        &[
            "DROP TRIGGER audit_never_shrinks",
            "DELETE FROM audit",
            "DELETE FROM audit_node",
            "DELETE FROM audit_checkpoint",
        ],
    )
    .await;
    grow(&fleet, 3).await;
    let alarms = witnessed(&fleet, &restarted(&fleet, 1).await, seen).await;
    assert_eq!(alarms[0].0, "fork");
    assert!(alarms[0].1.contains("is shorter than"), "{}", alarms[0].1);
}

#[tokio::test]
async fn a_log_that_was_rewritten_is_not_signed_by_the_server_that_runs() {
    let fleet = Fleet::new().await;
    grow(&fleet, 20).await;
    head(&fleet).await;
    rewrite(&fleet, &["UPDATE audit_node SET hash = zeroblob(32) WHERE level = 4 AND idx = 0"]).await;
    grow(&fleet, 1).await;
    assert_eq!(fleet.app.audit.checkpoint(now()).await.unwrap(), None);
    assert_eq!(fleet.get("/audit/checkpoint").await.status, 409);
    let log = fleet.get("/audit").await.json;
    assert_eq!(log["alarms"][0]["kind"], "fork");
}

#[tokio::test]
async fn a_restore_is_a_rollback_and_not_a_fork() {
    let fleet = Fleet::new().await;
    grow(&fleet, 10).await;
    let kept = head(&fleet).await;
    let backup = fleet.app.store.path().with_file_name("backup.db");
    fleet.app.store.copy_into(&backup).await.unwrap();
    grow(&fleet, 25).await;
    let lost = head(&fleet).await;
    // What `restore` does to the copy.
    let store = longshore_fleet::store::Store::open(&backup).await.unwrap();
    let mut tx = store.write().await.unwrap();
    audit::checkpoint::restored(&mut tx, 2, now()).await.unwrap();
    audit::record(&mut tx, now(), "server", "fleet.restore", "epoch 2", "").await.unwrap();
    tx.commit().await.unwrap();
    let key = SigningKey::from_seed(&[9; 32]);
    let log = AuditLog::open(store.clone(), key, &fleet.app.fleet, 2).await.unwrap();
    assert_eq!(log.checkpoint(now()).await.unwrap().unwrap().epoch, 2);
    let seen = |head| Seen { device: "dev-1".parse().unwrap(), heads: vec![head] };
    log.witnessed(&[seen(kept)], now()).await.unwrap();
    assert_eq!(store.audit_alarms(9).await.unwrap(), []);
    log.witnessed(&[seen(lost)], now()).await.unwrap();
    let alarms = store.audit_alarms(9).await.unwrap();
    assert_eq!(alarms[0].kind.as_str(), "rolled_back");
    let said = "log rolled back at restore, epoch 2";
    assert!(
        alarms[0].detail.starts_with(said) && alarms[0].detail.contains("at least 25 entries"),
        "{}",
        alarms[0].detail
    );
    // The restored log is held to its own epoch again.
    let now_signed = log.latest().unwrap();
    assert_eq!(store.audit_alarm_counts().await.unwrap(), [0, 0, 1]);
    assert!(now_signed.size > kept.size);
}

#[tokio::test]
async fn a_database_from_before_the_tree_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(include_str!("../../src/store/migrations/0001_init.sql")).execute(&pool).await.unwrap();
    sqlx::query("PRAGMA user_version = 1").execute(&pool).await.unwrap();
    for id in (1..=2_500i64).filter(|id| id % 100 != 7) {
        sqlx::query(
            "INSERT INTO audit (id, time, actor, action, object, detail) VALUES (?1, ?1, 'a', 'b', 'c', '')",
        )
        .bind(id)
        .execute(&pool)
        .await
        .unwrap();
    }
    pool.close().await;
    let store = longshore_fleet::store::Store::open(&path).await.unwrap();
    assert_eq!(store.audit_size().await.unwrap(), 2_475);
    let mut tree = Frontier::default();
    for entry in store.audit_entries(0, 3_000).await.unwrap() {
        tree.append(entry.leaf());
    }
    assert_eq!(store.audit_root(2_475).await.unwrap(), tree.root());
    assert_eq!(store.audit_recheck(0, 10_000).await.unwrap(), Ok(0));
    let mut tx = store.write().await.unwrap();
    audit::record(&mut tx, now(), "a", "b", "c", "after").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.audit_size().await.unwrap(), 2_476);
}
