//! The transitions of one model's update up to its activation, and what time does to it. Each function takes one fact;
//! none waits for another model.

use longshore_trust::{AssignmentVersion, Digest, UnixMs};
use longshore_wire::v1::{Commit, Mode, Reason, TrialReport, UpdateState};

use super::record::{ModelRecord, Phase, RollbackTo, Update, Wanted};
use super::serving::{commit, probation_deadline, roll_back, rolled_back};
use super::step::Step;
use super::{FetchFailure, NEVER, Output, Retry, shadow};
use crate::assignment::reason;
use crate::broken::{Rule, broken};
use crate::clock::Moment;

/// REJECTED before anything began.
pub(super) fn reject(rec: &mut ModelRecord, wanted: &Wanted, why: Reason, step: &mut Step<'_>) {
    if rec.update.is_none() {
        step.exit(rec, &wanted.bundle, UpdateState::Rejected, Some(why), None);
    } else {
        step.report(rec, &wanted.bundle, UpdateState::Rejected, Some(why), None);
    }
}

/// An accepted assignment wants this bundle. Supersedes whatever goes on.
pub(super) fn assign(rec: &mut ModelRecord, wanted: Wanted, step: &mut Step<'_>) {
    let superseded = || Some(reason("superseded", "a newer assignment came"));
    let Some(mut update) = rec.update.take() else {
        return begin(rec, wanted, step);
    };
    let old = update.wanted.bundle.clone();
    let same = old.bundle == wanted.bundle.bundle;
    match &mut update.at {
        Phase::RollingBack { .. } => {
            rec.update = Some(update);
            queue(rec, wanted, step);
        }
        // What serves already goes back before it is only watched.
        Phase::Activating { .. } | Phase::Probation { .. } if same && wanted.mode == Mode::Shadow => {
            rec.update = Some(update);
            queue(rec, wanted, step);
            roll_back(rec, reason("superseded", "a newer assignment came"), step);
        }
        Phase::Shadowing { .. } if same && wanted.mode == Mode::Active => {
            update.wanted = wanted;
            let bundle = update.wanted.bundle.clone();
            rec.update = Some(update);
            step.report(rec, &bundle, UpdateState::Accepted, None, None);
            step.report(rec, &bundle, UpdateState::Trial, None, None);
            shadow::promote(rec, step);
        }
        at if same => {
            if let Phase::Probation { since, deadline, .. } = at {
                *deadline = probation_deadline(&wanted, *since, step);
            }
            update.wanted = wanted;
            let (bundle, state) = (update.wanted.bundle.clone(), update.state());
            rec.update = Some(update);
            step.report(rec, &bundle, UpdateState::Accepted, None, None);
            step.report(rec, &bundle, state, None, None);
        }
        Phase::Downloading { .. } | Phase::Deferred { .. } => {
            step.effects.push(Output::CancelFetch(rec.model.clone()));
            step.exit(rec, &old, UpdateState::Cancelled, superseded(), None);
            begin(rec, wanted, step);
        }
        Phase::Trial { .. } => {
            step.effects.push(Output::CancelTrial(rec.model.clone()));
            step.exit(rec, &old, UpdateState::Cancelled, superseded(), None);
            begin(rec, wanted, step);
        }
        Phase::Shadowing { .. } => {
            step.effects.push(Output::Shadow(rec.model.clone(), None));
            step.exit(rec, &old, UpdateState::Cancelled, superseded(), None);
            begin(rec, wanted, step);
        }
        Phase::Activating { .. } | Phase::Probation { .. } => {
            rec.update = Some(update);
            queue(rec, wanted, step);
            roll_back(rec, reason("superseded", "a newer assignment came"), step);
        }
    }
}

pub(super) fn queue(rec: &mut ModelRecord, wanted: Wanted, step: &mut Step<'_>) {
    if let Some(old) = rec.queued.take() {
        let why = reason("superseded", "a newer assignment came");
        step.report(rec, &old.bundle, UpdateState::Cancelled, Some(why), None);
    }
    step.report(rec, &wanted.bundle, UpdateState::Accepted, None, None);
    rec.queued = Some(wanted);
}

