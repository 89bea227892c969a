//! How to make a table's indexes on another table.

use sqlx::{FromRow, PgConnection};

/// An index of a live table.
#[derive(Debug, FromRow)]
pub(super) struct Index {
    /// Its name, which is also that of the constraint behind which it stands, if there is one.
    pub(super) name: String,
    /// Makes it, by the same name, on the new table.
    pub(super) statement: String,
}

/// The indexes of `live`, oldest first, to be made on `beside`.
pub(super) async fn of(connection: &mut PgConnection, live: &str, beside: &str) -> Result<Vec<Index>, sqlx::Error> {
    sqlx::query_as(
        "SELECT
             class.relname AS name,
             CASE
                 WHEN owner.oid IS NOT NULL THEN
                     format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2, owner.conname, pg_get_constraintdef(owner.oid))
                 ELSE
                     format(
                         'CREATE %s INDEX %I ON %s %s',
                         CASE WHEN index.indisunique THEN 'UNIQUE' ELSE '' END,
                         class.relname,
                         $2,
                         substring(pg_get_indexdef(index.indexrelid) FROM ' (USING .*)$'))
             END AS statement
         FROM pg_index AS index
         JOIN pg_class AS class ON class.oid = index.indexrelid
         LEFT JOIN pg_constraint AS owner
             ON owner.conindid = index.indexrelid AND owner.contype IN ('p', 'u', 'x')
         WHERE index.indrelid = to_regclass($1)
         ORDER BY class.oid",
    )
    .bind(live)
    .bind(beside)
    .fetch_all(connection)
    .await
}
