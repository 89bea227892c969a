//! The planner's SQL. Every statement takes a whole batch.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;
use wopay_domain::merchant::WebhookConfigured;
use wopay_domain::{MerchantId, PaymentId, Timestamp};

use crate::announcement::Planned;

/// A merchant's webhook settings.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Endpoint {
    pub(super) url: Option<String>,
    pub(super) position: i64,
    pub(super) disabled: bool,
}

/// How a payment's stream begins, as stored.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct FirstEvent {
    pub(super) aggregate_id: String,
    pub(super) position: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
}

/// Remembers settings, unless newer ones are known.
pub(super) async fn configure(
    tx: &mut PgConnection,
    merchant: MerchantId,
    position: i64,
    configured: &WebhookConfigured,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO webhook_endpoints AS known (merchant_id, url, secret_ref, position, configured_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (merchant_id) DO UPDATE
         SET url = excluded.url,
             secret_ref = excluded.secret_ref,
             position = excluded.position,
             configured_at = excluded.configured_at,
             disabled_at = NULL
         WHERE known.position < excluded.position",
    )
    .bind(merchant.as_uuid())
    .bind(&configured.url)
    .bind(configured.secret.as_uuid())
    .bind(position)
    .bind(configured.at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Remembers that a merchant was forgotten: drops its settings and gives up what waits for it. Says how many deliveries
/// those were.
pub(super) async fn forget(
    tx: &mut PgConnection,
    merchant: MerchantId,
    position: i64,
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let given_up = sqlx::query(
        "WITH forgotten AS (
             INSERT INTO webhook_forgotten (merchant_id, position, forgotten_at)
             VALUES ($1, $2, $3)
             ON CONFLICT (merchant_id) DO NOTHING
         ), dropped AS (
             DELETE FROM webhook_endpoints WHERE merchant_id = $1
         )
         UPDATE webhook_deliveries SET state = 'disabled', lease = NULL, settled_at = now()
         WHERE state = 'pending' AND merchant_id = $1",
    )
    .bind(merchant.as_uuid())
    .bind(position)
    .bind(at)
    .execute(tx)
    .await?;
    Ok(given_up.rows_affected())
}

/// Which of these merchants were forgotten, and at which position.
pub(super) async fn forgotten(
    tx: &mut PgConnection,
    merchants: &[MerchantId],
) -> Result<HashMap<MerchantId, i64>, sqlx::Error> {
    let ids: Vec<Uuid> = merchants.iter().map(MerchantId::as_uuid).collect();
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as("SELECT merchant_id, position FROM webhook_forgotten WHERE merchant_id = ANY ($1)")
            .bind(ids)
            .fetch_all(tx)
            .await?;
    Ok(rows.into_iter().map(|(id, position)| (MerchantId::from_uuid(id), position)).collect())
}

/// The settings of these merchants.
pub(super) async fn endpoints(
    tx: &mut PgConnection,
    merchants: &[MerchantId],
) -> Result<HashMap<MerchantId, Endpoint>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        merchant_id: Uuid,
        #[sqlx(flatten)]
        endpoint: Endpoint,
    }
    let ids: Vec<Uuid> = merchants.iter().map(MerchantId::as_uuid).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT merchant_id, url, position, disabled_at IS NOT NULL AS disabled
         FROM webhook_endpoints
         WHERE merchant_id = ANY ($1)",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (MerchantId::from_uuid(row.merchant_id), row.endpoint)).collect())
}

/// The first event of each of these payments' streams.
pub(super) async fn first_events(
    tx: &mut PgConnection,
    payments: &[PaymentId],
) -> Result<HashMap<PaymentId, FirstEvent>, sqlx::Error> {
    let ids: Vec<String> = payments.iter().map(PaymentId::to_string).collect();
    let rows: Vec<FirstEvent> = sqlx::query_as(
        "SELECT aggregate_id, position, event_type, event_version, payload::text AS payload
         FROM events
         WHERE aggregate_type = 'payment' AND aggregate_id = ANY ($1) AND sequence = 1",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().filter_map(|event| Some((event.aggregate_id.parse().ok()?, event))).collect())
}

/// Writes the rows that are not there yet and says how many those were.
pub(super) async fn insert(tx: &mut PgConnection, planned: &[Planned]) -> Result<u64, sqlx::Error> {
    fn column<'a, T>(planned: &'a [Planned], value: impl Fn(&'a Planned) -> T) -> Vec<T> {
        planned.iter().map(value).collect()
    }
    if planned.is_empty() {
        return Ok(0);
    }
    let bodies: Result<Vec<String>, _> = planned.iter().map(|row| serde_json::to_string(&row.announcement)).collect();
    let inserted = sqlx::query(
        "INSERT INTO webhook_deliveries
             (id, merchant_id, payment_id, position, sequence, event, target, url, origin, body)
         SELECT id, merchant_id, payment_id, position, sequence, event, target, url, origin, body::json
         FROM unnest
             ($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::text[])
             AS planned (id, merchant_id, payment_id, position, sequence, event, target, url, origin, body)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(column(planned, |row| row.id))
    .bind(column(planned, |row| row.merchant_id.as_uuid()))
    .bind(column(planned, |row| row.announcement.payment_id.as_uuid()))
    .bind(column(planned, |row| row.position))
    .bind(column(planned, |row| row.announcement.sequence))
    .bind(column(planned, |row| row.announcement.event.as_str()))
    .bind(column(planned, |row| row.target.as_str()))
    .bind(column(planned, |row| row.url.as_str()))
    .bind(column(planned, |row| row.origin.as_str()))
    .bind(bodies.map_err(|error| sqlx::Error::Encode(Box::new(error)))?)
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected())
}
