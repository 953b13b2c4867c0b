//! Fairness of a two-class decision between groups, with intervals.
//!
//! Definitions of Fairlearn: demographic parity (selection rates), equalised odds (true and false positive rates), equal
//! opportunity (true positive rate); differences are largest minus smallest, ratios smallest over largest. A largest
//! difference is the largest of many, so its interval holds for all pairs together (Newcombe's intervals, Bonferroni).
//! Where Fairlearn takes a rate of nothing for 0, we leave the group out and say which.

use serde::{Deserialize, Serialize};

use super::proportion::{Share, bonferroni_z, newcombe, ratio};
use super::{TableError, same};
use crate::bounds::Interval;
use crate::counters::GROUPS_MAX;

/// Error rate of every interval, all pairs together.
pub const ALPHA: f64 = 0.05;

/// Outcomes of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// Selected, rightly.
    pub true_positive: u64,
    /// Selected, wrongly.
    pub false_positive: u64,
    /// Not selected, wrongly.
    pub false_negative: u64,
    /// Not selected, rightly.
    pub true_negative: u64,
}

impl Outcomes {
    /// Counts a labelled row.
    pub fn insert(&mut self, truth: bool, selected: bool) {
        match (truth, selected) {
            (true, true) => self.true_positive += 1,
            (false, true) => self.false_positive += 1,
            (true, false) => self.false_negative += 1,
            (false, false) => self.true_negative += 1,
        }
    }
    /// Rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let all = [self.true_positive, self.false_positive, self.false_negative, self.true_negative];
        super::total(&all)
    }
    /// Adds `other`, exactly.
    pub fn add(&mut self, other: &Self) {
        for (a, b) in [
            (&mut self.true_positive, other.true_positive),
            (&mut self.false_positive, other.false_positive),
            (&mut self.false_negative, other.false_negative),
            (&mut self.true_negative, other.true_negative),
        ] {
            *a = a.saturating_add(b);
        }
    }
    /// What was counted since `before`; `None` when a count fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            true_positive: self.true_positive.checked_sub(before.true_positive)?,
            false_positive: self.false_positive.checked_sub(before.false_positive)?,
            false_negative: self.false_negative.checked_sub(before.false_negative)?,
            true_negative: self.true_negative.checked_sub(before.true_negative)?,
        })
    }
    fn selected(&self) -> (u64, u64) {
        (self.true_positive.saturating_add(self.false_positive), self.rows())
    }
    fn found(&self) -> (u64, u64) {
        (self.true_positive, self.true_positive.saturating_add(self.false_negative))
    }
    fn alarmed(&self) -> (u64, u64) {
        (self.false_positive, self.false_positive.saturating_add(self.true_negative))
    }
}

/// Outcomes by group; names are kept outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupTable {
    /// One entry a group.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, GROUPS_MAX>")]
    pub groups: Vec<Outcomes>,
}

/// Rates of one group with 95 % intervals; `None` where there is no row to take the rate of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Share that is selected.
    pub selection: Option<Share>,
    /// Share of those of the class that is selected.
    pub true_positive: Option<Share>,
    /// Share of the others that is selected.
    pub false_positive: Option<Share>,
}

/// A comparison over all pairs of groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Largest difference or smallest ratio.
    pub value: f64,
    /// Holds for all pairs together with 95 % confidence.
    pub interval: Interval,
    /// Groups that have the rate.
    pub groups: usize,
}

/// All comparisons; `None` where fewer than two groups have the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fairness {
    /// Demographic parity difference.
    pub parity_difference: Option<Compared>,
    /// Demographic parity ratio: disparate impact, to be held against four fifths.
    pub parity_ratio: Option<Compared>,
    /// Equalised odds difference: the larger of both rates' differences.
    pub odds_difference: Option<Compared>,
    /// Equalised odds ratio: the smaller of both rates' ratios.
    pub odds_ratio: Option<Compared>,
    /// Equal opportunity difference.
    pub opportunity_difference: Option<Compared>,
}

