//! Alerts in the running server: looks at the fleet on a schedule, stores what follows, tells whoever is to be told, and lets
//! people acknowledge, resolve and silence. Transitions of rollouts are told in the same way.
//!
//! What always holds: what happens to an alert and what is to be delivered because of it commit in one transaction; whatever
//! is queued is delivered or given up visibly, also when the server is killed between any two steps; a receiver that is slow or
//! dead holds up no other one.

pub mod act;
mod alertmanager;
pub mod deliver;
mod http;
pub mod judge;
mod mail;
mod message;
mod metrics;
pub mod rollouts;
mod secret;
pub mod sign;

pub use message::about;
pub use metrics::metrics;
pub use secret::unreadable;

use std::time::Duration;

use longshore_trust::UnixMs;

use crate::app::Shared;
use crate::store::{StoreError, alert};

/// How often what is old is forgotten.
const PRUNE_EVERY_MS: u64 = 3_600_000;

/// Starts looking and delivering; both end when `app.stop` is cancelled.
pub fn spawn(app: &Shared) {
    tokio::spawn(look(app.clone()));
    tokio::spawn(rollouts::run(app.clone()));
    for receiver in &app.config.alerting.receivers {
        tokio::spawn(deliver::run(app.clone(), receiver.clone()));
    }
}

async fn look(app: Shared) {
    if let Err(error) = forget_receivers(&app).await {
        tracing::error!(%error, "cannot give up deliveries to receivers that are gone");
    }
    let every = Duration::from_secs(app.config.alerts.every_s);
    let mut pruned = UnixMs(0);
    loop {
        let now = crate::app::now();
        if let Err(error) = judge::look(&app, now).await {
            tracing::error!(%error, "the alert rules could not be judged; trying again");
        }
        if now.since(pruned) >= PRUNE_EVERY_MS {
            pruned = now;
            if let Err(error) = prune(&app, now).await {
                tracing::error!(%error, "old alerts could not be forgotten; trying again");
            }
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

async fn prune(app: &Shared, now: UnixMs) -> Result<(), StoreError> {
    let keep = app.config.alerts.keep_d.saturating_mul(86_400_000);
    let mut tx = app.store.write().await?;
    alert::prune(&mut tx, UnixMs(now.0.saturating_sub(keep))).await?;
    tx.commit().await
}

/// What waits for a receiver that was taken out of the configuration would wait for ever.
async fn forget_receivers(app: &Shared) -> Result<(), StoreError> {
    let known: Vec<String> = app.config.alerting.receivers.iter().map(|r| r.name.clone()).collect();
    let mut tx = app.store.write().await?;
    let n = alert::delivery::give_up_unknown(&mut tx, &known, crate::app::now()).await?;
    tx.commit().await?;
    if n > 0 {
        tracing::warn!(deliveries = n, "given up: their receivers are no longer in the configuration");
    }
    Ok(())
}
