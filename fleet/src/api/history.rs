//! What ran where and when, at any past moment.

use axum::Json;
use axum::extract::{Query, State};
use longshore_trust::{DeviceId, UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Page, PageQuery};
use super::problem::Problem;
use crate::app::{Shared, now};
use crate::auth::Actor;
use crate::store::history::{Ran, RanCount};

/// Which moment, and of what.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The moment: ms since 1970, or RFC 3339 (`2026-01-31T12:00:00Z`). Without it: now for a model, and for a device
    /// everything that ever served on it.
    at: Option<String>,
    /// What served on this device.
    device: Option<String>,
    /// Which devices ran this model.
    model: Option<String>,
    /// Only those that ran this version of it.
    version: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items in a page, 1 to 500 (100 when left out).
    limit: Option<u32>,
}

/// What served at a moment, or ever.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryView {
    /// The moment, ms; null: all there is.
    at: Option<u64>,
    /// How many devices ran which version of the model, to the minute.
    counts: Vec<VersionDevices>,
    /// What served where, and since when.
    items: Vec<RanView>,
    /// Cursor of the next page; null at the end.
    next: Option<String>,
}

/// How many devices ran a version.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionDevices {
    /// The version; null when the catalogue does not have it.
    version: Option<String>,
    /// Digest of the bundle; null: none served.
    bundle: Option<String>,
    /// Devices.
    devices: i64,
}

/// What served a model on a device.
#[derive(Debug, Serialize, ToSchema)]
pub struct RanView {
    /// The device.
    device: String,
    /// The model.
    model: String,
    /// The version; null when the catalogue does not have it.
    version: Option<String>,
    /// Digest of the bundle; null: none served.
    bundle: Option<String>,
    /// Since when, ms.
    since: i64,
    /// Until when, ms; null: until now.
    until: Option<i64>,
    /// Whose clock says so: `device`, or `fleet` where the device's could not be relied on.
    clock: String,
    /// The rollout that brought it.
    rollout: Option<String>,
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

impl From<Ran> for RanView {
    fn from(r: Ran) -> Self {
        Self {
            device: r.device,
            model: r.model,
            version: some(r.version),
            bundle: some(r.bundle),
            since: r.since,
            until: r.until,
            clock: r.clock,
            rollout: r.rollout,
        }
    }
}

impl From<RanCount> for VersionDevices {
    fn from(c: RanCount) -> Self {
        Self { version: some(c.version), bundle: some(c.bundle), devices: c.devices }
    }
}

/// A moment as people and programs write it.
pub(crate) fn moment(text: &str) -> Option<UnixMs> {
    if let Ok(ms) = text.parse() {
        return Some(UnixMs(ms));
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(UnixMs)
}

/// What ran where at any past moment.
#[utoipa::path(get, path = "/api/v1/history", tag = "history", params(HistoryQuery),
    responses((status = 200, body = HistoryView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn show(
    State(app): State<Shared>,
    _: Actor,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryView>, Problem> {
    let at = match query.at.as_deref() {
        None => None,
        Some(text) => Some(moment(text).ok_or_else(|| {
            let hint = format!("at = {text:?} is no moment: give ms since 1970, or 2026-01-31T12:00:00Z");
            Problem::invalid("history.at", hint)
        })?),
    };
    let page = PageQuery { cursor: query.cursor, limit: query.limit };
    match (query.device, query.model) {
        (Some(device), None) if query.version.is_none() => of_device(&app, &device, at, &page).await,
        (None, Some(model)) => {
            of_model(&app, &model, query.version.as_deref(), at.unwrap_or_else(now), &page).await
        }
        _ => Err(Problem::invalid("history.of", "give either `device`, or `model` and perhaps `version`")),
    }
}

async fn of_device(
    app: &Shared,
    device: &str,
    at: Option<UnixMs>,
    page: &PageQuery,
) -> Result<Json<HistoryView>, Problem> {
    let unknown = || Problem::not_found("device.unknown", format!("there is no device {device:?}"));
    let id: DeviceId = device.parse().map_err(|_| unknown())?;
    if app.store.view_device(device).await?.is_none() {
        return Err(unknown());
    }
    let (items, next) = match at {
        Some(at) => (app.store.ran_on(&id, at).await?, None),
        None => {
            let bad = || Problem::bad_request("page.cursor", "this cursor was not given by this list");
            let before = match page.cursor.as_deref() {
                None => None,
                Some(text) => {
                    let (at, id) = text.split_once('.').ok_or_else(bad)?;
                    Some((at.parse().map_err(|_| bad())?, id.parse().map_err(|_| bad())?))
                }
            };
            let limit = page.limit();
            let rows = app.store.ran_ever_on(&id, before, limit + 1).await?;
            let page = Page::of(rows, limit, |r| format!("{}.{}", r.since, r.id));
            (page.items, page.next)
        }
    };
    let items = items.into_iter().map(RanView::from).collect();
    Ok(Json(HistoryView { at: at.map(|t| t.0), counts: Vec::new(), items, next }))
}

async fn of_model(
    app: &Shared,
    model: &str,
    version: Option<&str>,
    at: UnixMs,
    page: &PageQuery,
) -> Result<Json<HistoryView>, Problem> {
    if !app.store.view_model_exists(model).await? {
        return Err(Problem::not_found("model.unknown", format!("there is no model {model:?}")));
    }
    let bundle = match version {
        None => None,
        Some(version) => Some(super::models::find(app, model, version).await?.bundle.to_hex()),
    };
    let counts = app.store.ran_counts(model, at).await?;
    let limit = page.limit();
    let after = page.cursor.as_deref().unwrap_or("");
    let rows = app.store.ran_where(model, bundle.as_deref(), at, after, limit + 1).await?;
    let page = Page::of(rows, limit, |r| r.device.clone());
    Ok(Json(HistoryView {
        at: Some(at.0),
        counts: counts.into_iter().map(VersionDevices::from).collect(),
        items: page.items.into_iter().map(RanView::from).collect(),
        next: page.next,
    }))
}
