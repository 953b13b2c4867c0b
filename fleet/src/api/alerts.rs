//! Alerts: look, take on, call over, silence.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_fleet_core::alert::silence::Matcher;
use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::page::{Page, PageQuery};
use super::problem::{Body, Problem};
use crate::alerts::act::{self, ActError};
use crate::app::{App, Shared, now};
use crate::auth::Actor;
use crate::store::alert::silence::SilenceRow;
use crate::store::alert::{AlertRow, Filter};

/// Lines of history in an answer.
const HISTORY: u32 = 200;

impl From<ActError> for Problem {
    fn from(e: ActError) -> Self {
        let text = e.to_string();
        match e {
            ActError::Store(e) => e.into(),
            ActError::Unknown { what, .. } => {
                let code = format!("{}.unknown", what.split(' ').next().unwrap_or("alert"));
                Self::not_found(&code, text)
            }
            ActError::Changed { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "alert.changed", text),
            ActError::State { .. } => Self::conflict("alert.state", text),
            ActError::Invalid(_) => Self::invalid("alert.invalid", text),
        }
    }
}

/// Which alerts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// `firing`, `acknowledged`, `active` (both), `pending`, `resolved`; all but pending when left out.
    state: Option<String>,
    /// `critical`, `warning`, `info`.
    severity: Option<String>,
    /// Model.
    model: Option<String>,
    /// Rule.
    rule: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items in a page, 1 to 500 (100 when left out).
    limit: Option<u32>,
}

/// One alert.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertView {
    /// Its number.
    id: u64,
    /// `pending`, `firing`, `acknowledged`, `resolved`.
    state: &'static str,
    /// `critical`, `warning`, `info`.
    severity: &'static str,
    /// Name of the rule.
    rule: String,
    /// What the rule looks at.
    kind: String,
    /// The model, if it is about one.
    model: Option<String>,
    /// The cohort; `fleet` is everybody.
    cohort: String,
    /// One sentence.
    summary: String,
    /// What it rests on: value, interval, rows, features, versions, devices.
    #[schema(value_type = Object)]
    evidence: Value,
    /// Labels of the rule.
    #[schema(value_type = Object)]
    labels: Value,
    /// When its cause was seen first, ms.
    opened: u64,
    /// When it fired last, ms.
    fired: Option<u64>,
    /// How often it has come back.
    flaps: u32,
    /// Who has taken it on: `at`, `by`, `note`.
    #[schema(value_type = Option<Object>)]
    acknowledged: Value,
    /// How it ended: `at`, `by`, `who`, `note`.
    #[schema(value_type = Option<Object>)]
    resolved: Value,
    /// The ETag of the alert.
    etag: u64,
}

impl AlertView {
    /// As everybody outside sees it.
    pub fn new(app: &App, row: &AlertRow) -> Self {
        let mut about = crate::alerts::about(app, row);
        Self {
            id: row.id,
            state: row.alert.state.name(),
            severity: row.severity.as_str(),
            rule: row.cause.rule.clone(),
            kind: row.kind.clone(),
            model: Some(row.cause.model.clone()).filter(|m| !m.is_empty()),
            cohort: row.cause.cohort.clone(),
            summary: row.evidence.summary.clone(),
            evidence: about["evidence"].take(),
            labels: about["labels"].take(),
            opened: row.opened.0,
            fired: row.fired.map(|t| t.0),
            flaps: row.alert.flaps,
            acknowledged: about["acknowledged"].take(),
            resolved: about["resolved"].take(),
            etag: row.etag,
        }
    }
}

/// One alert with its history.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertDetail {
    /// The alert.
    #[serde(flatten)]
    alert: AlertView,
    /// What happened to it, newest first.
    history: Vec<Happened>,
    /// The request for a new training it has made.
    #[schema(value_type = Option<Object>)]
    retrain: Option<Value>,
}

/// A line of a history.
#[derive(Debug, Serialize, ToSchema)]
pub struct Happened {
    /// When, ms.
    time: i64,
    /// What.
    what: String,
    /// Who.
    who: String,
    /// In words.
    text: String,
}

/// A note.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Note {
    /// What others should know.
    note: String,
}

