//! A candidate beside what serves: it sees live inputs and answers nobody.
//!
//! What always holds: it is never what [`ModelRecord::serving`] names; what serves is neither counted nor rolled back for
//! what a candidate in shadow does; an assignment that lets the same bundle serve takes up the trial that was passed.

use longshore_trust::Digest;
use longshore_wire::v1::{Reason, TrialReport, UpdateState};

use super::Output;
use super::model::stop;
use super::record::{ModelRecord, Phase, RollbackTo};
use super::serving::NO_PAGE;
use super::step::Step;
use crate::assignment::reason;
use crate::guard::{self, Sample};

/// Code of a load that the engine has no memory for.
pub const NO_MEMORY: &str = "engine.memory";
/// Deaths of the engine that nobody is blamed for, until the candidate is.
const UNEXPLAINED_MAX: u32 = 2;

/// The trial is passed: from here on it runs beside what serves.
pub(super) fn begin(rec: &mut ModelRecord, rollback: RollbackTo, trial: TrialReport, step: &mut Step<'_>) {
    let Some(update) = &mut rec.update else { return };
    let wanted = update.wanted.bundle.clone();
    let beside = rollback.bundle().is_some();
    let begins_by = beside.then(|| step.steady.plus_ms(step.config.activate_ms));
    update.at = Phase::Shadowing { rollback, trial: trial.clone(), begins_by, crashes: 0 };
    step.changed = true;
    if beside {
        step.shadow(rec);
    } else {
        let why = reason("shadow.nothing_serves", "no version serves here that it could be compared with");
        step.report(rec, &wanted, UpdateState::Shadowing, Some(why), Some(trial));
    }
}

/// The serving engine accepts loads: it is loaded beside what serves, and has all its time for that.
pub(super) fn engine_up(rec: &mut ModelRecord, step: &mut Step<'_>) {
    let by = step.steady.plus_ms(step.config.activate_ms);
    if let Some(Phase::Shadowing { begins_by: Some(begins_by), .. }) = rec.update.as_mut().map(|u| &mut u.at)
    {
        *begins_by = by;
        step.changed = true;
    }
    step.shadow(rec);
}

/// The engine runs it.
pub(super) fn running(rec: &mut ModelRecord, bundle: Digest, step: &mut Step<'_>) {
    let Some(update) = rec.update.as_mut().filter(|u| u.wanted.bundle.bundle == bundle) else { return };
    let Phase::Shadowing { begins_by, trial, .. } = &mut update.at else { return };
    if begins_by.take().is_some() {
        let (trial, wanted) = (trial.clone(), update.wanted.bundle.clone());
        step.report(rec, &wanted, UpdateState::Shadowing, None, Some(trial));
    }
}

/// It cannot be run. A device without room for two versions rejects it; anything else is the candidate's failure.
pub(super) fn failed(rec: &mut ModelRecord, bundle: Digest, why: Reason, step: &mut Step<'_>) {
    if !shadows(rec, bundle) {
        return;
    }
    let (state, code) = match why.code.as_str() {
        NO_MEMORY => (UpdateState::Rejected, "shadow.no_memory".to_owned()),
        NO_PAGE => (UpdateState::Rejected, "shadow.no_page".to_owned()),
        other => {
            let what = other.rsplit_once('.').map_or(other, |(_, what)| what);
            (UpdateState::Failed, format!("shadow.{what}"))
        }
    };
    stop(rec, state, Reason { code, ..why }, step);
}

/// What it did so far.
pub(super) fn observed(rec: &mut ModelRecord, bundle: Digest, sample: &Sample, step: &mut Step<'_>) {
    if !shadows(rec, bundle) {
        return;
    }
    let guard = rec.update.as_ref().map(|u| u.wanted.guard).unwrap_or_default();
    // How long it takes delays nobody: that is for the fleet to judge.
    let errors = Sample { p99_us: None, ..*sample };
    if let Some(why) = guard::verdict(&guard, &errors) {
        stop(rec, UpdateState::Failed, Reason { code: "shadow.errors".into(), ..why }, step);
    }
}

/// The engine died; `served` is whether what should answer did so until then.
pub(super) fn engine_down(rec: &mut ModelRecord, blamed: Option<Digest>, served: bool, step: &mut Step<'_>) {
    let Some(update) = &mut rec.update else { return };
    let bundle = update.wanted.bundle.bundle;
    let Phase::Shadowing { crashes, begins_by, .. } = &mut update.at else { return };
    let why = match blamed {
        Some(b) if b == bundle => "the engine died in it, beside what serves",
        Some(_) => return,
        None => {
            *crashes += 1;
            step.changed = true;
            if begins_by.is_some() && served {
                "the engine died while it was loaded beside what serves"
            } else if *crashes >= UNEXPLAINED_MAX {
                "the engine died more than once since it is loaded beside what serves"
            } else {
                return;
            }
        }
    };
    stop(rec, UpdateState::Failed, reason("shadow.crash", why), step);
}

/// Whether this bundle is in shadow.
fn shadows(rec: &ModelRecord, bundle: Digest) -> bool {
    let update = rec.update.as_ref().filter(|u| u.wanted.bundle.bundle == bundle);
    update.is_some_and(|u| matches!(u.at, Phase::Shadowing { .. }))
}

/// Ends the shadow of a bundle that may serve now, and lets it: what was downloaded and tried is not done again.
pub(super) fn promote(rec: &mut ModelRecord, step: &mut Step<'_>) {
    let Some(update) = &mut rec.update else { return };
    let Phase::Shadowing { rollback, trial, .. } = &update.at else { return };
    let (rollback, trial) = (rollback.clone(), trial.clone());
    if step.now > update.wanted.activate_by {
        let why = reason("shadow.too_late", "it was to serve before a time that is over");
        return stop(rec, UpdateState::TooLate, why, step);
    }
    let deadline = step.steady.plus_ms(step.config.activate_ms);
    update.at = Phase::Activating { rollback, trial, deadline };
    rec.starts = 0;
    step.changed = true;
    step.effects.push(Output::Shadow(rec.model.clone(), None));
    step.serve(rec);
}
