//! Being the one sealer of a ledger.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

use crate::checkpoint::SignedCheckpoint;
use crate::store::{self, StoredCheckpoint, TileRow};
use crate::tiles::{self, TileError};
use crate::tree::Frontier;

/// A statement that takes longer counts as a lost connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The connection that holds the lock. All that is sealed is written over it: whoever has lost it has written nothing.
#[derive(Debug)]
pub(super) struct Leader {
    connection: PgConnection,
}

impl Leader {
    /// Takes the lock of a ledger's sealer, if it is free. Advisory locks belong to the database, so the ledger's name is
    /// enough of a key.
    pub(super) async fn acquire(pool: &PgPool, ledger: &str) -> Result<Option<Self>, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        let is_free: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(format!("wopay audit {ledger}"))
            .fetch_one(&mut *connection)
            .await?;
        if !is_free {
            return Ok(None);
        }
        // Out of the pool, which would hand it to others, lock and all.
        let mut leader = Self { connection: connection.detach() };
        within(leader.set_up()).await?;
        Ok(Some(leader))
    }

    /// What is sealed is on disk before the copy says so. An instance that hangs, or whose machine is gone, gives the
    /// lock up: one that lives asks for the head several times a second.
    async fn set_up(&mut self) -> Result<(), sqlx::Error> {
        sqlx::query(
            "SELECT set_config('synchronous_commit', 'on', false),
                    set_config('idle_session_timeout', '60s', false),
                    set_config('tcp_keepalives_idle', '5', false),
                    set_config('tcp_keepalives_interval', '2', false),
                    set_config('tcp_keepalives_count', '3', false),
                    set_config('idle_in_transaction_session_timeout', '30s', false)",
        )
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// Gives the lock up, so that the next finds it free: Postgres notices a closed connection only later.
    pub(super) async fn resign(mut self) -> Result<(), sqlx::Error> {
        within(async {
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.connection).await?;
            self.connection.close().await
        })
        .await
    }

    /// The position of the newest event.
    pub(super) async fn head(&mut self) -> Result<i64, sqlx::Error> {
        within(wopay_eventbus::log::head(&mut self.connection)).await
    }

    pub(super) async fn latest_checkpoint(&mut self) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
        within(store::latest_checkpoint(&mut self.connection)).await
    }

    /// The tree of that size, as the tiles have it.
    pub(super) async fn frontier(&mut self, size: i64) -> Result<Frontier, TileError> {
        tiles::frontier(&mut self.connection, size).await
    }

    /// Writes new hashes and the head that they lead to, or neither.
    pub(super) async fn seal(&mut self, rows: &[TileRow], checkpoint: &SignedCheckpoint) -> Result<(), sqlx::Error> {
        within(async {
            let mut tx = self.connection.begin().await?;
            store::insert_tiles(&mut *tx, rows).await?;
            store::insert_checkpoint(&mut *tx, checkpoint).await?;
            tx.commit().await
        })
        .await
    }
}

async fn within<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let timeout = |_| sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(ANSWER_WITHIN, statement).await.map_err(timeout)?
}
