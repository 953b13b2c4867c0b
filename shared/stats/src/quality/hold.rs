//! Small groups stay on the device: the cells of a group are released only when it has k rows.
//!
//! What always holds: a release has at least [`K`] rows of every group it names; what is held is counted and nothing is
//! lost; a group that appears once is never released. Labels may come before, after or twice; that is the caller's join.

use serde::{Deserialize, Serialize};

use super::fairness::{GroupTable, Outcomes};

/// Rows a group needs.
pub const K: u64 = 20;

/// Cells that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hold {
    waiting: GroupTable,
}

/// What leaves, and what stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Cells of the groups that had rows enough; empty cells for the others.
    pub table: GroupTable,
    /// Groups with rows that are held back.
    pub held_groups: u64,
    /// Their rows.
    pub held_rows: u64,
}

impl Hold {
    /// Nothing waits, for `groups` groups.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        Self { waiting: GroupTable { groups: vec![Outcomes::default(); groups] } }
    }
    /// Counts a labelled row; whether the group is one of the declared ones.
    pub fn insert(&mut self, group: usize, truth: bool, selected: bool) -> bool {
        let cell = self.waiting.groups.get_mut(group);
        cell.map(|c| c.insert(truth, selected)).is_some()
    }
    /// Lets go of every group that has [`K`] rows. What was let go is counted nowhere here any more.
    pub fn release(&mut self) -> Release {
        let mut out = Release { table: GroupTable::default(), held_groups: 0, held_rows: 0 };
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
}
