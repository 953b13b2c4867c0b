//! Devices: the list, one device, claim tokens, revocation.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use longshore_trust::{DeviceId, Digest, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::page::{Page, PageQuery};
use super::problem::{Body, Problem};
use crate::app::{App, Shared, now};
use crate::auth::Actor;
use crate::enrol;
use crate::events::FleetEvent;
use crate::store::views::{Cursor, DeviceFilter, DeviceModelRow, DeviceRow, Happening};
use crate::store::{audit, device};

/// A claim token is good for at most so long, ms.
const MAX_TOKEN_MS: u64 = 366 * 86_400_000;
/// Updates shown of one device.
const UPDATES: u32 = 50;

/// A device.
#[derive(Serialize, ToSchema)]
pub struct Device {
    /// Its id.
    id: String,
    /// Serial number of its board.
    serial: String,
    /// Labels given at enrolment.
    labels: Value,
    /// Connected now.
    online: bool,
    /// Shut out.
    revoked: bool,
    /// `active`, `wiping` (told to wipe itself), `decommissioned` (its receipt is here) or `revoked`.
    standing: String,
    /// Why rollouts offer it nothing, if it is in quarantine.
    quarantine: Option<String>,
    /// Assignments in a row that it could not carry out.
    failures: i64,
    /// When it joined, ms.
    enrolled_at: i64,
    /// When it was shut out, ms.
    revoked_at: Option<i64>,
    /// When it was last heard of, ms.
    last_seen: Option<i64>,
    /// Version of its agent, once it has told.
    agent: Option<String>,
    /// The greatest assignment version it accepted.
    assignment_version: i64,
    /// What it runs.
    models: Vec<DeviceModel>,
    /// Rows the fleet has counted of it.
    rows_counted: i64,
}

/// One model on a device.
#[derive(Serialize, ToSchema)]
pub struct DeviceModel {
    /// The model.
    model: String,
    /// Version that serves.
    version: String,
    /// Digest of the bundle that serves.
    active: Option<String>,
    /// Version that is wanted.
    wanted_version: String,
    /// State of its update.
    state: String,
    /// Why.
    code: String,
    /// Rows the device's own journal counted.
    rows_journal: i64,
    /// When this changed, ms.
    changed: i64,
}

/// A device with what is known of it.
#[derive(Serialize, ToSchema)]
pub struct DeviceDetail {
    /// In short.
    #[serde(flatten)]
    device: Device,
    /// What it is.
    inventory: Value,
    /// How it is.
    health: Value,
    /// Versions of the trust metadata it has.
    trust: Value,
    /// What happened to its models, newest first.
    updates: Vec<Update>,
    /// Of its wipe, if it was told to.
    wipe: Option<Wipe>,
}

/// How a wipe stands.
#[derive(Serialize, ToSchema)]
pub struct Wipe {
    /// When it was asked for, ms.
    asked_at: i64,
    /// When the last receipt came, ms.
    wiped_at: Option<i64>,
    /// What the device signed.
    receipts: Vec<WipeReceipt>,
}

/// A signed word of a device about its wipe.
#[derive(Serialize, ToSchema)]
pub struct WipeReceipt {
    /// `begun` or `done`.
    stage: String,
    /// By the device's clock, ms.
    time: u64,
    /// By the fleet's, ms.
    received: u64,
    /// The signed envelope, base64.
    envelope: String,
}

/// A step of an update.
#[derive(Serialize, ToSchema)]
pub struct Update {
    /// By the device's clock, ms.
    time: u64,
    /// The model.
    model: String,
    /// The version.
    version: String,
    /// Digest of the bundle.
    bundle: String,
    /// The state reached.
    state: String,
    /// Why.
    code: String,
    /// Why, for people.
    detail: String,
    /// The rollout.
    rollout: String,
}

/// A claim token, by its hash: the server never sees the token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// SHA-256 of the token, hex.
    hash: String,
    /// Until when it may be used, ms.
    expires: u64,
    /// The only board that may use it.
    #[serde(default)]
    serial: Option<String>,
    /// The only device that may use it.
    #[serde(default)]
    device: Option<String>,
    /// That device is enrolled: its board was swapped, and the new one takes its place.
    #[serde(default)]
    replaces: bool,
}

fn json(text: Option<&str>) -> Value {
    text.and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null)
}

