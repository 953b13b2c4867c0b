//! Gates: what a wave must prove before the next one opens.
//!
//! Install success is not model success: a wave also shows rows answered and, where labels exist, accuracy. Devices that
//! cannot be reached are a number of their own: they neither dilute the failures nor count as successes. A gate that has
//! too little evidence says what it still needs and passes nothing. Every verdict carries its numbers.

mod accuracy;
mod power;
mod quantile;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::Gate;
use crate::rollout::Standing;

pub use accuracy::{ICC, MIN_CANDIDATE_LABELS, MIN_CHAMPION_LABELS, NO_SINGLE_DEVICE};
pub use power::{Canary, Harm, Power, power};
pub use quantile::{normal, student};

/// Counts of one bundle on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Rows answered.
    pub rows: u64,
    /// Rows refused or failed.
    pub errors: u64,
    /// Rows whose true answer is known.
    pub labelled: u64,
    /// Of these, answered right.
    pub correct: u64,
}
impl Tally {
    /// What came on top of `base`.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(base.rows),
            errors: self.errors.saturating_sub(base.errors),
            labelled: self.labelled.saturating_sub(base.labelled),
            correct: self.correct.saturating_sub(base.correct),
        }
    }
}

/// What one device of the wave says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// How it counts.
    pub standing: Standing,
    /// Whether the fleet hears of it.
    pub reachable: bool,
    /// What it counted with the new version in this rollout.
    pub candidate: Tally,
    /// What it counted with its own previous version; `None` when it had none.
    pub champion: Option<Tally>,
}

/// How a gate, or all of them, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is nothing to ask.
    NotApplicable,
    /// It holds.
    Pass,
    /// Too little evidence so far.
    NotYet,
    /// The deadline came before the evidence.
    Inconclusive,
    /// It does not hold.
    Fail,
}

/// One gate's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// `success`, `failed_devices`, `devices`, `rows`, `accuracy`.
    pub gate: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was measured.
    pub value: Option<f64>,
    /// What it is held against.
    pub limit: Option<f64>,
    /// One sentence for people.
    pub text: String,
    /// How it was decided, where there is a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// More numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
}

/// Devices and rows of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Devices in it.
    pub devices: u64,
    /// Running the version.
    pub ok: u64,
    /// Tried and could not.
    pub failed: u64,
    /// On their way, and heard of.
    pub pending: u64,
    /// On their way, and not heard of.
    pub unreachable: u64,
    /// Called back or gone.
    pub out: u64,
    /// Rows answered with the version.
    pub rows: u64,
    /// Rows refused or failed.
    pub errors: u64,
    /// Labelled rows.
    pub labelled: u64,
    /// Of these, right.
    pub correct: u64,
}

/// What is known of a wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All gates together.
    pub outcome: Outcome,
    /// Devices and rows.
    pub counts: Counts,
    /// Each gate.
    pub gates: Vec<GateResult>,
}