/// A silence that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// What: `rule`, `model`, `cohort`, `severity`, at least one of them; `*` stands for anything.
    #[schema(value_type = Object)]
    matcher: Matcher,
    /// Until when, ms.
    until: u64,
    /// Why.
    why: String,
}

/// A silence.
#[derive(Debug, Serialize, ToSchema)]
pub struct SilenceView {
    /// Its number.
    id: u64,
    /// What.
    #[schema(value_type = Object)]
    matcher: Matcher,
    /// Until when, ms.
    until: u64,
    /// Who.
    who: String,
    /// Why.
    why: String,
    /// Since when, ms.
    created: u64,
    /// Whether it is in force.
    in_force: bool,
}

/// A device that an alert counts.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountedDevice {
    /// The device.
    id: String,
    /// Its value now: ms of silence, share of free disk, degrees, lost rows.
    value: f64,
}

fn cursor_place(cursor: Option<&str>) -> Result<Option<(i64, u64)>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    let parts = text.split_once('.').and_then(|(rank, id)| Some((rank.parse().ok()?, id.parse().ok()?)));
    match parts {
        Some(place) => Ok(Some(place)),
        None => Err(Problem::bad_request("page.cursor", "this cursor was not given by this list")),
    }
}

/// A number as a cursor.
pub(super) fn cursor_number(page: &PageQuery) -> Result<Option<u64>, Problem> {
    match page.cursor.as_deref().map(str::parse) {
        None => Ok(None),
        Some(Ok(n)) => Ok(Some(n)),
        Some(Err(_)) => Err(Problem::bad_request("page.cursor", "this cursor was not given by this list")),
    }
}

/// Alerts: what fires first, then what somebody has taken on, then what is over.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(AlertQuery),
    responses((status = 200, body = Page<AlertView>), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<Shared>,
    _: Actor,
    Query(query): Query<AlertQuery>,
) -> Result<Json<Page<AlertView>>, Problem> {
    let state = query.state.unwrap_or_default();
    if !["", "pending", "firing", "acknowledged", "active", "resolved"].contains(&state.as_str()) {
        let text = "state is firing, acknowledged, active, pending or resolved";
        return Err(Problem::invalid("alert.filter", text));
    }
    let page = PageQuery { cursor: query.cursor, limit: query.limit };
    let limit = page.limit();
    let place = cursor_place(page.cursor.as_deref())?;
    let filter = Filter {
        state,
        severity: query.severity.unwrap_or_default(),
        model: query.model.unwrap_or_default(),
        rule: query.rule.unwrap_or_default(),
    };
    let rows = app.store.alerts(&filter, place, limit + 1).await?;
    let page = Page::of(rows, limit, |((rank, id), _)| format!("{rank}.{id}"));
    let items = page.items.iter().map(|(_, row)| AlertView::new(&app, row)).collect();
    Ok(Json(Page { items, next: page.next }))
}

async fn detail(app: &Shared, id: u64) -> Result<Response, Problem> {
    let unknown = || ActError::Unknown { what: "alert", id: id.to_string() };
    let row = app.store.alert(id).await?.ok_or_else(unknown)?;
    let history = app.store.alert_history(id, HISTORY).await?;
    let retrain = app.store.retrain_of(id).await?.and_then(|r| serde_json::from_str(&r.body).ok());
    let body = AlertDetail {
        alert: AlertView::new(app, &row),
        history: history
            .into_iter()
            .map(|e| Happened { time: e.time, what: e.what, who: e.who, text: e.text })
            .collect(),
        retrain,
    };
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", row.etag)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

/// One alert, with its history.
#[utoipa::path(get, path = "/api/v1/alerts/{alert}", tag = "alerts", params(("alert" = u64, Path)),
    responses((status = 200, body = AlertDetail), (status = 404, body = Problem)))]
pub async fn show(State(app): State<Shared>, _: Actor, Path(id): Path<u64>) -> Result<Response, Problem> {
    detail(&app, id).await
}

/// The devices that an alert about devices counts, as they are now.
#[utoipa::path(get, path = "/api/v1/alerts/{alert}/devices", tag = "alerts",
    params(("alert" = u64, Path), PageQuery),
    responses((status = 200, body = Page<CountedDevice>), (status = 404, body = Problem)))]
