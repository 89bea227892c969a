//! SQL of the table `secrets`.

use sqlx::PgPool;
use uuid::Uuid;

/// A row as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) subject: Uuid,
    pub(crate) kind: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) key_id: String,
}

/// Inserts a row unless its reference is taken; says whether it did.
pub(crate) async fn insert(pool: &PgPool, reference: Uuid, row: &Row) -> Result<bool, sqlx::Error> {
    let statement = "
        INSERT INTO secrets (ref, subject, kind, sealed, key_id)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (ref) DO NOTHING";
    let done = sqlx::query(statement)
        .bind(reference)
        .bind(row.subject)
        .bind(&row.kind)
        .bind(&row.sealed)
        .bind(&row.key_id)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The row of a reference.
pub(crate) async fn find(pool: &PgPool, reference: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let statement = "
        SELECT subject, kind, sealed, key_id
        FROM secrets
        WHERE ref = $1";
    sqlx::query_as(statement).bind(reference).fetch_optional(pool).await
}

/// Some row that was sealed with another key: its reference and that key's fingerprint.
pub(crate) async fn find_foreign(pool: &PgPool, key_id: &str) -> Result<Option<(Uuid, String)>, sqlx::Error> {
    let statement = "
        SELECT ref, key_id
        FROM secrets
        WHERE key_id <> $1
        LIMIT 1";
    sqlx::query_as(statement).bind(key_id).fetch_optional(pool).await
}

/// Deletes every row of a subject and returns their references.
pub(crate) async fn delete_subject(pool: &PgPool, subject: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    let statement = "
        DELETE FROM secrets
        WHERE subject = $1
        RETURNING ref";
    sqlx::query_scalar(statement).bind(subject).fetch_all(pool).await
}
