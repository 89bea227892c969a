//! The ledger's log, read by position. Positions are dense and in order of commit, so `position > last` misses nothing.

mod event;
mod scan;

use sqlx::PgExecutor;
use wopay_domain::RecordedEvent;

pub use event::EventRef;
pub(crate) use event::StoredEvent;
pub use scan::{Chunk, Scan, scan};

/// For `persistent`: a plan that was kept from when the log was small would scan all of it when it has grown.
const PLANNED_ANEW: bool = false;

/// At most `limit` events after position `after`, in order of position; those before the first that is not JSON to us, if
/// there is one.
///
/// # Errors
/// The database fails. [`sqlx::Error::Decode`]: the first of these events is not JSON to us.
pub async fn read<'e>(
    executor: impl PgExecutor<'e>,
    after: i64,
    limit: i64,
) -> Result<Vec<RecordedEvent>, sqlx::Error> {
    let stored = read_stored(executor, after, limit).await?;
    let mut events = Vec::with_capacity(stored.len());
    for event in stored {
        match RecordedEvent::try_from(event) {
            Ok(event) => events.push(event),
            Err(error) if events.is_empty() => return Err(sqlx::Error::Decode(error.into())),
            Err(_) => break,
        }
    }
    Ok(events)
}

/// The position of the newest event; 0 in an empty ledger.
///
/// # Errors
/// The database fails.
pub async fn head<'e>(executor: impl PgExecutor<'e>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(executor).await
}

/// [`read`] for passing on: nobody asks here whether an event is JSON to us.
pub(crate) async fn read_stored<'e>(
    executor: impl PgExecutor<'e>,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events
         WHERE position > $1
         ORDER BY position
         LIMIT $2",
    )
    .persistent(PLANNED_ANEW)
    .bind(after)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// How many of these events stand in the log where they say they stand.
pub(crate) async fn count_known<'e>(
    executor: impl PgExecutor<'e>,
    events: &[RecordedEvent],
) -> Result<usize, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*)
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[])
              AS announced (position, aggregate_type, aggregate_id, sequence, event_type, recorded_at)
         JOIN events USING (position, aggregate_type, aggregate_id, sequence, event_type, recorded_at)",
    )
    .persistent(PLANNED_ANEW)
    .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>())
    .fetch_one(executor)
    .await?;
    Ok(usize::try_from(count).unwrap_or(0))
}
