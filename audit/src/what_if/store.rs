//! Reading payments, stream by stream.

use sqlx::PgPool;
use wopay_domain::RecordedEvent;

use crate::replay::recorded;

/// The ids of payments created after position `after`, at most `limit`, with the position of their creation, in order.
pub(super) async fn created_payments(
    pool: &PgPool,
    after: i64,
    upto: i64,
    limit: i64,
) -> Result<Vec<(i64, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, aggregate_id
         FROM events
         WHERE position > $1 AND position <= $2
           AND aggregate_type = 'payment' AND sequence = 1
         ORDER BY position
         LIMIT $3",
    )
    .persistent(false)
    .bind(after)
    .bind(upto)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// The streams of these payments up to position `upto`, each in its own order, one after the other.
pub(super) async fn streams(pool: &PgPool, ids: &[String], upto: i64) -> Result<Vec<RecordedEvent>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                e.payload::text AS payload, e.metadata::text AS metadata, e.recorded_at
         FROM unnest($1::text[]) WITH ORDINALITY AS wanted (aggregate_id, place)
         CROSS JOIN LATERAL (
             SELECT *
             FROM events
             WHERE aggregate_type = 'payment' AND aggregate_id = wanted.aggregate_id AND position <= $2
             ORDER BY sequence
         ) AS e
         ORDER BY wanted.place, e.sequence",
    )
    .persistent(false)
    .bind(ids)
    .bind(upto)
    .fetch_all(pool)
    .await?;
    rows.iter().map(recorded).collect()
}
