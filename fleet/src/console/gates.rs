//! Gates of a wave, with their numbers in words and units that fit each gate.

use longshore_fleet_core::gate::{GateResult, Outcome, Verdict};

use super::badge::{Badge, Tone};
use super::figures::{count, number, percent};

/// What the page shows of one gate.
pub(super) struct GateLine {
    pub(super) name: String,
    pub(super) verdict: Badge,
    pub(super) measured: String,
    pub(super) limit: String,
    pub(super) words: String,
    /// Further numbers, and how it was decided.
    pub(super) more: String,
}

/// What a wave has shown so far.
#[derive(Default)]
pub(super) struct WaveVerdict {
    pub(super) gates: Vec<GateLine>,
    /// Devices that are not heard of: a number of their own.
    pub(super) unreachable: u64,
}

/// Reads a stored verdict. One that this program cannot read is said to be so, never hidden.
pub(super) fn verdict(stored: Option<&str>) -> WaveVerdict {
    let Some(text) = stored else {
        return WaveVerdict::default();
    };
    match serde_json::from_str::<Verdict>(text) {
        Ok(verdict) => WaveVerdict {
            gates: verdict.gates.iter().map(line).collect(),
            unreachable: verdict.counts.unreachable,
        },
        Err(error) => WaveVerdict {
            gates: vec![GateLine {
                name: "all".into(),
                verdict: Badge::new(Tone::Warn, "unreadable"),
                measured: "–".into(),
                limit: "–".into(),
                words: format!("The stored verdict cannot be read: {error}."),
                more: String::new(),
            }],
            ..WaveVerdict::default()
        },
    }
}

fn line(gate: &GateResult) -> GateLine {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| unit(&gate.gate, v));
    // The gate measures the loss: a better version has a negative one.
    let name = if gate.gate == "accuracy" { "accuracy lost".into() } else { gate.gate.replace('_', " ") };
    let mut more: Vec<String> = gate
        .numbers
        .iter()
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), number(*value)))
        .collect();
    if let Some(method) = &gate.method {
        more.insert(0, method.replace('_', " "));
    }
    GateLine {
        name,
        verdict: badge(gate.outcome),
        measured: shown(gate.value),
        limit: shown(gate.limit),
        words: super::error::sentence(&gate.text),
        more: more.join(" · "),
    }
}

fn badge(outcome: Outcome) -> Badge {
    match outcome {
        Outcome::Pass => Badge::new(Tone::Ok, "passes"),
        Outcome::Fail => Badge::new(Tone::Bad, "fails"),
        Outcome::NotYet => Badge::new(Tone::Busy, "not yet"),
        Outcome::Inconclusive => Badge::new(Tone::Warn, "inconclusive"),
        Outcome::NotApplicable => Badge::new(Tone::Idle, "does not apply"),
    }
}

/// Shares as percentages, losses as points, everything else as a count.
fn unit(gate: &str, value: f64) -> String {
    match gate {
        "success" => percent(value),
        "accuracy" | "accuracy_estimated" | "error_rate_increase" => format!("{:.1} points", value * 100.0),
        _ if value >= 0.0 && value.fract() == 0.0 => count(value as u64),
        _ => number(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn gate(name: &str, value: f64, limit: f64) -> GateResult {
        GateResult {
            gate: name.into(),
            outcome: Outcome::Fail,
            value: Some(value),
            limit: Some(limit),
            text: "one device failed".into(),
            method: Some("no_proof_of_harm".into()),
            numbers: BTreeMap::from([("lower_bound".to_owned(), 0.0312)]),
        }
    }

    #[test]
    fn numbers_have_the_unit_of_their_gate() {
        let success = line(&gate("success", 0.8, 0.95));
        assert_eq!((success.measured.as_str(), success.limit.as_str()), ("80.0 %", "95.0 %"));
        let rows = line(&gate("rows", 1234.0, 500.0));
        assert_eq!(rows.measured, "1,234");
        let accuracy = line(&gate("accuracy", 0.081, 0.02));
        assert_eq!(accuracy.measured, "8.1 points");
        assert_eq!(accuracy.words, "One device failed.");
        assert_eq!(accuracy.more, "no proof of harm · lower bound 0.0312");
    }
    #[test]
    fn a_verdict_that_cannot_be_read_is_not_hidden() {
        let shown = verdict(Some("{\"old\":1}"));
        assert_eq!(shown.gates.len(), 1);
        assert!(shown.gates[0].words.contains("cannot be read"));
        assert!(verdict(None).gates.is_empty());
    }
}
