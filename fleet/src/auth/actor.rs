//! The extractor of every route that is not for everybody.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use subtle::ConstantTimeEq as _;

use super::{session_cookie, token_hash};
use crate::api::Problem;
use crate::app::Shared;

/// Somebody who has proven who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Name of the person.
    pub name: String,
    /// By what.
    pub via: Via,
}

/// How somebody proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// An API token in the `Authorization` header.
    Token,
    /// A browser session.
    Session {
        /// Must come with every change.
        csrf: String,
    },
}

impl Actor {
    /// Whether `given` is the CSRF token of this session; always for API tokens, which no browser sends by itself.
    #[must_use]
    pub fn csrf_is(&self, given: &str) -> bool {
        match &self.via {
            Via::Token => true,
            Via::Session { csrf } => bool::from(csrf.as_bytes().ct_eq(given.as_bytes())),
        }
    }
    /// The CSRF token for forms; empty for API tokens.
    #[must_use]
    pub fn csrf(&self) -> &str {
        match &self.via {
            Via::Token => "",
            Via::Session { csrf } => csrf,
        }
    }

    /// Who the headers prove somebody to be, without looking at what is asked.
    ///
    /// # Errors
    /// 401 when they prove nothing, 500 when the database cannot be read.
    pub async fn identify(parts: &Parts, app: &Shared) -> Result<Self, Problem> {
        let now = crate::app::now();
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let token =
                value.to_str().ok().and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default().trim();
            return match app.store.token_person(&token_hash(token), now).await? {
                Some(name) => Ok(Self { name, via: Via::Token }),
                None => Err(Problem::unauthorized("the API token is not known, or has expired")),
            };
        }
        let cookies = parts.headers.get_all(header::COOKIE).into_iter();
        let Some(cookie) = cookies.filter_map(|v| v.to_str().ok()).find_map(session_cookie) else {
            return Err(Problem::unauthorized(
                "this needs an API token (`Authorization: Bearer …`) or a session",
            ));
        };
        match app.store.session(&token_hash(cookie), now).await? {
            Some(s) => Ok(Self { name: s.person, via: Via::Session { csrf: s.csrf } }),
            None => Err(Problem::unauthorized("the session has ended: sign in again")),
        }
    }
}

impl FromRequestParts<Shared> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        let actor = Self::identify(parts, app).await?;
        let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let given = parts.headers.get("x-csrf-token").and_then(|v| v.to_str().ok()).unwrap_or_default();
        // Forms of the console carry the token in their body instead; their handlers use `identify` and `csrf_is`.
        if !safe && !actor.csrf_is(given) {
            return Err(Problem::forbidden(
                "auth.csrf",
                "the CSRF token is missing or wrong: reload the page",
            ));
        }
        Ok(actor)
    }
}
