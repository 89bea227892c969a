//! Why a batch could not be applied: try again, or stop.

use wopay_domain::envelope::DecodeError;
use wopay_eventbus::HandlerError;

/// An event that will never apply, however often it is tried. The follower stops and says so.
#[derive(Debug, thiserror::Error)]
pub enum PoisonError {
    /// The payload cannot be read.
    #[error("the event cannot be read")]
    Unreadable(#[from] DecodeError),
    /// The follower left out an event, or gave one twice.
    #[error("position {expected} had to follow, position {got} came")]
    Gap {
        /// The position that had to follow.
        expected: i64,
        /// The one that came.
        got: i64,
    },
    /// The aggregate's id is not a UUID.
    #[error("the aggregate id {0:?} is not a UUID")]
    AggregateId(String),
    /// A deposit of a payment whose first event is not its creation.
    #[error("payment {0} was never opened")]
    NotOpened(String),
    /// The event changes rows that its predecessors should have made.
    #[error("{expected} rows of {table} had to change, {changed} did: rebuild this read model")]
    RowsMissing {
        /// The table.
        table: &'static str,
        /// Rows to change.
        expected: u64,
        /// Rows changed.
        changed: u64,
    },
    /// The stored rows are of another version than this program's.
    #[error(
        "the rows of {model} are of version {stored}, this program makes version {ours}: an older program must stop, a \
         newer one rebuilds"
    )]
    Version {
        /// The read model.
        model: &'static str,
        /// The version of its rows; 0 if nobody wrote one down.
        stored: i32,
        /// The version of this program.
        ours: i32,
    },
    /// A merchant's sealed profile is there and cannot be opened.
    #[error("the profile cannot be opened")]
    Profile(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Postgres refuses a value for what it is. The position is that of the batch's first event.
    #[error("the database refuses a row of the batch that begins here")]
    Refused(#[source] sqlx::Error),
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// The database could not be asked, or lost the transaction: worth another try.
    Database(sqlx::Error),
    /// Not worth another try.
    Poison { position: i64, source: PoisonError },
}

impl ApplyError {
    pub(crate) fn poison(position: i64, source: impl Into<PoisonError>) -> Self {
        Self::Poison { position, source: source.into() }
    }

    /// Tells a value that Postgres will always refuse (SQLSTATE classes 22, data, and 23, constraints) from a fault that
    /// passes.
    pub(crate) fn refused_at(self, batch_first_position: i64) -> Self {
        match self {
            Self::Database(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23")) =>
            {
                let source = PoisonError::Refused(sqlx::Error::Database(error));
                Self::Poison { position: batch_first_position, source }
            }
            other => other,
        }
    }
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<ApplyError> for HandlerError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Database(error) => Self::Database(error),
            ApplyError::Poison { position, source } => Self::Poison { position, source: Box::new(source) },
        }
    }
}
