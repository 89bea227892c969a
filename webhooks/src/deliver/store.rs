//! The deliverer's SQL. Times are the database's, so that processes with other clocks agree on what is due.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::attempt::Attempt;
use super::lanes::{Lane, Lanes};

/// A delivery that this process has claimed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Job {
    pub(super) id: Uuid,
    pub(super) merchant_id: Uuid,
    pub(super) payment_id: Uuid,
    pub(super) event: String,
    pub(super) url: String,
    pub(super) origin: String,
    pub(super) body: String,
    pub(super) attempts: i32,
    pub(super) lease: Uuid,
    /// `None`: the merchant has no webhook settings.
    pub(super) secret_ref: Option<Uuid>,
}

impl Job {
    pub(super) fn lane(&self) -> Lane {
        Lane { merchant_id: self.merchant_id, origin: self.origin.clone() }
    }

    /// The number of the attempt that this claim is for, from 1.
    pub(super) fn attempt(&self) -> i32 {
        self.attempts.saturating_add(1)
    }
}

/// What may be claimed at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) free: u32,
    pub(super) lane: u32,
    pub(super) merchant: u32,
    pub(super) suspects: u32,
    pub(super) lease: Duration,
}

/// Claims what is due, the longest due first, within the limits. Jumps from lane to lane along the index and takes the
/// head of each, so rows that wait in a full lane cost nothing. What others have just locked is left to them.
///
/// The array in the last step is for the planner: joined, it would take the picked rows for many and read the table.
pub(super) async fn claim(pool: &PgPool, lanes: &Lanes, limits: Limits) -> Result<Vec<Job>, sqlx::Error> {
    let busy = lanes.columns();
    sqlx::query_as(
        "WITH RECURSIVE busy AS (
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::boolean[])
                 AS busy (merchant_id, origin, in_flight, suspect)
         ), busy_merchants AS (
             SELECT merchant_id, sum(in_flight)::bigint AS in_flight FROM busy GROUP BY merchant_id
         ), lanes AS (
             (SELECT merchant_id, origin FROM webhook_deliveries
              WHERE state = 'pending' ORDER BY merchant_id, origin LIMIT 1)
             UNION ALL
             SELECT next.merchant_id, next.origin
             FROM lanes CROSS JOIN LATERAL (
                 SELECT d.merchant_id, d.origin FROM webhook_deliveries d
                 WHERE d.state = 'pending' AND (d.merchant_id, d.origin) > (lanes.merchant_id, lanes.origin)
                 ORDER BY d.merchant_id, d.origin LIMIT 1
             ) next
         ), allowed AS (
             SELECT merchant_id, origin, coalesce(busy.suspect, false) AS suspect,
                    greatest(0, CASE WHEN busy.suspect THEN 1 ELSE $5::bigint END - coalesce(busy.in_flight, 0)) AS slots
             FROM lanes LEFT JOIN busy USING (merchant_id, origin)
         ), due AS (
             SELECT head.id, head.due_at, allowed.merchant_id, allowed.suspect
             FROM allowed CROSS JOIN LATERAL (
                 SELECT d.id, d.due_at FROM webhook_deliveries d
                 WHERE d.state = 'pending' AND d.merchant_id = allowed.merchant_id AND d.origin = allowed.origin
                   AND d.due_at <= now()
                 ORDER BY d.due_at LIMIT allowed.slots
                 FOR UPDATE SKIP LOCKED
             ) head
         ), ranked AS (
             SELECT id, due_at, merchant_id, suspect,
                    row_number() OVER (PARTITION BY merchant_id ORDER BY due_at) AS of_merchant,
                    row_number() OVER (PARTITION BY suspect ORDER BY due_at) AS of_suspects
             FROM due
         ), picked AS (
             SELECT ranked.id
             FROM ranked LEFT JOIN busy_merchants USING (merchant_id)
             WHERE ranked.of_merchant <= $6::bigint - coalesce(busy_merchants.in_flight, 0)
               AND (NOT ranked.suspect OR ranked.of_suspects <= $7::bigint)
             ORDER BY ranked.due_at LIMIT $8::bigint
         )
         UPDATE webhook_deliveries AS delivery
         SET lease = gen_random_uuid(), due_at = now() + $9::bigint * interval '1 millisecond'
         WHERE delivery.id = ANY (ARRAY (SELECT id FROM picked))
         RETURNING delivery.id, delivery.merchant_id, delivery.payment_id, delivery.event, delivery.url,
                   delivery.origin, delivery.body::text AS body, delivery.attempts, delivery.lease,
                   (SELECT secret_ref FROM webhook_endpoints e WHERE e.merchant_id = delivery.merchant_id)",
    )
    .bind(busy.merchants)
    .bind(busy.origins)
    .bind(busy.in_flight)
    .bind(busy.suspect)
    .bind(i64::from(limits.lane))
    .bind(i64::from(limits.merchant))
    .bind(i64::from(limits.suspects))
    .bind(i64::from(limits.free))
    .bind(millis(limits.lease))
    .fetch_all(pool)
    .await
}

