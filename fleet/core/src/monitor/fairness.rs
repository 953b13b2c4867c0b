//! Fairness between declared groups, from released cells; what is held on devices is said.

use longshore_stats::Counters;
use longshore_stats::quality::fairness::{Compared, Rates};
use longshore_stats::quality::proportion::Share;
use serde::{Deserialize, Serialize};

use super::Measured;

/// One comparison over all pairs of groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessMeasure {
    /// `parity_difference`, `parity_ratio`, `odds_difference`, `odds_ratio`, `opportunity_difference`.
    pub name: String,
    /// Its value, held by the interval for all pairs together; `n` are the labelled rows it rests on.
    pub measured: Measured,
    /// Groups that have the rate.
    pub groups: usize,
}

/// Rates of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRates {
    /// As declared.
    pub group: String,
    /// Answers released.
    pub rows: u64,
    /// Share of answers that were the favourable class, labelled or not.
    pub selected: Option<Measured>,
    /// Labelled rows released.
    pub labelled: u64,
    /// Of those of the favourable class, the share that got it.
    pub true_positive: Option<Measured>,
    /// Of the others, the share that got it.
    pub false_positive: Option<Measured>,
}

/// Groups of one cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessReport {
    /// The attribute.
    pub attribute: String,
    /// The class that is good for whom it is given to; `None` when more than two classes name none.
    pub favourable: Option<String>,
    /// Comparisons; those that fewer than two groups have rows for are missing.
    pub measures: Vec<FairnessMeasure>,
    /// Each declared group.
    pub groups: Vec<GroupRates>,
    /// Rows that named a declared group.
    pub rows: u64,
    /// Rows that named none, or one that was not declared.
    pub undeclared: u64,
    /// Rows held on devices, because too few of their group were seen there.
    pub held_rows: u64,
    /// Labels held likewise.
    pub held_labels: u64,
}

fn share(s: Option<Share>) -> Option<Measured> {
    s.and_then(|s| Measured::new(s.value, s.interval, s.n))
}

/// The report; `None` where no group is declared.
#[must_use]
pub fn report(
    counters: &Counters,
    attribute: Option<&str>,
    groups: &[String],
    favourable: Option<&str>,
) -> Option<FairnessReport> {
    let attribute = attribute.filter(|_| !groups.is_empty())?;
    let counts = &counters.groups;
    let table = &counts.outcomes;
    let found = table.fairness();
    let n = table.groups.iter().fold(0u64, |n, o| n.saturating_add(o.rows()));
    let measure = |name: &str, c: Option<Compared>| {
        let c = c?;
        let measured = Measured::new(c.value, c.interval, n)?;
        Some(FairnessMeasure { name: name.to_owned(), measured, groups: c.groups })
    };
    let measures = [
        measure("parity_difference", found.parity_difference),
        measure("parity_ratio", found.parity_ratio),
        measure("odds_difference", found.odds_difference),
        measure("odds_ratio", found.odds_ratio),
        measure("opportunity_difference", found.opportunity_difference),
    ];
    let (held_rows, held_labels) = counts.held();
    let none = Rates { selection: None, true_positive: None, false_positive: None };
    let of_group = |(i, name): (usize, &String)| {
        let answers = counts.answers.get(i).copied().unwrap_or_default();
        let rates = table.rates(i).unwrap_or(none);
        GroupRates {
            group: name.clone(),
            rows: answers.rows,
            selected: share(Share::of(answers.selected, answers.rows)),
            labelled: table.groups.get(i).map_or(0, longshore_stats::quality::fairness::Outcomes::rows),
            true_positive: share(rates.true_positive),
            false_positive: share(rates.false_positive),
        }
    };
    Some(FairnessReport {
        attribute: attribute.to_owned(),
        favourable: favourable.map(str::to_owned),
        measures: measures.into_iter().flatten().collect(),
        groups: groups.iter().enumerate().map(of_group).collect(),
        rows: counts.rows,
        undeclared: counts.undeclared,
        held_rows,
        held_labels,
    })
}

#[cfg(test)]
mod tests {
    use longshore_stats::counters::Answers;
    use longshore_stats::quality::fairness::Outcomes;

    use super::*;

    #[test]
    fn held_rows_are_said_and_groups_without_rows_have_no_rate() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let mut c = Counters::default();
        assert_eq!(report(&c, None, &names, None), None);
        assert_eq!(report(&c, Some("g"), &[], None), None);
        let empty = report(&c, Some("g"), &names, Some("yes")).unwrap();
        assert!(empty.measures.is_empty() && empty.groups.iter().all(|g| g.selected.is_none()));
        c.groups.rows = 117;
        c.groups.labelled = 60;
        c.groups.answers =
            vec![Answers { rows: 50, selected: 25 }, Answers { rows: 50, selected: 10 }, Answers::default()];
        let outcomes = |tp, fp, fnn, tn| Outcomes {
            true_positive: tp,
            false_positive: fp,
            false_negative: fnn,
            true_negative: tn,
        };
        c.groups.outcomes.groups = vec![outcomes(10, 2, 3, 10), outcomes(5, 1, 9, 15), Outcomes::default()];
        let r = report(&c, Some("g"), &names, Some("yes")).unwrap();
        assert_eq!((r.held_rows, r.held_labels), (17, 5));
        assert_eq!(r.groups[0].selected.unwrap().value, 0.5);
        assert!(r.groups[2].selected.is_none() && r.groups[2].true_positive.is_none());
        let parity = &r.measures[0];
        assert_eq!((parity.name.as_str(), parity.groups, parity.measured.n), ("parity_difference", 2, 55));
        assert!(parity.measured.lo <= parity.measured.value && parity.measured.value <= parity.measured.hi);
    }
}
