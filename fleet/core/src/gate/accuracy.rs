//! The accuracy gate: labelled rows of the new version against the same device's own previous version.
//!
//! The unit of evidence is the device. Rows within a device are correlated, so a device's labels count as fewer: with an
//! intra-device correlation of [`ICC`] for the difference of two versions, n labels weigh n / (1 + (n - 1) ICC), never
//! more than 1 / ICC. That correlation is an assumption, and it gives way to what is seen: from two devices on, the spread
//! between devices is a second bound (Student's t on the paired differences), the tighter of the two counts, each at half
//! of alpha, and rows never weigh more than the devices agree; from [`MANY_DEVICES`] on, the spread speaks alone.
//!
//! No single device decides, because one that is broken or lies would decide for all: from [`NO_SINGLE_DEVICE`] on, harm
//! must also be proven without the device that shows the most of it, and a pass must also hold without the device that
//! speaks most for the version.
//!
//! People look all the time, and a harmless version must not fail because it was looked at often. So alpha is split over
//! looks: half of it evenly over the doublings from the first labels to twice what is asked for, then 1/((k+1)(k+2)) for
//! the k-th doubling behind that. Within a doubling a bound is crossed up to about twice as often as in one look
//! (simulated, with looks after every label), so each share is halved.

use std::collections::BTreeMap;

use super::{Evidence as DeviceEvidence, GateResult, Outcome, Tally, normal, student};
use crate::policy::{Evidence, Gate};

/// Correlation, within a device, of the difference between two versions. For one version 0.01 to 0.02 was found; but what
/// a device's surroundings do to accuracy falls on both versions alike and cancels in the pair. A tenth is left for what
/// does not, such as other inputs at other times.
pub const ICC: f64 = 0.002;
/// A device whose previous version has fewer labels is no comparison.
pub const MIN_CHAMPION_LABELS: u64 = 20;
/// A device whose new version has fewer labels says nothing yet.
pub const MIN_CANDIDATE_LABELS: u64 = 10;
/// From so many devices on, the verdict must stand without any one of them.
pub const NO_SINGLE_DEVICE: usize = 3;
/// From so many devices on, nothing needs to be assumed about rows within one.
const MANY_DEVICES: usize = 10;
/// Waves of at least so many devices must prove the absence of harm, unless the policy says otherwise.
const LARGE_WAVE: usize = 30;

/// Share of right answers and its variance, never 0 (Agresti and Caffo: one success and one failure are added).
fn share(t: &Tally, weigh: bool) -> (f64, f64) {
    let n = t.labelled as f64;
    let p = (t.correct.min(t.labelled) as f64 + 1.0) / (n + 2.0);
    let effective = if weigh { n / (1.0 + (n - 1.0).max(0.0) * ICC) } else { n };
    (p, p * (1.0 - p) / (effective + 2.0))
}

/// The loss that one device shows.
fn harm((champion, candidate): &(Tally, Tally)) -> f64 {
    share(champion, true).0 - share(candidate, true).0
}

/// The estimate without the device of the greatest (or least) loss; `None` when they are too few to leave one out.
fn without(pairs: &[(Tally, Tally)], greatest: bool, alpha: f64) -> Option<Estimate> {
    if pairs.len() < NO_SINGLE_DEVICE {
        return None;
    }
    let order = |a: &usize, b: &usize| harm(&pairs[*a]).total_cmp(&harm(&pairs[*b]));
    let all = 0..pairs.len();
    let out = if greatest { all.max_by(order) } else { all.min_by(order) }?;
    let rest: Vec<(Tally, Tally)> =
        pairs.iter().enumerate().filter(|(i, _)| *i != out).map(|(_, p)| *p).collect();
    Some(estimate(&rest, alpha))
}

struct Estimate {
    harm: f64,
    lower: f64,
    upper: f64,
    method: &'static str,
    pairs: usize,
    alpha: f64,
}

