//! Checking proofs: RFC 9162, 2.1.3.2 (inclusion) and 2.1.4.2 (consistency).

use super::tree::node_hash;
use crate::Digest;

/// Why a proof does not prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It cannot be: the leaf or the older tree is outside of the newer one.
    #[error("{what} {number} cannot be in a log of {size} entries")]
    Outside {
        /// `entry` or `a log of size`.
        what: &'static str,
        /// Its number.
        number: u64,
        /// Of the newer tree.
        size: u64,
    },
    /// More or fewer hashes than such a proof has.
    #[error("a proof of {0} hashes has the wrong length")]
    Length(usize),
    /// Its hashes lead elsewhere.
    #[error("the proof leads to another {0} root: entries were changed, removed or put in another order")]
    Root(&'static str),
}

/// Checks that the leaf with this hash is number `leaf` in the tree of `size` leaves under `root`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(
    leaf: u64,
    leaf_hash: &Digest,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if leaf >= size {
        return Err(ProofError::Outside { what: "entry", number: leaf, size });
    }
    let (mut at, mut last, mut hash) = (leaf, size - 1, *leaf_hash);
    for step in proof {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root("log's")),
        _ => Err(ProofError::Length(proof.len())),
    }
}

/// Checks that the tree of `old` leaves under `old_root` is the beginning of the tree of `new` leaves under `new_root`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Outside { what: "a log of size", number: old, size: new });
    }
    if old == 0 || old == new {
        return match () {
            () if !proof.is_empty() => Err(ProofError::Length(proof.len())),
            () if old == new && old_root != new_root => Err(ProofError::Root("newer")),
            () if old == 0 && *old_root != super::tree::empty_root() => Err(ProofError::Root("older")),
            () => Ok(()),
        };
    }
    // A tree that is a complete node of the newer one is not repeated in the proof.
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::Length(0))?;
        (first, rest)
    };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for step in rest {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match () {
        () if last != 0 => Err(ProofError::Length(proof.len())),
        () if old_hash != *old_root => Err(ProofError::Root("older")),
        () if new_hash != *new_root => Err(ProofError::Root("newer")),
        () => Ok(()),
    }
}
