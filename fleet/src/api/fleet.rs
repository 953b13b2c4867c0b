//! The fleet in numbers.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::app::Shared;
use crate::auth::Actor;

/// The fleet.
#[derive(Serialize, ToSchema)]
pub struct Fleet {
    /// Its id.
    fleet: String,
    /// Raised by every restore from a backup.
    epoch: u64,
    /// Devices that accepted assignments this record never signed: it was restored from a backup that is older than what
    /// they hold. They get new ones with greater numbers, and go back to nothing.
    devices_ahead: u64,
    /// One person holds all keys.
    solo: bool,
    /// Published trust metadata.
    roles: Vec<Role>,
    /// Devices that are not revoked.
    devices: u64,
    /// Of these, connected.
    online: u64,
    /// Rows the fleet has counted.
    rows_counted: u64,
    /// Rows the devices' own journals counted, as they last reported.
    rows_journal: u64,
    /// Where devices enrol.
    device_url: String,
    /// Version of the server.
    version: &'static str,
}

/// One role of the trust metadata.
#[derive(Serialize, ToSchema)]
pub struct Role {
    /// `root`, `targets`, `snapshot`, `timestamp`, `models/<name>`.
    role: String,
    /// Its newest version.
    version: u64,
    /// When that expires, ms.
    expires: u64,
}

/// The fleet: its trust metadata and its totals.
#[utoipa::path(get, path = "/api/v1/fleet", tag = "fleet",
    responses((status = 200, body = Fleet), (status = 401, body = Problem)))]
pub async fn show(State(app): State<Shared>, _: Actor) -> Result<Json<Fleet>, Problem> {
    let counts = app.store.device_counts().await?;
    let (rows_counted, rows_journal) = app.store.row_totals().await?;
    let roles = app.trust.roles().await.map_err(|e| Problem::internal(&e))?;
    Ok(Json(Fleet {
        fleet: app.fleet.to_string(),
        epoch: app.store.epoch().await?,
        devices_ahead: app.store.devices_ahead().await?,
        solo: app.trust.solo().await.map_err(|e| Problem::internal(&e))?,
        roles: roles
            .into_iter()
            .map(|r| Role { role: r.role, version: r.version, expires: r.expires.0 })
            .collect(),
        devices: counts.devices,
        online: counts.online,
        rows_counted,
        rows_journal,
        device_url: format!("https://{}:{}", app.config.public_host, app.config.device_listen.port()),
        version: env!("CARGO_PKG_VERSION"),
    }))
}
