//! `[gate]` of a policy: what every wave must prove, and what happens when it does not.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::lines::{Lines, PolicyError};

/// What a wave must prove.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Devices that must run the version (all of a smaller wave).
    pub min_devices: u32,
    /// Rows answered with the version, over the wave.
    pub min_rows: u64,
    /// Labelled rows, over the wave; asked for only with `accuracy_drop`.
    pub min_labelled: u64,
    /// Least share of ok / (ok + failed) devices.
    pub success: f64,
    /// Most failed devices in the whole rollout.
    pub max_failed_devices: Option<u32>,
    /// Largest loss of accuracy against each device's own previous version.
    pub accuracy_drop: Option<f64>,
    /// How sure a harm must be: one for the rollout, split over its waves.
    pub alpha: f64,
    /// What passes the accuracy gate.
    pub evidence: Evidence,
    /// A wave that has not passed so long after it opened is inconclusive, ms.
    pub deadline_ms: u64,
    /// What happens when a wave fails.
    pub on_fail: OnFail,
    /// What happens when a wave is inconclusive.
    pub on_inconclusive: OnFail,
}

/// What passes the accuracy gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Proof of no harm, except in waves of fewer than 30 devices.
    BySize,
    /// The minimums are met and no harm is proven.
    NoProofOfHarm,
    /// The upper bound of the harm is within the margin.
    ProofOfNoHarm,
}

/// What to do about a wave that did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// Offer nothing more and ask a person.
    Pause,
    /// Revoke what is not committed.
    Halt,
    /// Give every device its previous version back.
    Revert,
}
impl OnFail {
    /// As in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Halt => "halt",
            Self::Revert => "revert",
        }
    }
}

/// `[gate]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGate {
    min_devices: Option<Spanned<i64>>,
    min_rows: Option<Spanned<i64>>,
    min_labelled: Option<Spanned<i64>>,
    success: Option<Spanned<f64>>,
    max_failed_devices: Option<Spanned<i64>>,
    accuracy_drop: Option<Spanned<f64>>,
    alpha: Option<Spanned<f64>>,
    evidence: Option<Spanned<String>>,
    deadline: Spanned<String>,
    on_fail: Spanned<String>,
    on_inconclusive: Option<Spanned<String>>,
}
/// From what is written to what is meant.
pub(super) fn gate(lines: &Lines<'_>, raw: &RawGate) -> Result<Gate, PolicyError> {
    const MANY: i64 = 1_000_000_000_000;
    let whole = |key: &str, v: &Option<Spanned<i64>>, default: u64, least: i64| match v {
        Some(v) => lines.whole(key, v, least..=MANY),
        None => Ok(default),
    };
    let accuracy_drop =
        raw.accuracy_drop.as_ref().map(|v| lines.share("accuracy_drop", v, 0.0)).transpose()?;
    if let (None, Some(m)) = (accuracy_drop, &raw.min_labelled) {
        return Err(lines
            .error(&m.span(), "min_labelled does nothing without accuracy_drop: add that, or remove this"));
    }
    if let (None, Some(e)) = (accuracy_drop, &raw.evidence) {
        return Err(
            lines.error(&e.span(), "evidence does nothing without accuracy_drop: add that, or remove this")
        );
    }
    let evidence = match raw.evidence.as_ref().map(|e| (e.as_ref().as_str(), e.span())) {
        None => Evidence::BySize,
        Some(("no_proof_of_harm", _)) => Evidence::NoProofOfHarm,
        Some(("proof_of_no_harm", _)) => Evidence::ProofOfNoHarm,
        Some((other, span)) => {
            let message = format!(
                "evidence = {other:?} is not known: say \"no_proof_of_harm\" or \"proof_of_no_harm\""
            );
            return Err(lines.error(&span, message));
        }
    };
    let alpha = match &raw.alpha {
        None => 0.01,
        Some(a) if *a.as_ref() > 0.0 && *a.as_ref() <= 0.2 => *a.as_ref(),
        Some(a) => {
            let message = format!("alpha = {} is impossible: more than 0, at most 0.2", a.as_ref());
            return Err(lines.error(&a.span(), message));
        }
    };
    let deadline_ms = lines.time(&raw.deadline)?;
    if deadline_ms < 1_000 {
        return Err(lines.error(&raw.deadline.span(), "a deadline shorter than 1s cannot be met"));
    }
    Ok(Gate {
        min_devices: u32::try_from(whole("min_devices", &raw.min_devices, 1, 1)?).unwrap_or(u32::MAX),
        min_rows: whole("min_rows", &raw.min_rows, 0, 0)?,
        min_labelled: if accuracy_drop.is_some() {
            whole("min_labelled", &raw.min_labelled, 100, 1)?
        } else {
            0
        },
        success: raw.success.as_ref().map_or(Ok(0.95), |v| lines.share("success", v, 0.01))?,
        max_failed_devices: match &raw.max_failed_devices {
            Some(v) => {
                Some(u32::try_from(lines.whole("max_failed_devices", v, 0..=MANY)?).unwrap_or(u32::MAX))
            }
            None => None,
        },
        accuracy_drop,
        alpha,
        evidence,
        deadline_ms,
        on_fail: on_fail(lines, "on_fail", &raw.on_fail)?,
        on_inconclusive: match &raw.on_inconclusive {
            Some(v) => on_fail(lines, "on_inconclusive", v)?,
            None => OnFail::Pause,
        },
    })
}

fn on_fail(lines: &Lines<'_>, key: &str, value: &Spanned<String>) -> Result<OnFail, PolicyError> {
    match value.as_ref().as_str() {
        "pause" => Ok(OnFail::Pause),
        "halt" => Ok(OnFail::Halt),
        "revert" => Ok(OnFail::Revert),
        other => {
            let message = format!("{key} = {other:?} is not known: say \"pause\", \"halt\" or \"revert\"");
            Err(lines.error(&value.span(), message))
        }
    }
}
