//! One step of the executor.

use std::collections::BTreeMap;

use longshore_trust::UnixMs;
use longshore_wire::v1::{Commit, UpdateState};

use super::{
    Action, DeviceFact, DeviceState, Facts, LateDevice, RolloutState, Standing, WaveFact, WaveState,
};
use crate::gate::{Evidence, Outcome, Verdict, judge};
use crate::policy::OnFail;

/// A device whose offer lapsed through no fault of the version gets at most so many.
const MAX_ATTEMPTS: u32 = 5;
/// A command whose effect has not been seen is sent again after so long, ms.
const COMMAND_AGAIN_MS: u64 = 60_000;
/// A halt or revert does not wait longer than this for devices that cannot be reached, ms.
const UNREACHABLE_GRACE_MS: u64 = 15_000;

/// What to do now.
#[must_use]
pub fn step(now: UnixMs, facts: &Facts<'_>) -> Vec<Action> {
    let mut step = Step { now, facts, devices: facts.devices.clone(), out: Vec::new() };
    step.take_reports();
    match facts.state {
        RolloutState::Planned | RolloutState::AwaitingAuthorization | RolloutState::Scheduled => {
            step.plan_grows_old();
        }
        RolloutState::Running => step.run(),
        RolloutState::Paused => step.wait_for_a_person(),
        RolloutState::Halting => step.halt(),
        RolloutState::Reverting => step.revert(),
        RolloutState::Completed => step.late_comers(),
        RolloutState::Halted | RolloutState::Reverted | RolloutState::Superseded => {}
    }
    step.out
}

struct Step<'a> {
    now: UnixMs,
    facts: &'a Facts<'a>,
    devices: Vec<DeviceFact>,
    out: Vec<Action>,
}

