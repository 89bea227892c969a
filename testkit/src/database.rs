//! A database for each test, in one Postgres for each test process.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;
use wopay_private_services::{Durability, PostgresOptions, PrivatePostgres, start_postgres_blocking};

use crate::tools::{binary_search, in_repository};

/// URL of an administrator on a server to use instead of a private one. Databases made there are left behind.
const URL_VARIABLE: &str = "WOPAY_TEST_DATABASE_URL";
const SERVER_CONNECTIONS_MAX: u16 = 400;
const POOL_CONNECTIONS_MAX: u32 = 10;
const ACQUIRE_WITHIN: Duration = Duration::from_secs(30);

/// A database of a test's own, with every migration applied.
#[derive(Debug)]
pub struct TestDatabase {
    /// At most 10 connections.
    pub pool: PgPool,
    /// For code that connects by itself; the role may do everything.
    pub url: String,
    /// The database's name.
    pub name: String,
}

impl TestDatabase {
    /// Another pool on the same database.
    pub async fn extra_pool(&self, connections_max: u32) -> PgPool {
        connect(&self.url, connections_max).await
    }
}

/// A new database with all of `migrations/` applied. The server starts at the first call in this process and stops
/// with the process.
pub async fn database() -> TestDatabase {
    create(|server| &server.template).await
}

/// A new database without any table, for tests of the migrations themselves.
pub async fn empty_database() -> TestDatabase {
    create(|_| "template0").await
}

/// Lets a test alter what the ledger's triggers protect, as somebody with the powers of a superuser could.
pub async fn lift_protection(pool: &PgPool) {
    for table in ["ledger_head", "events", "claims", "audit_tiles", "audit_checkpoints"] {
        pool.execute(format!("ALTER TABLE {table} DISABLE TRIGGER USER").as_str()).await.unwrap();
    }
}

async fn create(template: impl FnOnce(&Server) -> &str) -> TestDatabase {
    // Starting blocks for a second or two: not on a thread that drives tests.
    let server = tokio::task::spawn_blocking(server).await.unwrap();
    let name = format!("test_{}", Uuid::now_v7().simple());
    let statement = format!("CREATE DATABASE {name} TEMPLATE {} STRATEGY file_copy", template(server));
    let mut admin = server.admin.connect().await.expect("the test server takes connections");
    admin.execute(statement.as_str()).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    admin.close().await.unwrap();
    let url = server.admin.clone().database(&name).to_url_lossy().to_string();
    TestDatabase { pool: connect(&url, POOL_CONNECTIONS_MAX).await, url, name }
}

async fn connect(url: &str, connections_max: u32) -> PgPool {
    let options = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_WITHIN);
    options.connect(url).await.expect("the test server takes connections")
}

struct Server {
    /// Never dropped, being in a static: the supervisor stops the server when the process ends.
    _private: Option<PrivatePostgres>,
    admin: PgConnectOptions,
    template: String,
}

/// The process' server. A failure is kept, so that many tests report it fast.
fn server() -> &'static Server {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let started = SERVER.get_or_init(|| {
        // A thread and a runtime of its own: what starts here must outlive the runtime of the first test.
        let starter = std::thread::spawn(start);
        starter.join().unwrap_or_else(|_| Err("starting it panicked".to_owned()))
    });
    started.as_ref().unwrap_or_else(|error| panic!("no Postgres for tests: {error}"))
}

fn start() -> Result<Server, String> {
    let (private, url) = match std::env::var(URL_VARIABLE) {
        Ok(url) => (None, url),
        Err(_) => {
            let dir = tempfile::Builder::new()
                .prefix("wopay-test-postgres-")
                .permissions(passable())
                .tempdir()
                .map_err(|error| error.to_string())?;
            // The supervisor removes the folder: nothing in this process runs late enough.
            let private = start_postgres_blocking(&options(dir.keep())).map_err(|error| chain(&error))?;
            let url = private.url().to_owned();
            (Some(private), url)
        }
    };
    let admin = PgConnectOptions::from_str(&url).map_err(|error| chain(&error))?;
    let template = format!("template_{}", Uuid::now_v7().simple());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(make_template(&admin, &template)).map_err(|error| chain(&*error))?;
    Ok(Server { _private: private, admin, template })
}

/// For root, whose Postgres runs as another user and must reach its data.
fn passable() -> Permissions {
    Permissions::from_mode(0o711)
}

fn options(dir: PathBuf) -> PostgresOptions {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    PostgresOptions {
        durability: Durability::Disposable,
        max_connections: SERVER_CONNECTIONS_MAX,
        settings: vec![
            // It would hold on to the template while tests copy it.
            setting("autovacuum", "off"),
            setting("max_wal_size", "4GB"),
            setting("checkpoint_timeout", "1h"),
        ],
        ..PostgresOptions::new(dir, binary_search())
    }
}

async fn make_template(admin: &PgConnectOptions, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut connection = admin.connect().await?;
    connection.execute(format!("CREATE DATABASE {name}").as_str()).await?;
    connection.close().await?;
    let migrator = sqlx::migrate::Migrator::new(in_repository("migrations")).await?;
    let mut connection: PgConnection = admin.clone().database(name).connect().await?;
    migrator.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
