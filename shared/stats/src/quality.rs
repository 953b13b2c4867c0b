//! Quality of predictions: with labels, without them, by group, and why.
//!
//! Every table is made of integers and merges by addition. Every figure that counts alone cannot give exactly comes as an
//! interval; every share comes with the interval that its number of rows allows.

pub mod answers;
pub mod attribution;
pub mod calibration;
pub mod cbpe;
pub mod classification;
pub mod confusion;
pub mod fairness;
pub mod hold;
pub mod proportion;
pub mod regression;
pub mod scores;

/// Why two tables cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// They describe different things.
    #[error("cannot merge {what} of {ours} and of {theirs}; only tables of one model version can be merged")]
    Shape {
        /// What differs: classes, groups, features.
        what: &'static str,
        /// How many ours has.
        ours: usize,
        /// How many theirs has.
        theirs: usize,
    },
}

fn same(what: &'static str, ours: usize, theirs: usize) -> Result<(), TableError> {
    if ours == theirs { Ok(()) } else { Err(TableError::Shape { what, ours, theirs }) }
}

pub(crate) fn add(into: &mut [u64], from: &[u64]) {
    into.iter_mut().zip(from).for_each(|(a, b)| *a = a.saturating_add(*b));
}

/// What rose between two states of a table; nothing yet for an empty table before. `None` when a count fell, or for
/// another length.
pub(crate) fn minus(now: &[u64], before: &[u64]) -> Option<Vec<u64>> {
    if before.is_empty() {
        return Some(now.to_vec());
    }
    let pairs = || now.iter().zip(before);
    (now.len() == before.len()).then(|| pairs().map(|(a, b)| a.checked_sub(*b)).collect()).flatten()
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |s, n| s.saturating_add(*n))
}
