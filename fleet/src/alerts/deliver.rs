//! Delivery: one task a receiver takes what is queued for it, tries, and stores what came of it.
//!
//! What always holds: an attempt that was cut off, by a crash or by the end of the server, is made again with the same id.

use std::time::Duration;

use longshore_fleet_core::alert::delivery::{Next, Outcome, after};
use longshore_fleet_core::alert::silence::is_silenced;
use longshore_fleet_core::alert::{Receiver, ReceiverKind};
use longshore_trust::UnixMs;
use serde_json::{Value, json};

use super::http::{self, Post};
use super::{alertmanager, mail, message, secret, sign};
use crate::app::{App, Shared, jitter, now};
use crate::events::FleetEvent;
use crate::store::StoreError;
use crate::store::alert::Filter;
use crate::store::alert::delivery::{self, Became, DeliveryRow};

/// Longest pause between two looks at the queue.
const IDLE: Duration = Duration::from_secs(30);
/// Shortest one.
const BUSY: Duration = Duration::from_millis(200);
/// Alerts in one message to an Alertmanager.
const BATCH: u32 = 1_000;

/// Delivers to one receiver until the server stops.
pub async fn run(app: Shared, receiver: Receiver) {
    if let Some((file, error)) = secret::unreadable(&receiver.files()) {
        tracing::error!(receiver = receiver.name, file, %error, "this receiver needs a file that cannot be read");
    }
    let mut events = app.events.subscribe();
    let mut refreshed = UnixMs(0);
    loop {
        let done = tokio::select! {
            () = app.stop.cancelled() => return,
            done = one(&app, &receiver, now()) => done,
        };
        match done {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(receiver = receiver.name, %error, "cannot read or store deliveries")
            }
        }
        let is_alertmanager = matches!(receiver.kind, ReceiverKind::Alertmanager { .. });
        if is_alertmanager && now().since(refreshed) >= alertmanager::EVERY_MS {
            refreshed = now();
            tokio::select! {
                () = app.stop.cancelled() => return,
                done = refresh(&app, &receiver, now()) => if let Err(error) = done {
                    tracing::error!(receiver = receiver.name, %error, "cannot read what fires");
                },
            }
        }
        let pause = match app.store.next_due(&receiver.name).await {
            Ok(Some(at)) => Duration::from_millis(at.since(now())).clamp(BUSY, IDLE),
            _ => IDLE,
        };
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = changed(&mut events) => {}
        }
    }
}