impl Step<'_> {
    fn rollout(&mut self, state: RolloutState, reason: impl Into<String>) {
        self.out.push(Action::Rollout { state, reason: reason.into() });
    }

    fn overdue(&self) -> bool {
        let plan = self.facts.plan;
        self.facts
            .state
            .deadline(self.facts.since, plan.waves.len(), plan.policy.gate.deadline_ms)
            .is_some_and(|deadline| self.now > deadline)
    }

    /// What devices said about their present offer becomes their state.
    fn take_reports(&mut self) {
        for d in &mut self.devices {
            let (state, code) = match (&d.offer, &d.report) {
                _ if d.revoked => (DeviceState::Update(UpdateState::Decommissioned), None),
                (_, Some(r)) if d.revert.is_some_and(|v| r.version >= v) => {
                    // It answers to the revert: once its previous version serves, the new one has been taken back.
                    let back = r.active.is_some() && r.active == d.previous;
                    match r.state {
                        UpdateState::Committed | UpdateState::Already if back => {
                            (DeviceState::Update(UpdateState::RolledBack), Some("fleet.revert".to_owned()))
                        }
                        UpdateState::Cancelled | UpdateState::RolledBack if back => {
                            (DeviceState::Update(UpdateState::RolledBack), Some("fleet.revert".to_owned()))
                        }
                        s if s.is_terminal() => {
                            (DeviceState::Update(UpdateState::UnableToRollBack), r.code.clone())
                        }
                        _ => continue,
                    }
                }
                // Waiting: what it said was about an offer before; it is to get a new one.
                (Some(offer), Some(r)) if r.version == offer.version && d.state != DeviceState::Waiting => {
                    (DeviceState::Update(r.state), r.code.clone())
                }
                _ => continue,
            };
            if d.state != state || (d.code != code && code.is_some()) {
                d.state = state;
                d.code.clone_from(&code);
                self.out.push(Action::Device { device: d.device.clone(), state, code });
            }
        }
    }

    fn plan_grows_old(&mut self) {
        if self.overdue() {
            self.rollout(
                RolloutState::Superseded,
                "the plan was never started and is out of date: plan again",
            );
        }
    }

    fn run(&mut self) {
        let open = self.facts.waves.iter().position(|w| w.state.is_open());
        match open {
            Some(wave) => self.wave(wave),
            None => self.next_wave(),
        }
        self.confirm();
    }

    /// Opens the next wave, or ends.
    fn next_wave(&mut self) {
        if let Some(stuck) = self
            .facts
            .waves
            .iter()
            .position(|w| matches!(w.state, WaveState::Failed | WaveState::Inconclusive) && !w.skipped)
        {
            // A process that died between the two writes left this behind.
            self.rollout(RolloutState::Paused, format!("gate: wave {stuck} did not pass"));
            return;
        }
        match self.facts.waves.iter().position(|w| w.state == WaveState::Waiting) {
            None => self.rollout(RolloutState::Completed, "every wave passed"),
            Some(wave) if self.devices.iter().any(|d| d.wave == wave && !d.revoked) => {
                self.out.push(Action::Wave { wave, state: WaveState::Offering });
            }
            Some(wave) => self.out.push(Action::Wave { wave, state: WaveState::Passed }),
        }
    }

    fn wave(&mut self, wave: usize) {
        let fact: &WaveFact = &self.facts.waves[wave];
        let gate = &self.facts.plan.policy.gate;
        let verdict = self.verdict(wave);
        let opened = fact.opened.unwrap_or(fact.since);

        if verdict.outcome == Outcome::Fail {
            self.close(wave, verdict, WaveState::Failed, gate.on_fail);
            return;
        }
        if self.now.since(opened) >= gate.deadline_ms {
            if verdict.outcome == Outcome::Pass && fact.state == WaveState::Judging {
                self.pass(wave, verdict);
            } else {
                self.close(wave, inconclusive(verdict), WaveState::Inconclusive, gate.on_inconclusive);
            }
            return;
        }
        match fact.state {
            WaveState::Offering if self.settled(wave) => {
                self.out.push(Action::Wave { wave, state: WaveState::Soaking });
            }
            WaveState::Soaking
                if self.now.since(fact.since) >= self.facts.plan.policy.waves[wave].soak_ms =>
            {
                self.out.push(Action::Wave { wave, state: WaveState::Judging });
            }
            WaveState::Judging if verdict.outcome == Outcome::Pass => {
                self.pass(wave, verdict);
                return;
            }
            _ => {}
        }
        self.note(wave, verdict);
        self.offers(wave);
        self.admit();
        self.renew(wave);
    }

    fn note(&mut self, wave: usize, verdict: Verdict) {
        if self.facts.waves[wave].verdict.as_ref() != Some(&verdict) {
            self.out.push(Action::Verdict { wave, verdict });
        }
    }

    fn pass(&mut self, wave: usize, verdict: Verdict) {
        self.note(wave, verdict);
        self.out.push(Action::Wave { wave, state: WaveState::Passed });
    }

    fn close(&mut self, wave: usize, verdict: Verdict, state: WaveState, then: OnFail) {
        let reason = format!("gate: wave {wave} {state}: {}", verdict.reasons());
        self.note(wave, verdict);
        self.out.push(Action::Wave { wave, state });
        let next = match then {
            OnFail::Pause => RolloutState::Paused,
            OnFail::Halt => RolloutState::Halting,
            OnFail::Revert => RolloutState::Reverting,
        };
        self.rollout(next, reason);
    }

    fn verdict(&self, wave: usize) -> Verdict {
        let evidence: Vec<Evidence> = self
            .devices
            .iter()
            .filter(|d| d.wave == wave)
            .map(|d| Evidence {
                standing: standing(d),
                reachable: d.online,
                candidate: d.candidate,
                champion: d.champion,
            })
            .collect();
        let failed = self.devices.iter().filter(|d| standing(d) == Standing::Failed).count() as u64;
        let plan = self.facts.plan;
        judge(&plan.policy.gate, &evidence, failed, plan.waves.len())
    }

    /// Every device that can be reached has answered, and one runs the version.
    fn settled(&self, wave: usize) -> bool {
        let mut ok = false;
        for d in self.devices.iter().filter(|d| d.wave == wave) {
            match standing(d) {
                Standing::Ok => ok = true,
                Standing::OnItsWay if d.online && d.state != DeviceState::Update(UpdateState::Deferred) => {
                    return false;
                }
                _ => {}
            }
        }
        ok
    }

    fn terms(&self, wave: usize) -> (Commit, u64) {
        let policy = &self.facts.plan.policy.waves[wave];
        let local = self.facts.plan.waves[wave].commits_locally;
        let commit = if local { Commit::Local } else { Commit::Lease { lease_ms: policy.lease_ms } };
        (commit, policy.probation_ms)
    }

    fn offers(&mut self, wave: usize) {
        let (commit, probation_ms) = self.terms(wave);
        for d in self.devices.iter().filter(|d| d.wave == wave && wants_offer(d)) {
            self.out.push(Action::Offer { device: d.device.clone(), commit, probation_ms });
        }
    }

    /// Late devices enter through the same gates: at the first wave that is not judged, takes them and has room.
    fn admit(&mut self) {
        let plan = self.facts.plan;
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        for d in &self.devices {
            *sizes.entry(d.wave).or_default() += 1;
        }
        for late in &self.facts.late {
            let place = (0..plan.waves.len()).find(|&w| {
                let state = self.facts.waves[w].state;
                (state == WaveState::Waiting || state.is_open())
                    && plan.policy.waves[w].select.admits(&late.labels)
                    && plan.waves[w].cap.is_none_or(|cap| sizes.get(&w).copied().unwrap_or(0) < cap)
            });
            if let Some(wave) = place {
                *sizes.entry(wave).or_default() += 1;
                self.out.push(join(late, wave));
            }
        }
    }

    /// Keeps the leases of a wave that is not judged.
    fn renew(&mut self, wave: usize) {
        let (Commit::Lease { lease_ms }, _) = self.terms(wave) else {
            return;
        };
        for d in self.devices.iter().filter(|d| d.wave == wave) {
            let Some(offer) = d.offer.filter(|_| d.state == DeviceState::Update(UpdateState::Probation))
            else {
                continue;
            };
            let last = offer.renewed_at.unwrap_or(offer.at);
            if self.now.since(last) >= lease_ms / 3 {
                self.out.push(Action::RenewLease {
                    device: d.device.clone(),
                    version: offer.version,
                    lease_ms,
                });
            }
        }
    }

    /// Tells devices of waves that passed (or were skipped by a person) to keep the version; offers it again to those
    /// that came late.
    fn confirm(&mut self) {
        for d in &self.devices {
            let wave = &self.facts.waves[d.wave];
            if wave.state != WaveState::Passed && !wave.skipped {
                continue;
            }
            if wants_offer(d) {
                self.out.push(Action::Offer {
                    device: d.device.clone(),
                    commit: Commit::Local,
                    probation_ms: self.facts.plan.policy.waves[d.wave].probation_ms,
                });
            } else if let Some(offer) = d.offer
                && d.state == DeviceState::Update(UpdateState::Probation)
                && !self.facts.plan.waves[d.wave].commits_locally
                && offer.committed_at.is_none_or(|t| self.now.since(t) >= COMMAND_AGAIN_MS)
            {
                self.out.push(Action::Commit { device: d.device.clone(), version: offer.version });
            }
        }
    }

    fn late_comers(&mut self) {
        self.confirm();
        // New devices get what the fleet runs, if the last wave was for all.
        let last = self.facts.plan.waves.len() - 1;
        if self.facts.plan.policy.waves[last].select == crate::policy::Select::Rest {
            for late in &self.facts.late {
                self.out.push(join(late, last));
            }
        }
    }

    fn wait_for_a_person(&mut self) {
        if self.overdue() {
            self.rollout(RolloutState::Halting, "operator: nobody resumed it within 7 days");
            return;
        }
        for wave in 0..self.facts.waves.len() {
            let w = &self.facts.waves[wave];
            let judged = w.state == WaveState::Passed || w.skipped;
            if !judged && w.state != WaveState::Waiting {
                self.renew(wave);
            }
        }
        // What passed is kept; nothing new is offered.
        self.confirm();
        self.out.retain(|a| !matches!(a, Action::Offer { .. } | Action::Admit { .. }));
    }

    fn halt(&mut self) {
        let mut open = (0usize, 0usize);
        for d in &self.devices {
            let Some(offer) = d.offer.filter(|_| !d.state.is_terminal()) else {
                continue;
            };
            if d.online {
                open.0 += 1;
            } else {
                open.1 += 1;
            }
            if offer.halted_at.is_none_or(|t| self.now.since(t) >= COMMAND_AGAIN_MS) {
                self.out.push(Action::Halt { device: d.device.clone(), version: offer.version });
            }
        }
        self.end_when_answered(open, RolloutState::Halted, "nothing of it starts any more");
    }

    fn revert(&mut self) {
        let mut open = (0usize, 0usize);
        for d in &self.devices {
            let Some(offer) = d.offer.filter(|_| !d.revoked) else {
                continue;
            };
            if d.revert.is_none() && gave_up_before_serving(d) {
                continue;
            }
            match (d.revert, d.previous) {
                (None, Some(to)) => {
                    open.0 += 1;
                    self.out.push(Action::Revert { device: d.device.clone(), to });
                    continue;
                }
                // It ran nothing before: what it has not committed is revoked, and what it has committed stays.
                (None, None) if d.state.is_terminal() => continue,
                (None, None) => {
                    if offer.halted_at.is_none_or(|t| self.now.since(t) >= COMMAND_AGAIN_MS) {
                        self.out.push(Action::Halt { device: d.device.clone(), version: offer.version });
                    }
                }
                (Some(_), _) if answered_revert(d) => continue,
                (Some(_), _) => {}
            }
            if d.online {
                open.0 += 1;
            } else {
                open.1 += 1;
            }
        }
        self.end_when_answered(open, RolloutState::Reverted, "devices have their previous version back");
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
            n => format!("{what}; {n} device(s) have not answered and will be told when they are back"),
        };
        self.rollout(state, reason);
    }
}

