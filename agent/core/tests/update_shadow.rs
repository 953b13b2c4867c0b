//! A candidate in shadow: it never serves, and what serves is not touched by it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod twin;

use longshore_agent_core::assignment::reason;
use longshore_agent_core::guard::Sample;
use longshore_agent_core::update::{Input, NO_MEMORY, Output, Phase};
use longshore_trust::{AssignmentVersion, Digest};
use longshore_wire::v1::UpdateState::{self, *};
use longshore_wire::v1::{CommandAction, Commit};
use twin::*;

/// A device that serves bundle 1 and has bundle 2 beside it, by assignment 2.
fn beside() -> Twin {
    let mut t = Twin::new();
    t.install(1, 1);
    t.feed(assigned(header(1, 2), shadow(2, 2)));
    t.settle();
    assert_eq!((t.serving, t.beside), (Some(bundle(1)), Some(bundle(2))));
    t
}
fn active(t: &Twin) -> Option<Digest> {
    t.record().active.as_ref().map(|i| i.bundle)
}
fn why(t: &Twin) -> String {
    t.disk.why.last().unwrap().as_ref().map(|w| w.code.clone()).unwrap_or_default()
}
fn ended(t: &Twin, state: UpdateState, code: &str) {
    assert_eq!((t.states(2).last(), why(t).as_str()), (Some(&state), code));
    assert_eq!((t.serving, t.beside, active(t)), (Some(bundle(1)), None, Some(bundle(1))));
    assert!(t.record().update.is_none());
}

