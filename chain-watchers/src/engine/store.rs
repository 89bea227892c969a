//! SQL: the cursor, the window of processed blocks, the published head.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use wopay_domain::{BlockRef, ChainFamily, ChainName, Timestamp};

use crate::source::BlockHeader;

/// Below the window, block hashes at multiples of this height are kept as a locator …
const LOCATOR_STEP: i64 = 1024;
/// … and far below, at this height under the head and more, only multiples of the coarse step.
const LOCATOR_FINE_DEPTH: i64 = 1 << 20;
const LOCATOR_COARSE_STEP: i64 = 1 << 17;

/// The last block processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) height: u64,
    pub(super) hash: String,
}

impl Cursor {
    pub(super) fn at(block: &BlockRef) -> Self {
        Self { height: block.number, hash: block.hash.clone() }
    }
}

/// A processed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredBlock {
    pub(super) height: u64,
    pub(super) hash: String,
}

/// What was stored cannot be read, or what is to be stored has no place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
    #[error("a stored row makes no sense: {0}")]
    Corrupt(String),
}

/// Heights fit into 63 bits on every chain; one that does not is kept as the largest.
pub(super) fn to_sql(height: u64) -> i64 {
    i64::try_from(height).unwrap_or(i64::MAX)
}

/// Heights are stored with `CHECK (height >= 0)`.
pub(super) fn from_sql(height: i64) -> u64 {
    u64::try_from(height).unwrap_or_default()
}

pub(super) async fn load_cursor(pool: &PgPool, chain: &ChainName) -> Result<Option<Cursor>, StoreError> {
    let row: Option<(i64, String)> = sqlx::query_as("SELECT height, hash FROM chain_cursors WHERE chain = $1")
        .bind(chain.as_str())
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|(height, hash)| Cursor { height: from_sql(height), hash }))
}

/// When the oldest payment was opened that asks for money on this chain: its id says so (UUID v7). Reads all claims of the
/// family, so only for the first run.
pub(super) async fn oldest_payment(
    pool: &PgPool,
    chain: &ChainName,
    family: ChainFamily,
) -> Result<Option<Timestamp>, StoreError> {
    let oldest: Option<String> = sqlx::query_scalar(
        "SELECT min(aggregate_id COLLATE \"C\") FROM claims WHERE kind = $1 AND detail ->> 'chain' = $2",
    )
    .bind(format!("deposit:{family}"))
    .bind(chain.as_str())
    .fetch_one(pool)
    .await?;
    let Some(id) = oldest else { return Ok(None) };
    let opened = id.parse().ok().and_then(|id: Uuid| id.get_timestamp()).and_then(|time| {
        let (seconds, nanos) = time.to_unix();
        Timestamp::from_timestamp(i64::try_from(seconds).ok()?, nanos)
    });
    opened.map(Some).ok_or_else(|| StoreError::Corrupt(format!("a claim is held by {id:?}, which is no UUID v7")))
}

/// The cursor as it stands, locked until the transaction ends: nobody else writes this chain's rows meanwhile.
pub(super) async fn lock_cursor(conn: &mut PgConnection, chain: &ChainName) -> Result<Option<Cursor>, StoreError> {
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT height, hash FROM chain_cursors WHERE chain = $1 FOR UPDATE")
            .bind(chain.as_str())
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(height, hash)| Cursor { height: from_sql(height), hash }))
}

/// The first cursor of a chain. `false`: another watcher was first.
pub(super) async fn create_cursor(
    conn: &mut PgConnection,
    chain: &ChainName,
    base: &BlockRef,
    looks_for: &[&str],
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO chain_cursors (chain, height, hash, base_height, swept_height, assets) VALUES ($1, $2, $3, $2, $2, $4)
         ON CONFLICT (chain) DO NOTHING",
    )
    .bind(chain.as_str())
    .bind(to_sql(base.number))
    .bind(&base.hash)
    .bind(looks_for)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Moves the cursor, and says what whoever moves it looks for: asset ids, sorted.
pub(super) async fn move_cursor(
    conn: &mut PgConnection,
    chain: &ChainName,
    to: &Cursor,
    looks_for: &[&str],
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE chain_cursors SET height = $2, hash = $3, assets = $4, updated_at = clock_timestamp() WHERE chain = $1",
    )
    .bind(chain.as_str())
    .bind(to_sql(to.height))
    .bind(&to.hash)
    .bind(looks_for)
    .execute(conn)
    .await?;
    Ok(())
}

