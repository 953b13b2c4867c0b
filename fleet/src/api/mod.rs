//! REST API under `/api/v1`.
//!
//! What always holds: every route but signing in, the OpenAPI document and health needs an actor; every refusal is a
//! problem document with a stable code; lists are paged; bodies and times are bounded; a POST may carry an idempotency
//! key; what changes a rollout may say which state it was looking at (`If-Match`).

mod alerts;
mod audit;
mod deliveries;
mod devices;
mod document;
mod events;
mod fleet;
pub(crate) mod history;
mod idempotency;
mod models;
mod monitor;
mod monitor_view;
mod objects;
mod page;
mod problem;
mod promotion;
pub mod recheck;
mod rollout_devices;
mod rollouts;
mod rollouts_view;
mod session;
mod signature;
mod trust;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware;
use axum::routing::{delete, get, post, put};

pub use document::openapi;
pub use problem::Problem;

use crate::app::Shared;

/// All routes of the API.
pub fn router(app: Shared) -> Router {
    let once = idempotency::Once { app: app.clone(), running: Arc::new(Mutex::new(HashSet::new())) };
    let quick = Router::new()
        .route("/api/v1/session", post(session::sign_in).delete(session::sign_out))
        .route("/api/v1/fleet", get(fleet::show))
        .route("/api/v1/devices", get(devices::list))
        .route("/api/v1/devices/tokens", post(devices::token))
        .route("/api/v1/devices/{device}", get(devices::show).delete(devices::revoke))
        .route("/api/v1/devices/{device}/decommission", post(devices::decommission))
        .route("/api/v1/devices/{device}/release", post(devices::release))
        .route("/api/v1/models", get(models::list))
        .route("/api/v1/models/{model}", get(models::show))
        .route("/api/v1/models/{model}/versions", get(models::versions).post(models::create))
        .route("/api/v1/models/{model}/versions/{version}", get(models::version))
        .route("/api/v1/models/{model}/versions/{version}/deprecate", post(models::deprecate))
        .route("/api/v1/models/{model}/versions/{version}/retire", post(models::retire))
        .route("/api/v1/models/{model}/versions/{version}/drift", get(monitor::drift))
        .route("/api/v1/models/{model}/versions/{version}/drift/{feature}", get(monitor::feature))
        .route("/api/v1/models/{model}/versions/{version}/quality", get(monitor::quality))
        .route("/api/v1/models/{model}/versions/{version}/fairness", get(monitor::fairness))
        .route("/api/v1/models/{model}/versions/{version}/cohorts", get(monitor::cohorts))
        .route("/api/v1/models/{model}/aliases/{alias}", put(models::alias))
        .route("/api/v1/trust/metadata", post(trust::submit))
        .route("/api/v1/trust/ceremony", post(trust::ceremony))
        .route("/api/v1/trust/pending/{*role}", get(trust::pending))
        .route("/api/v1/audit", get(audit::show))
        .route("/api/v1/audit/checkpoint", get(audit::checkpoint))
        .route("/api/v1/audit/checkpoints", get(audit::checkpoints))
        .route("/api/v1/audit/entries", get(audit::entries))
        .route("/api/v1/audit/search", get(audit::search))
        .route("/api/v1/audit/proof/inclusion", get(audit::inclusion))
        .route("/api/v1/audit/proof/consistency", get(audit::consistency))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/rules", get(deliveries::rules))
        .route("/api/v1/alerts/test", post(deliveries::test))
        .route("/api/v1/alerts/{alert}", get(alerts::show))
        .route("/api/v1/alerts/{alert}/devices", get(alerts::devices))
        .route("/api/v1/alerts/{alert}/{action}", post(alerts::act))
        .route("/api/v1/silences", get(alerts::silences).post(alerts::silence))
        .route("/api/v1/silences/{silence}", delete(alerts::end_silence))
        .route("/api/v1/deliveries", get(deliveries::list))
        .route("/api/v1/deliveries/retry", post(deliveries::retry_all))
        .route("/api/v1/deliveries/{delivery}/retry", post(deliveries::retry))
        .route("/api/v1/retraining", get(deliveries::retraining))
        .route("/api/v1/policies", get(rollouts::policies))
        .route("/api/v1/policies/check", post(rollouts::check))
        .route("/api/v1/rollouts", get(rollouts::list).post(rollouts::create))
        .route("/api/v1/rollouts/{rollout}", get(rollouts::show))
        .route("/api/v1/rollouts/{rollout}/plan", get(rollouts::plan))
        .route("/api/v1/rollouts/{rollout}/rehearsal", get(rollouts::rehearsal))
        .route("/api/v1/rollouts/{rollout}/devices", get(rollout_devices::list))
        .route("/api/v1/rollouts/{rollout}/log", get(rollouts::log))
        .route("/api/v1/rollouts/{rollout}/record", get(promotion::show))
        .route("/api/v1/rollouts/{rollout}/{action}", post(rollouts::act))
        .route("/api/v1/history", get(history::show))
        .route("/api/v1/openapi.json", get(document::serve))
        .layer(DefaultBodyLimit::max(idempotency::MAX_BODY))
        .layer(middleware::from_fn_with_state(once, idempotency::once))
        .layer(middleware::from_fn(idempotency::timeout));
    let streaming = Router::new()
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/objects/{sha256}", put(objects::put))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .merge(quick)
        .merge(streaming)
        .route("/api/v1/{*rest}", axum::routing::any(no_such_route))
        .with_state(app)
}

/// Says so as a problem document.
async fn no_such_route(uri: Uri) -> Problem {
    Problem::not_found(
        "route.unknown",
        format!("{} is no route of this API; see /api/v1/openapi.json", uri.path()),
    )
}
