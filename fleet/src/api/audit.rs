//! The audit log: search for people, and everything that is needed to check it without believing this server.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use longshore_trust::log::{Entry, tree};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Page, PageQuery};
use super::problem::Problem;
use crate::app::{Shared, now};
use crate::auth::Actor;
use crate::store::audit::Search;

/// Where the log stands, and what was found about it.
#[derive(Serialize, ToSchema)]
pub struct Log {
    /// Its name: first line of its checkpoints.
    origin: String,
    /// Its verifier key, as in C2SP signed-note.
    key: String,
    /// The fleet's epoch.
    epoch: u64,
    /// Entries.
    size: u64,
    /// Entries that the newest checkpoint covers.
    signed: u64,
    /// Devices that have said which checkpoint they saw.
    witnesses: u64,
    /// What restores from backups have left.
    restores: Vec<Restore>,
    /// Findings: `fork`, `entry` and `rolled_back`; newest first, at most 100.
    alarms: Vec<Alarm>,
}

/// What a restore left of the log.
#[derive(Serialize, ToSchema)]
pub struct Restore {
    /// The epoch it began.
    epoch: u64,
    /// Entries that were left.
    size: u64,
    /// When, ms.
    time: u64,
}

/// Something is wrong with the log.
#[derive(Serialize, ToSchema)]
pub struct Alarm {
    /// `fork`, `entry` or `rolled_back`.
    kind: &'static str,
    /// When it was found, ms.
    time: u64,
    /// The device whose report showed it.
    device: Option<String>,
    /// Epoch of the checkpoint that does not fit.
    epoch: u64,
    /// Its size (the entry's number for `entry`).
    size: u64,
    /// For people.
    detail: String,
}

/// One entry. Its leaf is SHA-256 over a zero byte and the RFC 8785 JSON of exactly these members.
#[derive(Serialize, ToSchema)]
pub struct AuditEntry {
    /// What was done.
    action: String,
    /// Who did it.
    actor: String,
    /// More.
    detail: String,
    /// Its number, from 0.
    index: u64,
    /// To what.
    object: String,
    /// When, ms.
    time: u64,
    /// Version of this form.
    v: u32,
}

impl From<Entry> for AuditEntry {
    fn from(e: Entry) -> Self {
        let Entry { action, actor, detail, index, object, time, v } = e;
        Self { action, actor, detail, index, object, time: time.0, v }
    }
}

/// A checkpoint as it was signed.
#[derive(Serialize, ToSchema)]
pub struct SignedCheckpoint {
    /// The fleet's epoch.
    epoch: u64,
    /// Entries.
    size: u64,
    /// When, ms.
    time: u64,
    /// The signed note.
    note: String,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// `next` of the page before.
    cursor: Option<String>,
    /// Entries in a page, 1 to 500 (100 when left out).
    limit: Option<u32>,
    /// An action, or the part before its full stop.
    action: Option<String>,
    /// An actor.
    actor: Option<String>,
    /// Characters in any member.
    q: Option<String>,
}

/// Of which entry, in a log of which size.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InclusionQuery {
    /// The entry's number.
    index: u64,
    /// Entries of the log.
    size: u64,
}

/// Between which sizes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyQuery {
    /// Entries of the older log.
    from: u64,
    /// Entries of the newer log.
    to: u64,
}

/// Hashes, hex, in the order of RFC 6962.
#[derive(Serialize, ToSchema)]
pub struct Proof {
    /// The hashes.
    proof: Vec<String>,
}

/// Where the audit log stands, and what was found about it.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", responses((status = 200, body = Log)))]
pub async fn show(State(app): State<Shared>, _: Actor) -> Result<Json<Log>, Problem> {
    let restores = app.store.audit_restores().await?.into_iter();
    let alarms = app.store.audit_alarms(100).await?.into_iter();
    Ok(Json(Log {
        origin: app.audit.public().name().to_owned(),
        key: app.audit.public().to_string(),
        epoch: app.audit.epoch(),
        size: app.store.audit_size().await?,
        signed: app.audit.latest().map_or(0, |c| c.size),
        witnesses: app.store.audit_witnesses().await?.0,
        restores: restores.map(|r| Restore { epoch: r.epoch, size: r.size, time: r.time.0 }).collect(),
        alarms: alarms
            .map(|a| Alarm {
                kind: a.kind.as_str(),
                time: a.time.0,
                device: a.device.map(|d| d.to_string()),
                epoch: a.epoch,
                size: a.size,
                detail: a.detail,
            })
            .collect(),
    }))
}