/// Says what is looked for from the block after the cursor on.
pub(super) async fn note_looked_for(
    conn: &mut PgConnection,
    chain: &ChainName,
    looks_for: &[&str],
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE chain_cursors SET assets = $2, updated_at = clock_timestamp()
         WHERE chain = $1 AND assets IS DISTINCT FROM $2",
    )
    .bind(chain.as_str())
    .bind(looks_for)
    .execute(conn)
    .await?;
    Ok(())
}

/// What another watcher looks for that has moved the cursor not longer than so many seconds ago.
pub(super) async fn looked_for_lately(
    conn: &mut PgConnection,
    chain: &ChainName,
    seconds: i32,
) -> Result<Vec<String>, StoreError> {
    let assets: Option<Option<Vec<String>>> = sqlx::query_scalar(
        "SELECT assets FROM chain_cursors
         WHERE chain = $1 AND updated_at > clock_timestamp() - make_interval(secs => $2)",
    )
    .bind(chain.as_str())
    .bind(f64::from(seconds))
    .fetch_optional(conn)
    .await?;
    Ok(assets.flatten().unwrap_or_default())
}

pub(super) async fn insert_blocks(
    conn: &mut PgConnection,
    chain: &ChainName,
    headers: &[&BlockHeader],
) -> Result<(), StoreError> {
    let heights: Vec<i64> = headers.iter().map(|header| to_sql(header.block.number)).collect();
    let hashes: Vec<&str> = headers.iter().map(|header| header.block.hash.as_str()).collect();
    let parents: Vec<&str> = headers.iter().map(|header| header.parent_hash.as_str()).collect();
    let times: Vec<Timestamp> = headers.iter().map(|header| header.block.time).collect();
    sqlx::query(
        "INSERT INTO chain_blocks (chain, height, hash, parent_hash, block_time)
         SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::timestamptz[])",
    )
    .bind(chain.as_str())
    .bind(heights)
    .bind(hashes)
    .bind(parents)
    .bind(times)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn delete_blocks_above(
    conn: &mut PgConnection,
    chain: &ChainName,
    height: u64,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM chain_blocks WHERE chain = $1 AND height > $2")
        .bind(chain.as_str())
        .bind(to_sql(height))
        .execute(conn)
        .await?;
    Ok(())
}

/// Thins out the blocks below `kept_from` to the locator.
pub(super) async fn prune_blocks(conn: &mut PgConnection, chain: &ChainName, kept_from: u64) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM chain_blocks
         WHERE chain = $1 AND height < $2
           AND (height % $3 <> 0 OR (height < $2 - $4 AND height % $5 <> 0))",
    )
    .bind(chain.as_str())
    .bind(to_sql(kept_from))
    .bind(LOCATOR_STEP)
    .bind(LOCATOR_FINE_DEPTH)
    .bind(LOCATOR_COARSE_STEP)
    .execute(conn)
    .await?;
    Ok(())
}

/// The processed blocks between two heights, both included, newest first.
pub(super) async fn blocks_between(
    pool: &PgPool,
    chain: &ChainName,
    lowest: u64,
    highest: u64,
    count_max: i64,
) -> Result<Vec<StoredBlock>, StoreError> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT height, hash FROM chain_blocks
         WHERE chain = $1 AND height BETWEEN $2 AND $3
         ORDER BY height DESC
         LIMIT $4",
    )
    .bind(chain.as_str())
    .bind(to_sql(lowest))
    .bind(to_sql(highest))
    .bind(count_max)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(height, hash)| StoredBlock { height: from_sql(height), hash }).collect())
}

/// The locator at that height and below, newest first: blocks far apart, and the newest block as their neighbour.
pub(super) async fn locators(
    pool: &PgPool,
    chain: &ChainName,
    highest: u64,
    count_max: i64,
) -> Result<Vec<StoredBlock>, StoreError> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT height, hash FROM chain_blocks
         WHERE chain = $1 AND height <= $2
           AND (height % $3 = 0 OR height = (SELECT max(height) FROM chain_blocks WHERE chain = $1 AND height <= $2))
         ORDER BY height DESC
         LIMIT $4",
    )
    .bind(chain.as_str())
    .bind(to_sql(highest))
    .bind(LOCATOR_STEP)
    .bind(count_max)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(height, hash)| StoredBlock { height: from_sql(height), hash }).collect())
}

