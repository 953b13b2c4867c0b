//! Deliveries: what is to be told to whom, and what became of it.
//!
//! What always holds: a delivery is `queued` until it is `delivered` or `dead`, and never lost between; its message id is the
//! same in every attempt, so that a receiver can tell a repetition; messages about one alert or rollout reach a receiver in their order;
//! no more than the configured number waits for one receiver.

use longshore_trust::{Digest, UnixMs};
use sqlx::FromRow;

use super::time;
use crate::store::{Store, StoreError, Tx, to_i64, to_u64};

/// What a delivery is about. Deliveries about one thing reach a receiver in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// Nothing that has an order.
    Nothing,
    /// An alert.
    Alert(u64),
    /// A rollout.
    Rollout(&'a str),
}

/// A delivery that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery<'a> {
    /// To whom.
    pub receiver: &'a str,
    /// About what.
    pub about: About<'a>,
    /// `fired`, `repeated`, `grown`, `resolved`, `retrain`, `test`, or a transition like `rollout.completed`.
    pub what: &'a str,
    /// The message, JSON.
    pub body: &'a str,
    /// Most deliveries that may wait for this receiver.
    pub queue: u64,
}

/// A delivery as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// The id that receivers see.
    pub message: String,
    /// To whom.
    pub receiver: String,
    /// About which alert.
    pub alert: Option<i64>,
    /// About which rollout.
    pub rollout: Option<String>,
    /// What it says.
    pub what: String,
    /// The message, JSON.
    pub body: String,
    /// `queued`, `delivered`, `dead`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// When the next attempt is due, ms.
    pub due: i64,
    /// Since when it is to be made, ms.
    pub queued: i64,
    /// When something about it changed, ms.
    pub changed: i64,
    /// What came of the last attempt.
    pub last: String,
}

/// How many deliveries to a receiver are in a state.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DeliveryCount {
    /// The receiver.
    pub receiver: String,
    /// The state.
    pub state: String,
    /// How many.
    pub deliveries: i64,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// Taken.
    Delivered,
    /// To be tried again.
    Queued(UnixMs),
    /// Given up.
    Dead,
}

/// All columns of [`DeliveryRow`].
macro_rules! columns {
    () => {
        "SELECT id, message, receiver, alert, rollout, what, body, state, attempts, due, queued, changed, last FROM delivery "
    };
}

/// Queues a delivery. A repetition is left out while something about the same alert waits for the same receiver. Beyond the
/// most that may wait it is dead at once, where people see it. Its number, if there is one.
///
/// # Errors
/// When the database refuses.
pub async fn enqueue(tx: &mut Tx, new: &NewDelivery<'_>, now: UnixMs) -> Result<Option<u64>, StoreError> {
    let (alert, rollout) = match new.about {
        About::Nothing => (None, None),
        About::Alert(id) => (Some(to_i64(id)), None),
        About::Rollout(id) => (None, Some(id)),
    };
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM delivery WHERE receiver = ?1 AND state = 'queued'")
            .bind(new.receiver)
            .fetch_one(tx.conn())
            .await?;
    if new.what == "repeated" {
        let behind: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM delivery WHERE alert IS ?1 AND receiver = ?2 AND state = 'queued')",
        )
        .bind(alert)
        .bind(new.receiver)
        .fetch_one(tx.conn())
        .await?;
        if behind {
            return Ok(None);
        }
    }
    let full = to_u64(waiting) >= new.queue;
    let number: i64 =
        sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM delivery").fetch_one(tx.conn()).await?;
    // Numbers begin again after a restore from a backup; the time and the text do not.
    let seed = format!("{number}|{}|{}|{}|{}", now.0, new.receiver, new.what, new.body);
    let message = format!("msg_{}", &Digest::of(seed.as_bytes()).to_hex()[..32]);
    let (state, last) = if full {
        ("dead", format!("{} deliveries wait for this receiver already", new.queue))
    } else {
        ("queued", String::new())
    };
    sqlx::query(
        "INSERT INTO delivery (id, message, receiver, alert, what, body, state, due, queued, changed, last, rollout)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?8, ?9, ?10)",
    )
    .bind(number)
    .bind(message)
    .bind(new.receiver)
    .bind(alert)
    .bind(new.what)
    .bind(new.body)
    .bind(state)
    .bind(to_i64(now.0))
    .bind(last)
    .bind(rollout)
    .execute(tx.conn())
    .await?;
    Ok(Some(to_u64(number)))
}

