//! The executor against a small world.

mod faults;
mod pacing;
mod world;

use std::collections::BTreeMap;

use longshore_wire::v1::{Commit, UpdateState};
use proptest::prelude::*;

use self::world::{NEW, Nature, OLD, World, id, make, policy};
use super::*;

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
fn a_wave_that_still_soaks_at_its_deadline_is_inconclusive_and_says_so() {
    let mut policy = policy("on_fail = \"revert\"");
    policy.waves[0].soak_ms = 60_000;
    let mut w = World::new(make(policy, 5), &[]);
    w.run(120);
    assert_eq!((w.state, w.waves[0].state), (RolloutState::Paused, WaveState::Inconclusive));
    assert!(w.reason.contains("all gates hold, but it was still soaking at its deadline"), "{}", w.reason);
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
fn an_offer_that_ran_out_unheard_is_made_again_when_the_device_is_back() {
    let plan = make(policy("on_fail = \"pause\""), 6);
    let away = plan.waves[1].devices[0].device.clone();
    let mut w = World::new(plan, &[]);
    w.natures.insert(away.clone(), Nature::Away);
    w.run(60);
    assert_eq!((w.state, w.offers), (RolloutState::Completed, 6));
    for _ in 0..10 {
        w.pass(OFFER_GOOD_FOR_MS + 1);
    }
    assert_eq!(w.offers, 6, "nothing is signed again and again for a device that nobody hears of");
    w.device(&away).online = true;
    w.settle();
    assert_eq!(w.offers, 7);
    assert_eq!(w.device(&away).offer.unwrap().attempts, 1, "its sleep uses up no attempt");
    w.natures.insert(away.clone(), Nature::Good);
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
    w.say(RolloutState::Halting);
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
    w.say(RolloutState::Halting);
    w.pass(500);
    assert_eq!(w.state, RolloutState::Halting);
    w.pass(20_000);
    assert_eq!(w.state, RolloutState::Halted);
    assert!(w.reason.contains("2 devices have not answered"), "{}", w.reason);
}

#[test]
fn a_paused_rollout_keeps_leases_and_offers_nothing() {
    let mut w = World::new(make(policy("min_rows = 100000\non_fail = \"pause\""), 5), &[]);
    w.settle();
    w.pass(500);
    w.say(RolloutState::Paused);
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
    w.say(RolloutState::Running);
    let before = w.offers;
    w.settle();
    assert!(w.offers > before);
    w.pass(500);
    let canaries: Vec<_> = w.devices.iter().filter(|d| d.wave == 0).collect();
    assert!(canaries.iter().all(|d| d.report.as_ref().unwrap().active == Some(NEW)));
    assert_eq!(w.waves[1].state, WaveState::Offering.max(w.waves[1].state));
}

#[test]
fn the_step_that_stops_a_rollout_offers_nothing_any_more() {
    for then in ["pause", "halt", "revert"] {
        let mut w =
            World::new(make(policy(&format!("max_failed_devices = 0\non_fail = \"{then}\"")), 5), &[]);
        let of_wave = |w: &World, wave| -> Vec<_> {
            w.devices.iter().filter(|d| d.wave == wave).map(|d| d.device.clone()).collect()
        };
        for device in of_wave(&w, 1) {
            w.natures.insert(device.clone(), Nature::Away);
            w.device(&device).online = false;
        }
        for _ in 0..20 {
            w.pass(500);
        }
        assert_eq!(w.wave_states(), [WaveState::Passed, WaveState::Offering]);
        // A device of the wave that passed wants the version once more, and the open wave fails.
        let lapsed = of_wave(&w, 0)[0].clone();
        let d = w.device(&lapsed);
        d.state = DeviceState::Waiting;
        let offers = |w: &World| w.actions().iter().filter(|a| matches!(a, Action::Offer { .. })).count();
        assert_eq!(offers(&w), 1, "{then}: it would be offered it");
        for device in of_wave(&w, 1) {
            let d = w.device(&device);
            let version = d.offer.unwrap().version;
            d.report = Some(Report { version, state: UpdateState::Failed, code: None, active: Some(OLD) });
        }
        let stops = w.actions().iter().any(|a| matches!(a, Action::Rollout { .. }));
        assert!(stops, "{then}: {:?}", w.actions());
        assert_eq!(offers(&w), 0, "{then}");
    }
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
fn a_device_that_has_gone_on_without_this_record_is_no_success() {
    // Recorded as on probation; then a backup was put back, and the device says that it runs the version before.
    let mut d = DeviceFact::new(id(0), 0);
    d.state = DeviceState::Update(UpdateState::Probation);
    d.offer = Some(Offer {
        version: longshore_trust::AssignmentVersion(1),
        at: longshore_trust::UnixMs(1),
        attempts: 1,
        committed_at: None,
        renewed_at: None,
        halted_at: None,
        until: None,
        shadow: false,
        passed_over: false,
    });
    d.report = Some(Report {
        version: longshore_trust::AssignmentVersion(9),
        state: UpdateState::Committed,
        code: None,
        active: Some(OLD),
    });
    let mut w =
        World::new(make(policy("on_fail = \"pause\""), 3), &[Nature::Away, Nature::Away, Nature::Away]);
    w.settle();
    let at = w.devices.iter().position(|f| f.wave == 0).unwrap();
    d.device = w.devices[at].device.clone();
    w.devices[at] = d;
    w.settle();
    assert_eq!(w.devices[at].state, DeviceState::Update(UpdateState::Cancelled));
    assert_eq!(w.devices[at].code.as_deref(), Some("fleet.behind_device"));
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
    assert_eq!(
        w.state,
        RolloutState::Paused,
        "a wave of which nobody is left waits for nobody: {}",
        w.reason
    );
    w.say(RolloutState::Halting);
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
                w.say(RolloutState::Halting);
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
