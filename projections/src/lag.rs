//! How far the read side is behind the ledger.

use sqlx::{PgPool, Row};

use crate::handler::FOLLOWER;

/// How far the read side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The position of the last event applied; 0 before the first.
    pub position: i64,
    /// The position of the last event committed.
    pub head: i64,
}

impl Lag {
    /// Events committed and not yet applied.
    #[must_use]
    pub const fn events(self) -> i64 {
        self.head.saturating_sub(self.position)
    }
}

/// How far the read side is behind the ledger.
///
/// # Errors
/// When the database cannot be asked.
pub async fn lag(pool: &PgPool) -> Result<Lag, sqlx::Error> {
    let row = sqlx::query(
        "SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = $1), 0) AS position,
                (SELECT position FROM ledger_head) AS head",
    )
    .bind(FOLLOWER)
    .fetch_one(pool)
    .await?;
    Ok(Lag { position: row.try_get("position")?, head: row.try_get("head")? })
}
