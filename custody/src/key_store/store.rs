//! SQL of the table `wallet_seeds`.

use sqlx::PgPool;

/// The seed's row.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Row {
    pub(super) fingerprint: String,
    pub(super) sealed: Vec<u8>,
    pub(super) key_id: String,
}

/// The row, if there is a seed.
pub(super) async fn find(pool: &PgPool) -> Result<Option<Row>, sqlx::Error> {
    let statement = "
        SELECT fingerprint, sealed, key_id
        FROM wallet_seeds";
    sqlx::query_as(statement).fetch_optional(pool).await
}

/// Stores the seed unless there is one.
pub(super) async fn insert(pool: &PgPool, row: &Row) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO wallet_seeds (fingerprint, sealed, key_id)
        VALUES ($1, $2, $3)
        ON CONFLICT (singleton) DO NOTHING";
    sqlx::query(statement).bind(&row.fingerprint).bind(&row.sealed).bind(&row.key_id).execute(pool).await?;
    Ok(())
}

/// Whether addresses exist whose seed does not.
pub(super) async fn is_lost(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let statement = "
        SELECT EXISTS (SELECT FROM address_pool)
           AND NOT EXISTS (SELECT FROM wallet_seeds)";
    sqlx::query_scalar(statement).fetch_one(pool).await
}
