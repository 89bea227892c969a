//! How far a follower has come. The row's lock is the fence between two instances of one follower: who holds it applies,
//! the other waits and then sees how far the first came.
//!
//! A rebuild of what a follower derives takes the same lock, writes its rows, and [`advance`]s in the same transaction.

use sqlx::{PgConnection, PgExecutor};

/// The checkpoint of follower `name`; 0 when it has none yet.
///
/// # Errors
/// The database fails.
pub async fn read<'e>(executor: impl PgExecutor<'e>, name: &str) -> Result<i64, sqlx::Error> {
    let position: Option<i64> = sqlx::query_scalar("SELECT position FROM follower_checkpoints WHERE name = $1")
        .bind(name)
        .fetch_optional(executor)
        .await?;
    Ok(position.unwrap_or(0))
}

/// Locks the checkpoint of follower `name` until the transaction of `tx` ends, and says where it stands. A follower that
/// has none yet gets one at 0.
///
/// # Errors
/// The database fails.
pub async fn lock(tx: &mut PgConnection, name: &str) -> Result<i64, sqlx::Error> {
    if let Some(position) = lock_existing(tx, name).await? {
        return Ok(position);
    }
    create(tx, name).await?;
    // The row is there now, by us or by another; a transaction sees what others committed before this statement.
    lock_existing(tx, name).await?.ok_or(sqlx::Error::RowNotFound)
}

/// Moves the checkpoint of follower `name`, whose [`lock`] the transaction holds, to `position` (back too).
///
/// # Errors
/// The database fails.
pub async fn advance(tx: &mut PgConnection, name: &str, position: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE follower_checkpoints SET position = $2, updated_at = clock_timestamp() WHERE name = $1")
        .bind(name)
        .bind(position)
        .execute(tx)
        .await?;
    Ok(())
}

/// The checkpoint of follower `name` and the head of the ledger, without a lock.
pub(crate) async fn standing<'e>(executor: impl PgExecutor<'e>, name: &str) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "SELECT coalesce((SELECT position FROM follower_checkpoints WHERE name = $1), 0), ledger_head.position
         FROM ledger_head",
    )
    .bind(name)
    .fetch_one(executor)
    .await
}

async fn lock_existing(tx: &mut PgConnection, name: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM follower_checkpoints WHERE name = $1 FOR UPDATE")
        .bind(name)
        .fetch_optional(tx)
        .await
}

async fn create(tx: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO follower_checkpoints (name, position, updated_at)
         VALUES ($1, 0, clock_timestamp())
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(name)
    .execute(tx)
    .await?;
    Ok(())
}
