//! Coarser bins out of finer ones, by adding neighbours: 64 -> 32 -> 16 -> 8.
//!
//! What always holds: every group of a level is a union of groups of the level before; groups depend on the reference's
//! counts only, so that everybody who has the reference cuts alike; coarsening loses no count. For 64 equally heavy bins
//! this is adding pairs; where atoms make bins unequal, cuts go where the reference's mass is divided most evenly.

use serde::{Deserialize, Serialize};

/// How fine a profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Level {
    /// All bins of the reference.
    #[default]
    Bins64,
    /// At most 32.
    Bins32,
    /// At most 16.
    Bins16,
    /// At most 8.
    Bins8,
}

impl Level {
    /// All levels, finest first.
    pub const ALL: [Self; 4] = [Self::Bins64, Self::Bins32, Self::Bins16, Self::Bins8];
    /// Most bins at this level.
    #[must_use]
    pub fn bins_max(self) -> usize {
        match self {
            Self::Bins64 => 64,
            Self::Bins32 => 32,
            Self::Bins16 => 16,
            Self::Bins8 => 8,
        }
    }
}

/// First bin of each group at `level`, over the finest bins, whose counts in the reference are `reference`.
#[must_use]
pub fn starts(reference: &[u64], level: Level) -> Vec<usize> {
    let mut before = vec![0u128];
    for &n in reference {
        before.push(before[before.len() - 1] + u128::from(n));
    }
    let finest: Vec<usize> = (0..reference.len()).collect();
    let passed = Level::ALL.into_iter().take_while(|l| *l <= level);
    passed.fold(finest, |groups, l| cut(&groups, &before, l.bins_max()))
}

fn cut(groups: &[usize], before: &[u128], most: usize) -> Vec<usize> {
    if groups.len() <= most {
        return groups.to_vec();
    }
    let total = before[before.len() - 1];
    let mut out = vec![0];
    for j in 1..most as u128 {
        // Where the mass on the left is nearest to j parts of `most`; the left one of equals.
        let off = |start: &&usize| (before[**start] * most as u128).abs_diff(j * total);
        let best = groups.iter().filter(|s| **s > 0).min_by_key(off);
        out.extend(best.filter(|s| **s > out[out.len() - 1]));
    }
    out
}

/// Counts of the groups that begin at `starts`.
#[must_use]
pub fn grouped(counts: &[u64], starts: &[usize]) -> Vec<u64> {
    let ends = starts.iter().skip(1).copied().chain([counts.len()]);
    let sum = |(from, to): (&usize, usize)| counts[*from..to].iter().fold(0u64, |s, n| s.saturating_add(*n));
    starts.iter().zip(ends).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bins_are_added_in_pairs() {
        let counts = [10u64; 64];
        assert_eq!(starts(&counts, Level::Bins64), (0..64).collect::<Vec<_>>());
        for (level, step) in [(Level::Bins32, 2), (Level::Bins16, 4), (Level::Bins8, 8)] {
            assert_eq!(starts(&counts, level), (0..64).step_by(step).collect::<Vec<_>>());
            assert_eq!(grouped(&counts, &starts(&counts, level)), vec![10 * step as u64; 64 / step]);
        }
    }
    #[test]
    fn levels_are_nested_and_lose_nothing_whatever_the_counts() {
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for _ in 0..500 {
            let bins = 1 + next() as usize % 64;
            let counts: Vec<u64> =
                (0..bins).map(|_| [0, 1, next() % 50, next() % 5000][next() as usize % 4]).collect();
            let mut finer = starts(&counts, Level::Bins64);
            for level in Level::ALL {
                let coarse = starts(&counts, level);
                assert!(coarse.len() <= level.bins_max() && coarse.iter().all(|s| finer.contains(s)));
                assert!(coarse[0] == 0 && coarse.windows(2).all(|w| w[0] < w[1]));
                assert_eq!(grouped(&counts, &coarse).iter().sum::<u64>(), counts.iter().sum::<u64>());
                finer = coarse;
            }
        }
    }
    #[test]
    fn a_heavy_atom_keeps_a_group_of_its_own() {
        // Half of the mass in the first bin, the rest even.
        let counts: Vec<u64> = [63].into_iter().chain([1; 63]).collect();
        let groups = grouped(&counts, &starts(&counts, Level::Bins8));
        assert!(groups[0] <= 66 && groups.len() >= 5, "{groups:?}");
    }
}
