//! An open wave: what its gates say, and what follows from it.

use longshore_wire::v1::UpdateState;

use super::super::{Action, DeviceState, PauseReason, RolloutState, Standing, WaveFact, WaveState};
use super::Step;
use super::view::View;
use crate::broken::{Rule, broken};
use crate::gate::{AGREEMENT_GATE, Control, Evidence, Measured, Outcome, Tally, Verdict, judge_beside};
use crate::policy::OnFail;

impl Step<'_> {
    pub(super) fn wave(&mut self, wave: usize) {
        let fact: &WaveFact = &self.facts.waves[wave];
        let gate = &self.facts.plan.policy.gate;
        let mut members = self.devices.iter().filter(|d| d.wave == wave).peekable();
        if members.peek().is_some() && members.all(|d| d.fact.revoked) {
            // All of its devices have left the fleet meanwhile: nobody is waited for.
            if wave + 1 == self.facts.waves.len() {
                self.out.push(Action::Wave { wave, state: WaveState::Passed });
            } else {
                self.deserted(wave);
            }
            return;
        }
        let verdict = self.verdict(wave);
        let opened = fact.opened.unwrap_or(fact.since);

        if verdict.outcome == Outcome::Fail {
            self.close(wave, verdict, WaveState::Failed, gate.on_fail);
            return;
        }
        if self.now.since(opened) >= gate.deadline_ms && !broken(Rule::WaveNeverEnds) {
            if verdict.outcome == Outcome::Pass && fact.state == WaveState::Judging {
                self.pass(wave, verdict);
            } else {
                self.close(wave, inconclusive(verdict), WaveState::Inconclusive, gate.on_inconclusive);
            }
            return;
        }
        match fact.state {
            WaveState::Shadowing if self.has_shadowed(wave) && agrees(&verdict) => {
                self.out.push(Action::Wave { wave, state: WaveState::Offering });
            }
            WaveState::Offering if self.settled(wave) => {
                self.out.push(Action::Wave { wave, state: WaveState::Soaking });
            }
            WaveState::Soaking
                if self.now.since(fact.since) >= self.facts.plan.policy.waves[wave].soak_ms
                    || broken(Rule::SoakSkipped) =>
            {
                self.out.push(Action::Wave { wave, state: WaveState::Judging });
            }
            WaveState::Judging
                if verdict.outcome == Outcome::Pass
                    || broken(Rule::InstalledIsEnough) && self.settled(wave) =>
            {
                self.pass(wave, verdict);
                return;
            }
            _ => {}
        }
        self.note(wave, verdict);
        self.admit();
        self.renew(wave);
    }

    /// The candidate ran beside the active version for its time, and was compared with it: without a row there is nothing
    /// that was compared.
    fn has_shadowed(&self, wave: usize) -> bool {
        let fact = &self.facts.waves[wave];
        let rows = self.devices.iter().any(|d| d.wave == wave && d.fact.shadow_rows > 0);
        rows && self.now.since(fact.since) >= self.facts.plan.policy.waves[wave].shadow_ms
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
        let why = pause_reason(&verdict);
        let mut reasons = verdict.reasons();
        if reasons.is_empty() {
            // All gates agree, and the wave's time was over before it could be judged.
            let was = self.facts.waves[wave].state;
            reasons = format!(
                "all gates hold, but it was still {was} at its deadline: give the gate a later `deadline`"
            );
        }
        let reason = format!("{why}: wave {wave} {state}: {reasons}");
        self.note(wave, verdict);
        self.out.push(Action::Wave { wave, state });
        match then {
            OnFail::Pause => self.pause(why, reason),
            OnFail::Halt => self.rollout(RolloutState::Halting, reason),
            OnFail::Revert => self.rollout(RolloutState::Reverting, reason),
        }
    }

    fn verdict(&self, wave: usize) -> Verdict {
        let evidence: Vec<Evidence<'_>> = self
            .devices
            .iter()
            .filter(|d| d.wave == wave)
            .map(|d| match d.standing() {
                // It was called back or has gone: what it counted proves nothing about those that are left.
                Standing::Out => Evidence {
                    standing: Standing::Out,
                    reachable: d.fact.online,
                    candidate: Tally::default(),
                    champion: None,
                    measured: &Measured::NOTHING,
                },
                standing => Evidence {
                    standing,
                    reachable: d.fact.online,
                    candidate: d.fact.candidate,
                    champion: d.fact.champion,
                    measured: &d.fact.measured,
                },
            })
            .collect();
        let controls: Vec<Control> = self.devices.iter().filter_map(|d| control(d, wave)).collect();
        let failed = self.devices.iter().filter(|d| d.standing() == Standing::Failed).count() as u64;
        let plan = self.facts.plan;
        judge_beside(&plan.policy.gate, &evidence, &controls, failed, plan.waves.len())
    }

    /// Every device that can be reached has answered, and one runs the version.
    fn settled(&self, wave: usize) -> bool {
        let (mut ok, mut answered, mut pending) = (0u64, 0u64, 0u64);
        for d in self.devices.iter().filter(|d| d.wave == wave) {
            match d.standing() {
                Standing::Ok => ok += 1,
                Standing::Failed => answered += 1,
                Standing::OnItsWay
                    if d.fact.online && d.state != DeviceState::Update(UpdateState::Deferred) =>
                {
                    pending += 1;
                }
                _ => {}
            }
        }
        // In a large wave somebody is always just coming back: the share that is asked for is enough.
        let share = ok as f64 / (ok + answered + pending).max(1) as f64;
        ok > 0 && (pending == 0 || share >= self.facts.plan.policy.gate.success)
    }
}

/// A device of a later wave that still runs what it ran when this one was opened.
fn control(d: &View<'_>, wave: usize) -> Option<Control> {
    let untouched = d.wave > wave && d.fact.offer.is_none() && d.standing() == Standing::OnItsWay;
    let (before, now) = (d.fact.measured.control.filter(|_| untouched)?, d.fact.champion?);
    Some(Control { before, since: now.since(&before) })
}

/// The gate on a version in shadow stands in nobody's way.
fn agrees(verdict: &Verdict) -> bool {
    let gate = verdict.gates.iter().find(|g| g.gate == AGREEMENT_GATE);
    gate.is_none_or(|g| matches!(g.outcome, Outcome::Pass | Outcome::NotApplicable))
}

/// Why a rollout pauses whose wave came out like this.
fn pause_reason(verdict: &Verdict) -> PauseReason {
    let stands =
        |gate: &str, outcome: Outcome| verdict.gates.iter().any(|g| g.gate == gate && g.outcome == outcome);
    if stands("failed_devices", Outcome::Fail) {
        PauseReason::ErrorBudget
    } else if verdict.outcome != Outcome::Fail && stands("devices", Outcome::Inconclusive) {
        PauseReason::Quorum
    } else {
        PauseReason::Gate
    }
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
