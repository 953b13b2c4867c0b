//! A rollout as JUnit cases: one for each wave, one for each of its gates, and one for the whole.

use serde_json::Value;

use crate::junit::{Case, Outcome};
use crate::show::{list, text};

/// The cases, in the order of the waves.
pub fn cases(rollout: &Value) -> Vec<Case> {
    let mut out = Vec::new();
    for wave in list(rollout, "waves") {
        let class =
            format!("{}@{} wave {}", text(rollout, "model"), text(rollout, "version"), text(wave, "wave"));
        out.push(whole_wave(&class, wave));
        out.extend(list(wave, "gates").iter().map(|g| gate(&class, g)));
    }
    let state = text(rollout, "state");
    let outcome = if state == "completed" {
        Outcome::Passed
    } else {
        Outcome::Failed {
            kind: format!("rollout.{state}"),
            message: format!("{state}: {}", text(rollout, "reason")),
        }
    };
    let seconds = between(rollout, "started", "ended");
    out.push(Case {
        class: "rollout".into(),
        name: text(rollout, "id"),
        seconds,
        outcome,
        said: String::new(),
    });
    out
}

fn whole_wave(class: &str, wave: &Value) -> Case {
    let state = text(wave, "state");
    let failed =
        || Outcome::Failed { kind: format!("wave.{state}"), message: format!("the wave is {state}") };
    let outcome = match state.as_str() {
        "passed" => Outcome::Passed,
        _ if wave["skipped"] == true => Outcome::Skipped("a person said to go on without its verdict".into()),
        "failed" | "inconclusive" => failed(),
        "waiting" => Outcome::Skipped("never opened".into()),
        other => Outcome::Skipped(format!("not judged: it is {other}")),
    };
    let counts: Vec<String> = wave["device_counts"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    let said = format!("{}: {}", text(wave, "select"), counts.join(", "));
    Case {
        class: class.into(),
        name: "wave".into(),
        seconds: between(wave, "opened", "judged"),
        outcome,
        said,
    }
}

fn gate(class: &str, gate: &Value) -> Case {
    let (verdict, said) = (text(gate, "verdict"), text(gate, "said"));
    let outcome = match verdict.as_str() {
        "pass" => Outcome::Passed,
        "not_yet" => Outcome::Skipped(said.clone()),
        "not_applicable" => Outcome::Skipped(format!("does not apply: {said}")),
        _ => Outcome::Failed { kind: format!("gate.{verdict}"), message: said.clone() },
    };
    let mut numbers = vec![said];
    for key in ["value", "limit", "method"] {
        if !gate[key].is_null() {
            numbers.push(format!("{key} {}", text(gate, key)));
        }
    }
    for (name, value) in gate["numbers"].as_object().into_iter().flatten() {
        numbers.push(format!("{name} {value}"));
    }
    Case { class: class.into(), name: text(gate, "gate"), seconds: 0.0, outcome, said: numbers.join("; ") }
}

/// Seconds between two times in ms; 0 when either is missing.
fn between(value: &Value, from: &str, to: &str) -> f64 {
    match (value[from].as_u64(), value[to].as_u64()) {
        (Some(from), Some(to)) => to.saturating_sub(from) as f64 / 1000.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_wave_and_each_gate_is_a_case() {
        let rollout = json!({ "id": "r", "model": "m", "version": "1", "state": "reverted", "reason": "accuracy",
            "started": 1000, "ended": 5000,
            "waves": [
                { "wave": 0, "state": "passed", "select": "2", "device_counts": { "committed": 2 }, "opened": 0, "judged": 1500,
                  "gates": [{ "gate": "rows", "verdict": "pass", "said": "ok", "value": 5.0, "numbers": { "n": 2.0 } }] },
                { "wave": 1, "state": "failed", "select": "rest", "device_counts": {},
                  "gates": [{ "gate": "accuracy", "verdict": "fail", "said": "5 points lost" },
                            { "gate": "latency", "verdict": "not_yet", "said": "needs 3 more" }] },
                { "wave": 2, "state": "waiting", "select": "x", "device_counts": {}, "gates": [] },
            ] });
        let cases = cases(&rollout);
        let names: Vec<&str> = cases.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["wave", "rows", "wave", "accuracy", "latency", "wave", "r"]);
        assert_eq!(cases[0].outcome, Outcome::Passed);
        assert!((cases[0].seconds - 1.5).abs() < 1e-9 && cases[1].said.contains("n 2"), "{cases:?}");
        assert!(matches!(&cases[3].outcome, Outcome::Failed { kind, .. } if kind == "gate.fail"));
        assert!(
            matches!(cases[4].outcome, Outcome::Skipped(_))
                && matches!(cases[5].outcome, Outcome::Skipped(_))
        );
        assert!(matches!(&cases[6].outcome, Outcome::Failed { kind, .. } if kind == "rollout.reverted"));
    }
}
