//! Plain HTTP for operators: console, API, trust metadata and targets for a CDN, health and metrics.
//!
//! It listens on loopback by default; whoever opens it puts a TLS proxy in front.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;

use crate::app::Shared;
use crate::{accept, api, console, device_plane, http};

/// Connections at the same time: browsers keep some open for live pages.
const CONNECTIONS: usize = 1024;
/// Longest life of a connection; a live page connects again by itself.
const CONNECTION_LIFE: Duration = Duration::from_secs(12 * 3600);

/// All routes for operators.
pub fn router(app: Shared) -> Router {
    let health = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&app));
    Router::new()
        .merge(api::router(Arc::clone(&app)))
        .merge(console::router(Arc::clone(&app)))
        .merge(device_plane::trust(Arc::clone(&app)))
        .merge(device_plane::targets_for_operators(app))
        .merge(health)
}

/// Serves `router` until `stop`.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, tasks: TaskTracker) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    accept::each(listener, stop.clone(), |stream, from| {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            return tracing::warn!(%from, "closed: too many connections to the operator plane");
        };
        let service = Extension(ConnectInfo(from)).layer(router.clone());
        let stop = stop.clone();
        tasks.spawn(async move {
            http::connection(stream, service, CONNECTION_LIFE, stop).await;
            drop(permit);
        });
    })
    .await;
}

/// Ready means: the record can be read, and devices can be heard.
async fn ready(State(app): State<Shared>) -> Response {
    if let Err(error) = app.store.epoch().await {
        return not_ready(&format!("the database cannot be read: {error}"));
    }
    if !app.gateway.metrics().linked.load(Ordering::Relaxed) {
        return not_ready("the gateway has no connection to the MQTT broker");
    }
    "ready\n".into_response()
}

fn not_ready(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

async fn metrics(State(app): State<Shared>) -> Response {
    match render(&app).await {
        Ok(text) => {
            let head = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (head, text).into_response()
        }
        Err(error) => not_ready(&format!("the database cannot be read: {error}")),
    }
}

async fn render(app: &Shared) -> Result<String, crate::store::StoreError> {
    let counts = app.store.device_counts().await?;
    let m = app.gateway.metrics();
    let load = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
    let [forks, changed, rolled_back] = app.store.audit_alarm_counts().await?;
    let gauges = [
        ("longshore_audit_entries", "Entries of the audit log", app.store.audit_size().await?),
        (
            "longshore_audit_signed_entries",
            "Entries that the newest checkpoint covers",
            app.audit.latest().map_or(0, |c| c.size),
        ),
        (
            "longshore_audit_witnesses",
            "Devices that have said which checkpoint they saw",
            app.store.audit_witnesses().await?.0,
        ),
        ("longshore_devices", "Enrolled devices", counts.devices),
        ("longshore_devices_online", "Connected devices", counts.online),
        ("longshore_fleet_epoch", "Raised by every restore", app.director.epoch()),
        (
            "longshore_broker_linked",
            "Whether the gateway is connected to its broker",
            u64::from(m.linked.load(Ordering::Relaxed)),
        ),
    ];
    let counters = [
        ("longshore_rows_counted_total", "Rows counted over all devices", app.store.rows_counted().await?),
        ("longshore_ingest_received_total", "Messages received", load(&m.received)),
        ("longshore_ingest_stored_total", "Messages stored for the first time", load(&m.stored)),
        ("longshore_ingest_duplicates_total", "Messages that were stored before", load(&m.duplicates)),
        ("longshore_ingest_quarantined_total", "Messages kept without being read", load(&m.quarantined)),
        ("longshore_ingest_refused_total", "Messages whose signature or form is wrong", load(&m.refused)),
        ("longshore_ingest_limited_total", "Messages over a device's rate", load(&m.limited)),
        ("longshore_ingest_overrun_total", "Messages dropped before a full queue", load(&m.overrun)),
        ("longshore_ingest_batches_total", "Transactions", load(&m.batches)),
        ("longshore_receipts_total", "Receipts sent", load(&m.receipts)),
        ("longshore_audit_forks_total", "Checkpoints that the audit log does not continue", forks),
        ("longshore_audit_changed_entries_total", "Entries that are not what was hashed", changed),
        ("longshore_audit_rollbacks_total", "Seen checkpoints that a restore has cut off", rolled_back),
        (
            "longshore_audit_foreign_checkpoints_total",
            "Checkpoints in reports that were never signed",
            app.audit.refused(),
        ),
        ("longshore_hellos_total", "Hellos answered", load(&m.hellos)),
    ];
    let mut out = String::new();
    for (kind, rows) in [("gauge", &gauges[..]), ("counter", &counters[..])] {
        for (name, help, value) in rows {
            writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}")
                .expect("writing to a string does not fail");
        }
    }
    out.push_str(&crate::monitor::metrics(&app.store).await?);
    out.push_str(&crate::alerts::metrics(app).await?);
    match app.trust.metrics(crate::app::now()).await {
        Ok(text) => out.push_str(&text),
        Err(crate::trust_repo::TrustRepoError::Store(e)) => return Err(e),
        Err(error) => tracing::error!(%error, "cannot read when trust metadata expires"),
    }
    Ok(out)
}
