//! The tables of the audit log: inserted into, never changed.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor};

use crate::checkpoint::SignedCheckpoint;

/// A checkpoint as it is stored.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct StoredCheckpoint {
    /// How many events it covers.
    pub size: i64,
    /// The root of the tree, 32 bytes.
    pub root: Vec<u8>,
    /// The signed note.
    pub note: String,
    /// When it was stored.
    pub sealed_at: DateTime<Utc>,
}

/// Some hashes of a tile: those that made it `width` hashes wide.
#[derive(Clone, Debug, Default, PartialEq, FromRow)]
pub(crate) struct TileRow {
    pub(crate) level: i16,
    pub(crate) idx: i64,
    pub(crate) width: i16,
    pub(crate) hashes: Vec<u8>,
}

pub(crate) async fn latest_checkpoint(executor: impl PgExecutor<'_>) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    sqlx::query_as("SELECT size, root, note, sealed_at FROM audit_checkpoints ORDER BY size DESC LIMIT 1")
        .fetch_optional(executor)
        .await
}

pub(crate) async fn checkpoint_at(
    executor: impl PgExecutor<'_>,
    size: i64,
) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    sqlx::query_as("SELECT size, root, note, sealed_at FROM audit_checkpoints WHERE size = $1")
        .bind(size)
        .fetch_optional(executor)
        .await
}

/// At most `limit` checkpoints larger than `size`, the smallest first.
pub(crate) async fn checkpoints_after(
    executor: impl PgExecutor<'_>,
    size: i64,
    limit: i64,
) -> Result<Vec<StoredCheckpoint>, sqlx::Error> {
    sqlx::query_as(
        "SELECT size, root, note, sealed_at
         FROM audit_checkpoints
         WHERE size > $1
         ORDER BY size
         LIMIT $2",
    )
    .bind(size)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// The rows of these tiles (pairs of level and index), in the order in which they grew.
pub(crate) async fn tiles(
    executor: impl PgExecutor<'_>,
    levels: &[i16],
    indexes: &[i64],
) -> Result<Vec<TileRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT level, idx, width, hashes
         FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, idx)
         JOIN audit_tiles USING (level, idx)
         ORDER BY level, idx, width",
    )
    .bind(levels)
    .bind(indexes)
    .fetch_all(executor)
    .await
}

/// The rows of a level's tiles `from <= idx < upto`, in the order in which they grew.
pub(crate) async fn tile_range(
    executor: impl PgExecutor<'_>,
    level: i16,
    from: i64,
    upto: i64,
) -> Result<Vec<TileRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT level, idx, width, hashes
         FROM audit_tiles
         WHERE level = $1 AND idx >= $2 AND idx < $3
         ORDER BY idx, width",
    )
    .bind(level)
    .bind(from)
    .bind(upto)
    .fetch_all(executor)
    .await
}

/// How many leaves the tiles hold, by the newest of them.
pub(crate) async fn leaves_in_tiles(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT COALESCE(
             (SELECT idx * 256 + width FROM audit_tiles WHERE level = 0 ORDER BY idx DESC, width DESC LIMIT 1), 0)",
    )
    .fetch_one(executor)
    .await
}

pub(crate) async fn insert_tiles(executor: impl PgExecutor<'_>, rows: &[TileRow]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit_tiles (level, idx, width, hashes)
         SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bytea[])",
    )
    .bind(rows.iter().map(|row| row.level).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.idx).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.width).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.hashes.as_slice()).collect::<Vec<_>>())
    .execute(executor)
    .await?;
    Ok(())
}

pub(crate) async fn insert_checkpoint(
    executor: impl PgExecutor<'_>,
    checkpoint: &SignedCheckpoint,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit_checkpoints (size, root, note) VALUES ($1, $2, $3)")
        .bind(checkpoint.size)
        .bind(checkpoint.root.0.as_slice())
        .bind(&checkpoint.note)
        .execute(executor)
        .await?;
    Ok(())
}
