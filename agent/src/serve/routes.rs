//! Paths and methods. Everything that is not here answers 404 or 405 with `{"error": ...}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::feedback::Origin;
use super::models::Served;
use super::refusal::Refused;
use super::{Service, describe, feedback, infer, metrics};
use crate::engine::protocol::Query;

type Shared = State<Arc<Service>>;
type Answer = Result<Response, Refused>;

/// All routes, for requests that come from `origin`.
pub fn router(service: Arc<Service>, origin: Origin) -> Router {
    let model = Router::new()
        .route("/", get(model_metadata))
        .route("/ready", get(model_ready))
        .route("/config", get(model_config))
        .route("/stats", get(model_stats))
        .route("/infer", post(model_infer))
        .route("/load", post(not_by_clients))
        .route("/unload", post(not_by_clients));
    let version = Router::new()
        .route("/", get(version_metadata))
        .route("/ready", get(version_ready))
        .route("/config", get(version_config))
        .route("/stats", get(version_stats))
        .route("/infer", post(version_infer));
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/repository/index", post(index))
        .nest("/v2/models/{model}", model)
        .nest("/v2/models/{model}/versions/{version}", version)
        .route("/longshore/v1/feedback", post(give_feedback))
        .route("/longshore/v1/status", get(status))
        .route("/metrics", get(all_metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(origin))
        .with_state(service)
}

/// What answers for a model, if it is the wanted version.
///
/// # Errors
/// 404, naming what is served.
pub fn find(service: &Service, model: &str, version: Option<&str>) -> Result<Arc<Served>, Refused> {
    let missing = |text: String| Refused::with(StatusCode::NOT_FOUND, text);
    let name: String = model.chars().take(80).collect();
    let served =
        service.models.get(model).ok_or_else(|| missing(format!("model {name:?} is not served here")))?;
    match version {
        Some(v) if v != served.version => {
            let v: String = v.chars().take(80).collect();
            Err(missing(format!("model {name:?} is served in version {}, not in {v:?}", served.version)))
        }
        _ => Ok(served),
    }
}

async fn server() -> Json<Value> {
    Json(describe::server())
}
async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}
async fn ready(State(s): Shared) -> Answer {
    if s.is_draining() {
        return Err(Refused::with(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping"));
    }
    Ok(Json(json!({ "ready": true })).into_response())
}
async fn index(State(s): Shared) -> Json<Value> {
    Json(s.models.all().iter().map(|m| describe::index_entry(m)).collect())
}

async fn model_metadata(State(s): Shared, Path(m): Path<String>) -> Answer {
    Ok(Json(describe::model(&*find(&s, &m, None)?)).into_response())
}
async fn version_metadata(State(s): Shared, Path((m, v)): Path<(String, String)>) -> Answer {
    Ok(Json(describe::model(&*find(&s, &m, Some(&v))?)).into_response())
}
async fn model_ready(State(s): Shared, Path(m): Path<String>) -> Answer {
    let served = find(&s, &m, None)?;
    Ok(Json(json!({ "name": served.name(), "ready": true })).into_response())
}
async fn version_ready(State(s): Shared, Path((m, v)): Path<(String, String)>) -> Answer {
    let served = find(&s, &m, Some(&v))?;
    Ok(Json(json!({ "name": served.name(), "ready": true })).into_response())
}
async fn model_config(State(s): Shared, Path(m): Path<String>) -> Answer {
    Ok(Json(describe::config(&*find(&s, &m, None)?)).into_response())
}
async fn version_config(State(s): Shared, Path((m, v)): Path<(String, String)>) -> Answer {
    Ok(Json(describe::config(&*find(&s, &m, Some(&v))?)).into_response())
}
async fn model_stats(State(s): Shared, Path(m): Path<String>) -> Answer {
    Ok(Json(describe::stats(&*find(&s, &m, None)?)).into_response())
}
async fn version_stats(State(s): Shared, Path((m, v)): Path<(String, String)>) -> Answer {
    Ok(Json(describe::stats(&*find(&s, &m, Some(&v))?)).into_response())
}
async fn model_infer(
    State(s): Shared,
    Extension(origin): Extension<Origin>,
    Path(m): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    infer::infer(&s, &m, None, origin, &headers, body).await
}
async fn version_infer(
    State(s): Shared,
    Extension(origin): Extension<Origin>,
    Path((m, v)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    infer::infer(&s, &m, Some(&v), origin, &headers, body).await
}
async fn nothing_here(State(s): Shared, headers: HeaderMap, body: Body) -> Refused {
    s.bounds.discard(&headers, body).await;
    Refused::with(StatusCode::NOT_FOUND, "there is nothing at this path")
}
async fn wrong_method(State(s): Shared, headers: HeaderMap, body: Body) -> Refused {
    s.bounds.discard(&headers, body).await;
    Refused::with(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}
async fn not_by_clients(State(s): Shared, headers: HeaderMap, body: Body) -> Refused {
    s.bounds.discard(&headers, body).await;
    let text = "models are loaded and unloaded by the fleet's signed assignments, not by clients";
    Refused::with(StatusCode::FORBIDDEN, text)
}

async fn give_feedback(
    State(s): Shared,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    feedback::feedback(&s, origin, &headers, body).await
}
async fn status(State(s): Shared) -> Answer {
    let reply = s.queries.ask(Query::Status).await?;
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok((status, [(header::CONTENT_TYPE, "application/json")], reply.body).into_response())
}
async fn all_metrics(State(s): Shared) -> Answer {
    let mut text = metrics::text(&s.models.all(), &s.figures, s.pool.waiting());
    match s.queries.ask(Query::Metrics).await {
        Ok(reply) if reply.status == 200 => text.push_str(&String::from_utf8_lossy(&reply.body)),
        // The engine's own figures are worth having even then.
        Ok(reply) => text.push_str(&format!("# the supervisor answered {}\n", reply.status)),
        Err(e) => text.push_str(&format!("# {e}\n")),
    }
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
