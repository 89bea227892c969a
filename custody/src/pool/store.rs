//! SQL of the table `address_pool`.

use sqlx::{Executor, PgConnection, Postgres};
use wopay_domain::ChainFamily;

/// How far a family's pool reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Level {
    /// Addresses below this index are taken (or leased).
    pub(super) cursor: i64,
    /// Addresses below this index are stored.
    pub(super) end: i64,
}

/// The level of a family; a family without rows stands at 0.
pub(super) async fn level<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    family: ChainFamily,
) -> Result<Level, sqlx::Error> {
    let statement = "
        SELECT
            coalesce((SELECT next_idx FROM address_cursors WHERE family = $1), 0) AS cursor,
            coalesce((SELECT max(idx) + 1 FROM address_pool WHERE family = $1), 0) AS end";
    sqlx::query_as(statement).bind(family.as_str()).fetch_one(executor).await
}

/// Waits until no other transaction fills this family of this ledger. Ends with the transaction.
pub(super) async fn lock(transaction: &mut PgConnection, family: ChainFamily) -> Result<(), sqlx::Error> {
    // Advisory locks are the database's, ledgers are its schemas: the key names both.
    let statement = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.address_pool/' || $1, 0))";
    sqlx::query(statement).bind(family.as_str()).execute(transaction).await?;
    Ok(())
}

/// Appends addresses at `first`, `first + 1`, … An index that exists already is a database error, never skipped.
pub(super) async fn insert(
    transaction: &mut PgConnection,
    family: ChainFamily,
    first: i64,
    addresses: &[String],
) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO address_pool (family, idx, address)
        SELECT $1, $2 + ordinality - 1, address
        FROM unnest($3::text[]) WITH ORDINALITY AS derived (address, ordinality)";
    sqlx::query(statement).bind(family.as_str()).bind(first).bind(addresses).execute(transaction).await?;
    Ok(())
}

/// The stored addresses of these indexes, as far as there are any.
pub(super) async fn find<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    family: ChainFamily,
    indexes: &[i64],
) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let statement = "
        SELECT idx, address
        FROM address_pool
        WHERE family = $1 AND idx = ANY($2)
        ORDER BY idx";
    sqlx::query_as(statement).bind(family.as_str()).bind(indexes).fetch_all(executor).await
}

/// How many rows a family has, and its highest index (-1 for none). Reads the whole index: at start only.
pub(super) async fn count<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    family: ChainFamily,
) -> Result<(i64, i64), sqlx::Error> {
    let statement = "
        SELECT count(*), coalesce(max(idx), -1)
        FROM address_pool
        WHERE family = $1";
    sqlx::query_as(statement).bind(family.as_str()).fetch_one(executor).await
}
