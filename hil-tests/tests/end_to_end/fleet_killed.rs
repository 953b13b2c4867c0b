//! SIGKILL of the fleet at random moments through real rollouts: each ends as its version deserves, on every device, and
//! nothing is counted twice. The devices are never killed here, so every answer must be counted exactly once.

use std::time::{Duration, Instant};

use longshore_hil_tests::load::{Load, read};
use longshore_hil_tests::root;
use longshore_hil_tests::script::{ALL_AT_ONCE, MODEL, await_state, build_from, release, roll_out, settle};
use longshore_hil_tests::stage::Stage;
use serde_json::Value;

use crate::{Dice, fleet};

const SEED: u64 = 20_261_123;
const DEVICES: usize = 3;
/// Kills in each rollout.
const KILLS: u64 = 4;

/// A canary, then everybody else; devices judge the answers themselves, long before there are the rows that a wave needs.
const IN_WAVES: &str = r#"name = "in-waves"
[[wave]]
select = { count = 1 }
soak = "4s"
lease = "30s"
[[wave]]
select = { rest = true }
soak = "2s"
[gate]
min_devices = 1
min_rows = 1000
success = 0.9
max_failed_devices = 0
deadline = "120s"
on_fail = "revert"
on_inconclusive = "pause"
[guard]
score_shift = 0.25
"#;

#[test]
fn a_fleet_that_is_killed_at_random_moments_brings_every_rollout_to_its_right_end() {
    // Every night two hundred, in CI twenty.
    let rollouts = if std::env::var_os("LONGSHORE_NIGHTLY").is_some() { 50 } else { 5 };
    eprintln!("seed {SEED}, {} kills in {rollouts} rollouts", rollouts * KILLS);
    let mut dice = Dice(SEED);
    let mut stage = fleet(DEVICES);
    let mut before = build_from(&stage, "1.0.0", &version(0), None).unwrap();
    release(&stage, &version(0)).unwrap();
    let first = roll_out(&stage, &version(0), ALL_AT_ONCE).unwrap();
    await_state(&mut stage, &first, "completed", Duration::from_secs(60)).unwrap();
    let rows = read(&root().join("examples/meter-digits/field/stream.csv")).unwrap();
    let sockets: Vec<_> = (1..=DEVICES).map(|i| stage.socket(i)).collect();
    let load = Load::start(&sockets, rows, Duration::from_millis(15));

    let mut running = version(0);
    let mut assigned = [0; DEVICES];
    for n in 1..=rollouts {
        // The first and every third after it has learnt from few hands: it is sure of itself, and wrong.
        let is_bad = n % 3 == 1;
        let weights = if is_bad { "1.2.0" } else { "1.1.0" };
        let bundle = build_from(&stage, weights, &version(n), Some(&before)).unwrap();
        release(&stage, &version(n)).unwrap();
        let rollout = roll_out(&stage, &version(n), IN_WAVES).unwrap();
        let mut at_ms = Vec::new();
        for _ in 0..KILLS {
            let wait = dice.below(2500);
            at_ms.push(wait);
            std::thread::sleep(Duration::from_millis(wait));
            stage.kill("fleet").unwrap();
            stage.start_fleet().unwrap();
        }
        let end = if is_bad { "reverted" } else { "completed" };
        await_state(&mut stage, &rollout, end, Duration::from_secs(120)).unwrap();
        if !is_bad {
            (running, before) = (version(n), bundle);
        }
        eprintln!("{}: {end}; killed {at_ms:?} ms after the start before", version(n));
        agree(&mut stage, &running);
        for (i, before) in assigned.iter_mut().enumerate() {
            let now = stage.status(i + 1).unwrap()["assignment_version"].as_u64().unwrap();
            assert!(now >= *before, "device {} fell from assignment {before} to {now}", i + 1);
            *before = now;
        }
    }
    let tally = load.stop();
    let totals = settle(&mut stage, DEVICES).unwrap();
    let (served, aborted) = (tally.served(), tally.aborted());
    eprintln!("served {served}, aborted {aborted}, {totals:?}");
    assert_eq!((totals.counted, totals.journalled), (served, served));
    assert_eq!(aborted, 0, "no device was killed");
    agree(&mut stage, &running);
    stage.strike();
}

fn version(n: u64) -> String {
    format!("3.0.{n}")
}

/// Waits until every device runs `version` and the fleet says the same of it, to the digest of the bundle.
fn agree(stage: &mut Stage, version: &str) {
    let of = |told: &Value| {
        let models = told["models"].as_array()?;
        let model = models.iter().find(|m| m["model"] == MODEL)?;
        Some((model["version"].clone(), model["active"].clone()))
    };
    for i in 1..=DEVICES {
        let path = format!("/api/v1/devices/{}", Stage::device(i));
        let begun = Instant::now();
        loop {
            let (runs, said) = (of(&stage.status(i).unwrap()), of(&stage.api(&path).unwrap()));
            if runs.as_ref().is_some_and(|(v, _)| v == version) && runs == said {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "device {i} should run {version}; it runs {runs:?}, and the fleet says {said:?}"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
