//! Carries rollouts out: reads the facts, asks the core, does what it says.
//!
//! The facts of many devices are read beside the writer: nobody waits for that. What a person or another rollout has changed
//! meanwhile is noticed before anything is written, and then nothing is; what devices have said meanwhile is as if they had
//! said it a moment later.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use longshore_fleet_core::rollout::{
    Action, DeviceState, OFFER_GOOD_FOR_MS, RolloutState, in_parts, plan_revert, step,
};
use longshore_fleet_core::wording::counted;
use longshore_trust::{DeviceId, RolloutId, UnixMs};
use longshore_wire::v1::{CommandAction, Commit, Guard, Mode, Probation, UpdateState};

use super::control::{self, ControlError};
use super::{planning, promotion};
use crate::app::App;
use crate::director::{AssignmentDraft, DirectorError};
use crate::events::FleetEvent;
use crate::store::rollout::{self, Mark, Offered, OwnedFacts};
use crate::store::{self, StoreError, Tx, catalogue};

/// A device that was heard of so recently counts as reachable although it is not connected, ms.
const HEARD_MS: u64 = 60_000;
/// How long an offer or command is good, ms: a device that comes back after weeks still gets it.
const GOOD_FOR_MS: u64 = OFFER_GOOD_FOR_MS;
/// The way back is good for five years, ms: whoever slept through a revert must not wake up with what was taken back.
const REVERT_GOOD_FOR_MS: u64 = 5 * 365 * 86_400_000;
/// State changes that follow from one another are carried out in one tick, up to this many.
const STEPS_A_TICK: usize = 16;
/// About so many devices are told something in one transaction. Each costs a signature and some rows, and nothing that
/// devices say is stored meanwhile.
const AT_ONCE: usize = 200;
/// A step that takes longer goes on after other rollouts have had their turn: a halt of one does not wait for the offers of
/// another, and its own gates are looked at meanwhile.
const LONGEST_STEP: Duration = Duration::from_secs(5);

/// Which rollouts to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those under way.
    UnderWay,
    /// Also plans that grow old, and the last completed ones, for devices that come late.
    All,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The director.
    #[error(transparent)]
    Director(#[from] DirectorError),
}

/// What came of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// There was nothing to do, or only numbers to note.
    Nothing,
    /// Something was done: what follows from that is to be asked.
    Moved,
    /// It has taken so long that others are to have their turn; not all was done.
    Unfinished,
}

/// Looks once at every rollout that is under way or, with [`Scope::All`], may still have something to say. Whether one of them
/// has much to do and is to be looked at again at once.
///
/// # Errors
/// [`ExecutorError`] of the first that could not be carried out; the others have been.
pub async fn tick(app: &App, scope: Scope, now: UnixMs) -> Result<bool, ExecutorError> {
    let begun = Instant::now();
    let (mut first, mut unfinished) = (None, false);
    for id in app.store.rollouts_to_execute(scope == Scope::UnderWay).await? {
        for _ in 0..STEPS_A_TICK {
            // People act between steps: what is done after that is not written down as done before.
            let now = now.plus_ms(u64::try_from(begun.elapsed().as_millis()).unwrap_or(0));
            match advance(app, &id, now).await {
                Ok(Came::Moved) => {}
                Ok(Came::Nothing) => break,
                Ok(Came::Unfinished) => {
                    unfinished = true;
                    break;
                }
                Err(e) => {
                    tracing::warn!(rollout = %id, error = %e, "a step of a rollout failed");
                    first = first.or(Some(e));
                    break;
                }
            }
        }
    }
    first.map_or(Ok(unfinished), Err)
}

