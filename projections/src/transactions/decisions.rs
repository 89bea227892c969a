//! What operators decided about deposits that did not count: columns of their own, written after the rows. `updated_at` and
//! `position` are of the last event that stated the deposit, whatever was decided in between.

use sqlx::PgConnection;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{DepositKey, PaymentId, Timestamp};

use super::apply::leg;
use crate::batch::Batch;
use crate::decode::storable;

/// What was decided about a deposit of a payment.
struct Decision<'a> {
    payment: PaymentId,
    deposit: &'a DepositKey,
    name: &'static str,
    reason: &'a str,
    transaction: Option<&'a str>,
    assigned_to: Option<PaymentId>,
    at: Timestamp,
}

/// Writes the decisions of a batch. They are rare, and final: a deposit of a payment has at most one.
pub(super) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    for (_, payment, event) in batch.payments() {
        let Some(decision) = decision(payment, event) else { continue };
        write(connection, &decision).await?;
        if let PaymentEvent::DepositAssigned(it) = event
            && let Some(holder) = it.from_payment_id
        {
            count(connection, holder, &it.deposit).await?;
        }
    }
    Ok(())
}

fn decision(payment: PaymentId, event: &PaymentEvent) -> Option<Decision<'_>> {
    let (deposit, name, reason, transaction, assigned_to, at) = match event {
        PaymentEvent::DepositAssigned(it) => (&it.deposit, "assigned", &it.reason, None, None, it.at),
        PaymentEvent::HeldDepositReassigned(it) => {
            (&it.deposit, "assigned", &it.reason, None, Some(it.to_payment_id), it.at)
        }
        PaymentEvent::HeldDepositRefunded(it) => {
            (&it.deposit, "refunded", &it.reason, Some(it.transaction.as_str()), None, it.at)
        }
        _ => return None,
    };
    Some(Decision { payment, deposit, name, reason, transaction, assigned_to, at })
}

async fn write(connection: &mut PgConnection, decision: &Decision<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE blockchain_transactions
         SET decision = $4, decision_reason = $5, decision_transaction = $6, decided_at = $7, assigned_to = $9
         WHERE blockchain = $1 AND transaction_hash = $2 AND leg = $3 AND payment_id = $8",
    )
    .bind(decision.deposit.chain.as_str())
    .bind(decision.deposit.transaction.as_str())
    .bind(leg(decision.deposit).into_owned())
    .bind(decision.name)
    .bind(storable(decision.reason).into_owned())
    .bind(decision.transaction.map(|transaction| storable(transaction).into_owned()))
    .bind(decision.at)
    .bind(decision.payment.as_uuid())
    .bind(decision.assigned_to.map(|payment| payment.as_uuid()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down that the payment to which the holder gave a deposit has it. Its event comes after the holder's.
async fn count(connection: &mut PgConnection, holder: PaymentId, deposit: &DepositKey) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE blockchain_transactions
         SET is_counted = true
         WHERE blockchain = $1 AND transaction_hash = $2 AND leg = $3 AND payment_id = $4 AND assigned_to IS NOT NULL",
    )
    .bind(deposit.chain.as_str())
    .bind(deposit.transaction.as_str())
    .bind(leg(deposit).into_owned())
    .bind(holder.as_uuid())
    .execute(connection)
    .await?;
    Ok(())
}
