//! Who is told of alerts: rules and receivers in effect, deliveries, dead letters, tests, requests for a new training.

use axum::Json;
use axum::extract::{Path, Query, State};
use longshore_fleet_core::alert::Rule;
use longshore_fleet_core::alert::delivery::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::alerts::cursor_number;
use super::page::{Page, PageQuery};
use super::problem::{Body, Problem};
use crate::alerts::act;
use crate::app::{Shared, now};
use crate::auth::Actor;
use crate::store::alert::delivery::DeliveryRow;

/// The rules in effect, and where notices go.
#[derive(Serialize, ToSchema)]
pub struct RulesView {
    /// The rules.
    #[schema(value_type = Vec<Object>)]
    rules: Vec<Rule>,
    /// Whether they are the ones that come with the server.
    shipped: bool,
    /// Receivers, without their secrets.
    receivers: Vec<ReceiverView>,
}

/// A receiver.
#[derive(Serialize, ToSchema)]
pub struct ReceiverView {
    /// Its name.
    name: String,
    /// `webhook`, `alertmanager`, `smtp`, `dispatch`.
    kind: &'static str,
    /// Where it is, as far as that is no secret.
    place: String,
    /// Deliveries that wait.
    queued: i64,
    /// Deliveries that were given up.
    dead: i64,
}

/// Which deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// `queued`, `delivered`, `dead`; all when left out.
    state: Option<String>,
    /// Only those about this alert.
    alert: Option<u64>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items in a page, 1 to 500 (100 when left out).
    limit: Option<u32>,
}

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Its number.
    id: i64,
    /// The id that the receiver sees, the same in every attempt.
    message: String,
    /// To whom.
    receiver: String,
    /// About which alert.
    alert: Option<i64>,
    /// About which rollout.
    rollout: Option<String>,
    /// `fired`, `repeated`, `grown`, `resolved`, `retrain`, `test`, or a transition like `rollout.completed`.
    what: String,
    /// `queued`, `delivered`, `dead`.
    state: String,
    /// Attempts so far.
    attempts: i64,
    /// When the next attempt is due, ms; null when none is.
    due: Option<i64>,
    /// Since when it is to be made, ms.
    queued: i64,
    /// When something about it changed, ms.
    changed: i64,
    /// What came of the last attempt.
    last: String,
}

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        Self {
            due: (row.state == "queued").then_some(row.due),
            id: row.id,
            message: row.message,
            receiver: row.receiver,
            alert: row.alert,
            rollout: row.rollout,
            what: row.what,
            state: row.state,
            attempts: row.attempts,
            queued: row.queued,
            changed: row.changed,
            last: row.last,
        }
    }
}

/// Whom to retry.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBody {
    /// Only deliveries to this receiver; all when left out.
    receiver: Option<String>,
}

/// How many are tried again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retried {
    /// So many.
    deliveries: u64,
}

/// Which receiver is tested.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestBody {
    /// Its name.
    receiver: String,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tested {
    /// Number of the delivery.
    delivery: u64,
    /// Whether the receiver took it.
    delivered: bool,
    /// What it said, or why it could not be reached.
    said: String,
}

/// A request for a new training.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetrainView {
    /// Its number.
    id: i64,
    /// The alert that asked for it.
    alert: i64,
    /// The model.
    model: String,
    /// SHA-256 of the request as it was sent; it stands in the audit log.
    sha256: String,
    /// When, ms.
    created: i64,
    /// The request as it was sent.
    #[schema(value_type = Object)]
    request: Value,
}

