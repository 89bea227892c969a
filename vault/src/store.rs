//! SQL of the tables `secrets` and `subject_keys`.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

/// A secret as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) subject: Uuid,
    pub(crate) kind: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) key_id: String,
    /// Under its subject's key; rows of earlier versions are under the master key.
    pub(crate) by_subject: bool,
}

/// A subject's key as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct SubjectKey {
    /// `None`: destroyed.
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) key_id: String,
}

/// Inserts a secret unless its reference is taken; says whether it did.
pub(crate) async fn insert(pool: &PgPool, reference: Uuid, row: &Row) -> Result<bool, sqlx::Error> {
    let statement = "
        INSERT INTO secrets (ref, subject, kind, sealed, key_id, by_subject)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (ref) DO NOTHING";
    let done = sqlx::query(statement)
        .bind(reference)
        .bind(row.subject)
        .bind(&row.kind)
        .bind(&row.sealed)
        .bind(&row.key_id)
        .bind(row.by_subject)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The secret of a reference.
pub(crate) async fn find(pool: &PgPool, reference: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let statement = "
        SELECT subject, kind, sealed, key_id, by_subject
        FROM secrets
        WHERE ref = $1";
    sqlx::query_as(statement).bind(reference).fetch_optional(pool).await
}

/// Some secret that was sealed with another master key: its reference and that key's fingerprint.
pub(crate) async fn find_foreign(pool: &PgPool, key_id: &str) -> Result<Option<(Uuid, String)>, sqlx::Error> {
    let statement = "
        SELECT ref, key_id
        FROM secrets
        WHERE key_id <> $1
        LIMIT 1";
    sqlx::query_as(statement).bind(key_id).fetch_optional(pool).await
}

/// Some subject's key that was sealed with another master key: the subject and that key's fingerprint.
pub(crate) async fn find_foreign_key(pool: &PgPool, key_id: &str) -> Result<Option<(Uuid, String)>, sqlx::Error> {
    let statement = "
        SELECT subject, key_id
        FROM subject_keys
        WHERE key_id <> $1 AND sealed IS NOT NULL
        LIMIT 1";
    sqlx::query_as(statement).bind(key_id).fetch_optional(pool).await
}

/// Secrets of earlier versions after a reference, in its order, at most `limit`.
pub(crate) async fn find_by_master(pool: &PgPool, after: Uuid, limit: i64) -> Result<Vec<(Uuid, Row)>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Found {
        r#ref: Uuid,
        #[sqlx(flatten)]
        row: Row,
    }
    let statement = "
        SELECT ref, subject, kind, sealed, key_id, by_subject
        FROM secrets
        WHERE NOT by_subject AND ref > $1
        ORDER BY ref
        LIMIT $2";
    let found: Vec<Found> = sqlx::query_as(statement).bind(after).bind(limit).fetch_all(pool).await?;
    Ok(found.into_iter().map(|found| (found.r#ref, found.row)).collect())
}

/// Exchanges what a secret is sealed as, unless somebody else was faster.
pub(crate) async fn reseal(pool: &PgPool, reference: Uuid, before: &[u8], after: &[u8]) -> Result<bool, sqlx::Error> {
    let statement = "
        UPDATE secrets
        SET sealed = $3, by_subject = true
        WHERE ref = $1 AND NOT by_subject AND sealed = $2";
    let done = sqlx::query(statement).bind(reference).bind(before).bind(after).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

/// The key of a subject, destroyed or not.
pub(crate) async fn find_key(pool: &PgPool, subject: Uuid) -> Result<Option<SubjectKey>, sqlx::Error> {
    let statement = "
        SELECT sealed, key_id
        FROM subject_keys
        WHERE subject = $1";
    sqlx::query_as(statement).bind(subject).fetch_optional(pool).await
}

/// Inserts a subject's key unless it has one.
pub(crate) async fn insert_key(pool: &PgPool, subject: Uuid, key: &SubjectKey) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO subject_keys (subject, sealed, key_id)
        VALUES ($1, $2, $3)
        ON CONFLICT (subject) DO NOTHING";
    sqlx::query(statement).bind(subject).bind(&key.sealed).bind(&key.key_id).execute(pool).await?;
    Ok(())
}

/// Destroys a subject's key, or sees to it that it never has one. Says whether it was not destroyed before.
pub(crate) async fn destroy_key(
    connection: impl PgExecutor<'_>,
    subject: Uuid,
    key_id: &str,
) -> Result<bool, sqlx::Error> {
    let statement = "
        INSERT INTO subject_keys AS known (subject, sealed, key_id, destroyed_at)
        VALUES ($1, NULL, $2, clock_timestamp())
        ON CONFLICT (subject) DO UPDATE
        SET sealed = NULL, destroyed_at = clock_timestamp()
        WHERE known.sealed IS NOT NULL";
    let done = sqlx::query(statement).bind(subject).bind(key_id).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// Empties the secrets of a subject that are not empty yet, and returns their references.
pub(crate) async fn empty_subject(connection: impl PgExecutor<'_>, subject: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    let statement = "
        UPDATE secrets
        SET sealed = '', by_subject = true
        WHERE subject = $1 AND sealed <> ''
        RETURNING ref";
    sqlx::query_scalar(statement).bind(subject).fetch_all(connection).await
}

/// Deletes every secret of a subject and returns their references.
pub(crate) async fn delete_subject(connection: impl PgExecutor<'_>, subject: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    let statement = "
        DELETE FROM secrets
        WHERE subject = $1
        RETURNING ref";
    sqlx::query_scalar(statement).bind(subject).fetch_all(connection).await
}

/// Deletes the key of a subject, unless it was destroyed.
pub(crate) async fn delete_key(connection: impl PgExecutor<'_>, subject: Uuid) -> Result<(), sqlx::Error> {
    let statement = "
        DELETE FROM subject_keys
        WHERE subject = $1 AND sealed IS NOT NULL";
    sqlx::query(statement).bind(subject).execute(connection).await?;
    Ok(())
}
