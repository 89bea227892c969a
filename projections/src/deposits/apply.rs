//! Writes `unmatched_deposits`. Such money is rare, and dust never comes here: an event is a statement.

use sqlx::PgConnection;
use wopay_domain::deposit::{UnmatchedDepositEvent, UnmatchedDepositOrphaned, UnmatchedDepositRecorded};
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{DepositId, PaymentId};

use crate::batch::Batch;
use crate::decode::storable;
use crate::error::{ApplyError, PoisonError};

/// Folds a batch into `unmatched_deposits`.
pub(crate) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), ApplyError> {
    for (position, event) in batch.deposits() {
        let changed = match event {
            UnmatchedDepositEvent::UnmatchedDepositRecorded(it) => record(connection, position, it).await?,
            UnmatchedDepositEvent::UnmatchedDepositOrphaned(it) => orphan(connection, position, it).await?,
            UnmatchedDepositEvent::UnmatchedDepositAssigned(it) => {
                let decision = Decision {
                    name: "assigned",
                    payment: Some(it.payment_id.as_uuid()),
                    reason: &it.reason,
                    transaction: None,
                };
                decide(connection, position, event, decision).await?
            }
            UnmatchedDepositEvent::UnmatchedDepositRefunded(it) => {
                let transaction = Some(it.transaction.as_str());
                decide(
                    connection,
                    position,
                    event,
                    Decision { name: "refunded", payment: None, reason: &it.reason, transaction },
                )
                .await?
            }
        };
        if changed != 1 {
            let source = PoisonError::RowsMissing { table: "unmatched_deposits", expected: 1, changed };
            return Err(ApplyError::poison(position, source));
        }
    }
    for (position, payment_id, event) in batch.payments() {
        if let PaymentEvent::DepositAssigned(it) = event
            && it.was_unmatched
        {
            count(connection, position, payment_id, DepositId::of(&it.deposit)).await?;
        }
    }
    Ok(())
}

/// Writes down that the payment has what was assigned to it. Its event follows the deposit's, in a stream of its own, and
/// nothing follows from it that the deposit's later events change: so it may be applied after them.
async fn count(
    connection: &mut PgConnection,
    position: i64,
    payment_id: PaymentId,
    id: DepositId,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE unmatched_deposits
         SET is_counted = true, position = GREATEST(position, $3)
         WHERE id = $1 AND payment_id = $2",
    )
    .bind(id.as_uuid())
    .bind(payment_id.as_uuid())
    .bind(position)
    .execute(connection)
    .await?;
    Ok(())
}

async fn record(
    connection: &mut PgConnection,
    position: i64,
    it: &UnmatchedDepositRecorded,
) -> Result<u64, sqlx::Error> {
    let text = it.deposit.to_string();
    let leg = text.splitn(3, ':').nth(2).unwrap_or_default();
    let done = sqlx::query(
        "INSERT INTO unmatched_deposits AS stored (
             id, blockchain, transaction_hash, leg, from_address, to_address, asset, amount_minor, block_number, block_hash,
             block_time, status, created_at, updated_at, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::numeric, $9, $10, $11, 'recorded', $12, $12, $13)
         ON CONFLICT (id) DO UPDATE
         SET from_address = EXCLUDED.from_address,
             to_address   = EXCLUDED.to_address,
             asset        = EXCLUDED.asset,
             amount_minor = EXCLUDED.amount_minor,
             block_number = EXCLUDED.block_number,
             block_hash   = EXCLUDED.block_hash,
             block_time   = EXCLUDED.block_time,
             status       = EXCLUDED.status,
             updated_at   = EXCLUDED.updated_at,
             position     = EXCLUDED.position",
    )
    .bind(DepositId::of(&it.deposit).as_uuid())
    .bind(it.deposit.chain.as_str())
    .bind(it.deposit.transaction.as_str())
    .bind(storable(leg).into_owned())
    .bind(it.from.as_deref().map(|from| storable(from).into_owned()))
    .bind(storable(&it.address).into_owned())
    .bind(it.amount.asset().as_str())
    .bind(it.amount.minor().to_string())
    .bind(i64::try_from(it.block.number).ok())
    .bind(storable(&it.block.hash).into_owned())
    .bind(it.block.time)
    .bind(it.at)
    .bind(position)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

async fn orphan(
    connection: &mut PgConnection,
    position: i64,
    it: &UnmatchedDepositOrphaned,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE unmatched_deposits
         SET status = 'orphaned', updated_at = $2, position = $3
         WHERE id = $1",
    )
    .bind(DepositId::of(&it.deposit).as_uuid())
    .bind(it.at)
    .bind(position)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// What an operator decided.
struct Decision<'a> {
    name: &'static str,
    payment: Option<uuid::Uuid>,
    reason: &'a str,
    transaction: Option<&'a str>,
}

async fn decide(
    connection: &mut PgConnection,
    position: i64,
    event: &UnmatchedDepositEvent,
    decision: Decision<'_>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE unmatched_deposits
         SET decision = $4, payment_id = $5, decision_reason = $6, decision_transaction = $7, decided_at = $2,
             updated_at = $2, position = $3
         WHERE id = $1",
    )
    .bind(DepositId::of(event.deposit()).as_uuid())
    .bind(event.at())
    .bind(position)
    .bind(decision.name)
    .bind(decision.payment)
    .bind(storable(decision.reason).into_owned())
    .bind(decision.transaction.map(|transaction| storable(transaction).into_owned()))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
