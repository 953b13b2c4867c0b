//! Errors of the API: RFC 9457 problem details, each with a stable `code`.

use axum::Json;
use axum::extract::FromRequest;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::{AuthError, SignInError};
use crate::jobs::planning::PlanningError;
use crate::store::StoreError;

/// What went wrong (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// For machines: `topic.what`.
    pub code: String,
    /// The status in words.
    pub title: String,
    /// What happened, to what, what to do.
    pub detail: String,
    /// Single findings, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Problem {
    /// Any problem.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code: code.to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }
    /// 400: the request cannot be read.
    pub fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }
    /// 401: nobody is signed in.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "auth.required", detail)
    }
    /// 403: not for this one.
    pub fn forbidden(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }
    /// 404: there is no such thing.
    pub fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }
    /// 409: not in this state.
    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }
    /// 422: it can be read, but makes no sense.
    pub fn invalid(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }
    /// 500: the server; the cause goes to the log only.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server.failed",
            "the server could not do this; its log says why",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        Self::internal(&e)
    }
}
impl From<AuthError> for Problem {
    fn from(e: AuthError) -> Self {
        match e {
            AuthError::Store(e) => e.into(),
            AuthError::Random(_) => Self::internal(&e),
            AuthError::ShortPassword | AuthError::Name(_) => Self::invalid("auth.invalid", e.to_string()),
        }
    }
}
impl From<SignInError> for Problem {
    fn from(e: SignInError) -> Self {
        match e {
            SignInError::Wrong => Self::new(StatusCode::UNAUTHORIZED, "auth.wrong", e.to_string()),
            SignInError::Locked { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "auth.locked", e.to_string())
            }
            SignInError::Auth(e) => e.into(),
        }
    }
}
impl From<PlanningError> for Problem {
    fn from(e: PlanningError) -> Self {
        use longshore_fleet_core::plan::PlanError;
        let code = match &e {
            PlanningError::Store(_) => return Self::internal(&e),
            PlanningError::Unknown { .. } => return Self::not_found("version.unknown", e.to_string()),
            PlanningError::NotReleased { state, .. } => format!("version.{state}"),
            PlanningError::Plan(PlanError::NoDevices { .. }) => "plan.no_devices".into(),
            PlanningError::Plan(PlanError::EmptyWave { .. }) => "plan.empty_wave".into(),
            PlanningError::Plan(PlanError::NoWayBack { .. }) => "plan.no_way_back".into(),
        };
        Self::conflict(&code, e.to_string())
    }
}

/// JSON bodies whose refusal is a problem document.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::JsonDataError(e)) => Err(Problem::invalid("request.invalid", e.body_text())),
            Err(JsonRejection::MissingJsonContentType(e)) => {
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request.content_type", e.body_text()))
            }
            Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::new(e.status(), "request.too_large", e.body_text()))
            }
            Err(e) => Err(Problem::bad_request("request.malformed", e.body_text())),
        }
    }
}
