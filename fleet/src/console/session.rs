//! Who is signed in; signing in and out.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::assets::{URLS, Urls};
use super::error::PageError;
use super::shell::html;
use crate::app::{Shared, now};
use crate::auth::{self, Actor, COOKIE, SignInError};

/// Somebody with a session.
pub(super) struct Visitor {
    pub(super) actor: Actor,
    /// The headers that prove it, for calls of the API on their behalf.
    pub(super) cookie: Option<HeaderValue>,
}

impl Visitor {
    /// Who the headers prove somebody to be; `None` when they prove nothing.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) async fn of(app: &Shared, parts: &Parts) -> Result<Option<Self>, PageError> {
        match Actor::identify(parts, app).await {
            Ok(actor) => Ok(Some(Self { actor, cookie: parts.headers.get(header::COOKIE).cloned() })),
            Err(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16() => Ok(None),
            Err(problem) => Err(PageError::Failed(problem.detail)),
        }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct Page<'a> {
    assets: &'a Urls,
    fleet: String,
    solo: bool,
    refusal: Option<String>,
    name: &'a str,
    next: &'a str,
}

/// Where to go afterwards.
#[derive(Deserialize)]
pub(super) struct Asked {
    next: Option<String>,
}

/// `GET /login`.
pub(super) async fn form(
    State(app): State<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    show(&app, "", local(asked.next.as_deref()), None).await
}

/// What the login form sends.
#[derive(Deserialize)]
pub(super) struct Login {
    name: String,
    password: String,
    next: Option<String>,
}

/// `POST /login`.
pub(super) async fn sign_in(
    State(app): State<Shared>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, PageError> {
    // There is no session yet whose token could be checked: the browser says where the form came from.
    if is_foreign(&headers) {
        return Err(PageError::Forged);
    }
    let next = local(login.next.as_deref());
    let name = login.name.trim();
    let signed = match auth::sign_in(&app, name, &login.password, now()).await {
        Ok(signed) => signed,
        Err(refusal @ (SignInError::Wrong | SignInError::Locked { .. })) => {
            let mut response =
                show(&app, name, next, Some(super::error::sentence(&refusal.to_string()))).await?;
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(response);
        }
        Err(error) => return Err(PageError::Failed(error.to_string())),
    };
    let lasts_s = signed.expires.since(now()) / 1000;
    let cookie = set_cookie(&headers, &signed.cookie, lasts_s);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

/// What the button for signing out sends.
#[derive(Deserialize)]
pub(super) struct Logout {
    csrf: String,
}

/// `POST /logout`.
pub(super) async fn sign_out(
    ctx: super::shell::Ctx,
    headers: HeaderMap,
    Form(logout): Form<Logout>,
) -> Result<Response, PageError> {
    ctx.check(&logout.csrf)?;
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    for cookie in cookies.filter_map(auth::session_cookie) {
        auth::sign_out(&ctx.app, cookie, ctx.now).await?;
    }
    let cookie = set_cookie(&headers, "", 0);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}

async fn show(app: &Shared, name: &str, next: &str, refusal: Option<String>) -> Result<Response, PageError> {
    html(&Page {
        assets: &URLS,
        fleet: app.fleet.to_string(),
        solo: app.store.view_solo().await?,
        refusal,
        name,
        next,
    })
}

/// Behind a proxy that speaks TLS the cookie never travels without it.
fn set_cookie(headers: &HeaderMap, value: &str, lasts_s: u64) -> String {
    let secure =
        headers.get("x-forwarded-proto").is_some_and(|p| p.as_bytes().eq_ignore_ascii_case(b"https"));
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts_s}{secure}")
}

/// A path of this server, or the overview.
fn local(next: Option<&str>) -> &str {
    next.filter(|n| n.starts_with('/') && !n.starts_with("//") && !n.contains(['\\', '\r', '\n']))
        .unwrap_or("/")
}

/// Whether the browser says that another site sent this form.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, from)| from != host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_stays_on_this_server() {
        assert_eq!(local(Some("/devices?q=a")), "/devices?q=a");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", ""] {
            assert_eq!(local(Some(bad)), "/", "{bad}");
        }
        assert_eq!(local(None), "/");
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_form_of_another_site_is_known() {
        assert!(is_foreign(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(is_foreign(&headers(&[("origin", "http://evil.example"), ("host", "localhost:8080")])));
        assert!(is_foreign(&headers(&[("origin", "null"), ("host", "localhost:8080")])));
        assert!(!is_foreign(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!is_foreign(&headers(&[("origin", "http://localhost:8080"), ("host", "localhost:8080")])));
        assert!(!is_foreign(&HeaderMap::new()));
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = set_cookie(&HeaderMap::new(), "abc", 60);
        assert_eq!(cookie, "longshore_session=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
        assert!(set_cookie(&headers(&[("x-forwarded-proto", "https")]), "abc", 60).ends_with("; Secure"));
    }
}
