//! The ledger's log, read by position. Positions are dense and in order of commit, so `position > last` misses nothing.

use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgExecutor, Row};
use wopay_domain::{RawJson, RecordedEvent, Timestamp};

/// For `persistent`: a plan that was kept from when the log was small would scan all of it when it has grown.
const PLANNED_ANEW: bool = false;

/// At most `limit` events after position `after`, in order of position.
///
/// # Errors
/// The database fails.
pub async fn read<'e>(
    executor: impl PgExecutor<'e>,
    after: i64,
    limit: i64,
) -> Result<Vec<RecordedEvent>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at
         FROM events
         WHERE position > $1
         ORDER BY position
         LIMIT $2",
    )
    .persistent(PLANNED_ANEW)
    .bind(after)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    rows.iter().map(recorded).collect()
}

/// The position of the newest event; 0 in an empty ledger.
///
/// # Errors
/// The database fails.
pub async fn head<'e>(executor: impl PgExecutor<'e>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(executor).await
}

/// An event with payload and metadata as Postgres holds them, to be passed on unread.
#[derive(Debug, FromRow)]
pub(crate) struct RawEvent {
    pub(crate) position: i64,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) sequence: i64,
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: String,
    pub(crate) metadata: String,
    pub(crate) recorded_at: Timestamp,
}

/// [`read`] for passing on.
pub(crate) async fn read_raw<'e>(
    executor: impl PgExecutor<'e>,
    after: i64,
    limit: i64,
) -> Result<Vec<RawEvent>, sqlx::Error> {
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

fn recorded(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    Ok(RecordedEvent {
        position: row.try_get("position")?,
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get::<Json<RawJson>, _>("payload")?.0,
        metadata: row.try_get::<Json<RawJson>, _>("metadata")?.0,
        recorded_at: row.try_get("recorded_at")?,
    })
}