pub(super) fn begin(rec: &mut ModelRecord, wanted: Wanted, step: &mut Step<'_>) {
    let bundle = wanted.bundle.clone();
    if let Some(active) = rec.active.as_mut().filter(|a| a.bundle == bundle.bundle) {
        active.origin = bundle.origin.clone();
        return step.exit(rec, &bundle, UpdateState::Already, None, None);
    }
    rec.update = Some(Update { wanted, at: Phase::Downloading { attempts: 0, retry_at: None } });
    step.report(rec, &bundle, UpdateState::Accepted, None, None);
    step.report(rec, &bundle, UpdateState::Downloading, None, None);
    step.effects.push(Output::Fetch(rec.model.clone(), bundle));
}

/// The process has started: take up what was going on.
pub(super) fn boot(rec: &mut ModelRecord, step: &mut Step<'_>) {
    let model = rec.model.clone();
    let Some(update) = &mut rec.update else { return };
    let bundle = update.wanted.bundle.clone();
    if matches!(update.at, Phase::Activating { .. }) && step.now > update.wanted.activate_by {
        // It never came to answer, and the device was off until its time was up.
        return roll_back(rec, reason("activate.too_late", "it did not answer before its time was up"), step);
    }
    match &mut update.at {
        Phase::Downloading { retry_at, .. } => {
            *retry_at = None;
            step.effects.push(Output::Fetch(model, bundle));
        }
        Phase::Deferred { .. } => {}
        Phase::Trial { deadline, .. } => {
            // It begins anew, and the time the device was off is not held against it.
            *deadline = step.steady.plus_ms(step.config.trial_ms);
            step.effects.push(Output::Trial(model, bundle));
        }
        Phase::Activating { deadline, .. } | Phase::RollingBack { deadline, .. } => {
            *deadline = step.steady.plus_ms(step.config.activate_ms);
        }
        Phase::Shadowing { rollback, begins_by, .. } => {
            // It is loaded anew, beside what serves.
            let by = step.steady.plus_ms(step.config.activate_ms);
            *begins_by = rollback.bundle().map(|_| by);
        }
        Phase::Probation { deadline, .. } => {
            // A lease goes on running while the device is off; the time to become healthy does not.
            if update.wanted.probation.commit == Commit::Local {
                *deadline = (*deadline).max(step.steady.plus_ms(step.config.grace_ms));
            }
        }
    }
}

/// A download ended.
pub(super) fn fetched(
    rec: &mut ModelRecord,
    bundle: Digest,
    result: Result<(), FetchFailure>,
    step: &mut Step<'_>,
) {
    let model = rec.model.clone();
    let rollback = RollbackTo::of(rec.active.as_ref());
    let Some(update) = rec.update.as_mut().filter(|u| u.wanted.bundle.bundle == bundle) else { return };
    let Phase::Downloading { attempts, retry_at } = &mut update.at else { return };
    if retry_at.is_some() {
        return;
    }
    let wanted = update.wanted.bundle.clone();
    match result {
        Ok(()) => {
            update.at = Phase::Trial { rollback, deadline: step.steady.plus_ms(step.config.trial_ms) };
            step.report(rec, &wanted, UpdateState::Verified, None, None);
            step.report(rec, &wanted, UpdateState::Staged, None, None);
            step.report(rec, &wanted, UpdateState::Trial, None, None);
            step.effects.push(Output::Trial(model, wanted));
        }
        Err(FetchFailure::Transient(why)) => {
            *retry_at = Some(step.steady.plus_ms(step.config.retry.wait_ms(*attempts, step.jitter)));
            *attempts += 1;
            // The fleet hears why it takes so long, less and less often.
            if attempts.is_power_of_two() {
                step.report(rec, &wanted, UpdateState::Downloading, Some(why), None);
            }
        }
        Err(FetchFailure::NoSpace(why)) => {
            let until = step.steady.plus_ms(step.config.no_space_ms);
            update.at = Phase::Deferred { until, attempts: *attempts + 1 };
            step.report(rec, &wanted, UpdateState::Deferred, Some(why), None);
        }
        Err(FetchFailure::Refused(why)) => stop(rec, UpdateState::Failed, why, step),
        Err(FetchFailure::Rejected(why)) => stop(rec, UpdateState::Rejected, why, step),
    }
}

/// Ends an update of which nothing serves yet.
pub(super) fn stop(rec: &mut ModelRecord, state: UpdateState, why: Reason, step: &mut Step<'_>) {
    if let Some(update) = rec.update.take() {
        match update.at {
            Phase::Downloading { .. } | Phase::Deferred { .. } => {
                step.effects.push(Output::CancelFetch(rec.model.clone()));
            }
            Phase::Trial { .. } => step.effects.push(Output::CancelTrial(rec.model.clone())),
            Phase::Shadowing { .. } => step.effects.push(Output::Shadow(rec.model.clone(), None)),
            _ => {}
        }
        step.exit(rec, &update.wanted.bundle, state, Some(why), None);
    }
}

