//! What was done by whom, written in the same transaction as the deed, as an RFC 6962 Merkle log.
//!
//! What always holds: an entry, its leaf and the nodes it completes commit together with what they record; none of them
//! changes afterwards (the database refuses it); numbers have no holes. [`checkpoint`] keeps what was signed about the log,
//! [`witness`] what devices remember of it.

pub mod checkpoint;
pub mod witness;

use std::ops::Range;

use longshore_trust::log::tree::{self, Node};
use longshore_trust::log::{ENTRY_VERSION, Entry, node_hash};
use longshore_trust::{Digest, UnixMs};
use sqlx::{FromRow, SqliteConnection};

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// Longest actor, action and object, and longest detail, in characters: strangers can choose some of them.
const MAX_NAME: usize = 200;
const MAX_DETAIL: usize = 2_000;

/// Adds an entry to the audit log.
///
/// # Errors
/// When the database refuses.
pub async fn record(
    tx: &mut Tx,
    now: UnixMs,
    actor: &str,
    action: &str,
    object: &str,
    detail: &str,
) -> Result<(), StoreError> {
    let entry = Entry {
        action: cut(action, MAX_NAME),
        actor: cut(actor, MAX_NAME),
        detail: cut(detail, MAX_DETAIL),
        index: size(tx.conn()).await?,
        object: cut(object, MAX_NAME),
        time: now,
        v: ENTRY_VERSION,
    };
    sqlx::query(
        "INSERT INTO audit (leaf, time, actor, action, object, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(to_i64(entry.index))
    .bind(to_i64(entry.time.0))
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(&entry.object)
    .bind(&entry.detail)
    .execute(tx.conn())
    .await?;
    append(tx.conn(), entry.index, entry.leaf()).await
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\u{2026}", &text[..at]),
    }
}

/// How many entries the tree has.
async fn size(conn: &mut SqliteConnection) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(max(idx), -1) + 1 FROM audit_node WHERE level = 0";
    Ok(to_u64(sqlx::query_scalar(sql).fetch_one(conn).await?))
}

/// Writes a leaf and what it completes: two nodes on average, one a level at most.
async fn append(conn: &mut SqliteConnection, leaf: u64, hash: Digest) -> Result<(), StoreError> {
    insert_node(conn, Node { level: 0, index: leaf }, &hash).await?;
    let mut right = hash;
    for (left, node) in tree::completes(leaf) {
        right = node_hash(&read_node(conn, left).await?, &right);
        insert_node(conn, node, &right).await?;
    }
    Ok(())
}

async fn insert_node(conn: &mut SqliteConnection, node: Node, hash: &Digest) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit_node (level, idx, hash) VALUES (?1, ?2, ?3)")
        .bind(i64::from(node.level))
        .bind(to_i64(node.index))
        .bind(hash.0.as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

async fn read_node(conn: &mut SqliteConnection, node: Node) -> Result<Digest, StoreError> {
    let found: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM audit_node WHERE level = ?1 AND idx = ?2")
            .bind(i64::from(node.level))
            .bind(to_i64(node.index))
            .fetch_optional(conn)
            .await?;
    let missing = || {
        StoreError::corrupt("audit tree", format!("node {} of level {} is missing", node.index, node.level))
    };
    digest(found.ok_or_else(missing)?)
}

fn digest(bytes: Vec<u8>) -> Result<Digest, StoreError> {
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) => Ok(Digest(bytes)),
        Err(bytes) => Err(StoreError::corrupt("hash", format!("{} bytes", bytes.len()))),
    }
}

async fn hash_of(conn: &mut SqliteConnection, range: Range<u64>) -> Result<Digest, StoreError> {
    let mut hashes = Vec::new();
    for node in tree::nodes_of(range) {
        hashes.push(read_node(conn, node).await?);
    }
    Ok(tree::fold(&hashes))
}

/// Gives a tree to entries that were written before there was one.
pub(super) async fn plant(tx: &mut Tx) -> Result<(), StoreError> {
    loop {
        let from = size(tx.conn()).await?;
        let rows = select(tx.conn(), from, 1_000).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for (number, entry) in (from..).zip(rows) {
            if entry.index != number {
                return Err(StoreError::corrupt("audit log", format!("entry {number} is missing")));
            }
            append(tx.conn(), entry.index, entry.leaf()).await?;
        }
    }
}

