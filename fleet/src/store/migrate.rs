//! Schema versions: numbered SQL files, applied in order, each in one transaction, counted in `user_version`.

use super::{Store, StoreError};

/// Every step, oldest first. A step that has shipped never changes.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_init.sql"),
    include_str!("migrations/0002_audit_log.sql"),
    include_str!("migrations/0003_identity.sql"),
    include_str!("migrations/0004_bundle_signature.sql"),
    include_str!("migrations/0005_monitor.sql"),
    include_str!("migrations/0006_alerts.sql"),
    include_str!("migrations/0007_shadow.sql"),
    include_str!("migrations/0008_transitions.sql"),
    include_str!("migrations/0009_rollout_depth.sql"),
    include_str!("migrations/0010_gate_evidence.sql"),
    include_str!("migrations/0011_promotion.sql"),
];
/// The step that gives the audit log its tree, which no SQL can grow.
const AUDIT_TREE: i64 = 2;

/// The newest schema version this program knows.
pub(super) const KNOWN: i64 = STEPS.len() as i64;

/// The schema version of the file.
pub(super) async fn version(store: &Store) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("PRAGMA user_version").fetch_one(&store.writer).await?)
}

/// Applies what is missing.
pub(super) async fn up(store: &Store) -> Result<(), StoreError> {
    let found = version(store).await?;
    if found > KNOWN {
        return Err(StoreError::Newer { path: store.path.clone(), found, known: KNOWN });
    }
    for (step, number) in STEPS.iter().zip(1i64..).skip(usize::try_from(found).unwrap_or(0)) {
        let mut tx = store.write().await?;
        sqlx::raw_sql(*step).execute(tx.conn()).await?;
        if number == AUDIT_TREE {
            super::audit::plant(&mut tx).await?;
        }
        let count = format!("PRAGMA user_version = {number}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(count)).execute(tx.conn()).await?;
        tx.commit().await?;
        tracing::info!(version = number, database = %store.path.display(), "migrated the database");
    }
    Ok(())
}
