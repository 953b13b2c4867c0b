//! What a form does, it does by a call of the API on behalf of whoever sent it: one logic, one permission check, one
//! audit line, whether a person clicks or a program calls.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use serde_json::Value;
use tower::ServiceExt as _;

use super::error::PageError;
use super::shell::Ctx;
use crate::api::{self, Problem};

/// Longest answer that is read.
const ANSWER: usize = 4 << 20;

/// The API's answer.
pub(super) type Answer = Result<Value, Problem>;

/// Calls the API inside this process. `csrf` is the token the form carried: the API checks it, too.
///
/// # Errors
/// When the API does not answer in its own language.
pub(super) async fn call(
    ctx: &Ctx,
    csrf: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, PageError> {
    call_seeing(ctx, csrf, method, path, body, None).await
}

/// The same; the API refuses it when what is acted on is no longer as it was seen (its etag).
///
/// # Errors
/// When the API does not answer in its own language.
pub(super) async fn call_seeing(
    ctx: &Ctx,
    csrf: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
    seen: Option<i64>,
) -> Result<Answer, PageError> {
    let failed = |error: &dyn std::fmt::Display| PageError::Failed(error.to_string());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-csrf-token", csrf)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(cookie) = &ctx.visitor.cookie {
        request = request.header(header::COOKIE, cookie);
    }
    if let Some(etag) = seen {
        request = request.header(header::IF_MATCH, format!("\"{etag}\""));
    }
    let body = body.map_or_else(Body::empty, |b| Body::from(b.to_string()));
    let request = request.body(body).map_err(|e| failed(&e))?;
    let response = api::router(ctx.app.clone()).oneshot(request).await.map_err(|e| failed(&e))?;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), ANSWER).await.map_err(|e| failed(&e))?;
    if status.is_success() {
        // Some acts answer with nothing.
        return Ok(Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null)));
    }
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => Ok(Err(problem)),
        Err(_) => Err(PageError::Failed(format!("the API answered {status} to {path}"))),
    }
}

/// Everything a problem says, in sentences.
pub(super) fn words(problem: &Problem) -> String {
    let mut out = super::error::sentence(&problem.detail);
    for error in &problem.errors {
        out.push(' ');
        out.push_str(&super::error::sentence(error));
    }
    out
}
