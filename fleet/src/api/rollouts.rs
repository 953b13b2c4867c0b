//! Rollouts: plan, start, look, stop.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_fleet_core::plan::{Plan, Rehearsal, policy_lint};
use longshore_fleet_core::policy::{Policy, SHIPPED};
use longshore_trust::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Page, PageQuery};
use super::problem::{Body, Problem};
use super::rollouts_view::{DEVICES, LogLine, RolloutDetail, RolloutSummary};
use crate::app::{Shared, now};
use crate::auth::Actor;
use crate::jobs::control::{self, Act, ControlError};
use crate::store::rollout::PlanBrief;

impl From<ControlError> for Problem {
    fn from(e: ControlError) -> Self {
        let text = e.to_string();
        match e {
            ControlError::Store(e) => e.into(),
            ControlError::Planning(e) => e.into(),
            ControlError::Policy(_) => Self::invalid("policy.invalid", text),
            ControlError::UnknownPolicy(_) => Self::invalid("policy.unknown", text),
            ControlError::Unknown(_) => Self::not_found("rollout.unknown", text),
            ControlError::Changed { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "rollout.changed", text)
            }
            ControlError::SamePerson { .. } => Self::conflict("rollout.same_person", text),
            ControlError::State { .. } => Self::conflict("rollout.state", text),
            ControlError::Occupied { .. } => Self::conflict("rollout.occupied", text),
        }
    }
}

/// What is to be rolled out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRollout {
    /// The model.
    model: String,
    /// The version, or an alias of it.
    version: String,
    /// The policy, TOML.
    #[serde(default)]
    policy: Option<String>,
    /// The name of a policy that comes with the server (`careful` when neither is given).
    #[serde(default)]
    policy_name: Option<String>,
    /// Only show the plan.
    #[serde(default)]
    dry_run: bool,
    /// Answer with how many devices there are in each wave instead of naming them: a large fleet's plan is many megabytes.
    #[serde(default)]
    brief: bool,
}

/// A plan as it is answered: the plan, and what a person should know.
#[derive(Serialize, ToSchema)]
pub struct PlanView {
    /// The plan.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    plan: Plan,
    /// `planned`, or `rehearsal` for a dry run.
    state: &'static str,
    /// What a person should know before the start.
    lint: Vec<String>,
    /// What it will probably do.
    #[schema(value_type = Object)]
    rehearsal: Rehearsal,
}

/// How to resume, and whether to take another rollout's place.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActBody {
    /// `retry` or `skip`: needed to resume.
    wave: Option<String>,
    /// Start in place of the rollouts that have some of the devices.
    supersede: bool,
    /// Start at this time, ms, instead of now.
    at: Option<u64>,
}

/// A policy that comes with the server.
#[derive(Serialize, ToSchema)]
pub struct ShippedPolicy {
    /// Its name.
    name: &'static str,
    /// Its text.
    text: &'static str,
}

/// Policies that come with the server.
#[utoipa::path(get, path = "/api/v1/policies", tag = "rollouts", responses((status = 200, body = Page<ShippedPolicy>)))]
pub async fn policies(_: Actor) -> Json<Page<ShippedPolicy>> {
    let items = SHIPPED.iter().map(|(name, text)| ShippedPolicy { name, text }).collect();
    Json(Page { items, next: None })
}

/// A policy to be looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Its text, TOML.
    policy: String,
}

/// Says all that is wrong with a policy, or how the server understands it.
#[utoipa::path(post, path = "/api/v1/policies/check", request_body = PolicyText, tag = "rollouts",
    responses((status = 200, body = Value)))]
pub async fn check(_: Actor, Body(text): Body<PolicyText>) -> Json<serde_json::Value> {
    Json(match Policy::check(&text.policy) {
        Ok(policy) => {
            serde_json::json!({ "ok": true, "lint": policy_lint(&policy, now()), "policy": policy, "mistakes": [] })
        }
        Err(wrong) => {
            let mistakes: Vec<_> =
                wrong.iter().map(|e| serde_json::json!({ "line": e.line, "message": e.message })).collect();
            serde_json::json!({ "ok": false, "mistakes": mistakes })
        }
    })
}

/// Plans a rollout; it starts only when told to.
#[utoipa::path(post, path = "/api/v1/rollouts", request_body = NewRollout, tag = "rollouts",
    responses((status = 201, body = PlanView), (status = 200, body = PlanView, description = "dry run"),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(app): State<Shared>,
    actor: Actor,
    Body(new): Body<NewRollout>,
) -> Result<Response, Problem> {
    if new.policy.is_some() && new.policy_name.is_some() {
        return Err(Problem::invalid("policy.twice", "give either `policy` or `policy_name`, not both"));
    }
    let model = new
        .model
        .parse()
        .map_err(|e: longshore_trust::IdError| Problem::invalid("model.name", e.to_string()))?;
    let policy = control::policy(new.policy.as_deref(), new.policy_name.as_deref())?;
    let (plan, rehearsal) =
        control::make_plan(&app, &actor.name, &model, &new.version, policy, new.dry_run, now()).await?;
    let (status, state) =
        if new.dry_run { (StatusCode::OK, "rehearsal") } else { (StatusCode::CREATED, "planned") };
    let lint = rehearsal.lint.clone();
    if new.brief {
        let mut answer = serde_json::to_value(PlanBrief::from(&plan)).map_err(|e| Problem::internal(&e))?;
        answer["id"] = plan.id.as_str().into();
        answer["hash"] = plan.hash.to_hex().into();
        answer["state"] = state.into();
        answer["lint"] = lint.into();
        answer["rehearsal"] = serde_json::to_value(&rehearsal).map_err(|e| Problem::internal(&e))?;
        return Ok((status, Json(answer)).into_response());
    }
    Ok((status, Json(PlanView { plan, state, lint, rehearsal })).into_response())
}

