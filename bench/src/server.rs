//! The one Postgres that everything is measured on.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgPoolCopyExt as _, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool};
use url::Url;
use wopay_private_services::{BinarySearch, PostgresOptions, PrivatePostgres, start_postgres};

use crate::cpu;

/// pgbench, both pools and the gateway never run at the same time.
const CONNECTIONS_MAX: u16 = 200;
const ACQUIRE_WITHIN: Duration = Duration::from_secs(30);

/// A Postgres with the rights of an administrator.
#[derive(Debug)]
pub(crate) struct Server {
    url: Url,
    admin: PgConnectOptions,
    /// Root of the server's process tree, where it runs on this machine.
    postmaster: Option<u32>,
    private: Option<PrivatePostgres>,
}

impl Server {
    /// Uses the server at `url`, or starts a durable one of our own in `dir` with the settings that `wopay serve` gives its
    /// private server.
    pub(crate) async fn start(url: Option<String>, dir: &Path, search: BinarySearch) -> Result<Self> {
        let (url, private) = match url {
            Some(url) => (url, None),
            None => {
                let options = PostgresOptions { max_connections: CONNECTIONS_MAX, ..PostgresOptions::new(dir, search) };
                let private = start_postgres(options).await?;
                (private.url().to_owned(), Some(private))
            }
        };
        let url = Url::parse(&url).context("WOPAY_BENCH_DATABASE_URL is no URL")?;
        let admin = PgConnectOptions::from_str(url.as_str()).context("WOPAY_BENCH_DATABASE_URL is no Postgres URL")?;
        let mut connection = admin.connect().await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let local = ["127.0.0.1", "localhost", "::1"].contains(&admin.get_host());
        // While the backend is still there.
        let postmaster = u32::try_from(backend).ok().filter(|_| local).and_then(cpu::parent);
        connection.close().await?;
        Ok(Self { url, admin, postmaster, private })
    }

    /// Version and the settings that decide about durability; refuses a server that forgets commits.
    pub(crate) async fn describe(&self) -> Result<String> {
        let mut connection = self.admin.connect().await?;
        let mut described = setting(&mut connection, "server_version").await?;
        for name in
            ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size"]
        {
            let value = setting(&mut connection, name).await?;
            if name != "wal_sync_method" && value == "off" {
                bail!("the server has {name} = off: figures without durability compare to nothing");
            }
            described.push_str(&format!(", {name} {value}"));
        }
        connection.close().await?;
        Ok(described)
    }

    /// A fresh database of this name; what had the name is dropped.
    pub(crate) async fn create_database(&self, name: &str) -> Result<Database> {
        let mut connection = self.admin.connect().await?;
        connection.execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)").as_str()).await?;
        connection.execute(format!("CREATE DATABASE {name}").as_str()).await?;
        connection.close().await?;
        let mut url = self.url.clone();
        url.set_path(name);
        Ok(Database { url, options: self.admin.clone().database(name), name: name.to_owned() })
    }

    /// Drops a database, so that its tidying up does not run into the next measurement.
    pub(crate) async fn drop_database(&self, database: Database) -> Result<()> {
        let mut connection = self.admin.connect().await?;
        connection.execute(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name).as_str()).await?;
        connection.close().await?;
        Ok(())
    }

    /// Writes out what is dirty, so that every measurement starts from the same state.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        let mut connection = self.admin.connect().await?;
        connection.execute("CHECKPOINT").await?;
        connection.close().await?;
        Ok(())
    }

    /// Bytes of write-ahead log ever written.
    pub(crate) async fn wal_bytes(&self) -> Result<i64> {
        let mut connection = self.admin.connect().await?;
        let bytes = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(bytes)
    }

    /// CPU time of all of the server's processes; `None` when it runs elsewhere.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.postmaster.and_then(cpu::of_tree)
    }

    /// CPU time of the whole machine that is none of ours: neither of this process and what it started nor of the server.
    pub(crate) fn cpu_of_others(&self) -> Option<Duration> {
        let ours = cpu::of_tree(std::process::id())?;
        // A server of our own is below this process already.
        let elsewhere = if self.private.is_some() { Duration::ZERO } else { self.cpu().unwrap_or_default() };
        Some(cpu::of_machine()?.saturating_sub(ours + elsewhere))
    }

    /// Stops a server of our own.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.private {
            Some(private) => Ok(private.stop().await?),
            None => Ok(()),
        }
    }
}

async fn setting(connection: &mut PgConnection, name: &str) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(connection).await?)
}

/// A database of the server.
#[derive(Debug)]
pub(crate) struct Database {
    url: Url,
    options: PgConnectOptions,
    name: String,
}

impl Database {
    /// For programs that connect by themselves.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// A pool as the gateway makes its own: no ping before each use.
    pub(crate) async fn pool(&self, connections_max: u32) -> Result<PgPool> {
        let options = PgPoolOptions::new()
            .max_connections(connections_max)
            .min_connections(connections_max)
            .acquire_timeout(ACQUIRE_WITHIN)
            .test_before_acquire(false);
        Ok(options.connect_with(self.options.clone()).await?)
    }

    /// Runs a file of statements.
    pub(crate) async fn run_file(&self, path: &Path) -> Result<()> {
        let statements = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut connection = self.options.connect().await?;
        connection.execute(statements.as_str()).await?;
        connection.close().await?;
        Ok(())
    }

    /// Brings it to the schema of the gateway.
    pub(crate) async fn migrate(&self, migrations: PathBuf) -> Result<()> {
        let migrator = sqlx::migrate::Migrator::new(migrations).await?;
        let mut connection = self.options.connect().await?;
        migrator.run(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}

/// Copies rows from one database to another.
pub(crate) async fn copy(from: &PgPool, out: &str, to: &PgPool, into: &str) -> Result<()> {
    let mut rows = from.copy_out_raw(out).await?;
    let mut copy = to.copy_in_raw(into).await?;
    while let Some(message) = rows.next().await {
        copy.send(message?).await?;
    }
    copy.finish().await?;
    Ok(())
}

/// How large the events of a database are, on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub(crate) struct EventBytes {
    /// Events counted.
    pub(crate) events: i64,
    /// Average bytes of the payload.
    pub(crate) payload: i64,
    /// Average bytes of the metadata.
    pub(crate) metadata: i64,
}

/// Counts and weighs the created payments in a table `events`.
pub(crate) async fn event_bytes(pool: &PgPool) -> Result<EventBytes> {
    let bytes = sqlx::query_as(
        "SELECT count(*) AS events,
                coalesce(avg(octet_length(payload::text)), 0)::bigint AS payload,
                coalesce(avg(octet_length(metadata::text)), 0)::bigint AS metadata
         FROM events WHERE event_type = 'PaymentCreated'",
    )
    .fetch_one(pool)
    .await?;
    Ok(bytes)
}