/// One step of one rollout.
async fn advance(app: &App, id: &RolloutId, now: UnixMs) -> Result<Came, ExecutorError> {
    let heard_after = UnixMs(now.0.saturating_sub(HEARD_MS));
    let mut seen = app.store.snapshot().await?;
    let Some(owned) = OwnedFacts::load(&mut seen, id, heard_after).await? else { return Ok(Came::Nothing) };
    let beside = beside(&mut seen, &owned).await?;
    // Which of a model's rollouts speaks was asked before: one that was started since takes the word.
    if owned.rollout.state == RolloutState::Completed && !beside.is_empty() {
        return Ok(Came::Nothing);
    }
    let late = match owned.rollout.state {
        RolloutState::Running | RolloutState::Completed => planning::late(&mut seen, &owned.plan).await?,
        _ => Vec::new(),
    };
    drop(seen);
    let actions = step(now, &owned.facts(&late));
    if actions.is_empty() {
        return Ok(Came::Nothing);
    }
    let only_numbers = actions.iter().all(|a| matches!(a, Action::Verdict { .. }));
    let (mut etag, mut withdrawn, begun) = (owned.rollout.etag, false, Instant::now());
    for part in in_parts(actions, AT_ONCE) {
        if begun.elapsed() >= LONGEST_STEP {
            return Ok(Came::Unfinished);
        }
        let mut tx = app.store.write().await?;
        let same = rollout::get(&mut tx, id).await?.is_some_and(|r| r.etag == etag);
        if !same || self::beside(&mut tx, &owned).await? != beside {
            // Somebody has decided something since: these are facts of before.
            return Ok(Came::Moved);
        }
        let mut doing = Doing { app, owned: &owned, now, push: BTreeSet::new(), release: None, withdrawn };
        for action in part {
            doing.carry_out(&mut tx, action).await?;
        }
        let push = doing.push;
        withdrawn = doing.withdrawn;
        let after = rollout::get(&mut tx, id).await?;
        tx.commit().await?;
        for device in push {
            app.gateway.push(device);
        }
        app.events.publish(FleetEvent::Rollout(id.clone()));
        match after {
            Some(r) if r.state == owned.rollout.state => etag = r.etag,
            // What is left was derived from a state that it is no longer in.
            _ => return Ok(Came::Moved),
        }
    }
    Ok(if only_numbers { Came::Nothing } else { Came::Moved })
}

/// What other rollouts of the model are under way.
async fn beside(tx: &mut Tx, owned: &OwnedFacts) -> Result<Vec<rollout::Rollout>, StoreError> {
    let mut all = rollout::active_of(tx, &owned.rollout.model).await?;
    all.retain(|r| r.id != owned.rollout.id);
    Ok(all)
}

/// How something is offered.
struct Terms {
    probation: Probation,
    mode: Mode,
    until: Option<UnixMs>,
    attempt: u32,
}

struct Doing<'a> {
    app: &'a App,
    owned: &'a OwnedFacts,
    now: UnixMs,
    push: BTreeSet<DeviceId>,
    /// What is offered, looked up once a transaction.
    release: Option<planning::Release>,
    /// The version cannot be offered any more; that was said.
    withdrawn: bool,
}

