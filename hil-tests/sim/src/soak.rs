//! Random scenarios: everything that can go wrong, in an order that nobody has thought of.

use crate::env::purpose;
use crate::rng::Rng;
use crate::scenario::{Act, Faults, Happening, Model, Scenario};

/// Ends by itself whatever happens, and knows all three ways to end.
const BRISK: &str = r#"name = "brisk"
[[wave]]
select = { count = 2 }
soak = "20m"
lease = "40m"
[[wave]]
select = { percent = 30 }
soak = "1h"
lease = "1h"
[[wave]]
select = { rest = true }
soak = "20m"
[gate]
min_devices = 2
min_rows = 100
min_labelled = 30
success = 0.8
max_failed_devices = 6
accuracy_drop = 0.03
deadline = "8h"
on_fail = "FAIL"
on_inconclusive = "INCONCLUSIVE"
"#;

fn pick<T: Copy, const N: usize>(rng: &mut Rng, from: &[T; N]) -> T {
    from[rng.range(0, N as u64 - 1) as usize]
}

/// The scenario of a seed.
#[must_use]
pub fn scenario(seed: u64, devices: u32) -> Scenario {
    let mut rng = Rng::new(seed, purpose::SOAK, 0);
    let mut rate = |most: f64| if rng.chance(0.5) { rng.unit() * most } else { 0.0 };
    let faults = Faults {
        loss: rate(0.2),
        duplicate: rate(0.2),
        reorder: rate(0.2),
        crash: rate(0.03),
        torn: rate(0.004),
        fetch: rate(0.4),
        fleet_crash: rate(0.05),
    };
    let mut rate = |most: f64| if rng.chance(0.25) { rng.unit() * most } else { 0.0 };
    let model = Model {
        regression_points: rate(10.0),
        error_rate: rate(0.3),
        trial_failures: rate(0.3),
        crashes: rate(0.2),
        ..Model::default()
    };
    let ways = ["pause", "halt", "revert"];
    let brisk = BRISK.replace("FAIL", pick(&mut rng, &ways)).replace("INCONCLUSIVE", pick(&mut rng, &ways));
    let policy = match rng.range(0, 5) {
        0 => "careful".to_owned(),
        1 => "fast".to_owned(),
        _ => brisk,
    };
    let mut at = vec![Happening::new(600_000, Act::Start)];
    let hours = 30;
    for _ in 0..rng.range(1, 9) {
        let time_ms = rng.range(300, hours * 3_600) * 1_000;
        at.extend(happening(&mut rng, time_ms));
    }
    at.sort_by_key(|h| h.at_ms().unwrap_or(0));
    Scenario {
        about: format!("Drawn from seed {seed}."),
        devices,
        hours: 24 * 14,
        policy,
        seed,
        rigs: if rng.chance(0.3) { 1 } else { 0 },
        verify_every: 8,
        faults,
        model,
        at,
        ..Scenario::default()
    }
}

fn happening(rng: &mut Rng, time_ms: u64) -> Vec<Happening> {
    let who = pick(rng, &["all", "10%", "34%", "60%", "3", "device 1"]).to_owned();
    let length_s = pick(rng, &[20, 300, 1_800, 7_200, 30_000, 90_000, 600_000]);
    let one = |act, who: Option<&str>, length: bool| Happening {
        who: who.map(str::to_owned),
        length: length.then(|| format!("{length_s}s")),
        ..Happening::new(time_ms, act)
    };
    let later = |act, ms| Happening::new(time_ms + ms, act);
    match rng.range(0, 19) {
        0 | 1 => vec![one(Act::Partition, Some(&who), true)],
        2 | 3 => vec![one(Act::Off, Some(&who), true)],
        4 => vec![one(Act::PowerCut, Some(&who), false)],
        5 => vec![one(Act::TornWrite, Some(&who), false)],
        6 => vec![one(Act::DiskFull, Some(&who), true)],
        7 => {
            let days = pick(rng, &[-20_000, -400, -1, 1, 3, 400, 3_650, 10_000]);
            vec![Happening { days: Some(days), ..one(Act::ClockJump, Some(&who), false) }]
        }
        8 => vec![one(Act::Broker, None, true)],
        9 => vec![one(Act::SessionLoss, None, false)],
        10 => vec![one(Act::FleetDown, None, true)],
        11 => vec![later(Act::Backup, 0), later(Act::Restore, rng.range(600, 90_000) * 1_000)],
        12 => {
            let again = rng.range(600, 40_000) * 1_000;
            let stale = Happening {
                length: Some(format!("{length_s}s")),
                ..later(Act::StaleExecutor, again + 60_000)
            };
            vec![later(Act::Backup, 0), later(Act::Restore, again), stale]
        }
        13 => vec![one(Act::RotateDirector, None, false)],
        14 => {
            let theft = one(Act::StealDirector, None, true);
            let ends = time_ms + length_s * 1_000;
            vec![theft, Happening::new(ends, Act::RotateDirector)]
        }
        15 => vec![one(Act::Enrol, Some("3"), false)],
        16 => vec![one(Act::Decommission, Some("2"), false)],
        17 => {
            vec![later(Act::Pause, 0), later(pick(rng, &[Act::RetryWave, Act::SkipWave]), length_s * 1_000)]
        }
        18 => vec![one(pick(rng, &[Act::Halt, Act::Revert]), None, false)],
        _ => vec![Happening { version: Some(3), ..one(Act::Supersede, None, false) }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_makes_a_scenario_that_can_be_played_and_written_down() {
        for seed in 0..300 {
            let one = scenario(seed, 30);
            let text = toml::to_string(&one).unwrap();
            assert_eq!(Scenario::parse(&text).unwrap(), one, "seed {seed}");
        }
    }
}
