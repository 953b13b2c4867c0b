//! Pages that say what went wrong, with what, and what to do about it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::assets::{URLS, Urls};
use crate::store::StoreError;

/// Why a page cannot be shown or an action was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// There is no such thing.
    #[error("{0}")]
    Missing(Missing),
    /// The form was not sent by a page of this console, or by an old one.
    #[error("the form does not belong to your session")]
    Forged,
    /// The server could not do it.
    #[error("{0}")]
    Failed(String),
    /// The action was refused: what happened and why.
    #[error("{title}: {why}")]
    Refused {
        /// What was not done.
        title: String,
        /// Why, and what to do.
        why: String,
    },
    /// The record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A template failed.
    #[error("the page cannot be written: {0}")]
    Template(#[from] askama::Error),
}

/// A thing that is not there: its kind, its name, and the page that lists what is.
#[derive(Debug, thiserror::Error)]
#[error("there is no {kind} {name}")]
pub(super) struct Missing {
    /// `device`, `model`, …
    pub(super) kind: &'static str,
    /// As asked for.
    pub(super) name: String,
    /// Address of the list.
    pub(super) list: &'static str,
}

impl PageError {
    /// There is no such thing.
    pub(super) fn missing(kind: &'static str, name: impl Into<String>, list: &'static str) -> Self {
        Self::Missing(Missing { kind, name: name.into(), list })
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page<'a> {
    assets: &'a Urls,
    code: u16,
    title: String,
    what: String,
    todo: String,
    link: &'a str,
    link_text: String,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, todo, link, link_text) = match &self {
            Self::Missing(m) => (
                StatusCode::NOT_FOUND,
                format!("No such {}", m.kind),
                "It may have been misspelt, or the address is of another fleet.".to_owned(),
                m.list,
                format!("Look for the {} in the list", m.kind),
            ),
            Self::Forged => (
                StatusCode::FORBIDDEN,
                "Nothing was done".to_owned(),
                "Your session may have been renewed since the page was opened. Open the page again and repeat what you did."
                    .to_owned(),
                "/",
                "Go to the overview".to_owned(),
            ),
            Self::Refused { title, .. } => (
                StatusCode::CONFLICT,
                title.clone(),
                "Nothing was changed. Go back with your browser to mend what you entered.".to_owned(),
                "/",
                "Go to the overview".to_owned(),
            ),
            Self::Store(_) | Self::Template(_) | Self::Failed(_) => {
                tracing::error!(error = %self, "a page of the console failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The server could not make this page".to_owned(),
                    "Devices go on working. Try again; if it stays, look at the server's log and the free space of its disk."
                        .to_owned(),
                    "/",
                    "Go to the overview".to_owned(),
                )
            }
        };
        let what = match &self {
            Self::Refused { why, .. } => why.clone(),
            other => sentence(&other.to_string()),
        };
        let page = Page { assets: &URLS, code: status.as_u16(), title, what, todo, link, link_text };
        match page.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => (status, self.to_string()).into_response(),
        }
    }
}

/// With a capital at the start and a full stop at the end.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let mut out: String = first.to_uppercase().chain(chars).collect();
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}
