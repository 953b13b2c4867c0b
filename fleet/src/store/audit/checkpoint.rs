//! What was signed about the audit log, and what restores have left of it.

use longshore_trust::log::LogHead;
use longshore_trust::{Digest, UnixMs};
use sqlx::FromRow;

use super::{Store, StoreError, Tx, digest, hash_of, size, to_i64, to_u64};

/// A checkpoint as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The fleet's epoch.
    pub epoch: u64,
    /// Entries.
    pub size: u64,
    /// When, by the server's clock.
    pub time: UnixMs,
    /// The signed note.
    pub note: String,
}

#[derive(FromRow)]
struct Row {
    epoch: i64,
    size: i64,
    time: i64,
    note: String,
}

impl From<Row> for Signed {
    fn from(r: Row) -> Self {
        Self { epoch: to_u64(r.epoch), size: to_u64(r.size), time: UnixMs(to_u64(r.time)), note: r.note }
    }
}

/// Keeps a checkpoint.
///
/// # Errors
/// When the database refuses.
pub async fn insert(tx: &mut Tx, head: &LogHead, note: &str, now: UnixMs) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO audit_checkpoint (epoch, size, root, time, note) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(to_i64(head.epoch))
    .bind(to_i64(head.size))
    .bind(head.root.0.as_slice())
    .bind(to_i64(now.0))
    .bind(note)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes down what a restore left of the log. To be called before the new epoch's first entry.
///
/// # Errors
/// When the database refuses.
pub async fn restored(tx: &mut Tx, epoch: u64, now: UnixMs) -> Result<u64, StoreError> {
    let left = size(tx.conn()).await?;
    let root = hash_of(tx.conn(), 0..left).await?;
    sqlx::query("INSERT OR REPLACE INTO audit_restore (epoch, size, root, time) VALUES (?1, ?2, ?3, ?4)")
        .bind(to_i64(epoch))
        .bind(to_i64(left))
        .bind(root.0.as_slice())
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(left)
}

/// What a restore left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The epoch it began.
    pub epoch: u64,
    /// Entries that were left.
    pub size: u64,
    /// When.
    pub time: UnixMs,
}

impl Store {
    /// The newest checkpoint.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_checkpoint(&self) -> Result<Option<Signed>, StoreError> {
        let sql =
            "SELECT epoch, size, time, note FROM audit_checkpoint ORDER BY epoch DESC, size DESC LIMIT 1";
        Ok(sqlx::query_as::<_, Row>(sql).fetch_optional(self.read()).await?.map(Signed::from))
    }
    /// Checkpoints in their order, behind the one of this epoch and size.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_checkpoints(&self, behind: (u64, u64), limit: u32) -> Result<Vec<Signed>, StoreError> {
        let sql = "SELECT epoch, size, time, note FROM audit_checkpoint WHERE (epoch, size) > (?1, ?2)
             ORDER BY epoch, size LIMIT ?3";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(to_i64(behind.0))
            .bind(to_i64(behind.1))
            .bind(limit)
            .fetch_all(self.read())
            .await?;
        Ok(rows.into_iter().map(Signed::from).collect())
    }
    /// All restores, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_restores(&self) -> Result<Vec<Restored>, StoreError> {
        let rows: Vec<(i64, i64, i64)> =
            sqlx::query_as("SELECT epoch, size, time FROM audit_restore ORDER BY epoch")
                .fetch_all(self.read())
                .await?;
        let restored = |(epoch, size, time)| Restored {
            epoch: to_u64(epoch),
            size: to_u64(size),
            time: UnixMs(to_u64(time)),
        };
        Ok(rows.into_iter().map(restored).collect())
    }
    /// The root that the newest checkpoint in the record names for this size and epoch.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_signed_root(&self, epoch: u64, size: u64) -> Result<Option<Digest>, StoreError> {
        let sql = "SELECT root FROM audit_checkpoint WHERE epoch = ?1 AND size = ?2";
        let found: Option<Vec<u8>> = sqlx::query_scalar(sql)
            .bind(to_i64(epoch))
            .bind(to_i64(size))
            .fetch_optional(self.read())
            .await?;
        found.map(digest).transpose()
    }
}
