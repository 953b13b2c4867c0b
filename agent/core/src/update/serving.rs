//! What serves: probation, its end, the way back, and the engine's life and death.

use longshore_trust::{AssignmentVersion, Digest, UnixMs};
use longshore_wire::v1::{Commit, Reason, UpdateState};

use super::Retry;
use super::model::begin;
use super::record::{Exit, ModelRecord, Phase, RollbackTo, Update, Wanted};
use super::step::Step;
use crate::assignment::reason;
use crate::broken::{Rule, broken};
use crate::guard::{self, Sample};

/// Code of a failure that says nothing about the bundle: its counter page could not be made.
pub const NO_PAGE: &str = "activate.page";

pub(super) fn probation_deadline(wanted: &Wanted, since: UnixMs, step: &Step<'_>) -> UnixMs {
    match wanted.probation.commit {
        Commit::Local => since.plus_ms(wanted.probation.min_ms).plus_ms(step.config.grace_ms),
        Commit::Lease { lease_ms } => step.steady.plus_ms(lease_ms),
    }
}

/// Something (or nothing) answers for the model now.
pub(super) fn serving(rec: &mut ModelRecord, bundle: Option<Digest>, step: &mut Step<'_>) {
    step.retry = None;
    let Some(update) = &mut rec.update else {
        // What could not be served, with nothing to go back to, serves again.
        let unable = rec.last.as_ref().filter(|e| e.state == UpdateState::UnableToRollBack).map(|e| e.bundle);
        if let Some(active) = rec.active.clone().filter(|a| bundle == Some(a.bundle) && unable == bundle) {
            step.exit(rec, &active, UpdateState::Committed, None, None);
        }
        return;
    };
    match &update.at {
        Phase::Activating { rollback, trial, .. } if bundle == Some(update.wanted.bundle.bundle) => {
            let (rollback, trial) = (rollback.clone(), trial.clone());
            let deadline = probation_deadline(&update.wanted, step.steady, step);
            let wanted = update.wanted.bundle.clone();
            let granted = false;
            update.at = Phase::Probation {
                rollback,
                trial: trial.clone(),
                since: step.steady,
                deadline,
                granted,
                crashes: 0,
            };
            step.report(rec, &wanted, UpdateState::Probation, None, Some(trial));
        }
        Phase::RollingBack { to, why, .. } if bundle == to.bundle().map(|i| i.bundle) => {
            let why = why.clone();
            rolled_back(rec, UpdateState::RolledBack, why, step);
        }
        _ => {}
    }
}

pub(super) fn rolled_back(rec: &mut ModelRecord, state: UpdateState, why: Reason, step: &mut Step<'_>) {
    let Some(update) = rec.update.take() else { return };
    rec.starts = 0;
    step.exit(rec, &update.wanted.bundle, state, Some(why), None);
    if let Some(next) = rec.queued.take() {
        begin(rec, next, step);
    }
}

/// Sends what serves on probation back.
pub(super) fn roll_back(rec: &mut ModelRecord, why: Reason, step: &mut Step<'_>) {
    let deadline = step.steady.plus_ms(step.config.activate_ms);
    if let Some(update) = &mut rec.update
        && let Phase::Activating { rollback, .. } | Phase::Probation { rollback, .. } = &update.at
    {
        update.at = Phase::RollingBack { to: rollback.clone(), why, deadline };
        rec.starts = 0;
        step.changed = true;
        step.serve(rec);
    }
}

/// A committed bundle cannot serve any more: back to the one before.
pub(super) fn fall_back(rec: &mut ModelRecord, why: Reason, step: &mut Step<'_>) {
    let Some(bad) = rec.active.clone() else { return };
    rec.starts = 0;
    if let Some(previous) = rec.previous.take() {
        rec.active = Some(previous);
        if rec.update.is_none() {
            step.exit(rec, &bad, UpdateState::RolledBack, Some(why), None);
        } else {
            step.report(rec, &bad, UpdateState::RolledBack, Some(why), None);
            if let Some(Phase::Trial { rollback, .. } | Phase::Shadowing { rollback, .. }) =
                rec.update.as_mut().map(|u| &mut u.at)
            {
                *rollback = RollbackTo::of(rec.active.as_ref());
            }
        }
        step.serve(rec);
        return;
    }
    // Nothing to go back to: the cause may pass (memory, a disk that is repaired), so it is tried again.
    try_again(step);
    let unable = Exit {
        bundle: bad.bundle,
        assignment: bad.origin.version,
        state: UpdateState::UnableToRollBack,
        why: Some(why.clone()),
    };
    if rec.last.as_ref() != Some(&unable) && rec.update.is_none() {
        step.exit(rec, &bad, UpdateState::UnableToRollBack, Some(why), None);
    }
}

fn try_again(step: &mut Step<'_>) {
    let attempts = step.retry.map_or(0, |r| r.attempts);
    let at = step.steady.plus_ms(step.config.retry.wait_ms(attempts + 2, step.jitter));
    step.retry = Some(Retry { at, attempts: attempts + 1 });
}

