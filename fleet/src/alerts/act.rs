//! What people do with alerts: take one on, call one over, silence, try a delivery again, test a receiver.
//!
//! What always holds: each of these is in the audit log, in the transaction that does it; a person who looked at an older state
//! of an alert is told so instead of overwriting what happened since.

use longshore_fleet_core::alert::ReceiverKind;
use longshore_fleet_core::alert::delivery::Outcome;
use longshore_fleet_core::alert::silence::Matcher;
use longshore_trust::UnixMs;

use super::{deliver, message};
use crate::app::App;
use crate::events::FleetEvent;
use crate::store::alert::delivery::{self, About, NewDelivery};
use crate::store::alert::{self, AlertRow, silence};
use crate::store::{StoreError, Tx, audit};

/// Longest note, characters.
const NOTE: usize = 2_000;
/// Longest silence, ms: a silence is never for ever.
const SILENCE_MS: u64 = 90 * 86_400_000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error("there is no {what} {id}")]
    Unknown {
        /// `alert`, `silence`, `delivery`, `receiver`.
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// It has changed since it was looked at.
    #[error("alert {id} has changed since you looked at it (it is {state} now): look again, then decide")]
    Changed {
        /// The alert.
        id: u64,
        /// Its state.
        state: &'static str,
    },
    /// Not in this state.
    #[error("alert {id} is {state}: {why}")]
    State {
        /// The alert.
        id: u64,
        /// Its state.
        state: &'static str,
        /// What that means.
        why: &'static str,
    },
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
}

fn unknown(what: &'static str, id: impl ToString) -> ActError {
    ActError::Unknown { what, id: id.to_string() }
}

fn checked_note(note: &str) -> Result<String, ActError> {
    let note = note.trim();
    if note.chars().count() > NOTE {
        return Err(ActError::Invalid(format!("a note has at most {NOTE} characters")));
    }
    Ok(note.to_owned())
}

/// The alert as it is now, if it is the one that was looked at.
async fn looked_at(tx: &mut Tx, id: u64, etag: Option<u64>) -> Result<AlertRow, ActError> {
    let row = alert::get(tx, id).await?.ok_or_else(|| unknown("alert", id))?;
    match etag {
        Some(seen) if seen != row.etag => Err(ActError::Changed { id, state: row.alert.state.name() }),
        _ => Ok(row),
    }
}

async fn store(
    app: &App,
    mut tx: Tx,
    row: &AlertRow,
    what: &str,
    who: &str,
    note: &str,
    now: UnixMs,
) -> Result<(), ActError> {
    alert::update(&mut tx, row, now).await?;
    alert::add_event(&mut tx, row.id, what, who, note, now).await?;
    let detail = format!("{}: {note}", row.evidence.summary);
    audit::record(&mut tx, now, who, &format!("alert.{what}"), &row.id.to_string(), &detail).await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Alerts);
    Ok(())
}

/// Somebody takes an alert on. Doing it again replaces the note.
///
/// # Errors
/// [`ActError`].
pub async fn acknowledge(
    app: &App,
    id: u64,
    who: &str,
    note: &str,
    etag: Option<u64>,
    now: UnixMs,
) -> Result<(), ActError> {
    let note = checked_note(note)?;
    let mut tx = app.store.write().await?;
    let mut row = looked_at(&mut tx, id, etag).await?;
    if !row.alert.acknowledge(who, &note, now) {
        let why = "there is nothing to take on";
        return Err(ActError::State { id, state: row.alert.state.name(), why });
    }
    store(app, tx, &row, "acknowledge", who, &note, now).await
}

/// Somebody says that an alert is over. Receivers are told at the next look.
///
/// # Errors
/// [`ActError`].
pub async fn resolve(
    app: &App,
    id: u64,
    who: &str,
    note: &str,
    etag: Option<u64>,
    now: UnixMs,
) -> Result<(), ActError> {
    let note = checked_note(note)?;
    if note.is_empty() {
        return Err(ActError::Invalid(
            "say in a note why the alert is over although it was not seen to be".into(),
        ));
    }
    let mut tx = app.store.write().await?;
    let mut row = looked_at(&mut tx, id, etag).await?;
    if !row.alert.resolve(who, &note, now) {
        return Err(ActError::State {
            id,
            state: row.alert.state.name(),
            why: "there is nothing to resolve",
        });
    }
    store(app, tx, &row, "resolve", who, &note, now).await
}

