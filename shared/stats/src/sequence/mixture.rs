//! Robbins' normal mixture: how far an estimate may be from the truth, in standard errors, at every look at once.
//!
//! Let an estimate have the standard error s and information v = 1 / s^2. Where its information only grows and what is
//! learnt later does not contradict what was learnt before (Cov(early, late) = Var(late): means over more and more rows of
//! the same devices are such), estimate x information is a Brownian motion in v. The one-sided normal mixture bounds it for
//! all v > 0 at once: `sqrt(2 (v + r) ln(1 + sqrt((v + r) / r) / (2 alpha)))` (Howard et al. 2021, eq. 3.7). It is tightest
//! around the v that r was chosen for, and wrong nowhere.

use super::{SequenceError, error_probability};
use crate::special::normal_cdf;

/// With r = v / BEST the bound is about the tightest at v for the alphas that gates have (1e-2 to 1e-4).
pub const BEST: f64 = 12.0;

/// Standard errors by which the estimate may be wrong to one side, at information `ratio` = v / r.
///
/// # Errors
/// [`SequenceError::Alpha`].
pub fn reach(alpha: f64, ratio: f64) -> Result<f64, SequenceError> {
    let alpha = error_probability(alpha)?;
    if ratio.is_nan() || ratio <= 0.0 {
        return Ok(f64::INFINITY);
    }
    let log = (1.0 + (1.0 + ratio).sqrt() / (2.0 * alpha)).ln();
    Ok((2.0 * (1.0 + 1.0 / ratio) * log).sqrt())
}

/// The error probability that a test made once would need to be as strict as this look: what Student's t is asked for where
/// the standard error is estimated from few (significance levels approach: Jennison and Turnbull, "Group sequential
/// methods", 2000, chapter 11). 0 where no test is strict enough.
///
/// # Errors
/// [`SequenceError::Alpha`].
pub fn alpha_of_look(alpha: f64, ratio: f64) -> Result<f64, SequenceError> {
    Ok(normal_cdf(-reach(alpha, ratio)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_look_is_stricter_than_one_look_alone() {
        for alpha in [0.05, 0.01, 0.0005] {
            for ratio in [0.01, 0.5, 1.0, BEST, 100.0, 1e6] {
                assert!(alpha_of_look(alpha, ratio).unwrap() < alpha, "{alpha} {ratio}");
            }
        }
    }
    #[test]
    fn it_is_about_the_tightest_where_it_should_be() {
        for alpha in [0.01, 0.001, 0.0001] {
            let best = reach(alpha, BEST).unwrap();
            for k in 1..4000 {
                assert!(best <= reach(alpha, f64::from(k) / 10.0).unwrap() * 1.01, "{alpha} {k}");
            }
        }
    }
    #[test]
    fn no_information_allows_no_bound_and_no_alpha_is_refused() {
        assert_eq!(reach(0.05, 0.0), Ok(f64::INFINITY));
        assert_eq!(alpha_of_look(0.05, f64::NAN), Ok(0.0));
        for alpha in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(reach(alpha, 1.0).is_err());
        }
    }
}
