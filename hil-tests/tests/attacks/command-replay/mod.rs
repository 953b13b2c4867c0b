//! A thief who has recorded every command plays them again: at every moment, in every order, over restarts.

use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::update::Input;
use longshore_trust::AssignmentVersion;
use longshore_wire::v1::{CommandAction, Commit};

use crate::twin::{Twin, assigned, assignment, bundle, command, header};

const LEASE: Commit = Commit::Lease { lease_ms: 60_000 };

fn on_probation(version: u64, n: u64, device: &mut Twin) {
    let mut order = assignment(version, n, LEASE);
    (order.activate_by, order.not_after) = (device.now.plus_ms(60_000), device.now.plus_ms(120_000));
    device.feed(assigned(header(1, version), order));
    device.settle();
    assert_eq!(device.serving, Some(bundle(n)));
}
fn word(version: u64) -> CommandAction {
    CommandAction::Commit { version: AssignmentVersion(version) }
}

#[test]
fn a_renewal_played_again_does_not_keep_a_lease_alive() {
    let mut device = Twin::new();
    device.install(1, 1);
    on_probation(2, 2, &mut device);
    let renewal = || command(10, CommandAction::RenewLease { version: AssignmentVersion(2) });
    device.feed(renewal());
    device.settle();
    // The fleet renews no more; the thief plays the last renewal every ten seconds, and restarts the device twice.
    for step in 0..10 {
        device.feed(renewal());
        if step == 2 || step == 4 {
            device.crash();
        }
        device.pass(10_000);
    }
    assert_eq!(device.serving, Some(bundle(1)), "the lease has lapsed");
    assert!(device.disk.why.iter().flatten().any(|w| w.code == "lease.lapsed"));
}

#[test]
fn an_old_commit_is_not_obeyed_for_a_later_trial_and_not_after_a_halt() {
    let mut device = Twin::new();
    device.install(1, 1);
    on_probation(2, 2, &mut device);
    let commit = || command(10, word(2));
    let halt = || command(11, CommandAction::Halt { version: AssignmentVersion(2) });
    device.feed(halt());
    device.settle();
    device.feed(commit());
    device.pass(6_000);
    assert_eq!(device.serving, Some(bundle(1)), "the commit is older than the halt that was obeyed");
    assert!(device.disk.why.iter().flatten().any(|w| w.code == "halt"));
    on_probation(3, 2, &mut device);
    for replayed in [commit(), halt()] {
        device.feed(replayed);
        device.pass(6_000);
        assert!(device.record().update.is_some(), "the new trial goes on, neither committed nor halted");
    }
    // Its own word counts.
    device.feed(command(12, word(3)));
    device.pass(6_000);
    assert_eq!(device.record().active.as_ref().unwrap().bundle, bundle(2));
}

#[test]
fn the_number_is_on_the_disk_before_anything_is_done() {
    let mut device = Twin::new();
    device.install(1, 1);
    on_probation(2, 2, &mut device);
    device.feed(command(10, CommandAction::Halt { version: AssignmentVersion(2) }));
    // The transaction waits; nothing has been wished of the engine yet.
    assert!(!device.waiting.is_empty() && device.wishes.is_empty());
    device.commit();
    assert_eq!(device.disk.commanded, (1, 10));
    device.crash();
    let before = device.disk.commanded;
    device.feed(command(10, CommandAction::Flush));
    device.settle();
    assert_eq!(device.disk.commanded, before);
}

#[test]
fn whatever_order_recorded_commands_come_in_the_end_is_that_of_the_greatest_number() {
    let mut tried = 0;
    for seed in 0..500 {
        let mut dice = Jitter::new(seed);
        let mut device = Twin::new();
        device.install(1, 1);
        device.install(2, 2);
        let mut greatest = 0;
        for _ in 0..30 {
            let n = 10 + dice.up_to(20);
            // Every third one is a halt, and so on: what a number says never changes.
            let action = match n % 3 {
                0 => CommandAction::Flush,
                1 => CommandAction::RenewLease { version: AssignmentVersion(7) },
                _ => CommandAction::Halt { version: AssignmentVersion(1) },
            };
            device.feed(command(n, action));
            // Cut off before it was stored, a command has not been obeyed, and may be later.
            let cut = dice.up_to(5) == 0;
            if cut {
                device.crash();
                // Long enough to be healthy: engine starts without health would bring the previous bundle back.
                device.pass(11_000);
            } else {
                greatest = greatest.max(n);
            }
            device.settle();
            assert_eq!(device.disk.commanded.1, greatest, "seed {seed}: the greatest number that was obeyed");
            tried += 1;
        }
        device.feed(Input::Tick);
        assert_eq!(device.serving, Some(bundle(2)), "none of them was about what runs");
    }
    println!("{tried} recorded commands played");
}
