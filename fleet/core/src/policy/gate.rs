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
    /// Largest rise of the share of rows that fail, against each device's own previous version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate_increase: Option<f64>,
    /// Largest p99 latency over that of each device's own previous version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99_ratio: Option<f64>,
    /// Largest population stability index of scores against the bundle's own reference, less that of each device's own
    /// previous version against its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_shift: Option<f64>,
    /// Largest difference between classes of hardware in how far golden outputs are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden_deviation: Option<f64>,
    /// Least share of rows for which the version in shadow answers as the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_agreement: Option<f64>,
    /// How sure a harm must be: one for the rollout, split over gates and waves.
    pub alpha: f64,
    /// What passes the gates that measure a harm.
    pub evidence: Evidence,
    /// A wave that has not passed so long after it opened is inconclusive, ms.
    pub deadline_ms: u64,
    /// What happens when a wave fails.
    pub on_fail: OnFail,
    /// What happens when a wave is inconclusive.
    pub on_inconclusive: OnFail,
}

/// What passes a gate that measures a harm.
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
    error_rate_increase: Option<Spanned<f64>>,
    latency_p99_ratio: Option<Spanned<f64>>,
    score_shift: Option<Spanned<f64>>,
    golden_deviation: Option<Spanned<f64>>,
    shadow_agreement: Option<Spanned<f64>>,
    alpha: Option<Spanned<f64>>,
    evidence: Option<Spanned<String>>,
    deadline: Spanned<String>,
    on_fail: Spanned<String>,
    on_inconclusive: Option<Spanned<String>>,
}

/// From what is written to what is meant; `None` when something is `wrong`.
pub(super) fn gate(lines: &Lines<'_>, raw: &RawGate, wrong: &mut Vec<PolicyError>) -> Option<Gate> {
    const MANY: i64 = 1_000_000_000_000;
    let before = wrong.len();
    let mut keep = |result: Result<f64, PolicyError>| result.map_err(|e| wrong.push(e)).ok();
    let mut optional = |raw: &Option<Spanned<f64>>,
                        read: &dyn Fn(&Spanned<f64>) -> Result<f64, PolicyError>| {
        raw.as_ref().and_then(|v| keep(read(v)))
    };
    let accuracy_drop = optional(&raw.accuracy_drop, &|v| harmful(lines, "accuracy_drop", v));
    let error_rate_increase =
        optional(&raw.error_rate_increase, &|v| harmful(lines, "error_rate_increase", v));
    let latency_p99_ratio = optional(&raw.latency_p99_ratio, &|v| latency(lines, v));
    let score_shift = optional(&raw.score_shift, &|v| score_shift(lines, v));
    let golden_deviation = optional(&raw.golden_deviation, &|v| golden(lines, v));
    let shadow_agreement = optional(&raw.shadow_agreement, &|v| agreement(lines, v));
    let success = optional(&raw.success, &|v| lines.share("success", v, 0.01)).unwrap_or(0.95);
    let alpha = optional(&raw.alpha, &|v| alpha(lines, v)).unwrap_or(0.01);
    let mut whole = |key: &str, v: &Option<Spanned<i64>>, least: i64| {
        let v = v.as_ref()?;
        lines.whole(key, v, least..=MANY).map_err(|e| wrong.push(e)).ok()
    };
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let min_devices = whole("min_devices", &raw.min_devices, 1).map_or(1, small);
    let min_rows = whole("min_rows", &raw.min_rows, 0).unwrap_or(0);
    let min_labelled = whole("min_labelled", &raw.min_labelled, 1).unwrap_or(100);
    let max_failed_devices = whole("max_failed_devices", &raw.max_failed_devices, 0).map(small);
    wrong.extend(useless(lines, raw));
    let evidence = evidence(lines, raw).map_err(|e| wrong.push(e)).ok();
    let deadline_ms = deadline(lines, raw).map_err(|e| wrong.push(e)).ok();
    let then = on_fail(lines, "on_fail", &raw.on_fail).map_err(|e| wrong.push(e)).ok();
    let otherwise = match &raw.on_inconclusive {
        Some(v) => on_fail(lines, "on_inconclusive", v).map_err(|e| wrong.push(e)).ok(),
        None => Some(OnFail::Pause),
    };
    let gate = Gate {
        min_devices,
        min_rows,
        min_labelled: if raw.accuracy_drop.is_some() { min_labelled } else { 0 },
        success,
        max_failed_devices,
        accuracy_drop,
        error_rate_increase,
        latency_p99_ratio,
        score_shift,
        golden_deviation,
        shadow_agreement,
        alpha,
        evidence: evidence?,
        deadline_ms: deadline_ms?,
        on_fail: then?,
        on_inconclusive: otherwise?,
    };
    (wrong.len() == before).then_some(gate)
}

