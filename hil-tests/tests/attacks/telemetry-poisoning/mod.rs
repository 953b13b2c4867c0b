//! One device of a wave says whatever suits the attacker; the others say what they saw.

use longshore_agent_core::backoff::Jitter;
use longshore_fleet::store::ingest;
use longshore_fleet_core::gate::{Evidence, Measured, NO_SINGLE_DEVICE, Outcome, Tally, judge};
use longshore_fleet_core::policy::{Gate, Policy};
use longshore_fleet_core::rollout::Standing;
use longshore_stats::Counters;
use longshore_trust::{StreamId, UnixMs};
use longshore_wire::v1::{Window, WindowKey};

use crate::api::Fleet;

fn gate(extra: &str) -> Gate {
    let text = format!(
        "name = \"p\"\n[[wave]]\nselect = {{ rest = true }}\n[gate]\nsuccess = 0.5\naccuracy_drop = 0.02\nmin_labelled = 200\n\
         min_rows = 200\ndeadline = \"1h\"\non_fail = \"revert\"\n{extra}"
    );
    Policy::parse(&text).unwrap().gate
}
fn says(champion: Tally, candidate: Tally) -> Evidence<'static> {
    Evidence {
        standing: Standing::Ok,
        reachable: true,
        candidate,
        champion: Some(champion),
        measured: &Measured::NOTHING,
    }
}
fn tally(labelled: u64, correct: u64) -> Tally {
    Tally { rows: labelled, errors: 0, labelled, correct }
}
/// Right answers of so many rows, each with this chance.
fn right(dice: &mut Jitter, of: u64, accuracy: f64) -> u64 {
    (0..of).filter(|_| (dice.up_to(1 << 30) as f64) < accuracy * f64::from(1 << 30)).count() as u64
}
fn honest(dice: &mut Jitter, devices: u64, before: f64, now: f64) -> Vec<Evidence<'static>> {
    (0..devices)
        .map(|_| says(tally(400, right(dice, 400, before)), tally(300, right(dice, 300, now))))
        .collect()
}

/// From what anybody can be made to believe to what nobody can.
const MANY: u64 = 1 << 43;
fn lies(for_the_version: bool) -> Vec<Evidence<'static>> {
    let (good, bad) = (|n| tally(n, n), |n| tally(n, 0));
    let sizes = [20, 300, 10_000, 1 << 30, MANY];
    let mut all = Vec::new();
    for a in sizes {
        for b in sizes {
            all.push(if for_the_version { says(bad(a), good(b)) } else { says(good(a), bad(b)) });
            all.push(if for_the_version {
                says(tally(a, a / 2), good(b))
            } else {
                says(tally(a, a / 2), bad(b))
            });
        }
    }
    all
}

#[test]
fn one_liar_makes_no_bad_version_pass_and_no_good_one_fail() {
    let g = gate("");
    let mut dice = Jitter::new(7);
    let (mut passed, mut failed, mut worlds) = (0, 0, 0);
    for devices in [2u64, 3, 5, 9, 12, 29, 40] {
        for _ in 0..6 {
            let bad = honest(&mut dice, devices, 0.95, 0.80);
            let good = honest(&mut dice, devices, 0.90, 0.90);
            assert_ne!(judge(&g, &good, 0, 1).outcome, Outcome::Fail);
            for (for_it, truth) in [(true, &bad), (false, &good)] {
                for lie in lies(for_it) {
                    let mut wave = truth.clone();
                    wave.push(lie);
                    assert!(wave.len() >= NO_SINGLE_DEVICE);
                    let verdict = judge(&g, &wave, 0, 1);
                    worlds += 1;
                    passed += u32::from(for_it && verdict.outcome == Outcome::Pass);
                    failed += u32::from(!for_it && verdict.outcome == Outcome::Fail);
                }
            }
        }
    }
    println!("{worlds} waves with a liar: {passed} bad versions passed, {failed} good ones failed");
    assert_eq!((passed, failed), (0, 0));
}

#[test]
fn without_a_liar_the_same_waves_are_decided() {
    let g = gate("");
    let mut dice = Jitter::new(8);
    for devices in [3u64, 5, 12, 40] {
        let bad = honest(&mut dice, devices, 0.95, 0.80);
        assert_eq!(judge(&g, &bad, 0, 1).outcome, Outcome::Fail, "{devices}");
        let good = honest(&mut dice, devices, 0.90, 0.92);
        assert!(judge(&g, &good, 0, 1).outcome <= Outcome::NotYet, "{devices}");
    }
    let good = honest(&mut dice, 12, 0.90, 0.93);
    assert_eq!(judge(&g, &good, 0, 1).outcome, Outcome::Pass, "{:?}", judge(&g, &good, 0, 1));
}

#[test]
fn one_device_does_not_bring_the_rows_of_all() {
    let g = gate("");
    let quiet = says(tally(400, 380), tally(12, 12));
    let loud = says(tally(400, 380), tally(MANY, MANY));
    let verdict = judge(&g, &[loud, quiet, quiet, quiet], 0, 1);
    assert_eq!(verdict.outcome, Outcome::NotYet, "{verdict:?}");
    assert!(verdict.reasons().contains("rows"), "{}", verdict.reasons());
    let all = judge(&g, &vec![says(tally(400, 380), tally(100, 98)); 4], 0, 1);
    assert_eq!(all.outcome, Outcome::Pass, "{all:?}");
}

#[tokio::test]
async fn tables_of_another_size_keep_nobody_out_of_the_hour() {
    let fleet = Fleet::new().await;
    let bundle = fleet.release("1.0.0", 1, &[]).await;
    let (liar, honest) = (fleet.device(1, None).await, fleet.device(2, None).await);
    let window = |classes: usize, rows: u64| {
        let mut counters = Counters::with_classes(classes);
        counters.rows = rows;
        counters.classes[0] = rows;
        let key = WindowKey {
            model: "m".parse().unwrap(),
            bundle,
            start: UnixMs(7_200_000),
            end: UnixMs(7_260_000),
        };
        Window { key, supplement: false, counters }
    };
    let said = |device: &crate::api::Device<'_>, seq| {
        crate::server::header(&fleet.app.fleet, &device.id, StreamId(1), seq)
    };
    let mut tx = fleet.app.store.write().await.unwrap();
    for classes in [2, 4, 100] {
        let lie = window(classes, 5);
        assert!(
            !ingest::window(&mut tx, &said(&liar, 1), &lie, UnixMs(9)).await.unwrap(),
            "{classes} classes"
        );
    }
    assert!(ingest::window(&mut tx, &said(&honest, 1), &window(3, 7), UnixMs(9)).await.unwrap());
    tx.commit().await.unwrap();
    let db = rusqlite::Connection::open(fleet.app.store.path()).unwrap();
    let hours: i64 =
        db.query_row("SELECT count(*) FROM model_hour WHERE cohort = 'fleet'", [], |r| r.get(0)).unwrap();
    assert_eq!(hours, 1);
    assert_eq!(fleet.app.store.rows_counted().await.unwrap(), 7);
}
