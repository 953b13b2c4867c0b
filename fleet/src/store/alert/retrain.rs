//! Requests for a new training: one an alert.

use longshore_trust::UnixMs;
use sqlx::FromRow;

use crate::store::{Store, StoreError, Tx, to_i64};

/// A request as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RetrainRow {
    /// Its number.
    pub id: i64,
    /// The alert that asked for it.
    pub alert: i64,
    /// The model.
    pub model: String,
    /// The request as it is sent, JSON.
    pub body: String,
    /// SHA-256 of `body`, as it stands in the audit log.
    pub sha256: String,
    /// When, ms.
    pub created: i64,
}

/// Keeps a request. `false` when the alert has asked before.
///
/// # Errors
/// When the database refuses.
pub async fn insert(
    tx: &mut Tx,
    alert: u64,
    model: &str,
    body: &str,
    sha256: &str,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO retrain_request (alert, model, body, sha256, created) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (alert) DO NOTHING",
    )
    .bind(to_i64(alert))
    .bind(model)
    .bind(body)
    .bind(sha256)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

impl Store {
    /// Requests, newest first, those before the number `before`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn retrain_requests(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<RetrainRow>, StoreError> {
        let sql = "SELECT id, alert, model, body, sha256, created FROM retrain_request WHERE id < ?1
            ORDER BY id DESC LIMIT ?2";
        let before = before.map_or(i64::MAX, to_i64);
        Ok(sqlx::query_as(sql).bind(before).bind(limit).fetch_all(self.read()).await?)
    }
    /// The request of an alert.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn retrain_of(&self, alert: u64) -> Result<Option<RetrainRow>, StoreError> {
        let sql = "SELECT id, alert, model, body, sha256, created FROM retrain_request WHERE alert = ?1";
        Ok(sqlx::query_as(sql).bind(to_i64(alert)).fetch_optional(self.read()).await?)
    }
}
