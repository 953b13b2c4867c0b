//! What people do with rollouts: plan, start, pause, resume, halt, revert. The API and the console both call these.
//!
//! What always holds: each is one transaction with its line in the audit log; whoever acts on an older state than the
//! stored one is told so (the etag) and changes nothing.

mod start;

use longshore_fleet_core::plan::{Plan, Rehearsal};
use longshore_fleet_core::policy::{Policy, PolicyError, shipped};
use longshore_fleet_core::rollout::{RolloutState, WaveState};
use longshore_trust::{Digest, ModelName, RolloutId, UnixMs};

pub(super) use self::start::begin;
use self::start::{authorize, start};
use super::planning::{self, PlanningError};
use super::promotion;
use crate::app::App;
use crate::events::FleetEvent;
use crate::store::rollout::{self, Rollout};
use crate::store::{StoreError, Tx, audit};

/// What a person wants of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Start a plan; with `supersede`, in place of the rollout that occupies the model.
    Start {
        /// Whether to take another's place.
        supersede: bool,
        /// At this time, instead of now.
        at: Option<UnixMs>,
    },
    /// A second person's yes to the plan.
    Authorize,
    /// Offer nothing new.
    Pause,
    /// Go on, and judge the present wave once more.
    ResumeRetry,
    /// Go on without the present wave's yes.
    ResumeSkip,
    /// Revoke what is not committed.
    Halt,
    /// Give every device its previous version back.
    Revert,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Start { .. } => "rollout.start",
            Self::Authorize => "rollout.authorize",
            Self::Pause => "rollout.pause",
            Self::ResumeRetry => "rollout.resume_retry",
            Self::ResumeSkip => "rollout.resume_skip",
            Self::Halt => "rollout.halt",
            Self::Revert => "rollout.revert",
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy.
    #[error("the policy cannot be used: {0}")]
    Policy(#[from] PolicyError),
    /// No policy of that name comes with the server.
    #[error(
        "no policy named {0:?} comes with the server; there are careful, fast and emergency, or send the text of your own"
    )]
    UnknownPolicy(String),
    /// The plan.
    #[error(transparent)]
    Planning(#[from] PlanningError),
    /// No such rollout.
    #[error("there is no rollout {0}")]
    Unknown(String),
    /// It was changed meanwhile.
    #[error(
        "rollout {id} was changed meanwhile by somebody else (it is at {now}, you saw {seen}): look at it again"
    )]
    Changed {
        /// Which.
        id: RolloutId,
        /// Its etag.
        now: u64,
        /// What the caller had.
        seen: u64,
    },
    /// Not possible in its state.
    #[error("rollout {id} is {state}: {why}")]
    State {
        /// Which.
        id: RolloutId,
        /// Its state.
        state: RolloutState,
        /// Why that forbids it.
        why: String,
    },
    /// The person who planned it cannot say yes to it as well.
    #[error(
        "{actor} planned rollout {id}; its policy asks for the yes of a second person (`longshore rollout authorize {id}`)"
    )]
    SamePerson {
        /// Which.
        id: RolloutId,
        /// Who.
        actor: String,
    },
    /// Another rollout occupies the model.
    #[error(
        "rollout {other} of {model} is {state} and has {devices} of its devices, and a device is in one rollout of a model at a time: wait for its end, halt or revert it, start with `supersede`, or give the policy a higher priority than {priority}"
    )]
    Occupied {
        /// Devices that both want.
        devices: u64,
        /// Priority of the other one.
        priority: i32,
        /// The model.
        model: ModelName,
        /// The other one.
        other: RolloutId,
        /// Its state.
        state: RolloutState,
    },
}

/// A policy by its text or by the name of a shipped one, with its text.
///
/// # Errors
/// [`ControlError::Policy`] or [`ControlError::UnknownPolicy`].
pub fn policy(text: Option<&str>, name: Option<&str>) -> Result<(Policy, String), ControlError> {
    let name = name.unwrap_or("careful");
    let text = match text {
        Some(text) => text,
        None => shipped(name).ok_or_else(|| ControlError::UnknownPolicy(name.to_owned()))?,
    };
    Ok((Policy::parse(text)?, text.to_owned()))
}

/// A new id that people can tell apart: model, version, and a few digits.
fn new_id(model: &ModelName, version: &str, seed: &str) -> RolloutId {
    let clean: String = version
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(20)
        .collect();
    let model: String = model.as_str().chars().take(30).collect();
    let digits = &Digest::of(seed.as_bytes()).to_hex()[..4];
    RolloutId::new(format!("{model}-{clean}-{digits}")).expect("made of allowed characters, and short enough")
}

/// So often a plan is made while others may write.
const TRIES_BESIDE: usize = 2;

