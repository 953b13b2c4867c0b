//! Streams: which sealed messages of a device are stored, and up to where without a hole.
//!
//! What always holds: a message counts once, by (device, stream, seq). Everything up to `up_to` is stored; beyond it only
//! what has a row in `message`. The prefix never shrinks but by a restore, which the fleet epoch announces.

use longshore_trust::{DeviceId, Seq, StreamId, UnixMs};

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// How far beyond the prefix a message is stored. A device has fewer rows without a receipt, also when it offers its ring
/// again; more would only be a way to fill the table.
const AHEAD: u64 = 20_000;

/// A stream as text: 16 hex digits.
#[must_use]
pub fn stream_text(stream: StreamId) -> String {
    format!("{:016x}", stream.0)
}

/// The end of the contiguous prefix; 0 when nothing is stored.
///
/// # Errors
/// When the database refuses.
pub async fn prefix(tx: &mut Tx, device: &DeviceId, stream: StreamId) -> Result<Seq, StoreError> {
    let n: Option<i64> =
        sqlx::query_scalar("SELECT up_to FROM stream_prefix WHERE device = ?1 AND stream = ?2")
            .bind(device.as_str())
            .bind(stream_text(stream))
            .fetch_optional(tx.conn())
            .await?;
    Ok(Seq(to_u64(n.unwrap_or(0))))
}

/// Takes a message's place in its stream. Whether it is new: a duplicate must have no effect, and nor must one too far
/// ahead, which is sent again until the prefix has come near.
///
/// # Errors
/// When the database refuses.
pub async fn claim(
    tx: &mut Tx,
    device: &DeviceId,
    stream: StreamId,
    seq: Seq,
    kind: u8,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO message (device, stream, seq, kind, received)
         SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS
           (SELECT 1 FROM stream_prefix WHERE device = ?1 AND stream = ?2 AND up_to >= ?3)
         AND ?3 - coalesce((SELECT up_to FROM stream_prefix WHERE device = ?1 AND stream = ?2), 0) <= ?6
         ON CONFLICT DO NOTHING",
    )
    .bind(device.as_str())
    .bind(stream_text(stream))
    .bind(to_i64(seq.0))
    .bind(kind)
    .bind(to_i64(now.0))
    .bind(to_i64(AHEAD))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Moves the prefix over everything that is stored without a hole, from `at_least` on, and forgets the rows it covers.
///
/// # Errors
/// When the database refuses.
pub async fn advance(
    tx: &mut Tx,
    device: &DeviceId,
    stream: StreamId,
    at_least: Seq,
) -> Result<Seq, StoreError> {
    let stored = prefix(tx, device, stream).await?;
    let text = stream_text(stream);
    let start = Seq(stored.0.max(at_least.0));
    let beyond: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM message WHERE device = ?1 AND stream = ?2 AND seq > ?3 ORDER BY seq",
    )
    .bind(device.as_str())
    .bind(&text)
    .bind(to_i64(start.0))
    .fetch_all(tx.conn())
    .await?;
    let mut up_to = start;
    for seq in beyond {
        if to_u64(seq) != up_to.0 + 1 {
            break;
        }
        up_to = up_to.next();
    }
    if up_to != stored {
        sqlx::query(
            "INSERT INTO stream_prefix (device, stream, up_to) VALUES (?1, ?2, ?3)
             ON CONFLICT (device, stream) DO UPDATE SET up_to = excluded.up_to",
        )
        .bind(device.as_str())
        .bind(&text)
        .bind(to_i64(up_to.0))
        .execute(tx.conn())
        .await?;
        // What continues its stream comes from a device that has heard nothing of a restore, or has answered it.
        sqlx::query(
            "UPDATE device SET heard_epoch = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch')
             WHERE id = ?1 AND stream = ?2
               AND heard_epoch < (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch')",
        )
        .bind(device.as_str())
        .bind(&text)
        .execute(tx.conn())
        .await?;
        sqlx::query("DELETE FROM message WHERE device = ?1 AND stream = ?2 AND seq <= ?3")
            .bind(device.as_str())
            .bind(&text)
            .bind(to_i64(up_to.0))
            .execute(tx.conn())
            .await?;
    }
    Ok(up_to)
}

/// How many messages below `first` are not stored: what a device that offers only `first` and later can no longer send.
///
/// # Errors
/// When the database refuses.
pub async fn missing_below(
    tx: &mut Tx,
    device: &DeviceId,
    stream: StreamId,
    first: Seq,
) -> Result<u64, StoreError> {
    let up_to = prefix(tx, device, stream).await?;
    let stored: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM message WHERE device = ?1 AND stream = ?2 AND seq > ?3 AND seq < ?4",
    )
    .bind(device.as_str())
    .bind(stream_text(stream))
    .bind(to_i64(up_to.0))
    .bind(to_i64(first.0))
    .fetch_one(tx.conn())
    .await?;
    Ok(first.0.saturating_sub(up_to.0 + 1).saturating_sub(to_u64(stored)))
}

impl Store {
    /// The end of the contiguous prefix, outside of a transaction.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn stream_prefix(&self, device: &DeviceId, stream: StreamId) -> Result<Seq, StoreError> {
        let n: Option<i64> =
            sqlx::query_scalar("SELECT up_to FROM stream_prefix WHERE device = ?1 AND stream = ?2")
                .bind(device.as_str())
                .bind(stream_text(stream))
                .fetch_optional(self.read())
                .await?;
        Ok(Seq(to_u64(n.unwrap_or(0))))
    }
}