/// A trial ended.
pub(super) fn tried(
    rec: &mut ModelRecord,
    bundle: Digest,
    result: Result<TrialReport, Reason>,
    step: &mut Step<'_>,
) {
    let Some(update) = rec.update.as_mut().filter(|u| u.wanted.bundle.bundle == bundle) else { return };
    let Phase::Trial { rollback, .. } = &update.at else { return };
    match result {
        // The trial may end long after the last tick.
        Ok(_) if step.now > update.wanted.activate_by => too_late(rec, step),
        Ok(trial) if update.wanted.mode == Mode::Shadow => {
            let rollback = rollback.clone();
            shadow::begin(rec, rollback, trial, step);
        }
        Ok(trial) => {
            let (rollback, deadline) = (rollback.clone(), step.steady.plus_ms(step.config.activate_ms));
            update.at = Phase::Activating { rollback, trial, deadline };
            rec.starts = 0;
            step.changed = true;
            step.serve(rec);
        }
        Err(why) => stop(rec, UpdateState::Failed, why, step),
    }
}

fn too_late(rec: &mut ModelRecord, step: &mut Step<'_>) {
    stop(rec, UpdateState::TooLate, reason("trial.too_late", "its trial was not over in time"), step);
}

/// What this assignment has not committed is revoked.
pub(super) fn halted(rec: &mut ModelRecord, version: AssignmentVersion, step: &mut Step<'_>) {
    let why = || reason("halt", "the fleet halted the rollout");
    if rec.queued.as_ref().is_some_and(|q| q.bundle.origin.version == version)
        && let Some(q) = rec.queued.take()
    {
        step.report(rec, &q.bundle, UpdateState::Cancelled, Some(why()), None);
    }
    let Some(update) = rec.update.as_ref().filter(|u| u.wanted.bundle.origin.version == version) else {
        return;
    };
    match update.at {
        Phase::Downloading { .. }
        | Phase::Deferred { .. }
        | Phase::Trial { .. }
        | Phase::Shadowing { .. } => {
            stop(rec, UpdateState::Cancelled, why(), step);
        }
        Phase::Probation { .. } if broken(Rule::HaltCommits) => commit(rec, step),
        Phase::Activating { .. } | Phase::Probation { .. } => roll_back(rec, why(), step),
        Phase::RollingBack { .. } => {}
    }
}