fn join(late: &LateDevice, wave: usize) -> Action {
    Action::Admit { device: late.device.clone(), wave, previous: late.previous, champion: late.champion }
}

/// Not offered yet, or the offer lapsed through no fault of the version.
fn wants_offer(d: &DeviceFact) -> bool {
    if d.revoked || d.revert.is_some() {
        return false;
    }
    match (d.state, &d.offer) {
        (DeviceState::Waiting, _) => true,
        (DeviceState::Update(UpdateState::Offered), Some(o)) => o.passed_over && o.attempts < MAX_ATTEMPTS,
        (DeviceState::Update(UpdateState::Expired | UpdateState::TooLate), Some(o)) => {
            o.attempts < MAX_ATTEMPTS
        }
        (DeviceState::Update(UpdateState::RolledBack), Some(o)) => lapsed(d) && o.attempts < MAX_ATTEMPTS,
        _ => false,
    }
}

/// How a device counts. One that will be offered the version once more, because its lease ran out while the fleet could
/// not be heard, has not failed: an outage of the fleet must not take a version back.
fn standing(d: &DeviceFact) -> Standing {
    if wants_offer(d) { Standing::OnItsWay } else { d.state.standing() }
}

/// The fleet was away for longer than the lease: nothing is wrong with the version.
fn lapsed(d: &DeviceFact) -> bool {
    d.code.as_deref() == Some("lease.lapsed")
}

/// It has ended, and never served the version or no longer does.
fn gave_up_before_serving(d: &DeviceFact) -> bool {
    let ended = matches!(
        d.state,
        DeviceState::Update(
            UpdateState::Failed
                | UpdateState::Rejected
                | UpdateState::RolledBack
                | UpdateState::Cancelled
                | UpdateState::Expired
                | UpdateState::TooLate
        )
    );
    ended && d.report.as_ref().is_none_or(|r| r.active.is_none() || r.active == d.previous)
}

fn answered_revert(d: &DeviceFact) -> bool {
    matches!((&d.report, d.revert), (Some(r), Some(v)) if r.version >= v && r.state.is_terminal())
}

/// A verdict at its deadline: what was not yet known counts against the wave.
fn inconclusive(mut verdict: Verdict) -> Verdict {
    verdict.outcome = Outcome::Inconclusive;
    for g in &mut verdict.gates {
        if g.outcome == Outcome::NotYet {
            g.outcome = Outcome::Inconclusive;
            g.text = g.text.replacen("not yet", "not by the deadline", 1);
        }
    }
    verdict
}
