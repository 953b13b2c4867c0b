//! The Merkle tree against a naive one that is a transcription of RFC 6962, 2.1, and proofs against forgery.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::collections::HashMap;
use std::ops::Range;

use longshore_trust::Digest;
use longshore_trust::log::tree::{self, Node};
use longshore_trust::log::{Frontier, leaf_hash, node_hash, verify_consistency, verify_inclusion};
use proptest::prelude::*;

/// MTH of RFC 6962, by its definition.
fn mth(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [one] => *one,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}
/// PATH of RFC 6962.
fn path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    if m < k {
        [path(m, &leaves[..k]), vec![mth(&leaves[k..])]].concat()
    } else {
        [path(m - k, &leaves[k..]), vec![mth(&leaves[..k])]].concat()
    }
}
/// SUBPROOF of RFC 6962.
fn subproof(m: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    if m <= k {
        [subproof(m, &leaves[..k], whole), vec![mth(&leaves[k..])]].concat()
    } else {
        [subproof(m - k, &leaves[k..], false), vec![mth(&leaves[..k])]].concat()
    }
}

fn leaves(n: usize) -> Vec<Digest> {
    (0..n).map(|i| leaf_hash(format!("entry {i}").as_bytes())).collect()
}

/// A store of complete nodes, filled as the fleet's is.
fn stored(leaves: &[Digest]) -> HashMap<Node, Digest> {
    let mut nodes = HashMap::new();
    for (n, leaf) in (0u64..).zip(leaves) {
        nodes.insert(Node { level: 0, index: n }, *leaf);
        let mut hash = *leaf;
        for (left, node) in tree::completes(n) {
            hash = node_hash(&nodes[&left], &hash);
            nodes.insert(node, hash);
        }
    }
    nodes
}
fn hash_of(nodes: &HashMap<Node, Digest>, range: Range<u64>) -> Digest {
    tree::fold(&tree::nodes_of(range).iter().map(|n| nodes[n]).collect::<Vec<_>>())
}

const SIZES: usize = 260;

#[test]
fn roots_and_all_proofs_of_every_size_are_those_of_the_naive_tree() {
    let all = leaves(SIZES);
    let nodes = stored(&all);
    let mut frontier = Frontier::default();
    let (mut inclusions, mut consistencies) = (0u32, 0u32);
    for n in 0..=SIZES {
        let size = n as u64;
        let root = mth(&all[..n]);
        assert_eq!(frontier.root(), root, "frontier of {n}");
        assert_eq!(hash_of(&nodes, 0..size), root, "nodes of {n}");
        assert_eq!(Frontier::from_peaks(size, frontier.peaks().to_vec()), Some(frontier.clone()));
        for m in 0..n {
            let proof: Vec<_> =
                tree::inclusion(m as u64, size).unwrap().into_iter().map(|r| hash_of(&nodes, r)).collect();
            assert_eq!(proof, path(m, &all[..n]), "inclusion of {m} in {n}");
            verify_inclusion(m as u64, &all[m], size, &root, &proof).unwrap();
            inclusions += 1;
        }
        for m in 1..=n {
            let proof: Vec<_> =
                tree::consistency(m as u64, size).unwrap().into_iter().map(|r| hash_of(&nodes, r)).collect();
            assert_eq!(proof, subproof(m, &all[..n], true), "consistency of {m} with {n}");
            verify_consistency(m as u64, &mth(&all[..m]), size, &root, &proof).unwrap();
            consistencies += 1;
        }
        if n < SIZES {
            let completed = frontier.append(all[n]);
            assert!(completed.iter().all(|(node, hash)| nodes[node] == *hash));
        }
    }
    println!("{} sizes, {inclusions} inclusion and {consistencies} consistency proofs", SIZES + 1);
    assert_eq!(nodes.len(), 2 * SIZES - SIZES.count_ones() as usize, "appending is two nodes on average");
}

#[test]
fn what_cannot_be_proven_has_no_proof() {
    assert_eq!(tree::inclusion(3, 3), None);
    assert_eq!(tree::consistency(4, 3), None);
    let root = mth(&leaves(3));
    assert!(verify_inclusion(3, &leaves(4)[3], 3, &root, &[]).is_err());
    assert!(verify_consistency(4, &mth(&leaves(4)), 3, &root, &[]).is_err());
    assert!(verify_consistency(3, &mth(&leaves(2)), 3, &root, &[]).is_err());
    assert!(verify_consistency(0, &root, 3, &root, &[]).is_err());
}

/// The test vectors of RFC 6962's reference implementation (certificate-transparency, merkletree tests).
#[test]
fn roots_of_the_reference_implementation() {
    let inputs =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    for (input, root) in inputs.iter().zip(roots) {
        frontier.append(leaf_hash(&hex::decode(input).unwrap()));
        assert_eq!(frontier.root().to_hex(), root);
    }
}

proptest! {
    /// Whatever is changed in a proof or in what it is about, it proves no more.
    #[test]
    fn a_changed_proof_proves_nothing(n in 1u64..700, pick in any::<(u64, u64, u8)>(), what in 0..6) {
        let all = leaves(n as usize);
        let nodes = stored(&all);
        let root = hash_of(&nodes, 0..n);
        let m = pick.0 % n;
        let mut proof: Vec<_> = tree::inclusion(m, n).unwrap().into_iter().map(|r| hash_of(&nodes, r)).collect();
        let (mut leaf, mut bad_root, mut index) = (all[m as usize], root, m);
        let flip = |d: &mut Digest| d.0[(pick.1 % 32) as usize] ^= pick.2.max(1);
        match what {
            0 => flip(&mut leaf),
            1 => flip(&mut bad_root),
            2 if !proof.is_empty() => { let at = (pick.1 % proof.len() as u64) as usize; flip(&mut proof[at]); }
            3 if !proof.is_empty() => { proof.pop(); }
            4 => proof.push(root),
            _ => index = n + pick.1 % 1000,
        }
        prop_assert!(verify_inclusion(index, &leaf, n, &bad_root, &proof).is_err());
    }
    /// A log that was rewritten before `m` cannot be proven to continue the log of `m` entries.
    #[test]
    fn a_rewritten_log_has_no_consistency_proof(n in 2u64..500, pick in any::<(u64, u64)>()) {
        let m = 1 + pick.0 % n;
        let all = leaves(n as usize);
        let mut forged = all.clone();
        forged[(pick.1 % m) as usize] = leaf_hash(b"forged");
        let nodes = stored(&forged);
        let proof: Vec<_> = tree::consistency(m, n).unwrap().into_iter().map(|r| hash_of(&nodes, r)).collect();
        let (old, new) = (mth(&all[..m as usize]), hash_of(&nodes, 0..n));
        prop_assert!(verify_consistency(m, &old, n, &new, &proof).is_err());
    }
}
