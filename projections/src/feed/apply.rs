//! Writes `merchant_events`.

use std::collections::{BTreeSet, HashMap};

use sqlx::{PgConnection, Row};
use uuid::Uuid;
use wopay_domain::payment::{self, PaymentEvent};
use wopay_domain::{MerchantId, PaymentId};

use super::query::merchant_of_payment;
use crate::batch::Batch;
use crate::error::{ApplyError, PoisonError};

/// Numbers a batch's events for their merchants.
pub(crate) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), ApplyError> {
    let events = owned(connection, batch).await?;
    if events.is_empty() {
        return Ok(());
    }
    let mut counts = counts(connection, &events).await?;
    let sequences = events.iter().map(|(_, merchant)| {
        let count = counts.entry(*merchant).or_insert(0);
        *count = count.saturating_add(1);
        *count
    });
    let sequences: Vec<i64> = sequences.collect();
    insert(connection, &events, sequences).await?;
    Ok(())
}

/// The events that belong to a merchant, in the order of the ledger.
async fn owned(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<Vec<(i64, MerchantId)>, ApplyError> {
    let mut merchants = HashMap::new();
    let mut payments = BTreeSet::new();
    for (_, payment, event) in batch.payments() {
        payments.insert(payment);
        if let Some(merchant) = named(event) {
            merchants.insert(payment, merchant);
        }
    }
    let elsewhere: Vec<PaymentId> = payments.into_iter().filter(|payment| !merchants.contains_key(payment)).collect();
    if !elsewhere.is_empty() {
        merchants.extend(opened(connection, &elsewhere).await?);
    }
    let mut events: Vec<(i64, MerchantId)> =
        batch.merchants().map(|(position, merchant, _)| (position, merchant)).collect();
    for (position, payment, _) in batch.payments() {
        let merchant = merchants
            .get(&payment)
            .ok_or_else(|| ApplyError::poison(position, PoisonError::NotOpened(payment.to_string())))?;
        events.push((position, *merchant));
    }
    events.sort_unstable();
    Ok(events)
}

/// The merchant that an event names.
const fn named(event: &PaymentEvent) -> Option<MerchantId> {
    match event {
        PaymentEvent::PaymentCreated(created) => Some(created.merchant_id),
        PaymentEvent::DepositDetected(detected) => detected.merchant_id,
        PaymentEvent::DepositReincluded(reincluded) => reincluded.merchant_id,
        PaymentEvent::DepositConfirmed(confirmed) => Some(confirmed.merchant_id),
        PaymentEvent::DepositOrphaned(orphaned) => Some(orphaned.merchant_id),
        PaymentEvent::DepositAssigned(assigned) => Some(assigned.merchant_id),
        PaymentEvent::HeldDepositReassigned(reassigned) => Some(reassigned.merchant_id),
        PaymentEvent::ReassignedDepositReported(reported) => Some(reported.merchant_id),
        PaymentEvent::HeldDepositRefunded(refund) => Some(refund.merchant_id),
        PaymentEvent::RefundRequested(refund) => Some(refund.merchant_id),
        PaymentEvent::RefundCompleted(refund) => Some(refund.merchant_id),
        PaymentEvent::RefundCancelled(refund) => Some(refund.merchant_id),
        PaymentEvent::PaymentPartiallyPaid(_)
        | PaymentEvent::PaymentConfirming(_)
        | PaymentEvent::PaymentCompleted(_)
        | PaymentEvent::PaymentAdjusted(_)
        | PaymentEvent::PaymentExpired(_)
        | PaymentEvent::PaymentCancelled(_)
        | PaymentEvent::PaymentHeld(_)
        | PaymentEvent::PaymentReversed(_)
        | PaymentEvent::PaymentReopened(_)
        | PaymentEvent::PaymentRefunded(_) => None,
    }
}

/// Whose these payments are, as their first events say. From the log, as everything that a read model knows.
async fn opened(
    connection: &mut PgConnection,
    payments: &[PaymentId],
) -> Result<Vec<(PaymentId, MerchantId)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT aggregate_id, payload::text AS payload
         FROM events
         WHERE aggregate_type = $1 AND aggregate_id = ANY($2) AND sequence = 1",
    )
    .bind(payment::AGGREGATE_TYPE)
    .bind(payments.iter().map(ToString::to_string).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut opened = Vec::with_capacity(rows.len());
    for row in &rows {
        let (payment, payload): (&str, &str) = (row.try_get("aggregate_id")?, row.try_get("payload")?);
        if let (Ok(payment), Some(merchant)) = (payment.parse(), merchant_of_payment(payload)) {
            opened.push((payment, merchant));
        }
    }
    Ok(opened)
}

/// How many events each of these merchants has so far.
async fn counts(
    connection: &mut PgConnection,
    events: &[(i64, MerchantId)],
) -> Result<HashMap<MerchantId, i64>, sqlx::Error> {
    let merchants: BTreeSet<MerchantId> = events.iter().map(|(_, merchant)| *merchant).collect();
    let merchants: Vec<Uuid> = merchants.iter().map(MerchantId::as_uuid).collect();
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT merchant.id, last.feed_sequence
         FROM unnest($1::uuid[]) AS merchant (id)
         CROSS JOIN LATERAL (
             SELECT feed_sequence
             FROM merchant_events
             WHERE merchant_id = merchant.id
             ORDER BY feed_sequence DESC
             LIMIT 1
         ) AS last",
    )
    .bind(merchants)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(merchant, count)| (MerchantId::from_uuid(merchant), count)).collect())
}

async fn insert(
    connection: &mut PgConnection,
    events: &[(i64, MerchantId)],
    sequences: Vec<i64>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO merchant_events (merchant_id, feed_sequence, position)
         SELECT merchant_id, feed_sequence, position
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS event (merchant_id, feed_sequence, position)",
    )
    .bind(events.iter().map(|(_, merchant)| merchant.as_uuid()).collect::<Vec<_>>())
    .bind(sequences)
    .bind(events.iter().map(|(position, _)| *position).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