pub async fn devices(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<u64>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<CountedDevice>>, Problem> {
    let row = app.store.alert(id).await?.ok_or(ActError::Unknown { what: "alert", id: id.to_string() })?;
    let Some(rule) = app.config.alerting.rule(&row.cause.rule).filter(|r| r.kind.is_of_devices()) else {
        let text = format!("alert {id} counts no devices, or its rule is no longer in the configuration");
        return Err(Problem::conflict("alert.no_devices", text));
    };
    let limit = page.limit();
    let after = page.cursor.as_deref().unwrap_or_default();
    let rows = app.store.alert_device_list(rule, after, limit + 1, now()).await?;
    let page = Page::of(rows, limit, |r| r.id.clone());
    let items = page.items.into_iter().map(|r| CountedDevice { id: r.id, value: r.v }).collect();
    Ok(Json(Page { items, next: page.next }))
}

fn body<T: Default + serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes).map_err(|e| Problem::invalid("request.invalid", e.to_string()))
}

/// Takes an alert on, or calls it over.
#[utoipa::path(post, path = "/api/v1/alerts/{alert}/{action}", request_body = Note, tag = "alerts",
    params(("alert" = u64, Path), ("action" = String, Path, description = "acknowledge or resolve"),
        ("If-Match" = Option<String>, Header, description = "the ETag that was looked at")),
    responses((status = 200, body = AlertDetail), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)))]
pub async fn act(
    State(app): State<Shared>,
    actor: Actor,
    Path((id, action)): Path<(u64, String)>,
    headers: HeaderMap,
    bytes: axum::body::Bytes,
) -> Result<Response, Problem> {
    let Note { note } = body(&bytes)?;
    let etag = super::rollouts::seen(&headers)?;
    match action.as_str() {
        "acknowledge" => act::acknowledge(&app, id, &actor.name, &note, etag, now()).await?,
        "resolve" => act::resolve(&app, id, &actor.name, &note, etag, now()).await?,
        _ => {
            let shown: String = action.chars().take(40).collect();
            let text = format!("{shown:?} cannot be done with an alert; there are acknowledge and resolve");
            return Err(Problem::not_found("alert.action", text));
        }
    }
    detail(&app, id).await
}

fn silence_view(row: SilenceRow, now: UnixMs) -> SilenceView {
    SilenceView {
        id: row.id,
        matcher: row.matcher,
        until: row.until.0,
        who: row.who,
        why: row.why,
        created: row.created.0,
        in_force: row.until > now,
    }
}

/// Silences, newest first.
#[utoipa::path(get, path = "/api/v1/silences", tag = "alerts", params(PageQuery),
    responses((status = 200, body = Page<SilenceView>)))]
pub async fn silences(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<SilenceView>>, Problem> {
    let limit = page.limit();
    let rows = app.store.silences(cursor_number(&page)?, limit + 1).await?;
    let page = Page::of(rows, limit, |r| r.id.to_string());
    let now = now();
    let items = page.items.into_iter().map(|r| silence_view(r, now)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// Silences alerts until a time: they go on, nobody is told.
#[utoipa::path(post, path = "/api/v1/silences", request_body = NewSilence, tag = "alerts",
    responses((status = 201, body = SilenceView), (status = 422, body = Problem)))]
pub async fn silence(
    State(app): State<Shared>,
    actor: Actor,
    Body(new): Body<NewSilence>,
) -> Result<Response, Problem> {
    let (time, until) = (now(), UnixMs(new.until));
    let id = act::silence(&app, &new.matcher, until, &actor.name, &new.why, time).await?;
    let view = SilenceView {
        id,
        matcher: new.matcher,
        until: new.until,
        who: actor.name,
        why: new.why,
        created: time.0,
        in_force: true,
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Ends a silence.
#[utoipa::path(delete, path = "/api/v1/silences/{silence}", tag = "alerts", params(("silence" = u64, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn end_silence(
    State(app): State<Shared>,
    actor: Actor,
    Path(id): Path<u64>,
) -> Result<StatusCode, Problem> {
    act::end_silence(&app, id, &actor.name, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
