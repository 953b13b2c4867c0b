//! The device's own guard in probation: it goes back without asking the fleet.

use longshore_wire::v1::{Guard, Reason};
use serde::{Deserialize, Serialize};

/// Fewest rows before an error share means anything.
pub const MIN_ROWS: u64 = 20;
/// Fewest requests before a p99 means anything.
pub const MIN_REQUESTS: u64 = 100;

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
    let (Some(p99), Some(base)) = (s.p99_us, s.baseline_p99_us) else {
        return None;
    };
    if guard.max_p99_percent > 0
        && s.requests >= MIN_REQUESTS
        && p99 * 100 > base.max(1) * u64::from(guard.max_p99_percent)
    {
        return Some(Reason {
            code: "guard.latency".into(),
            detail: format!(
                "p99 latency {p99} us is above {} % of the previous bundle's {base} us",
                guard.max_p99_percent
            ),
        });
    }
    None
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

    const GUARD: Guard = Guard { max_error_permille: 50, max_crashes: 1, max_p99_percent: 150 };

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
    fn a_limit_of_zero_is_off() {
        let s = Sample { rows: 0, errors: 100, ..Sample::default() };
        assert_eq!(verdict(&Guard::default(), &s), None);
        assert_eq!(crash_verdict(&Guard::default(), 9), None);
        assert!(crash_verdict(&GUARD, 1).is_some());
    }
}
