//! `wopay migrate`.

use crate::config::Loaded;
use crate::database::Database;
use crate::services::{self, Need};

/// Brings the database to this version's schema, and gives the application's role its rights.
///
/// # Errors
/// When the database is not to be had or a migration fails.
pub(super) async fn run(loaded: Loaded) -> anyhow::Result<()> {
    let services = services::start(&loaded.config, Need::Database).await?;
    let database = Database::new(&services.database, &loaded.config)?;
    let migrated = database.migrate().await;
    database.close().await;
    services.stop().await;
    super::print_line(&match migrated? {
        0 => "The database is at this version's schema already.".to_owned(),
        1 => "Applied 1 migration.".to_owned(),
        count => format!("Applied {count} migrations."),
    });
    Ok(())
}
