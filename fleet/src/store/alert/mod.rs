//! Alerts, their history, and who has silenced what.
//!
//! What always holds: one cause has at most one open alert (the database refuses a second one); what happened to an alert and
//! whom it tells of it ([`delivery`]) commit together.

pub mod delivery;
pub mod facts;
pub mod retrain;
pub mod silence;

use longshore_fleet_core::alert::{Alert, Cause, Evidence, Rule, Severity, State};
use longshore_trust::UnixMs;
use serde::de::DeserializeOwned;
use sqlx::FromRow;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, Tx, to_i64, to_u64};

/// One alert as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRow {
    /// Its number.
    pub id: u64,
    /// About what.
    pub cause: Cause,
    /// Kind of the rule.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// Its state.
    pub alert: Alert,
    /// What it rests on: the last time it held.
    pub evidence: Evidence,
    /// Labels of the rule, JSON.
    pub labels: String,
    /// When its cause was seen first.
    pub opened: UnixMs,
    /// When it fired last.
    pub fired: Option<UnixMs>,
    /// When something about it changed.
    pub changed: UnixMs,
    /// The cause has no other alert.
    pub open: bool,
    /// Raised by every change of its state.
    pub etag: u64,
}

#[derive(FromRow)]
struct Stored {
    id: i64,
    rule: String,
    kind: String,
    model: String,
    cohort: String,
    severity: String,
    machine: String,
    evidence: String,
    labels: String,
    opened: i64,
    fired: Option<i64>,
    changed: i64,
    open: i64,
    etag: i64,
}

/// All columns of [`Stored`].
macro_rules! columns {
    () => {
        "SELECT id, rule, kind, model, cohort, severity, machine, evidence, labels, opened, fired, changed, open, etag
         FROM alert "
    };
}

fn read<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::corrupt(what, e))
}
fn write(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("alerts always encode")
}
fn time(at: i64) -> UnixMs {
    UnixMs(to_u64(at))
}

/// A severity by its name.
#[must_use]
pub fn severity(name: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|s| s.as_str() == name)
}

impl TryFrom<Stored> for AlertRow {
    type Error = StoreError;
    fn try_from(row: Stored) -> Result<Self, StoreError> {
        Ok(Self {
            id: to_u64(row.id),
            cause: Cause { rule: row.rule, model: row.model, cohort: row.cohort },
            kind: row.kind,
            severity: severity(&row.severity)
                .ok_or_else(|| StoreError::corrupt("severity", &row.severity))?,
            alert: read("state of an alert", &row.machine)?,
            evidence: read("evidence of an alert", &row.evidence)?,
            labels: row.labels,
            opened: time(row.opened),
            fired: row.fired.map(time),
            changed: time(row.changed),
            open: row.open != 0,
            etag: to_u64(row.etag),
        })
    }
}

/// The order of the inbox: what fires and nobody has taken on, by severity; what somebody has; what may come; what is over.
fn rank(state: &State, severity: Severity) -> i64 {
    let place = Severity::ALL.into_iter().position(|s| s == severity).unwrap_or(0);
    let place = i64::try_from(place).unwrap_or(0);
    match state {
        State::Firing { .. } => place,
        State::Acknowledged { .. } => 10 + place,
        State::Pending { .. } => 20 + place,
        State::Resolved { .. } => 30,
    }
}

/// All open alerts.
///
/// # Errors
/// When the database refuses.
pub async fn open(tx: &mut Tx) -> Result<Vec<AlertRow>, StoreError> {
    let rows: Vec<Stored> =
        sqlx::query_as(concat!(columns!(), "WHERE open = 1 ORDER BY id")).fetch_all(tx.conn()).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// One alert.
///
/// # Errors
/// When the database refuses.
pub async fn get(tx: &mut Tx, id: u64) -> Result<Option<AlertRow>, StoreError> {
    let row: Option<Stored> = sqlx::query_as(concat!(columns!(), "WHERE id = ?1"))
        .bind(to_i64(id))
        .fetch_optional(tx.conn())
        .await?;
    row.map(TryInto::try_into).transpose()
}

/// A new alert, open; its number.
///
/// # Errors
/// When the database refuses, also because the cause has an open alert already.
pub async fn insert(
    tx: &mut Tx,
    rule: &Rule,
    cause: &Cause,
    alert: &Alert,
    evidence: &Evidence,
    now: UnixMs,
) -> Result<u64, StoreError> {
    let fired = alert.state.is_active().then_some(to_i64(now.0));
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO alert (fingerprint, rule, kind, model, cohort, severity, state, rank, open, machine, evidence,
             labels, opened, fired, changed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10, ?11, ?12, ?13, ?12) RETURNING id",
    )
    .bind(cause.to_string())
    .bind(&cause.rule)
    .bind(rule.kind.as_str())
    .bind(&cause.model)
    .bind(&cause.cohort)
    .bind(rule.severity.as_str())
    .bind(alert.state.name())
    .bind(rank(&alert.state, rule.severity))
    .bind(write(alert))
    .bind(write(evidence))
    .bind(write(&rule.labels))
    .bind(to_i64(now.0))
    .bind(fired)
    .fetch_one(tx.conn())
    .await?;
    Ok(to_u64(id))
}

