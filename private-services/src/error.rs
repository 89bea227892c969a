//! What can go wrong, in words that tell the operator what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which private server an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The private Postgres.
    Postgres,
    /// The private nats-server.
    Nats,
}

impl Service {
    /// The setting that makes the private server unnecessary.
    fn setting(self) -> &'static str {
        match self {
            Self::Postgres => "database_url",
            Self::Nats => "nats_url",
        }
    }

    /// How to get a suitable server.
    fn remedy(self) -> &'static str {
        match self {
            Self::Postgres => "run `make tools`, or `apt install postgresql`, or set `database_url`",
            Self::Nats => "run `make tools`, or install nats-server 2.10 or newer on PATH, or set `nats_url`",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "postgres",
            Self::Nats => "nats-server",
        })
    }
}

/// Why a private server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No binary in any of the places looked at.
    #[error("no {service} found (looked in {}); {}", list(.searched), .service.remedy())]
    NotFound {
        /// The server wanted.
        service: Service,
        /// Folders looked at, in order.
        searched: Vec<PathBuf>,
    },
    /// Only binaries older than what WoPay needs, or ones that did not run.
    #[error("{} is version {found}, at least {required} is needed; {}", .path.display(), .service.remedy())]
    TooOld {
        /// The server wanted.
        service: Service,
        /// The newest binary found.
        path: PathBuf,
        /// Its version as it prints it.
        found: String,
        /// The oldest version that will do.
        required: String,
    },
    /// The data folder was written by a Postgres of another major version.
    #[error(
        "the data in {} was written by PostgreSQL {written_by}, but only {} found; install PostgreSQL {written_by}, \
         or move the data over with pg_dump", .data.display(), majors(.available)
    )]
    DataVersion {
        /// The Postgres data folder.
        data: PathBuf,
        /// Major version that wrote it.
        written_by: u32,
        /// Major versions found on this machine.
        available: Vec<u32>,
    },
    /// Another live process owns this data folder.
    #[error("another running process uses {} for its private {service}; stop it, or choose another data_dir", .data_dir.display())]
    InUse {
        /// The server wanted.
        service: Service,
        /// The folder both want.
        data_dir: PathBuf,
    },
    /// A server left over from an earlier process does not stop.
    #[error("a {service} left by an earlier process still runs in {} and did not stop within {waited:?}", .data_dir.display())]
    PreviousStillRunning {
        /// The server wanted.
        service: Service,
        /// The folder it holds.
        data_dir: PathBuf,
        /// How long it was given.
        waited: Duration,
    },
    /// We are root, and Postgres refuses to run as root.
    #[error(
        "postgres does not run as root and /etc/passwd has neither `postgres` nor `nobody`; add a user, or set `database_url`"
    )]
    NoAccount,
    /// A folder that must be ours alone belongs to somebody else.
    #[error("{} exists but belongs to user {owner}; remove it, or choose another data_dir", .path.display())]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// A one-off command (initdb and the like) failed.
    #[error("{what} failed ({status}):\n{output}")]
    Command {
        /// What was run.
        what: &'static str,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended before it was ready.
    #[error("{service} ended at start ({status}); the end of {}:\n{log_tail}\nElse set `{}`", .log.display(), .service.setting())]
    Exited {
        /// The server.
        service: Service,
        /// Its exit status.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of this start.
        log_tail: String,
    },
    /// The server runs but did not answer in time.
    #[error("{service} did not become ready within {waited:?}; the end of {}:\n{log_tail}", .log.display())]
    NotReady {
        /// The server.
        service: Service,
        /// The deadline that passed.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of this start.
        log_tail: String,
    },
    /// The server did not end in time after it was told to.
    #[error("{what} did not stop within {waited:?}")]
    NotStopped {
        /// The program.
        what: String,
        /// The deadline that passed.
        waited: Duration,
    },
    /// The file system or the process table refused.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The async runtime was shut down while a server was starting or stopping.
    #[error("the runtime was shut down meanwhile")]
    Interrupted,
}

impl ServiceError {
    /// Gives an `io::Error` its place: `.map_err(ServiceError::io("create", path))`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if shown.is_empty() { "no folder".to_owned() } else { shown.join(", ") }
}

fn majors(found: &[u32]) -> String {
    let shown: Vec<String> = found.iter().map(u32::to_string).collect();
    if shown.is_empty() { "no version was".to_owned() } else { format!("{} was", shown.join(", ")) }
}
