//! The OpenAPI 3.1 document. `docs/openapi.json` is its checked-in snapshot; a test fails when they differ.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    alerts, audit, deliveries, devices, events, fleet, history, models, monitor, objects, promotion,
    rollout_devices, rollouts, session, trust,
};

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(crate::auth::COOKIE));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longshore fleet",
        description = "Ships machine-learning models to fleets of edge devices. Errors are RFC 9457 problem documents \
            with a stable `code`; lists are paged (`cursor`, `limit`); a POST may carry an `Idempotency-Key`; rollouts \
            and alerts carry an `ETag` that acts may name in `If-Match`.",
        license(name = "Apache-2.0 OR MIT")
    ),
    paths(
        session::sign_in, session::sign_out, fleet::show, events::stream,
        devices::list, devices::show, devices::token, devices::revoke, devices::decommission,
        devices::release,
        models::list, models::show, models::versions, models::create, models::version, models::deprecate,
        models::retire, models::alias, objects::put,
        monitor::drift, monitor::feature, monitor::quality, monitor::fairness, monitor::cohorts,
        trust::submit, trust::ceremony, trust::pending,
        audit::show, audit::checkpoint, audit::checkpoints, audit::entries, audit::search, audit::inclusion,
        audit::consistency,
        alerts::list, alerts::show, alerts::devices, alerts::act, alerts::silences, alerts::silence, alerts::end_silence,
        deliveries::rules, deliveries::list, deliveries::retry_all, deliveries::retry, deliveries::test,
        deliveries::retraining,
        rollouts::policies, rollouts::create, rollouts::list, rollouts::show, rollouts::plan, rollouts::log, rollouts::act,
        rollouts::rehearsal, rollouts::check, rollout_devices::list,
        promotion::show,
        history::show,
    ),
    security(("token" = []), ("session" = [])),
    modifiers(&Security)
)]
struct Document;

/// The OpenAPI document, as JSON.
#[must_use]
pub fn openapi() -> String {
    let mut text = Document::openapi().to_pretty_json().expect("the document is built from constants");
    text.push('\n');
    text
}

/// The document; needs no actor.
pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi())
}
