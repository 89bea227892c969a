//! A private Postgres and a private nats-server under one folder.
//!
//! WoPay starts from one command on a fresh machine: without `database_url` and `nats_url` it runs servers of its
//! own, and so do its tests. What this crate promises:
//!
//! - The servers listen on 127.0.0.1 only, ask for a generated password, and see none of our environment.
//! - They stop when this process ends, also when it is killed with `kill -9` (see [`Supervised`]).
//! - A start after such a death works, and the data is still there. A second live process on the same folder is
//!   refused ([`ServiceError::InUse`]).
//! - A server is ready when `start_…` returns; if it does not come up, the error carries the end of its log.
//!
//! The crate reads no environment variable: the caller says where to look ([`BinarySearch`]). It never installs
//! anything; an error says what to install.

mod account;
mod binaries;
mod copy;
mod error;
mod files;
mod home;
mod lock;
mod nats;
mod port;
mod postgres;
mod supervise;

pub use binaries::{BinarySearch, NATS_SERVER_MIN, POSTGRES_MAJOR_MIN};
pub use error::{Service, ServiceError};
pub use nats::{NatsOptions, PrivateNats, SyncInterval, start_nats, start_nats_blocking};
pub use port::free_port;
pub use postgres::{Durability, PostgresOptions, PrivatePostgres, start_postgres, start_postgres_blocking};
pub use supervise::{Signal, SuperviseOptions, Supervised};

/// Runs blocking work on tokio's blocking threads and hands a panic on.
async fn blocking<T, F>(work: F) -> Result<T, ServiceError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ServiceError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ServiceError::Interrupted),
        },
    }
}
