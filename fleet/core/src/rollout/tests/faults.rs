//! Devices that lie, another rollout that wants the same devices, reverts that fail, and why a rollout pauses.

use longshore_trust::AssignmentVersion;

use super::*;
use crate::gate::Tally;

fn gate(text: &str) -> World {
    World::new(make(policy(text), 5), &[])
}

#[test]
fn a_state_that_was_never_offered_is_not_believed() {
    let mut w = gate("on_fail = \"pause\"");
    w.settle();
    let canary = w.devices.iter().find(|d| d.wave == 0).unwrap().device.clone();
    let other = w.devices.iter().find(|d| d.wave == 1).unwrap().device.clone();
    let offered = w.device(&canary).offer.unwrap().version;
    let report = |version, state, active| Some(Report { version, state, code: None, active });
    // It was offered nothing, and says it runs the version.
    w.device(&other).report = report(AssignmentVersion(77), UpdateState::Committed, Some(NEW));
    // It runs something else, and says the version is committed.
    w.device(&canary).report = report(offered, UpdateState::Committed, Some(OLD));
    w.settle();
    assert_eq!(w.device(&other).state, DeviceState::Waiting);
    assert_eq!(w.device(&canary).state, DeviceState::Update(UpdateState::Offered));
    // It was not asked to run it in shadow.
    w.device(&canary).report = report(offered, UpdateState::Shadowing, Some(OLD));
    w.settle();
    assert_eq!(w.device(&canary).state, DeviceState::Update(UpdateState::Offered));
    // An offer of before, whose report comes late, says nothing of the present one.
    w.device(&canary).report = report(AssignmentVersion(0), UpdateState::Failed, Some(OLD));
    w.settle();
    assert_eq!(w.device(&canary).state, DeviceState::Update(UpdateState::Offered));
    w.device(&canary).report = report(offered, UpdateState::Probation, Some(NEW));
    w.settle();
    assert_eq!(w.device(&canary).state, DeviceState::Update(UpdateState::Probation));
}

#[test]
fn a_device_that_another_rollout_has_is_left_alone_and_counts_nowhere() {
    let mut w = gate("on_fail = \"pause\"");
    w.settle();
    w.pass(500);
    let canary = w.devices.iter().find(|d| d.wave == 0).unwrap().device.clone();
    w.device(&canary).held = true;
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
    assert_eq!(w.waves[0].verdict.as_ref().unwrap().counts.out, 1);
    assert!(w.device(&canary).offer.unwrap().committed_at.is_none(), "it was told nothing more");
    w.say(RolloutState::Reverting);
    w.settle();
    assert!(w.device(&canary).revert.is_none());
}

