//! What gates promise, on a few whole rollouts; `cargo xtask bench gates` plays two thousand of each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[path = "../benches/gates/dice.rs"]
mod dice;
#[path = "../benches/gates/world.rs"]
mod world;

use longshore_fleet_core::gate::{Harm, power};
use longshore_fleet_core::policy::{Policy, shipped};
use world::{Ends, World};

fn careful() -> Policy {
    Policy::parse(shipped("careful").unwrap()).unwrap()
}
fn hourly() -> World {
    World { look_min: 60, ..World::default() }
}

#[test]
fn an_equal_version_goes_through_however_often_one_looks() {
    let ends = Ends::of(&hourly(), &careful(), 20, 1);
    assert_eq!((ends.failed, ends.inconclusive), (0, 0), "{ends:?}");
}

#[test]
fn what_happens_to_everybody_is_not_the_new_versions_fault() {
    let ends = Ends::of(&World { weather: 0.03, ..hourly() }, &careful(), 10, 2);
    assert!(ends.failed + ends.inconclusive <= 1, "{ends:?}");
}

#[test]
fn a_loss_of_five_points_never_reaches_a_tenth_of_the_fleet() {
    let ends = Ends::of(&World { harm: 0.05, ..hourly() }, &careful(), 20, 3);
    assert_eq!(ends.early, 20, "{ends:?}");
    assert!(ends.early_failed > 0, "{ends:?}");
}

#[test]
fn more_errors_are_noticed_too() {
    let ends = Ends::of(&World { more_errors: 0.05, ..hourly() }, &careful(), 5, 4);
    assert_eq!(ends.early, 5, "{ends:?}");
}

#[test]
fn what_the_rehearsal_promises_is_what_happens() {
    let text = "name = \"one\"\n[[wave]]\nselect = { count = 8 }\nsoak = \"4h\"\n[gate]\nmin_labelled = 200\n\
                accuracy_drop = 0.02\nalpha = 0.05\ndeadline = \"24h\"\non_fail = \"pause\"\n";
    let policy = Policy::parse(text).unwrap();
    let usual = World { devices: 8, look_min: 30, ..World::default() };
    let canary = usual.canary(8, policy.waves[0].soak_ms);
    let said = power(&policy.gate, 1, &canary, Harm::Accuracy(0.06)).unwrap();
    let ends = Ends::of(&World { harm: 0.06, ..usual }, &policy, 200, 5);
    // Two hundred rollouts, and a promise from a thousand: three standard errors of both.
    assert!((said.proven - ends.share(ends.failed)).abs() < 0.12, "{said:?} {ends:?}");
    assert!((said.stopped - ends.stopped()).abs() < 0.06, "{said:?} {ends:?}");
    assert_eq!(power(&policy.gate, 1, &canary, Harm::Errors(0.1)), None, "the policy has no such gate");
    let more = power(&policy.gate, 1, &world::World { ..usual }.canary(20, 0), Harm::Accuracy(0.06)).unwrap();
    assert!(more.proven > said.proven, "more devices see more: {more:?}");
}