impl GroupTable {
    /// Adds `other`, exactly.
    ///
    /// # Errors
    /// [`TableError`] for another number of groups; nothing is changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), TableError> {
        same("tables of groups", self.groups.len(), other.groups.len())?;
        self.groups.iter_mut().zip(&other.groups).for_each(|(a, b)| a.add(b));
        Ok(())
    }
    /// Rates of a group; `None` for a group there is not.
    #[must_use]
    pub fn rates(&self, group: usize) -> Option<Rates> {
        let g = self.groups.get(group)?;
        let share = |(hits, n): (u64, u64)| Share::of(hits, n);
        Some(Rates {
            selection: share(g.selected()),
            true_positive: share(g.found()),
            false_positive: share(g.alarmed()),
        })
    }
    /// All comparisons.
    #[must_use]
    pub fn fairness(&self) -> Fairness {
        let (found, alarmed) = (self.of(Outcomes::found), self.of(Outcomes::alarmed));
        let selected = self.of(Outcomes::selected);
        let both = |f: fn(&Rate, u64) -> Option<Compared>, pick: fn(Compared, Compared) -> Compared| {
            f(&found, 2).zip(f(&alarmed, 2)).map(|(a, b)| pick(a, b))
        };
        Fairness {
            parity_difference: selected.difference(1),
            parity_ratio: selected.ratio(1),
            odds_difference: both(Rate::difference, |a, b| a.joined(b, f64::max)),
            odds_ratio: both(Rate::ratio, |a, b| a.joined(b, f64::min)),
            opportunity_difference: found.difference(1),
        }
    }
    fn of(&self, rate: fn(&Outcomes) -> (u64, u64)) -> Rate {
        Rate(self.groups.iter().map(rate).filter(|(_, n)| *n > 0).collect())
    }
}

impl Compared {
    fn joined(self, other: Self, pick: fn(f64, f64) -> f64) -> Self {
        let interval = Interval {
            lo: pick(self.interval.lo, other.interval.lo),
            hi: pick(self.interval.hi, other.interval.hi),
        };
        Self { value: pick(self.value, other.value), interval, groups: self.groups.min(other.groups) }
    }
}

/// Hits and rows of the groups that have any row.
struct Rate(Vec<(u64, u64)>);