#[test]
fn a_canary_that_another_rollout_has_whole_is_waited_for() {
    let mut w = gate("on_fail = \"pause\"");
    for d in w.devices.iter_mut().filter(|d| d.wave == 0) {
        d.held = true;
    }
    w.run(20);
    assert_eq!((w.state, w.offers), (RolloutState::Running, 0), "the rest gets nothing unproven");
    for d in &mut w.devices {
        d.held = false;
    }
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn a_canary_that_has_left_the_fleet_proves_nothing() {
    let mut w = gate("on_fail = \"pause\"");
    for d in w.devices.iter_mut().filter(|d| d.wave == 0) {
        d.revoked = true;
    }
    w.settle();
    assert_eq!((w.state, w.offers), (RolloutState::Paused, 0));
    assert_eq!(w.pause, Some(PauseReason::Quorum), "{}", w.reason);
}

#[test]
fn a_pause_says_for_machines_why() {
    let mut w =
        World::new(make(policy("max_failed_devices = 0\non_fail = \"pause\""), 5), &[Nature::Fails; 5]);
    w.run(60);
    assert_eq!((w.state, w.pause), (RolloutState::Paused, Some(PauseReason::ErrorBudget)), "{}", w.reason);
    let mut w = World::new(make(policy("on_fail = \"pause\""), 5), &[Nature::Away; 5]);
    w.run(120);
    assert_eq!((w.state, w.pause), (RolloutState::Paused, Some(PauseReason::Quorum)), "{}", w.reason);
    let mut w = World::new(make(policy("min_rows = 1000000\non_fail = \"pause\""), 5), &[]);
    w.run(120);
    assert_eq!((w.state, w.pause), (RolloutState::Paused, Some(PauseReason::Gate)), "{}", w.reason);
}

#[test]
fn a_device_that_keeps_failing_where_others_succeed_is_put_into_quarantine() {
    let mut natures = [Nature::Good; 20];
    natures[3] = Nature::Fails;
    let mut w = World::new(make(policy("on_fail = \"pause\""), 20), &natures);
    w.device(&id(3)).failures = 2;
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
    assert!(w.device(&id(3)).quarantined);
    assert_eq!(w.devices.iter().filter(|d| d.quarantined).count(), 1);
}

#[test]
fn a_version_that_nobody_can_run_puts_nobody_into_quarantine() {
    let mut w = World::new(make(policy("on_fail = \"pause\""), 5), &[Nature::Fails; 5]);
    for d in &mut w.devices {
        d.failures = 5;
    }
    w.run(60);
    assert_eq!(w.state, RolloutState::Paused);
    assert!(w.devices.iter().all(|d| !d.quarantined));
}

#[test]
fn a_quarantined_device_is_offered_nothing_and_holds_nothing_open() {
    let mut w = gate("on_fail = \"pause\"");
    w.device(&id(2)).quarantined = true;
    w.run(60);
    assert_eq!((w.state, w.offers), (RolloutState::Completed, 4), "{}", w.reason);
    assert!(w.device(&id(2)).offer.is_none());
}

/// A rollout of forty devices that run the version, about to be taken back.
fn going_back() -> World {
    let mut w = World::new(make(policy("on_fail = \"pause\""), 40), &[]);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
    w.say(RolloutState::Reverting);
    w
}

#[test]
fn a_revert_is_planned_and_goes_to_a_few_devices_first() {
    let mut w = going_back();
    let actions = w.actions();
    assert_eq!(actions, [Action::PlanRevert { gated: true }]);
    w.apply(actions[0].clone());
    let plan = w.revert.clone().unwrap();
    assert_eq!(plan.waves.iter().map(Vec::len).collect::<Vec<_>>(), [2, 38]);
    assert_eq!((&plan.parent, plan.parent_hash, plan.devices()), (&w.plan.id, w.plan.hash, 40));
    let first = w.actions();
    assert_eq!(first.len(), 2, "{first:?}");
    w.settle();
    w.pass(500);
    assert_eq!(w.state, RolloutState::Reverted, "{}", w.reason);
    assert!(w.devices.iter().all(|d| d.state == DeviceState::Update(UpdateState::RolledBack)));
}

#[test]
fn a_revert_that_fails_on_the_first_devices_goes_no_further_until_a_person_says_so() {
    let mut w = going_back();
    let actions = w.actions();
    w.apply(actions[0].clone());
    w.stuck = w.revert.as_ref().unwrap().waves[0].iter().map(|t| t.device.clone()).collect();
    w.settle();
    w.pass(500);
    assert_eq!((w.state, w.pause), (RolloutState::Paused, Some(PauseReason::Gate)), "{}", w.reason);
    assert_eq!(w.devices.iter().filter(|d| d.revert.is_some()).count(), 2);
    // The person found out why, and says: go on with all.
    w.stuck.clear();
    w.pass(1_000);
    w.say(RolloutState::Reverting);
    w.settle();
    assert_eq!(w.revert.as_ref().unwrap().waves.len(), 1);
    w.pass(500);
    assert_eq!(w.state, RolloutState::Reverted, "{}", w.reason);
    assert!(w.devices.iter().all(|d| d.state == DeviceState::Update(UpdateState::RolledBack)));
}

#[test]
fn what_is_not_committed_of_a_superseded_rollout_is_revoked() {
    let mut w = gate("min_rows = 1000\non_fail = \"pause\"");
    w.settle();
    w.pass(500);
    w.say(RolloutState::Superseded);
    let halts = w.actions();
    assert_eq!(halts.len(), 2, "{halts:?}");
    assert!(halts.iter().all(|a| matches!(a, Action::Halt { .. })));
    w.settle();
    assert!(w.actions().is_empty());
}

#[test]
fn a_step_over_many_devices_that_do_nothing_says_nothing() {
    let mut w = World::new(make(policy("min_rows = 100000000\non_fail = \"pause\""), 3_000), &[]);
    w.settle();
    w.pass(500);
    assert!(w.actions().iter().all(|a| matches!(a, Action::Verdict { .. })));
}

#[test]
fn what_a_backup_says_of_a_device_counts_once_it_has_told_what_it_did_since() {
    let mut w = gate("on_fail = \"pause\"");
    w.settle();
    w.pass(500);
    assert_eq!(w.waves[0].state, WaveState::Soaking);
    // The backup is put back: nobody has spoken since.
    w.devices.iter_mut().for_each(|d| d.untold = true);
    for _ in 0..20 {
        w.pass(500);
    }
    assert_eq!(w.waves[0].state, WaveState::Judging, "rows and time are there, devices are not");
    assert_eq!(w.waves[0].verdict.as_ref().unwrap().counts.ok, 0);
    assert_eq!(w.offers, 2, "whoever has not told what it runs is offered nothing");
    w.devices.iter_mut().for_each(|d| d.untold = false);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn a_device_that_runs_the_version_by_an_assignment_of_which_the_record_knows_nothing_is_asked_anew() {
    let mut w = gate("on_fail = \"pause\"");
    w.settle();
    w.pass(500);
    let canary = w.devices.iter().find(|d| d.wave == 0).unwrap().device.clone();
    let offered = w.device(&canary).offer.unwrap().version;
    w.next = 100;
    let later = |state, active| Some(Report { version: AssignmentVersion(50), state, code: None, active });
    // It is on its way somewhere: that is waited for.
    w.device(&canary).report = later(UpdateState::Downloading, Some(OLD));
    w.settle();
    assert_eq!(w.device(&canary).state, DeviceState::Update(UpdateState::Probation));
    assert_eq!(w.waves[0].verdict.as_ref().unwrap().counts.ok, 1, "it is no success meanwhile");
    w.device(&canary).report = later(UpdateState::Committed, Some(NEW));
    w.settle();
    let offer = w.device(&canary).offer.unwrap();
    assert!(
        offer.version > offered && offer.version.0 > 50,
        "it is asked with a number that it does not know"
    );
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
    // Of an assignment that the record knows, a later rollout's or one for a new board, a complete one asks nothing.
    w.device(&canary).report.as_mut().unwrap().version = AssignmentVersion(900);
    w.device(&canary).assigned = AssignmentVersion(900);
    assert!(w.actions().is_empty(), "{:?}", w.actions());
    w.device(&canary).assigned = AssignmentVersion(899);
    assert!(!w.actions().is_empty(), "and of one that it does not know it asks");
}

#[test]
fn one_device_of_two_that_cannot_go_back_does_not_keep_the_others_from_it() {
    let mut w = going_back();
    let actions = w.actions();
    w.apply(actions[0].clone());
    let stuck = w.revert.as_ref().unwrap().waves[0][0].device.clone();
    w.stuck.insert(stuck.clone());
    w.settle();
    w.pass(500);
    assert_eq!(w.state, RolloutState::Reverted, "{}", w.reason);
    let back = DeviceState::Update(UpdateState::RolledBack);
    assert_eq!(w.devices.iter().filter(|d| d.state == back).count(), 39);
    assert_eq!(w.device(&stuck).state, DeviceState::Update(UpdateState::UnableToRollBack));
}

#[test]
fn whoever_never_saw_the_revert_is_told_again_after_it_has_ended() {
    let mut w = going_back();
    w.natures.insert(id(7), Nature::Away);
    w.pass(500);
    w.pass(20_000);
    assert_eq!(w.state, RolloutState::Reverted, "{}", w.reason);
    assert!(w.actions().is_empty(), "it waits to be fetched");
    // It has taken an assignment of another model since, and will refuse the one that waits.
    w.device(&id(7)).revert = None;
    assert_eq!(w.actions(), [Action::Revert { device: id(7), to: OLD }]);
    // It runs something else meanwhile, or another rollout has it.
    let mut other = w.device(&id(7)).clone();
    other.report.as_mut().unwrap().active = Some(OLD);
    let asleep = std::mem::replace(w.device(&id(7)), other);
    assert!(w.actions().is_empty());
    *w.device(&id(7)) = DeviceFact { held: true, ..asleep };
    assert!(w.actions().is_empty());
}

#[test]
fn a_device_that_another_rollout_had_for_a_while_has_not_failed_and_is_asked_again() {
    let mut w = gate("max_failed_devices = 0\non_fail = \"revert\"");
    w.settle();
    w.pass(500);
    let canary = w.devices.iter().find(|d| d.wave == 0).unwrap().device.clone();
    let offer = w.device(&canary).offer.unwrap();
    w.next = 100;
    w.device(&canary).held = true;
    w.device(&canary).report = Some(Report {
        version: offer.version,
        state: UpdateState::RolledBack,
        code: Some("superseded".into()),
        active: Some(OLD),
    });
    w.settle();
    // That one was taken back: the device is free again.
    w.device(&canary).held = false;
    w.settle();
    assert_eq!(w.state, RolloutState::Running, "{}", w.reason);
    let again = w.device(&canary).offer.unwrap();
    assert!(again.version > offer.version && again.attempts == 2);
    w.run(60);
    assert_eq!(w.state, RolloutState::Completed, "{}", w.reason);
}

#[test]
fn what_a_device_counted_that_has_left_the_fleet_passes_no_wave() {
    let mut w = gate("accuracy_drop = 0.2\nmin_labelled = 200\non_fail = \"pause\"");
    w.settle();
    w.pass(500);
    let canaries: Vec<_> = w.devices.iter().filter(|d| d.wave == 0).map(|d| d.device.clone()).collect();
    w.device(&canaries[0]).candidate = Tally { rows: 900, errors: 0, labelled: 900, correct: 890 };
    w.device(&canaries[0]).revoked = true;
    while w.waves[0].state != WaveState::Passed {
        assert_eq!(w.state, RolloutState::Running, "{}", w.reason);
        w.pass(500);
    }
    assert!(w.device(&canaries[1]).candidate.labelled >= 200, "{:?}", w.device(&canaries[1]).candidate);
}