/// The rules in effect, and where notices go.
#[utoipa::path(get, path = "/api/v1/alerts/rules", tag = "alerts", responses((status = 200, body = RulesView)))]
pub async fn rules(State(app): State<Shared>, _: Actor) -> Result<Json<RulesView>, Problem> {
    let counts = app.store.delivery_counts().await?;
    let settings = &app.config.alerting;
    let receivers = settings.receivers.iter().map(|r| {
        let of = |state: &str| {
            let found = counts.iter().find(|c| c.receiver == r.name && c.state == state);
            found.map_or(0, |c| c.deliveries)
        };
        ReceiverView {
            name: r.name.clone(),
            kind: r.kind_name(),
            place: r.place(),
            queued: of("queued"),
            dead: of("dead"),
        }
    });
    Ok(Json(RulesView {
        rules: settings.rules.clone(),
        shipped: settings.shipped,
        receivers: receivers.collect(),
    }))
}

/// Deliveries, newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "alerts", params(DeliveryQuery),
    responses((status = 200, body = Page<DeliveryView>)))]
pub async fn list(
    State(app): State<Shared>,
    _: Actor,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<Page<DeliveryView>>, Problem> {
    let state = query.state.unwrap_or_default();
    if !["", "queued", "delivered", "dead"].contains(&state.as_str()) {
        return Err(Problem::invalid("delivery.filter", "state is queued, delivered or dead"));
    }
    let page = PageQuery { cursor: query.cursor, limit: query.limit };
    let limit = page.limit();
    let rows = app.store.deliveries(query.alert, &state, cursor_number(&page)?, limit + 1).await?;
    let page = Page::of(rows, limit, |r| r.id.to_string());
    Ok(Json(Page { items: page.items.into_iter().map(DeliveryView::from).collect(), next: page.next }))
}

/// Tries dead deliveries again: all, or those to one receiver.
#[utoipa::path(post, path = "/api/v1/deliveries/retry", request_body = RetryBody, tag = "alerts",
    responses((status = 200, body = Retried)))]
pub async fn retry_all(
    State(app): State<Shared>,
    actor: Actor,
    Body(body): Body<RetryBody>,
) -> Result<Json<Retried>, Problem> {
    let deliveries = act::retry(&app, None, body.receiver.as_deref(), &actor.name, now()).await?;
    Ok(Json(Retried { deliveries }))
}

/// Tries a dead delivery again.
#[utoipa::path(post, path = "/api/v1/deliveries/{delivery}/retry", tag = "alerts", params(("delivery" = u64, Path)),
    responses((status = 200, body = Retried), (status = 404, body = Problem)))]
pub async fn retry(
    State(app): State<Shared>,
    actor: Actor,
    Path(id): Path<u64>,
) -> Result<Json<Retried>, Problem> {
    let deliveries = act::retry(&app, Some(id), None, &actor.name, now()).await?;
    Ok(Json(Retried { deliveries }))
}

/// Sends a test to a receiver now and says what came of it.
#[utoipa::path(post, path = "/api/v1/alerts/test", request_body = TestBody, tag = "alerts",
    responses((status = 200, body = Tested), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn test(
    State(app): State<Shared>,
    actor: Actor,
    Body(body): Body<TestBody>,
) -> Result<Json<Tested>, Problem> {
    let (delivery, outcome) = act::test(&app, &body.receiver, &actor.name, now()).await?;
    let (delivered, said) = match outcome {
        Outcome::Taken { said } => (true, said),
        Outcome::Later { why, .. } | Outcome::Never { why } => (false, why),
    };
    Ok(Json(Tested { delivery, delivered, said }))
}

/// Requests for a new training, newest first.
#[utoipa::path(get, path = "/api/v1/retraining", tag = "alerts", params(PageQuery),
    responses((status = 200, body = Page<RetrainView>)))]
pub async fn retraining(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<RetrainView>>, Problem> {
    let limit = page.limit();
    let rows = app.store.retrain_requests(cursor_number(&page)?, limit + 1).await?;
    let page = Page::of(rows, limit, |r| r.id.to_string());
    let view = |r: crate::store::alert::retrain::RetrainRow| RetrainView {
        id: r.id,
        alert: r.alert,
        model: r.model,
        sha256: r.sha256,
        created: r.created,
        request: serde_json::from_str(&r.body).unwrap_or_default(),
    };
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}
