//! Probabilities of the two-sample Kolmogorov-Smirnov statistic, as SciPy's `ks_2samp(method="auto")` gives them.
//!
//! Exact while no sample has more than 10,000 rows, by counting lattice paths (Hodges, "The significance probability of the
//! Smirnov two-sample test", 1958; Viehmann, arXiv:2102.08037); beyond that the one-sample distribution at
//! round(nm / (n + m)) (Simard and L'Ecuyer, "Computing the two-sided Kolmogorov-Smirnov distribution", 2011). Both assume
//! data without ties; with ties they err on the side of saying less.

use crate::special::{ln_choose, ln_gamma};

/// Largest sample for which the exact distribution is used.
pub const EXACT_MAX: u64 = 10_000;

/// P(D >= d) for samples of `n` and `m` rows; 1 when a sample is empty.
#[must_use]
pub fn two_sample_p(d: f64, n: u64, m: u64) -> f64 {
    if n == 0 || m == 0 {
        return 1.0;
    }
    if n.max(m) <= EXACT_MAX {
        // Within the largest exact size nothing here can be rounded: lcm <= 1e8.
        let lcm = n / gcd(n, m) * m;
        let h = (d * lcm as f64).round() as u64;
        let p = if h == 0 {
            1.0
        } else if n == m {
            outside_square(n, h)
        } else {
            outside_band(n, m, h)
        };
        if !p.is_nan() {
            // Sums of rounded terms may end just above 1.
            return p.clamp(0.0, 1.0);
        }
    }
    let (n, m) = (n as f64, m as f64);
    // Halves go to the even number, as NumPy's `round` takes them: equal samples of an odd number of rows give one.
    one_sample_sf((n * m / (n + m)).round_ties_even() as u64, d)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Equal samples: 2 (A0 (1 - A1 (1 - ...))) with A the ratios of binomial coefficients (Gnedenko and Korolyuk, 1951).
fn outside_square(n: u64, h: u64) -> f64 {
    let mut p = 0.0;
    for k in (0..=n / h).rev() {
        let terms = (0..h).map(|j| {
            let up = n as f64 - (k * h) as f64 - j as f64;
            up / (n + k * h + j + 1) as f64
        });
        p = terms.product::<f64>() * (1.0 - p);
    }
    2.0 * p
}

/// Probability that a random path from (0, 0) to (n, m) ever leaves |x/n - y/m| < h/lcm. First passages are added up, so
/// small probabilities keep their digits.
fn outside_band(n: u64, m: u64, h: u64) -> f64 {
    // x runs along the longer side, y is held in a row.
    let (n, m) = (n.max(m), n.min(m));
    let g = gcd(n, m);
    let (n_step, m_step) = ((m / g) as i64, (n / g) as i64);
    let h = i64::try_from(h).unwrap_or(i64::MAX);
    let inside = |x: u64, y: u64| (x as i64 * n_step - y as i64 * m_step).abs() < h;
    let mut row = vec![0.0f64; m as usize + 1];
    let mut outside = 0.0;
    for x in 0..=n {
        // Cells of the band in this column; everything else holds 0.
        let centre = x as i64 * n_step;
        let low = ((centre - h) / m_step - 1).clamp(0, m as i64) as u64;
        let high = ((centre + h) / m_step + 1).clamp(0, m as i64) as u64;
        for y in low..=high {
            let at = y as usize;
            let left = (n + m - x - y + 1) as f64;
            let from_x = if x == 0 { 0.0 } else { row[at] * (n - x + 1) as f64 / left };
            let from_y = if y == 0 { 0.0 } else { row[at - 1] * (m - y + 1) as f64 / left };
            let here = if x == 0 && y == 0 { 1.0 } else { from_x + from_y };
            if inside(x, y) {
                row[at] = here;
            } else {
                outside += here;
                row[at] = 0.0;
            }
        }
        if let Some(below) = (low as usize).checked_sub(1) {
            row[below] = 0.0;
        }
    }
    outside
}

/// P(D_n >= x) of the one-sample statistic (SciPy's `kstwo.sf`).
#[must_use]
pub fn one_sample_sf(n: u64, x: f64) -> f64 {
    let t = n as f64 * x;
    if n == 0 || x.is_nan() || t <= 0.5 {
        return 1.0;
    }
    if x >= 1.0 {
        return 0.0;
    }
    let nf = n as f64;
    if t <= 1.0 {
        // Ruben and Gambino: n! / n^n (2t - 1)^n.
        return 1.0 - (ln_gamma(nf + 1.0) - nf * nf.ln() + nf * (2.0 * t - 1.0).ln()).exp();
    }
    let square = t * x;
    let p = if t >= nf - 1.0 {
        2.0 * (1.0 - x).powf(nf)
    } else if square >= 370.0 {
        0.0
    } else if x >= 0.5 || square >= if n <= 140 { 4.0 } else { 2.2 } {
        2.0 * smirnov(n, x)
    } else if n <= 140 || (n <= 100_000 && nf * x.powf(1.5) <= 1.4) {
        1.0 - durbin(n, x)
    } else {
        1.0 - pelz_good(nf, x)
    };
    p.clamp(0.0, 1.0)
}

/// One-sided P(D+ >= x): x sum_j C(n, j) (x + j/n)^(j-1) (1 - x - j/n)^(n-j) (Birnbaum and Tingey, 1951).
fn smirnov(n: u64, x: f64) -> f64 {
    let nf = n as f64;
    let last = (nf * (1.0 - x)).floor() as u64;
    let term = |j: u64| {
        let jf = j as f64;
        let up = x + jf / nf;
        let down = 1.0 - up;
        if down <= 0.0 && j < n {
            return 0.0;
        }
        let ln_down = if j == n { 0.0 } else { (nf - jf) * down.ln() };
        (ln_choose(nf, jf) + (jf - 1.0) * up.ln() + ln_down).exp()
    };
    x * (0..=last).map(term).sum::<f64>()
}

/// Durbin's matrix as computed by Marsaglia, Tsang and Wang (2003): P(D_n < x).
fn durbin(n: u64, x: f64) -> f64 {
    let t = n as f64 * x;
    let k = t.ceil() as usize;
    let h = k as f64 - t;
    let m = 2 * k - 1;
    let mut w = vec![1.0; m];
    for j in 1..m {
        w[j] = w[j - 1] / j as f64;
    }
    let factorial = |j: usize| w[j - 1] / j as f64;
    let mut v: Vec<f64> = (1..=m).map(|j| (1.0 - h.powi(j as i32)) * factorial(j)).collect();
    v[m - 1] = (1.0 + (2.0 * h - 1.0).max(0.0).powi(m as i32) - 2.0 * h.powi(m as i32)) * factorial(m);
    let mut matrix = vec![0.0; m * m];
    for i in 1..m {
        for (j, value) in w.iter().enumerate().take(m - i + 1) {
            matrix[(i - 1 + j) * m + i] = *value;
        }
    }
    for j in 0..m {
        matrix[j * m] = v[j];
    }
    for j in 0..m {
        matrix[(m - 1) * m + j] = v[m - 1 - j];
    }
    let mut power: Vec<f64> = (0..m * m).map(|i| if i % (m + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let (mut rest, mut ln_power, mut ln_matrix) = (n, 0.0, 0.0);
    while rest > 0 {
        if rest % 2 == 1 {
            power = product(&power, &matrix, m);
            ln_power += ln_matrix + rescale(&mut power);
        }
        matrix = product(&matrix, &matrix, m);
        ln_matrix = 2.0 * ln_matrix + rescale(&mut matrix);
        rest /= 2;
    }
    let nf = n as f64;
    let p = power[(k - 1) * m + k - 1];
    if p <= 0.0 { 0.0 } else { (p.ln() + ln_power + ln_gamma(nf + 1.0) - nf * nf.ln()).exp() }
}

fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * m];
    for (row, target) in a.chunks_exact(m).zip(out.chunks_exact_mut(m)) {
        for (x, line) in row.iter().zip(b.chunks_exact(m)) {
            target.iter_mut().zip(line).for_each(|(t, y)| *t += x * y);
        }
    }
    out
}

/// Divides by the greatest element and gives its logarithm.
fn rescale(matrix: &mut [f64]) -> f64 {
    let most = matrix.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if most == 0.0 {
        return 0.0;
    }
    matrix.iter_mut().for_each(|v| *v /= most);
    most.ln()
}

/// Pelz and Good (1976): K0(z) + K1(z)/sqrt(n) + K2(z)/n + K3(z)/n^1.5, z = x sqrt(n), with Jacobi's theta functions.
fn pelz_good(n: f64, x: f64) -> f64 {
    use std::f64::consts::PI;
    let z = n.sqrt() * x;
    let (z2, z4, z6) = (z * z, z.powi(4), z.powi(6));
    let (pi2, pi4, pi6) = (PI * PI, PI.powi(4), PI.powi(6));
    let ln_q = -pi2 / 8.0 / z2;
    if ln_q < -708.0 {
        return 0.0;
    }
    let last = (16.0 * z / PI).ceil() as i32;
    let mut sums = [0.0f64; 4];
    for k in (1..=last).rev() {
        let odd = f64::from(2 * k - 1);
        let (s2, s4, s6) = (odd.powi(2), odd.powi(4), odd.powi(6));
        let weight = (ln_q * s2).exp();
        let terms = [
            1.0,
            -z2 + pi2 / 4.0 * s2,
            6.0 * z6 + 2.0 * z4 + (2.0 * z4 - 5.0 * z2) * pi2 / 4.0 * s2 + pi4 * (1.0 - 2.0 * z2) / 16.0 * s4,
            -30.0 * z6 - 90.0 * z.powi(8)
                + pi2 * (135.0 * z4 - 96.0 * z6) / 4.0 * s2
                + pi4 * (-60.0 * z2 + 212.0 * z4) / 16.0 * s4
                + pi6 * (5.0 - 30.0 * z2) / 64.0 * s6,
        ];
        sums.iter_mut().zip(terms).for_each(|(s, t)| *s += weight * t);
    }
    let root = (2.0 * PI).sqrt();
    let scale = [z, 6.0 * z4, 72.0 * z.powi(7), 6480.0 * z.powi(10)];
    let mut k: Vec<f64> = sums.iter().zip(scale).map(|(s, d)| s * root / d).collect();
    for i in 1..=last {
        let i2 = f64::from(i * i);
        let weight = (-pi2 / 2.0 / z2 * i2).exp();
        k[2] += -pi2 * root / (36.0 * z.powi(3)) * i2 * weight;
        k[3] += pi2 * root / (216.0 * z6) * (3.0 * z2 - pi2 * i2) * i2 * weight;
    }
    k[0] + k[1] / n.sqrt() + k[2] / n + k[3] / n.powf(1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of scipy.stats.kstwo.sf, SciPy 1.17.
    const KSTWO: &[(u64, f64, f64)] = &[
        (5000, 0.01, 0.6954557253913853),
        (5000, 0.03, 0.00024159234422666817),
        (50, 0.15, 0.19026366518248072),
        (20, 0.3, 0.04306706665851623),
        (10, 0.6, 0.0005681672000000003),
        (10, 0.08, 0.9999978058034054),
        (1000, 0.02, 0.8108971656895577),
        (1000, 0.045, 0.03378304014546085),
        (1000, 0.005, 1.0),
        (100, 0.2, 0.0005551927327988775),
        (200000, 0.002, 0.39995085369038097),
        (33, 0.99, 2.0000000000000587e-66),
        (139, 0.11, 0.06406076936532398),
        (141, 0.05, 0.854845693009663),
        (7, 0.42, 0.12381534448199605),
        (15000, 0.009, 0.17490178139178103),
        (250000, 0.0011, 0.9224821029290282),
        (100001, 0.0012, 0.9987151198007934),
        (99999, 0.0012, 0.9987153259185124),
        (1000000, 0.0008, 0.5438713666611479),
        (2, 0.6, 0.32000000000000006),
        (4, 0.25, 0.90625),
    ];

    #[test]
    fn the_one_sample_distribution_is_scipys() {
        for &(n, x, want) in KSTWO {
            let p = one_sample_sf(n, x);
            assert!((p - want).abs() <= 1e-9 * want.max(1e-3), "n {n}, x {x}: {p}, not {want}");
        }
    }
    /// Values of scipy.stats.ks_2samp, SciPy 1.17.
    const EXACT: &[(f64, u64, u64, f64)] = &[
        (0.3, 10, 10, 0.7869297884777761),
        (0.5692307692307692, 10, 13, 0.03280405151451053),
        (0.22864864864864864, 100, 37, 0.09870546303144645),
        (0.08935013590313813, 285, 284, 0.19137090149001693),
        (0.0705955955955956, 1000, 999, 0.012637777039882041),
        (0.06, 500, 500, 0.3293581065813255),
        (0.02033333333333333, 3000, 2000, 0.6984083126400191),
        (1.0, 7, 1, 0.25),
        (0.022233333333333334, 9000, 10000, 0.01817684960890156),
        (0.10945, 50, 20000, 0.5502658024827349),
        // Half of 10,001 rows: NumPy rounds to the even number.
        (0.012998700129987, 10001, 10001, 0.36374201816572205),
    ];

    #[test]
    fn the_two_sample_distribution_is_scipys() {
        for &(d, n, m, want) in EXACT {
            for (n, m) in [(n, m), (m, n)] {
                let p = two_sample_p(d, n, m);
                assert!((p - want).abs() <= 1e-9 * want, "d {d}, {n} and {m} rows: {p}, not {want}");
            }
        }
    }
    #[test]
    fn nothing_can_be_said_of_nothing() {
        assert_eq!(two_sample_p(0.3, 0, 10), 1.0);
        assert_eq!(two_sample_p(0.0, 10, 12), 1.0);
        assert_eq!(one_sample_sf(0, 0.5), 1.0);
        assert_eq!(one_sample_sf(10, 1.0), 0.0);
    }
}
