//! Gates on a version in shadow, before it answers anybody: does it answer as the active one, and where labels came, is it right
//! as often?
//!
//! The rows are the same for both versions, so no device needs to be compared with its own past, and no control devices are
//! asked: what the world does, it does to both. A device is still one witness, however many rows it has.

use super::harm::{Asked, Said, Wording, answer, more_rows, silent};
use super::paired::{Pair, Voice, Voices};
use super::{Evidence, GateResult, ICC, Outcome, Tally};
use crate::policy::Gate;
use crate::rollout::Standing;
use crate::wording::counted;

/// What the gate on agreement is called.
pub const AGREEMENT_GATE: &str = "shadow_agreement";
/// Fewest compared rows of a device, and of the wave twice as many.
const MIN_ROWS: u64 = 50;

/// Rows that a device compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beside {
    /// Rows that both versions answered.
    pub rows: u64,
    /// Of these, with the same answer.
    pub agreed: u64,
    /// Rows in which the new version failed.
    pub errors: u64,
    /// Labelled rows.
    pub labelled: u64,
    /// Of these, rows on which only the new version was right.
    pub only_candidate: u64,
    /// Rows on which only the active version was right.
    pub only_active: u64,
}

const AGREEMENT: Wording = Wording {
    gate: AGREEMENT_GATE,
    bad: "in shadow it answers otherwise than the active version",
    harm: "the share of other answers",
    rows: "rows in shadow",
    show: |x| format!("{:.1} %", x * 100.0),
    cap: 1.0,
};
const ACCURACY: Wording = Wording {
    gate: "shadow_accuracy",
    bad: "in shadow it is right less often than the active version",
    harm: "the loss",
    rows: "labelled rows in shadow",
    show: |x| format!("{:+.1} points", x * 100.0),
    cap: 0.5,
};

/// A device's harm per row, of variance `v` a row.
fn pair(harm: f64, v: f64, rows: u64) -> Pair {
    let n = rows as f64;
    Pair { harm, fixed: ICC * v, rows: v / n, least: v / n, progress: n / MIN_ROWS as f64 }
}

fn agreement_of(b: &Beside) -> Pair {
    let n = b.rows.saturating_add(b.errors);
    let otherwise = n.saturating_sub(b.agreed.min(n));
    // As if one row more agreed and one did not: no device is sure of itself.
    let p = (otherwise as f64 + 1.0) / (n as f64 + 2.0);
    pair(otherwise as f64 / n as f64, p * (1.0 - p), n)
}

fn accuracy_of(b: &Beside) -> Pair {
    let n = b.labelled as f64;
    let (lost, won) = (b.only_active as f64, b.only_candidate as f64);
    let harm = (lost - won) / n;
    let v = (lost + won + 2.0) / (n + 2.0) - harm * harm;
    pair(harm, v.max(1.0 / (n + 2.0)), b.labelled)
}