/// Keys that change nothing without another one: somebody believes in a protection that is not there.
fn useless(lines: &Lines<'_>, raw: &RawGate) -> Vec<PolicyError> {
    let harms = [
        &raw.accuracy_drop,
        &raw.error_rate_increase,
        &raw.latency_p99_ratio,
        &raw.score_shift,
        &raw.shadow_agreement,
    ];
    let measures = harms.iter().any(|h| h.is_some());
    let labels = raw.min_labelled.as_ref().filter(|_| raw.accuracy_drop.is_none());
    let labels = labels.map(|m| {
        lines.error(&m.span(), "min_labelled does nothing without accuracy_drop: add that, or remove this")
    });
    let rest = [
        ("evidence", raw.evidence.as_ref().map(Spanned::span)),
        ("alpha", raw.alpha.as_ref().map(Spanned::span)),
    ];
    let rest = rest.into_iter().filter_map(|(key, span)| {
        let message = format!(
            "{key} does nothing without a gate that measures a harm: add accuracy_drop, error_rate_increase, \
             latency_p99_ratio, score_shift or shadow_agreement, or remove this"
        );
        Some(lines.error(&span.filter(|_| !measures)?, message))
    });
    labels.into_iter().chain(rest).collect()
}

fn evidence(lines: &Lines<'_>, raw: &RawGate) -> Result<Evidence, PolicyError> {
    let Some(given) = &raw.evidence else { return Ok(Evidence::BySize) };
    match (given.as_ref().as_str(), &raw.accuracy_drop) {
        ("no_proof_of_harm", _) => Ok(Evidence::NoProofOfHarm),
        ("proof_of_no_harm", Some(v)) if *v.as_ref() == 0.0 => {
            let message = "accuracy_drop = 0 with evidence = \"proof_of_no_harm\" could never pass: no number of rows shows \
                           that an equally good version is not a hair worse; allow a little, such as 0.01, or say \
                           evidence = \"no_proof_of_harm\"";
            Err(lines.error(&v.span(), message))
        }
        ("proof_of_no_harm", _) => Ok(Evidence::ProofOfNoHarm),
        (other, _) => {
            let message = format!(
                "evidence = {other:?} is not known: say \"no_proof_of_harm\" or \"proof_of_no_harm\""
            );
            Err(lines.error(&given.span(), message))
        }
    }
}

fn deadline(lines: &Lines<'_>, raw: &RawGate) -> Result<u64, PolicyError> {
    let ms = lines.time(&raw.deadline)?;
    if ms < 1_000 {
        return Err(lines.error(&raw.deadline.span(), "a deadline shorter than 1s cannot be met"));
    }
    Ok(ms)
}

fn alpha(lines: &Lines<'_>, value: &Spanned<f64>) -> Result<f64, PolicyError> {
    within(
        lines,
        value,
        |v| v > 0.0 && v <= 0.2,
        |v| format!("alpha = {v} is impossible: more than 0, at most 0.2"),
    )
}

/// A share of rows that may be lost.
fn harmful(lines: &Lines<'_>, key: &str, value: &Spanned<f64>) -> Result<f64, PolicyError> {
    let v = lines.share(key, value, 0.0)?;
    if v < 1.0 {
        return Ok(v);
    }
    let message =
        format!("{key} = {v} would let everything pass: give a share below 1, such as 0.02 for two points");
    Err(lines.error(&value.span(), message))
}

fn within(
    lines: &Lines<'_>,
    value: &Spanned<f64>,
    is_right: impl Fn(f64) -> bool,
    message: impl Fn(f64) -> String,
) -> Result<f64, PolicyError> {
    let v = *value.as_ref();
    if is_right(v) { Ok(v) } else { Err(lines.error(&value.span(), message(v))) }
}

fn latency(lines: &Lines<'_>, value: &Spanned<f64>) -> Result<f64, PolicyError> {
    within(
        lines,
        value,
        |v| v > 1.0 && v <= 100.0,
        |v| {
            format!(
                "latency_p99_ratio = {v} is impossible: the p99 over the p99 before, more than 1 (1 would stop an equally \
             fast version) and at most 100, such as 1.25"
            )
        },
    )
}

fn score_shift(lines: &Lines<'_>, value: &Spanned<f64>) -> Result<f64, PolicyError> {
    within(
        lines,
        value,
        |v| v > 0.0 && v <= 10.0,
        |v| {
            format!(
                "score_shift = {v} is impossible: a population stability index above 0, at most 10, such as 0.1"
            )
        },
    )
}

fn golden(lines: &Lines<'_>, value: &Spanned<f64>) -> Result<f64, PolicyError> {
    within(
        lines,
        value,
        |v| v > 0.0 && v.is_finite(),
        |v| format!("golden_deviation = {v} is impossible: an amount of output above 0, such as 1e-3"),
    )
}

fn agreement(lines: &Lines<'_>, value: &Spanned<f64>) -> Result<f64, PolicyError> {
    within(
        lines,
        value,
        |v| v > 0.0 && v < 1.0,
        |v| {
            format!(
                "shadow_agreement = {v} is impossible: a share between 0 and 1, such as 0.95 (1 would stop every version \
             that is better)"
            )
        },
    )
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