/// Plans a rollout and, unless it is a rehearsal, keeps the plan.
///
/// # Errors
/// [`ControlError`].
pub async fn make_plan(
    app: &App,
    actor: &str,
    model: &ModelName,
    version: &str,
    (policy, text): (Policy, String),
    dry_run: bool,
    now: UnixMs,
) -> Result<(Plan, Rehearsal), ControlError> {
    let version = app.store.alias(model, version).await?.unwrap_or_else(|| version.to_owned());
    let name = |generation| new_id(model, &version, &format!("{}/{generation}/{now}", app.fleet));
    let mut beside = (0..TRIES_BESIDE).map(|_| true).chain(std::iter::repeat(false));
    loop {
        // The inventory of a large fleet is read beside the writer: nobody waits for a plan. But where others take generations
        // all the time, they have to wait.
        let is_beside = dry_run || beside.next() == Some(true);
        let mut tx = if is_beside { app.store.snapshot().await? } else { app.store.write().await? };
        let release = planning::release(&mut tx, model, &version).await?;
        let parent = rollout::latest_started(&mut tx, model).await?;
        let generation = rollout::coming_generation(&mut tx).await?;
        let made =
            planning::make(&mut tx, name(generation), generation, parent.clone(), &release, policy.clone());
        let plan = made.await?;
        let rehearsal = planning::rehearsal(&mut tx, &plan, now).await?;
        if dry_run {
            return Ok((plan, rehearsal));
        }
        if is_beside {
            drop(tx);
            tx = app.store.write().await?;
            // It may have been withdrawn meanwhile.
            planning::release(&mut tx, model, &version).await?;
        }
        let is_next = rollout::next_generation(&mut tx).await? == generation;
        if !is_next || rollout::latest_started(&mut tx, model).await? != parent {
            // Somebody else planned or started one meanwhile: this one comes after it.
            continue;
        }
        rollout::insert(&mut tx, &plan, &text, actor, now).await?;
        promotion::note_approval(&mut tx, &plan).await?;
        let what = format!("plan {}", plan.hash);
        audit::record(&mut tx, now, actor, "rollout.plan", plan.id.as_str(), &what).await?;
        tx.commit().await?;
        app.events.publish(FleetEvent::Rollout(plan.id.clone()));
        return Ok((plan, rehearsal));
    }
}

/// Rehearses a plan that was kept, with the fleet as it is now.
///
/// # Errors
/// [`ControlError`].
pub async fn rehearse(app: &App, id: &str, now: UnixMs) -> Result<Rehearsal, ControlError> {
    let unknown = || ControlError::Unknown(id.chars().take(80).collect());
    let parsed: RolloutId = id.parse().map_err(|_| unknown())?;
    let mut tx = app.store.snapshot().await?;
    let plan = rollout::plan(&mut tx, &parsed).await?.ok_or_else(unknown)?;
    Ok(planning::rehearsal(&mut tx, &plan, now).await?)
}

/// Does what a person wants of a rollout. `seen` is the etag of what the person looked at, if it is known.
///
/// # Errors
/// [`ControlError`].
pub async fn act(
    app: &App,
    actor: &str,
    id: &str,
    act: Act,
    seen: Option<u64>,
    now: UnixMs,
) -> Result<Rollout, ControlError> {
    let unknown = || ControlError::Unknown(id.chars().take(80).collect());
    let id: RolloutId = id.parse().map_err(|_| unknown())?;
    let mut tx = app.store.write().await?;
    let r = rollout::get(&mut tx, &id).await?.ok_or_else(unknown)?;
    if let Some(seen) = seen
        && seen != r.etag
    {
        return Err(ControlError::Changed { id, now: r.etag, seen });
    }
    match act {
        Act::Start { supersede, at } => start(&mut tx, &r, supersede, at, now).await?,
        Act::Authorize => authorize(&mut tx, &r, actor, now).await?,
        Act::Pause => pause(&mut tx, &r, now).await?,
        Act::ResumeRetry => resume(&mut tx, &r, false, now).await?,
        Act::ResumeSkip => resume(&mut tx, &r, true, now).await?,
        Act::Halt => halt(&mut tx, &r, now).await?,
        Act::Revert => revert(&mut tx, &r, now).await?,
    }
    audit::record(&mut tx, now, actor, act.name(), id.as_str(), &format!("was {}", r.state)).await?;
    let after = rollout::get(&mut tx, &id).await?.ok_or_else(unknown)?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Rollout(id));
    Ok(after)
}

fn refused(r: &Rollout, why: impl Into<String>) -> ControlError {
    ControlError::State { id: r.id.clone(), state: r.state, why: why.into() }
}

async fn pause(tx: &mut Tx, r: &Rollout, now: UnixMs) -> Result<(), ControlError> {
    match r.state {
        RolloutState::Running => {
            Ok(rollout::set_state(tx, &r.id, RolloutState::Paused, "operator: paused", now).await?)
        }
        RolloutState::Paused => Ok(()),
        _ => Err(refused(r, "only a running rollout can be paused")),
    }
}

