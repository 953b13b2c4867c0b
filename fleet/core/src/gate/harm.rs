//! From what devices show of a harm to a gate's answer, the same way for every kind of harm.
//!
//! `fail`: the lower bound of the harm is beyond the margin, also without the device that shows the most of it. `pass`: the
//! minimums are met, the harm shown is not beyond the margin by more than half of its standard error, and, where proof is
//! asked for, its upper bound is within the margin; also without the device that speaks most for the version. Neither is said
//! by fewer devices than [`super::NO_SINGLE_DEVICE`] where others could still speak. Everything else is `not yet`, with what is
//! missing.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::control::Shift;
use super::paired::{MANY_DEVICES, Pair, Shown, Voices, betting_proves, without};
use super::{GateResult, Outcome};
use crate::wording::counted;

/// How sure a proof of no harm is. A version that passes by chance meets the next wave; one that is stopped by chance does
/// not, so that has the policy's (smaller) alpha.
pub const PASS_ALPHA: f64 = 0.05;

/// Without proof either way, an estimate beyond the margin by so many standard errors does not pass. With none, two canaries
/// hold up one equally good version in thirty until their deadline, because they happen to be devices that it suits less.
const DOUBT: f64 = 0.5;

/// What a kind of harm is called.
pub(super) struct Wording {
    pub gate: &'static str,
    /// "accuracy fell"
    pub bad: &'static str,
    /// "the loss"
    pub harm: &'static str,
    /// "labelled rows"
    pub rows: &'static str,
    /// An amount of harm.
    pub show: fn(f64) -> String,
    /// No device counts for more harm or gain than this where bets are placed.
    pub cap: f64,
}

/// What is asked.
pub(super) struct Asked {
    pub margin: f64,
    /// Of this gate in this wave.
    pub alpha: f64,
    /// `proof_of_no_harm`.
    pub proof: bool,
}

/// What the devices of a wave say about one harm.
pub(super) struct Said {
    pub pairs: Vec<Pair>,
    /// These, and those that could join them.
    pub voices: Voices,
    pub control: Option<Shift>,
    /// Minimums that are not met, in words.
    pub missing: Option<String>,
    /// What was seen, in words.
    pub seen: String,
    /// Rows of the new version that speak.
    pub rows: u64,
}

/// A gate without any number yet.
pub(super) fn silent(gate: &str, outcome: Outcome, margin: f64, text: String) -> GateResult {
    GateResult {
        gate: gate.to_owned(),
        outcome,
        value: None,
        limit: Some(margin),
        text,
        method: None,
        numbers: BTreeMap::new(),
    }
}

/// Why the answer is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Proven,
    /// It would be proven, but by too few of the wave.
    Few,
    Missing,
    Beyond,
    Unproven,
    Leans,
    Holds,
}

/// What was found, not yet in words.
struct Weighed {
    shown: Shown,
    reach: f64,
    lower: f64,
    upper: f64,
    by_bets: bool,
    why: Why,
}

/// No proof of harm, and yet the harm shown is beyond the margin.
fn beyond(shown: &Shown, margin: f64) -> bool {
    shown.harm - shown.se * DOUBT > margin
}

/// Weighs at least one pair; `is_missing` when a minimum is not met.
fn weigh(
    asked: &Asked,
    pairs: &[Pair],
    voices: &Voices,
    control: Option<&Shift>,
    is_missing: bool,
    cap: f64,
) -> Weighed {
    let margin = asked.margin;
    let shown = Shown::of(pairs, control);
    let reach = shown.reach(asked.alpha);
    let upper = shown.harm + shown.reach(PASS_ALPHA);
    let by_spread = shown.harm - reach > margin
        && without(pairs, true).is_none_or(|rest| {
            let rest = Shown::of(&rest, control);
            rest.harm - rest.reach(asked.alpha) > margin
        });
    let bets = |pairs: &[Pair]| betting_proves(pairs, control, margin, cap, asked.alpha);
    let by_bets = !by_spread
        && pairs.len() >= MANY_DEVICES
        && bets(pairs)
        && without(pairs, true).is_some_and(|rest| rest.len() < MANY_DEVICES || bets(&rest));
    let unproven = |s: &Shown| asked.proof && s.harm + s.reach(PASS_ALPHA) > margin;
    let leans = || {
        without(pairs, false).is_some_and(|rest| {
            let rest = Shown::of(&rest, control);
            beyond(&rest, margin) || unproven(&rest)
        })
    };
    let why = if by_spread || by_bets {
        if voices.wanted_to_fail() == 0 { Why::Proven } else { Why::Few }
    } else if is_missing || voices.wanted_to_pass() > 0 {
        Why::Missing
    } else if beyond(&shown, margin) {
        Why::Beyond
    } else if unproven(&shown) {
        Why::Unproven
    } else if leans() {
        Why::Leans
    } else {
        Why::Holds
    };
    let lower = if by_bets { margin } else { shown.harm - reach };
    Weighed { shown, reach, lower, upper, by_bets, why }
}

impl Why {
    fn outcome(self) -> Outcome {
        match self {
            Self::Proven => Outcome::Fail,
            Self::Few | Self::Missing | Self::Beyond | Self::Unproven | Self::Leans => Outcome::NotYet,
            Self::Holds => Outcome::Pass,
        }
    }
}

/// The outcome alone, of at least one pair, without control devices.
pub(super) fn outcome(
    w: &Wording,
    asked: &Asked,
    pairs: &[Pair],
    voices: &Voices,
    is_missing: bool,
) -> Outcome {
    weigh(asked, pairs, voices, None, is_missing, w.cap).why.outcome()
}

