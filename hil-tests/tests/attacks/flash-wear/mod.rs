//! A day of the default intervals through the real store, with every byte counted that goes to the disk.

use longshore_agent::store::Quota;
use longshore_trust::Seq;

use crate::day::{self, T0};
use crate::faulty::Faults;

/// What a day may cost, in bytes handed to the disk: with it, the smallest flash that is sold for boards (4 GB, 3000 cycles)
/// lasts three centuries, and decades when every write costs ten.
const BUDGET_BYTES: u64 = 100 << 20;
const MINUTES: u64 = 24 * 60;

/// A day with so many rows a minute, of which the labels' ring remembers `remembered`.
fn a_day(faults: &Faults, rows_a_minute: u64, remembered: u64) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = day::open(dir.path()).unwrap();
    let load = day::begin(&mut store).unwrap();
    faults.take();
    for minute in 1..=MINUTES {
        let now = T0.plus_ms(minute * 60_000);
        store.journal(&[day::delta(load, minute * rows_a_minute, remembered)], now).unwrap();
        if minute % 5 == 0 {
            store.close_windows(None, now).unwrap();
            store.enforce(&Quota { window_bytes: 64 << 20, reports: 5_000 }, now).unwrap();
            day::event(&mut store, "health").unwrap();
            let first = store.last_sealed().unwrap().next();
            let sealed = store.seal(first, 200, u64::MAX, now, &day::sign).unwrap();
            let last = sealed.rows.last().copied().unwrap_or(Seq(0));
            store.receipted(last, 1, now).unwrap();
        }
    }
    faults.take()
}

#[test]
fn a_day_of_counting_stays_within_its_budget_however_many_requests_there_are() {
    let faults = Faults::begin();
    let (writes, quiet) = a_day(&faults, 1, 1);
    let (_, busy) = a_day(&faults, 6_000, 1);
    println!(
        "a day: {writes} writes, {:.1} MB with 1 row a minute, {:.1} MB with 6000",
        quiet as f64 / 1e6,
        busy as f64 / 1e6
    );
    assert!(quiet < BUDGET_BYTES && busy < BUDGET_BYTES);
    // A hundred times the requests are the same writes: what is counted is counted in place.
    assert!(busy < quiet * 3 / 2, "{quiet} {busy}");
}

#[test]
fn a_deployment_costs_its_bundle_and_little_more() {
    let faults = Faults::begin();
    let dir = tempfile::tempdir().unwrap();
    let mut store = day::open(dir.path()).unwrap();
    faults.take();
    // Every transition of an update is a transaction; ten are more than there are.
    for n in 1..=10 {
        store.apply(&day::batch(n), T0.plus_ms(n)).unwrap();
    }
    let (_, bytes) = faults.take();
    println!("ten transitions: {bytes} bytes");
    assert!(bytes < 1 << 20, "{bytes}");
}
