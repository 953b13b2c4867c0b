//! The device's own guard in probation: it goes back without asking the fleet.

use longshore_wire::v1::{Guard, Reason};
use serde::{Deserialize, Serialize};

/// Fewest rows before an error share means anything.
pub const MIN_ROWS: u64 = 20;
/// Fewest requests before a p99 means anything.
pub const MIN_REQUESTS: u64 = 100;

/// How far the answers of a version are from its own reference, in per mille of PSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// The shift, without what is to be expected of chance.
    pub permille: u32,
    /// How far off chance may have put it.
    pub reach_permille: u32,
    /// Its rows.
    pub rows: u64,
}

/// The shifts of two versions, each from its own reference. A sensor that broke moves both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreShift {
    /// That of the candidate.
    pub candidate: Shift,
    /// That of the previous bundle, not long before.
    pub previous: Shift,
}

/// What the candidate did since it was activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Requests answered.
    pub requests: u64,
    /// Rows answered.
    pub rows: u64,
    /// Rows that failed.
    pub errors: u64,
    /// Rows whose output held a NaN.
    pub nan: u64,
    /// p99 of the request latency, us.
    pub p99_us: Option<u64>,
    /// p99 of the previous bundle, us; `None` when it has too little history.
    pub baseline_p99_us: Option<u64>,
    /// Shifts of the answers; `None` when either has too few rows or no reference.
    pub score_shift: Option<ScoreShift>,
}

/// Whether the sample breaks a limit, and which.
#[must_use]
pub fn verdict(guard: &Guard, s: &Sample) -> Option<Reason> {
    let all = s.rows + s.errors;
    let bad = s.errors + s.nan;
    if guard.max_error_permille > 0
        && all >= MIN_ROWS
        && bad * 1000 > u64::from(guard.max_error_permille) * all
    {
        return Some(Reason {
            code: "guard.errors".into(),
            detail: format!(
                "{bad} of {all} rows failed or held a NaN: more than {} per mille",
                guard.max_error_permille
            ),
        });
    }
    slower(guard, s).or_else(|| shifted(guard, s))
}

fn slower(guard: &Guard, s: &Sample) -> Option<Reason> {
    let (p99, base) = (s.p99_us?, s.baseline_p99_us?);
    let breaks = guard.max_p99_percent > 0
        && s.requests >= MIN_REQUESTS
        && p99 * 100 > base.max(1) * u64::from(guard.max_p99_percent);
    breaks.then(|| Reason {
        code: "guard.latency".into(),
        detail: format!(
            "p99 latency {p99} us is above {} % of the previous bundle's {base} us",
            guard.max_p99_percent
        ),
    })
}

/// Surely beyond the previous bundle's shift by the limit, and more than twice as large: each version meets inputs that none
/// was made for in its own way, so that of two large shifts the difference says little.
fn shifted(guard: &Guard, s: &Sample) -> Option<Reason> {
    let ScoreShift { candidate, previous } = s.score_shift?;
    let (new, old) = (u64::from(candidate.permille), u64::from(previous.permille));
    let limit = u64::from(guard.max_score_shift_permille);
    let square = |reach: u32| u64::from(reach).saturating_mul(reach.into());
    let reach = square(candidate.reach_permille).saturating_add(square(previous.reach_permille)).isqrt();
    (limit > 0 && new > old + limit + reach && new > 2 * old).then(|| Reason {
        code: "guard.score_shift".into(),
        detail: format!(
            "answers have left the bundle's own reference by a PSI of {} ({} rows), those of the previous bundle its own \
             by {} ({} rows): {} more is allowed, and chance explains at most {}",
            thousandths(new),
            candidate.rows,
            thousandths(old),
            previous.rows,
            thousandths(limit),
            thousandths(reach),
        ),
    })
}

fn thousandths(permille: u64) -> String {
    format!("{}.{:03}", permille / 1000, permille % 1000)
}

/// Whether this many crashes break the limit.
#[must_use]
pub fn crash_verdict(guard: &Guard, crashes: u32) -> Option<Reason> {
    (guard.max_crashes > 0 && crashes >= u32::from(guard.max_crashes)).then(|| Reason {
        code: "guard.crash".into(),
        detail: format!("the engine crashed {crashes} time(s) while this bundle was on probation"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Guard =
        Guard { max_error_permille: 50, max_crashes: 1, max_p99_percent: 150, max_score_shift_permille: 250 };

    #[test]
    fn few_rows_prove_nothing() {
        let s = Sample { rows: 0, errors: 19, ..Sample::default() };
        assert_eq!(verdict(&GUARD, &s), None);
    }
    #[test]
    fn errors_and_nans_count_together() {
        let ok = Sample { rows: 95, errors: 5, ..Sample::default() };
        assert_eq!(verdict(&GUARD, &ok), None);
        let bad = Sample { rows: 95, errors: 5, nan: 1, ..Sample::default() };
        assert_eq!(verdict(&GUARD, &bad).unwrap().code, "guard.errors");
    }
    #[test]
    fn slower_than_allowed() {
        let s = Sample {
            requests: 100,
            rows: 100,
            p99_us: Some(151),
            baseline_p99_us: Some(100),
            ..Sample::default()
        };
        assert_eq!(verdict(&GUARD, &s).unwrap().code, "guard.latency");
        assert_eq!(verdict(&GUARD, &Sample { p99_us: Some(150), ..s }), None);
        assert_eq!(verdict(&GUARD, &Sample { baseline_p99_us: None, ..s }), None);
    }
    #[test]
    fn answers_may_move_as_those_of_the_previous_bundle_did() {
        let shift = |permille, reach_permille, rows| Shift { permille, reach_permille, rows };
        let of = |new, old| {
            let found = ScoreShift { candidate: shift(new, 40, 300), previous: shift(old, 30, 1_000) };
            Sample { score_shift: Some(found), ..Sample::default() }
        };
        let why = verdict(&GUARD, &of(1_251, 600)).unwrap();
        assert_eq!(why.code, "guard.score_shift");
        assert!(
            why.detail.contains("PSI of 1.251 (300 rows)") && why.detail.contains("0.250 more"),
            "{why:?}"
        );
        // Within the limit and chance (40 and 30 make 50); a sensor that broke under both; nothing known.
        assert_eq!(verdict(&GUARD, &of(360, 60)), None);
        assert!(verdict(&GUARD, &of(361, 60)).is_some());
        assert_eq!(verdict(&GUARD, &of(8_000, 4_000)), None);
        assert_eq!(verdict(&GUARD, &Sample::default()), None);
        let off = Guard { max_score_shift_permille: 0, ..GUARD };
        assert_eq!(verdict(&off, &of(9_000, 0)), None);
    }
    #[test]
    fn a_limit_of_zero_is_off() {
        let s = Sample { rows: 0, errors: 100, ..Sample::default() };
        assert_eq!(verdict(&Guard::default(), &s), None);
        assert_eq!(crash_verdict(&Guard::default(), 9), None);
        assert!(crash_verdict(&GUARD, 1).is_some());
    }
}
