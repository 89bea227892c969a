//! What merchants and operators see of their webhooks: the deliveries, and the log of attempts.

use sqlx::PgPool;
use uuid::Uuid;
use wopay_domain::{MerchantId, PaymentId, Timestamp};

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LogEntry {
    /// Grows with every attempt of the ledger.
    pub id: i64,
    /// Which delivery; `webhook-id` is [`message_id`](crate::message_id) of it.
    pub delivery_id: Uuid,
    /// `payment.completed` and so on.
    pub event: String,
    /// Where it went.
    pub url: String,
    /// 1 for the first.
    pub attempt: i32,
    /// What the receiver answered; `None` when it did not.
    pub http_status: Option<i32>,
    /// Milliseconds from name resolution to the end of the answer.
    pub latency_ms: i64,
    /// Why it failed; `None` when it did not.
    pub error: Option<String>,
    /// At most 1 KiB of the answer.
    pub response_excerpt: Option<String>,
    /// When it ended.
    pub created_at: Timestamp,
}

/// One event for one target.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DeliveryEntry {
    /// Its id; `webhook-id` is [`message_id`](crate::message_id) of it.
    pub id: Uuid,
    /// `payment.completed` and so on.
    pub event: String,
    /// The event's place in the payment's history.
    pub sequence: i64,
    /// The event's place in the ledger.
    pub position: i64,
    /// `endpoint` (the merchant's URL) or `callback` (the payment's).
    pub target: String,
    /// Where it goes.
    pub url: String,
    /// `pending`, `delivered`, `failed` (no attempt is left) or `disabled` (the receiver answered 410).
    pub state: String,
    /// Attempts that ended.
    pub attempts: i32,
    /// When the next attempt is due (while one is in flight: when it is given up); `None` when nothing more happens.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it left the state `pending`.
    pub settled_at: Option<Timestamp>,
}

/// The attempts of one payment of this merchant, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn of_payment(
    pool: &PgPool,
    merchant: MerchantId,
    payment: PaymentId,
    limit: i64,
) -> Result<Vec<LogEntry>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, delivery_id, event, url, attempt, http_status, latency_ms, error, response_excerpt, created_at
         FROM webhook_logs
         WHERE payment_id = $1 AND merchant_id = $2
         ORDER BY id DESC
         LIMIT $3",
    )
    .bind(payment.as_uuid())
    .bind(merchant.as_uuid())
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// The deliveries of one payment of this merchant, in the order of its history, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn deliveries_of_payment(
    pool: &PgPool,
    merchant: MerchantId,
    payment: PaymentId,
    limit: i64,
) -> Result<Vec<DeliveryEntry>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, event, sequence, position, target, url, state, attempts,
                CASE WHEN state = 'pending' THEN due_at END AS next_attempt_at, created_at, settled_at
         FROM webhook_deliveries
         WHERE payment_id = $1 AND merchant_id = $2
         ORDER BY sequence, target
         LIMIT $3",
    )
    .bind(payment.as_uuid())
    .bind(merchant.as_uuid())
    .bind(limit)
    .fetch_all(pool)
    .await
}
