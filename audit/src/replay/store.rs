//! Reading the log for replay: one stream, or the moment of a position.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use wopay_domain::{RawJson, RecordedEvent, Timestamp};

/// The newest position; 0 in an empty ledger.
pub(crate) async fn newest(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(pool).await?;
    Ok(newest.unwrap_or(0))
}

/// The first event at or after a position, and when it was recorded.
pub(crate) async fn recorded_at(pool: &PgPool, position: i64) -> Result<Option<(i64, Timestamp)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, recorded_at
         FROM events
         WHERE position >= $1
         ORDER BY position
         LIMIT 1",
    )
    .persistent(false)
    .bind(position)
    .fetch_optional(pool)
    .await
}

/// A stream up to a position, in its own order.
pub(crate) async fn stream(
    pool: &PgPool,
    aggregate_type: &str,
    aggregate_id: &str,
    upto: i64,
) -> Result<Vec<RecordedEvent>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND position <= $3
         ORDER BY sequence",
    )
    .persistent(false)
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(upto)
    .fetch_all(pool)
    .await?;
    rows.iter().map(recorded).collect()
}

/// A row with an event's columns, payload and metadata as text.
pub(crate) fn recorded(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let json = |text: String| RawJson::parse(text).map_err(|error| sqlx::Error::Decode(error.into()));
    Ok(RecordedEvent {
        position: row.try_get("position")?,
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: json(row.try_get("payload")?)?,
        metadata: json(row.try_get("metadata")?)?,
        recorded_at: row.try_get("recorded_at")?,
    })
}
