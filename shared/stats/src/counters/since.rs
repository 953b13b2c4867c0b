//! What was counted between two states of the same counters: the opposite of merging.

use super::{Answers, Counters, GroupCounts};
use crate::quality::fairness::GroupTable;
use crate::quality::minus;

/// Entry by entry; a table that was empty before counted nothing yet.
fn tables<T: Clone>(now: &[T], before: &[T], since: impl Fn(&T, &T) -> Option<T>) -> Option<Vec<T>> {
    if before.is_empty() {
        return Some(now.to_vec());
    }
    let pairs = || now.iter().zip(before);
    (now.len() == before.len()).then(|| pairs().map(|(a, b)| since(a, b)).collect()).flatten()
}

/// The same for a table that may not be there.
fn optional<T: Clone>(
    now: Option<&T>,
    before: Option<&T>,
    since: impl Fn(&T, &T) -> Option<T>,
) -> Option<Option<T>> {
    match (now, before) {
        (now, None) => Some(now.cloned()),
        (Some(a), Some(b)) => since(a, b).map(Some),
        (None, Some(_)) => None,
    }
}

impl GroupCounts {
    fn since(&self, before: &Self) -> Option<Self> {
        let answers = tables(&self.answers, &before.answers, |a, b| {
            let (rows, selected) = (a.rows.checked_sub(b.rows)?, a.selected.checked_sub(b.selected)?);
            Some(Answers { rows, selected })
        });
        let outcomes = tables(&self.outcomes.groups, &before.outcomes.groups, |a, b| a.since(b));
        Some(Self {
            rows: self.rows.checked_sub(before.rows)?,
            undeclared: self.undeclared.checked_sub(before.undeclared)?,
            labelled: self.labelled.checked_sub(before.labelled)?,
            answers: answers?,
            outcomes: GroupTable { groups: outcomes? },
        })
    }
}

impl Counters {
    /// What was counted since `before`, an earlier state of the same counters: merged with `before` it is this state again.
    /// `None` when a count fell or a table has another shape: they are not states of the same counters.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(before.requests)?,
            rows: self.rows.checked_sub(before.rows)?,
            errors: self.errors.checked_sub(before.errors)?,
            nan: self.nan.checked_sub(before.nan)?,
            low_margin: self.low_margin.checked_sub(before.low_margin)?,
            classes: minus(&self.classes, &before.classes)?,
            confusion: minus(&self.confusion, &before.confusion)?,
            labels_other: self.labels_other.checked_sub(before.labels_other)?,
            latency_us: self.latency_us.since(&before.latency_us)?,
            scores: tables(&self.scores, &before.scores, |a, b| a.since(b))?,
            judged: tables(&self.judged, &before.judged, |a, b| a.since(b))?,
            regression: optional(self.regression.as_ref(), before.regression.as_ref(), |a, b| a.since(b))?,
            groups: self.groups.since(&before.groups)?,
            attribution: self.attribution.since(&before.attribution)?,
            profile: optional(self.profile.as_ref(), before.profile.as_ref(), |a, b| a.since(b))?,
            shadow: optional(self.shadow.as_ref(), before.shadow.as_ref(), |a, b| a.since(b))?,
        })
    }
}
