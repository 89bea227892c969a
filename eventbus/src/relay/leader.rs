//! Being the one relay of a ledger.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::log::{self, StoredEvent};

/// A statement that takes longer counts as a lost connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The connection that holds the lock. Whoever has this leads, as far as it can know; dropping it gives the lock up.
#[derive(Debug)]
pub(crate) struct Leader {
    connection: PgConnection,
}

impl Leader {
    /// Takes the lock of a ledger's relay, if it is free. Advisory locks belong to the database, so the ledger's name is
    /// enough of a key.
    pub(crate) async fn acquire(pool: &PgPool, ledger: &str) -> Result<Option<Self>, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        if !try_lock(&mut connection, &format!("wopay relay {ledger}")).await? {
            return Ok(None);
        }
        // Out of the pool, which would hand it to others, lock and all.
        let mut leader = Self { connection: connection.detach() };
        within(end_when_silent(&mut leader.connection)).await?;
        Ok(Some(leader))
    }

    /// At most `limit` events after position `after`.
    pub(crate) async fn read(&mut self, after: i64, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
        within(log::read_stored(&mut self.connection, after, limit)).await
    }

    /// The position of the newest event.
    pub(crate) async fn head(&mut self) -> Result<i64, sqlx::Error> {
        within(log::head(&mut self.connection)).await
    }
}

async fn within<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let timeout = |_| sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(ANSWER_WITHIN, statement).await.map_err(timeout)?
}

async fn try_lock(connection: &mut PgConnection, key: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))").bind(key).fetch_one(connection).await
}

/// A relay that hangs, or whose machine is gone, must not hold the lock for ever: a leader that lives asks
/// every few seconds at the very least.
async fn end_when_silent(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('idle_session_timeout', '30s', false),
                set_config('tcp_keepalives_idle', '5', false),
                set_config('tcp_keepalives_interval', '2', false),
                set_config('tcp_keepalives_count', '3', false)",
    )
    .execute(connection)
    .await?;
    Ok(())
}
