//! Idempotency keys, and the longest time a request may take.
//!
//! A POST with an `Idempotency-Key` is carried out once for its sender: sent again, it gets the first answer again; sent
//! with another body under the same key, or while the first is still running, it is refused.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use longshore_trust::Digest;

use super::problem::Problem;
use crate::app::{Shared, now};
use crate::store::people::{self, KeptAnswer};

/// Largest JSON body, bytes.
pub(super) const MAX_BODY: usize = 4 << 20;
/// Never answered from what was kept.
const SIGN_IN: &str = "/api/v1/session";
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the middleware needs.
#[derive(Clone)]
pub(super) struct Once {
    pub app: Shared,
    pub running: Arc<Mutex<HashSet<(String, String)>>>,
}

/// Gives up on a request that takes too long.
pub(super) async fn timeout(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!(
                "the server needed more than {} s; look whether it was done before you try again",
                TIMEOUT.as_secs()
            );
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "server.timeout", detail).into_response()
        }
    }
}

/// The middleware.
pub(super) async fn once(State(state): State<Once>, request: Request, next: Next) -> Response {
    let key = request.headers().get("idempotency-key").map(|v| v.to_str().unwrap_or_default().to_owned());
    match key {
        // A sign-in answers a secret, which is kept nowhere; and whoever it is has not proven anything yet.
        Some(key) if request.method() == Method::POST && request.uri().path() != SIGN_IN => {
            match replay(&state, request, next, key).await {
                Ok(response) => response,
                Err(problem) => problem.into_response(),
            }
        }
        _ => next.run(request).await,
    }
}

/// Ends the claim on a key, whatever becomes of the request.
struct Claim<'a>(&'a Once, (String, String));
impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

async fn replay(state: &Once, request: Request, next: Next, key: String) -> Result<Response, Problem> {
    if key.is_empty() || key.len() > 200 {
        return Err(Problem::bad_request("idempotency.key", "an Idempotency-Key has 1 to 200 characters"));
    }
    let (parts, body) = request.into_parts();
    // The sender, as far as the headers tell; whether they are right is checked by the route itself.
    let sender = [header::AUTHORIZATION, header::COOKIE].iter().filter_map(|h| parts.headers.get(h)).fold(
        Vec::new(),
        |mut all, v| {
            all.extend_from_slice(v.as_bytes());
            all
        },
    );
    let actor = Digest::of(&sender).to_hex();
    let route = format!("{} {}", parts.method, parts.uri);
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", "the body is larger than 4 MiB")
    })?;
    let digest = Digest::of(&bytes).to_hex();
    let claimed =
        state.running.lock().unwrap_or_else(PoisonError::into_inner).insert((actor.clone(), key.clone()));
    if !claimed {
        return Err(Problem::conflict(
            "idempotency.running",
            "the first request with this Idempotency-Key is still running",
        ));
    }
    let _claim = Claim(state, (actor.clone(), key.clone()));
    if let Some(kept) = state.app.store.kept_answer(&actor, &key).await? {
        if kept.route != route || kept.request != digest {
            return Err(Problem::invalid(
                "idempotency.reused",
                "this Idempotency-Key was used for another request: make a new one for each intent",
            ));
        }
        return Ok(again(kept));
    }
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if response.status().is_server_error() || response.status() == StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY * 4).await.map_err(|e| Problem::internal(&e))?;
    let headers: serde_json::Map<String, serde_json::Value> =
        head.headers.iter().filter_map(|(n, v)| Some((n.to_string(), v.to_str().ok()?.into()))).collect();
    let answer = KeptAnswer {
        route,
        request: digest,
        status: head.status.as_u16(),
        headers: serde_json::Value::Object(headers).to_string(),
        body: body.to_vec(),
    };
    let mut tx = state.app.store.write().await?;
    people::keep_answer(&mut tx, &actor, &key, &answer, now()).await?;
    tx.commit().await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

fn again(kept: KeptAnswer) -> Response {
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&kept.headers).unwrap_or_default();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}
