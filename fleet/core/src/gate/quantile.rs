//! Quantiles of the normal and of Student's t distribution.

use std::f64::consts::PI;

use longshore_stats::special::normal_quantile;

/// The `p` quantile of the standard normal distribution, 0 < p < 1.
#[must_use]
pub fn normal(p: f64) -> f64 {
    normal_quantile(p.clamp(1e-300, 1.0 - 1e-16))
}

/// The upper quantile P(T <= t) = `p` of Student's t with `df` degrees of freedom, 0.5 < p < 1.
#[must_use]
pub fn student(p: f64, df: u32) -> f64 {
    if df > 500 {
        let z = normal(p);
        let v = f64::from(df);
        return z + (z.powi(3) + z) / (4.0 * v);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while student_cdf(high, df) < p && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if student_cdf(middle, df) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(T <= t), t >= 0, by the finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4).
fn student_cdf(t: f64, df: u32) -> f64 {
    let theta = (t / f64::from(df).sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let cos2 = cos * cos;
    let (mut term, mut sum) = (1.0, 1.0);
    let two_sided = if df % 2 == 1 {
        for k in (3..df).step_by(2) {
            term *= f64::from(k - 1) / f64::from(k) * cos2;
            sum += term;
        }
        if df == 1 { 2.0 * theta / PI } else { 2.0 / PI * (theta + sin * cos * sum) }
    } else {
        for k in (2..df).step_by(2) {
            term *= f64::from(k - 1) / f64::from(k) * cos2;
            sum += term;
        }
        sin * sum
    };
    0.5 + two_sided / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_tables() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959964), (0.99, 2.326348), (0.0013498980, -3.0)] {
            assert!((normal(p) - z).abs() < 1e-5, "{p}");
        }
        for (p, df, t) in [
            (0.975, 1, 12.7062),
            (0.99, 1, 31.8205),
            (0.975, 2, 4.302653),
            (0.995, 3, 5.840909),
            (0.99, 10, 2.763769),
            (0.975, 30, 2.042272),
            (0.975, 1000, 1.962339),
        ] {
            assert!((student(p, df) - t).abs() < 2e-4 * t, "{p} {df} {}", student(p, df));
        }
    }
}
