//! What is read at a time: a range of positions with the hashes and checkpoints that were stored for it.

use sqlx::PgPool;
use tlog_tiles::Hash;
use tokio::task::JoinHandle;
use wopay_eventbus::log::{self, Scan};

use super::report::{Finding, Problem};
use crate::checkpoint::SignedCheckpoint;
use crate::key::PublicKey;
use crate::store::{self, StoredCheckpoint, TileRow};
use crate::tiles::{self, HASH_BYTES, hash_in_tile};
use crate::tree::TILE_WIDTH;

/// Positions in a block: a full tile of level 1.
const BLOCK_EVENTS: i64 = TILE_WIDTH * TILE_WIDTH;

/// A signed head whose signature is right.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) size: i64,
    pub(super) root: Hash,
    pub(super) note: String,
}

/// Positions `after < position <= upto`.
pub(super) struct Block {
    pub(super) after: i64,
    pub(super) upto: i64,
    /// The events of the block, on their way.
    pub(super) scan: Scan,
    /// The stored leaves, from `after` on.
    pub(super) leaves: Leaves,
    /// The stored checkpoints whose signature is right, the smallest first.
    pub(super) heads: Vec<Head>,
    /// What is wrong with the others.
    pub(super) findings: Vec<Finding>,
}

/// Stored leaves of consecutive positions.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    after: i64,
    hashes: Vec<Option<Hash>>,
}

impl Leaves {
    /// What was sealed at a position, as far as the tiles say.
    pub(super) fn at(&self, position: i64) -> Option<Hash> {
        let place = usize::try_from(position - self.after - 1).ok()?;
        self.hashes.get(place).copied().flatten()
    }
}

/// A block that is being read.
pub(super) struct Loading {
    after: i64,
    upto: i64,
    scan: Scan,
    stored: JoinHandle<Result<Stored, sqlx::Error>>,
}

struct Stored {
    leaves: Leaves,
    heads: Vec<Head>,
    findings: Vec<Finding>,
}

/// Begins to read the block after `after`, up to `end` at most.
pub(super) fn load(pool: &PgPool, keys: &[PublicKey], after: i64, end: i64) -> Option<Loading> {
    if after >= end {
        return None;
    }
    let upto = ((after / BLOCK_EVENTS + 1) * BLOCK_EVENTS).min(end);
    let stored = tokio::spawn(read_stored(pool.clone(), keys.to_vec(), after, upto));
    Some(Loading { after, upto, scan: log::scan(pool, after, upto), stored })
}

impl Loading {
    pub(super) fn upto(&self) -> i64 {
        self.upto
    }

    pub(super) async fn finish(self) -> Result<Block, sqlx::Error> {
        let Stored { leaves, heads, findings } = self.stored.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        Ok(Block { after: self.after, upto: self.upto, scan: self.scan, leaves, heads, findings })
    }
}

async fn read_stored(pool: PgPool, keys: Vec<PublicKey>, after: i64, upto: i64) -> Result<Stored, sqlx::Error> {
    let first = after / TILE_WIDTH;
    let rows = store::tile_range(&pool, 0, first, (upto - 1) / TILE_WIDTH + 1).await?;
    let checkpoints = store::checkpoints_between(&pool, after, upto).await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        let leaves = read_leaves(rows, after, upto);
        let heads = checkpoints.iter().filter_map(|stored| read_head(stored, &keys, &mut findings)).collect();
        Stored { leaves, heads, findings }
    });
    read.await.map_err(|_| sqlx::Error::WorkerCrashed)
}

/// A tile whose rows do not fit together counts as missing.
fn read_leaves(rows: Vec<TileRow>, after: i64, upto: i64) -> Leaves {
    let (tiles, _) = tiles::assemble(rows);
    let hashes = (after..upto).map(|index| {
        let tile = tiles.get(&(0, index / TILE_WIDTH))?;
        hash_in_tile(tile, usize::try_from(index % TILE_WIDTH).ok()?)
    });
    Leaves { after, hashes: hashes.collect() }
}

/// A stored checkpoint as a head; `None`: it is not to be believed, and `findings` says why.
pub(super) fn read_head(stored: &StoredCheckpoint, keys: &[PublicKey], findings: &mut Vec<Finding>) -> Option<Head> {
    let mut refuse = |reason: String| {
        let size = stored.size;
        findings.push(Finding::at(size, Problem::Checkpoint { size, reason }));
        None
    };
    match SignedCheckpoint::open(&stored.note, keys) {
        Ok(signed) if signed.size != stored.size || signed.root.0 != *stored.root => {
            refuse("its row says something else than was signed".to_owned())
        }
        Ok(signed) => Some(Head { size: signed.size, root: signed.root, note: signed.note }),
        Err(error) => refuse(error.to_string()),
    }
}

/// A tile that is not what it should be, with the positions under it.
pub(super) fn tile_finding(level: i16, index: i64) -> Finding {
    let height = u32::try_from(level).unwrap_or(0) * u32::from(crate::tree::TILE_HEIGHT);
    let under = TILE_WIDTH.saturating_mul(1_i64.checked_shl(height).unwrap_or(i64::MAX));
    let first = index.saturating_mul(under).saturating_add(1);
    Finding::from_to(first, first.saturating_add(under - 1), Problem::Tile { level, index })
}

/// Compares hashes that were computed for a level above the leaves with those that are stored: `(index, hash)`.
pub(super) async fn compare_level(
    pool: &PgPool,
    level: i16,
    computed: &[(i64, Hash)],
) -> Result<Vec<Finding>, sqlx::Error> {
    let (Some((first, _)), Some((last, _))) = (computed.first(), computed.last()) else { return Ok(Vec::new()) };
    let rows = store::tile_range(pool, level, first / TILE_WIDTH, last / TILE_WIDTH + 1).await?;
    let (tiles, _) = tiles::assemble(rows);
    let wrong = computed.iter().filter(|(index, hash)| {
        let tile = tiles.get(&(level, index / TILE_WIDTH));
        let place = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX / HASH_BYTES - 1);
        tile.and_then(|tile| hash_in_tile(tile, place)) != Some(*hash)
    });
    Ok(wrong.map(|(index, _)| under_hash(level, *index)).collect())
}

/// The positions under one hash of a level.
fn under_hash(level: i16, index: i64) -> Finding {
    let below = tile_finding(level - 1, index);
    Finding { problem: Problem::Tile { level, index: index / TILE_WIDTH }, ..below }
}
