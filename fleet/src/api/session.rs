//! Signing in for machines: a name and password become an API token.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::{Body, Problem};
use crate::app::{Shared, now};
use crate::auth::{Actor, check_password, create_token, session_cookie};

/// How long a token of a sign-in is good, ms.
const TOKEN_MS: u64 = 30 * 86_400_000;

/// Who wants in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// User name.
    name: String,
    /// Password.
    password: String,
}

/// A token; shown once.
#[derive(Serialize, ToSchema)]
pub struct Token {
    /// For `Authorization: Bearer`.
    token: String,
    /// Until when, ms.
    expires: u64,
}

/// Signs in: answers an API token that is good for 30 days.
#[utoipa::path(post, path = "/api/v1/session", request_body = SignIn, security(()), tag = "people",
    responses((status = 200, body = Token), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub async fn sign_in(State(app): State<Shared>, Body(who): Body<SignIn>) -> Result<Json<Token>, Problem> {
    let now = now();
    check_password(&app, &who.name, &who.password, now).await?;
    let expires = now.plus_ms(TOKEN_MS);
    let mut tx = app.store.write().await?;
    let token = create_token(&mut tx, &who.name, "sign-in", Some(expires), now).await?;
    tx.commit().await?;
    Ok(Json(Token { token, expires: expires.0 }))
}

/// Ends a browser session.
#[utoipa::path(delete, path = "/api/v1/session", tag = "people", responses((status = 204)))]
pub async fn sign_out(
    State(app): State<Shared>,
    _: Actor,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    if let Some(cookie) = cookies.filter_map(|v| v.to_str().ok()).find_map(session_cookie) {
        crate::auth::sign_out(&app, cookie, crate::app::now()).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
