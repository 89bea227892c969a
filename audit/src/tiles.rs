//! Hashes of the tree, read from the tiles that hold them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use sqlx::PgExecutor;
use tlog_tiles::{Hash, HashReader, Tile, sub_tree_index};

use crate::store::{self, TileRow};
use crate::tree::{Frontier, TILE_HEIGHT};

pub(crate) const HASH_BYTES: usize = tlog_tiles::HASH_SIZE;

/// Level and index of a tile.
pub(crate) type TileKey = (i16, i64);

/// Why hashes cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TileError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("a tile is missing or has not the form of one")]
    Damaged,
}

/// Tiles made of their rows, and those whose rows do not fit together.
pub(crate) fn assemble(rows: Vec<TileRow>) -> (HashMap<TileKey, Vec<u8>>, BTreeSet<TileKey>) {
    let mut tiles: HashMap<TileKey, Vec<u8>> = HashMap::new();
    let mut damaged = BTreeSet::new();
    for row in rows {
        let key = (row.level, row.idx);
        let tile = tiles.entry(key).or_default();
        tile.extend_from_slice(&row.hashes);
        if usize::try_from(row.width).ok() != Some(tile.len() / HASH_BYTES) || !tile.len().is_multiple_of(HASH_BYTES) {
            damaged.insert(key);
        }
    }
    for key in &damaged {
        tiles.remove(key);
    }
    (tiles, damaged)
}

/// The hash in that place of a tile, if the tile is wide enough.
pub(crate) fn hash_in_tile(tile: &[u8], place: usize) -> Option<Hash> {
    let bytes = tile.get(place * HASH_BYTES..(place + 1) * HASH_BYTES)?;
    Some(Hash(bytes.try_into().ok()?))
}

/// Computes something from hashes of the tree. `compute` runs twice: the first time, with hashes that mean nothing, to
/// learn which tiles it needs.
pub(crate) async fn compute<T>(
    executor: impl PgExecutor<'_>,
    compute: impl Fn(&TileReader) -> Result<T, tlog_tiles::Error>,
) -> Result<T, TileError> {
    let mut reader = TileReader::default();
    let planned = compute(&reader);
    let wanted = reader.wanted.take();
    if wanted.is_empty() {
        return planned.map_err(|_| TileError::Damaged);
    }
    let (levels, indexes): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
    let (tiles, _) = assemble(store::tiles(executor, &levels, &indexes).await?);
    reader.tiles = tiles;
    let computed = compute(&reader);
    if !reader.wanted.borrow().is_empty() {
        return Err(TileError::Damaged);
    }
    computed.map_err(|_| TileError::Damaged)
}

/// The frontier of the tree of that size, which must not be larger than what the tiles hold.
pub(crate) async fn frontier(executor: impl PgExecutor<'_>, size: i64) -> Result<Frontier, TileError> {
    let size = u64::try_from(size).map_err(|_| TileError::Damaged)?;
    let peaks = compute(executor, |reader| reader.read_hashes(&sub_tree_index(0, size, Vec::new()))).await?;
    Frontier::from_peaks(size, peaks).ok_or(TileError::Damaged)
}

/// Gives hashes from the tiles it has, and remembers which it would have needed.
#[derive(Debug, Default)]
pub(crate) struct TileReader {
    tiles: HashMap<TileKey, Vec<u8>>,
    wanted: RefCell<BTreeSet<TileKey>>,
}

impl HashReader for TileReader {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes.iter().map(|&index| self.read_hash(index)).collect()
    }
}

impl TileReader {
    fn read_hash(&self, index: u64) -> Result<Hash, tlog_tiles::Error> {
        let tile = Tile::from_index(TILE_HEIGHT, index);
        let key = (i16::from(tile.level()), i64::try_from(tile.level_index()).map_err(|_| tlog_tiles::Error::BadMath)?);
        match self.tiles.get(&key) {
            Some(data) => tile.hash_at_index(data, index),
            None => {
                self.wanted.borrow_mut().insert(key);
                Ok(Hash::default())
            }
        }
    }
}
