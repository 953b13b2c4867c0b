//! Transitions of rollouts and of their waves, told to the receivers that take them.
//!
//! What always holds: a transition is told from the rollout's own log, where it was written in the transaction that made it;
//! what is queued and how far the log has been read commit together, so that a crash neither loses nor repeats one.

use std::collections::HashMap;
use std::time::Duration;

use longshore_fleet_core::alert::{Receiver, Topic};
use longshore_trust::UnixMs;
use serde_json::{Value, json};

use super::message::{self, iso};
use crate::app::{App, Shared};
use crate::events::FleetEvent;
use crate::store::alert::delivery::{self, About, NewDelivery};
use crate::store::views::RolloutEventRow;
use crate::store::{self, StoreError, rollout};

/// Number of the last line that was told.
const TOLD: &str = "rollouts_told";
/// Lines in one transaction.
const BATCH: u32 = 200;
/// How often the log is read when nothing is said.
const IDLE: Duration = Duration::from_secs(30);

/// Tells until the server stops.
pub async fn run(app: Shared) {
    use tokio::sync::broadcast::error::RecvError;
    let mut events = app.events.subscribe();
    loop {
        match tell(&app, crate::app::now()).await {
            Ok(0) => {}
            Ok(_) => continue,
            Err(error) => tracing::error!(%error, "transitions of rollouts cannot be told; trying again"),
        }
        let moved = async {
            loop {
                match events.recv().await {
                    Ok(FleetEvent::Rollout(_)) | Err(RecvError::Lagged(_)) => return,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(IDLE) => {}
            () = moved => {}
        }
    }
}

/// Queues what the log holds beyond what was told, a batch at most. How many lines were read.
///
/// # Errors
/// When the record refuses; nothing is queued then.
pub async fn tell(app: &App, now: UnixMs) -> Result<usize, StoreError> {
    // Asked without a transaction first: a server where nothing moves writes nothing.
    if !app.store.rollout_lines_to_tell(TOLD).await? {
        return Ok(0);
    }
    let receivers: Vec<&Receiver> =
        app.config.alerting.receivers.iter().filter(|r| r.takes(Topic::Rollouts)).collect();
    let mut tx = app.store.write().await?;
    let told = store::get_meta(&mut tx, TOLD).await?.and_then(|t| t.parse().ok()).unwrap_or(0);
    let lines = rollout::lines_after(&mut tx, told, BATCH).await?;
    let Some(last) = lines.last() else { return Ok(0) };
    let mut queued = 0;
    let mut known = HashMap::new();
    for line in lines.iter().filter(|l| l.entered().is_some() && !receivers.is_empty()) {
        if !known.contains_key(&line.rollout) {
            let found = match line.rollout.parse() {
                Ok(id) => rollout::get(&mut tx, &id).await?,
                Err(_) => None,
            };
            known.insert(line.rollout.clone(), found);
        }
        let Some(Some(about)) = known.get(&line.rollout) else { continue };
        let gates = match line.wave.and_then(|w| usize::try_from(w).ok()) {
            Some(wave) => {
                rollout::waves(&mut tx, &about.id).await?.into_iter().nth(wave).and_then(|w| w.verdict)
            }
            None => None,
        };
        let body = transition(app, about, line, gates.map(|v| json!(v)));
        let what = body["type"].as_str().unwrap_or("rollout").to_owned();
        let text = body.to_string();
        for receiver in &receivers {
            let new = NewDelivery {
                receiver: &receiver.name,
                about: About::Rollout(about.id.as_str()),
                what: &what,
                body: &text,
                queue: app.config.alerts.queue,
            };
            delivery::enqueue(&mut tx, &new, now).await?;
            queued += 1;
        }
    }
    store::set_meta(&mut tx, TOLD, &last.id.to_string()).await?;
    tx.commit().await?;
    if queued > 0 {
        app.events.publish(FleetEvent::Alerts);
    }
    Ok(lines.len())
}

/// What is said of one transition.
fn transition(app: &App, r: &rollout::Rollout, line: &RolloutEventRow, verdict: Option<Value>) -> Value {
    let entered = line.entered().unwrap_or_default();
    let of = if line.wave.is_some() { "wave" } else { "rollout" };
    let at = UnixMs(u64::try_from(line.time).unwrap_or(0));
    json!({
        "type": format!("{of}.{entered}"),
        "timestamp": iso(at),
        "data": {
            "fleet": app.fleet,
            "rollout": r.id,
            "model": r.model,
            "version": r.version,
            "bundle": r.bundle.to_hex(),
            "generation": r.generation,
            "line": line.id,
            "wave": line.wave,
            "state": entered,
            "reason": line.text,
            "verdict": verdict,
            "url": message::link(app, &format!("rollouts/{}", r.id)),
        },
    })
}
