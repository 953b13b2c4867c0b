//! OFFERED: an assignment that waits for metadata as new as what the director looked at.

use longshore_trust::{AssignmentVersion, UnixMs};
use longshore_wire::v1::{Assignment, EventKind, Message, Mode, Reason, UpdateReport, UpdateState};

use super::{Installed, NEVER, Origin, Output, Update, Updates, Wanted, Write, model};
use crate::assignment::{self, Refusal, TargetsView, reason};
use crate::clock::Moment;

/// An assignment under examination. Not persisted: the fleet sends it again on every connect until it is accepted.
#[derive(Debug)]
pub(super) struct Offer {
    pub assignment: Assignment,
    /// Nothing comes of it after this.
    deadline: UnixMs,
    attempts: u32,
    /// When the next refresh starts; `None` while one runs.
    retry_at: Option<UnixMs>,
    /// What it waits for.
    pub waiting: Option<Reason>,
}

impl Offer {
    pub fn wake_at(&self, at: Moment) -> UnixMs {
        // A deadline is over when it has passed.
        at.steady_at(self.deadline).plus_ms(1).min(self.retry_at.unwrap_or(NEVER))
    }
}

fn wanted(a: &Assignment, slot: &longshore_wire::v1::Slot) -> Wanted {
    Wanted {
        bundle: Installed {
            bundle: slot.sha256,
            version: assignment::version_of(slot).unwrap_or_default().to_owned(),
            manifest_path: slot.manifest_path.clone(),
            length: slot.length,
            release_counter: slot.release_counter,
            origin: Origin { version: a.version, generation: a.generation, rollout: a.rollout.clone() },
        },
        activate_by: a.activate_by,
        not_after: a.not_after,
        probation: a.probation,
        guard: a.guard,
        mode: slot.mode,
    }
}

impl Updates {
    pub(super) fn on_assignment(&mut self, message: &Message<Assignment>) {
        // Its own date is no floor for anything else, but by it the director says that it is not earlier.
        let now = self.at.now.max(message.header.time);
        let accepted = self.models.values().map(|r| r.generation).max().unwrap_or_default();
        let a = match assignment::arrive(&self.me, self.assigned, now, accepted, message) {
            Ok(Some(a)) => a,
            Ok(None) => return,
            Err(refusal) => {
                let version = message.body.version;
                let told = (version, refusal.code());
                if self.refused != Some(told) {
                    self.refused = Some(told);
                    self.writes.push(Write::Event(EventKind::Refused(refusal.reason())));
                }
                return;
            }
        };
        let newest: Option<AssignmentVersion> = self.offer.as_ref().map(|o| o.assignment.version);
        // What only came at the wrong time is looked at again: a clock can be put right.
        let disagrees = self.refused.is_some_and(|(v, code)| v == a.version && code != Refusal::EXPIRED);
        if newest.is_some_and(|v| a.version <= v) || disagrees {
            return;
        }
        self.offer = Some(Offer {
            assignment: a.clone(),
            deadline: a.not_after,
            attempts: 0,
            retry_at: None,
            waiting: None,
        });
        self.report_offer(UpdateState::Offered, None);
        self.refresh();
    }

    pub(super) fn on_doorbell(&mut self) {
        let now = self.at.steady;
        if let Some(o) = self.offer.as_mut().filter(|o| o.retry_at.is_some()) {
            o.retry_at = Some(now);
        }
    }

    /// Paths of the offer and of what runs: a way back is signed in the metadata of what runs.
    fn refresh(&mut self) {
        let Some(offer) = &self.offer else { return };
        let slots = offer.assignment.slots.iter().map(|s| s.manifest_path.clone());
        let active = self.models.values().filter_map(|r| r.active.as_ref()).map(|i| i.manifest_path.clone());
        let mut paths: Vec<String> = slots.chain(active).collect();
        paths.sort();
        paths.dedup();
        self.effects.push(Output::Refresh(paths));
    }

    pub(super) fn tick_offer(&mut self) {
        let Moment { now, steady } = self.at;
        let Some(offer) = &mut self.offer else { return };
        if now > offer.deadline {
            let why = offer
                .waiting
                .clone()
                .unwrap_or_else(|| reason("offer.expired", "no metadata arrived in time"));
            self.drop_offer(UpdateState::Expired, why);
        } else if offer.retry_at.is_some_and(|t| t <= steady) {
            offer.retry_at = None;
            self.refresh();
        }
    }

    pub(super) fn on_targets(&mut self, result: Result<TargetsView, Reason>) {
        let now = self.at.steady;
        let Some(offer) = self.offer.as_mut().filter(|o| o.retry_at.is_none()) else { return };
        let view = match result {
            Ok(view) if assignment::recent_enough(&offer.assignment, &view) => view,
            other => {
                let behind = || reason("trust.behind", "the fleet's metadata is older than the assignment");
                offer.waiting = Some(other.err().unwrap_or_else(behind));
                offer.retry_at =
                    Some(now.plus_ms(self.config.retry.wait_ms(offer.attempts, &mut self.jitter)));
                offer.attempts += 1;
                return;
            }
        };
        if let Err(refusal) = assignment::agree(&offer.assignment, &view) {
            self.refused = Some((offer.assignment.version, refusal.code()));
            self.writes.push(Write::Event(EventKind::Refused(refusal.reason())));
            self.drop_offer(UpdateState::Rejected, refusal.reason());
            return;
        }
        let offer = self.offer.take().expect("it was just looked at");
        self.accept(&offer.assignment, &view);
    }

    fn accept(&mut self, a: &Assignment, view: &TargetsView) {
        self.assigned = self.assigned.max(a.version);
        self.writes.push(Write::Assigned(self.assigned));
        for slot in &a.slots {
            let me = self.me.clone();
            let wanted = wanted(a, slot);
            self.with(&slot.model, |rec, step| {
                rec.generation = rec.generation.max(a.generation);
                step.changed = true;
                // What only ran in shadow is looked at again before it serves.
                let promoted = |u: &Update| u.wanted.mode == Mode::Shadow && slot.mode == Mode::Active;
                let going_on = |u: &Update| u.wanted.bundle.bundle == slot.sha256 && !promoted(u);
                let known = rec.active.as_ref().is_some_and(|i| i.bundle == slot.sha256)
                    || rec.update.as_ref().is_some_and(going_on);
                let active = rec.active.as_ref().map(|i| i.bundle);
                match assignment::admissible(&me, slot, rec.floor, active, view) {
                    Err(why) if !known => model::reject(rec, &wanted, why, step),
                    _ => model::assign(rec, wanted, step),
                }
            });
        }
    }

    pub(super) fn drop_offer(&mut self, state: UpdateState, why: Reason) {
        self.report_offer(state, Some(why));
        self.offer = None;
    }

    fn report_offer(&mut self, state: UpdateState, why: Option<Reason>) {
        let Some(offer) = &self.offer else { return };
        let a = &offer.assignment;
        for slot in &a.slots {
            let active = self.models.get(&slot.model).and_then(|r| r.serving()).map(|i| i.bundle);
            self.writes.push(Write::Report(Box::new(UpdateReport {
                model: slot.model.clone(),
                bundle: slot.sha256,
                assignment_version: a.version,
                generation: a.generation,
                rollout: a.rollout.clone(),
                state,
                why: why.clone(),
                trial: None,
                active,
            })));
        }
    }
}
