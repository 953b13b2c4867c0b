//! Gates that only count: devices that came up, devices that failed, rows.

use std::collections::BTreeMap;

use longshore_stats::sequence::bernoulli;

use super::paired::NO_SINGLE_DEVICE;
use super::{Counts, Evidence, GateResult, Outcome};
use crate::policy::Gate;
use crate::rollout::Standing;
use crate::wording::counted;

/// The interval that is shown with a share errs so often.
const SHOWN_ALPHA: f64 = 0.05;

pub(super) fn count(wave: &[Evidence<'_>]) -> Counts {
    let mut c = Counts { devices: wave.len() as u64, ..Counts::default() };
    for e in wave {
        match (e.standing, e.reachable) {
            (Standing::Ok, _) => c.ok += 1,
            (Standing::Failed, _) => c.failed += 1,
            (Standing::Out, _) => c.out += 1,
            (Standing::OnItsWay, true) => c.pending += 1,
            (Standing::OnItsWay, false) => c.unreachable += 1,
        }
        c.rows = c.rows.saturating_add(e.candidate.rows);
        c.errors = c.errors.saturating_add(e.candidate.errors);
        c.labelled = c.labelled.saturating_add(e.candidate.labelled);
        c.correct = c.correct.saturating_add(e.candidate.correct);
    }
    c
}

fn result(gate: &str, outcome: Outcome, value: f64, limit: f64, text: String) -> GateResult {
    GateResult {
        gate: gate.to_owned(),
        outcome,
        value: Some(value),
        limit: Some(limit),
        text,
        method: None,
        numbers: BTreeMap::new(),
    }
}

pub(super) fn success(gate: &Gate, c: &Counts) -> GateResult {
    let decided = c.ok + c.failed;
    let share = if decided == 0 { 1.0 } else { c.ok as f64 / decided as f64 };
    // Even if all that are still on their way come up, is it out of reach?
    let all = decided + c.pending + c.unreachable;
    let best = if all == 0 { 1.0 } else { (all - c.failed) as f64 / all as f64 };
    // If none of those that can be heard came up, is it still reached? Then one that is slow or defers stops nobody.
    let worst = c.ok as f64 / (decided + c.pending).max(1) as f64;
    let (outcome, text) = if c.failed > 0 && best < gate.success {
        let text = format!(
            "{} of {} failed: {:.1} % came up, {:.1} % is asked for",
            c.failed,
            counted(decided, "device"),
            share * 100.0,
            gate.success * 100.0
        );
        (Outcome::Fail, text)
    } else if c.pending > 0 && worst < gate.success {
        (Outcome::NotYet, format!("not yet (needs the answer of {})", counted(c.pending, "more device")))
    } else if decided == 0 {
        (Outcome::NotYet, "not yet (needs a device that can be reached)".to_owned())
    } else if share < gate.success {
        let text =
            format!("{} of {} failed: {:.1} % came up", c.failed, counted(decided, "device"), share * 100.0);
        (Outcome::Fail, text)
    } else {
        (Outcome::Pass, format!("{} of {} came up with it", c.ok, counted(decided, "device")))
    };
    let mut result = result("success", outcome, share, gate.success, text);
    if let Ok(i) = bernoulli::interval(c.ok, decided, SHOWN_ALPHA) {
        result.numbers = [("devices", decided as f64), ("lower", i.lo), ("upper", i.hi)]
            .map(|(k, v)| (k.to_owned(), v))
            .into();
    }
    result
}

pub(super) fn devices(gate: &Gate, c: &Counts) -> GateResult {
    // A wave smaller than the minimum must show all of its devices.
    let need = u64::from(gate.min_devices).min(c.devices.saturating_sub(c.out)).max(1);
    let (outcome, text) = if c.ok >= need {
        (Outcome::Pass, format!("it runs on {}, {need} asked for", counted(c.ok, "device")))
    } else {
        let away =
            if c.unreachable > 0 { format!("; {} cannot be reached", c.unreachable) } else { String::new() };
        (Outcome::NotYet, format!("not yet (needs to run on {}{away})", counted(need - c.ok, "more device")))
    };
    result("devices", outcome, c.ok as f64, need as f64, text)
}

pub(super) fn rows(gate: &Gate, c: &Counts, wave: &[Evidence<'_>]) -> GateResult {
    // Where there are others, one device brings at most half of what is asked for: it may be broken, or lie.
    let speaking = wave.iter().filter(|e| e.candidate.rows > 0).count();
    let up = wave.iter().filter(|e| e.standing == Standing::Ok).count();
    let most = if up >= NO_SINGLE_DEVICE { gate.min_rows.div_ceil(2) } else { u64::MAX };
    let sum = wave.iter().fold(0u64, |sum, e| sum.saturating_add(e.candidate.rows.min(most)));
    let (outcome, text) = if sum >= gate.min_rows {
        (Outcome::Pass, format!("{} answered, {} asked for", counted(c.rows, "row"), gate.min_rows))
    } else if c.rows >= gate.min_rows {
        let text = format!(
            "not yet (needs rows of more devices: {speaking} answered, and one counts for at most {most} of {} rows)",
            gate.min_rows
        );
        (Outcome::NotYet, text)
    } else {
        (Outcome::NotYet, format!("not yet (needs {})", counted(gate.min_rows - c.rows, "more row")))
    };
    result("rows", outcome, c.rows as f64, gate.min_rows as f64, text)
}

pub(super) fn failed_devices(max: u32, failed: u64) -> GateResult {
    let outcome = if failed > u64::from(max) { Outcome::Fail } else { Outcome::Pass };
    let text = format!("{} of the rollout failed, at most {max} allowed", counted(failed, "device"));
    result("failed_devices", outcome, failed as f64, f64::from(max), text)
}
