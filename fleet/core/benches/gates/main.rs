//! `cargo xtask bench gates`: what the gates promise, measured on whole rollouts. Seeded: the same figures every time.
//!
//! Prints a table for people and one line of JSON; fails when a mark is missed. `--rollouts N` for a shorter run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that panics has failed")]

mod dice;
mod world;

use longshore_fleet_core::gate::{Harm, power};
use longshore_fleet_core::policy::{Policy, shipped};
use serde_json::{Value, json};
use world::{Ends, World};

/// Points that a promise may be off, and that chance may add to alpha.
const PROMISE_OFF: f64 = 0.05;
const ALPHA_AND: f64 = 0.01;
const EARLY: f64 = 0.95;

fn careful() -> Policy {
    Policy::parse(shipped("careful").unwrap()).unwrap()
}

/// One wave of `devices` with only the gate on accuracy, or on errors.
fn one_wave(devices: u32, gate: &str) -> Policy {
    let text = format!(
        "name = \"one\"\n[[wave]]\nselect = {{ count = {devices} }}\nsoak = \"4h\"\n[gate]\nsuccess = 0.5\nmin_rows = 200\n\
         alpha = 0.01\ndeadline = \"24h\"\non_fail = \"pause\"\n{gate}\n"
    );
    Policy::parse(&text).unwrap()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let given = args.iter().position(|a| a == "--rollouts").and_then(|at| args.get(at + 1)?.parse().ok());
    let rollouts: usize = given.unwrap_or(2000);
    if args.iter().any(|a| a == "--power") {
        promises(&World::default(), rollouts, &mut Vec::new());
        return;
    }
    let mut missed = Vec::new();
    let mut rows = Vec::new();
    let policy = careful();
    let alpha = policy.gate.alpha;
    let margin = policy.gate.accuracy_drop.unwrap();
    let usual = World::default();
    let harmless = [
        ("an equal version", usual, true),
        ("an equal version, answers depend on device and version alone", World { own: 1.0, ..usual }, false),
        ("an equal version, everything 3 points worse by itself", World { weather: 0.03, ..usual }, true),
    ];
    eprintln!("policy careful, 1,000 devices, {rollouts} rollouts, a look every {} min", usual.look_min);
    for (k, (name, world, both)) in harmless.into_iter().enumerate() {
        let ends = Ends::of(&world, &policy, rollouts, k as u64 + 1);
        // Where the gate's own assumption about small waves is wrong, nothing may be called proven; waiting is right.
        let counted = if both { ends.stopped() } else { ends.share(ends.failed) };
        if counted > alpha + ALPHA_AND {
            missed.push(format!("{name}: stopped in {:.2} %", counted * 100.0));
        }
        rows.push(row(name, &ends));
    }
    let edge = World { harm: margin, ..usual };
    let ends = Ends::of(&edge, &policy, rollouts, 11);
    if ends.share(ends.failed) > alpha + ALPHA_AND {
        missed
            .push(format!("a loss as large as allowed: failed in {:.2} %", ends.share(ends.failed) * 100.0));
    }
    rows.push(row("a loss as large as is allowed", &ends));
    for harm in [0.05, 0.1] {
        let ends = Ends::of(&World { harm, ..usual }, &policy, rollouts, 21);
        if ends.share(ends.early) < EARLY {
            missed
                .push(format!("a loss of {harm}: stopped early in {:.1} %", ends.share(ends.early) * 100.0));
        }
        rows.push(row(&format!("{:.0} points less accurate", harm * 100.0), &ends));
    }
    let promises = promises(&usual, rollouts, &mut missed);
    println!("{}", json!({ "rollouts": rows, "power": promises, "missed": missed }));
    assert!(missed.is_empty(), "missed: {}", missed.join("; "));
}

fn row(name: &str, ends: &Ends) -> Value {
    let percent = |n: usize| (ends.share(n) * 10_000.0).round() / 100.0;
    let (failed, waiting) = (percent(ends.failed), percent(ends.inconclusive));
    let (early, proven) = (percent(ends.early), percent(ends.early_failed));
    eprintln!(
        "  {name:<62} failed {failed:>6.2} %, inconclusive {waiting:>6.2} %; before a tenth of the fleet {early:>6.2} %, \
         proven {proven:>6.2} %"
    );
    json!({
        "version": name, "rollouts": ends.rollouts, "failed_percent": failed, "inconclusive_percent": waiting,
        "stopped_before_a_tenth_percent": early, "proven_before_a_tenth_percent": proven,
    })
}

/// What the rehearsal says of a wave, and what happens.
fn promises(usual: &World, rollouts: usize, missed: &mut Vec<String>) -> Vec<Value> {
    let accuracy = "accuracy_drop = 0.02\nmin_labelled = 200";
    let errors = "error_rate_increase = 0.01";
    let mut out = Vec::new();
    for (devices, gate, harm) in [
        (2, accuracy, Harm::Accuracy(0.05)),
        (2, accuracy, Harm::Accuracy(0.1)),
        (5, accuracy, Harm::Accuracy(0.05)),
        (10, accuracy, Harm::Accuracy(0.05)),
        (20, accuracy, Harm::Accuracy(0.04)),
        (20, accuracy, Harm::Accuracy(0.05)),
        (50, accuracy, Harm::Accuracy(0.03)),
        (50, accuracy, Harm::Accuracy(0.05)),
        (5, errors, Harm::Errors(0.05)),
        (20, errors, Harm::Errors(0.03)),
    ] {
        let policy = one_wave(devices, gate);
        let said = power(&policy.gate, 1, &usual.canary(devices, policy.waves[0].soak_ms), harm).unwrap();
        let world = match harm {
            Harm::Accuracy(harm) => World { harm, devices: devices as usize, ..*usual },
            Harm::Errors(more_errors) => World { more_errors, devices: devices as usize, ..*usual },
        };
        let ends = Ends::of(&world, &policy, rollouts, 31 + u64::from(devices));
        let (proven, stopped) = (ends.share(ends.failed), ends.stopped());
        eprintln!(
            "  {devices:>3} devices, {harm:?}: promised {:>5.1} % proven, {:>5.1} % stopped; observed {:>5.1} %, {:>5.1} %",
            said.proven * 100.0,
            said.stopped * 100.0,
            proven * 100.0,
            stopped * 100.0
        );
        if (said.proven - proven).abs() > PROMISE_OFF || (said.stopped - stopped).abs() > PROMISE_OFF {
            missed.push(format!("{devices} devices, {harm:?}: the promise is off"));
        }
        out.push(json!({
            "devices": devices, "harm": harm, "promised_proven": said.proven, "observed_proven": proven,
            "promised_stopped": said.stopped, "observed_stopped": stopped,
        }));
    }
    out
}
