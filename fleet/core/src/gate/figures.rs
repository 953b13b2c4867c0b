//! Gates on errors, latency and scores: each device of the wave against its own previous version.
//!
//! What is assumed of a single device in small waves is written down here as constants; in waves of
//! [`super::MANY_DEVICES`] and more only the spread between devices counts.

use super::control;
use super::harm::{Asked, Said, Wording, answer, silent};
use super::paired::{Pair, Voice, Voices};
use super::{Control, Evidence, Figures, GateResult, ICC, Outcome, Tally};
use crate::wording::counted;

/// Fewest rows of either version for a rate of errors.
const MIN_ERROR_ROWS: u64 = 50;
/// Fewest rows of either version for a 99th percentile that is more than the slowest request.
const MIN_LATENCY_ROWS: u64 = 200;
/// One device's p99 differs so much (standard deviation of its logarithm) between two times for reasons of its own.
const LATENCY_SD: f64 = 0.15;
/// Variance of ln p99 for one row: of n rows, n/100 are beyond it, and their place varies by about half its value.
const LATENCY_ROW: f64 = 25.0;
/// One device's score shift differs so much between two times for reasons of its own.
const SCORE_SD: f64 = 0.03;
/// Fewest rows of either version for a score shift.
const MIN_SCORE_ROWS: u64 = longshore_stats::quality::answers::ROWS_MIN;
/// Cells that a score shift is taken over, at most, less one.
const SCORE_FREEDOM: f64 = 19.0;

const ERRORS: Wording = Wording {
    gate: "error_rate_increase",
    bad: "more rows fail",
    harm: "the increase",
    rows: "rows",
    show: |x| format!("{:+.2} points", x * 100.0),
    cap: 0.25,
};
const LATENCY: Wording = Wording {
    gate: "latency_p99_ratio",
    bad: "it is slower",
    harm: "p99 over the p99 before",
    rows: "rows",
    show: |x| format!("{:.2}", x.exp()),
    cap: 1.5,
};
const SCORES: Wording = Wording {
    gate: "score_shift",
    bad: "its scores are not those of its reference",
    harm: "the shift beyond that of the version before",
    rows: "rows",
    show: |x| format!("{x:.3} PSI"),
    cap: 1.0,
};

fn attempts(t: &Tally) -> u64 {
    t.rows.saturating_add(t.errors)
}
fn rate(t: &Tally) -> f64 {
    t.errors as f64 / attempts(t).max(1) as f64
}
fn rate_variance(t: &Tally) -> (f64, f64) {
    let n = attempts(t) as f64 + 2.0;
    let p = (t.errors as f64 + 1.0) / n;
    (p * (1.0 - p), n)
}

pub(super) fn error_pair(old: &Tally, new: &Tally) -> Pair {
    let ((v_old, n_old), (v_new, n_new)) = (rate_variance(old), rate_variance(new));
    Pair {
        harm: rate(new) - rate(old),
        fixed: v_old / n_old + ICC * (v_old + v_new),
        rows: v_new / n_new,
        least: v_old / n_old + v_new / n_new,
        progress: n_new / MIN_ERROR_ROWS as f64,
    }
}

/// Devices with so many rows of either version.
fn with_rows<'a>(
    wave: &'a [Evidence<'a>],
    least: u64,
) -> impl Iterator<Item = (&'a Evidence<'a>, Tally, Tally)> {
    wave.iter()
        .filter_map(|e| Some((e, e.champion?, e.candidate)))
        .filter(move |(_, old, new)| attempts(old) >= least && attempts(new) >= least)
}

/// Who is compared by `of`, and who could be with so many rows. Rows enough without the figure will not bring it.
fn voices(wave: &[Evidence<'_>], least: u64, of: fn(&Figures) -> Option<f64>) -> Voices {
    let voice = |e: &Evidence<'_>| {
        let could = e.champion.is_some_and(|t| attempts(&t) >= least) && of(&e.measured.before).is_some();
        let rows = attempts(&e.candidate) >= least;
        Voice::of(e, could && rows && of(&e.measured.now).is_some(), could && !rows)
    };
    wave.iter().map(voice).collect()
}

