//! What the log gives to those who ask: checkpoints, proofs, tiles, entries.

use sqlx::PgPool;
use tlog_tiles::{Hash, check_record, check_tree, prove_record, prove_tree, record_hash};
use wopay_eventbus::log;

use crate::error::AuditError;
use crate::leaf;
use crate::proof::{ConsistencyProof, InclusionProof};
use crate::store;
pub use crate::store::StoredCheckpoint;
use crate::tiles::{self, HASH_BYTES, TileError};
use crate::tree::TILE_WIDTH;

/// The newest checkpoint.
///
/// # Errors
/// The database fails.
pub async fn latest_checkpoint(pool: &PgPool) -> Result<Option<StoredCheckpoint>, AuditError> {
    Ok(store::latest_checkpoint(pool).await?)
}

/// The checkpoint of exactly that size.
///
/// # Errors
/// The database fails.
pub async fn checkpoint_at(pool: &PgPool, size: i64) -> Result<Option<StoredCheckpoint>, AuditError> {
    Ok(store::checkpoint_at(pool, size).await?)
}

/// That the event at `position` is in the checkpoint of `size`, or in the newest.
///
/// # Errors
/// See [`AuditError`]. What is given leads to the checkpoint: anything else is [`AuditError::Damaged`].
pub async fn inclusion_proof(pool: &PgPool, position: i64, size: Option<i64>) -> Result<InclusionProof, AuditError> {
    let checkpoint = checkpoint(pool, size).await?;
    let not_sealed = AuditError::NotSealed { position, size: checkpoint.size };
    if position < 1 || position > checkpoint.size {
        return Err(not_sealed);
    }
    let line = line_at(pool, position).await?;
    let (Ok(size), Ok(index)) = (u64::try_from(checkpoint.size), u64::try_from(position - 1)) else {
        return Err(not_sealed);
    };
    let damaged = || AuditError::Damaged { size: checkpoint.size };
    let hashes = tiles::compute(pool, |reader| prove_record(size, index, reader)).await.map_err(from(&checkpoint))?;
    check_record(&hashes, size, root(&checkpoint)?, index, record_hash(&line)).map_err(|_| damaged())?;
    Ok(InclusionProof { position, line, hashes, checkpoint: checkpoint.note })
}

/// That the checkpoint of size `new` (or the newest) holds all of the log of size `old`, of which there must be a
/// checkpoint too.
///
/// # Errors
/// See [`AuditError`]. What is given leads from checkpoint to checkpoint: anything else is [`AuditError::Damaged`].
pub async fn consistency_proof(pool: &PgPool, old: i64, new: Option<i64>) -> Result<ConsistencyProof, AuditError> {
    let newer = checkpoint(pool, new).await?;
    let sizes = || AuditError::Sizes { old, new: newer.size };
    if old < 1 || old > newer.size {
        return Err(sizes());
    }
    let older = checkpoint(pool, Some(old)).await?;
    let (Ok(old_size), Ok(new_size)) = (u64::try_from(old), u64::try_from(newer.size)) else { return Err(sizes()) };
    let proven = tiles::compute(pool, |reader| prove_tree(new_size, old_size, reader)).await;
    let hashes = proven.map_err(from(&newer))?;
    check_tree(&hashes, new_size, root(&newer)?, old_size, root(&older)?)
        .map_err(|_| AuditError::Damaged { size: newer.size })?;
    Ok(ConsistencyProof { old_size: old, hashes, checkpoint: newer.note })
}

/// The first `width` hashes of a tile (256: the full tile), 32 bytes each; `None` when it is not that wide.
///
/// # Errors
/// The database fails, or the tile's rows do not fit together.
pub async fn tile(pool: &PgPool, level: u8, idx: i64, width: u16) -> Result<Option<Vec<u8>>, AuditError> {
    let rows = store::tiles(pool, &[i16::from(level)], &[idx]).await?;
    let (mut tiles, damaged) = tiles::assemble(rows);
    if !damaged.is_empty() {
        return Err(AuditError::Damaged { size: (idx + 1).saturating_mul(TILE_WIDTH) });
    }
    let Some(mut hashes) = tiles.remove(&(i16::from(level), idx)) else { return Ok(None) };
    let wanted = usize::from(width) * HASH_BYTES;
    if width == 0 || hashes.len() < wanted {
        return Ok(None);
    }
    hashes.truncate(wanted);
    Ok(Some(hashes))
}

/// The entry bundle `idx` with its first `width` entries: each event's line with its length before it, two bytes, big
/// end first. `None` when not all of them are sealed.
///
/// # Errors
/// See [`AuditError`].
pub async fn entries(pool: &PgPool, idx: i64, width: u16) -> Result<Option<Vec<u8>>, AuditError> {
    let sealed = store::latest_checkpoint(pool).await?.map_or(0, |checkpoint| checkpoint.size);
    let Some(first) = idx.checked_mul(TILE_WIDTH).filter(|first| *first >= 0) else { return Ok(None) };
    let last = first.saturating_add(i64::from(width));
    if width == 0 || i64::from(width) > TILE_WIDTH || last > sealed {
        return Ok(None);
    }
    let mut bundle = Vec::new();
    let mut expected = first;
    let mut scan = log::scan(pool, first, last);
    while let Some(chunk) = scan.next().await? {
        for event in chunk.iter() {
            expected += 1;
            if event.position != expected {
                return Err(AuditError::EventMissing { position: expected });
            }
            let line = leaf::line(&event);
            let length = u16::try_from(line.len());
            let length = length.map_err(|_| AuditError::EntryTooLarge { position: event.position })?;
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&line);
        }
    }
    if expected == last { Ok(Some(bundle)) } else { Err(AuditError::EventMissing { position: expected + 1 }) }
}

async fn checkpoint(pool: &PgPool, size: Option<i64>) -> Result<StoredCheckpoint, AuditError> {
    match size {
        Some(size) => store::checkpoint_at(pool, size).await?.ok_or(AuditError::NoCheckpoint { size }),
        None => store::latest_checkpoint(pool).await?.ok_or(AuditError::NothingSealed),
    }
}

async fn line_at(pool: &PgPool, position: i64) -> Result<Vec<u8>, AuditError> {
    let chunk = log::scan(pool, position - 1, position).next().await?;
    let line = chunk.and_then(|chunk| chunk.iter().next().map(|event| leaf::line(&event)));
    line.ok_or(AuditError::EventMissing { position })
}

fn root(checkpoint: &StoredCheckpoint) -> Result<Hash, AuditError> {
    let bytes = checkpoint.root.as_slice().try_into();
    bytes.map(Hash).map_err(|_| AuditError::Damaged { size: checkpoint.size })
}

fn from(checkpoint: &StoredCheckpoint) -> impl Fn(TileError) -> AuditError {
    let size = checkpoint.size;
    move |error| match error {
        TileError::Database(error) => AuditError::Database(error),
        TileError::Damaged => AuditError::Damaged { size },
    }
}
