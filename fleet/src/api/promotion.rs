//! The promotion record of a rollout, as it was sealed into the audit log.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::app::Shared;
use crate::auth::Actor;

/// A record and what it is checked with. The entry, its proof and a checkpoint come from `/api/v1/audit`.
#[derive(Serialize, ToSchema)]
pub struct Record {
    /// The record: JSON, whose SHA-256 stands in the entry.
    record: String,
    /// The plan: JSON, whose SHA-256 is the plan's hash (where the hash stands in it, there are zeros).
    plan: String,
    /// Number of the entry in the audit log.
    entry: u64,
}

/// What a rollout that completed was, who wanted it and what it was judged by; sealed by an entry of the audit log.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/record", tag = "rollouts",
    params(("rollout" = String, Path)),
    responses((status = 200, body = Record), (status = 404, body = Problem)))]
pub async fn show(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
) -> Result<Json<Record>, Problem> {
    let (sealed, plan) = (app.store.rollout_record(&id).await?, app.store.rollout_plan_text(&id).await?);
    match sealed.zip(plan) {
        Some((sealed, plan)) => Ok(Json(Record { record: sealed.record, plan, entry: sealed.entry })),
        None => Err(Problem::not_found(
            "rollout.no_record",
            format!("rollout {id} has no promotion record: one is written when a rollout completes"),
        )),
    }
}
