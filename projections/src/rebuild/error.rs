//! Why nothing was rebuilt or compared.

use crate::error::{ApplyError, PoisonError};
use crate::model::ReadModel;

/// Why nothing was rebuilt. The live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No read model has this name.
    #[error("no read model is called {0:?}; there are {names}", names = ReadModel::names())]
    UnknownModel(String),
    /// Another rebuild or check of this ledger is at work.
    #[error("another rebuild or check of this ledger is running")]
    Running,
    /// The ledger has fewer events than the follower has applied.
    #[error("the ledger ends at position {head}, but the follower has applied {checkpoint}")]
    LedgerTooShort {
        /// Where the ledger ends.
        head: i64,
        /// The follower's checkpoint.
        checkpoint: i64,
    },
    /// An event cannot be applied.
    #[error("the event at position {position} cannot be applied")]
    Poison {
        /// Where it stands.
        position: i64,
        /// Why.
        #[source]
        source: PoisonError,
    },
    /// A table without a primary key: nobody could say which row differs.
    #[error("the table {0} has no primary key")]
    NoKey(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopping,
}

impl RebuildError {
    /// Whether the database's role may not do this: it has to own the tables.
    #[must_use]
    pub fn is_not_allowed(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == "42501")
    }

    /// Lock timeout or deadlock: readers hold on to the tables.
    pub(super) fn is_lock_conflict(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == "55P03" || code == "40P01")
    }
}

impl From<ApplyError> for RebuildError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Database(error) => Self::Database(error),
            ApplyError::Poison { position, source } => Self::Poison { position, source },
        }
    }
}
