//! The small world the executor's tests run in: devices that obey, fail, sleep or lie low, and a store that applies what
//! is asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use longshore_bundle::Requires;
use longshore_trust::{AssignmentVersion, DeviceId, Digest, Generation, ReleaseCounter, UnixMs};
use longshore_wire::v1::{Commit, Mode, UpdateState};

use super::super::*;
use crate::gate::Tally;
use crate::plan::{Candidate, Plan, Request, plan};
use crate::policy::Policy;

pub(super) const NEW: Digest = Digest([2; 32]);
pub(super) const OLD: Digest = Digest([1; 32]);

pub(super) fn id(n: usize) -> DeviceId {
    DeviceId::new(format!("dev-{n}")).unwrap()
}

pub(super) fn candidate(n: usize) -> Candidate {
    Candidate {
        online: true,
        active: Some(OLD),
        active_counter: Some(ReleaseCounter(1)),
        ..Candidate::new(id(n))
    }
}

pub(super) fn policy(gate: &str) -> Policy {
    Policy::parse(&format!(
        "name = \"p\"\n[[wave]]\nselect = {{ count = 2 }}\nsoak = \"2s\"\nlease = \"30s\"\n[[wave]]\nselect = {{ rest = true }}\nsoak = \"1s\"\n\
         [gate]\nsuccess = 0.9\ndeadline = \"60s\"\n{gate}\n"
    ))
    .unwrap()
}

pub(super) fn make(policy: Policy, devices: usize) -> Plan {
    let ways = BTreeSet::from([(NEW, OLD)]);
    let requires = Requires::default();
    let request = Request {
        id: "r".parse().unwrap(),
        parent: None,
        generation: Generation(1),
        model: "m".parse().unwrap(),
        version: "2.0.0".into(),
        bundle: NEW,
        release_counter: ReleaseCounter(2),
        bytes: 1,
        requires: &requires,
        ways_back: &ways,
        policy,
    };
    plan(request, &(0..devices).map(candidate).collect::<Vec<_>>()).unwrap()
}

/// How a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Good,
    Fails,
    Away,
    /// Comes up, but answers wrongly.
    Wrong,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) state: RolloutState,
    pub(super) since: UnixMs,
    pub(super) reason: String,
    pub(super) waves: Vec<WaveFact>,
    pub(super) devices: Vec<DeviceFact>,
    pub(super) natures: BTreeMap<DeviceId, Nature>,
    pub(super) commits: BTreeMap<DeviceId, Commit>,
    pub(super) late: Vec<LateDevice>,
    pub(super) now: UnixMs,
    pub(super) next: u64,
    pub(super) offers: usize,
    pub(super) start_at: Option<UnixMs>,
    pub(super) zones: Vec<TimeZone>,
    pub(super) revert: Option<RevertPlan>,
    pub(super) pause: Option<PauseReason>,
    pub(super) modes: BTreeMap<DeviceId, Mode>,
    pub(super) begun: bool,
    /// Shadow runs answer nothing.
    pub(super) mute: bool,
    /// Cannot go back.
    pub(super) stuck: BTreeSet<DeviceId>,
}

