//! The web console: server-rendered pages that keep themselves fresh.
//!
//! What always holds: every page but the login needs a session; every form carries the session's token; what a form
//! does is done by the same functions as the API's; nothing from outside reaches a page unescaped; no page needs a
//! script to be read or to be acted upon.

mod actions;
mod alert;
mod alerts;
mod assets;
mod audit;
mod badge;
mod bar;
mod calls;
mod device;
mod devices;
mod drift;
mod error;
mod figures;
mod gates;
mod headers;
mod live;
mod models;
mod notices;
mod overview;
mod quality;
mod rollout;
mod rollout_new;
mod rollouts;
mod session;
mod shadow;
mod shell;
mod time;
mod version;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use self::error::PageError;
use self::shell::Ctx;
use crate::app::Shared;

/// Longest form: a policy is the longest there is.
const FORM: usize = 256 << 10;

/// All pages of the console.
pub fn router(app: Shared) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/devices", get(devices::page))
        .route("/devices/{device}", get(device::page))
        .route("/devices/{device}/revoke", get(actions::ask_revoke).post(actions::do_revoke))
        .route("/models", get(models::catalogue))
        .route("/models/{model}", get(models::model))
        .route("/models/{model}/aliases", post(actions::set_alias))
        .route("/models/{model}/{version}", get(version::page))
        .route("/models/{model}/{version}/quality", get(quality::quality))
        .route("/models/{model}/{version}/fairness", get(quality::fairness))
        .route("/models/{model}/{version}/{act}", get(actions::ask_version).post(actions::do_version))
        .route("/rollouts", get(rollouts::page))
        .route("/rollouts/new", get(rollout_new::form).post(actions::plan))
        .route("/rollouts/{rollout}", get(rollout::page))
        .route("/rollouts/{rollout}/{act}", get(actions::ask_rollout).post(actions::do_rollout))
        .route("/drift", get(drift::page))
        .route("/drift/{model}/{version}", get(drift::version_page))
        .route("/drift/{model}/{version}/{feature}", get(drift::feature_page))
        .route("/alerts", get(alerts::page))
        .route("/alerts/deliveries", get(notices::deliveries))
        .route("/alerts/deliveries/{delivery}/retry", post(notices::retry))
        .route("/alerts/silences", get(notices::silences))
        .route("/alerts/silences/{silence}/end", post(notices::end_silence))
        .route("/alerts/receivers/{receiver}/test", post(notices::test))
        .route("/alerts/{alert}", get(alert::page))
        .route("/alerts/{alert}/{act}", post(alert::act))
        .route("/audit", get(audit::page))
        .route("/login", get(session::form).post(session::sign_in))
        .route("/logout", post(session::sign_out))
        .route("/live", get(live::stream))
        .route("/assets/{name}", get(assets::file))
        .fallback(no_such_page)
        .layer(DefaultBodyLimit::max(FORM))
        .layer(middleware::from_fn(headers::add))
        .with_state(app)
}

/// Whoever has no session is sent to the login before being told what there is.
async fn no_such_page(_ctx: Ctx, uri: Uri) -> Result<Response, PageError> {
    Err(PageError::missing("page", uri.path(), "/"))
}
