//! Makes read models again from the events, beside the live ones, and swaps them in.
//!
//! The new tables stand in a schema of their own, `<ledger's schema>_rebuild`, which comes first in the `search_path` of
//! the rebuild's connection: the same apply code, with the same SQL, fills them. While the live follower goes on, the
//! rebuild reads up to the follower's checkpoint, again and again until little is left. Then it takes the lock of that
//! checkpoint, which stops the follower at a position; applies what is missing up to exactly there; and moves the new
//! tables into the old ones' place, all in one transaction. So a read model can be rebuilt alone: at the moment of the
//! switch all of them stand at the same position, and one checkpoint stays enough for all. It is never moved.
//!
//! Whatever happens before the switch (a crash, an error, a lost connection), the live tables are as they were; the next
//! rebuild clears what was left.

mod shadow;

use sqlx::{Connection, PgConnection, PgPool};
use wopay_eventbus::{checkpoint, log};

use crate::batch::Batch;
use crate::error::{ApplyError, PoisonError};
use crate::handler::FOLLOWER;
use crate::model::ReadModel;
use crate::profiles::Profiles;
use shadow::Shadow;

/// Events in one transaction.
const BATCH_EVENTS: i64 = 5_000;
/// With so few events left, the follower is stopped for the rest.
const SWITCH_BELOW_EVENTS: i64 = 2 * BATCH_EVENTS;
/// How often the rebuild runs after a follower that does not get slower, before it stops it whatever is left.
const CHASES_MAX: u32 = 20;
/// How often the switch is tried when readers hold on to the tables.
const SWITCHES_MAX: u32 = 30;

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The position of the last event applied.
    pub position: i64,
    /// The position to reach; it grows while the ledger does.
    pub target: i64,
}

/// A rebuild that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was rebuilt.
    pub models: Vec<ReadModel>,
    /// The follower's checkpoint, at which the new tables stand.
    pub position: i64,
}

/// Why nothing was rebuilt. The live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No read model has this name.
    #[error("no read model is called {0:?}; there are merchants, payments, blockchain_transactions, balances")]
    UnknownModel(String),
    /// Another rebuild of this ledger is at work.
    #[error("another rebuild of this ledger is running")]
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
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<ApplyError> for RebuildError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Database(error) => Self::Database(error),
            ApplyError::Poison { position, source } => Self::Poison { position, source },
        }
    }
}

/// Rebuilds the read model of this name, or all of them, up to the follower's checkpoint. Runs beside a live follower and
/// live readers, who see the old tables until the new ones are complete. The database's role must own the tables and be
/// allowed to create a schema.
///
/// # Errors
/// See [`RebuildError`]; nothing has changed then.
pub async fn rebuild(
    pool: &PgPool,
    profiles: &dyn Profiles,
    name: Option<&str>,
    progress: impl Fn(Progress),
) -> Result<Rebuilt, RebuildError> {
    let models = match name {
        None => ReadModel::ALL.to_vec(),
        Some(name) => vec![ReadModel::parse(name).ok_or_else(|| RebuildError::UnknownModel(name.to_owned()))?],
    };
    // A connection of its own, never returned to the pool: its search_path would go with it.
    let mut connection = pool.acquire().await?.detach();
    let Some(shadow) = Shadow::claim(&mut connection).await? else { return Err(RebuildError::Running) };
    let mut rebuild = Rebuild { connection, models, profiles, position: 0 };
    let done = rebuild.run(&shadow, &progress).await;
    let Rebuild { mut connection, models, position, .. } = rebuild;
    // If this fails, the lock goes with the connection, if a little later.
    shadow.release(&mut connection).await.ok();
    connection.close().await.ok();
    done?;
    tracing::info!(position, models = ?models.iter().map(|model| model.as_str()).collect::<Vec<_>>(), "rebuilt");
    Ok(Rebuilt { models, position })
}

struct Rebuild<'a> {
    connection: PgConnection,
    models: Vec<ReadModel>,
    profiles: &'a dyn Profiles,
    /// Applied and committed up to here.
    position: i64,
}

impl Rebuild<'_> {
    async fn run(&mut self, shadow: &Shadow, progress: &impl Fn(Progress)) -> Result<(), RebuildError> {
        shadow.create(&mut self.connection, &self.models).await?;
        self.chase(progress).await?;
        shadow.analyze(&mut self.connection, &self.models).await?;
        self.finish(shadow, progress).await
    }

    /// Runs after the follower until little is left.
    async fn chase(&mut self, progress: &impl Fn(Progress)) -> Result<(), RebuildError> {
        for _ in 0..CHASES_MAX {
            let target = checkpoint::read(&mut self.connection, FOLLOWER).await?;
            progress(Progress { position: self.position, target });
            if target.saturating_sub(self.position) <= SWITCH_BELOW_EVENTS {
                break;
            }
            while self.position < target {
                let mut tx = self.connection.begin().await?;
                let next = step(&mut tx, &self.models, self.profiles, self.position, target).await?;
                tx.commit().await?;
                self.position = next;
                progress(Progress { position: next, target });
            }
        }
        Ok(())
    }

    /// Stops the follower, applies the rest, swaps. A reader that holds on to a table for long would make all later ones
    /// wait for us: after a short while we let them pass and try again.
    async fn finish(&mut self, shadow: &Shadow, progress: &impl Fn(Progress)) -> Result<(), RebuildError> {
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            match self.switch(shadow).await {
                Err(RebuildError::Database(error)) if tries < SWITCHES_MAX && is_lock_conflict(&error) => {
                    tracing::warn!(tries, "readers hold on to the tables, trying again");
                }
                Err(error) => return Err(error),
                Ok(position) => {
                    self.position = position;
                    progress(Progress { position, target: position });
                    return Ok(());
                }
            }
        }
    }

    async fn switch(&mut self, shadow: &Shadow) -> Result<i64, RebuildError> {
        let mut tx = self.connection.begin().await?;
        let target = checkpoint::lock(&mut tx, FOLLOWER).await?;
        let mut position = self.position;
        while position < target {
            position = step(&mut tx, &self.models, self.profiles, position, target).await?;
        }
        shadow.swap(&mut tx, &self.models).await?;
        tx.commit().await?;
        Ok(target)
    }
}

/// Applies the next events, none beyond `target`, and says how far that went.
async fn step(
    tx: &mut PgConnection,
    models: &[ReadModel],
    profiles: &dyn Profiles,
    position: i64,
    target: i64,
) -> Result<i64, RebuildError> {
    let limit = BATCH_EVENTS.min(target.saturating_sub(position));
    let events = log::read(&mut *tx, position, limit).await?;
    let Some(last) = events.last().map(|event| event.position) else {
        return Err(RebuildError::LedgerTooShort { head: position, checkpoint: target });
    };
    let expected = position.saturating_add(1);
    if let Some(first) = events.first().filter(|first| first.position != expected) {
        let source = PoisonError::Gap { expected, got: first.position };
        return Err(RebuildError::Poison { position: first.position, source });
    }
    let batch = Batch::read(&events)?;
    for model in models {
        model.apply(tx, &batch, profiles).await?;
    }
    Ok(last)
}

/// Lock timeout or deadlock.
fn is_lock_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}
