//! Background work: the rollout executor, the checks of uploads, verdicts on a schedule, alerts.
//!
//! What always holds: everything a job does is derived from the record, and a transaction holds only as long as what it was
//! derived from; a job that is killed starts again where the record says, and doing a step twice does no harm.

mod checks;
pub mod control;
pub mod executor;
pub mod monitor;
pub mod planning;
mod promotion;

use std::time::{Duration, Instant};

use self::executor::Scope;
use crate::app::Shared;

/// How often the executor looks when nothing wakes it.
const TICK: Duration = Duration::from_millis(500);
/// Every so many looks, it also looks at rollouts that are not under way: that reads the whole inventory.
const ALL_EVERY: u32 = 10;
/// Events that come close together wake it once.
const GATHER: Duration = Duration::from_millis(50);
/// After a look it rests for so many times as long as that took: a large fleet's events must not keep it looking for ever.
const REST: u32 = 9;
/// And never longer than this.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Starts all jobs; they end when `app.stop` is cancelled.
pub fn spawn(app: Shared) {
    crate::alerts::spawn(&app);
    tokio::spawn(execute_rollouts(app.clone()));
    tokio::spawn(checks::run(app.clone()));
    tokio::spawn(monitor::run(app));
}

async fn execute_rollouts(app: Shared) {
    let mut events = app.events.subscribe();
    for look in (0..ALL_EVERY).cycle() {
        let scope = if look == 0 { Scope::All } else { Scope::UnderWay };
        let begun = Instant::now();
        let unfinished = match executor::tick(&app, scope, crate::app::now()).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::error!(%error, "the rollout executor could not do its work; it tries again");
                false
            }
        };
        if unfinished && !app.stop.is_cancelled() {
            continue;
        }
        let rest = (begun.elapsed() * REST).clamp(GATHER, LONGEST_REST);
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(TICK.max(rest)) => {}
            // Lagging behind is no loss: the record is read again anyway.
            _ = events.recv() => tokio::select! {
                () = app.stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            },
        }
        while events.try_recv().is_ok() {}
    }
}
