//! Where a transition puts what it causes.

use longshore_trust::{Digest, UnixMs};
use longshore_wire::v1::{Reason, TrialReport, UpdateReport, UpdateState};

use super::record::{Exit, Installed, ModelRecord};
use super::{Config, Output, Retry, Write};
use crate::backoff::Jitter;

/// One fact's surroundings, and its effects.
pub(super) struct Step<'a> {
    /// What dates are held against.
    pub now: UnixMs,
    /// What spans are measured by.
    pub steady: UnixMs,
    pub config: &'a Config,
    pub jitter: &'a mut Jitter,
    pub engine_up: bool,
    /// What answers for this model, since when.
    pub serving: Option<(Digest, UnixMs)>,
    /// When a committed bundle that could not be served is tried again.
    pub retry: Option<Retry>,
    /// The record must be written.
    pub changed: bool,
    pub writes: &'a mut Vec<Write>,
    pub effects: &'a mut Vec<Output>,
}

impl Step<'_> {
    pub fn report(
        &mut self,
        rec: &ModelRecord,
        bundle: &Installed,
        state: UpdateState,
        why: Option<Reason>,
        trial: Option<TrialReport>,
    ) {
        self.changed = true;
        self.writes.push(Write::Report(Box::new(UpdateReport {
            model: rec.model.clone(),
            bundle: bundle.bundle,
            assignment_version: bundle.origin.version,
            generation: bundle.origin.generation,
            rollout: bundle.origin.rollout.clone(),
            state,
            why,
            trial,
            active: rec.serving().map(|i| i.bundle),
        })));
    }
    /// Reports an exit and remembers it.
    pub fn exit(
        &mut self,
        rec: &mut ModelRecord,
        bundle: &Installed,
        state: UpdateState,
        why: Option<Reason>,
        trial: Option<TrialReport>,
    ) {
        rec.last =
            Some(Exit { bundle: bundle.bundle, assignment: bundle.origin.version, state, why: why.clone() });
        self.report(rec, bundle, state, why, trial);
        self.effects.push(Output::Collect);
    }
    /// Asks for what the record says should run beside it.
    pub fn shadow(&mut self, rec: &ModelRecord) {
        if let Some(candidate) = rec.shadowing().filter(|_| self.engine_up) {
            self.effects.push(Output::Shadow(rec.model.clone(), Some(candidate.clone())));
        }
    }
    /// Asks for what the record says should answer, if there is an engine to ask.
    pub fn serve(&mut self, rec: &ModelRecord) {
        if self.engine_up {
            self.effects.push(Output::Serve(rec.model.clone(), rec.serving().cloned()));
        }
    }
}
