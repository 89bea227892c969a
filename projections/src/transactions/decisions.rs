//! What operators decided about deposits that did not count: columns of their own, written after the rows. `updated_at` and
//! `position` are of the last event that stated the deposit, whatever was decided in between.

use std::borrow::Cow;

use sqlx::PgConnection;
use wopay_domain::Timestamp;
use wopay_domain::payment::PaymentEvent;

use super::apply::leg;
use super::fold::Identity;
use crate::batch::Batch;
use crate::decode::storable;

/// Writes the decisions of a batch. They are rare, and final: a deposit has at most one.
pub(super) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    for (_, payment_id, event) in batch.payments() {
        let (deposit, name, reason, transaction, at) = match event {
            PaymentEvent::DepositAssigned(it) => (&it.deposit, "assigned", &it.reason, None, it.at),
            PaymentEvent::HeldDepositRefunded(it) => {
                (&it.deposit, "refunded", &it.reason, Some(&it.transaction), it.at)
            }
            _ => continue,
        };
        let transaction = transaction.map(|transaction| storable(transaction));
        write(connection, (payment_id, deposit), name, storable(reason), transaction, at).await?;
    }
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    (payment_id, deposit): Identity<'_>,
    name: &'static str,
    reason: Cow<'_, str>,
    transaction: Option<Cow<'_, str>>,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE blockchain_transactions
         SET decision = $4, decision_reason = $5, decision_transaction = $6, decided_at = $7
         WHERE blockchain = $1 AND transaction_hash = $2 AND leg = $3 AND payment_id = $8",
    )
    .bind(deposit.chain.as_str())
    .bind(deposit.transaction.as_str())
    .bind(leg(deposit).into_owned())
    .bind(name)
    .bind(reason.into_owned())
    .bind(transaction.map(Cow::into_owned))
    .bind(at)
    .bind(payment_id.as_uuid())
    .execute(connection)
    .await?;
    Ok(())
}