impl Doing<'_> {
    async fn carry_out(&mut self, tx: &mut Tx, action: Action) -> Result<(), ExecutorError> {
        let (id, now) = (&self.owned.rollout.id, self.now);
        match action {
            Action::Rollout { state, reason, pause } => {
                tracing::info!(rollout = %id, %state, reason, "a rollout moved");
                rollout::set_state_because(tx, id, state, &reason, pause, now).await?;
                if state == RolloutState::Completed {
                    promotion::write(tx, self.owned, now).await?;
                }
            }
            Action::Begin => self.begin(tx).await?,
            Action::PlanRevert { gated } => self.plan_revert(tx, gated).await?,
            Action::Quarantine { device, reason } => {
                tracing::warn!(rollout = %id, %device, reason, "a device is put into quarantine");
                store::quarantine::put(tx, &device, &reason, now).await?;
                rollout::log(tx, id, now, "quarantined", &format!("{device}: {reason}")).await?;
            }
            Action::Wave { wave, state } => rollout::set_wave(tx, id, wave, state, now).await?,
            Action::Verdict { wave, verdict } => rollout::set_verdict(tx, id, wave, &verdict).await?,
            Action::Admit { device, wave, previous, champion } => {
                rollout::admit(tx, id, &device, wave, previous, champion, now).await?;
                rollout::log(tx, id, now, "late_device", &format!("{device} joined wave {wave}")).await?;
            }
            Action::Device { device, state, code } => {
                rollout::set_device(tx, id, &device, state, code.as_deref(), now).await?;
            }
            Action::Offer { device, commit, probation_ms, mode, until, attempt } => {
                let terms =
                    Terms { probation: Probation { min_ms: probation_ms, commit }, mode, until, attempt };
                self.offer(tx, device, terms).await?
            }
            Action::Commit { device, version } => {
                let action = CommandAction::Commit { version };
                self.command(tx, device, action, GOOD_FOR_MS, Mark::Committed).await?;
            }
            Action::RenewLease { device, version, lease_ms } => {
                let action = CommandAction::RenewLease { version };
                self.command(tx, device, action, lease_ms, Mark::Renewed).await?;
            }
            Action::Halt { device, version } => {
                let action = CommandAction::Halt { version };
                self.command(tx, device, action, GOOD_FOR_MS, Mark::Halted).await?;
            }
            Action::Revert { device, to } => self.revert(tx, device, to).await?,
        }
        Ok(())
    }

    fn guard(&self) -> Guard {
        let guard = self.owned.plan.policy.guard;
        Guard {
            max_error_permille: (guard.error_rate * 1000.0).round() as u16,
            max_crashes: guard.crashes,
            max_p99_percent: guard.p99_percent,
            max_score_shift_permille: (guard.score_shift * 1000.0).round() as u16,
        }
    }

    async fn offer(&mut self, tx: &mut Tx, device: DeviceId, terms: Terms) -> Result<(), ExecutorError> {
        let plan = &self.owned.plan;
        if self.withdrawn {
            return Ok(());
        }
        if self.release.is_none() {
            self.release = match planning::release(tx, &plan.model, &plan.version).await {
                Ok(release) => Some(release),
                Err(planning::PlanningError::Store(e)) => return Err(e.into()),
                Err(e) => {
                    // Withdrawn while it was being rolled out: a person decides.
                    self.withdrawn = true;
                    return Ok(self.pause(tx, &format!("operator: {e}")).await?);
                }
            };
        }
        let Some(release) = &self.release else { return Ok(()) };
        let not_after = self.now.plus_ms(GOOD_FOR_MS);
        let mut slot = planning::slot(&release.version, release.counter);
        slot.mode = terms.mode;
        let draft = AssignmentDraft {
            device: device.clone(),
            generation: plan.generation,
            rollout: Some(plan.id.clone()),
            slots: vec![slot],
            probation: terms.probation,
            guard: self.guard(),
            activate_by: terms.until.unwrap_or(not_after),
            not_after,
        };
        match self.app.director.assign(tx, draft, self.now).await {
            Ok(version) => {
                let Terms { mode, until, attempt, .. } = terms;
                let offered = Offered { version, mode, until, attempt };
                rollout::set_offer(tx, &plan.id, &device, offered, self.now).await?;
                self.push.insert(device);
                Ok(())
            }
            Err(e) => self.gone(tx, e, device).await,
        }
    }

    /// The time of a scheduled rollout has come. What forbids it by now is told, and the plan waits for a person.
    async fn begin(&self, tx: &mut Tx) -> Result<(), ExecutorError> {
        let r = &self.owned.rollout;
        match control::begin(tx, &self.owned.plan, r, r.start_supersede, self.now).await {
            Ok(()) => Ok(()),
            Err(ControlError::Store(e)) => Err(e.into()),
            Err(why) => {
                let reason = format!("operator: it could not start at its time: {why}");
                Ok(rollout::set_state(tx, &r.id, RolloutState::Planned, &reason, self.now).await?)
            }
        }
    }

    /// A generation of its own takes the version back. No offline key is needed: the way back was signed when the version
    /// was approved.
    async fn plan_revert(&self, tx: &mut Tx, gated: bool) -> Result<(), ExecutorError> {
        let generation = rollout::next_generation(tx).await?;
        // A tick may have begun before the person's word was stored: a plan is never older than what it carries out.
        let made = self.now.max(self.owned.rollout.since);
        let plan = plan_revert(&self.owned.plan, &self.owned.devices, generation, gated, made);
        let id = &self.owned.rollout.id;
        rollout::put_revert(tx, id, &plan).await?;
        let text = format!(
            "generation {generation}, plan {}: {} in {}{}",
            plan.hash.short(),
            counted(plan.devices(), "device"),
            counted(plan.waves.len(), "wave"),
            if gated { "" } else { ", a person said to go on with all" }
        );
        Ok(rollout::log(tx, id, self.now, "revert_planned", &text).await?)
    }

    async fn pause(&self, tx: &mut Tx, reason: &str) -> Result<(), StoreError> {
        let id = &self.owned.rollout.id;
        // What was decided in this very transaction counts: a rollout that is being taken back goes on with that.
        if rollout::get(tx, id).await?.is_some_and(|r| r.state == RolloutState::Running) {
            rollout::set_state(tx, id, RolloutState::Paused, reason, self.now).await?;
        }
        Ok(())
    }

    async fn command(
        &mut self,
        tx: &mut Tx,
        device: DeviceId,
        action: CommandAction,
        good_for_ms: u64,
        mark: Mark,
    ) -> Result<(), ExecutorError> {
        let until = self.now.plus_ms(good_for_ms);
        match self.app.director.command(tx, &device, action, until, self.now).await {
            Ok(_) => {
                rollout::mark(tx, &self.owned.rollout.id, &device, mark, self.now).await?;
                self.push.insert(device);
                Ok(())
            }
            Err(e) => self.gone(tx, e, device).await,
        }
    }

    /// Assigns the previous version.
    async fn revert(
        &mut self,
        tx: &mut Tx,
        device: DeviceId,
        to: longshore_trust::Digest,
    ) -> Result<(), ExecutorError> {
        let id = &self.owned.rollout.id;
        let Some((version, counter)) = catalogue::version_of_bundle(tx, &to)
            .await?
            .and_then(|v| Some((v.release_counter?, v)))
            .map(|(c, v)| (v, c))
        else {
            let state = DeviceState::Update(UpdateState::UnableToRollBack);
            rollout::set_device(tx, id, &device, state, Some("fleet.previous_unknown"), self.now).await?;
            return Ok(
                rollout::set_revert(tx, id, &device, longshore_trust::AssignmentVersion(0), self.now).await?
            );
        };
        let Some(generation) = self.owned.revert.as_ref().map(|r| r.generation) else { return Ok(()) };
        let until = self.now.plus_ms(REVERT_GOOD_FOR_MS);
        let draft = AssignmentDraft {
            device: device.clone(),
            generation,
            rollout: Some(id.clone()),
            slots: vec![planning::slot(&version, counter)],
            probation: Probation { min_ms: 0, commit: Commit::Local },
            guard: self.guard(),
            activate_by: until,
            not_after: until,
        };
        match self.app.director.assign(tx, draft, self.now).await {
            Ok(assignment) => {
                rollout::set_revert(tx, id, &device, assignment, self.now).await?;
                self.push.insert(device);
                Ok(())
            }
            Err(e) => self.gone(tx, e, device).await,
        }
    }

    /// A device that was revoked meanwhile holds nothing open.
    async fn gone(&self, tx: &mut Tx, e: DirectorError, device: DeviceId) -> Result<(), ExecutorError> {
        match e {
            DirectorError::UnknownDevice(_) => {
                let state = DeviceState::Update(UpdateState::Decommissioned);
                Ok(rollout::set_device(tx, &self.owned.rollout.id, &device, state, None, self.now).await?)
            }
            other => Err(other.into()),
        }
    }
}
