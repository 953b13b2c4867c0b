//! A device that has committed bundle 3 of a model is told to run bundle 1 or 2, which were approved in their time.

use longshore_trust::ReleaseCounter;
use longshore_wire::v1::{Commit, UpdateState};

use crate::twin::{Twin, assigned, assignment, bundle, header, path};

/// Runs bundle 3; no way back to 1 was signed (the twin's metadata lets n go back to n - 1).
fn device() -> Twin {
    let mut device = Twin::new();
    for n in 1..=3 {
        device.install(n, n);
    }
    assert_eq!(device.record().floor, ReleaseCounter(3));
    device
}

fn told(device: &mut Twin, version: u64, change: impl Fn(&mut longshore_wire::v1::Assignment)) {
    let mut order = assignment(version, 1, Commit::Local);
    change(&mut order);
    device.feed(assigned(header(1, version), order));
    device.pass(6_000);
}

#[test]
fn an_older_bundle_is_refused_with_its_own_counter_and_with_a_false_one() {
    let mut device = device();
    told(&mut device, 4, |_| {});
    assert_eq!(device.states(1).last(), Some(&UpdateState::Rejected));
    assert_eq!(device.record().last.as_ref().unwrap().why.as_ref().unwrap().code, "policy.release_counter");
    for (version, counter) in [(5, 4), (6, 3), (7, u64::MAX)] {
        told(&mut device, version, |a| a.slots[0].release_counter = ReleaseCounter(counter));
        assert_eq!(device.states(1).last(), Some(&UpdateState::Rejected), "counter {counter}");
    }
    assert_eq!(device.serving, Some(bundle(3)));
}

#[test]
fn the_floor_survives_a_restart_and_does_not_fall_with_a_signed_way_back() {
    let mut device = device();
    device.crash();
    device.settle();
    told(&mut device, 4, |_| {});
    assert_eq!(device.states(1).last(), Some(&UpdateState::Rejected));
    // 3 may go back to 2, as was signed offline; the floor stays, and 1 is still out of reach.
    device.install(5, 2);
    assert_eq!((device.serving, device.record().floor), (Some(bundle(2)), ReleaseCounter(3)));
    device.view.targets.get_mut(&path(2)).unwrap().rollback_ok.clear();
    told(&mut device, 6, |_| {});
    assert_eq!(device.serving, Some(bundle(2)));
    assert!(device.disk.floors.windows(2).all(|w| w[0] <= w[1]), "the floor never falls");
}

#[test]
fn a_way_back_is_for_what_runs_and_from_the_models_own_keys() {
    let mut device = device();
    // Signed: 2 may go back to 1. But 3 runs, so it is of no use, and in another model's metadata even less.
    let stray = device.view.targets[&path(2)].clone();
    let back = longshore_agent_core::TargetView { rollback_ok: vec![(bundle(3), bundle(1))], ..stray };
    device.view.targets.insert("door/1.0.0/manifest.json".into(), back);
    told(&mut device, 4, |_| {});
    assert_eq!(device.record().last.as_ref().unwrap().why.as_ref().unwrap().code, "policy.release_counter");
    assert_eq!(device.serving, Some(bundle(3)));
}
