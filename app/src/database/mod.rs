//! The database as two roles see it. The owner makes and changes tables (migrations, rebuilds); the application's role
//! reads and appends, owns nothing, and is what every request, follower and watcher runs as. So neither a mistake in them
//! nor a statement smuggled into them can alter what the ledger has recorded.
//!
//! A private Postgres has both roles, made at the start. Elsewhere `database_url` names the application's role and
//! `database_owner_url` the owner; with `database_url` alone, development runs as one role, and production refuses it if it
//! could alter the ledger. See docs/decisions/0018-database-roles.md.

mod grants;
mod migrations;
mod role;

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor as _, PgPool};
use tokio::sync::OnceCell;

use crate::config::{Config, Environment};

pub(crate) use role::private_app_url;

/// Connections of the owner: migrations, grants and rebuilds take one or two at a time.
const OWNER_CONNECTIONS_MAX: u32 = 4;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where Postgres is, for each of its roles. Holds passwords: never printed.
#[derive(Clone)]
pub(crate) struct DatabaseUrls {
    /// The application's role.
    pub(crate) app: String,
    /// The owner, where it is known as another role.
    pub(crate) owner: Option<String>,
    /// The server is ours alone: its roles are made here.
    pub(crate) is_private: bool,
}

/// One ledger's database.
pub(crate) struct Database {
    environment: Environment,
    app: PgConnectOptions,
    owner: Option<PgConnectOptions>,
    is_private: bool,
    owner_pool: OnceCell<PgPool>,
}

impl Database {
    /// # Errors
    /// When a URL cannot be read.
    pub(crate) fn new(urls: &DatabaseUrls, config: &Config) -> anyhow::Result<Self> {
        let app = PgConnectOptions::from_str(&urls.app).context("database_url cannot be read")?;
        let owner = urls.owner.as_deref().map(PgConnectOptions::from_str).transpose();
        Ok(Self {
            environment: config.environment,
            app,
            owner: owner.context("database_owner_url cannot be read")?,
            is_private: urls.is_private,
            owner_pool: OnceCell::new(),
        })
    }

    /// Makes the database fit for this version. Development migrates by itself, and so does a private server; elsewhere a
    /// person decides when, with `wopay migrate`.
    ///
    /// # Errors
    /// When the schema cannot be had, or the application's role is not what production asks for.
    pub(crate) async fn prepare(&self) -> anyhow::Result<()> {
        let by_itself = self.environment == Environment::Development || self.is_private;
        if by_itself {
            self.migrate().await?;
        }
        let pool = self.connect(1).await?;
        let missing = migrations::missing(&pool).await;
        let refusal = match (&missing, self.environment) {
            (Ok(0), Environment::Production) => role::powers(&pool).await?.refusal(),
            _ => None,
        };
        pool.close().await;
        match missing? {
            0 => {}
            _ if by_itself => {
                bail!("database_url finds another schema than database_owner_url: set the same search_path")
            }
            missing => bail!("the database lacks {missing} migrations: run `wopay migrate`"),
        }
        refusal.map_or(Ok(()), |refusal| Err(anyhow::anyhow!(refusal)))
    }

    /// Makes sure that the database is of this version, for a command that only reads. Any role that may read will do, one
    /// that may do nothing else too; only if something is missing it is made, as by [`Database::prepare`].
    ///
    /// # Errors
    /// As [`Database::prepare`].
    pub(crate) async fn prepare_to_read(&self) -> anyhow::Result<()> {
        if let Ok(pool) = self.connect(1).await {
            let missing = migrations::missing(&pool).await;
            pool.close().await;
            if matches!(missing, Ok(0)) {
                return Ok(());
            }
        }
        self.prepare().await
    }

    /// Says that one role does everything, where it does: fit for development. (Production does not come this far.)
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) async fn warn_of_powers(&self, pool: &PgPool) -> anyhow::Result<()> {
        let powers = role::powers(pool).await?;
        if powers.refusal().is_some() {
            tracing::warn!(
                role = powers.role,
                "database_url names a role that can alter the ledger: well for development, refused by production"
            );
        }
        Ok(())
    }

    /// Applies what is missing, and gives the application's role its rights. Several processes may do this at once.
    /// Returns how many migrations were missing.
    ///
    /// # Errors
    /// When the database is newer than this version, a migration fails, or the role does not exist.
    pub(crate) async fn migrate(&self) -> anyhow::Result<usize> {
        let owner = self.owner_or_single().await?;
        let missing = migrations::missing(&owner).await?;
        migrations::run(&owner).await?;
        if let Some(options) = &self.owner {
            if self.is_private {
                role::ensure_login(&owner, &self.app).await?;
            }
            let app = self.app.get_username();
            if app != options.get_username() {
                grants::settle(&owner, app).await?;
            }
        }
        Ok(missing)
    }

    /// A pool of the application's role.
    ///
    /// # Errors
    /// When nobody answers, or the role is refused.
    pub(crate) async fn connect(&self, connections_max: u32) -> anyhow::Result<PgPool> {
        connect(self.app.clone(), connections_max).await.context("cannot connect to Postgres (database_url)")
    }

    /// The owner's pool, opened when first asked for: for what makes and drops tables. Clones are cheap.
    ///
    /// # Errors
    /// When no owner is known, or it cannot connect.
    pub(crate) async fn owner(&self) -> anyhow::Result<PgPool> {
        if self.owner.is_none() && self.environment == Environment::Production {
            bail!("this needs the role that owns the tables: set WOPAY_DATABASE_OWNER_URL (database_owner_url)");
        }
        self.owner_or_single().await
    }

    /// Closes the owner's pool.
    pub(crate) async fn close(&self) {
        if let Some(pool) = self.owner_pool.get() {
            pool.close().await;
        }
    }

    /// The owner's pool; where no owner is named, that of the one role there is.
    async fn owner_or_single(&self) -> anyhow::Result<PgPool> {
        let opened = self.owner_pool.get_or_try_init(async || match &self.owner {
            Some(options) => connect(options.clone(), OWNER_CONNECTIONS_MAX)
                .await
                .context("cannot connect to Postgres as the owner (database_owner_url)"),
            None => self.connect(OWNER_CONNECTIONS_MAX).await,
        });
        opened.await.cloned()
    }
}

async fn connect(options: PgConnectOptions, connections_max: u32) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection that died is noticed by the statement that uses it; asking first would cost a round trip each.
        .test_before_acquire(false)
        // Our statements are short and their plans sometimes look expensive: compiling one costs ten times what it does.
        .after_connect(|connection, _| Box::pin(async move { connection.execute("SET jit = off").await.map(drop) }))
        .connect_with(options)
        .await
}
