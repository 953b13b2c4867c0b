//! The web console.

use crate::app::Shared;

/// All pages of the console.
pub fn router(_app: Shared) -> axum::Router {
    axum::Router::new()
}
