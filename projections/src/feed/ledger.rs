//! Reads the whole log, for those who may see everybody's events. Its numbers are the positions of the ledger.

use sqlx::PgPool;
use wopay_domain::RecordedEvent;
use wopay_eventbus::log;

use crate::page::AsOf;

/// All events after this position (0: from the first), at most `limit`, from the log itself: never behind.
///
/// # Errors
/// When the database cannot be asked, or an event is not JSON to us.
pub async fn ledger_after(
    pool: &PgPool,
    after_position: i64,
    limit: u16,
) -> Result<AsOf<Vec<RecordedEvent>>, sqlx::Error> {
    // The head first: an event that comes between the two questions is past it, and may be shown all the same.
    let head = log::head(pool).await?;
    let value = log::read(pool, after_position, i64::from(limit)).await?;
    let as_of_position = value.last().map_or(head, |last| last.position.max(head));
    Ok(AsOf { as_of_position, value })
}
