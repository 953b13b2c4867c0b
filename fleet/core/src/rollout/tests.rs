//! The executor against a small world: devices that obey, fail, sleep or lie low, and a store that applies actions.

use std::collections::{BTreeMap, BTreeSet};

use longshore_bundle::Requires;
use longshore_trust::{AssignmentVersion, DeviceId, Digest, Generation, ReleaseCounter, UnixMs};
use longshore_wire::v1::{Commit, UpdateState};
use proptest::prelude::*;

use super::*;
use crate::gate::Tally;
use crate::plan::{Candidate, Plan, Request, plan};
use crate::policy::Policy;

const NEW: Digest = Digest([2; 32]);
const OLD: Digest = Digest([1; 32]);

fn id(n: usize) -> DeviceId {
    DeviceId::new(format!("dev-{n}")).unwrap()
}

fn candidate(n: usize) -> Candidate {
    Candidate {
        device: id(n),
        labels: BTreeMap::new(),
        arch: None,
        agent: None,
        memory_mb: None,
        features: vec![],
        online: true,
        active: Some(OLD),
        active_counter: Some(ReleaseCounter(1)),
    }
}

fn policy(gate: &str) -> Policy {
    Policy::parse(&format!(
        "name = \"p\"\n[[wave]]\nselect = {{ count = 2 }}\nsoak = \"2s\"\nlease = \"30s\"\n[[wave]]\nselect = {{ rest = true }}\nsoak = \"1s\"\n\
         [gate]\nsuccess = 0.9\ndeadline = \"60s\"\n{gate}\n"
    ))
    .unwrap()
}