/// Who was to be told about an alert.
///
/// # Errors
/// When the database refuses.
pub async fn receivers_of(tx: &mut Tx, alert: u64) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT receiver FROM delivery WHERE alert = ?1 AND what <> 'retrain'";
    Ok(sqlx::query_scalar(sql).bind(to_i64(alert)).fetch_all(tx.conn()).await?)
}

/// Stores what came of an attempt.
///
/// # Errors
/// When the database refuses.
pub async fn record(tx: &mut Tx, id: i64, became: Became, last: &str, now: UnixMs) -> Result<(), StoreError> {
    let (state, due) = match became {
        Became::Delivered => ("delivered", now),
        Became::Queued(at) => ("queued", at),
        Became::Dead => ("dead", now),
    };
    let last: String = last.chars().take(500).collect();
    sqlx::query(
        "UPDATE delivery SET state = ?2, due = ?3, attempts = attempts + 1, changed = ?4, last = ?5 WHERE id = ?1",
    )
    .bind(id)
    .bind(state)
    .bind(to_i64(due.0))
    .bind(to_i64(now.0))
    .bind(last)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Tries dead deliveries again from the beginning: one, or all of a receiver. How many.
///
/// # Errors
/// When the database refuses.
pub async fn retry(
    tx: &mut Tx,
    id: Option<u64>,
    receiver: Option<&str>,
    now: UnixMs,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE delivery SET state = 'queued', attempts = 0, due = ?3, queued = ?3, changed = ?3
         WHERE state = 'dead' AND (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR receiver = ?2)",
    )
    .bind(id.map(to_i64))
    .bind(receiver)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Gives up what waits for receivers that are no longer configured. How many.
///
/// # Errors
/// When the database refuses.
pub async fn give_up_unknown(tx: &mut Tx, known: &[String], now: UnixMs) -> Result<u64, StoreError> {
    let known = serde_json::to_string(known).expect("names always encode");
    let done = sqlx::query(
        "UPDATE delivery SET state = 'dead', changed = ?2, last = 'the receiver is no longer in the configuration'
         WHERE state = 'queued' AND receiver NOT IN (SELECT value FROM json_each(?1))",
    )
    .bind(known)
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

impl Store {
    /// The delivery to a receiver that is due, the oldest first; nothing overtakes an older message about the same thing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn due_delivery(&self, receiver: &str, now: UnixMs) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(sqlx::query_as(concat!(
            columns!(),
            "d WHERE receiver = ?1 AND state = 'queued' AND due <= ?2 AND NOT EXISTS (
                 SELECT 1 FROM delivery e WHERE e.alert = d.alert AND e.receiver = d.receiver AND e.state = 'queued'
                     AND e.id < d.id)
                 AND NOT EXISTS (
                 SELECT 1 FROM delivery e WHERE e.rollout = d.rollout AND e.receiver = d.receiver
                     AND e.state = 'queued' AND e.id < d.id)
             ORDER BY id LIMIT 1"
        ))
        .bind(receiver)
        .bind(to_i64(now.0))
        .fetch_optional(self.read())
        .await?)
    }
    /// When the next delivery to a receiver is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_due(&self, receiver: &str) -> Result<Option<UnixMs>, StoreError> {
        let sql = "SELECT min(due) FROM delivery WHERE receiver = ?1 AND state = 'queued'";
        let due: Option<i64> = sqlx::query_scalar(sql).bind(receiver).fetch_one(self.read()).await?;
        Ok(due.map(time))
    }
    /// Deliveries, newest first: of one alert, in one state, before the number `before`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries(
        &self,
        alert: Option<u64>,
        state: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        Ok(sqlx::query_as(concat!(
            columns!(),
            "WHERE (?1 IS NULL OR alert = ?1) AND (?2 = '' OR state = ?2) AND id < ?3 ORDER BY id DESC LIMIT ?4"
        ))
        .bind(alert.map(to_i64))
        .bind(state)
        .bind(before.map_or(i64::MAX, to_i64))
        .bind(limit)
        .fetch_all(self.read())
        .await?)
    }
    /// One delivery.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn delivery(&self, id: u64) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(sqlx::query_as(concat!(columns!(), "WHERE id = ?1"))
            .bind(to_i64(id))
            .fetch_optional(self.read())
            .await?)
    }
    /// How many deliveries there are, by receiver and state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn delivery_counts(&self) -> Result<Vec<DeliveryCount>, StoreError> {
        let sql = "SELECT receiver, state, count(*) AS deliveries FROM delivery GROUP BY 1, 2 ORDER BY 1, 2";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }
}
