//! Silences: what, until when, by whom, why.

use longshore_fleet_core::alert::silence::{Matcher, Silence};
use longshore_trust::UnixMs;
use sqlx::FromRow;

use super::{read, time, write};
use crate::store::{Store, StoreError, Tx, to_i64, to_u64};

/// A silence as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceRow {
    /// Its number.
    pub id: u64,
    /// What.
    pub matcher: Matcher,
    /// Until when.
    pub until: UnixMs,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub created: UnixMs,
}

#[derive(FromRow)]
struct Stored {
    id: i64,
    matcher: String,
    until: i64,
    who: String,
    why: String,
    created: i64,
}

impl TryFrom<Stored> for SilenceRow {
    type Error = StoreError;
    fn try_from(row: Stored) -> Result<Self, StoreError> {
        Ok(Self {
            id: to_u64(row.id),
            matcher: read("matcher of a silence", &row.matcher)?,
            until: time(row.until),
            who: row.who,
            why: row.why,
            created: time(row.created),
        })
    }
}

/// A new silence; its number.
///
/// # Errors
/// When the database refuses.
pub async fn insert(
    tx: &mut Tx,
    matcher: &Matcher,
    until: UnixMs,
    who: &str,
    why: &str,
    now: UnixMs,
) -> Result<u64, StoreError> {
    let sql =
        "INSERT INTO silence (matcher, until, who, why, created) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id";
    let id: i64 = sqlx::query_scalar(sql)
        .bind(write(matcher))
        .bind(to_i64(until.0))
        .bind(who)
        .bind(why)
        .bind(to_i64(now.0))
        .fetch_one(tx.conn())
        .await?;
    Ok(to_u64(id))
}

/// Ends a silence now. `false` when it has ended or never was.
///
/// # Errors
/// When the database refuses.
pub async fn end(tx: &mut Tx, id: u64, now: UnixMs) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE silence SET until = ?2 WHERE id = ?1 AND until > ?2")
        .bind(to_i64(id))
        .bind(to_i64(now.0))
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() > 0)
}

const IN_FORCE: &str = "SELECT id, matcher, until, who, why, created FROM silence WHERE until > ?1";

fn matchers(rows: Vec<Stored>) -> Result<Vec<Silence>, StoreError> {
    rows.into_iter()
        .map(|r| SilenceRow::try_from(r).map(|s| Silence { matcher: s.matcher, until: s.until }))
        .collect()
}

/// Silences that are in force.
///
/// # Errors
/// When the database refuses.
pub async fn in_force(tx: &mut Tx, now: UnixMs) -> Result<Vec<Silence>, StoreError> {
    matchers(sqlx::query_as(IN_FORCE).bind(to_i64(now.0)).fetch_all(tx.conn()).await?)
}

impl Store {
    /// Silences that are in force.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn silences_in_force(&self, now: UnixMs) -> Result<Vec<Silence>, StoreError> {
        matchers(sqlx::query_as(IN_FORCE).bind(to_i64(now.0)).fetch_all(self.read()).await?)
    }
    /// Silences, newest first, those before the number `before`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn silences(&self, before: Option<u64>, limit: u32) -> Result<Vec<SilenceRow>, StoreError> {
        let sql = "SELECT id, matcher, until, who, why, created FROM silence WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let before = before.map_or(i64::MAX, to_i64);
        let rows: Vec<Stored> = sqlx::query_as(sql).bind(before).bind(limit).fetch_all(self.read()).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}