impl Verdict {
    /// The sentences of the gates that stand in the way: failures first, else what is missing.
    #[must_use]
    pub fn reasons(&self) -> String {
        let of = |o: Outcome| {
            let all: Vec<&str> =
                self.gates.iter().filter(|g| g.outcome == o).map(|g| g.text.as_str()).collect();
            all.join("; ")
        };
        [Outcome::Fail, Outcome::Inconclusive, Outcome::NotYet]
            .into_iter()
            .map(of)
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

/// Asks all gates about a wave. `failed_in_rollout` counts failed devices of all waves; `waves` is how many waves share
/// the policy's alpha.
#[must_use]
pub fn judge(gate: &Gate, wave: &[Evidence], failed_in_rollout: u64, waves: usize) -> Verdict {
    let counts = count(wave);
    let mut gates = vec![success(gate, &counts), devices(gate, &counts), rows(gate, &counts, wave)];
    if let Some(max) = gate.max_failed_devices {
        gates.push(failed_devices(max, failed_in_rollout));
    }
    if let Some(margin) = gate.accuracy_drop {
        gates.push(accuracy::judge(gate, margin, wave, waves));
    }
    let outcome = gates.iter().map(|g| g.outcome).max().unwrap_or(Outcome::Pass).max(Outcome::Pass);
    Verdict { outcome, counts, gates }
}

fn count(wave: &[Evidence]) -> Counts {
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

fn success(gate: &Gate, c: &Counts) -> GateResult {
    let decided = c.ok + c.failed;
    let share = if decided == 0 { 1.0 } else { c.ok as f64 / decided as f64 };
    // Even if all that are still on their way come up, is it out of reach?
    let all = decided + c.pending + c.unreachable;
    let best = if all == 0 { 1.0 } else { (all - c.failed) as f64 / all as f64 };
    let (outcome, text) = if c.failed > 0 && best < gate.success {
        let text = format!(
            "{} of {decided} devices failed: {:.1} % came up, {:.1} % is asked for",
            c.failed,
            share * 100.0,
            gate.success * 100.0
        );
        (Outcome::Fail, text)
    } else if c.pending > 0 {
        (Outcome::NotYet, format!("not yet (needs the answer of {} more devices)", c.pending))
    } else if decided == 0 {
        (Outcome::NotYet, "not yet (needs a device that can be reached)".to_owned())
    } else if share < gate.success {
        let text = format!("{} of {decided} devices failed: {:.1} % came up", c.failed, share * 100.0);
        (Outcome::Fail, text)
    } else {
        (Outcome::Pass, format!("{} of {decided} devices came up with it", c.ok))
    };
    result("success", outcome, share, gate.success, text)
}

fn devices(gate: &Gate, c: &Counts) -> GateResult {
    // A wave smaller than the minimum must show all of its devices.
    let need = u64::from(gate.min_devices).min(c.devices.saturating_sub(c.out)).max(1);
    let (outcome, text) = if c.ok >= need {
        (Outcome::Pass, format!("{} devices run it, {need} are asked for", c.ok))
    } else {
        let away =
            if c.unreachable > 0 { format!("; {} cannot be reached", c.unreachable) } else { String::new() };
        (Outcome::NotYet, format!("not yet (needs {} more devices that run it{away})", need - c.ok))
    };
    result("devices", outcome, c.ok as f64, need as f64, text)
}

fn rows(gate: &Gate, c: &Counts, wave: &[Evidence]) -> GateResult {
    // Where there are others, one device brings at most half of what is asked for: it may be broken, or lie.
    let speaking = wave.iter().filter(|e| e.candidate.rows > 0).count();
    let up = wave.iter().filter(|e| e.standing == Standing::Ok).count();
    let most = if up >= NO_SINGLE_DEVICE { gate.min_rows.div_ceil(2) } else { u64::MAX };
    let counted = wave.iter().fold(0u64, |sum, e| sum.saturating_add(e.candidate.rows.min(most)));
    let (outcome, text) = if counted >= gate.min_rows {
        (Outcome::Pass, format!("{} rows answered, {} are asked for", c.rows, gate.min_rows))
    } else if c.rows >= gate.min_rows {
        let text = format!(
            "not yet (needs rows of more devices: {speaking} answered, and one counts for at most {most} of {} rows)",
            gate.min_rows
        );
        (Outcome::NotYet, text)
    } else {
        (Outcome::NotYet, format!("not yet (needs {} more rows)", gate.min_rows - c.rows))
    };
    result("rows", outcome, c.rows as f64, gate.min_rows as f64, text)
}

fn failed_devices(max: u32, failed: u64) -> GateResult {
    let (outcome, text) = if failed > u64::from(max) {
        (Outcome::Fail, format!("{failed} devices of the rollout failed, at most {max} are allowed"))
    } else {
        (Outcome::Pass, format!("{failed} devices of the rollout failed, at most {max} are allowed"))
    };
    result("failed_devices", outcome, failed as f64, f64::from(max), text)
}

#[cfg(test)]
mod tests;