/// Deadlines, retries, health and commits.
pub(super) fn tick(rec: &mut ModelRecord, step: &mut Step<'_>) {
    let at = Moment { now: step.now, steady: step.steady };
    let (now, steady) = (step.now, step.steady);
    if rec.starts > 0
        && let Some((bundle, since)) = step.serving
        && rec.serving().map(|i| i.bundle) == Some(bundle)
        && steady.since(since) >= step.config.healthy_ms
    {
        rec.starts = 0;
        step.changed = true;
    }
    if let Some(retry) = step.retry.filter(|r| r.at <= steady) {
        let served = step.serving.map(|(b, _)| b) == rec.serving().map(|i| i.bundle);
        // Its answer arms it again.
        step.retry = (!served).then_some(Retry { at: NEVER, ..retry });
        if !served {
            step.serve(rec);
        }
    }
    let model = rec.model.clone();
    let Some(update) = &mut rec.update else { return };
    bound(update, step);
    let leased = matches!(update.wanted.probation.commit, Commit::Lease { .. });
    let never = broken(Rule::DeadlinesIgnored)
        || leased && broken(Rule::LeaseNeverLapses) && matches!(update.at, Phase::Probation { .. });
    let overdue = update.is_overdue(at) && !never;
    let (bundle, probation) = (update.wanted.bundle.clone(), update.wanted.probation);
    match &mut update.at {
        Phase::Downloading { .. } | Phase::Deferred { .. } if overdue => {
            let state =
                if now > update.wanted.not_after { UpdateState::Expired } else { UpdateState::TooLate };
            stop(
                rec,
                state,
                reason("download.deadline", "not complete before the assignment's time was up"),
                step,
            );
        }
        Phase::Downloading { retry_at, .. } => {
            if retry_at.is_some_and(|t| t <= steady) {
                *retry_at = None;
                step.effects.push(Output::Fetch(model, bundle));
            }
        }
        Phase::Deferred { until, attempts } => {
            if *until <= steady {
                update.at = Phase::Downloading { attempts: *attempts, retry_at: None };
                step.changed = true;
                step.effects.push(Output::Fetch(model, bundle));
            }
        }
        Phase::Trial { .. } if now > update.wanted.activate_by => {
            too_late(rec, step);
        }
        Phase::Trial { .. } if overdue => {
            stop(rec, UpdateState::Failed, reason("trial.deadline", "the trial did not end in time"), step);
        }
        Phase::Shadowing { .. } if now > update.wanted.activate_by.min(update.wanted.not_after) => {
            let why = reason("shadow.too_late", "nothing decided on it before the assignment's time was up");
            stop(rec, UpdateState::TooLate, why, step);
        }
        Phase::Shadowing { .. } if overdue => {
            let why = reason("shadow.deadline", "it did not run beside what serves in time");
            stop(rec, UpdateState::Failed, why, step);
        }
        Phase::Activating { .. } if overdue => {
            roll_back(rec, reason("activate.deadline", "it did not answer in time"), step);
        }
        Phase::Probation { since, granted, .. } => {
            let ripe = steady.since(*since) >= probation.min_ms;
            let serves = step.serving.map(|(b, _)| b) == Some(bundle.bundle);
            let word = *granted || !leased || broken(Rule::CommitWithoutWord);
            if ripe && serves && word {
                commit(rec, step);
            } else if overdue {
                let why = match probation.commit {
                    Commit::Local => reason("probation.deadline", "it did not become healthy in time"),
                    Commit::Lease { .. } => reason("lease.lapsed", "the fleet did not renew the lease"),
                };
                roll_back(rec, why, step);
            }
        }
        Phase::RollingBack { why, .. } if overdue => {
            let why = why.clone();
            rolled_back(rec, UpdateState::UnableToRollBack, why, step);
        }
        Phase::Trial { .. }
        | Phase::Shadowing { .. }
        | Phase::Activating { .. }
        | Phase::RollingBack { .. } => {}
    }
}

/// A steady clock that lost what it had counted (a database put back from an image) must not put off what is due: nothing
/// is further away than it can have been set.
fn bound(update: &mut Update, step: &Step<'_>) {
    let within = |ms: u64| step.steady.plus_ms(ms);
    let probation = update.wanted.probation;
    match &mut update.at {
        Phase::Downloading { retry_at, .. } => {
            *retry_at = retry_at.map(|t| t.min(within(step.config.retry.cap_ms)));
        }
        Phase::Deferred { until, .. } => *until = (*until).min(within(step.config.no_space_ms)),
        Phase::Trial { deadline, .. } => *deadline = (*deadline).min(within(step.config.trial_ms)),
        Phase::Shadowing { begins_by, .. } => {
            // Without an engine nothing can begin: that is not its fault, and the date still ends it.
            let by = within(step.config.activate_ms);
            *begins_by = begins_by.map(|set| if step.engine_up { set.min(by) } else { by });
        }
        Phase::Activating { deadline, .. } | Phase::RollingBack { deadline, .. } => {
            *deadline = (*deadline).min(within(step.config.activate_ms));
        }
        Phase::Probation { since, deadline, .. } => {
            *since = (*since).min(step.steady);
            let longest = match probation.commit {
                Commit::Local => probation.min_ms.saturating_add(step.config.grace_ms),
                Commit::Lease { lease_ms } => lease_ms,
            };
            *deadline = (*deadline).min(within(longest));
        }
    }
}

/// When this model next needs a tick, by the steady clock. What was due before and did not happen waits for a fact, not for time.
pub(super) fn wake_at(rec: &ModelRecord, at: Moment) -> UnixMs {
    let Some(update) = &rec.update else { return NEVER };
    // A deadline is over when it has passed.
    let deadline = update.deadline(at).plus_ms(1);
    let other = match &update.at {
        Phase::Downloading { retry_at, .. } => retry_at.unwrap_or(NEVER),
        Phase::Deferred { until, .. } => *until,
        Phase::Trial { .. } => at.steady_at(update.wanted.activate_by).plus_ms(1),
        Phase::Probation { since, .. } => since.plus_ms(update.wanted.probation.min_ms),
        _ => NEVER,
    };
    deadline.min(if other > at.steady { other } else { NEVER })
}
