//! Distances between two histograms over the same bins: `reference` counts and `current` counts.
//!
//! p and q are shares. Every function gives `None` when either side has no row (nothing can be said of nothing) or the
//! two have different numbers of bins. Counts may exceed 2^53: totals are exact, shares are rounded once.

/// What a zero share is taken for in [`psi`].
pub const PSI_FLOOR: f64 = 1e-4;

/// Shares of counts; `None` without any count.
#[must_use]
pub fn shares(counts: &[u64]) -> Option<Vec<f64>> {
    let total: u128 = counts.iter().map(|&n| u128::from(n)).sum();
    (total > 0).then(|| counts.iter().map(|&n| n as f64 / total as f64).collect())
}

fn pairs(reference: &[u64], current: &[u64]) -> Option<Vec<(f64, f64)>> {
    let same = reference.len() == current.len();
    Some(shares(reference)?.into_iter().zip(shares(current)?).collect()).filter(|_| same)
}

/// Population stability index, sum (p - q) ln(p / q), zero shares set to [`PSI_FLOOR`] (Siddiqi, "Credit risk scorecards",
/// 2006; it is Jeffreys' divergence). Natural logarithm. Depends on the number of bins: say which.
#[must_use]
pub fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    let floor = |s: f64| if s == 0.0 { PSI_FLOOR } else { s };
    let terms = pairs(reference, current)?.into_iter().map(|(p, q)| (floor(p), floor(q)));
    Some(terms.map(|(p, q)| (p - q) * (p / q).ln()).sum())
}

/// Jensen-Shannon distance, base 2: the root of the divergence, between 0 and 1 (Endres and Schindelin, 2003).
#[must_use]
pub fn jensen_shannon(reference: &[u64], current: &[u64]) -> Option<f64> {
    let kl = |a: f64, middle: f64| if a == 0.0 { 0.0 } else { a * (a / middle).ln() };
    let terms = pairs(reference, current)?;
    let (left, right) = terms.iter().fold((0.0, 0.0), |(l, r), (p, q)| {
        let middle = (p + q) / 2.0;
        (l + kl(*p, middle), r + kl(*q, middle))
    });
    Some(((left + right) / 2.0 / std::f64::consts::LN_2).max(0.0).sqrt())
}

/// Hellinger distance, the root of sum (sqrt p - sqrt q)^2 / 2, between 0 and 1.
#[must_use]
pub fn hellinger(reference: &[u64], current: &[u64]) -> Option<f64> {
    let terms = pairs(reference, current)?;
    let sum: f64 = terms.iter().map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum();
    Some((sum / 2.0).clamp(0.0, 1.0).sqrt())
}

/// Greatest difference of shares of one bin.
#[must_use]
pub fn l_infinity(reference: &[u64], current: &[u64]) -> Option<f64> {
    Some(pairs(reference, current)?.iter().fold(0.0, |m, (p, q)| (p - q).abs().max(m)))
}

/// Share of the current rows in bins where the reference has none: mass that no test of ratios can see.
#[must_use]
pub fn unseen(reference: &[u64], current: &[u64]) -> Option<f64> {
    let terms = pairs(reference, current)?;
    Some(terms.iter().filter(|(p, _)| *p == 0.0).map(|(_, q)| q).sum())
}

/// Distances that need nothing but counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    /// [`psi`].
    pub psi: f64,
    /// [`jensen_shannon`].
    pub js: f64,
    /// [`hellinger`].
    pub hellinger: f64,
    /// [`l_infinity`].
    pub linf: f64,
    /// [`unseen`].
    pub unseen: f64,
    /// Bins they were taken over.
    pub bins: usize,
}

impl Distances {
    /// All of them; `None` as for each.
    #[must_use]
    pub fn of(reference: &[u64], current: &[u64]) -> Option<Self> {
        Some(Self {
            psi: psi(reference, current)?,
            js: jensen_shannon(reference, current)?,
            hellinger: hellinger(reference, current)?,
            linf: l_infinity(reference, current)?,
            unseen: unseen(reference, current)?,
            bins: reference.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_are_no_distance() {
        let d = Distances::of(&[10, 20, 0], &[100, 200, 0]).unwrap();
        assert_eq!((d.psi, d.js, d.hellinger, d.linf, d.unseen), (0.0, 0.0, 0.0, 0.0, 0.0));
    }
    #[test]
    fn disjoint_histograms_are_as_far_apart_as_can_be() {
        let d = Distances::of(&[5, 0], &[0, 9]).unwrap();
        assert!((d.js - 1.0).abs() < 1e-15 && d.hellinger == 1.0 && d.linf == 1.0 && d.unseen == 1.0);
        // Both bins have a zero share: 2 (1 - 1e-4) ln(1e4).
        assert!((d.psi - 2.0 * (1.0 - 1e-4) * 1e4f64.ln()).abs() < 1e-12);
    }
    #[test]
    fn nothing_can_be_said_of_nothing_or_of_other_bins() {
        assert_eq!(Distances::of(&[0, 0], &[1, 2]), None);
        assert_eq!(Distances::of(&[1], &[]), None);
        assert_eq!(Distances::of(&[1, 2], &[1, 2, 3]), None);
    }
    #[test]
    fn counts_beyond_two_to_the_53_are_counted() {
        let big = 1 << 60;
        let d = Distances::of(&[big, big], &[big, 3 * big]).unwrap();
        assert_eq!(d.linf, 0.25);
        assert_eq!(shares(&[u64::MAX, u64::MAX]), Some(vec![0.5, 0.5]));
    }
}
