//! Reads `blockchain_transactions`.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;
use wopay_domain::payment::{DepositState, Disposition, HoldReason};
use wopay_domain::{AssetId, ChainName, MerchantId, Money, PaymentId, Timestamp};

use crate::decode::{invalid, money, parsed, unsigned};

/// A deposit on a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRow {
    /// Made from payment, chain, transaction and leg.
    pub id: Uuid,
    /// The payment that has it, or had it before a reorganization gave it to another.
    pub payment_id: PaymentId,
    /// The chain it happened on.
    pub chain: ChainName,
    /// The transaction.
    pub transaction_hash: String,
    /// Which movement inside the transaction: `native`, `log:3` …
    pub leg: String,
    /// The sender, where the chain names one.
    pub from_address: Option<String>,
    /// The address that received it: the payment's own, or another of ours if it was assigned.
    pub to_address: String,
    /// How much of which asset.
    pub amount: Money,
    /// What people call the asset; `None` for one that no payment ever asked for.
    pub symbol: Option<String>,
    /// The asset's digits after the point; `None` as above.
    pub decimals: Option<u8>,
    /// Height or slot of the block that holds it, or held it.
    pub block_number: Option<u64>,
    /// That block's hash.
    pub block_hash: String,
    /// That block's time.
    pub block_time: Timestamp,
    /// By the chain's head as last processed; 0 when orphaned.
    pub confirmations: u32,
    /// How far it has come.
    pub status: DepositState,
    /// Whether it counts for the payment.
    pub disposition: Disposition,
    /// The payment that has it by an operator's decision, if this one held it and gave it away.
    pub assigned_to: Option<PaymentId>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
    /// The ledger position of its last event.
    pub position: i64,
}

/// The deposits of a merchant's payment, oldest first, also orphaned and held ones. Another merchant's payment has none.
///
/// # Errors
/// When the database cannot be asked.
pub async fn of_payment(
    pool: &PgPool,
    merchant: MerchantId,
    payment: PaymentId,
) -> Result<Vec<TransactionRow>, sqlx::Error> {
    of_payments(pool, merchant, &[payment]).await
}

/// The deposits of several payments of a merchant, those of each payment oldest first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn of_payments(
    pool: &PgPool,
    merchant: MerchantId,
    payments: &[PaymentId],
) -> Result<Vec<TransactionRow>, sqlx::Error> {
    let statement = "
        SELECT
            deposit.id, payment_id, deposit.blockchain, transaction_hash, leg, from_address, to_address,
            amount_minor::text AS amount_minor, deposit.asset, assets.symbol,
            COALESCE(deposit.decimals, assets.decimals) AS decimals, block_number, deposit.block_hash, deposit.block_time,
            CASE
                WHEN deposit.status = 'orphaned' OR block_number IS NULL THEN 0
                WHEN chain_heads.height IS NULL THEN confirmations
                ELSE LEAST(GREATEST(chain_heads.height - block_number + 1, 0), 2147483647)::integer
            END AS live_confirmations,
            deposit.status, disposition, hold_reason, assigned_to, deposit.created_at, deposit.updated_at, deposit.position
        FROM blockchain_transactions AS deposit
        LEFT JOIN assets ON assets.asset = deposit.asset
        LEFT JOIN chain_heads ON chain_heads.chain = deposit.blockchain
        WHERE deposit.payment_id = ANY($1) AND deposit.merchant_id = $2
        ORDER BY deposit.payment_id, deposit.created_at, deposit.id";
    let ids: Vec<Uuid> = payments.iter().map(PaymentId::as_uuid).collect();
    let rows = sqlx::query(statement).bind(ids).bind(merchant.as_uuid()).fetch_all(pool).await?;
    rows.iter().map(transaction).collect()
}

fn transaction(row: &PgRow) -> Result<TransactionRow, sqlx::Error> {
    let asset: AssetId = parsed(row, "asset")?;
    let in_column = |column: &'static str| move |error| invalid(column, error);
    let decimals: Option<i16> = row.try_get("decimals")?;
    let block_number: Option<i64> = row.try_get("block_number")?;
    Ok(TransactionRow {
        id: row.try_get("id")?,
        payment_id: PaymentId::from_uuid(row.try_get("payment_id")?),
        chain: parsed(row, "blockchain")?,
        transaction_hash: row.try_get("transaction_hash")?,
        leg: row.try_get("leg")?,
        from_address: row.try_get("from_address")?,
        to_address: row.try_get("to_address")?,
        amount: money(row, "amount_minor", &asset)?,
        symbol: row.try_get("symbol")?,
        decimals: decimals.map(u8::try_from).transpose().map_err(in_column("decimals"))?,
        block_number: block_number.map(u64::try_from).transpose().map_err(in_column("block_number"))?,
        block_hash: row.try_get("block_hash")?,
        block_time: row.try_get("block_time")?,
        confirmations: unsigned::<i32, u32>(row, "live_confirmations")?,
        status: state(row)?,
        disposition: disposition(row)?,
        assigned_to: row.try_get::<Option<Uuid>, _>("assigned_to")?.map(PaymentId::from_uuid),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        position: row.try_get("position")?,
    })
}

fn state(row: &PgRow) -> Result<DepositState, sqlx::Error> {
    let name: String = row.try_get("status")?;
    let all = [DepositState::Seen, DepositState::Confirmed, DepositState::Orphaned];
    let state = all.into_iter().find(|state| state.as_str() == name);
    state.ok_or_else(|| invalid("status", format!("no state of a deposit: {name:?}")))
}

fn disposition(row: &PgRow) -> Result<Disposition, sqlx::Error> {
    let Some(name) = row.try_get::<Option<String>, _>("hold_reason")? else { return Ok(Disposition::Credit) };
    let all = [HoldReason::WrongAsset, HoldReason::Late, HoldReason::Cancelled];
    let reason = all.into_iter().find(|reason| reason.as_str() == name);
    reason.map(Disposition::Hold).ok_or_else(|| invalid("hold_reason", format!("no reason to hold: {name:?}")))
}
