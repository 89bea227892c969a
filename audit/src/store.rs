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

/// The checkpoints `after < size <= upto`, the smallest first.
pub(crate) async fn checkpoints_between(
    executor: impl PgExecutor<'_>,
    after: i64,
    upto: i64,
) -> Result<Vec<StoredCheckpoint>, sqlx::Error> {
    sqlx::query_as(
        "SELECT size, root, note, sealed_at
         FROM audit_checkpoints
         WHERE size > $1 AND size <= $2
         ORDER BY size",
    )
    .bind(after)
    .bind(upto)
    .fetch_all(executor)
    .await
}

/// At most `limit` checkpoints `size < below`, the largest first.
pub(crate) async fn checkpoints_below(
    executor: impl PgExecutor<'_>,
    below: i64,
    limit: i64,
) -> Result<Vec<StoredCheckpoint>, sqlx::Error> {
    sqlx::query_as(
        "SELECT size, root, note, sealed_at
         FROM audit_checkpoints
         WHERE size < $1
         ORDER BY size DESC
         LIMIT $2",
    )
    .bind(below)
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

/// How far ledger and log reach, all at one moment.
#[derive(Clone, Copy, Debug, PartialEq, FromRow)]
pub(crate) struct Standing {
    /// What `ledger_head` says.
    pub(crate) head: i64,
    /// The smallest position among the events; 1 if there are none.
    pub(crate) oldest: i64,
    /// The largest; 0 if there are none.
    pub(crate) newest: i64,
    /// How many leaves the tiles hold, by the newest of them.
    pub(crate) leaves: i64,
    /// The size of the newest checkpoint.
    pub(crate) sealed: i64,
}

pub(crate) async fn standing(executor: impl PgExecutor<'_>) -> Result<Standing, sqlx::Error> {
    sqlx::query_as(
        "SELECT COALESCE((SELECT position FROM ledger_head), 0) AS head,
                COALESCE((SELECT min(position) FROM events), 1) AS oldest,
                COALESCE((SELECT max(position) FROM events), 0) AS newest,
                -- Wider than the ledger's longest where somebody made a row up.
                COALESCE((SELECT LEAST(idx::numeric * 256 + width, 9223372036854775807)::bigint
                          FROM audit_tiles
                          WHERE level = 0
                          ORDER BY idx DESC, width DESC
                          LIMIT 1), 0) AS leaves,
                COALESCE((SELECT max(size) FROM audit_checkpoints), 0) AS sealed",
    )
    .fetch_one(executor)
    .await
}

/// How many events stand after a position.
pub(crate) async fn events_after(executor: impl PgExecutor<'_>, position: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE position > $1").bind(position).fetch_one(executor).await
}

/// An aggregate whose sequence has a hole.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct BrokenStream {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    /// The first that is missing.
    pub(crate) sequence: i64,
    /// Where the event stands that comes after it.
    pub(crate) position: i64,
}

/// At most `limit` of the aggregates whose sequences are not 1, 2, 3 … Walks the primary key, in its order.
pub(crate) async fn broken_streams(
    executor: impl PgExecutor<'_>,
    limit: i64,
) -> Result<Vec<BrokenStream>, sqlx::Error> {
    sqlx::query_as(
        "SELECT aggregate_type, aggregate_id, hole.sequence, hole.position
         FROM (SELECT aggregate_type, aggregate_id
               FROM events
               GROUP BY aggregate_type, aggregate_id
               HAVING count(*) <> max(sequence)
               LIMIT $1) AS broken
         CROSS JOIN LATERAL (
             SELECT place AS sequence, position
             FROM (SELECT sequence, position, row_number() OVER (ORDER BY sequence) AS place
                   FROM events
                   WHERE aggregate_type = broken.aggregate_type AND aggregate_id = broken.aggregate_id) AS placed
             WHERE sequence <> place
             ORDER BY place
             LIMIT 1) AS hole",
    )
    .bind(limit)
    .fetch_all(executor)
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