#[derive(FromRow)]
struct Row {
    leaf: i64,
    time: i64,
    actor: String,
    action: String,
    object: String,
    detail: String,
}

impl From<Row> for Entry {
    fn from(r: Row) -> Self {
        Self {
            action: r.action,
            actor: r.actor,
            detail: r.detail,
            index: to_u64(r.leaf),
            object: r.object,
            time: UnixMs(to_u64(r.time)),
            v: ENTRY_VERSION,
        }
    }
}

async fn select(conn: &mut SqliteConnection, from: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let sql =
        "SELECT leaf, time, actor, action, object, detail FROM audit WHERE leaf >= ?1 ORDER BY leaf LIMIT ?2";
    let rows: Vec<Row> = sqlx::query_as(sql).bind(to_i64(from)).bind(limit).fetch_all(conn).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// Which entries are looked for; what is left out fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Numbers below this.
    pub before: Option<u64>,
    /// This action, or all that begin with it and a full stop.
    pub action: Option<String>,
    /// This actor.
    pub actor: Option<String>,
    /// These characters in actor, action, object or detail.
    pub text: Option<String>,
}

impl Store {
    /// How many entries the audit log has.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_size(&self) -> Result<u64, StoreError> {
        size(&mut *self.read().acquire().await?).await
    }
    /// The root of the tree of the first `size` entries.
    ///
    /// # Errors
    /// When the database cannot be read, or has fewer.
    pub async fn audit_root(&self, size: u64) -> Result<Digest, StoreError> {
        hash_of(&mut *self.read().acquire().await?, 0..size).await
    }
    /// The hashes of these ranges: a proof.
    ///
    /// # Errors
    /// As [`Store::audit_root`].
    pub async fn audit_proof(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Digest>, StoreError> {
        let mut conn = self.read().acquire().await?;
        let mut proof = Vec::new();
        for range in ranges {
            proof.push(hash_of(&mut conn, range).await?);
        }
        Ok(proof)
    }
    /// Entries in their order, from number `from` on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        select(&mut *self.read().acquire().await?, from, limit).await
    }
    /// The newest entries that fit, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_search(&self, search: &Search, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT leaf, time, actor, action, object, detail FROM audit
             WHERE leaf < ?1 AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?2) + 1) = ?2 || '.')
               AND (?3 IS NULL OR actor = ?3)
               AND (?4 IS NULL OR instr(lower(actor || char(10) || action || char(10) || object || char(10) || detail),
                                        lower(?4)) > 0)
             ORDER BY leaf DESC LIMIT ?5";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(to_i64(search.before.unwrap_or(u64::MAX)))
            .bind(&search.action)
            .bind(&search.actor)
            .bind(&search.text)
            .bind(limit)
            .fetch_all(self.read())
            .await?;
        Ok(rows.into_iter().map(Entry::from).collect())
    }
    /// The first of `limit` entries from `from` on that is not what its leaf was made of, or is missing; else the number
    /// after the last one looked at, or 0 at the end of the log.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit_recheck(&self, from: u64, limit: u32) -> Result<Result<u64, u64>, StoreError> {
        let mut conn = self.read().acquire().await?;
        let end = size(&mut conn).await?.min(from.saturating_add(u64::from(limit)));
        let entries = select(&mut conn, from, limit).await?;
        let sql = "SELECT hash FROM audit_node WHERE level = 0 AND idx >= ?1 ORDER BY idx LIMIT ?2";
        let leaves: Vec<Vec<u8>> =
            sqlx::query_scalar(sql).bind(to_i64(from)).bind(limit).fetch_all(&mut *conn).await?;
        let mut entries = entries.into_iter().peekable();
        for (number, leaf) in (from..end).zip(leaves) {
            let entry = entries.next_if(|e| e.index == number);
            if entry.is_none_or(|e| e.leaf().0.as_slice() != leaf) {
                return Ok(Err(number));
            }
        }
        Ok(Ok(if end < from.saturating_add(u64::from(limit)) { 0 } else { end }))
    }
}