/// The answer, of at least one pair.
pub(super) fn answer(w: &Wording, asked: &Asked, said: &Said) -> GateResult {
    let (margin, control) = (asked.margin, said.control.as_ref());
    let found = weigh(asked, &said.pairs, &said.voices, control, said.missing.is_some(), w.cap);
    let Weighed { shown, reach, lower, upper, .. } = found;
    let (seen, show) = (&said.seen, w.show);
    let text = match found.why {
        Why::Proven => {
            format!("{}: {seen}; {} is at least {}, {} is allowed", w.bad, w.harm, show(lower), show(margin))
        }
        Why::Few => format!(
            "not yet (needs {} of {}: {} is at least {}, {} is allowed, but so few devices do not decide for the others); \
             so far {seen}",
            w.rows,
            counted(said.voices.wanted_to_fail(), "more device"),
            w.harm,
            show(lower),
            show(margin)
        ),
        Why::Missing => {
            let devices = match said.voices.wanted_to_pass() {
                0 => None,
                n => Some(format!("{} of {}", w.rows, counted(n, "more device"))),
            };
            let missing: Vec<String> = said.missing.clone().into_iter().chain(devices).collect();
            format!("not yet (needs {}); so far {seen}", missing.join(", and "))
        }
        Why::Beyond => format!(
            "not yet (needs {}: {} looks like {}, {} is allowed, but that may be chance{}); so far {seen}",
            more(w, &shown, reach, shown.harm - margin, said.rows),
            w.harm,
            show(shown.harm),
            show(margin),
            behind(w, asked, said)
        ),
        Why::Unproven => format!(
            "not yet (needs {} to show that {} is at most {}; it may be {}{}); so far {seen}",
            more(w, &shown, shown.reach(PASS_ALPHA), margin - shown.harm, said.rows),
            w.harm,
            show(margin),
            show(upper),
            behind(w, asked, said)
        ),
        Why::Leans => format!(
            "not yet (needs more {}: without the device that speaks most for it, the version does not hold{}); so far {seen}",
            w.rows,
            behind(w, asked, said)
        ),
        Why::Holds => {
            let proof = if upper <= margin { "no harm" } else { "no proof of harm" };
            format!("{proof}: {seen}")
        }
    };
    let mut result = silent(w.gate, found.why.outcome(), margin, text);
    result.value = Some(shown.harm);
    result.method = Some(method(&shown, found.by_bets, control));
    let mut numbers = vec![
        ("harm", shown.harm),
        ("harm_lower", lower),
        ("harm_upper", upper),
        ("standard_error", shown.se),
        ("alpha", asked.alpha),
        ("devices", shown.pairs as f64),
        ("devices_beyond", devices_beyond(margin, said) as f64),
    ];
    if let Some(c) = control {
        numbers.extend([("control_devices", c.devices as f64), ("control_change", c.mean)]);
    }
    result.numbers =
        numbers.into_iter().filter(|(_, v)| v.is_finite()).map(|(k, v)| (k.to_owned(), v)).collect();
    result
}

/// Devices that each show more than is allowed.
fn devices_beyond(margin: f64, said: &Said) -> usize {
    let moved = said.control.as_ref().map_or(0.0, |c| c.mean);
    said.pairs.iter().filter(|p| p.harm - moved > margin).count()
}

/// Who is behind a harm that holds a wave up: a person looks at one broken device first, and at the version second.
fn behind(w: &Wording, asked: &Asked, said: &Said) -> String {
    let (n, all) = (devices_beyond(asked.margin, said), said.pairs.len());
    if n == 0 {
        return String::new();
    }
    let of = counted(all, "device");
    let is = if n == 1 { "is" } else { "are" };
    let mut text = format!("; {n} of {of} {is} beyond {}", (w.show)(asked.margin));
    let rest = without(&said.pairs, true).map(|rest| Shown::of(&rest, said.control.as_ref()));
    if let Some(rest) = rest.filter(|rest| rest.harm <= asked.margin) {
        text.push_str(&format!(
            ", and without the one that shows the most of it {} looks like {}",
            w.harm,
            (w.show)(rest.harm)
        ));
    }
    text
}

fn method(shown: &Shown, by_bets: bool, control: Option<&Shift>) -> String {
    let how = if by_bets { "paired devices, betting" } else { shown.method() };
    let beside = control.map_or(String::new(), |c| format!(", against {} control devices", c.devices));
    format!("{how}{beside}, at every look")
}

/// What would let the harm, `distance` away from the margin, be told from it.
fn more(w: &Wording, shown: &Shown, reach: f64, distance: f64, rows: u64) -> String {
    const TOO_MANY: f64 = 100.0;
    let (times, devices) = shown.wanting(reach, distance.max(0.0));
    let devices = (devices - shown.pairs as f64).ceil();
    let by_rows = times.map(|t| ((t - 1.0) * rows as f64).ceil()).filter(|n| *n <= TOO_MANY * rows as f64);
    match (by_rows, devices) {
        (Some(n), d) if d <= TOO_MANY * shown.pairs as f64 => {
            format!(
                "about {} on these devices, or about {}",
                more_rows(n.max(1.0), w.rows),
                counted(d.max(1.0), "more device")
            )
        }
        (Some(n), _) => format!("about {}", more_rows(n.max(1.0), w.rows)),
        (None, d) if d <= TOO_MANY * shown.pairs as f64 => {
            format!("about {}", counted(d.max(1.0), "more device"))
        }
        (None, _) => {
            format!("more {} or devices than are likely to come: it is about as large as allowed", w.rows)
        }
    }
}

/// "1 more labelled row", "2 more labelled rows".
pub(super) fn more_rows<N: Display + PartialEq + From<u8>>(n: N, rows: &str) -> String {
    if n == N::from(1) {
        format!("1 more {}", rows.replacen("rows", "row", 1))
    } else {
        format!("{n} more {rows}")
    }
}
