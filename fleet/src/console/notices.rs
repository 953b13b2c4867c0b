//! What was sent where, what was given up, and who has been silenced.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query};
use axum::http::Method;
use axum::response::{IntoResponse, Redirect, Response};
use longshore_fleet_core::alert::silence::Matcher;
use serde::Deserialize;

use super::badge::{Badge, Tone};
use super::calls::{call, words};
use super::error::PageError;
use super::shell::{Ctx, Section, Shell, html};
use super::time::{Ago, When};
use crate::store::alert::delivery::DeliveryRow;

/// Lines on one page.
const PAGE: u32 = 50;

/// A delivery, ready to be shown.
pub(super) struct Sent {
    pub(super) id: i64,
    pub(super) receiver: String,
    pub(super) alert: Option<i64>,
    pub(super) rollout: Option<String>,
    pub(super) what: String,
    pub(super) state: Badge,
    pub(super) attempts: i64,
    pub(super) when: Ago,
    pub(super) next: Option<Ago>,
    pub(super) last: String,
    pub(super) dead: bool,
}

impl Sent {
    /// Out of a row.
    pub(super) fn new(ctx: &Ctx, row: DeliveryRow) -> Self {
        let tone = match row.state.as_str() {
            "delivered" => Tone::Ok,
            "dead" => Tone::Bad,
            _ => Tone::Busy,
        };
        let name = if row.state == "dead" { "given up" } else { row.state.as_str() };
        Self {
            state: Badge::new(tone, name),
            dead: row.state == "dead",
            next: (row.state == "queued").then(|| ctx.when(row.due).brief()),
            when: ctx.when(row.changed).brief(),
            id: row.id,
            receiver: row.receiver,
            alert: row.alert,
            rollout: row.rollout,
            what: row.what,
            attempts: row.attempts,
            last: row.last,
        }
    }
}

/// The address of the list of deliveries.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    state: String,
    before: Option<u64>,
}

struct Choice {
    value: &'static str,
    name: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct Deliveries {
    shell: Shell,
    sent: Vec<Sent>,
    states: Vec<Choice>,
    filtered: bool,
    paged: bool,
    first: String,
    next: Option<String>,
    receivers: bool,
}

/// `GET /alerts/deliveries`.
pub(super) async fn deliveries(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let known = ["queued", "delivered", "dead"];
    let state = known.into_iter().find(|s| *s == asked.state).unwrap_or_default();
    let mut rows = ctx.app.store.deliveries(None, state, asked.before, PAGE + 1).await?;
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    let address = |before: Option<i64>| {
        let mut parts = Vec::new();
        if !state.is_empty() {
            parts.push(format!("state={state}"));
        }
        parts.extend(before.map(|b| format!("before={b}")));
        let query = if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) };
        format!("/alerts/deliveries{query}")
    };
    let names = [("queued", "queued"), ("delivered", "delivered"), ("dead", "given up")];
    let page = Deliveries {
        shell: ctx.shell(Section::Alerts, "Deliveries").await?.listening("alerts", "deliveries"),
        states: names.map(|(value, name)| Choice { value, name, chosen: value == state }).into(),
        filtered: !state.is_empty(),
        paged: asked.before.is_some(),
        first: address(None),
        next: rows.last().filter(|_| more).map(|r| address(Some(r.id))),
        receivers: !ctx.app.config.alerting.receivers.is_empty(),
        sent: rows.into_iter().map(|r| Sent::new(&ctx, r)).collect(),
    };
    html(&page)
}

/// What a form that only acts sends.
#[derive(Debug, Deserialize)]
pub(super) struct Act {
    csrf: String,
}

/// `POST /alerts/deliveries/{delivery}/retry`.
pub(super) async fn retry(
    ctx: Ctx,
    Path(id): Path<u64>,
    Form(form): Form<Act>,
) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let path = format!("/api/v1/deliveries/{id}/retry");
    done(&ctx, &form, Method::POST, &path, "/alerts/deliveries?state=dead&note=retry").await
}

/// `POST /alerts/receivers/{receiver}/test`.
pub(super) async fn test(
    ctx: Ctx,
    Path(name): Path<String>,
    Form(form): Form<Act>,
) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let body = serde_json::json!({ "receiver": name });
    match call(&ctx, &form.csrf, Method::POST, "/api/v1/alerts/test", Some(&body)).await? {
        Ok(answer) if answer["delivered"] == true => Ok(Redirect::to("/alerts?note=tested").into_response()),
        Ok(answer) => Err(PageError::Refused {
            title: format!("{name} was not reached"),
            why: answer["said"].as_str().unwrap_or_default().to_owned(),
        }),
        Err(problem) => Err(PageError::Refused { title: "Nothing was sent".into(), why: words(&problem) }),
    }
}

async fn done(ctx: &Ctx, form: &Act, method: Method, path: &str, back: &str) -> Result<Response, PageError> {
    match call(ctx, &form.csrf, method, path, None).await? {
        Ok(_) => Ok(Redirect::to(back).into_response()),
        Err(problem) => Err(PageError::Refused { title: "Nothing was done".into(), why: words(&problem) }),
    }
}

struct Quiet {
    id: u64,
    what: String,
    who: String,
    why: String,
    until: When,
    in_force: bool,
}

#[derive(Template)]
#[template(path = "silences.html")]
struct Silences {
    shell: Shell,
    lines: Vec<Quiet>,
    first: Option<String>,
    next: Option<String>,
}

/// What a silence silences, in words.
fn words_of(m: &Matcher) -> String {
    let given = [("rule", &m.rule), ("model", &m.model), ("cohort", &m.cohort)];
    let mut parts: Vec<String> =
        given.into_iter().filter_map(|(key, v)| v.as_ref().map(|v| format!("{key} {v}"))).collect();
    parts.extend(m.severity.map(|s| format!("severity {s}")));
    parts.join(", ")
}

/// `GET /alerts/silences`.
pub(super) async fn silences(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let mut rows = ctx.app.store.silences(asked.before, PAGE + 1).await?;
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    let page = Silences {
        shell: ctx.shell(Section::Alerts, "Silences").await?.listening("alerts", "silences"),
        first: asked.before.map(|_| "/alerts/silences".to_owned()),
        next: rows.last().filter(|_| more).map(|r| format!("/alerts/silences?before={}", r.id)),
        lines: rows
            .into_iter()
            .map(|s| Quiet {
                id: s.id,
                what: words_of(&s.matcher),
                who: s.who,
                why: s.why,
                until: ctx.when(i64::try_from(s.until.0).unwrap_or(i64::MAX)),
                in_force: s.until > ctx.now,
            })
            .collect(),
    };
    html(&page)
}

/// `POST /alerts/silences/{silence}/end`.
pub(super) async fn end_silence(
    ctx: Ctx,
    Path(id): Path<u64>,
    Form(form): Form<Act>,
) -> Result<Response, PageError> {
    ctx.check(&form.csrf)?;
    let path = format!("/api/v1/silences/{id}");
    done(&ctx, &form, Method::DELETE, &path, "/alerts/silences?note=unsilence").await
}
