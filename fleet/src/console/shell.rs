//! What every page has around it, and what every handler of a page knows: who asks, when, and for which address.

use askama::Template;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Redirect, Response};
use longshore_trust::UnixMs;
use serde::Deserialize;

use super::assets::{URLS, Urls};
use super::error::PageError;
use super::session::Visitor;
use super::time::{self, When};
use crate::app::Shared;

/// Who asks for a page of which address, and when. Extracting it turns away whoever has no session.
pub(super) struct Ctx {
    pub(super) app: Shared,
    pub(super) now: UnixMs,
    pub(super) visitor: Visitor,
    uri: Uri,
}

/// The sections of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Devices,
    Models,
    Rollouts,
    Drift,
    Alerts,
    Audit,
}

impl Section {
    pub(super) const ALL: [Self; 7] =
        [Self::Overview, Self::Devices, Self::Models, Self::Rollouts, Self::Drift, Self::Alerts, Self::Audit];
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Devices => "Devices",
            Self::Models => "Models",
            Self::Rollouts => "Rollouts",
            Self::Drift => "Drift",
            Self::Alerts => "Alerts",
            Self::Audit => "Audit",
        }
    }
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Devices => "/devices",
            Self::Models => "/models",
            Self::Rollouts => "/rollouts",
            Self::Drift => "/drift",
            Self::Alerts => "/alerts",
            Self::Audit => "/audit",
        }
    }
}

/// The frame of a page: header, navigation, where it listens for changes, footer.
pub(super) struct Shell {
    pub(super) assets: &'static Urls,
    pub(super) title: String,
    pub(super) section: Section,
    pub(super) fleet: String,
    pub(super) solo: bool,
    pub(super) person: String,
    pub(super) csrf: String,
    /// Address of this page, with its query: what the live part asks for again.
    pub(super) here: String,
    /// Where it listens for changes; empty for forms, which must not move under the hand.
    pub(super) live: String,
    pub(super) now: String,
    /// Alerts that nobody has taken on.
    pub(super) firing: u64,
    pub(super) note: Option<&'static str>,
    pub(super) program: &'static str,
}

/// What was done just now, said on the page one comes to after a form. Only these texts can be shown.
fn note(code: &str) -> Option<&'static str> {
    Some(match code {
        "planned" => "The rollout is planned. Nothing has been offered to any device yet.",
        "start" => "The rollout has been started, or waits for what it needs to start.",
        "authorize" => "You have authorized the rollout.",
        "pause" => "The rollout is paused: nothing new is offered. What devices have begun they finish.",
        "resume" => "The rollout goes on.",
        "halt" => "The rollout is being halted: offers that are not committed are revoked.",
        "revert" => "The rollout is being reverted: its devices go back to the version before.",
        "alias" => "The alias has been moved.",
        "deprecate" => "The version is deprecated. It can still be rolled out; the console warns.",
        "retire" => "The version is retired: new plans refuse it.",
        "release" => "The device is released: rollouts offer it versions again.",
        "revoke" => "The device is revoked: its certificate is no longer accepted.",
        "acknowledge" => "You have taken the alert on. It is told again only if it becomes much larger.",
        "resolve" => "The alert is over. Receivers are told within a minute.",
        "silence" => "The alert is silenced: it goes on, and nobody is told until the silence ends.",
        "unsilence" => "The silence has ended.",
        "retry" => "The delivery is tried again.",
        "tested" => "The receiver took the test.",
        _ => return None,
    })
}

impl Ctx {
    /// The frame of a page of `section`.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) async fn shell(&self, section: Section, title: impl Into<String>) -> Result<Shell, PageError> {
        #[derive(Deserialize)]
        struct Note {
            note: Option<String>,
        }
        let asked = Query::<Note>::try_from_uri(&self.uri).ok().and_then(|q| q.0.note);
        Ok(Shell {
            assets: &URLS,
            title: title.into(),
            section,
            fleet: self.app.fleet.to_string(),
            solo: self.app.store.view_solo().await?,
            person: self.visitor.actor.name.clone(),
            csrf: self.visitor.actor.csrf().to_owned(),
            here: self.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
            live: "/live".into(),
            now: time::iso(self.now),
            firing: self.app.store.alerts_firing().await?,
            note: asked.as_deref().and_then(note),
            program: env!("CARGO_PKG_VERSION"),
        })
    }
    /// Refuses a form that does not carry the token of this session.
    ///
    /// # Errors
    /// [`PageError::Forged`].
    pub(super) fn check(&self, csrf: &str) -> Result<(), PageError> {
        if self.visitor.actor.csrf_is(csrf) { Ok(()) } else { Err(PageError::Forged) }
    }
    /// A stored time, seen from now.
    pub(super) fn when(&self, at_ms: i64) -> When {
        When::new(at_ms, self.now)
    }
    /// What was last heard of before this is silent.
    pub(super) fn silent_before(&self) -> u64 {
        self.now.0.saturating_sub(self.app.config.limits.silent_s.saturating_mul(1000))
    }
}

impl Shell {
    /// A page that stays as it is.
    pub(super) fn still(mut self) -> Self {
        self.live.clear();
        self
    }
    /// Listens only for changes of one thing: `topic` is `device`, `model`, `judged` (a model's verdicts; of every model when
    /// `id` is empty), `rollout` or `alerts`.
    pub(super) fn listening(mut self, topic: &str, id: &str) -> Self {
        self.live = format!("/live?{topic}={}", encode(id));
        self
    }
}

/// A page.
///
/// # Errors
/// When the template fails.
pub(super) fn html(template: &impl Template) -> Result<Response, PageError> {
    Ok(Html(template.render()?).into_response())
}

/// A value inside an address. Everything but unreserved characters is encoded.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl FromRequestParts<Shared> for Ctx {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Response> {
        let visitor = Visitor::of(app, parts).await.map_err(IntoResponse::into_response)?;
        let Some(visitor) = visitor else {
            return Err(to_login(parts));
        };
        Ok(Self { app: app.clone(), now: crate::app::now(), visitor, uri: parts.uri.clone() })
    }
}

/// Sends whoever has no session to the login page, and back here afterwards.
fn to_login(parts: &Parts) -> Response {
    let here = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let login = format!("/login?next={}", encode(here));
    if parts.headers.contains_key("hx-request") {
        // A redirect would be followed silently and put the login form into the page.
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        if let Ok(value) = HeaderValue::from_str(&login) {
            response.headers_mut().insert("hx-redirect", value);
        }
        return response;
    }
    if parts.uri.path() == "/live" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Redirect::to(&login).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encode("a b/c?d=é&\"<"), "a%20b%2Fc%3Fd%3D%C3%A9%26%22%3C");
        assert_eq!(encode("meter-digits_1.0.0~x"), "meter-digits_1.0.0~x");
    }
    #[test]
    fn only_known_notes_are_shown() {
        assert!(note("pause").is_some());
        assert!(note("<b>hello</b>").is_none());
    }
}
