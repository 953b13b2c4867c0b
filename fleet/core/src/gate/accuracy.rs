//! The accuracy gate: labelled rows of the new version against the same device's own previous version.
//!
//! Where there are no labels, scores may tell: an honest estimate ([`longshore_stats::quality::cbpe`]) fails a wave whose
//! harm it proves. It never passes one: it holds only while truth relates to inputs as it did in the reference data.

use super::control::{self, Shift};
use super::harm::{Asked, Said, Wording, answer, more_rows, silent};
use super::paired::{NO_SINGLE_DEVICE, Pair, Voice, Voices};
use super::{Control, Evidence, GateResult, Outcome, Tally};
use crate::wording::counted;

/// Correlation, within a device, of the difference between two versions. For one version 0.01 to 0.02 was found; but what
/// a device's surroundings do to accuracy falls on both versions alike and cancels in the pair. A tenth is left for what
/// does not, such as other inputs at other times.
pub const ICC: f64 = 0.002;
/// A device whose previous version has fewer labels is no comparison.
pub const MIN_CHAMPION_LABELS: u64 = 20;
/// A device whose new version has fewer labels says nothing yet.
pub const MIN_CANDIDATE_LABELS: u64 = 10;
/// Fewest rows of either version for an estimate from scores.
const MIN_ESTIMATED_ROWS: u64 = 200;
/// By so much an estimate from scores may be off on one device, for reasons that rows do not show.
const ESTIMATE_SD: f64 = 0.02;

const LABELLED: Wording = Wording {
    gate: "accuracy",
    bad: "accuracy fell",
    harm: "the loss",
    rows: "labelled rows",
    show: |x| format!("{:+.1} points", x * 100.0),
    cap: 0.25,
};
const ESTIMATED: Wording =
    Wording { gate: "accuracy_estimated", bad: "estimated accuracy fell", rows: "rows", ..LABELLED };

/// Share of right answers, its variance for one row (never 0: Agresti and Caffo add one success and one failure), rows.
fn share(t: &Tally) -> (f64, f64, f64) {
    let n = t.labelled as f64;
    let right = t.correct.min(t.labelled) as f64;
    let p = (right + 1.0) / (n + 2.0);
    (right / n, p * (1.0 - p), n + 2.0)
}

/// One device against itself; `asked` is how many labels it is asked for.
pub(super) fn pair(old: &Tally, new: &Tally, asked: f64) -> Pair {
    let ((p_old, v_old, n_old), (p_new, v_new, n_new)) = (share(old), share(new));
    Pair {
        harm: p_old - p_new,
        fixed: v_old / n_old + ICC * (v_old + v_new),
        rows: v_new / n_new,
        least: v_old / n_old + v_new / n_new,
        progress: n_new / asked.max(1.0),
    }
}

fn is_comparable((old, new): &(Tally, Tally)) -> bool {
    old.labelled >= MIN_CHAMPION_LABELS && new.labelled >= MIN_CANDIDATE_LABELS
}

fn change(controls: &[Control]) -> Option<Shift> {
    let both = controls.iter().map(|c| (c.before, c.since)).filter(is_comparable);
    control::shift(both.map(|(old, new)| share(&old).0 - share(&new).0).collect())
}

/// Devices that can be compared, and how many labelled rows are missing, where so many devices are `able` to bring them.
fn compared(min_labelled: u64, both: &[(Tally, Tally)], able: usize) -> (Vec<(Tally, Tally)>, u64) {
    let usable: Vec<(Tally, Tally)> = both.iter().copied().filter(is_comparable).collect();
    // Where there are others, one device brings at most half of what is asked for.
    let most = if able >= NO_SINGLE_DEVICE { min_labelled.div_ceil(2) } else { u64::MAX };
    let counted = both.iter().fold(0u64, |sum, (_, new)| sum.saturating_add(new.labelled.min(most)));
    (usable, min_labelled.saturating_sub(counted))
}

fn pairs(min_labelled: u64, usable: &[(Tally, Tally)]) -> Vec<Pair> {
    let each = (min_labelled as f64 / usable.len() as f64).max(MIN_CANDIDATE_LABELS as f64);
    usable.iter().map(|(old, new)| pair(old, new, each)).collect()
}

/// The outcome alone, of devices that all run the version, without control devices: previous version and new one.
pub(super) fn outcome(min_labelled: u64, asked: &Asked, both: &[(Tally, Tally)]) -> Outcome {
    let could = |(old, _): &&(Tally, Tally)| old.labelled >= MIN_CHAMPION_LABELS;
    let voice = |pair: &(Tally, Tally)| if is_comparable(pair) { Voice::Heard } else { Voice::Silent };
    let voices: Voices = both.iter().filter(could).map(voice).collect();
    let (usable, missing) = compared(min_labelled, both, voices.able());
    if usable.is_empty() {
        return Outcome::NotYet;
    }
    super::harm::outcome(&LABELLED, asked, &pairs(min_labelled, &usable), &voices, missing > 0)
}

