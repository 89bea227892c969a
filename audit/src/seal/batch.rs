//! The hashes that a batch adds to the tree, as rows of tiles.

use tlog_tiles::Hash;
use wopay_eventbus::log::Chunk;

use crate::leaf;
use crate::store::TileRow;
use crate::tiles::HASH_BYTES;
use crate::tree::{Completed, Frontier, TILE_WIDTH};

/// The leaves of these events. Takes milliseconds of computing: not on a thread that drives others.
pub(crate) async fn hash_events(chunk: Chunk) -> Result<Vec<(i64, Hash)>, sqlx::Error> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut buffer = Vec::new();
        chunk.iter().map(|event| (event.position, leaf::hash_in(&mut buffer, &event))).collect()
    });
    hashed.await.map_err(|_| sqlx::Error::WorkerCrashed)
}

/// New hashes of one level, side by side.
#[derive(Debug, Default)]
struct Level {
    /// The index of the first among all hashes of the level.
    first: i64,
    hashes: Vec<u8>,
}

/// A tree that grows, and what it has grown by.
#[derive(Debug)]
pub(super) struct Batch {
    tree: Frontier,
    /// By level of tiles.
    levels: Vec<Level>,
}

impl Batch {
    /// What grows from this tree.
    pub(super) fn after(tree: &Frontier) -> Self {
        Self { tree: tree.clone(), levels: Vec::new() }
    }

    /// The position of the newest event in it.
    pub(super) fn size(&self) -> i64 {
        to_i64(self.tree.size())
    }

    pub(super) fn root(&self) -> Hash {
        self.tree.root()
    }

    pub(super) fn push(&mut self, leaf: Hash) {
        add(&mut self.levels, 0, self.tree.size(), leaf);
        let levels = &mut self.levels;
        self.tree.push(leaf, |Completed { level, index, hash }| add(levels, usize::from(level), index, hash));
    }

    /// A row for each tile that has grown.
    pub(super) fn rows(&self) -> Vec<TileRow> {
        (0..).zip(&self.levels).flat_map(|(level, hashes)| rows(level, hashes)).collect()
    }

    pub(super) fn into_tree(self) -> Frontier {
        self.tree
    }
}

fn add(levels: &mut Vec<Level>, level: usize, index: u64, hash: Hash) {
    if levels.len() <= level {
        levels.resize_with(level + 1, Level::default);
    }
    let level = &mut levels[level];
    if level.hashes.is_empty() {
        level.first = to_i64(index);
    }
    level.hashes.extend_from_slice(&hash.0);
}

fn rows(level: i16, added: &Level) -> Vec<TileRow> {
    let mut rows = Vec::new();
    let mut rest = added.hashes.as_slice();
    let mut next = added.first;
    while !rest.is_empty() {
        let place = next % TILE_WIDTH;
        let room = usize::try_from(TILE_WIDTH - place).unwrap_or(0) * HASH_BYTES;
        let (hashes, after) = rest.split_at(room.min(rest.len()));
        let width = place + i64::try_from(hashes.len() / HASH_BYTES).unwrap_or(0);
        let width = i16::try_from(width).unwrap_or(i16::MAX);
        rows.push(TileRow { level, idx: next / TILE_WIDTH, width, hashes: hashes.to_vec() });
        rest = after;
        next += TILE_WIDTH - place;
    }
    rows
}

/// No log is longer: positions are of this type.
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use std::collections::HashMap;

    use proptest::prelude::*;
    use tlog_tiles::record_hash;

    use super::*;
    use crate::tiles::assemble;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn rows_of_many_batches_make_the_tiles_of_one(sizes in prop::collection::vec(1_usize..700, 1..8)) {
            let total: usize = sizes.iter().sum();
            let leaves: Vec<_> = (0..total).map(|number| record_hash(&number.to_be_bytes())).collect();
            let whole = leaves.iter().fold(Batch::after(&Frontier::empty()), |mut batch, leaf| {
                batch.push(*leaf);
                batch
            });
            let mut tree = Frontier::empty();
            let mut rows = Vec::new();
            let mut rest = leaves.as_slice();
            for size in sizes {
                let (part, after) = rest.split_at(size);
                let mut batch = Batch::after(&tree);
                part.iter().for_each(|leaf| batch.push(*leaf));
                rows.extend(batch.rows());
                tree = batch.into_tree();
                rest = after;
            }
            rows.sort_by_key(|row| (row.level, row.idx, row.width));
            let (tiles, damaged) = assemble(rows);
            prop_assert!(damaged.is_empty());
            let (expected, _) = assemble(whole.rows());
            prop_assert_eq!(&tiles, &expected);
            prop_assert_eq!(tree.root(), whole.root());
            let widths: HashMap<_, _> = tiles.iter().map(|(key, tile)| (*key, tile.len() / HASH_BYTES)).collect();
            prop_assert_eq!(widths.iter().filter(|((level, _), _)| *level == 0).map(|(_, width)| width).sum::<usize>(), total);
        }
    }
}