/// Whether these devices have a shadow run: all of a wave have, or none.
pub(super) fn is_run(wave: &[Evidence<'_>]) -> bool {
    wave.iter().any(|e| e.measured.shadow.is_some())
}

/// Who compares rows in shadow, and who could still: of `n` rows with the version, where the one before had `old`. Nobody
/// waits for a device that came when the shadow run was over; but where it has begun to compare, one alone stops nothing.
fn voice(e: &Evidence<'_>, n: u64, old: u64) -> Voice {
    let has_begun = e.measured.shadow.is_some_and(|b| compared(&b) > 0);
    match e.standing {
        _ if n >= MIN_ROWS => Voice::Heard,
        _ if n == 0 && old < MIN_ROWS => Voice::Mute,
        Standing::OnItsWay if e.reachable => Voice::Silent,
        Standing::OnItsWay | Standing::Ok if has_begun => Voice::Coming,
        _ => Voice::Mute,
    }
}

/// What the gates on a version in shadow say; none where the policy asks for none. Each is asked by its
/// margin.
pub(super) fn judge(
    gate: &Gate,
    asked_agreement: impl Fn(f64) -> Asked,
    asked_accuracy: impl Fn(f64) -> Asked,
    all: &[Evidence<'_>],
) -> Vec<GateResult> {
    let mut out = Vec::new();
    let wave: Vec<Beside> = all.iter().filter_map(|e| e.measured.shadow).collect();
    if !is_run(all) {
        let limit = gate.shadow_agreement.map(|least| 1.0 - least);
        let text = "this wave has no shadow run".to_owned();
        return limit.map(|l| silent(AGREEMENT_GATE, Outcome::NotApplicable, l, text)).into_iter().collect();
    }
    let wave = &wave[..];
    let voices = |n: fn(&Beside) -> u64, old: fn(&Tally) -> u64| -> Voices {
        let of = |e: &Evidence<'_>| Some(voice(e, n(&e.measured.shadow?), e.champion.map_or(0, |t| old(&t))));
        all.iter().filter_map(of).collect()
    };
    if let Some(least) = gate.shadow_agreement {
        out.push(agreement(&asked_agreement(1.0 - least), wave, voices(compared, |old| old.rows)));
    }
    if let Some(margin) = gate.accuracy_drop {
        // Labels may come late or not at all: what they do not show yet holds nothing up, and the gate on accuracy follows.
        let voices = voices(|b| b.labelled, |old| old.labelled);
        out.extend(accuracy(&asked_accuracy(margin), wave, voices).filter(|g| g.outcome == Outcome::Fail));
    }
    out
}

/// Rows that the version answered or failed at.
fn compared(b: &Beside) -> u64 {
    b.rows.saturating_add(b.errors)
}

fn agreement(asked: &Asked, wave: &[Beside], voices: Voices) -> GateResult {
    let total = |f: fn(&Beside) -> u64| wave.iter().map(f).fold(0, u64::saturating_add);
    let rows = total(compared);
    let pairs: Vec<Pair> = wave.iter().filter(|b| compared(b) >= MIN_ROWS).map(agreement_of).collect();
    let least = 2 * MIN_ROWS;
    let agreed = total(|b| b.agreed);
    let seen = format!(
        "{agreed} of {rows} rows in shadow have the same answer, on {}",
        counted(pairs.len(), "device")
    );
    if pairs.is_empty() {
        let text =
            format!("not yet (needs {})", more_rows(least.saturating_sub(rows).max(1), AGREEMENT.rows));
        return silent(AGREEMENT.gate, Outcome::NotYet, asked.margin, text);
    }
    let missing = (rows < least).then(|| more_rows(least - rows, AGREEMENT.rows));
    answer(&AGREEMENT, asked, &Said { pairs, voices, control: None, missing, seen, rows })
}

fn accuracy(asked: &Asked, wave: &[Beside], voices: Voices) -> Option<GateResult> {
    let total = |f: fn(&Beside) -> u64| wave.iter().map(f).fold(0, u64::saturating_add);
    let pairs: Vec<Pair> = wave.iter().filter(|b| b.labelled >= MIN_ROWS).map(accuracy_of).collect();
    if pairs.is_empty() {
        return None;
    }
    let rows = total(|b| b.labelled);
    let seen = format!(
        "of {} in shadow, only it was right on {}, only the active version on {}",
        counted(rows, "labelled row"),
        total(|b| b.only_candidate),
        total(|b| b.only_active)
    );
    Some(answer(&ACCURACY, asked, &Said { pairs, voices, control: None, missing: None, seen, rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(margin: f64) -> Asked {
        Asked { margin, alpha: 0.005, proof: false }
    }
    /// Of devices that all compare.
    fn agreement(asked: &Asked, wave: &[Beside]) -> GateResult {
        super::agreement(asked, wave, Voices { heard: wave.len(), ..Voices::default() })
    }
    fn accuracy(asked: &Asked, wave: &[Beside]) -> Option<GateResult> {
        super::accuracy(asked, wave, Voices { heard: wave.len(), ..Voices::default() })
    }
    fn beside(rows: u64, agreed: u64) -> Beside {
        Beside { rows, agreed, ..Beside::default() }
    }

    #[test]
    fn a_version_that_answers_otherwise_fails_and_one_that_agrees_passes() {
        let chance = agreement(&asked(0.15), &[beside(600, 460)]);
        assert_eq!(
            chance.outcome,
            Outcome::NotYet,
            "one device proves a moderate difference badly: {chance:?}"
        );
        let bad = agreement(&asked(0.15), &[beside(600, 360)]);
        assert_eq!(bad.outcome, Outcome::Fail, "{bad:?}");
        let good = agreement(&asked(0.15), &[beside(600, 560)]);
        assert_eq!(good.outcome, Outcome::Pass, "{good:?}");
        assert!((good.value.unwrap() - 40.0 / 600.0).abs() < 1e-9 && good.numbers.contains_key("harm_upper"));
        let two = agreement(&asked(0.05), &[beside(600, 599), beside(40, 1)]);
        assert_eq!(two.outcome, Outcome::Pass, "40 rows of one device say nothing: {two:?}");
    }
    #[test]
    fn too_few_rows_are_no_answer_and_failures_count_as_other_answers() {
        for wave in [&[][..], &[beside(0, 0)], &[beside(49, 49)]] {
            let g = agreement(&asked(0.1), wave);
            assert_eq!(g.outcome, Outcome::NotYet, "{g:?}");
            assert!(g.text.contains("more rows in shadow"), "{}", g.text);
        }
        let broken = Beside { rows: 100, agreed: 100, errors: 300, ..Beside::default() };
        assert_eq!(agreement(&asked(0.1), &[broken]).outcome, Outcome::Fail);
        let lied = agreement(&asked(0.1), &[beside(100, u64::MAX)]);
        assert_eq!(lied.outcome, Outcome::Pass, "a count that cannot be is no more than all rows");
    }
    #[test]
    fn labels_tell_in_shadow_already_that_a_version_is_worse() {
        let worse = Beside { labelled: 500, only_active: 100, only_candidate: 5, ..beside(500, 395) };
        assert_eq!(accuracy(&asked(0.02), &[worse]).unwrap().outcome, Outcome::Fail);
        let better = Beside { labelled: 500, only_active: 5, only_candidate: 100, ..beside(500, 395) };
        assert_eq!(accuracy(&asked(0.02), &[better]).unwrap().outcome, Outcome::Pass);
        assert_eq!(accuracy(&asked(0.02), &[beside(500, 395)]), None, "no label, no word");
    }
}
