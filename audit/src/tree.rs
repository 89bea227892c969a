//! The tree while it grows: only its right edge is kept, whatever its size.

use tlog_tiles::{EMPTY_HASH, Hash, node_hash};

/// A tile is a subtree of this height: 256 hashes.
pub(crate) const TILE_HEIGHT: u8 = 8;
/// Hashes in a full tile.
pub(crate) const TILE_WIDTH: i64 = 1 << TILE_HEIGHT;

/// The roots of the perfect subtrees that make up a tree, the largest first: one for each set bit of its size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// A hash that a tile above level 0 holds: the root of the full tile `index` of the level below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Completed {
    /// Of the tile that holds it; 1 or more.
    pub(crate) level: u8,
    /// Among the hashes of that level.
    pub(crate) index: u64,
    pub(crate) hash: Hash,
}

impl Frontier {
    pub(crate) const fn empty() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// The frontier of a tree of `size` leaves. `None`: these are not its peaks.
    pub(crate) fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let expected = usize::try_from(size.count_ones()).ok()?;
        (peaks.len() == expected).then_some(Self { size, peaks })
    }

    /// Leaves.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, and says which full tiles that completes.
    pub(crate) fn push(&mut self, leaf: Hash, mut completed: impl FnMut(Completed)) {
        let mut hash = leaf;
        let mut height: u8 = 0;
        // Each trailing one of the size is a subtree that the new leaf completes to one twice as large.
        while self.size >> height & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(left, hash);
            height += 1;
            if height.is_multiple_of(TILE_HEIGHT) {
                completed(Completed { level: height / TILE_HEIGHT, index: self.size >> height, hash });
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        let smallest_first = self.peaks.iter().rev().copied();
        smallest_first.reduce(|right, left| node_hash(left, right)).unwrap_or(EMPTY_HASH)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use proptest::prelude::*;
    use tlog_tiles::record_hash;

    use super::*;

    /// As RFC 6962 defines it, without a thought for speed.
    pub(crate) fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let split = (leaves.len()).next_power_of_two() / 2;
                node_hash(naive_root(&leaves[..split]), naive_root(&leaves[split..]))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| record_hash(&number.to_be_bytes())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_root_is_that_of_the_definition(count in 0_usize..1_200) {
            let leaves = leaves(count);
            let mut frontier = Frontier::empty();
            let mut completed = Vec::new();
            for leaf in &leaves {
                frontier.push(*leaf, |hash| completed.push(hash));
            }
            prop_assert_eq!(frontier.root(), naive_root(&leaves));
            prop_assert_eq!(frontier.size(), count as u64);
            let tiles: Vec<_> = leaves.chunks_exact(256).map(naive_root).collect();
            prop_assert_eq!(completed.iter().map(|tile| tile.hash).collect::<Vec<_>>(), tiles);
            prop_assert!(completed.iter().zip(0..).all(|(tile, index)| (tile.level, tile.index) == (1, index)));
            let again = Frontier::from_peaks(frontier.size, frontier.peaks.clone()).unwrap();
            prop_assert_eq!(again, frontier);
        }
    }

    #[test]
    fn a_tile_of_the_third_level_is_completed_by_its_last_leaf() {
        let mut frontier = Frontier::empty();
        let mut levels = [0_u64; 4];
        for leaf in leaves(65_536) {
            frontier.push(leaf, |tile| {
                assert_eq!(tile.index, levels[usize::from(tile.level)]);
                levels[usize::from(tile.level)] += 1;
            });
        }
        assert_eq!(levels, [0, 256, 1, 0]);
    }
}