/// Nobody is told of some alerts until a time. The number of the silence.
///
/// # Errors
/// [`ActError`].
pub async fn silence(
    app: &App,
    matcher: &Matcher,
    until: UnixMs,
    who: &str,
    why: &str,
    now: UnixMs,
) -> Result<u64, ActError> {
    let why = checked_note(why)?;
    let invalid = |text: String| Err(ActError::Invalid(text));
    if matcher.is_empty() {
        return invalid(
            "say what is silenced: rule, model, cohort or severity (`*` stands for anything)".into(),
        );
    }
    if why.is_empty() {
        return invalid("say why: others will ask".into());
    }
    if until <= now || until.since(now) > SILENCE_MS {
        return invalid("a silence ends in the future, and within 90 days".into());
    }
    let texts = [&matcher.rule, &matcher.model, &matcher.cohort];
    if texts.into_iter().flatten().any(|t| t.is_empty() || t.len() > 300) {
        return invalid(
            "rule, model and cohort have 1 to 300 characters; leave out what does not matter".into(),
        );
    }
    let mut tx = app.store.write().await?;
    let id = silence::insert(&mut tx, matcher, until, who, &why, now).await?;
    let what = serde_json::to_string(matcher).unwrap_or_default();
    let detail = format!("{what} until {}: {why}", message::iso(until));
    audit::record(&mut tx, now, who, "alert.silence", &id.to_string(), &detail).await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Alerts);
    Ok(id)
}

/// Ends a silence.
///
/// # Errors
/// [`ActError`].
pub async fn end_silence(app: &App, id: u64, who: &str, now: UnixMs) -> Result<(), ActError> {
    let mut tx = app.store.write().await?;
    if !silence::end(&mut tx, id, now).await? {
        return Err(unknown("silence in force with the number", id));
    }
    audit::record(&mut tx, now, who, "alert.unsilence", &id.to_string(), "").await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Alerts);
    Ok(())
}

/// Tries dead deliveries again: one, or all to a receiver. How many.
///
/// # Errors
/// [`ActError`].
pub async fn retry(
    app: &App,
    id: Option<u64>,
    receiver: Option<&str>,
    who: &str,
    now: UnixMs,
) -> Result<u64, ActError> {
    let mut tx = app.store.write().await?;
    let n = delivery::retry(&mut tx, id, receiver, now).await?;
    if n == 0
        && let Some(id) = id
    {
        return Err(unknown("dead delivery with the number", id));
    }
    let object =
        id.map(|i| i.to_string()).or_else(|| receiver.map(str::to_owned)).unwrap_or_else(|| "all".into());
    audit::record(&mut tx, now, who, "alert.retry", &object, &format!("{n} deliveries")).await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Alerts);
    Ok(n)
}

/// Sends a test to a receiver at once: the number of the delivery, and what came of it.
///
/// # Errors
/// [`ActError`].
pub async fn test(app: &App, name: &str, who: &str, now: UnixMs) -> Result<(u64, Outcome), ActError> {
    let receiver = app.config.alerting.receiver(name).ok_or_else(|| unknown("receiver", name))?;
    if matches!(receiver.kind, ReceiverKind::Dispatch { .. }) {
        let text = "a dispatch starts a workflow: test it by dispatching its event there, not from here";
        return Err(ActError::Invalid(text.into()));
    }
    let body = message::test(app, who, now).to_string();
    let new =
        NewDelivery { receiver: name, about: About::Nothing, what: "test", body: &body, queue: u64::MAX };
    let mut tx = app.store.write().await?;
    // The task of the receiver must not take it meanwhile; it does so if this process dies.
    let later = now.plus_ms(receiver.timeout_ms.saturating_add(60_000));
    let id = delivery::enqueue(&mut tx, &new, later).await?.unwrap_or(0);
    audit::record(&mut tx, now, who, "alert.test", name, "").await?;
    tx.commit().await?;
    let Some(row) = app.store.delivery(id).await? else { return Err(unknown("delivery", id)) };
    let outcome = match deliver::attempt(receiver, &row, now).await {
        // A person waits for the answer and tries again by hand.
        Outcome::Later { why, .. } => Outcome::Never { why },
        other => other,
    };
    deliver::record(app, receiver, &row, &outcome, now).await?;
    Ok((id, outcome))
}
