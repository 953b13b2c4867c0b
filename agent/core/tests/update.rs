//! Behaviour of the update state machine, one name a behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod twin;

use longshore_agent_core::assignment::reason;
use longshore_agent_core::guard::Sample;
use longshore_agent_core::update::{FetchFailure, Input, Output, Phase, RollbackTo};
use longshore_trust::{AssignmentVersion, Generation, ReleaseCounter, UnixMs};
use longshore_wire::v1::UpdateState::{self, *};
use longshore_wire::v1::{Assignment, Command, CommandAction, Commit};
use twin::*;

const LEASE: Commit = Commit::Lease { lease_ms: 60_000 };

fn start(t: &mut Twin, version: u64, n: u64, commit: Commit) {
    t.feed(assigned(header(1, version), assignment(version, n, commit)));
}

#[test]
fn a_bundle_goes_all_the_way_to_committed() {
    let mut t = Twin::new();
    t.install(1, 1);
    assert_eq!(
        t.states(1),
        [Offered, Accepted, Downloading, Verified, Staged, UpdateState::Trial, Probation, Committed]
    );
    assert_eq!(t.record().active.as_ref().unwrap().bundle, bundle(1));
    assert_eq!(t.record().floor, ReleaseCounter(1));
    assert_eq!(t.serving, Some(bundle(1)));
}
#[test]
fn the_same_assignment_again_is_harmless_and_the_same_bundle_is_already_there() {
    let mut t = Twin::new();
    t.install(1, 1);
    let before = t.disk.reports.len();
    start(&mut t, 1, 1, Commit::Local);
    t.settle();
    assert_eq!(t.disk.reports.len(), before);
    t.install(2, 1);
    assert_eq!(t.states(1).last(), Some(&Already));
}
#[test]
fn an_assignment_that_disagrees_with_targets_is_refused_whole() {
    for field in 0..4 {
        let mut t = Twin::new();
        let mut a = assignment(1, 1, Commit::Local);
        match field {
            0 => a.slots[0].sha256 = bundle(7),
            1 => a.slots[0].length += 1,
            2 => a.slots[0].release_counter = ReleaseCounter(2),
            _ => a.slots[0].manifest_path = "digits/77.0.0/manifest.json".into(),
        }
        t.feed(assigned(header(1, 1), a));
        t.pass(10_000);
        assert_eq!(t.disk.reports.last().unwrap().1, Rejected, "field {field}");
        assert_eq!(t.disk.assigned.0, 0, "it was not accepted");
        assert!(t.record_or_none().is_none_or(|r| r.update.is_none()));
    }
}
#[test]
fn assignments_for_others_or_out_of_time_are_refused() {
    let mut t = Twin::new();
    let mut other = header(1, 1);
    other.device = "dev-2".parse().unwrap();
    t.feed(assigned(other, assignment(1, 1, Commit::Local)));
    let mut fleet = header(1, 1);
    fleet.fleet = "theirs".parse().unwrap();
    t.feed(assigned(fleet, assignment(2, 1, Commit::Local)));
    t.now = T0.plus_ms(7_200_001);
    start(&mut t, 3, 1, Commit::Local);
    t.settle();
    assert!(t.disk.reports.is_empty());
    assert_eq!(t.disk.assigned.0, 0);
}
#[test]
fn a_lower_release_counter_needs_a_signed_way_back_from_what_runs() {
    let mut t = Twin::new();
    t.install(1, 3);
    t.install(2, 1);
    assert_eq!(t.states(1).last(), Some(&Rejected), "only 3 -> 2 is signed");
    assert_eq!(t.serving, Some(bundle(3)));
    t.install(3, 2);
    assert_eq!(t.states(2).last(), Some(&Committed));
    assert_eq!(t.record().floor, ReleaseCounter(3), "the floor never falls");
}
#[test]
fn a_bundle_for_other_hardware_is_rejected() {
    let mut t = Twin::new();
    t.view.targets.get_mut(&path(1)).unwrap().hw = vec!["arm".into()];
    t.install(1, 1);
    assert_eq!(t.states(1).last(), Some(&Rejected));
}
#[test]
fn a_failed_trial_changes_nothing_that_serves() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.bad.insert(bundle(2));
    t.install(2, 2);
    assert_eq!(t.states(2).last(), Some(&Failed));
    assert_eq!(t.serving, Some(bundle(1)));
    assert_eq!(t.record().floor, ReleaseCounter(1));
}
#[test]
fn a_lease_is_committed_by_the_fleets_word() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(30_000);
    assert_eq!(t.states(2).last(), Some(&Probation), "nothing is committed without it");
    t.feed(command(5, CommandAction::Commit { version: longshore_trust::AssignmentVersion(2) }));
    t.settle();
    assert_eq!(t.states(2).last(), Some(&Committed));
}
#[test]
fn a_lapsed_lease_goes_back_and_a_renewed_one_does_not() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(50_000);
    t.feed(command(5, CommandAction::RenewLease { version: longshore_trust::AssignmentVersion(2) }));
    t.pass(50_000);
    assert_eq!(t.states(2).last(), Some(&Probation));
    t.pass(15_000);
    assert_eq!(t.states(2).last(), Some(&RolledBack));
    assert_eq!(t.serving, Some(bundle(1)));
    assert_eq!(t.record().floor, ReleaseCounter(1), "the floor rises at COMMITTED only");
}
#[test]
fn the_first_bundle_of_a_model_goes_back_to_nothing() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, LEASE);
    t.pass(1_000);
    assert_eq!(t.rolls_back_to(), Some(&RollbackTo::Nothing));
    t.pass(70_000);
    assert_eq!(t.states(1).last(), Some(&RolledBack));
    assert_eq!(t.serving, None);
}
#[test]
fn an_old_command_is_not_obeyed_again() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(10_000);
    let version = longshore_trust::AssignmentVersion(2);
    t.feed(command(5, CommandAction::RenewLease { version }));
    t.settle();
    t.crash();
    t.settle();
    t.feed(command(5, CommandAction::Commit { version }));
    t.feed(command(4, CommandAction::Commit { version }));
    t.settle();
    assert_eq!(t.states(2).last(), Some(&Probation));
}
#[test]
fn halt_cancels_what_does_not_serve_and_takes_back_what_does() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(10_000);
    t.feed(command(1, CommandAction::Halt { version: longshore_trust::AssignmentVersion(2) }));
    t.settle();
    assert_eq!(t.states(2).last(), Some(&RolledBack));
    start(&mut t, 3, 3, LEASE);
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Fetch(..))) && t.work() {}
    t.feed(command(2, CommandAction::Halt { version: longshore_trust::AssignmentVersion(3) }));
    t.settle();
    assert_eq!(t.states(3).last(), Some(&Cancelled));
    assert_eq!(t.serving, Some(bundle(1)));
}
#[test]
fn the_guard_takes_a_failing_bundle_back_without_the_fleet() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(2_000);
    let sample = Sample { requests: 50, rows: 10, errors: 40, ..Sample::default() };
    t.feed(Input::Observed(model(), bundle(2), sample));
    t.settle();
    assert_eq!(t.states(2).last(), Some(&RolledBack));
    assert_eq!(t.serving, Some(bundle(1)));
}
#[test]
fn a_crash_in_probation_takes_the_blamed_bundle_back() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(2_000);
    t.engine_up = false;
    t.feed(Input::EngineDown(Some(bundle(2))));
    t.settle();
    t.engine_up = true;
    t.feed(Input::EngineUp);
    t.settle();
    assert_eq!(t.states(2).last(), Some(&RolledBack));
    assert_eq!(t.serving, Some(bundle(1)));
}
#[test]
fn three_engine_starts_without_health_bring_the_previous_bundle_back() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.install(2, 2);
    t.pass(20_000);
    for _ in 0..4 {
        t.engine_up = false;
        t.feed(Input::EngineDown(Some(bundle(2))));
        t.settle();
        t.engine_up = true;
        t.feed(Input::EngineUp);
        t.settle();
    }
    assert_eq!(t.serving, Some(bundle(1)));
    assert_eq!(t.states(2).last(), Some(&RolledBack));
}
#[test]
fn starts_that_were_followed_by_health_do_not_add_up() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.install(2, 2);
    for _ in 0..10 {
        t.pass(20_000);
        t.feed(Input::EngineDown(Some(bundle(2))));
        t.feed(Input::EngineUp);
        t.settle();
    }
    assert_eq!(t.serving, Some(bundle(2)));
}
#[test]
fn an_engine_that_is_killed_while_it_idles_is_nobodys_fault() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(2_000);
    for _ in 0..10 {
        t.feed(Input::EngineDown(None));
        t.feed(Input::EngineUp);
        t.settle();
    }
    assert_eq!(t.states(2).last(), Some(&Probation));
    assert_eq!(t.serving, Some(bundle(2)));
}
#[test]
fn an_engine_that_never_comes_to_answer_brings_the_previous_bundle_back() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.install(2, 2);
    t.pass(20_000);
    for _ in 0..4 {
        t.feed(Input::EngineDown(None));
        t.commit();
        t.wishes.clear();
        t.feed(Input::EngineUp);
        t.commit();
    }
    t.settle();
    assert_eq!(t.serving, Some(bundle(1)));
}
#[test]
fn a_flipped_byte_after_activation_goes_back_and_is_reported() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.install(2, 2);
    t.crash();
    t.commit();
    t.wishes.clear();
    t.feed(Input::ServeFailed(model(), bundle(2), reason("activate.verify", "flipped")));
    t.settle();
    assert_eq!(t.serving, Some(bundle(1)));
    assert_eq!(t.states(2).last(), Some(&RolledBack));
}
#[test]
fn without_a_way_back_serving_is_tried_again_until_it_works() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.crash();
    for _ in 0..3 {
        t.commit();
        t.wishes.clear();
        t.feed(Input::ServeFailed(model(), bundle(1), reason("activate.load", "no memory")));
        t.commit();
        assert!(t.wake > t.now && t.wake <= t.now.plus_ms(400_000), "{} at {}", t.wake, t.now);
        t.wishes.clear();
        t.now = t.wake;
        t.feed(Input::Tick);
    }
    assert_eq!(t.states(1).iter().filter(|s| **s == UnableToRollBack).count(), 1, "told once");
    t.settle();
    assert_eq!(t.serving, Some(bundle(1)));
    assert_eq!(t.states(1).last(), Some(&Committed), "and told when it is over");
}
#[test]
fn a_newer_assignment_supersedes_any_state() {
    for steps in 0..80 {
        let mut t = Twin::new();
        t.install(1, 1);
        match steps < 40 {
            true => start(&mut t, 2, 2, LEASE),
            false => t.feed(assigned(header(1, 2), shadow(2, 2))),
        }
        let steps = steps % 40;
        for _ in 0..steps {
            if !t.commit() {
                t.work();
            }
        }
        start(&mut t, 3, 3, Commit::Local);
        t.pass(20_000);
        assert_eq!(t.states(3).last(), Some(&Committed), "after {steps} steps");
        assert_eq!(t.serving, Some(bundle(3)));
        assert!(t.states(2).last().is_none_or(|s| s.is_terminal() || *s == Offered), "{:?}", t.states(2));
    }
}
#[test]
fn an_assignment_back_to_what_ran_before_ends_probation() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(10_000);
    start(&mut t, 3, 1, Commit::Local);
    t.pass(1_000);
    assert_eq!(t.states(2).last(), Some(&RolledBack));
    assert_eq!(t.states(1).last(), Some(&Already));
    assert_eq!(t.serving, Some(bundle(1)));
}
#[test]
fn a_download_is_tried_again_and_a_full_disk_defers() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Fetch(..))) && t.work() {}
    t.wishes.clear();
    t.feed(Input::Fetched(model(), bundle(1), Err(transient())));
    while t.commit() {}
    let why = t.disk.why.last().unwrap().as_ref();
    assert_eq!(
        why.map(|w| w.code.as_str()),
        Some("download.network"),
        "the fleet hears why it takes so long"
    );
    assert!(t.wake > t.now && t.wake < t.now.plus_ms(10_000));
    t.now = t.wake;
    t.feed(Input::Tick);
    assert!(matches!(t.wishes.pop_front(), Some(Output::Fetch(..))));
    t.feed(Input::Fetched(model(), bundle(1), Err(FetchFailure::NoSpace(reason("no_space", "full")))));
    t.settle();
    assert_eq!(t.states(1).last(), Some(&Deferred));
    t.pass(90_000);
    assert_eq!(t.states(1).last(), Some(&Committed));
}
#[test]
fn a_4xx_fails_the_update_for_good() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Fetch(..))) && t.work() {}
    t.wishes.clear();
    t.feed(Input::Fetched(model(), bundle(1), Err(FetchFailure::Refused(reason("download.refused", "404")))));
    t.pass(3_600_000);
    assert_eq!(t.states(1).last(), Some(&Failed));
    assert!(!t.wishes.iter().any(|w| matches!(w, Output::Fetch(..))));
}
#[test]
fn nothing_is_activated_after_its_time() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Fetch(..))) && t.work() {}
    t.now = T0.plus_ms(3_600_001);
    t.feed(Input::Tick);
    t.settle();
    assert_eq!(t.states(1).last(), Some(&TooLate));
    assert_eq!(t.serving, None);
}
#[test]
fn older_metadata_than_the_directors_means_refresh_again_until_it_expires() {
    let mut t = Twin::new();
    t.view.versions.clear();
    start(&mut t, 1, 1, Commit::Local);
    t.pass(60_000);
    assert!(t.core.offered().is_some());
    t.view = view();
    t.feed(Input::Doorbell);
    t.pass(10_000);
    assert_eq!(t.states(1).last(), Some(&Committed));
    t.view.versions.clear();
    start(&mut t, 2, 2, Commit::Local);
    t.pass(7_300_000);
    assert_eq!(t.states(2).last(), Some(&Expired));
}
#[test]
fn a_halt_that_overtakes_its_assignment_revokes_it_all_the_same() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.feed(command(50, CommandAction::Halt { version: AssignmentVersion(2) }));
    t.settle();
    start(&mut t, 2, 2, LEASE);
    t.pass(60_000);
    assert_eq!((t.states(2), t.serving), (vec![], Some(bundle(1))));
    t.crash();
    start(&mut t, 2, 2, LEASE);
    t.pass(60_000);
    assert_eq!(t.serving, Some(bundle(1)), "also after a restart");
    start(&mut t, 3, 2, Commit::Local);
    t.pass(60_000);
    assert_eq!(t.serving, Some(bundle(2)));
}
#[test]
fn an_executor_of_an_older_plan_is_not_heard() {
    let mut t = Twin::new();
    t.install(5, 1);
    let older = Assignment { generation: Generation(4), ..assignment(6, 2, Commit::Local) };
    t.feed(assigned(header(1, 50), older.clone()));
    t.settle();
    t.pass(60_000);
    assert_eq!((t.serving, t.disk.assigned.0), (Some(bundle(1)), 5));
    t.crash();
    t.feed(assigned(header(1, 51), older.clone()));
    t.settle();
    assert_eq!(t.states(2), [], "also after a restart");
    // A new director begins anew: whoever held the old key may have used up all generations.
    t.feed(Input::NewDirector { assigned: AssignmentVersion(0), commanded: (0, 0) });
    t.settle();
    t.feed(assigned(header(1, 52), older));
    t.settle();
    t.pass(60_000);
    assert_eq!(t.serving, Some(bundle(2)));
}
#[test]
fn every_state_that_is_not_final_has_a_deadline() {
    for steps in 0..40 {
        let mut t = Twin::new();
        t.install(1, 1);
        start(&mut t, 2, 2, LEASE);
        for _ in 0..steps {
            if !t.commit() {
                t.work();
            }
        }
        if let Some(update) = &t.record().update {
            assert!(update.deadline(t.now.into()) < UnixMs(u64::MAX));
        }
        // The world stops answering; the engine is the only thing that still does what it is told.
        t.wishes.retain(|w| matches!(w, Output::Serve(..)));
        for _ in 0..2_000 {
            while t.commit() {}
            t.wishes.retain(|w| matches!(w, Output::Serve(..)));
            if !t.work() {
                if t.wake == UnixMs(u64::MAX) {
                    break;
                }
                t.now = t.now.max(t.wake);
                t.feed(Input::Tick);
            }
        }
        let update = t.core.model(&model()).and_then(|r| r.update.as_ref());
        assert!(update.is_none(), "stuck after {steps} steps: {update:?}");
        assert!(t.core.offered().is_none());
    }
}
#[test]
fn a_commit_that_came_during_a_restart_counts() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(10_000);
    t.feed(command(1, CommandAction::Commit { version: longshore_trust::AssignmentVersion(2) }));
    t.commit();
    t.crash();
    t.pass(1_000);
    assert_eq!(t.states(2).last(), Some(&Committed));
}
#[test]
fn the_word_may_come_before_the_candidate_answers_again() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(10_000);
    t.engine_up = false;
    t.feed(Input::EngineDown(None));
    t.feed(command(1, CommandAction::Commit { version: longshore_trust::AssignmentVersion(2) }));
    t.settle();
    assert!(matches!(t.record().update.as_ref().unwrap().at, Phase::Probation { granted: true, .. }));
    t.engine_up = true;
    t.feed(Input::EngineUp);
    t.pass(1_000);
    assert_eq!(t.states(2).last(), Some(&Committed));
}
/// Works until this is the next wish.
fn until(t: &mut Twin, wish: fn(&Output) -> bool) {
    while t.commit() || !t.wishes.front().is_some_and(wish) && t.work() {}
    assert!(t.wishes.front().is_some_and(wish));
}
#[test]
fn a_trial_that_ends_after_its_time_activates_nothing() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    until(&mut t, |w| matches!(w, Output::Trial(..)));
    assert!(t.wake <= T0.plus_ms(3_600_001));
    t.now = T0.plus_ms(3_600_001);
    t.settle();
    assert_eq!(t.states(1).last(), Some(&TooLate));
    assert_eq!(t.serving, None);
}
#[test]
fn a_device_that_was_off_when_its_time_was_up_does_not_activate() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    until(&mut t, |w| matches!(w, Output::Serve(..)));
    t.now = T0.plus_ms(3_600_001);
    t.crash();
    t.settle();
    assert_eq!(t.states(1).last(), Some(&RolledBack));
    assert_eq!(t.serving, None);
}
#[test]
fn a_power_cut_in_a_trial_is_not_held_against_the_bundle() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    until(&mut t, |w| matches!(w, Output::Trial(..)));
    t.now = T0.plus_ms(1_000_000);
    t.crash();
    t.pass(10_000);
    assert_eq!(t.states(1).last(), Some(&Committed));
}
#[test]
fn a_clock_that_is_put_back_does_not_put_off_a_deadline() {
    let mut t = Twin::new();
    start(&mut t, 1, 1, Commit::Local);
    until(&mut t, |w| matches!(w, Output::Serve(..)));
    t.wishes.clear();
    t.now = UnixMs(T0.0 - 86_400_000);
    t.feed(Input::Tick);
    assert!(t.wake <= t.now.plus_ms(200_000), "it waits for {}", t.wake);
}
#[test]
fn a_clock_that_was_ahead_costs_no_assignment_once_it_is_right() {
    let mut t = Twin::new();
    t.now = T0.plus_ms(7_200_001);
    start(&mut t, 1, 1, Commit::Local);
    t.settle();
    assert_eq!(t.disk.assigned.0, 0);
    t.now = T0;
    start(&mut t, 1, 1, Commit::Local);
    t.pass(10_000);
    assert_eq!(t.states(1).last(), Some(&Committed));
}
#[test]
fn no_room_for_a_counter_page_takes_no_committed_bundle_back() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.install(2, 2);
    t.feed(Input::EngineDown(None));
    t.feed(Input::EngineUp);
    while t.commit() {}
    t.wishes.clear();
    t.serving = None;
    t.feed(Input::ServeFailed(model(), bundle(2), reason(longshore_agent_core::update::NO_PAGE, "full")));
    t.settle();
    assert_eq!(t.record().active.as_ref().unwrap().bundle, bundle(2));
    assert!(t.wake < UnixMs(u64::MAX), "it is tried again");
    t.pass(60_000);
    assert_eq!(t.serving, Some(bundle(2)));
    assert_eq!(t.states(2).last(), Some(&Committed));
}

