//! A share at every look, from counts alone: the beta mixture of likelihood ratios (Robbins 1970; Howard et al. 2021,
//! "beta-binomial mixture"). It is what a gambler wins who spreads his stake evenly over all shares.

use super::{SequenceError, error_probability};
use crate::bounds::Interval;
use crate::special::ln_gamma;

/// ln of the evidence against `share` after `hits` of `n`: it exceeds ln(1 / alpha) at any time with probability alpha at
/// most, if `share` is true.
#[must_use]
pub fn ln_evidence(hits: u64, n: u64, share: f64) -> f64 {
    let (k, n) = (hits.min(n) as f64, n as f64);
    // 0 ln 0 is 0: what never happened says nothing against its being impossible.
    let part = |times: f64, p: f64| if times == 0.0 { 0.0 } else { times * p.ln() };
    ln_gamma(k + 1.0) + ln_gamma(n - k + 1.0) - ln_gamma(n + 2.0) - part(k, share) - part(n - k, 1.0 - share)
}

/// The shares that `hits` of `n` leave possible at level 1 - `alpha`, whenever one looks. Without a row that is all.
///
/// # Errors
/// [`SequenceError::Alpha`]; [`SequenceError::OutOfRange`] for more hits than rows.
pub fn interval(hits: u64, n: u64, alpha: f64) -> Result<Interval, SequenceError> {
    let limit = -error_probability(alpha)?.ln();
    if hits > n {
        return Err(SequenceError::OutOfRange(hits as f64 / (n as f64).max(1.0)));
    }
    if n == 0 {
        return Ok(Interval { lo: 0.0, hi: 1.0 });
    }
    let at = hits as f64 / n as f64;
    // The evidence grows with the distance from the observed share; each side is halved until f64 has no more digits.
    let side = |mut inside: f64, mut outside: f64| {
        if ln_evidence(hits, n, outside) < limit {
            return outside;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(inside, outside);
            if ln_evidence(hits, n, middle) < limit {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        outside
    };
    Ok(Interval { lo: side(at, 0.0), hi: side(at, 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_observed_share_and_tightens() {
        let mut wide = 1.1;
        for n in [0u64, 1, 10, 100, 1_000, 1_000_000] {
            let i = interval(n * 9 / 10, n, 0.01).unwrap();
            assert!(i.lo <= 0.9 && i.hi >= 0.9 || n < 10, "{n} {i:?}");
            assert!(i.hi - i.lo < wide);
            wide = i.hi - i.lo;
        }
        // Half of the +-6 points of a bound that only knows the range.
        let i = interval(950, 1000, 0.05).unwrap();
        assert!(i.hi - i.lo < 0.06, "{i:?}");
    }
    #[test]
    fn nothing_and_everything_have_one_end_each() {
        let none = interval(0, 50, 0.05).unwrap();
        assert!(none.lo == 0.0 && none.hi > 0.05 && none.hi < 0.2);
        let all = interval(50, 50, 0.05).unwrap();
        assert!(all.hi == 1.0 && (all.lo - (1.0 - none.hi)).abs() < 1e-9);
        assert_eq!(interval(0, 0, 0.05).unwrap(), Interval { lo: 0.0, hi: 1.0 });
    }
    #[test]
    fn nonsense_is_refused() {
        assert!(
            interval(3, 2, 0.05).is_err() && interval(1, 2, 0.0).is_err() && interval(1, 2, 1.0).is_err()
        );
    }
}