#[test]
fn a_candidate_runs_beside_what_serves_until_it_may_serve_and_is_not_fetched_or_tried_again() {
    let mut t = beside();
    t.pass(600_000);
    assert_eq!(
        t.states(2),
        [Offered, Accepted, Downloading, Verified, Staged, UpdateState::Trial, Shadowing]
    );
    assert_eq!(t.record().state(), Shadowing);
    let before = t.states(2).len();
    t.feed(assigned(header(1, 3), assignment(3, 2, Commit::Local)));
    while t.commit() || matches!(t.wishes.front(), Some(Output::Refresh(_))) && t.work() {}
    let again = |w: &Output| matches!(w, Output::Fetch(..) | Output::Trial(..));
    assert!(!t.wishes.iter().any(again), "{:?}", t.wishes);
    t.pass(6_000);
    assert_eq!(t.states(2)[before..], [Offered, Accepted, UpdateState::Trial, Probation, Committed]);
    assert_eq!((t.serving, t.beside, active(&t)), (Some(bundle(2)), None, Some(bundle(2))));
}
#[test]
fn nothing_leaves_before_the_transaction_that_justifies_it() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.feed(assigned(header(1, 2), shadow(2, 2)));
    for _ in 0..100 {
        while !t.waiting.is_empty() {
            assert!(!t.wishes.iter().any(|w| matches!(w, Output::Shadow(..))), "not on the disk yet");
            t.commit();
        }
        t.work();
    }
    assert_eq!(t.beside, Some(bundle(2)));
    t.feed(command(1, CommandAction::Halt { version: AssignmentVersion(2) }));
    assert!(t.wishes.is_empty(), "it goes on until its end is on the disk");
    t.settle();
    ended(&t, Cancelled, "halt");
}
#[test]
fn a_newer_assignment_ends_it() {
    let mut t = beside();
    t.feed(assigned(header(1, 3), shadow(3, 3)));
    t.settle();
    assert_eq!(t.states(2).last(), Some(&Cancelled));
    assert_eq!((t.serving, t.beside), (Some(bundle(1)), Some(bundle(3))));
    // Back to what serves: nothing is left beside it.
    t.feed(assigned(header(1, 4), assignment(4, 1, Commit::Local)));
    t.settle();
    assert_eq!((t.states(3).last(), t.beside), (Some(&Cancelled), None));
    assert_eq!(t.states(1).last(), Some(&Already));
}
#[test]
fn it_ends_when_its_time_is_up() {
    let mut t = beside();
    t.pass(3_700_000);
    ended(&t, TooLate, "shadow.too_late");
}
#[test]
fn while_there_is_no_engine_the_time_to_begin_does_not_run() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.feed(assigned(header(1, 2), shadow(2, 2)));
    // The engine dies in a request to what serves, before it was asked to load the candidate, and is long in coming back.
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Shadow(..))) && t.work() {}
    t.wishes.clear();
    (t.serving, t.engine_up) = (None, false);
    t.feed(Input::EngineDown(Some(bundle(1))));
    t.pass(600_000);
    assert!(matches!(t.record().update.as_ref().unwrap().at, Phase::Shadowing { begins_by: Some(_), .. }));
    // It has all its time when there is one again.
    let asked = t.now;
    t.engine_up = true;
    t.feed(Input::EngineUp);
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Shadow(..))) && t.work() {}
    t.wishes.clear();
    t.pass(120_000);
    assert!(t.record().update.is_some(), "nothing was late yet: {:?}", t.disk.why.last());
    t.pass(1_000);
    ended(&t, Failed, "shadow.deadline");
    assert!(t.now >= asked.plus_ms(120_000));
}
#[test]
fn a_candidate_that_does_not_get_through_live_rows_fails_alone() {
    let mut t = beside();
    t.pass(60_000);
    t.feed(Input::ShadowFailed(model(), bundle(2), reason("engine.stalled", "90 s in one request")));
    t.settle();
    ended(&t, Failed, "shadow.stalled");
}
#[test]
fn without_an_engine_its_last_date_still_ends_it() {
    let mut t = beside();
    (t.serving, t.engine_up) = (None, false);
    t.feed(Input::EngineDown(Some(bundle(1))));
    t.pass(3_700_000);
    assert_eq!((t.states(2).last(), why(&t).as_str()), (Some(&TooLate), "shadow.too_late"));
}
#[test]
fn it_survives_restarts() {
    let mut t = beside();
    for _ in 0..5 {
        t.crash();
        t.pass(60_000);
        assert_eq!((t.serving, t.beside), (Some(bundle(1)), Some(bundle(2))));
    }
    assert_eq!(t.record().state(), Shadowing);
    // Off until its time was up.
    t.now = t.now.plus_ms(7_200_000);
    t.crash();
    t.settle();
    ended(&t, TooLate, "shadow.too_late");
}
fn engine_dies(t: &mut Twin, blamed: Option<Digest>) {
    (t.serving, t.beside) = (None, None);
    t.feed(Input::EngineDown(blamed));
    t.settle();
    t.feed(Input::EngineUp);
    t.settle();
}
#[test]
fn a_crash_in_the_candidate_ends_its_shadow_and_costs_what_serves_nothing() {
    let mut t = beside();
    t.pass(60_000);
    engine_dies(&mut t, Some(bundle(2)));
    t.pass(60_000);
    ended(&t, Failed, "shadow.crash");
    assert_eq!(t.record().starts, 0);
}
#[test]
fn a_crash_of_what_serves_does_not_end_the_shadow() {
    let mut t = beside();
    t.pass(60_000);
    engine_dies(&mut t, Some(bundle(1)));
    assert_eq!((t.serving, t.beside), (Some(bundle(1)), Some(bundle(2))));
}
#[test]
fn deaths_that_nobody_is_blamed_for_end_the_shadow_before_they_cost_what_serves() {
    let mut t = beside();
    t.pass(60_000);
    engine_dies(&mut t, None);
    assert_eq!(t.beside, Some(bundle(2)), "once is no proof");
    engine_dies(&mut t, None);
    t.pass(60_000);
    ended(&t, Failed, "shadow.crash");
}
#[test]
fn an_engine_that_dies_while_it_loads_the_candidate_is_not_asked_again() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.feed(assigned(header(1, 2), shadow(2, 2)));
    while t.commit() || !matches!(t.wishes.front(), Some(Output::Shadow(..))) && t.work() {}
    t.wishes.clear();
    engine_dies(&mut t, None);
    t.pass(60_000);
    ended(&t, Failed, "shadow.crash");
}
#[test]
fn a_device_without_memory_for_both_rejects_and_a_broken_candidate_fails() {
    for (code, state, want) in [
        (NO_MEMORY, Rejected, "shadow.no_memory"),
        ("activate.page", Rejected, "shadow.no_page"),
        ("engine.panic", Failed, "shadow.panic"),
    ] {
        let mut t = beside();
        t.feed(Input::ShadowFailed(model(), bundle(2), reason(code, "no")));
        t.settle();
        ended(&t, state, want);
    }
}
#[test]
fn errors_of_the_candidate_end_its_shadow_and_slowness_does_not() {
    let mut t = beside();
    let slow = Sample {
        requests: 1000,
        rows: 1000,
        p99_us: Some(9_000_000),
        baseline_p99_us: Some(1),
        ..Sample::default()
    };
    t.feed(Input::Observed(model(), bundle(2), slow));
    t.settle();
    assert_eq!(t.beside, Some(bundle(2)));
    t.feed(Input::Observed(model(), bundle(2), Sample { rows: 50, nan: 40, ..Sample::default() }));
    t.settle();
    ended(&t, Failed, "shadow.errors");
}
#[test]
fn where_nothing_serves_there_is_nothing_to_run_beside_but_it_may_serve_later() {
    let mut t = Twin::new();
    t.feed(assigned(header(1, 1), shadow(1, 1)));
    t.pass(60_000);
    assert_eq!((t.states(1).last(), why(&t).as_str()), (Some(&Shadowing), "shadow.nothing_serves"));
    assert_eq!((t.serving, t.beside), (None, None));
    t.crash();
    t.settle();
    t.feed(assigned(header(1, 2), assignment(2, 1, Commit::Local)));
    t.pass(6_000);
    assert_eq!((t.states(1).last(), t.serving), (Some(&Committed), Some(bundle(1))));
}
#[test]
fn what_serves_on_probation_goes_back_before_it_is_only_watched() {
    let mut t = Twin::new();
    t.install(1, 1);
    t.feed(assigned(header(1, 2), assignment(2, 2, Commit::Lease { lease_ms: 600_000 })));
    t.pass(1_000);
    assert!(matches!(t.record().update.as_ref().unwrap().at, Phase::Probation { .. }));
    t.feed(assigned(header(1, 3), shadow(3, 2)));
    t.pass(1_000);
    assert_eq!((t.serving, t.beside), (Some(bundle(1)), Some(bundle(2))));
    assert_eq!(t.states(2).last(), Some(&Shadowing));
}
#[test]
fn an_approval_that_was_withdrawn_meanwhile_keeps_it_from_serving() {
    let mut t = beside();
    t.view.targets.get_mut(&path(2)).unwrap().hw = vec!["arm".into()];
    t.feed(assigned(header(1, 3), assignment(3, 2, Commit::Local)));
    t.pass(60_000);
    assert_eq!((t.states(2).last(), t.serving), (Some(&Rejected), Some(bundle(1))));
}