/// A bundle could not be brought to answer.
pub(super) fn serve_failed(rec: &mut ModelRecord, bundle: Digest, why: Reason, step: &mut Step<'_>) {
    if rec.serving().map(|i| i.bundle) != Some(bundle) {
        return;
    }
    match rec.update.as_ref().map(|u| &u.at) {
        Some(Phase::Activating { .. } | Phase::Probation { .. }) => roll_back(rec, why, step),
        Some(Phase::RollingBack { .. }) => {
            rolled_back(rec, UpdateState::UnableToRollBack, why.clone(), step);
            fall_back(rec, why, step);
        }
        // A device that has no room for a counter page has none for the previous bundle's either.
        _ if why.code == NO_PAGE => try_again(step),
        _ => fall_back(rec, why, step),
    }
}

/// The serving engine accepts loads: count the start, then ask for what should answer.
pub(super) fn engine_up(rec: &mut ModelRecord, step: &mut Step<'_>) {
    if rec.serving().is_none() {
        if matches!(rec.update.as_ref().map(|u| &u.at), Some(Phase::RollingBack { .. })) {
            step.serve(rec);
        }
        return;
    }
    if rec.starts >= step.config.max_starts {
        let why = reason("engine.no_health", format!("{} engine starts without health", rec.starts));
        match rec.update.as_ref().map(|u| &u.at) {
            Some(Phase::Activating { .. } | Phase::Probation { .. }) => return roll_back(rec, why, step),
            Some(Phase::RollingBack { .. }) => {}
            _ if rec.previous.is_some() => return fall_back(rec, why, step),
            _ => {}
        }
    }
    rec.starts = rec.starts.saturating_add(1);
    step.changed = true;
    step.serve(rec);
}

/// The serving engine died; `served` answered for this model until then.
pub(super) fn engine_down(
    rec: &mut ModelRecord,
    blamed: Option<Digest>,
    served: Option<Digest>,
    step: &mut Step<'_>,
) {
    let Some(serving) = rec.serving().map(|i| i.bundle) else { return };
    // A start counts against a bundle when its own request was in flight, or when it never came to answer.
    let guilty = blamed == Some(serving) || blamed.is_none() && served != Some(serving);
    if !guilty {
        rec.starts = rec.starts.saturating_sub(1);
    }
    if blamed.is_some_and(|b| b != serving) {
        return;
    }
    let Some(update) = &mut rec.update else { return };
    let guard = update.wanted.guard;
    match &mut update.at {
        Phase::Activating { .. } if guilty => {
            let why = reason("activate.crash", "the engine died while the bundle was being activated");
            roll_back(rec, why, step);
        }
        Phase::Probation { crashes, .. } if blamed == Some(serving) => {
            *crashes += 1;
            step.changed = true;
            if let Some(why) = guard::crash_verdict(&guard, *crashes) {
                roll_back(rec, why, step);
            }
        }
        _ => {}
    }
}

/// What the candidate did.
pub(super) fn observed(rec: &mut ModelRecord, bundle: Digest, sample: &Sample, step: &mut Step<'_>) {
    let Some(update) = rec.update.as_ref().filter(|u| u.wanted.bundle.bundle == bundle) else { return };
    if matches!(update.at, Phase::Probation { .. })
        && let Some(why) = guard::verdict(&update.wanted.guard, sample)
    {
        roll_back(rec, why, step);
    }
}

/// The fleet's word that probation is passed.
pub(super) fn granted(rec: &mut ModelRecord, version: AssignmentVersion, step: &mut Step<'_>) {
    let Some(update) = rec.update.as_mut().filter(|u| u.wanted.bundle.origin.version == version) else {
        return;
    };
    if let Phase::Probation { granted, .. } = &mut update.at {
        *granted = true;
        step.changed = true;
    }
}

/// The lease runs anew.
pub(super) fn renewed(rec: &mut ModelRecord, version: AssignmentVersion, step: &mut Step<'_>) {
    let Some(update) = rec.update.as_mut().filter(|u| u.wanted.bundle.origin.version == version) else {
        return;
    };
    if let (Phase::Probation { deadline, .. }, Commit::Lease { lease_ms }) =
        (&mut update.at, update.wanted.probation.commit)
    {
        *deadline = step.steady.plus_ms(lease_ms);
        step.changed = true;
    }
}

pub(super) fn commit(rec: &mut ModelRecord, step: &mut Step<'_>) {
    let Some(Update { wanted, at: Phase::Probation { rollback, trial, .. } }) = rec.update.take() else {
        return;
    };
    rec.previous = rollback.bundle().cloned();
    rec.floor = if broken(Rule::FloorFalls) {
        wanted.bundle.release_counter
    } else {
        rec.floor.max(wanted.bundle.release_counter)
    };
    rec.active = Some(wanted.bundle.clone());
    step.exit(rec, &wanted.bundle, UpdateState::Committed, None, Some(trial));
}
