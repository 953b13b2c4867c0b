//! Halting, reverting, and what a rollout that is over still says to its devices.

use std::collections::BTreeMap;

use longshore_trust::Digest;
use longshore_wire::v1::UpdateState;

use super::super::{Action, DeviceFact, DeviceState, PauseReason, RevertPlan, RolloutState};
use super::view::View;
use super::{COMMAND_AGAIN_MS, Step};
use crate::broken::{Rule, broken};
use crate::wording::counted;

/// A halt or revert does not wait longer than this for devices that cannot be reached, ms.
const UNREACHABLE_GRACE_MS: u64 = 15_000;
/// The devices that go back first have so long to answer, ms.
const FIRST_BACK_MS: u64 = 5 * 60_000;

/// Whether a device is in the plan of a revert: it was offered the version and may run it, and there is a way back.
pub(in crate::rollout) fn goes_back(d: &DeviceFact) -> bool {
    let unable = d.state == DeviceState::Update(UpdateState::UnableToRollBack);
    d.offer.is_some()
        && d.previous.is_some()
        && !d.revoked
        && !d.held
        && (d.revert.is_none() || unable)
        && !View::gave_up_before_serving(d, d.state)
}

impl Step<'_> {
    /// What is not committed of a rollout whose place another one took is revoked, once.
    pub(super) fn superseded(&mut self) {
        for d in &self.devices {
            if let Some(offer) = d.fact.offer
                && !d.state.is_terminal()
                && offer.halted_at.is_none()
                && d.state != DeviceState::Waiting
            {
                self.out.push(Action::Halt { device: d.fact.device.clone(), version: offer.version });
            }
        }
    }

    pub(super) fn halt(&mut self) {
        if broken(Rule::HaltedOffers) {
            let mut pace = self.pace();
            (0..self.facts.waves.len()).for_each(|w| self.offers(w, &mut pace));
        }
        let mut open = (0usize, 0usize);
        for d in &self.devices {
            let Some(offer) = d.fact.offer.filter(|_| !d.state.is_terminal()) else {
                continue;
            };
            // A halt names its assignment: one that another rollout gave the device since is not touched by it.
            if !d.fact.held {
                count(&mut open, d);
            }
            if offer.halted_at.is_none_or(|t| self.now.since(t) >= COMMAND_AGAIN_MS) {
                self.out.push(Action::Halt { device: d.fact.device.clone(), version: offer.version });
            }
        }
        self.end_when_answered(open, RolloutState::Halted, "nothing of it starts any more");
    }

    pub(super) fn revert(&mut self) {
        let Some(plan) = self.facts.revert.filter(|r| r.made >= self.facts.since) else {
            self.out.push(Action::PlanRevert { gated: self.facts.revert.is_none() });
            return;
        };
        let mut open = (0usize, 0usize);
        // It ran nothing before: what it has not committed is revoked, and what it has committed stays.
        for d in &self.devices {
            let Some(offer) = d.fact.offer.filter(|_| d.fact.previous.is_none() && d.fact.revert.is_none())
            else {
                continue;
            };
            if d.fact.held || d.state.is_terminal() {
                continue;
            }
            count(&mut open, d);
            if offer.halted_at.is_none_or(|t| self.now.since(t) >= COMMAND_AGAIN_MS) {
                self.out.push(Action::Halt { device: d.fact.device.clone(), version: offer.version });
            }
        }
        let stages: BTreeMap<_, _> = plan
            .waves
            .iter()
            .enumerate()
            .flat_map(|(stage, w)| w.iter().map(move |t| (&t.device, (stage, t.to))))
            .collect();
        let mut stage_open = vec![(0usize, 0usize); plan.waves.len()];
        let mut first = (0usize, 0usize);
        let mut unsent: Vec<(usize, &DeviceFact, Digest)> = Vec::new();
        for d in &self.devices {
            let Some(&(stage, to)) = stages.get(&d.fact.device) else { continue };
            if d.fact.revoked || d.fact.held {
                continue;
            }
            if d.fact.revert.is_none() {
                if !View::gave_up_before_serving(d.fact, d.state) {
                    unsent.push((stage, d.fact, to));
                    count(&mut stage_open[stage], d);
                }
                continue;
            }
            if !d.answered_revert() {
                count(&mut stage_open[stage], d);
            } else if stage == 0 {
                let back = d.state == DeviceState::Update(UpdateState::RolledBack);
                *(if back { &mut first.0 } else { &mut first.1 }) += 1;
            }
        }
        let stage = self.stage(plan, &stage_open);
        if let Some(least) = plan.success
            && unsent.iter().any(|(s, ..)| *s > 0)
            && let (back, stuck @ 2..) = first
            && (back as f64) < least * (back + stuck) as f64
        {
            let sent = (self.devices.iter())
                .filter(|d| {
                    stages.get(&d.fact.device).is_some_and(|(s, _)| *s > 0) && d.fact.revert.is_some()
                })
                .count();
            let others = match sent {
                0 => "nobody else was sent there".to_owned(),
                // A step that tells many was broken off.
                n => format!("{n} others were sent there since"),
            };
            let reason = format!(
                "gate: {stuck} of the first {} could not go back to the version before; {others}: look at one of them, \
                 then revert again to go on with all",
                counted(back + stuck, "device")
            );
            self.pause(PauseReason::Gate, reason);
            return;
        }
        for (of, d, to) in unsent {
            if of <= stage {
                self.out.push(Action::Revert { device: d.device.clone(), to });
            }
        }
        for (reachable, unreachable) in stage_open {
            open.0 += reachable;
            open.1 += unreachable;
        }
        if self.out.iter().any(|a| matches!(a, Action::Revert { .. })) {
            return;
        }
        self.end_when_answered(open, RolloutState::Reverted, "devices have their previous version back");
    }

    /// Whoever was told to go back and never saw it, because an assignment of another model came after it, is told again
    /// when it is back.
    pub(super) fn tell_again(&mut self) {
        let Some(plan) = self.facts.revert else { return };
        let targets: BTreeMap<_, _> = plan.waves.iter().flatten().map(|t| (&t.device, t.to)).collect();
        for d in &self.devices {
            let Some(to) = targets.get(&d.fact.device) else { continue };
            let runs = d.fact.report.as_ref().is_some_and(|r| r.active == Some(self.facts.plan.bundle));
            if runs && d.fact.revert.is_none() && goes_back(d.fact) {
                self.out.push(Action::Revert { device: d.fact.device.clone(), to: *to });
            }
        }
    }

    /// Up to which wave of the revert devices are told: the first is waited for, but not for ever.
    fn stage(&self, plan: &RevertPlan, open: &[(usize, usize)]) -> usize {
        let waited = self.now.since(plan.made);
        match open.first() {
            Some(&(reachable, unreachable)) => {
                let done = match (reachable, unreachable) {
                    (0, 0) => true,
                    (0, _) => waited >= UNREACHABLE_GRACE_MS,
                    _ => waited >= FIRST_BACK_MS,
                };
                if done { plan.waves.len() } else { 0 }
            }
            None => 0,
        }
    }

    /// Ends a halt or revert when nobody who can be reached is missing, or its deadline has come.
    fn end_when_answered(
        &mut self,
        (reachable, unreachable): (usize, usize),
        state: RolloutState,
        what: &str,
    ) {
        let waited = self.now.since(self.facts.since);
        let done = match (reachable, unreachable) {
            (0, 0) => true,
            (0, _) => waited >= UNREACHABLE_GRACE_MS,
            _ => self.overdue(),
        };
        if !done {
            return;
        }
        let reason = match reachable + unreachable {
            0 => what.to_owned(),
            1 => format!("{what}; 1 device has not answered and will be told when it is back"),
            n => format!("{what}; {n} devices have not answered and will be told when they are back"),
        };
        self.rollout(state, reason);
    }
}

fn count(open: &mut (usize, usize), d: &View<'_>) {
    if d.fact.online {
        open.0 += 1;
    } else {
        open.1 += 1;
    }
}
