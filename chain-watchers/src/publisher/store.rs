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
    pub(super) aggregate_type: String,
    pub(super) message_id: String,
    pub(super) body: String,
}

pub(super) async fn unsent(pool: &PgPool, count_max: i64) -> sqlx::Result<Vec<Unsent>> {
    sqlx::query_as(
        "SELECT id, aggregate_type, message_id, body::text AS body
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

/// What one look at the reports that were sent came to.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Settled {
    /// Reports looked at.
    pub(super) looked_at: i64,
    /// The greatest id among them.
    pub(super) last: Option<i64>,
    /// Reports found executed, and deleted.
    pub(super) deleted: i64,
}

/// Of the next reports after the id `after` that were sent, deletes those whose aggregate's stream holds an event of the
/// deposit with their revision or a later one: `domain` promises that a report that was executed, or overtaken, leaves
/// such a trace.
///
/// Each stream is read once, whatever the planner thinks (`OFFSET 0`, `MATERIALIZED`): read once for each report, a
/// payment to which somebody sends ten thousand tiny deposits takes half a minute a batch, and nobody's reports are sent
/// meanwhile.
pub(super) async fn delete_executed(pool: &PgPool, after: i64) -> sqlx::Result<Settled> {
    sqlx::query_as(
        "WITH sent AS MATERIALIZED (
             SELECT id, aggregate_type, payment_id::text AS aggregate, deposit
             FROM watcher_outbox
             WHERE sent_at IS NOT NULL AND id > $2
             ORDER BY id
             LIMIT $1
         ), executed AS MATERIALIZED (
             SELECT p.aggregate, e.deposit, max(e.revision) AS revision
             FROM (SELECT DISTINCT aggregate_type, aggregate FROM sent) p
             CROSS JOIN LATERAL (
                 SELECT payload -> event_type ->> 'deposit' AS deposit,
                        (payload -> event_type ->> 'revision')::bigint AS revision
                 FROM events
                 WHERE aggregate_type = p.aggregate_type AND aggregate_id = p.aggregate AND event_type LIKE '%Deposit%'
                 OFFSET 0
             ) e
             GROUP BY p.aggregate, e.deposit
         ), deleted AS (
             DELETE FROM watcher_outbox o
             USING sent, executed
             WHERE o.id = sent.id
               AND executed.aggregate = sent.aggregate AND executed.deposit = sent.deposit AND executed.revision >= sent.id
             RETURNING o.id
         )
         SELECT (SELECT count(*) FROM sent) AS looked_at,
                (SELECT max(id) FROM sent) AS last,
                (SELECT count(*) FROM deleted) AS deleted",
    )
    .bind(SETTLE_MAX)
    .bind(after)
    .fetch_one(pool)
    .await
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
