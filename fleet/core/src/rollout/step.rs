//! One step of the executor.

mod ending;
mod offer;
mod pace;
mod view;
mod wave;

use longshore_trust::UnixMs;

pub(super) use self::ending::goes_back;
use self::offer::join;
use self::pace::Pace;
pub use self::pace::offering_ms;
use self::view::View;
use super::{Action, Facts, PauseReason, RolloutState, Standing, WaveState};
use crate::broken::{Rule, broken};
use crate::policy::Opening;

/// A command whose effect has not been seen is sent again after so long, ms.
const COMMAND_AGAIN_MS: u64 = 60_000;
/// So many assignments in a row that a device could not carry out, where others could, put it into quarantine.
pub const QUARANTINE_FAILURES: u32 = 3;

/// How long an offer is good, ms. A device that comes back later is offered the version anew.
pub const OFFER_GOOD_FOR_MS: u64 = 30 * 86_400_000;

/// What to do now.
#[must_use]
pub fn step(now: UnixMs, facts: &Facts<'_>) -> Vec<Action> {
    let mut out = Vec::new();
    let devices = views(now, facts, &mut out);
    let mut step = Step { now, facts, devices, out };
    match facts.state {
        RolloutState::Planned | RolloutState::AwaitingAuthorization => step.plan_grows_old(),
        RolloutState::Scheduled => step.wait_for_its_time(),
        RolloutState::Running => step.run(),
        RolloutState::Paused => step.wait_for_a_person(),
        RolloutState::Halting => step.halt(),
        RolloutState::Reverting => step.revert(),
        RolloutState::Completed => step.late_comers(),
        RolloutState::Superseded => step.superseded(),
        RolloutState::Reverted => step.tell_again(),
        RolloutState::Halted => {}
    }
    step.out
}

struct Step<'a> {
    now: UnixMs,
    facts: &'a Facts<'a>,
    devices: Vec<View<'a>>,
    out: Vec<Action>,
}

/// Every device with its state of now; whether its window is open is asked once for each zone.
fn views<'a>(now: UnixMs, facts: &'a Facts<'a>, out: &mut Vec<Action>) -> Vec<View<'a>> {
    let policy = &facts.plan.policy;
    let openings: Option<Vec<Option<Opening>>> =
        policy.window.as_ref().map(|window| match window.schedule() {
            Ok(schedule) => facts.zones.iter().map(|zone| schedule.open(now, zone)).collect(),
            // A policy that exists was read: this cannot be. It offers nothing rather than at any time.
            Err(_) => Vec::new(),
        });
    facts
        .devices
        .iter()
        .map(|d| {
            let window = openings.as_ref().map(|o| o.get(usize::from(d.zone)).copied().flatten());
            let (view, action) = View::new(d, facts, window);
            out.extend(action);
            view
        })
        .collect()
}

impl Step<'_> {
    fn rollout(&mut self, state: RolloutState, reason: impl Into<String>) {
        self.out.push(Action::Rollout { state, reason: reason.into(), pause: None });
    }

    fn pause(&mut self, why: PauseReason, reason: impl Into<String>) {
        let (state, reason) = (RolloutState::Paused, reason.into());
        self.out.push(Action::Rollout { state, reason, pause: Some(why) });
    }

    fn overdue(&self) -> bool {
        let plan = self.facts.plan;
        self.facts
            .state
            .deadline(self.facts.since, plan.waves.len(), plan.policy.gate.deadline_ms)
            .is_some_and(|deadline| self.now > deadline)
    }

    fn plan_grows_old(&mut self) {
        if self.overdue() {
            let why = match self.facts.state {
                RolloutState::AwaitingAuthorization => "nobody authorized the plan within 7 days: plan again",
                RolloutState::Scheduled => "it could not be started at its time: plan again",
                _ => "the plan was never started and is out of date: plan again",
            };
            self.rollout(RolloutState::Superseded, why);
        }
    }

    fn wait_for_its_time(&mut self) {
        if self.facts.start_at.is_none_or(|at| at <= self.now) {
            self.out.push(Action::Begin);
        }
        self.plan_grows_old();
    }

    fn run(&mut self) {
        let open = self.facts.waves.iter().position(|w| w.state.is_open());
        match open {
            Some(wave) => self.wave(wave),
            None => self.next_wave(),
        }
        let mut pace = self.pace();
        if let Some(wave) = open {
            self.offers(wave, &mut pace);
            if broken(Rule::AllWavesAtOnce) {
                (wave + 1..self.facts.waves.len()).for_each(|w| self.offers(w, &mut pace));
            }
        }
        self.confirm(&mut pace);
        self.quarantine();
        if self.out.iter().any(|a| matches!(a, Action::Rollout { .. })) {
            // From now on the rollout is in another state: what that one offers, if anything, is said by the next step.
            self.out.retain(|a| !matches!(a, Action::Offer { .. } | Action::Admit { .. }));
        }
    }

    fn pace(&self) -> Pace {
        Pace::new(self.now, self.facts.plan, &self.devices)
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
            self.pause(PauseReason::Gate, format!("gate: wave {stuck} did not pass"));
            return;
        }
        let Some(wave) = self.facts.waves.iter().position(|w| w.state == WaveState::Waiting) else {
            self.rollout(RolloutState::Completed, "every wave passed");
            return;
        };
        let of_wave = || self.devices.iter().filter(|d| d.wave == wave);
        let state = if of_wave().any(|d| d.standing() != Standing::Out) {
            let shadow = self.facts.plan.policy.waves[wave].shadow_ms > 0;
            if shadow { WaveState::Shadowing } else { WaveState::Offering }
        } else if of_wave().any(|d| d.fact.held && !d.fact.revoked) {
            self.wait_for_another(wave);
            return;
        } else if of_wave().next().is_none() || wave + 1 == self.facts.waves.len() {
            WaveState::Passed
        } else {
            self.deserted(wave);
            return;
        };
        self.out.push(Action::Wave { wave, state });
    }

    /// The wave was to prove something to the waves after it, and there is nobody left who could.
    fn deserted(&mut self, wave: usize) {
        self.out.push(Action::Wave { wave, state: WaveState::Inconclusive });
        self.pause(PauseReason::Quorum, format!("quorum: no device of wave {wave} is left"));
    }

    /// A rollout of a higher priority has all devices of the next wave.
    fn wait_for_another(&mut self, wave: usize) {
        if self.overdue() {
            let why = format!("operator: another rollout of the model still has every device of wave {wave}");
            self.pause(PauseReason::Operator, why);
        }
    }

    fn late_comers(&mut self) {
        let mut pace = self.pace();
        self.confirm(&mut pace);
        // New devices get what the fleet runs, if the last wave was for all.
        let last = self.facts.plan.waves.len() - 1;
        if self.facts.plan.policy.waves[last].select == crate::policy::Select::Rest {
            for late in self.facts.late {
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
        let mut pace = self.pace();
        self.confirm(&mut pace);
        self.out.retain(|a| !matches!(a, Action::Offer { .. } | Action::Admit { .. }));
        if broken(Rule::PausedOffers) {
            (0..self.facts.waves.len()).for_each(|w| self.offers(w, &mut pace));
        }
    }
}
