//! The tree of RFC 6962: what its nodes are called, which ones change with a leaf, and which ones make a root or a proof.
//!
//! Stored are the *complete* nodes only: those whose leaves are all there. They never change again, a new leaf completes
//! two of them on average and at most one a level, and every other hash folds out of at most one complete node a level.

use std::ops::Range;

use crate::Digest;

/// A complete node: the leaves `index << level` to `(index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// Position among the nodes of its level.
    pub index: u64,
}

/// SHA-256(0x00 || entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of(&[&[0], entry].concat())
}

/// SHA-256(0x01 || left || right).
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1u8; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Digest::of(&bytes)
}

/// The root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// What appending leaf number `leaf` (from 0) completes above it, from the bottom: each new node with its left child, which
/// is there already. Its right child is the node completed before it (at first, the leaf).
pub fn completes(leaf: u64) -> impl Iterator<Item = (Node, Node)> {
    (0..leaf.trailing_ones()).map(move |below| {
        let level = u8::try_from(below).expect("a number has at most 64 bits");
        let left = Node { level, index: (leaf >> below) - 1 };
        (left, Node { level: level + 1, index: leaf >> below >> 1 })
    })
}

/// The complete nodes that a range of leaves is made of, from the left. The range must begin where a subtree of RFC 6962
/// can: all ranges of this module do.
#[must_use]
pub fn nodes_of(range: Range<u64>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut begin = range.start;
    while begin < range.end {
        let fits = (range.end - begin).ilog2();
        let level = if begin == 0 { fits } else { fits.min(begin.trailing_zeros()) };
        nodes.push(Node { level: u8::try_from(level).expect("below 64"), index: begin >> level });
        begin += 1 << level;
    }
    nodes
}

/// The hash of a range out of the hashes of [`nodes_of`].
#[must_use]
pub fn fold(hashes: &[Digest]) -> Digest {
    match hashes.split_last() {
        None => empty_root(),
        Some((last, rest)) => rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// The greatest power of two below `n`, for `n` of 2 or more.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The ranges whose hashes prove that leaf number `leaf` is in the tree of `size` leaves, from the leaf upwards. `None` when
/// it cannot be in it.
#[must_use]
pub fn inclusion(leaf: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if leaf >= size {
        return None;
    }
    let (mut begin, mut end, mut path) = (0, size, Vec::new());
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if leaf < middle {
            path.push(middle..end);
            end = middle;
        } else {
            path.push(begin..middle);
            begin = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The ranges whose hashes prove that the tree of `old` leaves is the beginning of the tree of `new` leaves. `None` when
/// it cannot be. Nothing needs proof when `old` is 0 or equals `new`.
#[must_use]
pub fn consistency(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut begin, mut end, mut path) = (0, new, Vec::new());
    while end != old {
        let middle = begin + split(end - begin);
        if old <= middle {
            path.push(middle..end);
            end = middle;
        } else {
            path.push(begin..middle);
            begin = middle;
        }
    }
    if begin > 0 {
        path.push(begin..end);
    }
    path.reverse();
    Some(path)
}

/// The right edge of a tree that grows: enough to append and to give the root, in O(log n) space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Of a tree of `size` leaves whose [`nodes_of`] hash to `peaks`. `None` when the count does not fit.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }
    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Hashes of the complete nodes, from the left.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }
    /// The root.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(&self.peaks)
    }
    /// Appends a leaf by its hash; answers the nodes that are complete now, the leaf first.
    pub fn append(&mut self, leaf: Digest) -> Vec<(Node, Digest)> {
        let mut hash = leaf;
        let mut new = vec![(Node { level: 0, index: self.size }, leaf)];
        for (_, node) in completes(self.size) {
            let left = self.peaks.pop().expect("one peak for each bit of the size");
            hash = node_hash(&left, &hash);
            new.push((node, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        new
    }
}
