//! Beginning a transaction in a future that may be dropped.

use sqlx::{PgPool, Postgres, Transaction};

/// Begins a transaction; may be cancelled. The `begin` of sqlx 0.8 may not: dropped half-way it gives its connection back
/// to the pool inside an open transaction, and whoever gets it next writes without committing. So it runs to its end in a
/// task of its own, and a transaction that nobody waits for any more is rolled back as it is dropped.
///
/// # Errors
/// When the pool has no connection to give, or the database refuses.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.begin().await }).await.map_err(|_| sqlx::Error::WorkerCrashed)?
}
