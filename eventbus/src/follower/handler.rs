//! What a follower calls.

use async_trait::async_trait;
use wopay_domain::RecordedEvent;

/// Derives something from the ledger's events.
#[async_trait]
pub trait EventHandler: Send + Sync + 'static {
    /// Names the checkpoint and the durable consumer, for example `projections`. Never changes.
    fn name(&self) -> &str;

    /// Applies events of consecutive positions, the first right after the checkpoint, inside the transaction that moves
    /// the checkpoint. Never commits. Called again with the same events when the transaction fails, also after it wrote
    /// everything: so no effects outside of it.
    ///
    /// The transaction does not wait for the disk (`synchronous_commit = off`): after a crash of Postgres its end may be
    /// missing, checkpoint and rows alike, and is applied again. Postgres ends it when 60 s pass without a statement.
    ///
    /// # Errors
    /// See [`HandlerError`].
    async fn apply(&self, tx: &mut sqlx::PgConnection, events: &[RecordedEvent]) -> Result<(), HandlerError>;

    /// The transaction has committed: wake those who read what it wrote. Not called for a commit whose answer got lost.
    async fn committed(&self) {}
}

/// Why a handler did not apply a batch.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The database failed. The batch is tried again, in smaller parts, for as long as it takes; unless the database
    /// refuses the values made of one single event (SQLSTATE class 22 or 23) again and again: then that event is poison.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event that this handler can never apply. The events before it are applied, then the follower stops.
    #[error("the event at position {position} cannot be applied")]
    Poison {
        /// Which.
        position: i64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
