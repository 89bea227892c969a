//! The schema of this version.

use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

/// Every migration, as compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Applies what is missing.
///
/// # Errors
/// When the database is newer than this version, or a migration fails.
pub(super) async fn run(owner: &PgPool) -> anyhow::Result<()> {
    MIGRATIONS.run(owner).await.context(
        "cannot bring the database to this version's schema (it takes the role that owns the tables: database_owner_url)",
    )
}

/// How many migrations are missing.
///
/// # Errors
/// When the database cannot be asked.
pub(super) async fn missing(pool: &PgPool) -> anyhow::Result<usize> {
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    let applied: Vec<i64> = if known {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await
            .context("the role of database_url may not read the tables: run `wopay migrate` with database_owner_url")?
    } else {
        Vec::new()
    };
    Ok(MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version)).count())
}