async fn changed(events: &mut tokio::sync::broadcast::Receiver<FleetEvent>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match events.recv().await {
            Ok(FleetEvent::Alerts) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Makes the delivery that is due, if one is. Whether there was one.
///
/// # Errors
/// When the record refuses; the delivery stays queued then.
pub async fn one(app: &App, receiver: &Receiver, now: UnixMs) -> Result<bool, StoreError> {
    let Some(row) = app.store.due_delivery(&receiver.name, now).await? else { return Ok(false) };
    let outcome = attempt(receiver, &row, now).await;
    record(app, receiver, &row, &outcome, now).await?;
    Ok(true)
}

/// Stores what came of an attempt.
///
/// # Errors
/// When the record refuses.
pub async fn record(
    app: &App,
    receiver: &Receiver,
    row: &DeliveryRow,
    outcome: &Outcome,
    now: UnixMs,
) -> Result<(), StoreError> {
    let attempts = u32::try_from(row.attempts).unwrap_or(u32::MAX).saturating_add(1);
    let queued = UnixMs(u64::try_from(row.queued).unwrap_or(0));
    let next = after(outcome, attempts, queued, now, receiver.give_up_ms, jitter());
    let (became, last) = match (&next, outcome) {
        (Next::Delivered, Outcome::Taken { said }) => (Became::Delivered, said.clone()),
        (Next::Retry(at), Outcome::Later { why, .. }) => (Became::Queued(*at), why.clone()),
        (Next::Dead(why), _) => (Became::Dead, why.clone()),
        (Next::Delivered | Next::Retry(_), _) => (Became::Delivered, String::new()),
    };
    let mut tx = app.store.write().await?;
    delivery::record(&mut tx, row.id, became, &last, now).await?;
    tx.commit().await?;
    match became {
        Became::Dead => {
            tracing::error!(receiver = receiver.name, delivery = row.id, last, "a delivery was given up");
        }
        Became::Queued(_) => {
            tracing::warn!(receiver = receiver.name, delivery = row.id, attempts, last, "not delivered yet")
        }
        Became::Delivered => tracing::debug!(receiver = receiver.name, delivery = row.id, "delivered"),
    }
    app.events.publish(FleetEvent::Alerts);
    Ok(())
}

/// One attempt.
pub async fn attempt(receiver: &Receiver, row: &DeliveryRow, now: UnixMs) -> Outcome {
    match try_once(receiver, row, now).await {
        Ok(outcome) => outcome,
        // A file that cannot be read may be put right.
        Err(why) => Outcome::Later { why, after_ms: None },
    }
}

async fn try_once(receiver: &Receiver, row: &DeliveryRow, now: UnixMs) -> Result<Outcome, String> {
    let message: Value = serde_json::from_str(&row.body).map_err(|e| e.to_string())?;
    let mut post = Post {
        url: "",
        headers: Vec::new(),
        body: Vec::new(),
        timeout: Duration::from_millis(receiver.timeout_ms),
        ca_file: receiver.ca_file.as_deref(),
    };
    let url;
    match &receiver.kind {
        ReceiverKind::Webhook { url, secret_file } => {
            post.url = url;
            post.body = row.body.clone().into_bytes();
            post.headers = signed(secret_file.as_deref(), &row.message, now, &post.body).await?;
        }
        ReceiverKind::Alertmanager { url: base, token_file } => {
            url = format!("{base}/api/v2/alerts");
            post.url = &url;
            post.body = json!([alertmanager::alert(&message, now)]).to_string().into_bytes();
            post.headers = bearer(token_file.as_deref()).await?;
        }
        ReceiverKind::Dispatch { url, event_type, token_file, secret_file } => {
            post.url = url;
            let payload = dispatch(secret_file.as_deref(), row, now).await?;
            post.body =
                json!({ "event_type": event_type, "client_payload": payload }).to_string().into_bytes();
            post.headers = bearer(token_file.as_deref()).await?;
            post.headers.push(("accept", "application/vnd.github+json".into()));
            post.headers.push(("x-github-api-version", "2022-11-28".into()));
        }
        ReceiverKind::Smtp(smtp) => return Ok(mail::send(receiver, smtp, &row.message, &message).await),
    }
    Ok(http::post(post, now).await)
}

/// The headers of Standard Webhooks.
async fn signed(
    secret_file: Option<&str>,
    id: &str,
    now: UnixMs,
    body: &[u8],
) -> Result<Vec<(&'static str, String)>, String> {
    let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", now.secs().to_string())];
    if let Some(file) = secret_file {
        let keys = secret::keys(file).await?;
        headers.push(("webhook-signature", sign::signatures(&keys, id, now.secs(), body)));
    }
    Ok(headers)
}

async fn bearer(token_file: Option<&str>) -> Result<Vec<(&'static str, String)>, String> {
    match token_file {
        None => Ok(Vec::new()),
        Some(file) => Ok(vec![("authorization", format!("Bearer {}", secret::line(file).await?))]),
    }
}

/// The request as text, because a signature is over bytes and not over what a program makes of them.
async fn dispatch(secret_file: Option<&str>, row: &DeliveryRow, now: UnixMs) -> Result<Value, String> {
    let mut payload = json!({ "id": row.message, "timestamp": now.secs().to_string(), "request": row.body });
    if let Some(file) = secret_file {
        let keys = secret::keys(file).await?;
        payload["signature"] = sign::signatures(&keys, &row.message, now.secs(), row.body.as_bytes()).into();
    }
    Ok(payload)
}

/// Sends everything that fires to an Alertmanager once more, which otherwise takes it for resolved.
///
/// # Errors
/// When the record cannot be read.
pub async fn refresh(app: &App, receiver: &Receiver, now: UnixMs) -> Result<(), StoreError> {
    let ReceiverKind::Alertmanager { url, token_file } = &receiver.kind else { return Ok(()) };
    let filter = Filter { state: "active".into(), ..Filter::default() };
    let rows = app.store.alerts(&filter, None, BATCH).await?;
    let silences = app.store.silences_in_force(now).await?;
    let quiet = |r: &crate::store::alert::AlertRow| {
        let rule = app.config.alerting.rule(&r.cause.rule);
        rule.is_none_or(|rule| !rule.goes_to(&receiver.name) || is_silenced(&silences, &r.cause, rule, now))
    };
    let alerts: Vec<Value> = rows
        .iter()
        .map(|(_, row)| row)
        .filter(|row| row.alert.told.is_some_and(|t| t.firing) && !quiet(row))
        .map(|row| alertmanager::alert(&message::alert(app, row, "fired", now), now))
        .collect();
    if alerts.is_empty() {
        return Ok(());
    }
    let headers = match bearer(token_file.as_deref()).await {
        Ok(headers) => headers,
        Err(why) => {
            tracing::warn!(receiver = receiver.name, why, "what fires could not be sent again");
            return Ok(());
        }
    };
    let post = Post {
        url: &format!("{url}/api/v2/alerts"),
        headers,
        body: Value::from(alerts).to_string().into_bytes(),
        timeout: Duration::from_millis(receiver.timeout_ms),
        ca_file: receiver.ca_file.as_deref(),
    };
    if let Outcome::Later { why, .. } | Outcome::Never { why } = http::post(post, now).await {
        tracing::warn!(receiver = receiver.name, why, "what fires could not be sent again");
    }
    Ok(())
}