/// Stores what an alert is now. Its etag rises when its state is another one.
///
/// # Errors
/// When the database refuses.
pub async fn update(tx: &mut Tx, row: &AlertRow, now: UnixMs) -> Result<(), StoreError> {
    let (name, machine) = (row.alert.state.name(), write(&row.alert));
    sqlx::query(
        "UPDATE alert SET machine = ?2, state = ?3, rank = ?4, open = ?5, evidence = ?6, fired = ?7, changed = ?8,
             etag = etag + (state <> ?3 OR json_extract(machine, '$.ack') IS NOT json_extract(?2, '$.ack'))
         WHERE id = ?1",
    )
    .bind(to_i64(row.id))
    .bind(machine)
    .bind(name)
    .bind(rank(&row.alert.state, row.severity))
    .bind(i64::from(row.open))
    .bind(write(&row.evidence))
    .bind(row.fired.map(|t| to_i64(t.0)))
    .bind(to_i64(now.0))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Forgets an alert that never fired.
///
/// # Errors
/// When the database refuses.
pub async fn forget(tx: &mut Tx, id: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM alert WHERE id = ?1 AND state = 'pending'")
        .bind(to_i64(id))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Adds a line to an alert's history.
///
/// # Errors
/// When the database refuses.
pub async fn add_event(
    tx: &mut Tx,
    alert: u64,
    what: &str,
    who: &str,
    text: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO alert_event (alert, time, what, who, text) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(to_i64(alert))
        .bind(to_i64(now.0))
        .bind(what)
        .bind(who)
        .bind(text)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Forgets alerts, deliveries and silences that ended before `before`.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: UnixMs) -> Result<(), StoreError> {
    let before = to_i64(before.0);
    for sql in [
        "DELETE FROM alert WHERE open = 0 AND changed < ?1",
        "DELETE FROM alert_event WHERE time < ?1 AND NOT EXISTS (SELECT 1 FROM alert a WHERE a.id = alert_event.alert)",
        "DELETE FROM delivery WHERE state <> 'queued' AND changed < ?1",
        "DELETE FROM silence WHERE until < ?1",
        "DELETE FROM retrain_request WHERE created < ?1 AND NOT EXISTS (SELECT 1 FROM alert a WHERE a.id = retrain_request.alert)",
    ] {
        sqlx::query(sql).bind(before).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Which alerts are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `pending`, `firing`, `acknowledged`, `resolved`, `active` (firing or acknowledged); empty is all but pending.
    pub state: String,
    /// Severity; empty is any.
    pub severity: String,
    /// Model; empty is any.
    pub model: String,
    /// Rule; empty is any.
    pub rule: String,
}

/// Where a list of the inbox goes on: rank and number of the last one shown.
pub type Place = (i64, u64);

/// A line of an alert's history.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct EventRow {
    /// When, ms.
    pub time: i64,
    /// What.
    pub what: String,
    /// Who.
    pub who: String,
    /// In words.
    pub text: String,
}

/// How many alerts are in a state, by severity.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AlertCount {
    /// The state.
    pub state: String,
    /// The severity.
    pub severity: String,
    /// How many.
    pub alerts: i64,
}

#[derive(FromRow)]
struct Listed {
    rank: i64,
    #[sqlx(flatten)]
    row: Stored,
}

impl Store {
    /// Alerts in the order of the inbox, after `place`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alerts(
        &self,
        filter: &Filter,
        place: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, AlertRow)>, StoreError> {
        let sql = "SELECT rank, id, rule, kind, model, cohort, severity, machine, evidence, labels, opened, fired, changed,
                open, etag
            FROM alert WHERE (rank > ?1 OR (rank = ?1 AND id < ?2))
              AND (CASE ?3 WHEN '' THEN state <> 'pending' WHEN 'active' THEN state IN ('firing', 'acknowledged')
                   ELSE state = ?3 END)
              AND (?4 = '' OR severity = ?4) AND (?5 = '' OR model = ?5) AND (?6 = '' OR rule = ?6)
            ORDER BY rank, id DESC LIMIT ?7";
        let (rank, id) = place.map_or((-1, i64::MAX), |(r, id)| (r, to_i64(id)));
        let rows: Vec<SqliteRow> = sqlx::query(sql)
            .bind(rank)
            .bind(id)
            .bind(&filter.state)
            .bind(&filter.severity)
            .bind(&filter.model)
            .bind(&filter.rule)
            .bind(limit)
            .fetch_all(self.read())
            .await?;
        rows.iter()
            .map(|row| {
                let Listed { rank, row } = Listed::from_row(row)?;
                let alert = AlertRow::try_from(row)?;
                Ok(((rank, alert.id), alert))
            })
            .collect()
    }
    /// One alert.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert(&self, id: u64) -> Result<Option<AlertRow>, StoreError> {
        let row: Option<Stored> = sqlx::query_as(concat!(columns!(), "WHERE id = ?1"))
            .bind(to_i64(id))
            .fetch_optional(self.read())
            .await?;
        row.map(TryInto::try_into).transpose()
    }
    /// What has happened to an alert, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert_history(&self, id: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let sql = "SELECT time, what, who, text FROM alert_event WHERE alert = ?1 ORDER BY id DESC LIMIT ?2";
        Ok(sqlx::query_as(sql).bind(to_i64(id)).bind(limit).fetch_all(self.read()).await?)
    }
    /// How many alerts are open, by state and severity. What is over is not counted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert_counts(&self) -> Result<Vec<AlertCount>, StoreError> {
        let sql = "SELECT state, severity, count(*) AS alerts FROM alert WHERE rank < 30 GROUP BY 1, 2";
        Ok(sqlx::query_as(sql).fetch_all(self.read()).await?)
    }
    /// How many alerts fire that nobody has taken on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alerts_firing(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM alert WHERE rank < 10";
        Ok(to_u64(sqlx::query_scalar(sql).fetch_one(self.read()).await?))
    }
    /// Rules, models and severities there are alerts of, for choosing from.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn alert_models(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT model FROM alert WHERE model <> '' ORDER BY model LIMIT 500";
        Ok(sqlx::query_scalar(sql).fetch_all(self.read()).await?)
    }
}