#[test]
fn a_clock_that_jumps_ends_no_lease_early_and_prolongs_none() {
    let years: i64 = 10 * 366 * 86_400_000;
    for leap in [years, -years, 47 * 3_600_000] {
        let mut t = Twin::new();
        t.install(1, 1);
        start(&mut t, 2, 2, LEASE);
        t.pass(1_000);
        assert_eq!(t.states(2).last(), Some(&Probation));
        t.leap_ms = leap;
        t.pass(50_000);
        assert_eq!(t.states(2).last(), Some(&Probation), "a lease of a minute has ten seconds left");
        t.pass(20_000);
        assert_eq!(t.states(2).last(), Some(&RolledBack), "and has lapsed, whatever the clock says");
        assert_eq!(t.serving, Some(bundle(1)));
    }
}
#[test]
fn a_command_is_obeyed_once_in_order_by_its_device_and_that_is_acknowledged() {
    let mut t = Twin::new();
    t.install(1, 1);
    let flushes = |t: &mut Twin| {
        t.settle();
        t.disk.obeyed.len()
    };
    t.feed(command(5, CommandAction::Flush));
    assert_eq!(flushes(&mut t), 1);
    assert_eq!((t.disk.commanded, t.disk.obeyed[0]), ((1, 5), (5, 0)));
    let mut refused = 0;
    let mut refuses = |t: &mut Twin, what: &str, input: Input| {
        t.feed(input);
        assert_eq!(flushes(t), 1, "{what}");
        refused += 1;
    };
    let body = |not_before, not_after| Command { not_before, not_after, action: CommandAction::Flush };
    let good = || body(T0, T0.plus_ms(86_400_000));
    refuses(&mut t, "replayed", command(5, CommandAction::Flush));
    refuses(&mut t, "reordered", command(4, CommandAction::Flush));
    t.crash();
    refuses(&mut t, "replayed across a reboot", command(5, CommandAction::Flush));
    refuses(&mut t, "reordered across a reboot", command(1, CommandAction::Flush));
    refuses(&mut t, "of an older epoch", command_with(header(0, 99), good()));
    let mut foreign = header(1, 6);
    foreign.device = "dev-2".parse().unwrap();
    refuses(&mut t, "for another device", command_with(foreign, good()));
    let mut foreign = header(1, 6);
    foreign.fleet = "other".parse().unwrap();
    refuses(&mut t, "for another fleet", command_with(foreign, good()));
    refuses(&mut t, "too late", command_with(header(1, 6), body(T0, UnixMs(T0.0 - 1))));
    refuses(
        &mut t,
        "too early",
        command_with(header(1, 6), body(T0.plus_ms(3_600_000), T0.plus_ms(7_200_000))),
    );
    println!("commands refused: {refused}");
    // Not one of them used a number up.
    t.feed(command(6, CommandAction::Flush));
    assert_eq!(flushes(&mut t), 2);
    // A device without a clock takes the director's word for the date, and no floor from it.
    let mut late = header(1, 7);
    late.time = T0.plus_ms(400 * 86_400_000);
    t.leap_ms = -(T0.0 as i64);
    t.feed(command_with(late.clone(), body(late.time, late.time.plus_ms(1_000))));
    assert_eq!(flushes(&mut t), 3);
}
#[test]
fn a_halt_says_what_it_changed_and_a_wipe_is_on_the_disk_before_it_begins() {
    let mut t = Twin::new();
    t.install(1, 1);
    start(&mut t, 2, 2, LEASE);
    t.pass(1_000);
    let version = longshore_trust::AssignmentVersion(2);
    t.feed(command(8, CommandAction::Halt { version }));
    t.settle();
    assert_eq!(t.disk.obeyed, [(8, 1)]);
    t.feed(command(9, CommandAction::Halt { version }));
    t.settle();
    assert_eq!(t.disk.obeyed[1], (9, 0), "there was nothing left to do");
    t.feed(command(10, CommandAction::Wipe));
    assert!(
        t.wishes.iter().all(|w| !matches!(w, Output::Wipe(..))),
        "nothing begins before it is written down"
    );
    assert!(t.commit());
    assert_eq!(t.disk.wiping, Some((1, 10)));
    assert_eq!(t.wishes.pop_back(), Some(Output::Wipe(1, 10)));
}
#[test]
fn numbers_used_up_with_a_stolen_director_key_are_given_back_when_it_is_rotated() {
    let mut t = Twin::new();
    t.install(1, 1);
    // The thief accepts nothing that was not approved, but takes the last numbers there are.
    t.feed(assigned(header(1, 2), assignment(u64::MAX, 1, Commit::Local)));
    let last = Command { not_before: T0, not_after: T0.plus_ms(86_400_000), action: CommandAction::Flush };
    t.feed(command_with(header(u64::MAX, u64::MAX), last));
    t.settle();
    assert_eq!((t.disk.assigned.0, t.disk.commanded), (u64::MAX, (u64::MAX, u64::MAX)));
    t.feed(assigned(header(1, 3), assignment(2, 2, Commit::Local)));
    t.feed(command(9, CommandAction::Flush));
    t.settle();
    assert_eq!((t.disk.obeyed.len(), t.serving), (1, Some(bundle(1))), "nothing gets through any more");
    t.feed(Input::NewDirector { assigned: AssignmentVersion(1), commanded: (1, 8) });
    t.settle();
    assert_eq!((t.disk.assigned.0, t.disk.commanded), (1, (1, 8)));
    t.crash();
    t.feed(command(8, CommandAction::Flush));
    t.settle();
    assert_eq!(t.disk.obeyed.len(), 1, "what was said before the enrolment stays said");
    t.feed(command(9, CommandAction::Flush));
    t.feed(assigned(header(1, 10), assignment(2, 2, Commit::Local)));
    t.settle();
    t.pass(60_000);
    assert_eq!(t.disk.obeyed.len(), 2);
    assert_eq!(t.serving, Some(bundle(2)));
}