/// How long until the next delivery comes due; what is due already is not meant.
pub(super) async fn next_due(pool: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
    let millis: Option<i64> = sqlx::query_scalar(
        "SELECT ceil(extract(epoch FROM min(due_at) - now()) * 1000)::bigint
         FROM webhook_deliveries
         WHERE state = 'pending' AND due_at > now()",
    )
    .fetch_one(pool)
    .await?;
    Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default())))
}

/// What an attempt makes of its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    /// Another attempt after this pause.
    Retry(Duration),
    Failed,
    /// The receiver does not want it, nor anything else.
    Disabled,
}

impl Fate {
    pub(super) const fn state(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "pending",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
        }
    }
}

/// Logs the attempt and settles the delivery; `false` when the claim had been lost, and another attempt settles it.
pub(super) async fn settle(
    tx: &mut PgConnection,
    job: &Job,
    attempt: &Attempt,
    fate: Fate,
) -> Result<bool, sqlx::Error> {
    let pause = match fate {
        Fate::Retry(pause) => Some(millis(pause)),
        Fate::Delivered | Fate::Failed | Fate::Disabled => None,
    };
    let settled: i64 = sqlx::query_scalar(
        "WITH logged AS (
             INSERT INTO webhook_logs
                 (delivery_id, merchant_id, payment_id, event, url, attempt, http_status, latency_ms, error,
                  response_excerpt)
             VALUES ($1, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ), settled AS (
             UPDATE webhook_deliveries
             SET state = $12,
                 attempts = $7,
                 lease = NULL,
                 due_at = now() + coalesce($13::bigint, 0) * interval '1 millisecond',
                 settled_at = CASE WHEN $12 <> 'pending' THEN now() END
             WHERE id = $1 AND lease = $2 AND state = 'pending'
             RETURNING id
         )
         SELECT count(*) FROM settled",
    )
    .bind(job.id)
    .bind(job.lease)
    .bind(job.merchant_id)
    .bind(job.payment_id)
    .bind(&job.event)
    .bind(&job.url)
    .bind(job.attempt())
    .bind(attempt.status.map(|status| i32::from(status.as_u16())))
    .bind(millis(attempt.latency))
    .bind(attempt.result.as_ref().err().map(ToString::to_string))
    .bind(attempt.excerpt.as_deref())
    .bind(fate.state())
    .bind(pause)
    .fetch_one(tx)
    .await?;
    Ok(settled > 0)
}

/// The receiver of this delivery is gone. `true` when it was the merchant's own endpoint, which is told nothing more.
pub(super) async fn disable_endpoint(tx: &mut PgConnection, job: &Job) -> Result<bool, sqlx::Error> {
    let disabled = sqlx::query(
        "UPDATE webhook_endpoints SET disabled_at = now()
         WHERE merchant_id = $1 AND url = $2 AND disabled_at IS NULL",
    )
    .bind(job.merchant_id)
    .bind(&job.url)
    .execute(tx)
    .await?;
    Ok(disabled.rows_affected() > 0)
}

/// Gives up what else waits for a receiver that is gone: all of the merchant's for its endpoint, otherwise what the same
/// payment has for its callback.
pub(super) async fn disable_pending(
    tx: &mut PgConnection,
    job: &Job,
    whole_endpoint: bool,
) -> Result<u64, sqlx::Error> {
    let disabled = sqlx::query(
        "UPDATE webhook_deliveries SET state = 'disabled', lease = NULL, settled_at = now()
         WHERE state = 'pending' AND merchant_id = $1 AND origin = $2 AND url = $3
           AND ($4 OR payment_id = $5)",
    )
    .bind(job.merchant_id)
    .bind(&job.origin)
    .bind(&job.url)
    .bind(whole_endpoint)
    .bind(job.payment_id)
    .execute(tx)
    .await?;
    Ok(disabled.rows_affected())
}

/// How many deliveries are pending, and for how many seconds the oldest of them has been due.
pub(super) async fn backlog(pool: &PgPool) -> Result<(i64, f64), sqlx::Error> {
    sqlx::query_as(
        "SELECT count(*), coalesce(greatest(0, extract(epoch FROM now() - min(due_at))), 0)::double precision
         FROM webhook_deliveries
         WHERE state = 'pending'",
    )
    .fetch_one(pool)
    .await
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
