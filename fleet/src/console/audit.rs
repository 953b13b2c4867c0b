//! The audit log: where its proof stands, what was found about it, and its entries, searched and paged on the server.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::badge::{Badge, Tone};
use super::error::PageError;
use super::figures::{count, short};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::Ago;
use crate::store::audit::Search;
use crate::store::audit::witness::{Alarm, AlarmKind};

/// Entries on one page.
const PAGE: u32 = 50;
/// Findings on the page.
const ALARMS: u32 = 10;

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    action: String,
    /// Entries with numbers below this.
    before: Option<u64>,
}

struct Line {
    number: u64,
    when: Ago,
    actor: String,
    action: String,
    object: String,
    detail: String,
}

struct Finding {
    class: &'static str,
    badge: Badge,
    when: Ago,
    detail: String,
}

struct Cut {
    epoch: u64,
    size: String,
    when: Ago,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    shell: Shell,
    asked: Asked,
    state: Badge,
    origin: String,
    key: String,
    size: String,
    signed: String,
    root: String,
    epoch: u64,
    witnesses: String,
    findings: Vec<Finding>,
    cuts: Vec<Cut>,
    lines: Vec<Line>,
    filtered: bool,
    first: Option<String>,
    next: Option<String>,
}

/// `GET /audit`.
pub(super) async fn page(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let (store, log) = (&ctx.app.store, &ctx.app.audit);
    let some = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let search = Search {
        before: asked.before,
        action: some(&asked.action),
        actor: some(&asked.actor),
        text: some(&asked.q),
    };
    let mut entries = store.audit_search(&search, PAGE + 1).await?;
    let more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    let next = entries.last().filter(|_| more).map(|e| address(&asked, Some(e.index)));
    let [forks, changed, _] = store.audit_alarm_counts().await?;
    let (head, size) = (log.latest(), store.audit_size().await?);
    let state = match head {
        _ if forks + changed > 0 => Badge::new(Tone::Bad, "does not hold"),
        None => Badge::new(Tone::Idle, "not signed yet"),
        Some(_) => Badge::new(Tone::Ok, "holds"),
    };
    let page = Page {
        shell: ctx.shell(Section::Audit, "Audit").await?,
        state,
        origin: log.public().name().to_owned(),
        key: log.public().to_string(),
        size: count(size),
        signed: count(head.map_or(0, |h| h.size)),
        root: head.map_or_else(String::new, |h| short(&h.root.to_hex())),
        epoch: log.epoch(),
        witnesses: count(store.audit_witnesses().await?.0),
        findings: store.audit_alarms(ALARMS).await?.into_iter().map(|a| finding(&ctx, a)).collect(),
        cuts: store
            .audit_restores()
            .await?
            .into_iter()
            .map(|r| Cut { epoch: r.epoch, size: count(r.size), when: ctx.when(at(r.time.0)).brief() })
            .collect(),
        lines: entries
            .into_iter()
            .map(|e| Line {
                number: e.index,
                when: ctx.when(at(e.time.0)).brief(),
                actor: e.actor,
                action: e.action,
                object: e.object,
                detail: e.detail,
            })
            .collect(),
        filtered: search.action.is_some() || search.actor.is_some() || search.text.is_some(),
        first: asked.before.map(|_| address(&asked, None)),
        next,
        asked,
    };
    html(&page)
}

fn at(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn finding(ctx: &Ctx, alarm: Alarm) -> Finding {
    let badge = match alarm.kind {
        AlarmKind::Fork => Badge::new(Tone::Bad, "fork"),
        AlarmKind::Entry => Badge::new(Tone::Bad, "changed entry"),
        AlarmKind::RolledBack => Badge::new(Tone::Warn, "rolled back"),
    };
    Finding {
        class: badge.tone().class(),
        badge,
        when: ctx.when(at(alarm.time.0)).brief(),
        detail: alarm.detail,
    }
}

/// The address of this search, moved to another page of it.
fn address(asked: &Asked, before: Option<u64>) -> String {
    let mut parts = Vec::new();
    for (key, value) in [("q", &asked.q), ("actor", &asked.actor), ("action", &asked.action)] {
        if !value.is_empty() {
            parts.push(format!("{key}={}", encode(value)));
        }
    }
    if let Some(before) = before {
        parts.push(format!("before={before}"));
    }
    if parts.is_empty() { "/audit".into() } else { format!("/audit?{}", parts.join("&")) }
}