/// The newest checkpoint, signed now if the log has grown: a signed note (C2SP tlog-checkpoint).
#[utoipa::path(get, path = "/api/v1/audit/checkpoint", tag = "audit",
    responses((status = 200, content_type = "text/plain"), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn checkpoint(State(app): State<Shared>, _: Actor) -> Result<Response, Problem> {
    match app.audit.checkpoint(now()).await? {
        Some(head) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            Ok((kind, head.to_note(app.audit.public())).into_response())
        }
        None if app.store.audit_size().await? == 0 => {
            Err(Problem::not_found("audit.empty", "the audit log has no entries yet"))
        }
        None => Err(Problem::conflict(
            "audit.forked",
            "the log no longer continues what it signed before, so nothing more is signed: see the alarms of \
             /api/v1/audit, and restore a backup",
        )),
    }
}

/// All checkpoints that were signed, oldest first.
#[utoipa::path(get, path = "/api/v1/audit/checkpoints", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<SignedCheckpoint>), (status = 400, body = Problem)))]
pub async fn checkpoints(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<SignedCheckpoint>>, Problem> {
    let behind = match &page.cursor {
        None => (0, 0),
        Some(text) => text
            .split_once('-')
            .and_then(|(e, s)| Some((e.parse().ok()?, s.parse().ok()?)))
            .ok_or_else(|| wrong_cursor(text))?,
    };
    let limit = page.limit();
    let rows = app.store.audit_checkpoints(behind, limit + 1).await?.into_iter();
    let items = rows
        .map(|c| SignedCheckpoint { epoch: c.epoch, size: c.size, time: c.time.0, note: c.note })
        .collect();
    Ok(Json(Page::of(items, limit, |c: &SignedCheckpoint| format!("{}-{}", c.epoch, c.size))))
}

fn wrong_cursor(text: &str) -> Problem {
    let shown: String = text.chars().take(40).collect();
    Problem::bad_request("page.cursor", format!("{shown:?} is not a cursor of this list"))
}

fn number(cursor: Option<&String>) -> Result<Option<u64>, Problem> {
    cursor.map(|c| c.parse().map_err(|_| wrong_cursor(c))).transpose()
}

/// Entries in their order, oldest first: what an auditor downloads.
#[utoipa::path(get, path = "/api/v1/audit/entries", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditEntry>), (status = 400, body = Problem)))]
pub async fn entries(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    // The cursor is the number of the first entry of the page, so that a reader can begin anywhere.
    let from = number(page.cursor.as_ref())?.unwrap_or(0);
    let limit = page.limit();
    let rows = app.store.audit_entries(from, limit + 1).await?;
    let items = rows.into_iter().map(AuditEntry::from).collect();
    Ok(Json(Page::of(items, limit, |e: &AuditEntry| (e.index + 1).to_string())))
}

/// Entries that fit, newest first: what a person looks for.
#[utoipa::path(get, path = "/api/v1/audit/search", tag = "audit", params(SearchQuery),
    responses((status = 200, body = Page<AuditEntry>), (status = 400, body = Problem)))]
pub async fn search(
    State(app): State<Shared>,
    _: Actor,
    Query(query): Query<SearchQuery>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let limit = query.limit.unwrap_or(100).clamp(1, 500);
    let search = Search {
        before: number(query.cursor.as_ref())?,
        action: query.action,
        actor: query.actor,
        text: query.q,
    };
    let rows = app.store.audit_search(&search, limit + 1).await?;
    let items = rows.into_iter().map(AuditEntry::from).collect();
    Ok(Json(Page::of(items, limit, |e: &AuditEntry| e.index.to_string())))
}

/// Proves that an entry is in the log of a size.
#[utoipa::path(get, path = "/api/v1/audit/proof/inclusion", tag = "audit", params(InclusionQuery),
    responses((status = 200, body = Proof), (status = 404, body = Problem)))]
pub async fn inclusion(
    State(app): State<Shared>,
    _: Actor,
    Query(q): Query<InclusionQuery>,
) -> Result<Json<Proof>, Problem> {
    prove(&app, q.size, tree::inclusion(q.index, q.size)).await
}

/// Proves that the log of one size is the beginning of the log of a greater one.
#[utoipa::path(get, path = "/api/v1/audit/proof/consistency", tag = "audit", params(ConsistencyQuery),
    responses((status = 200, body = Proof), (status = 404, body = Problem)))]
pub async fn consistency(
    State(app): State<Shared>,
    _: Actor,
    Query(q): Query<ConsistencyQuery>,
) -> Result<Json<Proof>, Problem> {
    prove(&app, q.to, tree::consistency(q.from, q.to)).await
}

async fn prove(
    app: &Shared,
    size: u64,
    ranges: Option<Vec<std::ops::Range<u64>>>,
) -> Result<Json<Proof>, Problem> {
    let has = app.store.audit_size().await?;
    match ranges.filter(|_| size <= has) {
        Some(ranges) => {
            let hashes = app.store.audit_proof(ranges).await?;
            Ok(Json(Proof { proof: hashes.iter().map(longshore_trust::Digest::to_hex).collect() }))
        }
        None => Err(Problem::not_found(
            "audit.no_proof",
            format!("there is no such proof: the log has {has} entries, numbered from 0"),
        )),
    }
}