fn make(policy: Policy, devices: usize) -> Plan {
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
enum Nature {
    Good,
    Fails,
    Away,
    /// Comes up, but answers wrongly.
    Wrong,
}

struct World {
    plan: Plan,
    state: RolloutState,
    since: UnixMs,
    reason: String,
    waves: Vec<WaveFact>,
    devices: Vec<DeviceFact>,
    natures: BTreeMap<DeviceId, Nature>,
    commits: BTreeMap<DeviceId, Commit>,
    late: Vec<LateDevice>,
    now: UnixMs,
    next: u64,
    offers: usize,
}

impl World {
    fn new(plan: Plan, natures: &[Nature]) -> Self {
        let devices = plan
            .waves
            .iter()
            .enumerate()
            .flat_map(|(wave, w)| w.devices.iter().map(move |d| (wave, d)))
            .map(|(wave, d)| DeviceFact {
                device: d.device.clone(),
                wave,
                state: DeviceState::Waiting,
                code: None,
                offer: None,
                report: None,
                online: true,
                revoked: false,
                previous: d.previous,
                candidate: Tally::default(),
                champion: Some(Tally { rows: 1000, errors: 0, labelled: 1000, correct: 970 }),
                revert: None,
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
            plan,
        }
    }
    fn actions(&self) -> Vec<Action> {
        let facts = Facts {
            plan: &self.plan,
            state: self.state,
            since: self.since,
            waves: self.waves.clone(),
            devices: self.devices.clone(),
            late: self.late.clone(),
        };
        let now = step(self.now, &facts);
        assert_eq!(now, step(self.now, &facts), "the same facts give the same answer");
        now
    }
    fn device(&mut self, device: &DeviceId) -> &mut DeviceFact {
        self.devices.iter_mut().find(|d| d.device == *device).unwrap()
    }
    fn apply(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::Rollout { state, reason } => (self.state, self.reason, self.since) = (state, reason, now),
            Action::Wave { wave, state } => {
                let w = &mut self.waves[wave];
                (w.state, w.since) = (state, now);
                if state == WaveState::Offering {
                    w.opened = Some(now);
                }
            }
            Action::Verdict { wave, verdict } => self.waves[wave].verdict = Some(verdict),
            Action::Admit { device, wave, previous, champion } => {
                self.late.retain(|l| l.device != device);
                let champion = champion.map(|_| Tally::default());
                let fact = DeviceFact { device, wave, previous, champion, ..self.devices[0].clone() };
                let fact = DeviceFact { state: DeviceState::Waiting, offer: None, report: None, ..fact };
                self.devices.push(fact);
            }
            Action::Offer { device, commit, .. } => {
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
                let version = AssignmentVersion(self.next);
                self.next += 1;
                let d = self.device(&device);
                let attempts = d.offer.map_or(0, |o| o.attempts) + 1;
                d.offer = Some(Offer {
                    version,
                    at: now,
                    attempts,
                    committed_at: None,
                    renewed_at: None,
                    halted_at: None,
                    passed_over: false,
                });
                d.state = DeviceState::Update(UpdateState::Offered);
            }
            Action::Device { device, state, code } => {
                let d = self.device(&device);
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
                if d.online {
                    d.report =
                        Some(Report { version, state: UpdateState::Committed, code: None, active: Some(to) });
                }
            }
        }
    }
    /// Carries out what is asked, until nothing is.
    fn settle(&mut self) {
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
    fn check(&self) {
        for (i, wave) in self.plan.waves.iter().enumerate() {
            let offered = self.devices.iter().filter(|d| d.wave == i && d.offer.is_some()).count();
            assert!(wave.cap.is_none_or(|cap| offered <= cap), "exposure is beyond the cap of wave {i}");
            if self.waves[i].state == WaveState::Waiting {
                assert_eq!(offered, 0, "a wave that is not open offers nothing");
            }
        }
    }
    /// Devices react; time passes.
    fn pass(&mut self, ms: u64) {
        for d in &mut self.devices {
            let nature = self.natures.get(&d.device).copied().unwrap_or(Nature::Good);
            d.online = nature != Nature::Away;
            let Some(offer) = d.offer.filter(|_| d.online && d.revert.is_none()) else { continue };
            if d.report.as_ref().is_none_or(|r| r.version < offer.version) {
                let local = self.commits.get(&d.device) == Some(&Commit::Local);
                let (state, active) = match nature {
                    Nature::Fails => (UpdateState::Failed, OLD),
                    _ if local => (UpdateState::Committed, NEW),
                    _ => (UpdateState::Probation, NEW),
                };
                d.report = Some(Report { version: offer.version, state, code: None, active: Some(active) });
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
    fn run(&mut self, seconds: u64) {
        self.settle();
        for _ in 0..seconds * 2 {
            if self.state.is_terminal() || self.state == RolloutState::Paused {
                return;
            }
            self.pass(500);
        }
    }
    fn wave_states(&self) -> Vec<WaveState> {
        self.waves.iter().map(|w| w.state).collect()
    }
}

const REVERT: &str = "accuracy_drop = 0.02\nmin_rows = 40\non_fail = \"revert\"";

#[test]
fn a_good_version_goes_everywhere() {
    let mut w = World::new(make(policy(REVERT), 5), &[]);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
    assert_eq!(w.wave_states(), [WaveState::Passed; 2]);
    assert!(w.devices.iter().all(|d| d.state == DeviceState::Update(UpdateState::Committed)));
    assert_eq!(w.offers, 5);
    let leases = w.commits.values().filter(|c| matches!(c, Commit::Lease { .. })).count();
    assert_eq!(leases, 2, "canaries commit on the fleet's word, the others by themselves");
}

#[test]
fn a_wrong_version_is_taken_back_from_the_canary_alone() {
    let mut w = World::new(make(policy(REVERT), 5), &[Nature::Wrong; 5]);
    w.run(60);
    assert_eq!(w.state, RolloutState::Reverted, "{}", w.reason);
    assert_eq!(w.wave_states(), [WaveState::Failed, WaveState::Waiting]);
    assert_eq!(w.offers, 2, "nobody but the canaries was offered it");
    let back = DeviceState::Update(UpdateState::RolledBack);
    assert_eq!(w.devices.iter().filter(|d| d.state == back).count(), 2);
    assert!(w.waves[0].verdict.as_ref().unwrap().reasons().contains("accuracy fell"));
}

#[test]
fn devices_that_fail_stop_the_wave() {
    let mut w = World::new(make(policy("on_fail = \"pause\""), 5), &[Nature::Fails; 5]);
    w.run(60);
    assert_eq!(w.state, RolloutState::Paused);
    assert!(w.reason.starts_with("gate: wave 0 failed"), "{}", w.reason);
    assert_eq!(w.offers, 2);
}

#[test]
fn without_evidence_the_deadline_makes_it_inconclusive() {
    let mut w = World::new(make(policy("min_rows = 1000000\non_fail = \"revert\""), 5), &[]);
    w.run(120);
    assert_eq!((w.state, w.waves[0].state), (RolloutState::Paused, WaveState::Inconclusive));
    assert!(w.reason.contains("not by the deadline"), "{}", w.reason);
}

#[test]
fn devices_that_are_away_do_not_hold_the_last_wave_open_and_get_it_later() {
    let mut natures = vec![Nature::Good; 6];
    let plan = make(policy("on_fail = \"pause\""), 6);
    let away = plan.waves[1].devices[0].device.clone();
    let n: usize = away.as_str().trim_start_matches("dev-").parse().unwrap();
    natures[n] = Nature::Away;
    let mut w = World::new(plan, &natures);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
    assert_eq!(w.waves[1].verdict.as_ref().unwrap().counts.unreachable, 1);
    w.natures.insert(away.clone(), Nature::Good);
    w.pass(500);
    w.pass(500);
    assert_eq!(w.device(&away).state, DeviceState::Update(UpdateState::Committed));
}

#[test]
fn a_canary_that_was_away_is_committed_when_it_comes_after_its_wave_has_passed() {
    let plan = make(policy("min_devices = 1\non_fail = \"pause\""), 5);
    let away = plan.waves[0].devices[0].device.clone();
    let n: usize = away.as_str().trim_start_matches("dev-").parse().unwrap();
    let mut natures = vec![Nature::Good; 5];
    natures[n] = Nature::Away;
    let mut w = World::new(plan, &natures);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed);
    w.natures.insert(away.clone(), Nature::Good);
    w.pass(500);
    w.pass(500);
    assert_eq!(w.device(&away).state, DeviceState::Update(UpdateState::Committed));
}

#[test]
fn a_halted_rollout_revokes_and_starts_nothing() {
    let mut w = World::new(make(policy("min_rows = 1000\non_fail = \"pause\""), 5), &[]);
    w.settle();
    w.pass(500);
    (w.state, w.since) = (RolloutState::Halting, w.now);
    let before = w.offers;
    w.settle();
    w.pass(500);
    assert_eq!(w.state, RolloutState::Halted);
    for _ in 0..20 {
        w.pass(5_000);
    }
    assert_eq!(w.offers, before);
    assert!(w.devices.iter().all(|d| d.report.as_ref().is_none_or(|r| r.active == Some(OLD))));
}

#[test]
fn a_halt_does_not_wait_for_ever_for_devices_that_are_away() {
    let mut w = World::new(make(policy("on_fail = \"pause\""), 3), &[Nature::Away; 3]);
    w.settle();
    (w.state, w.since) = (RolloutState::Halting, w.now);
    w.pass(500);
    assert_eq!(w.state, RolloutState::Halting);
    w.pass(20_000);
    assert_eq!(w.state, RolloutState::Halted);
    assert!(w.reason.contains("2 device(s) have not answered"), "{}", w.reason);
}

#[test]
fn a_paused_rollout_keeps_leases_and_offers_nothing() {
    let mut w = World::new(make(policy("min_rows = 100000\non_fail = \"pause\""), 5), &[]);
    w.settle();
    w.pass(500);
    (w.state, w.since) = (RolloutState::Paused, w.now);
    let before = w.offers;
    w.late.push(LateDevice {
        device: id(9),
        labels: BTreeMap::new(),
        previous: Some(OLD),
        champion: Some(OLD),
    });
    w.pass(11_000);
    assert_eq!((w.state, w.offers, w.late.len()), (RolloutState::Paused, before, 1));
    assert!(w.devices.iter().filter(|d| d.wave == 0).all(|d| d.offer.unwrap().renewed_at.is_some()));
    w.now = w.now.plus_ms(8 * 86_400_000);
    w.settle();
    assert_eq!(w.state, RolloutState::Halted, "nothing waits for ever");
}

#[test]
fn late_devices_never_enter_a_full_canary_and_pass_through_the_rest() {
    let mut w = World::new(make(policy("on_fail = \"pause\""), 5), &[]);
    w.settle();
    w.late.push(LateDevice {
        device: id(9),
        labels: BTreeMap::new(),
        previous: Some(OLD),
        champion: Some(OLD),
    });
    w.pass(100);
    assert_eq!(w.device(&id(9)).wave, 1);
    assert_eq!(w.device(&id(9)).state, DeviceState::Waiting);
    w.run(60);
    assert_eq!(w.device(&id(9)).state, DeviceState::Update(UpdateState::Committed));
    w.late.push(LateDevice { device: id(10), labels: BTreeMap::new(), previous: None, champion: None });
    w.pass(500);
    w.pass(500);
    assert_eq!(
        w.device(&id(10)).state,
        DeviceState::Update(UpdateState::Committed),
        "a new device gets what all have"
    );
}

#[test]
fn a_skipped_wave_is_kept_and_a_lapsed_lease_is_offered_again() {
    let mut w = World::new(make(policy("min_rows = 1000000\non_fail = \"pause\""), 5), &[]);
    w.run(120);
    assert_eq!(w.state, RolloutState::Paused);
    let lapsed = w.devices.iter().find(|d| d.wave == 0).unwrap().device.clone();
    let d = w.device(&lapsed);
    let r = d.report.as_mut().unwrap();
    (r.state, r.code, r.active) = (UpdateState::RolledBack, Some("lease.lapsed".into()), Some(OLD));
    w.waves[0].skipped = true;
    (w.state, w.since) = (RolloutState::Running, w.now);
    let before = w.offers;
    w.settle();
    assert!(w.offers > before);
    w.pass(500);
    let canaries: Vec<_> = w.devices.iter().filter(|d| d.wave == 0).collect();
    assert!(canaries.iter().all(|d| d.report.as_ref().unwrap().active == Some(NEW)));
    assert_eq!(w.waves[1].state, WaveState::Offering.max(w.waves[1].state));
}

#[test]
fn leases_that_lapse_while_the_fleet_is_away_fail_no_wave() {
    let mut w = World::new(make(policy("max_failed_devices = 0\non_fail = \"revert\""), 5), &[]);
    w.settle();
    w.pass(500);
    w.pass(500);
    let canaries: Vec<_> = w.devices.iter().filter(|d| d.wave == 0).map(|d| d.device.clone()).collect();
    for canary in &canaries {
        let r = w.device(canary).report.as_mut().unwrap();
        (r.state, r.code, r.active) = (UpdateState::RolledBack, Some("lease.lapsed".into()), Some(OLD));
    }
    let before = w.offers;
    w.pass(500);
    assert_eq!(w.state, RolloutState::Running, "{}", w.reason);
    assert_eq!(w.offers, before + canaries.len(), "they are offered it once more");
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn a_revoked_device_holds_nothing_open() {
    let mut w =
        World::new(make(policy("on_fail = \"pause\""), 3), &[Nature::Away, Nature::Away, Nature::Away]);
    w.settle();
    for d in &mut w.devices {
        d.revoked = true;
    }
    w.settle();
    assert!(w.devices.iter().all(|d| d.state == DeviceState::Update(UpdateState::Decommissioned)));
    (w.state, w.since) = (RolloutState::Halting, w.now);
    w.settle();
    assert_eq!(w.state, RolloutState::Halted);
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![4 => Just(Nature::Good), 1 => Just(Nature::Fails), 1 => Just(Nature::Away), 1 => Just(Nature::Wrong)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    /// Whatever devices do and whenever a person halts it, every rollout ends, within its waves' caps (checked at every
    /// step), and what was taken back stays back.
    #[test]
    fn every_rollout_ends(
        natures in proptest::collection::vec(nature(), 1..12),
        on_fail in prop_oneof![Just("pause"), Just("halt"), Just("revert")],
        halt_at in proptest::option::of(0u64..40),
        late in 0usize..3,
    ) {
        let gate = format!("accuracy_drop = 0.05\nmin_labelled = 50\nmin_devices = 1\nmax_failed_devices = 1\non_fail = \"{on_fail}\"");
        let mut w = World::new(make(policy(&gate), natures.len()), &natures);
        for n in 0..late {
            w.late.push(LateDevice { device: id(50 + n), labels: BTreeMap::new(), previous: Some(OLD), champion: Some(OLD) });
        }
        w.settle();
        for second in 0..4000u64 {
            if w.state.is_terminal() {
                break;
            }
            if halt_at == Some(second) && w.state == RolloutState::Running {
                (w.state, w.since) = (RolloutState::Halting, w.now);
            }
            if w.state == RolloutState::Paused {
                // Nobody cares for it.
                w.now = w.now.plus_ms(8 * 86_400_000);
            }
            w.pass(1000);
        }
        prop_assert!(w.state.is_terminal(), "{} {}", w.state, w.reason);
        if matches!(w.state, RolloutState::Halted | RolloutState::Reverted) {
            let offers = w.offers;
            for _ in 0..20 {
                w.pass(60_000);
            }
            prop_assert_eq!(w.offers, offers, "it starts nothing more");
        }
        if w.state == RolloutState::Reverted {
            for d in w.devices.iter().filter(|d| d.online && d.offer.is_some()) {
                prop_assert_ne!(d.report.as_ref().and_then(|r| r.active), Some(NEW));
            }
        }
    }
}

#[test]
fn an_offer_that_was_passed_over_is_made_again() {
    let mut w = World::new(make(policy("on_fail = \"pause\""), 3), &[]);
    w.settle();
    let before = w.offers;
    w.devices[0].offer.as_mut().unwrap().passed_over = true;
    w.settle();
    assert_eq!(w.offers, before + 1);
}