impl Device {
    fn new(row: &DeviceRow, models: Vec<DeviceModel>, rows_counted: i64) -> Self {
        let inventory = json(row.inventory.as_deref());
        Self {
            id: row.id.clone(),
            serial: row.serial.clone(),
            labels: json(Some(&row.labels)),
            online: row.online,
            revoked: row.revoked_at.is_some(),
            standing: row.standing().to_owned(),
            quarantine: row.quarantine_reason.clone(),
            failures: row.failures,
            enrolled_at: row.enrolled_at,
            revoked_at: row.revoked_at,
            last_seen: row.last_seen,
            agent: inventory["agent"].as_str().map(str::to_owned),
            assignment_version: row.assignment_version,
            models,
            rows_counted,
        }
    }
}

async fn with_models(app: &App, rows: &[DeviceRow]) -> Result<Vec<Device>, Problem> {
    let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).collect();
    let mut models: BTreeMap<String, Vec<DeviceModel>> = BTreeMap::new();
    for m in app.store.view_device_models(&ids).await? {
        let DeviceModelRow {
            device,
            model,
            version,
            active,
            wanted_version,
            state,
            code,
            rows_journal,
            changed,
            ..
        } = m;
        let entry =
            DeviceModel { model, version, active, wanted_version, state, code, rows_journal, changed };
        models.entry(device).or_default().push(entry);
    }
    let counted: BTreeMap<String, i64> = app.store.view_device_rows(&ids).await?.into_iter().collect();
    Ok(rows
        .iter()
        .map(|r| {
            Device::new(r, models.remove(&r.id).unwrap_or_default(), counted.get(&r.id).copied().unwrap_or(0))
        })
        .collect())
}

/// Devices that are not revoked, by id.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(PageQuery),
    responses((status = 200, body = Page<Device>), (status = 401, body = Problem)))]
pub async fn list(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Device>>, Problem> {
    let limit = page.limit();
    let cursor = page.cursor.map_or(Cursor::Start, Cursor::After);
    let found = app.store.view_devices(&DeviceFilter::default(), &cursor, limit).await?;
    let next = if found.more_after { found.devices.last().map(|d| d.id.clone()) } else { None };
    Ok(Json(Page { items: with_models(&app, &found.devices).await?, next }))
}

/// One device.
#[utoipa::path(get, path = "/api/v1/devices/{device}", tag = "devices", params(("device" = String, Path)),
    responses((status = 200, body = DeviceDetail), (status = 404, body = Problem)))]
pub async fn show(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
) -> Result<Json<DeviceDetail>, Problem> {
    let row = app.store.view_device(&id).await?.ok_or_else(|| unknown(&id))?;
    let rows = [row];
    let device = with_models(&app, &rows).await?.remove(0);
    let [row] = rows;
    let updates = app
        .store
        .view_timeline(&id, u64::MAX, UPDATES)
        .await?
        .into_iter()
        .filter_map(|m| match m.what {
            Happening::Update { model, version, bundle, state, code, detail, rollout, .. } => {
                Some(Update { time: m.time, model, version, bundle, state, code, detail, rollout })
            }
            Happening::Event { .. } => None,
        })
        .collect();
    let wipe = match row.wipe_asked_at {
        None => None,
        Some(asked_at) => Some(Wipe {
            asked_at,
            wiped_at: row.wiped_at,
            receipts: app
                .store
                .wipe_receipts(&id)
                .await?
                .into_iter()
                .map(|r| WipeReceipt {
                    stage: r.stage,
                    time: r.time.0,
                    received: r.received.0,
                    envelope: B64.encode(r.bytes),
                })
                .collect(),
        }),
    };
    Ok(Json(DeviceDetail {
        wipe,
        device,
        inventory: json(row.inventory.as_deref()),
        health: json(row.health.as_deref()),
        trust: json(Some(&row.tuf_versions)),
        updates,
    }))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(80).collect();
    Problem::not_found("device.unknown", format!("there is no device {shown:?} in this fleet"))
}

