//! Gates of a wave, with their numbers in words and units that fit each gate.

use longshore_fleet_core::gate::{Counts, GateResult, Outcome, Verdict};

use super::badge::{Badge, Tone};
use super::figures::{self, count, number, percent};

/// What the page shows of one gate.
pub(super) struct GateLine {
    pub(super) name: String,
    pub(super) verdict: Badge,
    pub(super) measured: String,
    /// From where to where the true value may lie.
    pub(super) interval: String,
    /// What it rests on.
    pub(super) n: String,
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
            gates: verdict.gates.iter().map(|g| line(g, &verdict.counts)).collect(),
            unreachable: verdict.counts.unreachable,
        },
        Err(error) => WaveVerdict {
            gates: vec![GateLine {
                name: "all".into(),
                verdict: Badge::new(Tone::Warn, "unreadable"),
                measured: "–".into(),
                interval: "–".into(),
                n: "–".into(),
                limit: "–".into(),
                words: format!("The stored verdict cannot be read: {error}."),
                more: String::new(),
            }],
            ..WaveVerdict::default()
        },
    }
}

/// Numbers that have a column of their own.
const IN_COLUMNS: [&str; 6] = ["harm", "harm_lower", "harm_upper", "ratio", "ratio_lower", "ratio_upper"];

fn line(gate: &GateResult, counts: &Counts) -> GateLine {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| unit(&gate.gate, v));
    let number_of = |names: [&str; 2]| names.iter().find_map(|n| gate.numbers.get(*n)).copied();
    let ends = (number_of(["harm_lower", "ratio_lower"]), number_of(["harm_upper", "ratio_upper"]));
    let interval = match ends {
        (Some(lo), Some(hi)) => format!("{} to {}", unit(&gate.gate, lo), unit(&gate.gate, hi)),
        (Some(lo), None) => format!("from {}", unit(&gate.gate, lo)),
        (None, Some(hi)) => format!("up to {}", unit(&gate.gate, hi)),
        (None, None) => "–".into(),
    };
    let mut more: Vec<String> = gate
        .numbers
        .iter()
        .filter(|(name, _)| !IN_COLUMNS.contains(&name.as_str()))
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), number(*value)))
        .collect();
    if let Some(method) = &gate.method {
        more.insert(0, method.replace('_', " "));
    }
    GateLine {
        name: name(&gate.gate),
        verdict: badge(gate.outcome),
        measured: shown(gate.value),
        interval,
        n: rests_on(gate, counts),
        limit: shown(gate.limit),
        words: super::error::sentence(&gate.text),
        more: more.join(" · "),
    }
}

/// What a gate measures: a loss or an increase, so that a better version has a negative one.
fn name(gate: &str) -> String {
    match gate {
        "accuracy" => "accuracy lost".into(),
        "accuracy_estimated" => "accuracy lost, estimated without labels".into(),
        "error_rate_increase" => "more failed rows".into(),
        "latency_p99_ratio" => "latency p99, new over old".into(),
        other => other.replace('_', " "),
    }
}

/// How many devices, or rows, a gate looked at.
fn rests_on(gate: &GateResult, counts: &Counts) -> String {
    if let Some(devices) = gate.numbers.get("devices") {
        return figures::devices(*devices as u64);
    }
    match gate.gate.as_str() {
        "success" => figures::devices(counts.ok + counts.failed),
        "failed_devices" | "devices" => figures::devices(counts.devices),
        "rows" => figures::devices(counts.ok),
        "accuracy" => format!("{} labels", count(counts.labelled)),
        _ => "–".into(),
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
        "latency_p99_ratio" => format!("{value:.2} ×"),
        "score_shift" => format!("{value:.3} PSI"),
        "golden_deviation" => number(value),
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
        let counts = Counts { devices: 9, ok: 6, failed: 2, labelled: 1500, ..Counts::default() };
        let line = |name: &str, value, limit| line(&gate(name, value, limit), &counts);
        let success = line("success", 0.8, 0.95);
        assert_eq!((success.measured.as_str(), success.limit.as_str()), ("80.0 %", "95.0 %"));
        assert_eq!(success.n, "8 devices");
        assert_eq!(line("rows", 1234.0, 500.0).measured, "1,234");
        assert_eq!(line("latency_p99_ratio", 1.2, 1.25).limit, "1.25 ×");
        let accuracy = line("accuracy", 0.081, 0.02);
        assert_eq!((accuracy.measured.as_str(), accuracy.n.as_str()), ("8.1 points", "1,500 labels"));
        assert_eq!(accuracy.words, "One device failed.");
        assert_eq!(accuracy.more, "no proof of harm · lower bound 0.0312");
        assert_eq!(accuracy.interval, "–");
    }
    #[test]
    fn an_interval_is_in_the_unit_of_its_gate() {
        let mut accuracy = gate("accuracy", 0.08, 0.02);
        accuracy.numbers = [("harm_lower", 0.03), ("harm_upper", 0.13), ("devices", 12.0)]
            .map(|(k, v)| (k.to_owned(), v))
            .into();
        let shown = line(&accuracy, &Counts::default());
        assert_eq!((shown.interval.as_str(), shown.n.as_str()), ("3.0 points to 13.0 points", "12 devices"));
        assert_eq!(shown.more, "no proof of harm · devices 12");
    }
    #[test]
    fn a_verdict_that_cannot_be_read_is_not_hidden() {
        let shown = verdict(Some("{\"old\":1}"));
        assert_eq!(shown.gates.len(), 1);
        assert!(shown.gates[0].words.contains("cannot be read"));
        assert!(verdict(None).gates.is_empty());
    }
}