fn estimate(pairs: &[(Tally, Tally)], alpha: f64) -> Estimate {
    let n = pairs.len() as f64;
    let (mut harms, mut weighed, mut plain) = (Vec::new(), 0.0, 0.0);
    for (champion, candidate) in pairs {
        let ((p_old, v_old), (p_new, v_new)) = (share(champion, true), share(candidate, true));
        harms.push(p_old - p_new);
        weighed += v_old + v_new;
        plain += share(champion, false).1 + share(candidate, false).1;
    }
    let harm = harms.iter().sum::<f64>() / n;
    let se_rows = weighed.sqrt() / n;
    if pairs.len() == 1 {
        let reach = normal(1.0 - alpha) * se_rows;
        let method = "one device, rows weighed for their correlation";
        return Estimate { harm, lower: harm - reach, upper: harm + reach, method, pairs: 1, alpha };
    }
    let spread = (harms.iter().map(|h| (h - harm).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    // Two devices that agree by chance must not look certain.
    let se_devices = (spread / n.sqrt()).max(plain.sqrt() / n);
    let df = u32::try_from(pairs.len() - 1).unwrap_or(u32::MAX);
    let share = if pairs.len() < MANY_DEVICES { alpha / 2.0 } else { alpha };
    let by_devices = student(1.0 - share, df) * se_devices;
    let by_rows = match pairs.len() {
        // Devices that differ by more than their rows explain contradict the assumed correlation.
        n if n < MANY_DEVICES => normal(1.0 - share) * se_rows.max(se_devices),
        _ => f64::INFINITY,
    };
    let (reach, method) = if by_rows <= by_devices {
        (by_rows, "paired devices, rows weighed for their correlation")
    } else {
        (by_devices, "paired devices, spread between devices")
    };
    Estimate { harm, lower: harm - reach, upper: harm + reach, method, pairs: pairs.len(), alpha }
}

fn answer(outcome: Outcome, value: Option<f64>, margin: f64, text: String) -> GateResult {
    GateResult {
        gate: "accuracy".to_owned(),
        outcome,
        value,
        limit: Some(margin),
        text,
        method: None,
        numbers: BTreeMap::new(),
    }
}

/// The part of alpha that one look may use when there are so many labels.
fn share_of_look(labelled: u64, min_labelled: u64) -> f64 {
    let asked = min_labelled.max(MIN_CANDIDATE_LABELS);
    let part = match (labelled / asked).max(1).ilog2() {
        0 => {
            let doublings = (2.0 * asked as f64 / MIN_CANDIDATE_LABELS as f64).log2().ceil();
            0.5 / doublings
        }
        k => 1.0 / (f64::from(k + 1) * f64::from(k + 2)),
    };
    part / 2.0
}

pub(super) fn judge(gate: &Gate, margin: f64, wave: &[DeviceEvidence], waves: usize) -> GateResult {
    if wave.iter().all(|e| e.champion.is_none()) {
        let text = "not applicable: no device of this wave ran a version before".to_owned();
        return answer(Outcome::NotApplicable, None, margin, text);
    }
    let compared: Vec<(Tally, Tally)> =
        wave.iter().filter_map(|e| Some((e.champion?, e.candidate))).collect();
    let labelled = compared_labels(wave, u64::MAX);
    let usable: Vec<(Tally, Tally)> = compared
        .into_iter()
        .filter(|(old, new)| old.labelled >= MIN_CHAMPION_LABELS && new.labelled >= MIN_CANDIDATE_LABELS)
        .collect();
    // Where there are others, one device brings at most half of what is asked for.
    let most = if usable.len() >= NO_SINGLE_DEVICE { gate.min_labelled.div_ceil(2) } else { u64::MAX };
    let counted = compared_labels(wave, most);
    let missing = gate.min_labelled.saturating_sub(counted);
    if usable.is_empty() {
        let text = if missing > 0 {
            format!("not yet (needs {missing} more labelled rows)")
        } else {
            format!(
                "not yet (needs devices with {MIN_CHAMPION_LABELS} labelled rows of the previous version and \
                 {MIN_CANDIDATE_LABELS} of the new one)"
            )
        };
        return answer(Outcome::NotYet, None, margin, text);
    }
    let alpha = gate.alpha / waves.max(1) as f64 * share_of_look(labelled, gate.min_labelled);
    let e = estimate(&usable, alpha);
    let (old, new) = (pooled(usable.iter().map(|p| p.0)), pooled(usable.iter().map(|p| p.1)));
    let seen = format!(
        "{:.1} % right, {:.1} % with the version before, on {} device(s)",
        new * 100.0,
        old * 100.0,
        e.pairs
    );
    let points = |x: f64| format!("{:+.1}", x * 100.0);
    let needs_proof = match gate.evidence {
        Evidence::NoProofOfHarm => false,
        Evidence::ProofOfNoHarm => true,
        Evidence::BySize => wave.len() >= LARGE_WAVE,
    };
    let proven = e.lower > margin && without(&usable, true, alpha).is_none_or(|rest| rest.lower > margin);
    let leans = without(&usable, false, alpha)
        .is_some_and(|rest| rest.harm > margin || needs_proof && rest.upper > margin);
    let (outcome, text) = if proven {
        let text = format!(
            "accuracy fell: {seen}; the loss is at least {} points, {} are allowed",
            points(e.lower),
            points(margin)
        );
        (Outcome::Fail, text)
    } else if missing > 0 {
        (Outcome::NotYet, format!("not yet (needs {missing} more labelled rows); so far {seen}"))
    } else if needs_proof && e.upper > margin {
        let text = format!(
            "not yet (needs more labelled rows to show that the loss is at most {} points; it may be {}); so far {seen}",
            points(margin),
            points(e.upper)
        );
        (Outcome::NotYet, text)
    } else if e.harm > margin {
        let text = format!(
            "not yet (needs more labelled rows: the loss looks like {} points, {} are allowed, but that may be chance); so far {seen}",
            points(e.harm),
            points(margin)
        );
        (Outcome::NotYet, text)
    } else if leans {
        let text = format!(
            "not yet (needs more labelled rows: without the device that speaks most for it, the version does not hold); so far {seen}"
        );
        (Outcome::NotYet, text)
    } else {
        let proof = if e.upper <= margin { "no harm" } else { "no proof of harm" };
        (Outcome::Pass, format!("{proof}: {seen}"))
    };
    let mut result = answer(outcome, Some(e.harm), margin, text);
    result.method = Some(e.method.to_owned());
    result.numbers = [
        ("accuracy", new),
        ("accuracy_before", old),
        ("harm", e.harm),
        ("harm_lower", e.lower),
        ("harm_upper", e.upper),
        ("alpha", e.alpha),
        ("devices", e.pairs as f64),
        ("labelled", labelled as f64),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect();
    result
}

/// Labelled rows of devices that can be compared, at most `most` of each.
fn compared_labels(wave: &[DeviceEvidence], most: u64) -> u64 {
    let compared = wave.iter().filter(|e| e.champion.is_some());
    compared.fold(0, |sum, e| sum.saturating_add(e.candidate.labelled.min(most)))
}

fn pooled(tallies: impl Iterator<Item = Tally>) -> f64 {
    let (right, all) = tallies.fold((0, 0), |(r, n), t| (r + t.correct, n + t.labelled));
    if all == 0 { 0.0 } else { right as f64 / all as f64 }
}
