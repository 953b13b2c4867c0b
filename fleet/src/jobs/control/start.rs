//! From a plan to a rollout that runs: at once, at its time, and where the policy asks for it only after a second person's yes.
//!
//! What always holds: everything that can forbid a start is looked at when it happens, whatever was true before; what a
//! second person said yes to is what starts, at the time and in the place that were seen.

use longshore_fleet_core::plan::Plan;
use longshore_fleet_core::rollout::{LONGEST_SCHEDULE_MS, RolloutState};
use longshore_trust::UnixMs;

use super::{ControlError, refused};
use crate::jobs::planning;
use crate::store::Tx;
use crate::store::rollout::{self, Rollout};

/// Asks for a plan to start: now, at a time, or after a second person's yes.
pub(super) async fn start(
    tx: &mut Tx,
    r: &Rollout,
    supersede: bool,
    at: Option<UnixMs>,
    now: UnixMs,
) -> Result<(), ControlError> {
    match r.state {
        RolloutState::Planned | RolloutState::Scheduled => {}
        // Starting twice is starting once.
        RolloutState::Running => return Ok(()),
        RolloutState::AwaitingAuthorization => {
            return Err(refused(
                r,
                "a second person must say yes to it first (`longshore rollout authorize`)",
            ));
        }
        _ => return Err(refused(r, "only a plan can be started; plan again")),
    }
    if let Some(at) = at
        && at > now.plus_ms(LONGEST_SCHEDULE_MS)
    {
        return Err(refused(r, "a start can be scheduled at most 30 days ahead"));
    }
    rollout::set_start(tx, &r.id, at, supersede).await?;
    let plan = rollout::plan(tx, &r.id).await?.ok_or_else(|| ControlError::Unknown(r.id.to_string()))?;
    // A yes is for the plan as it was to start then: at another time, or in another's place, it is not what was seen.
    let as_seen = (r.start_at, r.start_supersede) == (at, supersede);
    if plan.policy.authorize && (r.authorized_by.is_none() || !as_seen) {
        let why = match &r.authorized_by {
            Some(by) => {
                rollout::void_authorization(tx, &r.id).await?;
                let text =
                    format!("{by} said yes to another start; a second person must say yes to this one");
                rollout::log(tx, &r.id, now, "authorization_void", &text).await?;
                format!("operator: {text}")
            }
            None => {
                let by = r.planned_by.as_deref().unwrap_or("somebody");
                format!("operator: {by} planned it; a second person must say yes")
            }
        };
        return Ok(rollout::set_state(tx, &r.id, RolloutState::AwaitingAuthorization, &why, now).await?);
    }
    go(tx, &plan, r, supersede, at, now).await
}

/// Starts a rollout that may be, now or at its time.
async fn go(
    tx: &mut Tx,
    plan: &Plan,
    r: &Rollout,
    supersede: bool,
    at: Option<UnixMs>,
    now: UnixMs,
) -> Result<(), ControlError> {
    match at.filter(|at| *at > now) {
        None => begin(tx, plan, r, supersede, now).await,
        Some(at) => {
            let when = jiff::Timestamp::from_millisecond(crate::store::to_i64(at.0)).unwrap_or_default();
            let why = format!("operator: starts at {when}");
            Ok(rollout::set_state(tx, &r.id, RolloutState::Scheduled, &why, now).await?)
        }
    }
}

/// A second person's yes.
pub(super) async fn authorize(
    tx: &mut Tx,
    r: &Rollout,
    actor: &str,
    now: UnixMs,
) -> Result<(), ControlError> {
    if !r.state.is_before_start() {
        return Err(refused(r, "only a plan that has not started can be authorized"));
    }
    let plan = rollout::plan(tx, &r.id).await?.ok_or_else(|| ControlError::Unknown(r.id.to_string()))?;
    if !plan.policy.authorize {
        return Err(refused(r, "its policy asks for no second person: start it"));
    }
    if r.authorized_by.is_some() {
        return Ok(());
    }
    if r.planned_by.as_deref().is_none_or(|by| by == actor) {
        return Err(ControlError::SamePerson { id: r.id.clone(), actor: actor.to_owned() });
    }
    rollout::authorize(tx, &r.id, actor, now).await?;
    rollout::log(tx, &r.id, now, "authorized", &format!("{actor} said yes to plan {}", plan.hash.short()))
        .await?;
    if r.state == RolloutState::AwaitingAuthorization {
        go(tx, &plan, r, r.start_supersede, r.start_at, now).await?;
    }
    Ok(())
}

/// Makes a plan run. Everything is looked at before anything is changed.
///
/// # Errors
/// [`ControlError`] when something has changed since it was planned.
pub(in crate::jobs) async fn begin(
    tx: &mut Tx,
    plan: &Plan,
    r: &Rollout,
    supersede: bool,
    now: UnixMs,
) -> Result<(), ControlError> {
    // What was approved when it was planned may have been withdrawn.
    planning::release(tx, &r.model, &r.version).await?;
    let mut replaced = Vec::new();
    for other in rollout::active_of(tx, &r.model).await? {
        let devices = rollout::in_common(tx, &r.id, &other.id).await?;
        if devices == 0 {
            continue;
        }
        if supersede && matches!(other.state, RolloutState::Halting | RolloutState::Reverting) {
            let why = format!(
                "{} is {} and has {devices} of its devices: wait for its end, so that none keeps what is taken back",
                other.id, other.state
            );
            return Err(refused(r, why));
        } else if supersede {
            replaced.push(other.id);
        } else if plan.policy.priority <= other.priority {
            return Err(ControlError::Occupied {
                model: r.model.clone(),
                other: other.id,
                state: other.state,
                devices,
                priority: other.priority,
            });
        } else {
            let text =
                format!("{} (priority {}) takes over {devices} of its devices", r.id, plan.policy.priority);
            rollout::log(tx, &other.id, now, "gives_devices", &text).await?;
        }
    }
    let stuck = planning::follow(tx, plan).await?;
    if stuck > 0 && plan.policy.reverts() {
        let why = format!(
            "{stuck} of its devices run another version than when it was planned, and no offline key signed the way \
             back to that: plan again"
        );
        return Err(refused(r, why));
    }
    for other in replaced {
        let reason = format!("{} took its place", r.id);
        rollout::set_state(tx, &other, RolloutState::Superseded, &reason, now).await?;
    }
    Ok(rollout::set_state(tx, &r.id, RolloutState::Running, "started", now).await?)
}
