//! New tables that follow the live ones: what a rebuild swaps in and a check compares with.

use futures::future::try_join_all;
use sqlx::{Connection, PgConnection, PgPool};
use wopay_eventbus::{checkpoint, log};

use super::error::RebuildError;
use super::load::{self, Writer};
use super::progress::{Listener, Running, Stage, tell};
use super::shadow::Shadow;
use crate::batch::Events;
use crate::error::PoisonError;
use crate::handler::FOLLOWER;
use crate::model::ReadModel;
use crate::profiles::Profiles;

/// With so few events left, the follower is stopped for the rest.
const REST_EVENTS: i64 = 10_000;
/// How often we run after a follower that does not get slower, before it is stopped whatever is left.
const CHASES_MAX: u32 = 20;

/// New tables under construction. Ours alone until [`close`](Self::close)d.
pub(crate) struct Build<'a> {
    pool: &'a PgPool,
    profiles: &'a dyn Profiles,
    listener: Listener<'a>,
    _running: Running,
    pub(crate) models: Vec<ReadModel>,
    pub(crate) shadow: Shadow,
    /// Holds the lock; its `search_path` leads to the new tables, as that of each writer.
    pub(crate) connection: PgConnection,
    /// Applied and committed up to here.
    pub(crate) position: i64,
}

impl<'a> Build<'a> {
    /// Claims the place beside the live tables.
    pub(crate) async fn claim(
        pool: &'a PgPool,
        profiles: &'a dyn Profiles,
        models: Vec<ReadModel>,
        listener: Listener<'a>,
    ) -> Result<Self, RebuildError> {
        let mut connection = detached(pool).await?;
        let Some(shadow) = Shadow::claim(&mut connection).await? else { return Err(RebuildError::Running) };
        Ok(Self { pool, profiles, listener, _running: Running::new(), models, shadow, connection, position: 0 })
    }

    /// Makes the tables and brings them close to the live ones, with all indexes.
    pub(crate) async fn load(&mut self) -> Result<(), RebuildError> {
        self.shadow.create(&mut self.connection, &self.models).await?;
        self.shadow.enter(&mut self.connection).await?;
        let mut writers = Vec::with_capacity(self.models.len());
        for model in &self.models {
            let mut connection = detached(self.pool).await?;
            self.shadow.enter(&mut connection).await?;
            writers.push(Writer { model: *model, connection });
        }
        self.chase(&mut writers).await?;
        self.tell(Stage::Indexing);
        let completing = writers.iter_mut().map(|writer| self.shadow.complete(&mut writer.connection, writer.model));
        try_join_all(completing).await?;
        // The follower went on meanwhile.
        self.chase(&mut writers).await?;
        for writer in writers {
            writer.connection.close().await?;
        }
        Ok(())
    }

    /// Runs after the follower until little is left.
    async fn chase(&mut self, writers: &mut [Writer]) -> Result<(), RebuildError> {
        for _ in 0..CHASES_MAX {
            let target = checkpoint::read(self.pool, FOLLOWER).await?;
            if target.saturating_sub(self.position) <= REST_EVENTS {
                break;
            }
            load::load(self.pool, writers, self.profiles, (self.position, target), self.listener).await?;
            self.position = target;
        }
        Ok(())
    }

    /// Applies what is left up to `target` in one transaction, with `tx`, whose `search_path` leads to the new tables.
    pub(crate) async fn apply_rest(
        tx: &mut PgConnection,
        models: &[ReadModel],
        profiles: &dyn Profiles,
        (mut position, target): (i64, i64),
    ) -> Result<(), RebuildError> {
        while position < target {
            let recorded = log::read(&mut *tx, position, REST_EVENTS.min(target.saturating_sub(position))).await?;
            let expected = position.saturating_add(1);
            if let Some(first) = recorded.first().filter(|first| first.position != expected) {
                let source = PoisonError::Gap { expected, got: first.position };
                return Err(RebuildError::Poison { position: first.position, source });
            }
            let events = Events::read(&recorded)?;
            let Some(last) = events.last_position() else {
                return Err(RebuildError::LedgerTooShort { head: position, checkpoint: target });
            };
            for model in models {
                model.apply(tx, &events.batch(), profiles).await?;
            }
            position = last;
        }
        Ok(())
    }

    pub(crate) fn profiles(&self) -> &'a dyn Profiles {
        self.profiles
    }

    pub(crate) fn pool(&self) -> &'a PgPool {
        self.pool
    }

    pub(crate) fn tell(&self, stage: Stage) {
        tell(self.listener, stage, self.position, self.position);
    }

    /// Removes what is left of the new tables and lets others build.
    pub(crate) async fn close(mut self) {
        // If this fails, the next build clears it, and the lock goes with the connection, if a little later.
        self.shadow.drop(&mut self.connection).await.ok();
        self.shadow.release(&mut self.connection).await.ok();
        self.connection.close().await.ok();
    }
}

/// A connection of our own, never returned to the pool: its settings would go with it.
pub(crate) async fn detached(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    Ok(pool.acquire().await?.detach())
}
