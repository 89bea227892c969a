//! The statements of the address leases.

use sqlx::PgPool;
use wopay_domain::ChainFamily;

/// Moves the family's cursor and gives the addresses it passed, at most `count`, fewer at the end of the pool. All rows
/// are read to the end, hence after the commit.
pub(super) async fn lease_block(pool: &PgPool, family: ChainFamily, count: u32) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT address FROM lease_addresses($1, $2) ORDER BY idx")
        .bind(family.as_str())
        .bind(i64::from(count))
        .fetch_all(pool)
        .await
}

/// Moves every family's cursor. A family that has none yet has given out nothing, and gets one.
pub(super) async fn skip(pool: &PgPool, count: u32) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO address_cursors AS c (family, next_idx)
         SELECT DISTINCT family, $1 FROM address_pool
         ON CONFLICT (family) DO UPDATE SET next_idx = c.next_idx + EXCLUDED.next_idx
         RETURNING family, next_idx",
    )
    .bind(i64::from(count))
    .fetch_all(pool)
    .await
}

/// How many addresses of the family nobody has taken. The pool is dense, so its last index says its size.
pub(super) async fn count_remaining(pool: &PgPool, family: ChainFamily) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT greatest(0, coalesce((SELECT max(idx) + 1 FROM address_pool WHERE family = $1), 0)
                          - coalesce((SELECT next_idx FROM address_cursors WHERE family = $1), 0))",
    )
    .bind(family.as_str())
    .fetch_one(pool)
    .await
}
