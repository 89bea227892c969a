//! `wopay migrate`.

use crate::config::Loaded;
use crate::context;
use crate::services::{self, Need};

/// Brings the database to this version's schema.
///
/// # Errors
/// When the database is not to be had or a migration fails.
pub(super) async fn run(loaded: Loaded) -> anyhow::Result<()> {
    let services = services::start(&loaded.config, Need::Database).await?;
    let pool = context::connect(&services.database_url, 1).await?;
    let missing = context::missing_migrations(&pool).await?;
    context::migrate(&pool).await?;
    pool.close().await;
    services.stop().await;
    super::print_line(&match missing {
        0 => "The database is at this version's schema already.".to_owned(),
        1 => "Applied 1 migration.".to_owned(),
        count => format!("Applied {count} migrations."),
    });
    Ok(())
}