/// Whether the cursor stands on a stored block. One statement: another watcher may be moving both.
pub(super) async fn cursor_is_stored(pool: &PgPool, chain: &ChainName) -> Result<bool, StoreError> {
    let stored = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT 1
             FROM chain_cursors c
             JOIN chain_blocks b ON b.chain = c.chain AND b.height = c.height AND b.hash = c.hash
             WHERE c.chain = $1
         )",
    )
    .bind(chain.as_str())
    .fetch_one(pool)
    .await?;
    Ok(stored)
}

/// A stored block inside the window that does not stand on the stored block below it.
pub(super) async fn broken_link(pool: &PgPool, chain: &ChainName, lowest: u64) -> Result<Option<u64>, StoreError> {
    let height: Option<i64> = sqlx::query_scalar(
        "SELECT height
         FROM (
             SELECT height, parent_hash, lag(hash) OVER (ORDER BY height) AS below
             FROM chain_blocks
             WHERE chain = $1 AND height >= $2
         ) AS stored
         WHERE parent_hash <> below
         LIMIT 1",
    )
    .bind(chain.as_str())
    .bind(to_sql(lowest))
    .fetch_optional(pool)
    .await?;
    Ok(height.map(from_sql))
}

/// Publishes the head processed. `finalized`, which was proven, never goes back; `None` leaves it. One above the head can
/// only be left from where what a node said was kept: it is dropped.
pub(super) async fn publish_head(
    conn: &mut PgConnection,
    chain: &ChainName,
    to: &BlockRef,
    finalized: Option<u64>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO chain_heads (chain, height, hash, finalized_height, block_time, updated_at)
         VALUES ($1, $2, $3, $4, $5, clock_timestamp())
         ON CONFLICT (chain) DO UPDATE
         SET height = EXCLUDED.height, hash = EXCLUDED.hash, block_time = EXCLUDED.block_time,
             finalized_height = GREATEST(
                 CASE WHEN chain_heads.finalized_height <= EXCLUDED.height THEN chain_heads.finalized_height END,
                 EXCLUDED.finalized_height
             ),
             updated_at = EXCLUDED.updated_at",
    )
    .bind(chain.as_str())
    .bind(to_sql(to.number))
    .bind(&to.hash)
    .bind(finalized.map(to_sql))
    .bind(to.time)
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets the published head back to a block of the window.
pub(super) async fn set_head_back(conn: &mut PgConnection, chain: &ChainName, height: u64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE chain_heads head
         SET height = block.height, hash = block.hash, block_time = block.block_time, updated_at = clock_timestamp()
         FROM chain_blocks block
         WHERE head.chain = $1 AND block.chain = $1 AND block.height = $2",
    )
    .bind(chain.as_str())
    .bind(to_sql(height))
    .execute(conn)
    .await?;
    Ok(())
}

/// The highest height that was proven to be final.
pub(super) async fn finalized(conn: &mut PgConnection, chain: &ChainName) -> Result<Option<u64>, StoreError> {
    let height: Option<Option<i64>> = sqlx::query_scalar("SELECT finalized_height FROM chain_heads WHERE chain = $1")
        .bind(chain.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(height.flatten().map(from_sql))
}

/// The tokens added at run time for which this chain's watchers look.
pub(super) async fn watched(conn: &mut PgConnection, chain: &ChainName) -> Result<Vec<String>, StoreError> {
    let assets = sqlx::query_scalar("SELECT asset FROM watched_assets WHERE chain = $1")
        .bind(chain.as_str())
        .fetch_all(conn)
        .await?;
    Ok(assets)
}

/// Notes from which block tokens are watched, of those that are not noted yet, and tells who keeps a catalogue.
pub(super) async fn note_watched(
    conn: &mut PgConnection,
    chain: &ChainName,
    assets: &[&str],
    from_block: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "WITH noted AS (
             INSERT INTO watched_assets (chain, asset, from_block)
             SELECT $1, asset, $3 FROM unnest($2::text[]) AS added (asset)
             ON CONFLICT (chain, asset) DO NOTHING
             RETURNING asset
         )
         SELECT pg_notify('wopay_merchants', 'chain:' || $1) FROM (SELECT 1 FROM noted LIMIT 1) AS any_noted",
    )
    .bind(chain.as_str())
    .bind(assets)
    .bind(to_sql(from_block))
    .execute(conn)
    .await?;
    Ok(())
}