impl Rate {
    /// Shares with intervals that hold for all pairs of `families` such rates together.
    fn shares(&self, families: u64) -> Option<Vec<Share>> {
        let k = self.0.len() as u64;
        let z = bonferroni_z(ALPHA, k * k.saturating_sub(1) / 2 * families);
        let shares: Vec<Share> = self.0.iter().filter_map(|(h, n)| Share::with_z(*h, *n, z)).collect();
        (shares.len() >= 2).then_some(shares)
    }
    fn difference(&self, families: u64) -> Option<Compared> {
        let shares = self.shares(families)?;
        let mut out = Compared { value: 0.0, interval: Interval { lo: 0.0, hi: 0.0 }, groups: shares.len() };
        for (i, a) in shares.iter().enumerate() {
            for b in &shares[i + 1..] {
                let pair = newcombe(a, b);
                // |a - b|: what lies below 0 is turned over.
                let (lo, hi) = (pair.lo.max(-pair.hi).max(0.0), pair.hi.max(-pair.lo));
                out.value = out.value.max((a.value - b.value).abs());
                out.interval = Interval { lo: out.interval.lo.max(lo), hi: out.interval.hi.max(hi) };
            }
        }
        Some(out)
    }
    fn ratio(&self, families: u64) -> Option<Compared> {
        // A quotient of two interval ends errs when either does: twice as many intervals.
        let shares = self.shares(2 * families)?;
        let mut out = Compared { value: 1.0, interval: Interval { lo: 1.0, hi: 1.0 }, groups: shares.len() };
        for (i, a) in shares.iter().enumerate() {
            for b in &shares[i + 1..] {
                let (small, large) = (a.value.min(b.value), a.value.max(b.value));
                // 0 / 0: both select nobody, and nobody is treated differently.
                let value = if large == 0.0 { 1.0 } else { small / large };
                // Which of the two is the smaller in truth is not known: the smallest of both quotients, as the value is.
                let (one, other) = (ratio(a, b), ratio(b, a));
                let (lo, hi) = (one.lo.min(other.lo).min(1.0), one.hi.min(other.hi).min(1.0));
                out.value = out.value.min(value);
                out.interval =
                    Interval { lo: out.interval.lo.min(lo), hi: out.interval.hi.min(hi.max(value)) };
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(tp: u64, fp: u64, fne: u64, tn: u64) -> Outcomes {
        Outcomes { true_positive: tp, false_positive: fp, false_negative: fne, true_negative: tn }
    }

    #[test]
    fn two_groups_by_hand() {
        let t = GroupTable { groups: vec![group(30, 10, 10, 50), group(20, 5, 20, 55)] };
        let f = t.fairness();
        let close = |c: Option<Compared>, v: f64| {
            let c = c.unwrap();
            assert!((c.value - v).abs() < 1e-12 && c.interval.lo <= v && v <= c.interval.hi, "{c:?} {v}");
        };
        close(f.parity_difference, 0.15);
        close(f.parity_ratio, 0.25 / 0.4);
        close(f.opportunity_difference, 0.25);
        close(f.odds_difference, 0.25);
        close(f.odds_ratio, (5.0 / 60.0) / (10.0 / 60.0));
    }
    #[test]
    fn a_group_without_positives_is_left_out_of_what_it_has_no_rate_for() {
        let t = GroupTable { groups: vec![group(30, 10, 10, 50), group(0, 5, 0, 5)] };
        let f = t.fairness();
        assert!(
            f.parity_difference.is_some() && f.opportunity_difference.is_none() && f.odds_ratio.is_none()
        );
        assert_eq!(t.rates(1).unwrap().true_positive, None);
        assert_eq!(t.rates(2), None);
    }
    #[test]
    fn one_group_once_or_nobody_selected() {
        let once = GroupTable { groups: vec![group(30, 10, 10, 50), group(1, 0, 0, 0)] };
        let d = once.fairness().parity_difference.unwrap();
        assert!(d.interval.hi - d.interval.lo > 0.5, "one row says little: {d:?}");
        let nobody = GroupTable { groups: vec![group(0, 0, 3, 9), group(0, 0, 2, 4)] };
        assert_eq!(nobody.fairness().parity_ratio.unwrap().value, 1.0);
        assert_eq!(GroupTable { groups: vec![group(1, 1, 1, 1)] }.fairness().parity_difference, None);
        assert_eq!(GroupTable::default().fairness().parity_ratio, None);
    }
    #[test]
    fn the_interval_of_a_ratio_does_not_know_which_group_is_the_lower() {
        // Ten rows that select six may well come from a group that selects three: a ratio of 0.6 against a half.
        let (sure, unsure) = (group(500_000, 0, 500_000, 0), group(6, 0, 4, 0));
        let of = |a, b| GroupTable { groups: vec![a, b] }.fairness().parity_ratio.unwrap();
        let c = of(sure, unsure);
        assert!((c.value - 0.5 / 0.6).abs() < 1e-12 && c.interval.lo < 0.57 && c.interval.hi == 1.0, "{c:?}");
        assert_eq!(c, of(unsure, sure));
        let (even, few) = (group(500_000, 0, 500_000, 0), group(5, 0, 5, 0));
        assert_eq!(of(even, few), of(few, even));
    }
    #[test]
    fn more_groups_make_wider_intervals() {
        let with = |k: usize| {
            let mut groups = vec![group(30, 30, 20, 20), group(50, 20, 10, 20)];
            groups.extend(std::iter::repeat_n(group(40, 25, 15, 20), k));
            let c = GroupTable { groups }.fairness().parity_difference.unwrap();
            c.interval.hi - c.interval.lo
        };
        assert!(with(6) > with(0));
    }
    #[test]
    fn tables_of_other_groups_do_not_merge() {
        let mut t = GroupTable { groups: vec![group(1, 2, 3, 4)] };
        assert!(t.merge(&GroupTable::default()).is_err());
        t.merge(&t.clone()).unwrap();
        assert_eq!((t.groups[0], t.groups[0].rows()), (group(2, 4, 6, 8), 20));
    }
}
