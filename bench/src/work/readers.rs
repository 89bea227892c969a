//! Reading the log: the floor, and the ledger's own replay.

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt as _;
use wopay_eventbus::log;

use super::Counted;
use super::books::Books;

/// Reads what a copy sends and does nothing with it: what replay can never beat.
pub(super) async fn drain(pool: &PgPool, statement: &str, events: i64) -> Result<Counted> {
    let mut messages = pool.copy_out_raw(statement).await?;
    let mut bytes = 0_u64;
    while let Some(message) = messages.next().await {
        bytes += u64::try_from(message?.len())?;
    }
    Ok((u64::try_from(events)?, Some(format!("{} MiB", bytes / (1024 * 1024)))))
}

/// The copy that a replay is made of, as one statement.
pub(super) fn binary(events: i64) -> String {
    format!(
        "COPY (SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
         recorded_at FROM events WHERE position <= {events} ORDER BY position) TO STDOUT (FORMAT binary)"
    )
}

/// Every event in global order, decoded and folded.
pub(super) async fn replay(pool: &PgPool, events: i64) -> Result<Counted> {
    let mut books = Books::default();
    let mut scan = log::scan(pool, 0, events);
    while let Some(chunk) = scan.next().await? {
        for event in chunk.iter() {
            let decoded = event.decode()?;
            books.fold(event.aggregate_id, &decoded).with_context(|| format!("position {}", event.position))?;
        }
    }
    let (events, result) = books.result();
    Ok((events, Some(result)))
}
