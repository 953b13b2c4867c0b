//! Gates: what a wave must prove before the next one opens.
//!
//! Install success is not model success: a wave also shows rows answered and, where labels exist, accuracy. Devices that
//! cannot be reached are a number of their own: they neither dilute the failures nor count as successes. A gate that has
//! too little evidence says what it still needs and passes nothing. Every verdict carries its numbers.

mod accuracy;
mod control;
mod counts;
mod evidence;
mod figures;
mod golden;
mod harm;
mod paired;
mod power;
mod quantile;
mod shadow;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::{self, Gate};
use harm::Asked;

pub use accuracy::{ICC, MIN_CANDIDATE_LABELS, MIN_CHAMPION_LABELS};
pub use evidence::{Control, Evidence, Figures, Measured, Tally};
pub use harm::PASS_ALPHA;
pub use paired::{MANY_DEVICES, NO_SINGLE_DEVICE};
pub use power::{Canary, Harm, Power, power};
pub use quantile::{normal, student};
pub use shadow::{AGREEMENT_GATE, Beside};

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
    /// `success`, `failed_devices`, `devices`, `rows`, or the policy's key: `accuracy_drop` answers as `accuracy`, and as
    /// `accuracy_estimated` where scores tell something.
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
    /// The gates that stand in the way, each with its name and its sentence: failures first, else what is missing.
    #[must_use]
    pub fn reasons(&self) -> String {
        let of = |o: Outcome| {
            let told = |g: &GateResult| format!("{}: {}", g.gate, g.text);
            let all: Vec<String> = self.gates.iter().filter(|g| g.outcome == o).map(told).collect();
            all.join("; ")
        };
        [Outcome::Fail, Outcome::Inconclusive, Outcome::NotYet]
            .into_iter()
            .map(of)
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

/// Waves of at least so many devices must prove the absence of harm, unless the policy says otherwise.
pub const LARGE_WAVE: usize = 30;

/// What scores estimate is a second chance to err about accuracy: it has this part of that gate's alpha.
const ESTIMATE_SHARE: f64 = 0.1;
/// What labels say of a version in shadow is a third one, in waves with a shadow run. It sees both versions on the same rows
/// and needs little.
const SHADOW_SHARE: f64 = 0.2;

/// The part of the accuracy gate's alpha that is left to labelled rows of devices on which the version serves.
fn labels_share(has_shadow: bool) -> f64 {
    1.0 - ESTIMATE_SHARE - if has_shadow { SHADOW_SHARE } else { 0.0 }
}

/// Asks all gates about a wave that has no control devices. `failed_in_rollout` counts failed devices of all waves; `waves`
/// is how many waves share the policy's alpha.
#[must_use]
pub fn judge(gate: &Gate, wave: &[Evidence<'_>], failed_in_rollout: u64, waves: usize) -> Verdict {
    judge_beside(gate, wave, &[], failed_in_rollout, waves)
}

/// Asks all gates about a wave, beside devices that still run the previous version.
#[must_use]
pub fn judge_beside(
    gate: &Gate,
    wave: &[Evidence<'_>],
    controls: &[Control],
    failed_in_rollout: u64,
    waves: usize,
) -> Verdict {
    let counts = counts::count(wave);
    let recent;
    let wave = if controls.len() < control::MIN_CONTROLS {
        recent = wave.iter().map(Evidence::recent).collect::<Vec<_>>();
        &recent
    } else {
        wave
    };
    let mut gates = vec![
        counts::success(gate, &counts),
        counts::devices(gate, &counts),
        counts::rows(gate, &counts, wave),
    ];
    if let Some(max) = gate.max_failed_devices {
        gates.push(counts::failed_devices(max, failed_in_rollout));
    }
    let alpha = alpha_of_one(gate, waves);
    let part =
        |margin, share: f64| Asked { margin, alpha: alpha * share, proof: wants_proof(gate, wave.len()) };
    let asked = |margin| part(margin, 1.0);
    if let Some(margin) = gate.accuracy_drop {
        let labels = part(margin, labels_share(shadow::is_run(wave)));
        gates.push(accuracy::judge(gate.min_labelled, &labels, wave, controls));
        gates.extend(accuracy::judge_estimate(&part(margin, ESTIMATE_SHARE), wave));
    }
    if let Some(margin) = gate.error_rate_increase {
        gates.push(figures::errors(&asked(margin), wave, controls));
    }
    if let Some(ratio) = gate.latency_p99_ratio {
        gates.push(figures::latency(&asked(ratio.ln()), wave));
    }
    if let Some(margin) = gate.score_shift {
        gates.push(figures::scores(&asked(margin), wave));
    }
    if let Some(limit) = gate.golden_deviation {
        gates.push(golden::judge(limit, wave));
    }
    gates.extend(shadow::judge(gate, asked, |margin| part(margin, SHADOW_SHARE), wave));
    let outcome = gates.iter().map(|g| g.outcome).max().unwrap_or(Outcome::Pass).max(Outcome::Pass);
    Verdict { outcome, counts, gates }
}

/// Whether a wave of so many devices must prove that there is no harm.
fn wants_proof(gate: &Gate, devices: usize) -> bool {
    match gate.evidence {
        policy::Evidence::NoProofOfHarm => false,
        policy::Evidence::ProofOfNoHarm => true,
        policy::Evidence::BySize => devices >= LARGE_WAVE,
    }
}

/// What the gate on this harm asks of a wave; `None` when the policy has none.
fn harm_of(gate: &Gate, waves: usize, canary: &Canary, harm: Harm) -> Option<Asked> {
    let (margin, share) = match harm {
        Harm::Accuracy(_) => (gate.accuracy_drop?, labels_share(canary.has_shadow)),
        Harm::Errors(_) => (gate.error_rate_increase?, 1.0),
    };
    let proof = wants_proof(gate, canary.devices as usize);
    Some(Asked { margin, alpha: alpha_of_one(gate, waves) * share, proof })
}

/// The part of the rollout's alpha that one gate has in one wave.
#[must_use]
pub fn alpha_of_one(gate: &Gate, waves: usize) -> f64 {
    let asked = [
        gate.accuracy_drop.is_some(),
        gate.error_rate_increase.is_some(),
        gate.latency_p99_ratio.is_some(),
        gate.score_shift.is_some(),
        gate.shadow_agreement.is_some(),
    ];
    let gates = asked.iter().filter(|a| **a).count().max(1);
    gate.alpha / (waves.max(1) * gates) as f64
}

#[cfg(test)]
mod tests;