impl World {
    pub(super) fn new(plan: Plan, natures: &[Nature]) -> Self {
        let devices = plan
            .waves
            .iter()
            .enumerate()
            .flat_map(|(wave, w)| w.devices.iter().map(move |d| (wave, d)))
            .map(|(wave, d)| DeviceFact {
                online: true,
                previous: d.previous,
                champion: Some(Tally { rows: 1000, errors: 0, labelled: 1000, correct: 970 }),
                ..DeviceFact::new(d.device.clone(), wave)
            })
            .collect();
        let start = UnixMs(1_000_000);
        let fresh =
            WaveFact { state: WaveState::Waiting, opened: None, since: start, skipped: false, verdict: None };
        Self {
            waves: vec![fresh; plan.waves.len()],
            devices,
            natures: natures.iter().enumerate().map(|(n, x)| (id(n), *x)).collect(),
            commits: BTreeMap::new(),
            late: vec![],
            state: RolloutState::Running,
            since: start,
            reason: String::new(),
            now: start,
            next: 1,
            offers: 0,
            start_at: None,
            zones: vec![TimeZone::UTC],
            revert: None,
            pause: None,
            modes: BTreeMap::new(),
            begun: false,
            mute: false,
            stuck: BTreeSet::new(),
            plan,
        }
    }
    pub(super) fn actions(&self) -> Vec<Action> {
        let facts = Facts {
            plan: &self.plan,
            state: self.state,
            since: self.since,
            start_at: self.start_at,
            waves: &self.waves,
            devices: &self.devices,
            late: &self.late,
            zones: &self.zones,
            revert: self.revert.as_ref(),
        };
        let now = step(self.now, &facts);
        assert_eq!(now, step(self.now, &facts), "the same facts give the same answer");
        now
    }
    pub(super) fn device(&mut self, device: &DeviceId) -> &mut DeviceFact {
        self.devices.iter_mut().find(|d| d.device == *device).unwrap()
    }
    pub(super) fn apply(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::Rollout { state, reason, pause } => {
                (self.state, self.reason, self.since, self.pause) = (state, reason, now, pause);
            }
            Action::Begin => {
                self.begun = true;
                (self.state, self.since) = (RolloutState::Running, now);
            }
            Action::PlanRevert { gated } => {
                let made = plan_revert(&self.plan, &self.devices, Generation(self.next), gated, now);
                assert!(made.is_intact());
                for d in &mut self.devices {
                    if made.waves.iter().flatten().any(|t| t.device == d.device) {
                        d.revert = None;
                    }
                }
                self.revert = Some(made);
            }
            Action::Quarantine { device, .. } => self.device(&device).quarantined = true,
            Action::Wave { wave, state } => {
                let w = &mut self.waves[wave];
                if state.is_open() && !w.state.is_open() {
                    w.opened = Some(now);
                }
                (w.state, w.since) = (state, now);
            }
            Action::Verdict { wave, verdict } => self.waves[wave].verdict = Some(verdict),
            Action::Admit { device, wave, previous, champion } => {
                self.late.retain(|l| l.device != device);
                let champion = champion.map(|_| Tally::default());
                let fact = DeviceFact { device, wave, previous, champion, ..self.devices[0].clone() };
                let fact = DeviceFact { state: DeviceState::Waiting, offer: None, report: None, ..fact };
                self.devices.push(fact);
            }
            Action::Offer { device, commit, mode, until, attempt, .. } => {
                assert_ne!(self.state, RolloutState::Paused, "a paused rollout offers nothing");
                assert!(
                    !matches!(
                        self.state,
                        RolloutState::Halting | RolloutState::Halted | RolloutState::Reverting
                    ),
                    "a halted rollout starts nothing"
                );
                self.offers += 1;
                self.commits.insert(device.clone(), commit);
                self.modes.insert(device.clone(), mode);
                let version = AssignmentVersion(self.next);
                self.next += 1;
                let d = self.device(&device);
                d.offer = Some(Offer {
                    version,
                    at: now,
                    attempts: attempt,
                    until,
                    shadow: mode == Mode::Shadow,
                    committed_at: None,
                    renewed_at: None,
                    halted_at: None,
                    passed_over: false,
                });
                d.state = DeviceState::Update(UpdateState::Offered);
            }
            Action::Device { device, state, code } => {
                let d = self.device(&device);
                match (d.state.standing(), state.standing()) {
                    (Standing::Failed, _) => {}
                    (_, Standing::Failed) => d.failures += 1,
                    (_, Standing::Ok) => d.failures = 0,
                    _ => {}
                }
                (d.state, d.code) = (state, code);
            }
            Action::Commit { device, version } => {
                let d = self.device(&device);
                d.offer.as_mut().unwrap().committed_at = Some(now);
                if d.report
                    .as_ref()
                    .is_some_and(|r| r.version == version && r.state == UpdateState::Probation)
                {
                    d.report.as_mut().unwrap().state = UpdateState::Committed;
                }
            }
            Action::RenewLease { device, .. } => {
                self.device(&device).offer.as_mut().unwrap().renewed_at = Some(now)
            }
            Action::Halt { device, version } => {
                let d = self.device(&device);
                d.offer.as_mut().unwrap().halted_at = Some(now);
                if d.online
                    && let Some(r) =
                        d.report.as_mut().filter(|r| r.version == version && !r.state.is_terminal())
                {
                    (r.state, r.active) = (UpdateState::RolledBack, Some(OLD));
                }
            }
            Action::Revert { device, to } => {
                let version = AssignmentVersion(self.next);
                self.next += 1;
                let d = self.device(&device);
                d.revert = Some(version);
                let stuck = self.stuck.contains(&device);
                let d = self.device(&device);
                if d.online {
                    let (state, active) =
                        if stuck { (UpdateState::Failed, NEW) } else { (UpdateState::Committed, to) };
                    d.report = Some(Report { version, state, code: None, active: Some(active) });
                }
            }
        }
    }
    /// Carries out what is asked, until nothing is.
    pub(super) fn settle(&mut self) {
        for _ in 0..50 {
            let actions: Vec<_> = self.actions();
            if actions.iter().all(|a| matches!(a, Action::Verdict { .. })) {
                actions.into_iter().for_each(|a| self.apply(a));
                return;
            }
            actions.into_iter().for_each(|a| self.apply(a));
            self.check();
        }
        panic!("the executor never comes to rest");
    }
    pub(super) fn check(&self) {
        for (i, wave) in self.plan.waves.iter().enumerate() {
            let offered = self.devices.iter().filter(|d| d.wave == i && d.offer.is_some()).count();
            assert!(wave.cap.is_none_or(|cap| offered <= cap), "exposure is beyond the cap of wave {i}");
            if self.waves[i].state == WaveState::Waiting {
                assert_eq!(offered, 0, "a wave that is not open offers nothing");
            }
        }
    }
    /// Devices react; time passes.
    pub(super) fn pass(&mut self, ms: u64) {
        for d in &mut self.devices {
            let nature = self.natures.get(&d.device).copied().unwrap_or(Nature::Good);
            d.online = nature != Nature::Away;
            let Some(offer) = d.offer.filter(|_| d.online && d.revert.is_none()) else { continue };
            if d.report.as_ref().is_none_or(|r| r.version < offer.version) {
                let local = self.commits.get(&d.device) == Some(&Commit::Local);
                let (state, active) = match nature {
                    _ if offer.until.is_some_and(|until| self.now > until) => (UpdateState::TooLate, OLD),
                    Nature::Fails => (UpdateState::Failed, OLD),
                    _ if offer.shadow => (UpdateState::Shadowing, OLD),
                    _ if local => (UpdateState::Committed, NEW),
                    _ => (UpdateState::Probation, NEW),
                };
                d.report = Some(Report { version: offer.version, state, code: None, active: Some(active) });
            }
            if d.report.as_ref().is_some_and(|r| r.state == UpdateState::Shadowing) {
                d.shadow_rows += if self.mute { 0 } else { 20 };
            }
            if d.report.as_ref().is_some_and(|r| r.active == Some(NEW)) {
                let right = if nature == Nature::Wrong { 12 } else { 20 };
                d.candidate.rows += 20;
                d.candidate.labelled += 20;
                d.candidate.correct += right;
            }
        }
        self.now = self.now.plus_ms(ms);
        self.settle();
    }
    pub(super) fn run(&mut self, seconds: u64) {
        self.settle();
        for _ in 0..seconds * 2 {
            if self.state.is_terminal() || self.state == RolloutState::Paused {
                return;
            }
            self.pass(500);
        }
    }
    /// A person says so.
    pub(super) fn say(&mut self, state: RolloutState) {
        (self.state, self.since) = (state, self.now);
    }
    pub(super) fn wave_states(&self) -> Vec<WaveState> {
        self.waves.iter().map(|w| w.state).collect()
    }
}
