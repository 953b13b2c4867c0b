//! Benjamini and Hochberg, "Controlling the false discovery rate" (1995): many tests, one rate of false alarms.

/// Adjusted p-values in the order given: rejecting where the result is at most `a` keeps the expected share of false
/// alarms among the alarms at or below `a`, for independent or positively dependent tests. NaN stays NaN and counts for
/// nothing; an empty list gives an empty list.
#[must_use]
pub fn adjusted(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).filter(|i| !p_values[*i].is_nan()).collect();
    order.sort_by(|a, b| p_values[*b].total_cmp(&p_values[*a]));
    let tests = order.len() as f64;
    let mut out = vec![f64::NAN; p_values.len()];
    let mut least = 1.0f64;
    for (above, &i) in order.iter().enumerate() {
        let rank = tests - above as f64;
        least = least.min(p_values[i] * tests / rank);
        out[i] = least;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_scipys_false_discovery_control() {
        // scipy.stats.false_discovery_control([0.01, 0.04, 0.03, 0.005, 0.5])
        let got = adjusted(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        for (g, want) in got.iter().zip([0.025, 0.05, 0.05, 0.025, 0.5]) {
            assert!((g - want).abs() < 1e-15, "{got:?}");
        }
    }
    #[test]
    fn edges_of_the_list() {
        assert_eq!(adjusted(&[]), [0.0; 0]);
        assert_eq!(adjusted(&[0.2]), [0.2]);
        let with_nan = adjusted(&[f64::NAN, 0.2]);
        assert!(with_nan[0].is_nan() && with_nan[1] == 0.2);
        assert_eq!(adjusted(&[1.0, 1.0]), [1.0, 1.0]);
    }
}
