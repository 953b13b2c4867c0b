//! Somebody with the database and the log's key rewrites what they did; a device has seen the log before.

use longshore_fleet::app::now;
use longshore_fleet::audit::{AuditLog, Seen};
use longshore_fleet::store::audit;
use longshore_trust::SigningKey;
use serde_json::json;

use crate::api::{Fleet, POLICY};

/// Rewrites the file: what somebody can do who has it in their hands.
fn rewrite(fleet: &Fleet, sql: &str) {
    rusqlite::Connection::open(fleet.app.store.path()).unwrap().execute_batch(sql).unwrap();
}
/// The server started again, with the thief's copy of its log key; what it finds when a device reports.
async fn alarms(fleet: &Fleet, seen: &longshore_trust::log::LogHead) -> Vec<&'static str> {
    let key = SigningKey::from_seed(&[9; 32]);
    let log = AuditLog::open(fleet.app.store.clone(), key, &fleet.app.fleet, 1).await.unwrap();
    let seen = Seen { device: "dev-1".parse().unwrap(), heads: vec![*seen] };
    log.witnessed(&[seen], now()).await.unwrap();
    fleet.app.store.audit_alarms(20).await.unwrap().iter().map(|a| a.kind.as_str()).collect()
}
/// Deeds, and a checkpoint that a device has.
async fn watched() -> (Fleet, longshore_trust::log::LogHead) {
    let fleet = Fleet::new().await;
    let old = fleet.release("1.0.0", 1, &[]).await;
    fleet.release("1.1.0", 2, &[old]).await;
    fleet.device(1, Some(old)).await;
    let plan = fleet.post("/rollouts", json!({ "model": "m", "version": "1.1.0", "policy": POLICY })).await;
    let id = plan.json["id"].as_str().unwrap();
    for act in ["start", "pause", "halt"] {
        assert!(fleet.post(&format!("/rollouts/{id}/{act}"), json!({})).await.status.is_success());
    }
    let mut tx = fleet.app.store.write().await.unwrap();
    for n in 0..20 {
        audit::record(&mut tx, now(), "mallory", "test.entry", &format!("deed-{n}"), "").await.unwrap();
    }
    tx.commit().await.unwrap();
    let seen = fleet.app.audit.checkpoint(now()).await.unwrap().unwrap();
    assert!(alarms(&fleet, &seen).await.is_empty(), "an honest log raises no alarm");
    (fleet, seen)
}

const OPEN: &str = "DROP TRIGGER IF EXISTS audit_never_changes; DROP TRIGGER IF EXISTS audit_never_shrinks;";

#[tokio::test]
async fn an_entry_cannot_be_changed_by_a_statement_that_does_not_first_break_the_lock() {
    let (fleet, _) = watched().await;
    let db = rusqlite::Connection::open(fleet.app.store.path()).unwrap();
    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE leaf = 1"]
    {
        assert!(db.execute(sql, []).is_err(), "{sql}");
    }
}

#[tokio::test]
async fn every_way_to_rewrite_is_found_at_the_next_report_of_a_device() {
    for (what, sql) in [
        ("another actor", "UPDATE audit SET actor = 'nobody' WHERE actor = 'mallory';"),
        ("another time", "UPDATE audit SET time = time - 86400000 WHERE actor = 'mallory';"),
        ("another deed", "UPDATE audit SET action = 'test.other', detail = 'x' WHERE leaf = 5;"),
        (
            "two entries exchanged",
            "UPDATE audit SET object = 'deed-1 ' WHERE object = 'deed-0'; UPDATE audit SET object = 'deed-0' WHERE object = 'deed-1'; UPDATE audit SET object = 'deed-1' WHERE object = 'deed-1 ';",
        ),
        ("all of it anew", "DELETE FROM audit; DELETE FROM audit_node; DELETE FROM audit_checkpoint;"),
    ] {
        let (fleet, seen) = watched().await;
        rewrite(&fleet, &format!("{OPEN} {sql}"));
        if what == "all of it anew" {
            // Longer than it was, and every new checkpoint signed with the log's own key.
            let mut tx = fleet.app.store.write().await.unwrap();
            for n in 0..100 {
                audit::record(&mut tx, now(), "nobody", "test.entry", &format!("deed-{n}"), "")
                    .await
                    .unwrap();
            }
            tx.commit().await.unwrap();
        }
        let found = alarms(&fleet, &seen).await;
        assert!(!found.is_empty(), "{what} was not found");
        assert!(found.iter().all(|k| ["entry", "fork"].contains(k)), "{what}: {found:?}");
        println!("{what}: {found:?}");
    }
}
