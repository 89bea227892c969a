//! SQL of the outbox.

use std::time::Duration;

use sqlx::PgPool;

/// The longest wait before a report is sent again.
const RESEND_AFTER_MAX_S: f64 = 3600.0;
/// Rows looked at in one go while settling.
pub(super) const SETTLE_MAX: i64 = 1000;

/// A report to send.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Unsent {
    pub(super) id: i64,
    pub(super) message_id: String,
    pub(super) body: String,
}

pub(super) async fn unsent(pool: &PgPool, count_max: i64) -> sqlx::Result<Vec<Unsent>> {
    sqlx::query_as(
        "SELECT id, message_id, body::text AS body
         FROM watcher_outbox
         WHERE sent_at IS NULL
         ORDER BY id
         LIMIT $1",
    )
    .bind(count_max)
    .fetch_all(pool)
    .await
}

pub(super) async fn mark_sent(pool: &PgPool, ids: &[i64]) -> sqlx::Result<()> {
    sqlx::query("UPDATE watcher_outbox SET sent_at = clock_timestamp(), attempts = attempts + 1 WHERE id = ANY($1)")
        .bind(ids)
        .execute(pool)
        .await?;
    Ok(())
}

/// Deletes the reports whose payment's stream holds an event of the deposit with their revision or a later one: `domain`
/// promises that a report that was executed, or overtaken, leaves such a trace.
pub(super) async fn delete_executed(pool: &PgPool) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "DELETE FROM watcher_outbox
         WHERE id IN (
             SELECT o.id
             FROM (
                 SELECT id, payment_id, deposit FROM watcher_outbox
                 WHERE sent_at IS NOT NULL ORDER BY sent_at LIMIT $1
             ) o
             WHERE EXISTS (
                 SELECT 1 FROM events e
                 WHERE e.aggregate_type = 'payment' AND e.aggregate_id = o.payment_id::text
                   AND e.event_type LIKE 'Deposit%'
                   AND e.payload -> e.event_type ->> 'deposit' = o.deposit
                   AND (e.payload -> e.event_type ->> 'revision')::bigint >= o.id
             )
         )",
    )
    .bind(SETTLE_MAX)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Has reports sent again whose last sending is too long ago.
pub(super) async fn send_again(pool: &PgPool, after: Duration) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "UPDATE watcher_outbox
         SET sent_at = NULL
         WHERE sent_at < clock_timestamp()
                         - make_interval(secs => LEAST($1 * power(2, LEAST(attempts, 20) - 1), $2))",
    )
    .bind(after.as_secs_f64())
    .bind(RESEND_AFTER_MAX_S)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
