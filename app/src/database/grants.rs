//! The rights of the application's role: exactly these, whatever was there before.

use anyhow::{Context as _, bail};
use sqlx::{Executor as _, PgConnection, PgPool, Row as _};

/// What the application may do with a table that no rule names.
const EVERYTHING_ELSE: &str = "SELECT, INSERT, UPDATE, DELETE";

/// Tables whose rows are never changed or deleted, and those that the application has no business to write.
const RULES: [(&str, &str); 9] = [
    ("events", "SELECT, INSERT"),
    ("claims", "SELECT, INSERT"),
    // Moves forward with every append; a trigger sees to the direction.
    ("ledger_head", "SELECT, UPDATE"),
    ("audit_tiles", "SELECT, INSERT"),
    ("audit_checkpoints", "SELECT, INSERT"),
    ("address_pool", "SELECT, INSERT"),
    ("wallet_seeds", "SELECT, INSERT"),
    ("webhook_logs", "SELECT, INSERT"),
    ("_sqlx_migrations", "SELECT"),
];

/// Gives the role its rights on this ledger's schema, tables and sequences, and takes others away. Writes nothing when
/// they are as they should be; several processes may do it at once.
///
/// # Errors
/// When the role does not exist or sees another ledger, or this pool's role may not grant.
pub(super) async fn settle(owner: &PgPool, role: &str) -> anyhow::Result<()> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role)
        .fetch_one(owner)
        .await?;
    if !exists {
        bail!(
            "the role {role:?} of database_url does not exist: make it with CREATE ROLE \"{role}\" LOGIN PASSWORD '…', and \
             run `wopay migrate` again"
        );
    }
    let mut tx = owner.begin().await?;
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('wopay grants ' || current_schema(), 0))").await?;
    let mut statements = on_schema(&mut tx, role).await?;
    statements.extend(on_tables(&mut tx, role).await?);
    statements.extend(on_sequences(&mut tx, role).await?);
    for statement in &statements {
        tx.execute(statement.as_str())
            .await
            .with_context(|| format!("cannot set the rights of {role:?}: {statement}"))?;
    }
    tx.commit().await?;
    if !statements.is_empty() {
        tracing::info!(role, statements = statements.len(), "the application's role has its rights");
    }
    Ok(())
}

async fn on_schema(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT
             CASE WHEN NOT has_schema_privilege($1, current_schema(), 'USAGE')
                  THEN format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), $1) END AS usage,
             CASE WHEN has_schema_privilege($1, current_schema(), 'CREATE')
                  THEN format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', current_schema(), $1) END AS creation",
    )
    .bind(role)
    .fetch_one(connection)
    .await?;
    let statements: [Option<String>; 2] = [row.try_get("usage")?, row.try_get("creation")?];
    Ok(statements.into_iter().flatten().collect())
}

async fn on_tables(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT
             format('REVOKE ALL ON TABLE %I.%I FROM %I', schema.nspname, class.relname, $1) AS revoke,
             format('GRANT %s ON TABLE %I.%I TO %I', wanted.privileges, schema.nspname, class.relname, $1) AS grant
         FROM pg_class AS class
         JOIN pg_namespace AS schema ON schema.oid = class.relnamespace
         LEFT JOIN unnest($2::text[], $3::text[]) AS rule (name, privileges) ON rule.name = class.relname
         CROSS JOIN LATERAL (SELECT coalesce(rule.privileges, $4)) AS wanted (privileges)
         CROSS JOIN LATERAL (
             SELECT coalesce(array_agg(held.privilege_type::text), '{}')
             FROM aclexplode(class.relacl) AS held
             JOIN pg_roles AS grantee ON grantee.oid = held.grantee
             WHERE grantee.rolname = $1
         ) AS held (privileges)
         WHERE schema.nspname = current_schema() AND class.relkind IN ('r', 'p')
           AND NOT (held.privileges @> string_to_array(wanted.privileges, ', ')
                    AND held.privileges <@ string_to_array(wanted.privileges, ', '))
         ORDER BY class.relname",
    )
    .bind(role)
    .bind(RULES.map(|(table, _)| table).as_slice())
    .bind(RULES.map(|(_, privileges)| privileges).as_slice())
    .bind(EVERYTHING_ELSE)
    .fetch_all(connection)
    .await?;
    let mut statements = Vec::with_capacity(rows.len() * 2);
    for row in rows {
        statements.push(row.try_get("revoke")?);
        statements.push(row.try_get("grant")?);
    }
    Ok(statements)
}

async fn on_sequences(connection: &mut PgConnection, role: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %I.%I TO %I', schema.nspname, class.relname, $1)
         FROM pg_class AS class
         JOIN pg_namespace AS schema ON schema.oid = class.relnamespace
         -- The order matters: the function fails on what is no sequence.
         WHERE CASE WHEN schema.nspname = current_schema() AND class.relkind = 'S'
                    THEN NOT (has_sequence_privilege($1, class.oid, 'USAGE')
                              AND has_sequence_privilege($1, class.oid, 'SELECT')
                              AND has_sequence_privilege($1, class.oid, 'UPDATE'))
                    ELSE false END
         ORDER BY class.relname",
    )
    .bind(role)
    .fetch_all(connection)
    .await
}
