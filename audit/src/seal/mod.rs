//! The sealer: adds what was committed to the tree, signs the new head, and keeps a copy of it outside the database.
//!
//! One instance of a ledger seals; the others stand by. It reads Postgres and nothing else. A batch (new hashes, new
//! checkpoint) is one transaction on the connection that holds the lock: a crash leaves the old tree or the new one.
//!
//! What it promises above all: it never signs a head that is not an extension of every head it can know of, which are
//! the newest in the database and the copy on disk. When it cannot extend them it refuses and says so until a person has
//! looked.

mod batch;
mod error;
mod leader;
mod run;
mod status;

pub use error::{Refusal, SealError};
pub(crate) use run::BATCH_EVENTS_MAX;
pub use run::{Sealed, Sealer, SealerOptions};
pub use status::{SealState, SealerStatus};