/// Remembers a claim token: one device may enrol with it, once.
#[utoipa::path(post, path = "/api/v1/devices/tokens", request_body = NewToken, tag = "devices",
    responses((status = 200, body = Value), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn token(
    State(app): State<Shared>,
    actor: Actor,
    Body(new): Body<NewToken>,
) -> Result<Json<Value>, Problem> {
    let now = now();
    let hash: Digest = new
        .hash
        .parse()
        .map_err(|e: longshore_trust::IdError| Problem::invalid("token.hash", e.to_string()))?;
    if new.expires <= now.0 || new.expires > now.0 + MAX_TOKEN_MS {
        return Err(Problem::invalid("token.expires", "`expires` must be later than now, and within a year"));
    }
    let bound = new.device.map(|id| id.parse::<DeviceId>());
    let bound = bound.transpose().map_err(|e| Problem::invalid("token.device", e.to_string()))?;
    let mut tx = app.store.write().await?;
    if new.replaces {
        let Some(device) = &bound else {
            return Err(Problem::invalid(
                "token.device",
                "`replaces` needs `device`: whose board was swapped?",
            ));
        };
        if device::enrolled(&mut tx, device).await?.is_none() {
            return Err(unknown(device.as_str()));
        }
    }
    let whom = device::TokenFor { serial: new.serial, device: bound, replaces: new.replaces };
    device::insert_token(&mut tx, &hash, UnixMs(new.expires), &whom, now).await.map_err(|e| {
        if e.is_unique_violation() {
            Problem::conflict("token.exists", "this token is known already: make a new one")
        } else {
            e.into()
        }
    })?;
    let detail = match (&whom.device, whom.replaces) {
        (Some(device), true) => format!("replaces the board of {device}"),
        (Some(device), false) => format!("for {device}"),
        (None, _) => String::new(),
    };
    audit::record(&mut tx, now, &actor.name, "device.token", &hash.short(), &detail).await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Summary);
    Ok(Json(serde_json::json!({ "hash": hash, "expires": new.expires, "serial": whom.serial,
        "device": whom.device, "replaces": whom.replaces })))
}

/// Shuts a device out: its certificate is refused from now on.
#[utoipa::path(delete, path = "/api/v1/devices/{device}", tag = "devices", params(("device" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub async fn revoke(
    State(app): State<Shared>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let device: DeviceId = id.parse().map_err(|_| unknown(&id))?;
    let now = now();
    if app.store.device(&device).await?.is_none() {
        return Err(unknown(&id));
    }
    let mut tx = app.store.write().await?;
    if device::revoke(&mut tx, &device, now).await? {
        audit::record(&mut tx, now, &actor.name, "device.revoke", device.as_str(), "").await?;
    }
    tx.commit().await?;
    app.gateway.disconnect(device.clone());
    app.events.publish(FleetEvent::Device(device.clone()));
    Ok(Json(serde_json::json!({ "device": device, "revoked": true })))
}

/// Ends a device's quarantine: rollouts offer it versions again.
#[utoipa::path(post, path = "/api/v1/devices/{device}/release", tag = "devices", params(("device" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub async fn release(
    State(app): State<Shared>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let device: DeviceId = id.parse().map_err(|_| unknown(&id))?;
    if app.store.device(&device).await?.is_none() {
        return Err(unknown(&id));
    }
    let mut tx = app.store.write().await?;
    let released = crate::store::quarantine::release(&mut tx, &device, &actor.name, now()).await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Device(device.clone()));
    Ok(Json(serde_json::json!({ "device": device, "released": released })))
}

/// Tells a device to wipe itself. Its signed receipt is kept, and it is shut out with it.
#[utoipa::path(post, path = "/api/v1/devices/{device}/decommission", tag = "devices",
    params(("device" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn decommission(
    State(app): State<Shared>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let device: DeviceId = id.parse().map_err(|_| unknown(&id))?;
    let now = now();
    let row = app.store.device(&device).await?.ok_or_else(|| unknown(&id))?;
    if row.revoked_at.is_some() {
        return Err(Problem::conflict(
            "device.revoked",
            format!("device {device} was shut out already: it takes no command any more"),
        ));
    }
    let mut tx = app.store.write().await?;
    let commanded = enrol::tell_to_wipe(&mut tx, &app.director, &device, now).await;
    if commanded.map_err(|e| Problem::conflict("device.decommission", e.to_string()))? {
        audit::record(&mut tx, now, &actor.name, "device.decommission", device.as_str(), "").await?;
    }
    tx.commit().await?;
    app.gateway.push(device.clone());
    app.events.publish(FleetEvent::Device(device.clone()));
    Ok(Json(serde_json::json!({ "device": device, "standing": "wiping", "online": row.online })))
}
