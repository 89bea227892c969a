//! Addresses to be watched, put into the database by SQL: ready in the pool, and claimed by payments that do not exist
//! otherwise. Spread like real ones, so that the indexes work as hard.

use anyhow::{Context as _, Result};
use sqlx::{Executor as _, PgPool};

/// What `custody.address_pool` is by default: so many are ready beside those that are claimed.
const READY: u64 = 5_000;
/// How many of the watched addresses are given to who pays.
const SOME: u64 = 5_000;

/// Sees to it that this many addresses are claimed, by payments on that chain, and some more are ready.
pub(crate) async fn fill(pool: &PgPool, chain: &str, count: u64) -> Result<()> {
    let (count, ready) = (i64::try_from(count)?, i64::try_from(READY)?);
    sqlx::query(
        "INSERT INTO address_pool (family, idx, address)
         SELECT 'evm', n, '0x' || md5(n::text) || left(md5('more' || n::text), 8)
         FROM generate_series((SELECT coalesce(max(idx) + 1, 0) FROM address_pool), $1 + $2 - 1) AS n",
    )
    .bind(count)
    .bind(ready)
    .execute(pool)
    .await?;
    sqlx::query(
        "INSERT INTO claims (kind, key, aggregate_id, detail)
         SELECT 'deposit:evm', address,
                -- A UUID of version 7, of now.
                (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7' || left(md5(address), 3)
                    || '8' || right(md5(address), 15))::uuid::text,
                json_build_object('required_confirmations', 12, 'chain', $2::text)
         FROM address_pool
         WHERE family = 'evm' AND idx < $1
         ON CONFLICT DO NOTHING",
    )
    .bind(count)
    .bind(chain)
    .execute(pool)
    .await?;
    pool.execute("VACUUM (ANALYZE) address_pool, claims").await?;
    Ok(())
}

/// Some of the claimed addresses, from all over the first `count`.
pub(crate) async fn some(pool: &PgPool, count: u64) -> Result<Vec<String>> {
    let step = i64::try_from((count / SOME).max(1))?;
    let addresses = sqlx::query_scalar(
        "SELECT address FROM address_pool WHERE family = 'evm' AND idx < $1 AND idx % $2 = 0 ORDER BY idx",
    )
    .bind(i64::try_from(count)?)
    .bind(step)
    .fetch_all(pool)
    .await
    .context("cannot read the watched addresses")?;
    Ok(addresses)
}
