//! REST API under `/api/v1`.

use crate::app::Shared;

/// All routes of the API.
pub fn router(_app: Shared) -> axum::Router {
    axum::Router::new()
}

/// The OpenAPI document, as JSON.
#[must_use]
pub fn openapi() -> String {
    String::from("{}")
}
