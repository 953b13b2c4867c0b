//! The list of rollouts.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::badge::Badge;
use super::error::PageError;
use super::figures::sum;
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::Ago;

/// Rollouts on one page.
const PAGE: u32 = 50;

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    model: String,
    #[serde(default)]
    state: String,
    before: Option<i64>,
}

struct Line {
    link: String,
    id: String,
    what: String,
    badge: Badge,
    reason: String,
    waves: String,
    done: String,
    created: Ago,
    ended: Option<Ago>,
}

struct Choice {
    value: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "rollouts.html")]
struct Page {
    shell: Shell,
    lines: Vec<Line>,
    models: Vec<Choice>,
    states: Vec<Choice>,
    filtered: bool,
    can_plan: bool,
    paged: bool,
    next: Option<String>,
    first: String,
}

/// `GET /rollouts`.
pub(super) async fn page(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let rows = store.view_rollouts(&asked.model, &asked.state, asked.before, PAGE).await?;
    let address = |before: Option<i64>| {
        let mut parts = Vec::new();
        for (key, value) in [("model", &asked.model), ("state", &asked.state)] {
            if !value.is_empty() {
                parts.push(format!("{key}={}", encode(value)));
            }
        }
        parts.extend(before.map(|b| format!("before={b}")));
        if parts.is_empty() { "/rollouts".to_owned() } else { format!("/rollouts?{}", parts.join("&")) }
    };
    let page = Page {
        shell: ctx.shell(Section::Rollouts, "Rollouts").await?,
        models: store
            .model_names()
            .await?
            .into_iter()
            .map(|name| Choice { chosen: name == asked.model, value: name })
            .collect(),
        states: [
            "open",
            "planned",
            "awaiting_authorization",
            "scheduled",
            "running",
            "paused",
            "completed",
            "halted",
            "reverted",
            "superseded",
        ]
        .into_iter()
        .map(|s| Choice { chosen: s == asked.state, value: s.into() })
        .collect(),
        filtered: !asked.model.is_empty() || !asked.state.is_empty(),
        can_plan: !store.view_approved().await?.is_empty(),
        paged: asked.before.is_some(),
        first: address(None),
        next: (rows.len() == PAGE as usize).then(|| rows.last().map(|r| address(Some(r.created)))).flatten(),
        lines: rows
            .into_iter()
            .map(|r| Line {
                link: format!("/rollouts/{}", encode(&r.id)),
                what: format!("{} {}", r.model, r.version),
                badge: Badge::state(&r.state),
                reason: r.reason,
                waves: format!("{} of {}", r.passed, r.waves),
                done: format!("{} of {}", sum(r.done), sum(r.devices)),
                created: ctx.when(r.created).brief(),
                ended: r.ended.map(|at| ctx.when(at).brief()),
                id: r.id,
            })
            .collect(),
    };
    html(&page)
}
