//! What is handed out: offers, places for late devices, leases, commits; and who gets none any more.

use longshore_wire::v1::{Commit, Mode, UpdateState};

use super::super::{Action, DeviceState, LateDevice, Standing, WaveState};
use super::pace::Pace;
use super::view::View;
use super::{COMMAND_AGAIN_MS, QUARANTINE_FAILURES, Step};

impl Step<'_> {
    fn terms(&self, wave: usize) -> (Commit, u64) {
        let policy = &self.facts.plan.policy.waves[wave];
        let local = self.facts.plan.waves[wave].commits_locally;
        let commit = if local { Commit::Local } else { Commit::Lease { lease_ms: policy.lease_ms } };
        (commit, policy.probation_ms)
    }

    /// Offers of the open wave.
    pub(super) fn offers(&mut self, wave: usize, pace: &mut Pace) {
        let fact = &self.facts.waves[wave];
        if self.out.iter().any(|a| matches!(a, Action::Wave { .. } | Action::Rollout { .. })) {
            // What it hands out from now on is another matter.
            return;
        }
        let shadow = fact.state == WaveState::Shadowing;
        let (commit, probation_ms) = self.terms(wave);
        let opened = fact.opened.unwrap_or(fact.since);
        let shadow_until = opened.plus_ms(self.facts.plan.policy.gate.deadline_ms);
        for d in self.devices.iter().filter(|d| d.wave == wave) {
            if pace.is_paced(wave) && !d.fact.online {
                continue;
            }
            let Some(wish) = d.wish(self.now, shadow).filter(|_| pace.take(wave)) else { continue };
            // What runs beside the active version changes nothing that a window protects.
            let until = if shadow { Some(shadow_until) } else { d.window.flatten().map(|o| o.until) };
            self.out.push(Action::Offer {
                device: d.fact.device.clone(),
                commit,
                probation_ms,
                mode: if shadow { Mode::Shadow } else { Mode::Active },
                until,
                attempt: wish.attempt,
            });
        }
    }

    /// Late devices enter through the same gates: at the first wave that is not judged, takes them and has room.
    pub(super) fn admit(&mut self) {
        let plan = self.facts.plan;
        if self.facts.late.is_empty() {
            return;
        }
        let mut sizes = vec![0usize; plan.waves.len()];
        for d in &self.devices {
            if let Some(n) = sizes.get_mut(d.wave) {
                *n += 1;
            }
        }
        for late in self.facts.late {
            let place = (0..plan.waves.len()).find(|&w| {
                let state = self.facts.waves[w].state;
                (state == WaveState::Waiting || state.is_open())
                    && plan.policy.waves[w].select.admits(&late.labels)
                    && plan.waves[w].cap.is_none_or(|cap| sizes[w] < cap)
            });
            if let Some(wave) = place {
                sizes[wave] += 1;
                self.out.push(join(late, wave));
            }
        }
    }

    /// Keeps the leases of a wave that is not judged.
    pub(super) fn renew(&mut self, wave: usize) {
        let (Commit::Lease { lease_ms }, _) = self.terms(wave) else {
            return;
        };
        let on_probation = DeviceState::Update(UpdateState::Probation);
        let runs = |d: &&View<'_>| d.wave == wave && d.state == on_probation && !d.fact.held;
        for d in self.devices.iter().filter(runs) {
            let Some(offer) = d.fact.offer else { continue };
            let last = offer.renewed_at.unwrap_or(offer.at);
            if self.now.since(last) >= lease_ms / 3 {
                self.out.push(Action::RenewLease {
                    device: d.fact.device.clone(),
                    version: offer.version,
                    lease_ms,
                });
            }
        }
    }

    /// Tells devices of waves that passed (or were skipped by a person) to keep the version; offers it again to those
    /// that came late.
    pub(super) fn confirm(&mut self, pace: &mut Pace) {
        for d in self.devices.iter().filter(|d| !d.is_done) {
            let n = d.wave;
            let wave = &self.facts.waves[n];
            if (wave.state != WaveState::Passed && !wave.skipped) || d.fact.held {
                continue;
            }
            if let Some(wish) = d.wish(self.now, false) {
                if (pace.is_paced(n) && !d.fact.online) || !pace.take(n) {
                    continue;
                }
                self.out.push(Action::Offer {
                    device: d.fact.device.clone(),
                    commit: Commit::Local,
                    probation_ms: self.facts.plan.policy.waves[n].probation_ms,
                    mode: Mode::Active,
                    until: d.window.flatten().map(|o| o.until),
                    attempt: wish.attempt,
                });
            } else if let Some(offer) = d.fact.offer
                && d.state == DeviceState::Update(UpdateState::Probation)
                && !self.facts.plan.waves[n].commits_locally
                && offer.committed_at.is_none_or(|t| self.now.since(t) >= COMMAND_AGAIN_MS)
            {
                self.out.push(Action::Commit { device: d.fact.device.clone(), version: offer.version });
            }
        }
    }

    /// A device that fails again and again although others come up with the same version is at fault itself.
    pub(super) fn quarantine(&mut self) {
        let suspects = || {
            self.devices.iter().filter(|d| {
                d.standing() == Standing::Failed
                    && d.fact.failures >= QUARANTINE_FAILURES
                    && !d.fact.quarantined
            })
        };
        if suspects().next().is_none() || !self.devices.iter().any(|d| d.standing() == Standing::Ok) {
            return;
        }
        let plan = self.facts.plan;
        let found: Vec<Action> = suspects()
            .map(|d| Action::Quarantine {
                device: d.fact.device.clone(),
                reason: format!(
                    "failed {} times in a row, the last time with {}@{}, which others run: {}",
                    d.fact.failures,
                    plan.model,
                    plan.version,
                    d.fact.code.as_deref().unwrap_or(d.state.as_str())
                ),
            })
            .collect();
        self.out.extend(found);
    }
}

/// A place in a wave for a late device.
pub(super) fn join(late: &LateDevice, wave: usize) -> Action {
    Action::Admit { device: late.device.clone(), wave, previous: late.previous, champion: late.champion }
}
