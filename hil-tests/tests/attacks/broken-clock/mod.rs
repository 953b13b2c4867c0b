//! A device whose clock shows what it likes.

use longshore_trust::UnixMs;
use longshore_trust::tuf::TufError;
use longshore_wire::v1::Commit;

use crate::field::Field;
use crate::repo::{DAY_MS, NOW};
use crate::twin::{T0, Twin, assigned, assignment, bundle, header};

const YEAR_MS: u64 = 365 * DAY_MS;
/// 1970, the end of 32-bit seconds and the second behind it, ten years ahead, a year back, and the end of all numbers.
const CLOCKS: [(&str, UnixMs); 6] = [
    ("1970", UnixMs(0)),
    ("2038", UnixMs(2_147_483_647_000)),
    ("2038 and a second", UnixMs(2_147_483_648_000)),
    ("ten years ahead", UnixMs(T0.0 + 10 * YEAR_MS)),
    ("a year back", UnixMs(T0.0 - YEAR_MS)),
    ("the end of time", UnixMs(u64::MAX)),
];

#[test]
fn whatever_the_clock_shows_what_runs_goes_on_and_news_come_when_it_is_right_again() {
    for (what, clock) in CLOCKS {
        let mut device = Twin::new();
        device.install(1, 1);
        device.install(2, 2);
        let right = device.now;
        device.now = clock;
        for _ in 0..3 {
            device.feed(longshore_agent_core::update::Input::Tick);
            device.settle();
            device.crash();
            device.settle();
            device.now = device.now.plus_ms(11_000);
            device.feed(longshore_agent_core::update::Input::Tick);
            device.settle();
        }
        assert_eq!(device.serving, Some(bundle(2)), "{what}: what runs goes on");
        // An assignment that is good for an hour of the right time.
        let mut order = assignment(3, 3, Commit::Local);
        (order.issued, order.activate_by, order.not_after) =
            (right, right.plus_ms(3_600_000), right.plus_ms(3_600_000));
        device.feed(assigned(header(1, 3), order.clone()));
        device.settle();
        let behind = clock < order.not_after;
        assert_eq!(device.serving == Some(bundle(3)), behind, "{what}");
        // The clock is put right; the fleet sends it again on the next connect.
        device.now = right.plus_ms(1000);
        device.feed(assigned(header(1, 4), order));
        device.pass(20_000);
        assert_eq!(device.serving, Some(bundle(3)), "{what}: taken once the time is right");
        assert!(device.record().update.is_none(), "{what}: {:?}", device.record().update);
    }
}

#[test]
fn a_lease_ends_whatever_is_done_to_the_clock_meanwhile() {
    for (what, clock) in CLOCKS {
        let mut device = Twin::new();
        device.install(1, 1);
        let mut order = assignment(2, 2, Commit::Lease { lease_ms: 60_000 });
        (order.activate_by, order.not_after) = (UnixMs(u64::MAX), UnixMs(u64::MAX));
        device.feed(assigned(header(1, 2), order));
        device.settle();
        assert_eq!(device.serving, Some(bundle(2)));
        // Put somewhere, and from there it runs on: the lease is over after its length at the latest.
        device.now = clock;
        device.feed(longshore_agent_core::update::Input::Tick);
        device.settle();
        device.pass(61_000);
        if clock.0 < u64::MAX - 61_000 {
            assert_eq!(device.serving, Some(bundle(1)), "{what}");
        }
        // Put back again and again, it does not live on for ever.
        for _ in 0..5 {
            device.now = UnixMs(device.now.0.saturating_sub(30_000));
            device.pass(61_000);
        }
        assert!(clock.0 >= u64::MAX - 400_000 || device.serving == Some(bundle(1)), "{what}");
    }
}

#[test]
fn metadata_is_refused_by_a_clock_ahead_and_a_clock_behind_takes_nothing_back() {
    for (what, clock, good) in [
        ("1970", UnixMs(0), true),
        ("a year back", UnixMs(NOW.0 - YEAR_MS), true),
        ("right", NOW, true),
        ("ten years ahead", UnixMs(NOW.0 + 10 * YEAR_MS), false),
        ("2038", UnixMs(2_147_483_648_000), false),
        ("the end of time", UnixMs(u64::MAX), false),
    ] {
        let mut field = Field::new();
        field.repo.release(&["targets"]);
        field.client.now = clock;
        let refreshed = field.client.refresh(&field.repo, &[]);
        match refreshed {
            Ok(_) => assert!(good, "{what}"),
            Err(e) => assert!(!good && matches!(e, TufError::Expired { .. }), "{what}: {e}"),
        }
        // Versions do not depend on time: an older state is refused by any clock.
        let mut older = Field::new();
        older.client.stored = field.client.stored.clone();
        older.client.now = clock;
        if good {
            let refused = older.client.refresh(&older.repo, &[]);
            assert!(matches!(refused, Err(TufError::Rollback { .. })), "{what}");
        }
    }
}