/// What to say when no device can be compared.
fn nobody(w: &Wording, margin: f64, wave: &[Evidence<'_>], least: u64) -> GateResult {
    if wave.iter().all(|e| e.champion.is_none()) {
        let text = "not applicable: no device of this wave ran a version before".to_owned();
        return silent(w.gate, Outcome::NotApplicable, margin, text);
    }
    if with_rows(wave, least).next().is_some() {
        let text = "not applicable: the versions have no such figure".to_owned();
        return silent(w.gate, Outcome::NotApplicable, margin, text);
    }
    let text =
        format!("not yet (needs devices with {least} rows of the previous version and of the new one)");
    silent(w.gate, Outcome::NotYet, margin, text)
}

/// The outcome alone, of devices that all run the version, without control devices: previous version and new one.
pub(super) fn errors_outcome(asked: &Asked, both: &[(Tally, Tally)]) -> Outcome {
    let could = both.iter().filter(|(old, _)| attempts(old) >= MIN_ERROR_ROWS);
    let (heard, silent): (Vec<&(Tally, Tally)>, Vec<_>) =
        could.partition(|(_, new)| attempts(new) >= MIN_ERROR_ROWS);
    let voices = Voices { heard: heard.len(), silent: silent.len(), coming: 0 };
    let pairs: Vec<Pair> = heard.iter().map(|(old, new)| error_pair(old, new)).collect();
    if pairs.is_empty() {
        Outcome::NotYet
    } else {
        super::harm::outcome(&ERRORS, asked, &pairs, &voices, false)
    }
}

pub(super) fn errors(asked: &Asked, wave: &[Evidence<'_>], controls: &[Control]) -> GateResult {
    let both: Vec<(Tally, Tally)> = with_rows(wave, MIN_ERROR_ROWS).map(|(_, old, new)| (old, new)).collect();
    if both.is_empty() {
        return nobody(&ERRORS, asked.margin, wave, MIN_ERROR_ROWS);
    }
    let mean = |of: fn(&(Tally, Tally)) -> f64| both.iter().map(of).sum::<f64>() / both.len() as f64;
    let (old, new) = (mean(|p| rate(&p.0)), mean(|p| rate(&p.1)));
    let comparable =
        |c: &&Control| attempts(&c.before) >= MIN_ERROR_ROWS && attempts(&c.since) >= MIN_ERROR_ROWS;
    let changes = controls.iter().filter(comparable).map(|c| rate(&c.since) - rate(&c.before)).collect();
    let said = Said {
        pairs: both.iter().map(|(old, new)| error_pair(old, new)).collect(),
        voices: voices(wave, MIN_ERROR_ROWS, |_| Some(0.0)),
        control: control::shift(changes),
        missing: None,
        seen: format!(
            "{:.2} % of rows fail, {:.2} % with the version before, on {}",
            new * 100.0,
            old * 100.0,
            counted(both.len(), "device")
        ),
        rows: both.iter().fold(0u64, |n, (_, new)| n.saturating_add(attempts(new))),
    };
    let mut result = answer(&ERRORS, asked, &said);
    result.numbers.extend([("error_rate".to_owned(), new), ("error_rate_before".to_owned(), old)]);
    result
}

/// Devices that have a figure of both versions and rows enough: the figures and the rows of the new version and the old.
fn figures(wave: &[Evidence<'_>], least: u64, of: fn(&Figures) -> Option<f64>) -> Vec<(f64, f64, f64, f64)> {
    with_rows(wave, least)
        .filter_map(|(e, old, new)| {
            let (was, is) = (of(&e.measured.before)?, of(&e.measured.now)?);
            Some((was, is, attempts(&old) as f64, attempts(&new) as f64))
        })
        .collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// `asked.margin` is the logarithm of the greatest ratio.
pub(super) fn latency(asked: &Asked, wave: &[Evidence<'_>]) -> GateResult {
    let p99 = |f: &Figures| f.p99_us.filter(|us| us.is_finite() && *us > 0.0);
    let both = figures(wave, MIN_LATENCY_ROWS, p99);
    let mut result = if both.is_empty() {
        nobody(&LATENCY, asked.margin, wave, MIN_LATENCY_ROWS)
    } else {
        let pair = |(was, is, n_old, n_new): &(f64, f64, f64, f64)| {
            let (old, new) = (LATENCY_ROW / n_old, LATENCY_ROW / n_new);
            let fixed = old + LATENCY_SD.powi(2);
            Pair {
                harm: (is / was).ln(),
                fixed,
                rows: new,
                least: old + new,
                progress: n_new / MIN_LATENCY_ROWS as f64,
            }
        };
        let (was, is) =
            (mean(both.iter().map(|b| b.0.ln())).exp(), mean(both.iter().map(|b| b.1.ln())).exp());
        let said = Said {
            pairs: both.iter().map(pair).collect(),
            voices: voices(wave, MIN_LATENCY_ROWS, p99),
            control: None,
            missing: None,
            seen: format!(
                "p99 {} us, {} us with the version before, on {}",
                is.round(),
                was.round(),
                counted(both.len(), "device")
            ),
            rows: both.iter().map(|b| b.3 as u64).fold(0, u64::saturating_add),
        };
        let mut result = answer(&LATENCY, asked, &said);
        result.numbers.extend([("p99_us".to_owned(), is), ("p99_us_before".to_owned(), was)]);
        result
    };
    // People think in ratios.
    for ratio in [&mut result.value, &mut result.limit] {
        *ratio = ratio.map(f64::exp);
    }
    for (from, to) in [("harm", "ratio"), ("harm_lower", "ratio_lower"), ("harm_upper", "ratio_upper")] {
        if let Some(v) = result.numbers.remove(from) {
            result.numbers.insert(to.to_owned(), v.exp());
        }
    }
    result
}

pub(super) fn scores(asked: &Asked, wave: &[Evidence<'_>]) -> GateResult {
    let shift = |f: &Figures| f.score_shift.filter(|psi| psi.is_finite());
    let both = figures(wave, MIN_SCORE_ROWS, shift);
    if both.is_empty() {
        return nobody(&SCORES, asked.margin, wave, MIN_SCORE_ROWS);
    }
    // n PSI is about chi-square: its variance is twice its degrees of freedom.
    let chance = |n: f64| 2.0 * SCORE_FREEDOM / (n * n);
    let pair = |(was, is, n_old, n_new): &(f64, f64, f64, f64)| Pair {
        harm: is - was,
        fixed: chance(*n_old) + SCORE_SD.powi(2),
        rows: chance(*n_new),
        least: chance(*n_old) + chance(*n_new),
        progress: n_new / MIN_SCORE_ROWS as f64,
    };
    let (was, is) = (mean(both.iter().map(|b| b.0)), mean(both.iter().map(|b| b.1)));
    let said = Said {
        pairs: both.iter().map(pair).collect(),
        voices: voices(wave, MIN_SCORE_ROWS, shift),
        control: None,
        missing: None,
        seen: format!(
            "scores are {is:.3} PSI from the reference, {was:.3} with the version before, on {}",
            counted(both.len(), "device")
        ),
        rows: both.iter().map(|b| b.3 as u64).fold(0, u64::saturating_add),
    };
    let mut result = answer(&SCORES, asked, &said);
    result.numbers.extend([("psi".to_owned(), is), ("psi_before".to_owned(), was)]);
    result
}
