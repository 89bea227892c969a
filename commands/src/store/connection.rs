//! The committer's own connection: made again when it breaks, never borrowed from a pool that readers could exhaust.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity};
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::Instant;

use super::query;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A connection that comes back.
#[derive(Debug)]
pub(super) struct Reconnecting {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Reconnecting {
    /// Connects at the first use. `search_path` and the like must be part of `options`.
    pub(super) fn new(options: &PgConnectOptions) -> Self {
        let options = options.clone().application_name("wopay-committer").disable_statement_logging();
        Self { options, connection: None }
    }

    /// The connection; tries to make it until `deadline`, at least once.
    pub(super) async fn get(&mut self, deadline: Instant) -> Result<&mut PgConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(deadline).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Gives the connection up: it is broken, or nobody knows what it is doing.
    pub(super) fn abandon(&mut self) {
        self.connection = None;
    }

    async fn connect(&self, deadline: Instant) -> Result<PgConnection, sqlx::Error> {
        let mut pauses = pauses();
        loop {
            let error = match tokio::time::timeout(CONNECT_WITHIN, self.connect_once()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => timed_out(),
            };
            let pause = pauses.next().unwrap_or(PAUSE_MAX);
            if Instant::now() + pause > deadline {
                return Err(error);
            }
            tracing::warn!(error = %error, "cannot connect to the ledger's database, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn connect_once(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        query::prepare_connection(&mut connection).await?;
        Ok(connection)
    }
}

/// Growing, jittered pauses without an end.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let builder = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(PAUSE_MAX);
    builder.with_jitter().without_max_times().build()
}

/// What a failed statement says of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Rolled back for certain, by no fault of what was written: it may succeed later.
    Transient,
    /// Rolled back for certain, for what was to be written.
    Refused,
    /// The connection is gone and perhaps the transaction is committed.
    Ambiguous,
}

/// Reads an error of the append.
pub(super) fn classify(error: &sqlx::Error) -> Failure {
    let Some(database) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) else {
        return Failure::Ambiguous;
    };
    match database.severity() {
        PgSeverity::Error => match database.code().get(..2) {
            // Data exceptions, constraint violations, limits of the server (54: an index entry too large).
            Some("22" | "23" | "54") => Failure::Refused,
            _ => Failure::Transient,
        },
        // The backend has ended.
        _ => Failure::Ambiguous,
    }
}

/// The error of a statement that got no answer in time.
pub(super) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
