//! What a client is told when its request is not answered: a status and `{"error": "..."}` that names the field.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_runtime::RunError;

use super::pool::{Broke, Full};
use super::queries::QueryError;

/// A request that is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// HTTP status.
    pub status: StatusCode,
    /// What is wrong, with what, and what to do.
    pub message: String,
}

impl Refused {
    /// 400.
    #[must_use]
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }
    /// Any status.
    #[must_use]
    pub fn with(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<RunError> for Refused {
    fn from(e: RunError) -> Self {
        let status = if e.is_input() { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
        Self::with(status, e.to_string())
    }
}
impl From<Full> for Refused {
    fn from(_: Full) -> Self {
        Self::with(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting; try again in a second")
    }
}
impl From<Broke> for Refused {
    fn from(_: Broke) -> Self {
        Self::with(StatusCode::INTERNAL_SERVER_ERROR, "the engine broke while answering this request")
    }
}
impl From<QueryError> for Refused {
    fn from(e: QueryError) -> Self {
        let status = match e {
            QueryError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            QueryError::Timeout => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::with(status, e.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = axum::Json(serde_json::json!({ "error": self.message }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
