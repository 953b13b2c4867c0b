//! Statistics of raw rows, for the author's desk: there the rows are at hand and nothing needs to be summarised.
//!
//! Every function skips what is not finite. Nothing here runs on a device or leaves one.

/// The finite values, sorted, -0.0 as 0.0.
#[must_use]
pub fn sorted_finite(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).map(|v| v + 0.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The `q` quantile of sorted values by linear interpolation (definition 7 of Hyndman and Fan, 1996; NumPy's default, with
/// NumPy's order of operations, so that the bits agree). `None` when there is no value.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = last as f64 * q;
    let low = at.floor().clamp(0.0, last as f64);
    let t = (at - low).clamp(0.0, 1.0);
    let a = sorted[low as usize];
    let b = sorted[(low as usize + 1).min(last)];
    let step = b - a;
    if step.is_infinite() {
        return Some(a * (1.0 - t) + b * t);
    }
    Some(if t >= 0.5 { b - step * (1.0 - t) } else { a + step * t })
}

/// The inner edges of `bins` quantile bins: `unique(quantile(reference, linspace(0, 1, bins + 1)[1:-1]))`. Fewer edges
/// than `bins - 1` where values repeat; none for an empty reference or fewer than two bins.
#[must_use]
pub fn quantile_edges(sorted: &[f64], bins: u32) -> Vec<f64> {
    if bins < 2 || sorted.is_empty() {
        return Vec::new();
    }
    let step = 1.0 / f64::from(bins);
    let mut edges: Vec<f64> =
        (1..bins).filter_map(|i| quantile(sorted, f64::from(i) * step)).map(|v| v + 0.0).collect();
    edges.sort_unstable_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// Counts between inner edges; a value equal to an edge belongs to the bin on its right.
#[must_use]
pub fn counts(sorted: &[f64], edges: &[f64]) -> Vec<u64> {
    let mut from = 0;
    let mut out: Vec<u64> = Vec::with_capacity(edges.len() + 1);
    for edge in edges {
        let to = sorted.partition_point(|v| v < edge);
        out.push((to - from) as u64);
        from = to;
    }
    out.push((sorted.len() - from) as u64);
    out
}

/// The two-sample Kolmogorov-Smirnov statistic max |F - G| of sorted samples; `None` when one is empty.
#[must_use]
pub fn ks_statistic(a: &[f64], b: &[f64]) -> Option<f64> {
    let mut most = 0i128;
    walk(a, b, |_, _, difference| most = most.max(difference.abs()))?;
    Some(most as f64 / (a.len() as f64 * b.len() as f64))
}

/// The first Wasserstein distance: the integral of |F - G| (Vallender, 1974), of unclipped values. `None` when a sample is
/// empty; infinite when it is beyond what an f64 can hold.
#[must_use]
pub fn wasserstein(a: &[f64], b: &[f64]) -> Option<f64> {
    let mut sum = 0.0;
    let scale = a.len() as f64 * b.len() as f64;
    walk(a, b, |from, to, difference| {
        let share = difference.unsigned_abs() as f64 / scale;
        // A range may be too wide for an f64 where a share of it is not.
        sum += if (to - from).is_finite() { share * (to - from) } else { share * to - share * from };
    })?;
    Some(sum)
}

/// Calls `f(from, to, n m (F - G))` for every stretch between neighbouring distinct values.
fn walk(a: &[f64], b: &[f64], mut f: impl FnMut(f64, f64, i128)) -> Option<()> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (n, m) = (a.len() as i128, b.len() as i128);
    let (mut i, mut j) = (0, 0);
    let mut at = a[0].min(b[0]);
    while i < a.len() || j < b.len() {
        i += a[i..].partition_point(|v| *v <= at);
        j += b[j..].partition_point(|v| *v <= at);
        let next = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) => *x,
            (None, Some(y)) => *y,
            (None, None) => at,
        };
        f(at, next, i as i128 * m - j as i128 * n);
        at = next;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_have_numpys_bits() {
        // numpy.quantile([1, 2, 4, 8, 16], linspace(0, 1, 6)[1:-1])
        let edges = quantile_edges(&[1.0, 2.0, 4.0, 8.0, 16.0], 5);
        assert_eq!(edges, [1.8, 3.2, 5.600000000000001, 9.600000000000001]);
        assert_eq!(quantile(&[7.0], 0.3), Some(7.0));
        assert_eq!(quantile(&[], 0.3), None);
    }
    #[test]
    fn repeated_values_make_fewer_edges() {
        assert_eq!(quantile_edges(&[2.0; 9], 10), [2.0]);
        assert_eq!(counts(&[2.0; 9], &[2.0]), [0, 9]);
        assert_eq!(quantile_edges(&[], 10), [0.0; 0]);
    }
    #[test]
    fn distances_of_small_samples_by_hand() {
        let (a, b) = ([0.0, 1.0, 3.0], [5.0, 6.0, 8.0]);
        assert_eq!(ks_statistic(&a, &b), Some(1.0));
        assert!((wasserstein(&a, &b).unwrap() - 5.0).abs() < 1e-12);
        assert_eq!(ks_statistic(&a, &a), Some(0.0));
        assert_eq!(wasserstein(&[1.0, 1.0], &[1.0]), Some(0.0));
        assert_eq!((ks_statistic(&[], &a), wasserstein(&a, &[])), (None, None));
    }
    #[test]
    fn a_range_beyond_f64_has_quantiles_and_distances() {
        let ends = [-1.7e308, -1.7e308, -1.7e308, 1.7e308, 1.7e308];
        assert_eq!(quantile(&ends, 0.5), Some(-1.7e308));
        assert!(quantile_edges(&ends, 7).iter().all(|e| e.is_finite()));
        assert_eq!(wasserstein(&ends, &ends), Some(0.0));
        let fifth = wasserstein(&ends, &[-1.7e308, -1.7e308, 1.7e308, 1.7e308, 1.7e308]).unwrap();
        assert!((fifth / 0.68e308 - 1.0).abs() < 1e-12, "{fifth}");
    }
    #[test]
    fn what_is_not_finite_is_skipped() {
        assert_eq!(sorted_finite([f64::NAN, 2.0, -0.0, f64::INFINITY]), [0.0, 2.0]);
    }
}
