//! How far the read side is behind the ledger.

use sqlx::{PgPool, Row};
use wopay_domain::Timestamp;

use crate::handler::FOLLOWER;

/// How far the read side has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// The position of the last event applied; 0 before the first.
    pub position: i64,
    /// The position of the last event committed.
    pub head: i64,
    /// For how long the first event that is not applied has been waiting, in seconds; 0 if there is none.
    pub seconds: f64,
    /// When the last batch was applied; `None` before the first.
    pub applied_at: Option<Timestamp>,
}

impl Lag {
    /// Events committed and not yet applied.
    #[must_use]
    pub const fn events(&self) -> i64 {
        self.head.saturating_sub(self.position)
    }
}

/// How far the read side is behind the ledger.
///
/// # Errors
/// When the database cannot be asked.
pub async fn lag(pool: &PgPool) -> Result<Lag, sqlx::Error> {
    let row = sqlx::query(
        "SELECT
             COALESCE(applied.position, 0) AS position,
             ledger_head.position AS head,
             COALESCE(GREATEST(EXTRACT(epoch FROM clock_timestamp() - waiting.recorded_at), 0), 0)::float8 AS seconds,
             applied.updated_at AS applied_at
         FROM ledger_head
         LEFT JOIN follower_checkpoints AS applied ON applied.name = $1
         LEFT JOIN events AS waiting ON waiting.position = COALESCE(applied.position, 0) + 1",
    )
    .bind(FOLLOWER)
    .fetch_one(pool)
    .await?;
    Ok(Lag {
        position: row.try_get("position")?,
        head: row.try_get("head")?,
        seconds: row.try_get("seconds")?,
        applied_at: row.try_get("applied_at")?,
    })
}

/// [`lag`], told to the metrics as well: `wopay_projections_lag_events`, `wopay_projections_lag_seconds`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn observe_lag(pool: &PgPool) -> Result<Lag, sqlx::Error> {
    let lag = lag(pool).await?;
    // Exact up to 2^53, and a metric is a float anyway.
    metrics::gauge!("wopay_projections_lag_events").set(lag.events() as f64);
    metrics::gauge!("wopay_projections_lag_seconds").set(lag.seconds);
    Ok(lag)
}