/// Rollouts, newest first.
#[utoipa::path(get, path = "/api/v1/rollouts", tag = "rollouts", params(PageQuery),
    responses((status = 200, body = Page<RolloutSummary>)))]
pub async fn list(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<RolloutSummary>>, Problem> {
    let limit = page.limit();
    let before = match page.cursor.as_deref().map(str::parse) {
        None => None,
        Some(Ok(generation)) => Some(generation),
        Some(Err(_)) => {
            return Err(Problem::bad_request("page.cursor", "this cursor was not given by this list"));
        }
    };
    let rollouts = app.store.rollouts(None, before, limit + 1).await?;
    let page = Page::of(rollouts, limit, |r| r.generation.to_string());
    let items = page.items.iter().map(RolloutSummary::new).collect();
    Ok(Json(Page { items, next: page.next }))
}

fn tagged(etag: u64, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// How much of a rollout.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Most devices that are listed (5000 when left out, and at most); waves count all of them in any case.
    devices: Option<u32>,
}

/// One rollout, with its waves, gates and devices.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}", tag = "rollouts", params(("rollout" = String, Path), ShowQuery),
    responses((status = 200, body = RolloutDetail), (status = 404, body = Problem)))]
pub async fn show(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Result<Response, Problem> {
    let most = query.devices.unwrap_or(DEVICES);
    let detail = RolloutDetail::load(&app, &id, most).await?.ok_or(ControlError::Unknown(id))?;
    Ok(tagged(detail.etag(), Json(detail)))
}

/// Its log, oldest first. The cursor is the number of the last line that was seen.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/log", tag = "rollouts", params(("rollout" = String, Path), PageQuery),
    responses((status = 200, body = Page<LogLine>), (status = 404, body = Problem)))]
pub async fn log(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<LogLine>>, Problem> {
    let limit = page.limit();
    let after = super::alerts::cursor_number(&page)?.map_or(0, crate::store::to_i64);
    if app.store.rollout(&id).await?.is_none() {
        return Err(ControlError::Unknown(id).into());
    }
    let rows = app.store.rollout_events_after(&id, after, limit + 1).await?;
    let page = Page::of(rows, limit, |r| r.id.to_string());
    Ok(Json(Page { items: page.items.into_iter().map(LogLine::from).collect(), next: page.next }))
}

/// Its plan, as it was made.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/plan", tag = "rollouts", params(("rollout" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub async fn plan(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
) -> Result<Json<Plan>, Problem> {
    let plan = app.store.rollout_plan(&id).await?;
    Ok(Json(plan.ok_or(ControlError::Unknown(id))?))
}

/// What a plan that was kept will probably do, with the fleet as it is now.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/rehearsal", tag = "rollouts", params(("rollout" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub async fn rehearsal(
    State(app): State<Shared>,
    _: Actor,
    Path(id): Path<String>,
) -> Result<Json<Rehearsal>, Problem> {
    Ok(Json(control::rehearse(&app, &id, now()).await?))
}

/// The etag of an `If-Match` header.
pub(super) fn seen(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).and_then(|t| t.parse().ok());
    match number {
        Some(n) => Ok(Some(n)),
        None => Err(Problem::bad_request(
            "request.if_match",
            "If-Match must hold the ETag that was looked at, quotes included",
        )),
    }
}

/// Starts, authorizes, pauses, resumes, halts or reverts a rollout.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/{action}", request_body = ActBody, tag = "rollouts",
    params(("rollout" = String, Path), ("action" = String, Path, description = "start, authorize, pause, resume, halt or revert"),
        ("If-Match" = Option<String>, Header, description = "the ETag that was looked at")),
    responses((status = 200, body = RolloutDetail), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = 422, body = Problem)))]
pub async fn act(
    State(app): State<Shared>,
    actor: Actor,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Response, Problem> {
    let body: ActBody = if body.is_empty() {
        ActBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|e| Problem::invalid("request.invalid", e.to_string()))?
    };
    let act = match (action.as_str(), body.wave.as_deref()) {
        ("start", None) => Act::Start { supersede: body.supersede, at: body.at.map(UnixMs) },
        ("authorize", None) => Act::Authorize,
        ("pause", None) => Act::Pause,
        ("halt", None) => Act::Halt,
        ("revert", None) => Act::Revert,
        ("resume", Some("retry")) => Act::ResumeRetry,
        ("resume", Some("skip")) => Act::ResumeSkip,
        ("resume", _) => {
            return Err(Problem::invalid(
                "rollout.wave",
                "say what becomes of the present wave: \"wave\": \"retry\" or \"skip\"",
            ));
        }
        ("start" | "authorize" | "pause" | "halt" | "revert", Some(_)) => {
            return Err(Problem::invalid("rollout.wave", "`wave` is only for resume"));
        }
        _ => {
            let shown: String = action.chars().take(40).collect();
            let text = format!(
                "{shown:?} cannot be done with a rollout; there are start, authorize, pause, resume, halt and revert"
            );
            return Err(Problem::not_found("rollout.action", text));
        }
    };
    let after = control::act(&app, &actor.name, &id, act, seen(&headers)?, now()).await?;
    let detail =
        RolloutDetail::load(&app, after.id.as_str(), DEVICES).await?.ok_or(ControlError::Unknown(id))?;
    Ok(tagged(detail.etag(), Json(detail)))
}
