//! A private Postgres.

mod cluster;
mod ready;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::{self, Account};
use crate::binaries::{BinarySearch, find_postgres};
use crate::error::{Service, ServiceError};
use crate::files::{log_tail, open_log};
use crate::lock::{self, Ownership};
use crate::port::free_port;
use crate::supervise::{Signal, SuperviseOptions, Supervised};
use crate::{blocking, copy, home};
use cluster::{Cluster, DATABASE, USER};

/// A port can be taken between finding and using it.
const PORT_TRIES_MAX: usize = 5;
/// Recovery after a crash replays up to `max_wal_size` of log first.
const READY_WITHIN: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(60);

/// What a crash of the machine may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Postgres' own defaults: a committed transaction is on the disk.
    Durable,
    /// For tests: nothing is forced to the disk, and the data is removed when the server stops.
    Disposable,
}

/// How to run a private Postgres.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Folder for the data, the log and the password; made if it does not exist.
    pub data_dir: PathBuf,
    /// Where to look for `postgres`.
    pub search: BinarySearch,
    /// What a crash of the machine may cost.
    pub durability: Durability,
    /// Connections the server accepts, at least 1.
    pub max_connections: u16,
    /// More settings as (name, value), as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// A durable server with 100 connections.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, search: BinarySearch) -> Self {
        Self {
            data_dir: data_dir.into(),
            search,
            durability: Durability::Durable,
            max_connections: 100,
            settings: Vec::new(),
        }
    }
}

/// A running private Postgres; stops when dropped or when this process dies.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Supervised,
    url: String,
    port: u16,
    log: PathBuf,
    _ownership: Ownership,
}

impl PrivatePostgres {
    /// `postgres://wopay:<password>@127.0.0.1:<port>/wopay`; the role is a superuser. The port changes at each start.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status if the server has ended by itself.
    ///
    /// # Errors
    /// The process table refused.
    pub fn exit_status(&mut self) -> Result<Option<std::process::ExitStatus>, ServiceError> {
        self.server.try_wait().map_err(ServiceError::io("wait for", &self.log))
    }

    /// Stops the server cleanly (open connections are ended) and waits until it is gone.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`] when it does not go.
    pub async fn stop(self) -> Result<(), ServiceError> {
        blocking(move || self.stop_blocking()).await
    }

    /// [`stop`](Self::stop) for threads outside a runtime.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn stop_blocking(mut self) -> Result<(), ServiceError> {
        self.server.stop_blocking()
    }
}

/// Starts a private Postgres, making its data the first time, and returns when it takes connections.
///
/// # Errors
/// Any [`ServiceError`]; most say what to install or to configure.
pub async fn start_postgres(options: PostgresOptions) -> Result<PrivatePostgres, ServiceError> {
    blocking(move || start_postgres_blocking(&options)).await
}

/// [`start_postgres`] for threads outside a runtime.
///
/// # Errors
/// As [`start_postgres`].
pub fn start_postgres_blocking(options: &PostgresOptions) -> Result<PrivatePostgres, ServiceError> {
    let data_dir = home::make(&options.data_dir)?;
    let (probe, probe_path) = lock::open_lock(&data_dir, Service::Postgres)?;
    let own_uid = account::own_uid(&probe, &probe_path)?;
    let account = account::for_postgres(own_uid, None)?;
    let home = home::reachable(&data_dir, account)?;
    let pgdata = home.join("postgres");
    let account = account::for_postgres(own_uid, Some(&pgdata))?;

    let ownership = lock::take(&home, Service::Postgres, || cluster::stop_orphan(&pgdata, account))?;
    let written_by = cluster::version(&pgdata)?;
    let binaries = find_postgres(&options.search, written_by.map(|version| (version, pgdata.as_path())))?;
    let bin = copy::runnable(&binaries.dir, account)?;
    let cluster = Cluster { bin: &bin, home: &home, pgdata: &pgdata, account, durability: options.durability };
    let password = cluster.prepare(written_by.is_some())?;
    cluster.remove_stale_pid_file()?;
    start(options, &cluster, &password, ownership)
}

fn start(
    options: &PostgresOptions,
    cluster: &Cluster<'_>,
    password: &str,
    ownership: Ownership,
) -> Result<PrivatePostgres, ServiceError> {
    let log = cluster.home.join("postgres.log");
    let mut tries = 0;
    loop {
        tries += 1;
        let port = free_port().map_err(ServiceError::io("find a port for", cluster.home))?;
        let (log_file, log_start) = open_log(&log)?;
        let mut server = Supervised::spawn_as(
            SuperviseOptions {
                program: cluster.bin.join("postgres"),
                args: arguments(options, cluster.pgdata, port),
                env: environment(),
                stdout: ownership.running.try_clone().map_err(ServiceError::io("share the lock of", cluster.home))?,
                stderr: log_file,
                stop: match cluster.durability {
                    Durability::Durable => Signal::Interrupt,
                    Durability::Disposable => Signal::Quit,
                },
                grace: GRACE,
                remove_when_stopped: cluster.removed_when_stopped(),
            },
            cluster.account,
        )?;
        match ready::wait(&mut server, port, READY_WITHIN) {
            Ok(()) => {
                tracing::debug!(port, pgdata = %cluster.pgdata.display(), "private postgres is ready");
                let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/{DATABASE}");
                return Ok(PrivatePostgres { server, url, port, log, _ownership: ownership });
            }
            Err(ready::NotReady::Ended(status)) => {
                let log_tail = log_tail(&log, log_start);
                if tries >= PORT_TRIES_MAX || !log_tail.contains("Address already in use") {
                    let status = status.to_string();
                    return Err(ServiceError::Exited { service: Service::Postgres, status, log, log_tail });
                }
            }
            Err(ready::NotReady::Late) => {
                let log_tail = log_tail(&log, log_start);
                return Err(ServiceError::NotReady { service: Service::Postgres, waited: READY_WITHIN, log, log_tail });
            }
            Err(ready::NotReady::Unknown(error)) => return Err(ServiceError::io("wait for", &log)(error)),
        }
    }
}

fn arguments(options: &PostgresOptions, pgdata: &Path, port: u16) -> Vec<OsString> {
    let mut settings: Vec<(&str, String)> = vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        // TCP only: socket paths are limited to 107 bytes, and a data folder can lie deeper.
        ("unix_socket_directories", String::new()),
        ("max_connections", options.max_connections.to_string()),
        ("password_encryption", "scram-sha-256".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", "%m [%p] ".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
    ];
    if options.durability == Durability::Disposable {
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            settings.push((setting, "off".to_owned()));
        }
    }
    let mut args: Vec<OsString> = vec!["-D".into(), pgdata.into()];
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in settings.into_iter().chain(given) {
        args.push("-c".into());
        args.push(format!("{name}={value}").into());
    }
    args
}

/// Messages and sorting that do not depend on the machine.
fn environment() -> Vec<(OsString, OsString)> {
    vec![("LC_ALL".into(), "C".into()), ("TZ".into(), "UTC".into())]
}

/// The account's identity as text, for messages.
fn describe(account: Option<Account>) -> String {
    account.map_or_else(|| "this user".to_owned(), |account| format!("user {}", account.uid))
}

/// Removes a folder if it is there.
fn remove_dir(path: &Path) -> Result<(), ServiceError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ServiceError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
