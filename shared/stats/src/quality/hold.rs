//! Small groups stay on the device: the cells of a group are released only when it has k rows.
//!
//! What always holds: a release has at least [`K`] rows of every group it names, answers and labelled answers each for
//! themselves; what is held is counted and nothing is lost; a group that appears once is never released. Labels may come
//! before, after or twice; that is the caller's join.

use serde::{Deserialize, Serialize};

use super::fairness::{GroupTable, Outcomes};
use crate::counters::Answers;

/// Rows a group needs.
pub const K: u64 = 20;

/// Cells that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hold {
    waiting: GroupTable,
    answers: Vec<Answers>,
}

/// What leaves, and what stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Cells of the groups that had rows enough; empty cells for the others.
    pub table: GroupTable,
    /// Answers of the groups that had enough of them, labelled or not; empty for the others.
    pub answers: Vec<Answers>,
    /// Groups with labelled rows that are held back.
    pub held_groups: u64,
    /// Their rows.
    pub held_rows: u64,
}

impl Hold {
    /// Nothing waits, for `groups` groups.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        let waiting = GroupTable { groups: vec![Outcomes::default(); groups] };
        Self { waiting, answers: vec![Answers::default(); groups] }
    }
    /// Counts answers, one entry a group; whether there are as many groups.
    pub fn answered(&mut self, more: &[Answers]) -> bool {
        let fits = more.len() == self.answers.len();
        if fits {
            self.answers.iter_mut().zip(more).for_each(|(a, b)| a.add(b));
        }
        fits
    }
    /// Answers and labelled rows that wait.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        let labelled: Vec<u64> = self.waiting.groups.iter().map(Outcomes::rows).collect();
        let answers: Vec<u64> = self.answers.iter().map(|a| a.rows).collect();
        (super::total(&answers), super::total(&labelled))
    }
    /// Groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.answers.len()
    }
    /// Counts a labelled row; whether the group is one of the declared ones.
    pub fn insert(&mut self, group: usize, truth: bool, selected: bool) -> bool {
        let cell = self.waiting.groups.get_mut(group);
        cell.map(|c| c.insert(truth, selected)).is_some()
    }
    /// Lets go of every group that has [`K`] rows. What was let go is counted nowhere here any more.
    pub fn release(&mut self) -> Release {
        let free = |a: &mut Answers| if a.rows >= K { std::mem::take(a) } else { Answers::default() };
        let answers = self.answers.iter_mut().map(free).collect();
        let mut out = Release { table: GroupTable::default(), answers, held_groups: 0, held_rows: 0 };
        for cell in &mut self.waiting.groups {
            let rows = cell.rows();
            out.table.groups.push(if rows >= K { std::mem::take(cell) } else { Outcomes::default() });
            if (1..K).contains(&rows) {
                out.held_groups += 1;
                out.held_rows += rows;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_held_until_it_has_twenty_rows_and_nothing_is_lost() {
        let mut hold = Hold::new(3);
        let mut released = 0;
        for i in 0..50u64 {
            assert!(hold.insert(0, i % 2 == 0, true));
            let r = hold.release();
            let rows: Vec<u64> = r.table.groups.iter().map(Outcomes::rows).collect();
            assert!(rows[0] == 0 || rows[0] == K);
            released += rows[0];
            assert_eq!(released + r.held_rows, i + 1);
            assert_eq!(r.held_groups, u64::from(r.held_rows > 0));
        }
        assert_eq!(released, 40);
    }
    #[test]
    fn a_group_that_appears_once_is_never_released() {
        let mut hold = Hold::new(2);
        hold.insert(1, true, false);
        for _ in 0..100 {
            (0..20).for_each(|_| assert!(hold.insert(0, true, true)));
            let r = hold.release();
            assert_eq!((r.table.groups[1], r.held_rows), (Outcomes::default(), 1));
        }
        assert!(!hold.insert(2, true, true), "a group nobody declared");
    }
    #[test]
    fn answers_are_held_apart_from_labelled_answers() {
        let mut hold = Hold::new(2);
        let answers = |rows, selected| Answers { rows, selected };
        assert!(hold.answered(&[answers(19, 4), answers(25, 1)]));
        hold.insert(0, true, true);
        let r = hold.release();
        assert_eq!(r.answers, [Answers::default(), answers(25, 1)]);
        assert_eq!(hold.held(), (19, 1));
        assert!(hold.answered(&[answers(1, 1), answers(3, 3)]));
        assert_eq!(hold.release().answers, [answers(20, 5), Answers::default()]);
        assert!(!hold.answered(&[answers(1, 1)]), "another number of groups");
        assert_eq!((hold.held(), hold.groups()), ((3, 1), 2));
    }
}