pub(super) fn judge(
    min_labelled: u64,
    asked: &Asked,
    wave: &[Evidence<'_>],
    controls: &[Control],
) -> GateResult {
    let both: Vec<(Tally, Tally)> = wave.iter().filter_map(|e| Some((e.champion?, e.candidate))).collect();
    if both.is_empty() {
        let text = "not applicable: no device of this wave ran a version before".to_owned();
        return silent("accuracy", Outcome::NotApplicable, asked.margin, text);
    }
    let voice = |e: &Evidence<'_>| {
        let old = e.champion.unwrap_or_default();
        Voice::of(e, is_comparable(&(old, e.candidate)), old.labelled >= MIN_CHAMPION_LABELS)
    };
    let voices: Voices = wave.iter().map(voice).collect();
    let (usable, missing) = compared(min_labelled, &both, voices.able());
    let missing = (missing > 0).then(|| more_rows(missing, LABELLED.rows));
    if usable.is_empty() {
        let needs = missing.unwrap_or_else(|| {
            format!(
                "devices with {MIN_CHAMPION_LABELS} labelled rows of the previous version and {MIN_CANDIDATE_LABELS} of \
                 the new one"
            )
        });
        return silent("accuracy", Outcome::NotYet, asked.margin, format!("not yet (needs {needs})"));
    }
    let labelled = both.iter().fold(0u64, |n, (_, new)| n.saturating_add(new.labelled));
    let (old, new) = (pooled(usable.iter().map(|p| p.0)), pooled(usable.iter().map(|p| p.1)));
    let seen = format!(
        "{:.1} % right, {:.1} % with the version before, on {}",
        new * 100.0,
        old * 100.0,
        counted(usable.len(), "device")
    );
    let pairs = pairs(min_labelled, &usable);
    let said = Said { pairs, voices, control: change(controls), missing, seen, rows: labelled };
    let mut result = answer(&LABELLED, asked, &said);
    let more = [("accuracy", new), ("accuracy_before", old), ("labelled", labelled as f64)];
    result.numbers.extend(more.map(|(k, v)| (k.to_owned(), v)));
    result
}

/// What scores say of the accuracy; `None` where they say nothing. It fails or it does not apply.
pub(super) fn judge_estimate(asked: &Asked, wave: &[Evidence<'_>]) -> Option<GateResult> {
    let mut sums = (0.0, 0.0);
    let mut rows = 0u64;
    let mut pairs = Vec::new();
    let voice = |e: &Evidence<'_>| {
        let was = e.measured.before.estimated;
        let could = was.is_some() && e.champion.is_some_and(|t| t.rows >= MIN_ESTIMATED_ROWS);
        let rows = e.candidate.rows >= MIN_ESTIMATED_ROWS;
        Voice::of(e, could && rows && e.measured.now.estimated.is_some(), could && !rows)
    };
    let voices: Voices = wave.iter().map(voice).collect();
    for e in wave {
        let old = e.champion.filter(|t| t.rows >= MIN_ESTIMATED_ROWS);
        let new = Some(e.candidate).filter(|t| t.rows >= MIN_ESTIMATED_ROWS);
        let (Some(old), Some(new), Some(was), Some(is)) =
            (old, new, e.measured.before.estimated, e.measured.now.estimated)
        else {
            continue;
        };
        let per_row = |p: f64| p.clamp(0.0, 1.0) * (1.0 - p.clamp(0.0, 1.0)) + 1e-4;
        let (n_old, n_new) = (old.rows as f64, new.rows as f64);
        let fixed = per_row(was) / n_old + ICC * (per_row(was) + per_row(is)) + ESTIMATE_SD.powi(2);
        let by_rows = per_row(is) / n_new;
        pairs.push(Pair {
            harm: was - is,
            fixed,
            rows: by_rows,
            least: per_row(was) / n_old + by_rows + ESTIMATE_SD.powi(2),
            progress: n_new / MIN_ESTIMATED_ROWS as f64,
        });
        rows = rows.saturating_add(new.rows);
        sums = (sums.0 + was, sums.1 + is);
    }
    let n = pairs.len() as f64;
    if pairs.is_empty() {
        return None;
    }
    let seen = format!(
        "scores suggest {:.1} % right, {:.1} % with the version before, on {}",
        sums.1 / n * 100.0,
        sums.0 / n * 100.0,
        counted(pairs.len(), "device")
    );
    let said = Said { pairs, voices, control: None, missing: None, seen: seen.clone(), rows };
    let mut result = answer(&ESTIMATED, asked, &said);
    if result.outcome != Outcome::Fail {
        result.outcome = Outcome::NotApplicable;
        result.text = format!("{seen}: that does not prove a loss, and an estimate passes nothing");
    }
    Some(result)
}

fn pooled(tallies: impl Iterator<Item = Tally>) -> f64 {
    let (right, all) = tallies.fold((0.0, 0.0), |(r, n), t| (r + t.correct as f64, n + t.labelled as f64));
    if all == 0.0 { 0.0 } else { right / all }
}
