//! A range of leaves and its place in a tree: the hashes beside the range with which its leaves give the root.
//!
//! The tree over `size` leaves (RFC 6962) is walked from the left. A perfect subtree outside the range is one hash of the
//! proof; what lies in the range is computed from its leaves. So a proof has at most two hashes for each level of the tree,
//! and checking it needs memory for one path, however long the range is.

use std::ops::Range;

use tlog_tiles::{Hash, node_hash};

/// The subtrees outside `range` of a tree over `size` leaves, from the left: level and index of each.
pub(super) fn beside(range: &Range<u64>, size: u64) -> Vec<(u8, u64)> {
    let mut subtrees = Vec::new();
    collect(range, 0..size, &mut subtrees);
    subtrees
}

fn collect(range: &Range<u64>, tree: Range<u64>, subtrees: &mut Vec<(u8, u64)>) {
    let leaves = tree.end.saturating_sub(tree.start);
    match place(range, &tree) {
        _ if leaves == 0 => {}
        Place::Inside => {}
        Place::Outside if leaves.is_power_of_two() => {
            let level = leaves.ilog2();
            subtrees.push((u8::try_from(level).unwrap_or(u8::MAX), tree.start >> level));
        }
        Place::Outside | Place::Across => {
            let (left, right) = split(&tree);
            collect(range, left, subtrees);
            collect(range, right, subtrees);
        }
    }
}

/// Gives the next leaf of the range, and the next hash of the proof.
pub(super) trait Hashes {
    /// Why there is none.
    type Error;
    /// The next leaf of the range, from the left.
    fn leaf(&mut self) -> Result<Hash, Self::Error>;
    /// The next subtree beside the range, from the left.
    fn beside(&mut self) -> Result<Hash, Self::Error>;
}

/// The root of the tree over `size` leaves, at least 1, from a range of its leaves and the hashes beside it.
pub(super) fn root<H: Hashes>(range: &Range<u64>, size: u64, hashes: &mut H) -> Result<Hash, H::Error> {
    subtree(range, 0..size.max(1), hashes)
}

fn subtree<H: Hashes>(range: &Range<u64>, tree: Range<u64>, hashes: &mut H) -> Result<Hash, H::Error> {
    let leaves = tree.end.saturating_sub(tree.start);
    match place(range, &tree) {
        Place::Outside if leaves.is_power_of_two() => hashes.beside(),
        Place::Inside if leaves == 1 => hashes.leaf(),
        Place::Outside | Place::Inside | Place::Across => {
            let (left, right) = split(&tree);
            let left = subtree(range, left, hashes)?;
            Ok(node_hash(left, subtree(range, right, hashes)?))
        }
    }
}

enum Place {
    Inside,
    Outside,
    Across,
}

const fn place(range: &Range<u64>, tree: &Range<u64>) -> Place {
    if tree.end <= range.start || tree.start >= range.end {
        Place::Outside
    } else if range.start <= tree.start && tree.end <= range.end {
        Place::Inside
    } else {
        Place::Across
    }
}

/// The left subtree of an RFC 6962 tree has the largest power of two of leaves that is less than all of them.
fn split(tree: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let leaves = tree.end.saturating_sub(tree.start);
    let left = leaves.next_power_of_two() / 2;
    let middle = tree.start.saturating_add(left);
    (tree.start..middle, middle..tree.end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use std::convert::Infallible;

    use proptest::prelude::*;
    use tlog_tiles::record_hash;

    use super::*;

    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(naive(left), naive(right))
            }
        }
    }

    struct Given<'a> {
        leaves: std::slice::Iter<'a, Hash>,
        beside: std::vec::IntoIter<Hash>,
    }

    impl Hashes for Given<'_> {
        type Error = Infallible;

        fn leaf(&mut self) -> Result<Hash, Infallible> {
            Ok(*self.leaves.next().unwrap())
        }

        fn beside(&mut self) -> Result<Hash, Infallible> {
            Ok(self.beside.next().unwrap())
        }
    }

    proptest! {
        #[test]
        fn a_range_and_what_is_beside_it_give_the_root((size, start, length) in (1_usize..300)
            .prop_flat_map(|size| (Just(size), 0..size))
            .prop_flat_map(|(size, start)| (Just(size), Just(start), 1..=size - start)))
        {
            let leaves: Vec<_> = (0..size).map(|leaf| record_hash(&leaf.to_be_bytes())).collect();
            let range = start as u64..(start + length) as u64;
            let beside: Vec<_> = beside(&range, size as u64)
                .into_iter()
                .map(|(level, index)| {
                    let first = usize::try_from(index << level).unwrap();
                    naive(&leaves[first..first + (1 << level)])
                })
                .collect();
            let mut given = Given {
                leaves: leaves[start..start + length].iter(),
                beside: beside.into_iter(),
            };
            prop_assert_eq!(root(&range, size as u64, &mut given).unwrap(), naive(&leaves));
            prop_assert!(given.leaves.next().is_none() && given.beside.next().is_none());
        }
    }
}
