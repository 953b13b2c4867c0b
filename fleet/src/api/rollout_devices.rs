//! The devices of a rollout, page by page: a fleet of a hundred thousand is never one answer.

use axum::Json;
use axum::extract::{Path, Query, State};
use longshore_fleet_core::rollout::DeviceState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::rollouts_view::WaveDevice;
use crate::app::Shared;
use crate::auth::Actor;
use crate::jobs::control::ControlError;
use crate::store::views::Cursor;

/// Which devices.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhichDevices {
    /// Only those of this wave, from 0 on.
    wave: Option<u32>,
    /// Only those in this state, such as `rolled_back`.
    state: Option<String>,
}

/// A device of a rollout.
#[derive(Serialize, ToSchema)]
pub struct RolloutDevice {
    /// Its wave, from 0 on.
    wave: i64,
    #[serde(flatten)]
    device: WaveDevice,
}

/// Its devices, by id.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/devices", tag = "rollouts",
    params(("rollout" = String, Path), WhichDevices, PageQuery),
    responses((status = 200, body = Page<RolloutDevice>), (status = 404, body = Problem)))]
pub async fn list(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
    Query(which): Query<WhichDevices>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<RolloutDevice>>, Problem> {
    if app.store.rollout(&id).await?.is_none() {
        return Err(ControlError::Unknown(id).into());
    }
    let state = which.state.filter(|s| !s.is_empty());
    if let Some(Err(e)) = state.as_deref().map(str::parse::<DeviceState>) {
        let known = "such as waiting, offered, probation, committed, failed or rolled_back";
        return Err(Problem::invalid(
            "rollout.device_state",
            format!("{e}; states are those of the timeline, {known}"),
        ));
    }
    let limit = page.limit();
    let cursor = page.cursor.map_or(Cursor::Start, Cursor::After);
    let (wave, state) = (which.wave.map(i64::from), state.unwrap_or_default());
    let (rows, more) = app.store.view_rollout_devices(&id, wave, &state, &cursor, limit).await?;
    let next = if more { rows.last().map(|d| d.device.clone()) } else { None };
    let items = rows.into_iter().map(|d| RolloutDevice { wave: d.wave, device: d.into() }).collect();
    Ok(Json(Page { items, next }))
}