async fn resume(tx: &mut Tx, r: &Rollout, skip: bool, now: UnixMs) -> Result<(), ControlError> {
    if r.state != RolloutState::Paused {
        return Err(refused(r, "only a paused rollout can be resumed"));
    }
    if rollout::has_revert(tx, &r.id).await? {
        return Err(refused(r, "it is being taken back: revert again to go on with that, or halt it"));
    }
    let waves = rollout::waves(tx, &r.id).await?;
    let present = waves.iter().position(|w| {
        w.state.is_open() || (matches!(w.state, WaveState::Failed | WaveState::Inconclusive) && !w.skipped)
    });
    if let Some(wave) = present {
        if skip {
            if waves[wave].state.is_open() {
                // It was not judged: a person's word stands in for the gates.
                rollout::set_wave(tx, &r.id, wave, WaveState::Inconclusive, now).await?;
            }
            rollout::skip_wave(tx, &r.id, wave).await?;
        } else {
            let plan = rollout::plan(tx, &r.id).await?;
            let has_shadow = plan.is_some_and(|p| p.policy.waves.get(wave).is_some_and(|w| w.shadow_ms > 0));
            rollout::retry_wave(tx, &r.id, wave, has_shadow, now).await?;
        }
    }
    let how = if skip {
        "operator: resumed without the wave's yes"
    } else {
        "operator: resumed, the wave is tried again"
    };
    Ok(rollout::set_state(tx, &r.id, RolloutState::Running, how, now).await?)
}

async fn halt(tx: &mut Tx, r: &Rollout, now: UnixMs) -> Result<(), ControlError> {
    match r.state {
        RolloutState::Running | RolloutState::Paused => {
            Ok(rollout::set_state(tx, &r.id, RolloutState::Halting, "operator: halted", now).await?)
        }
        RolloutState::Planned | RolloutState::AwaitingAuthorization | RolloutState::Scheduled => {
            Ok(rollout::set_state(tx, &r.id, RolloutState::Halted, "operator: halted before its start", now)
                .await?)
        }
        RolloutState::Halting | RolloutState::Halted => Ok(()),
        _ => Err(refused(r, "only a rollout that is not over can be halted")),
    }
}

async fn revert(tx: &mut Tx, r: &Rollout, now: UnixMs) -> Result<(), ControlError> {
    match r.state {
        RolloutState::Running | RolloutState::Paused | RolloutState::Halted | RolloutState::Completed => {}
        RolloutState::Reverting | RolloutState::Reverted => return Ok(()),
        RolloutState::Planned
        | RolloutState::AwaitingAuthorization
        | RolloutState::Scheduled
        | RolloutState::Halting
        | RolloutState::Superseded => {
            return Err(refused(r, "it cannot be reverted in this state"));
        }
    }
    for other in rollout::active_of(tx, &r.model).await?.into_iter().filter(|o| o.id != r.id) {
        let devices = rollout::in_common(tx, &r.id, &other.id).await?;
        // What a rollout of a higher priority has of its devices stays as it is.
        if devices > 0 && !r.state.is_active() {
            let (model, priority) = (r.model.clone(), other.priority);
            return Err(ControlError::Occupied {
                model,
                other: other.id,
                state: other.state,
                devices,
                priority,
            });
        }
    }
    if !r.state.is_active()
        && let Some(newer) = rollout::latest_started(tx, &r.model).await?.filter(|l| *l != r.id)
        && rollout::in_common(tx, &r.id, &newer).await? > 0
    {
        return Err(refused(r, format!("{newer} came after it: what its devices run now is not its doing")));
    }
    if rollout::devices_without_way_back(tx, &r.id).await? > 0 {
        return Err(refused(
            r,
            "for some of its devices no offline key signed a way back: approve one, or roll out another version",
        ));
    }
    Ok(rollout::set_state(tx, &r.id, RolloutState::Reverting, "operator: reverted", now).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_model_and_version() {
        let model: ModelName = "meter-digits".parse().unwrap();
        let id = new_id(&model, "1.2.0-RC.1", "x").to_string();
        assert!(id.starts_with("meter-digits-1-2-0----1-") && id.len() == 28, "{id}");
        let long: ModelName = "m".repeat(64).parse().unwrap();
        assert!(new_id(&long, &"9".repeat(200), "x").as_str().len() <= 64);
    }

    #[test]
    fn policies_come_by_text_or_by_name() {
        assert_eq!(policy(None, Some("fast")).unwrap().0.name, "fast");
        assert_eq!(policy(None, None).unwrap().0.name, "careful");
        assert!(matches!(policy(None, Some("x")), Err(ControlError::UnknownPolicy(_))));
        assert!(matches!(policy(Some("x = 1"), None), Err(ControlError::Policy(_))));
    }
}
