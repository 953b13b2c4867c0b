//! Control devices: how much the previous version itself changed in the time that the new one was tried.
//!
//! One that lies must move nothing: of the changes, the tenth at either end (at least one device) is left out, and the
//! variance is that of the trimmed mean (Tukey and McLaughlin 1963).

/// Fewer control devices say nothing.
pub(super) const MIN_CONTROLS: usize = 5;

/// What changed without the new version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    /// Mean change of a device, in the unit of the harm.
    pub mean: f64,
    /// Variance of that mean.
    pub variance: f64,
    /// Devices it is from.
    pub devices: usize,
}

/// The trimmed mean of the changes of control devices; `None` with fewer than [`MIN_CONTROLS`].
pub(super) fn shift(mut changes: Vec<f64>) -> Option<Shift> {
    let n = changes.len();
    if n < MIN_CONTROLS {
        return None;
    }
    changes.sort_by(f64::total_cmp);
    let out = (n / 10).max(1);
    let (low, high) = (changes[out], changes[n - 1 - out]);
    let kept = (n - 2 * out) as f64;
    let mean = changes[out..n - out].iter().sum::<f64>() / kept;
    let winsorized: Vec<f64> = changes.iter().map(|c| c.clamp(low, high)).collect();
    let centre = winsorized.iter().sum::<f64>() / n as f64;
    let squares = winsorized.iter().map(|c| (c - centre).powi(2)).sum::<f64>();
    let variance = squares / (n as f64 - 1.0) * n as f64 / (kept * kept);
    Some(Shift { mean, variance, devices: n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_say_nothing_and_one_liar_moves_nothing() {
        assert_eq!(shift(vec![0.1; 4]), None);
        let honest = vec![0.010, 0.012, 0.008, 0.011, 0.009, 0.010];
        let quiet = shift(honest.clone()).unwrap();
        assert!((quiet.mean - 0.01).abs() < 0.001);
        for lie in [-1.0, 1.0] {
            let mut all = honest.clone();
            all.push(lie);
            let moved = shift(all).unwrap();
            assert!((moved.mean - quiet.mean).abs() < 0.001 && moved.variance < 1e-5, "{moved:?}");
        }
    }
    #[test]
    fn the_variance_of_many_is_that_of_their_mean() {
        // Evenly spread over 0..1: a trimmed mean of so many varies a little more than the plain one, 1/12/n.
        let n = 1000;
        let s = shift((0..n).map(|i| f64::from(i) / f64::from(n)).collect()).unwrap();
        assert!((s.mean - 0.5).abs() < 0.001);
        assert!(s.variance > 1.0 / 12.0 / f64::from(n) && s.variance < 1.4 / 12.0 / f64::from(n), "{s:?}");
    }
}
