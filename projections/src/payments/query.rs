//! Reads `payments`.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;
use wopay_domain::payment::{Flags, PaymentStatus};
use wopay_domain::{Asset, AssetId, ChainName, MerchantId, Money, PaymentId, Timestamp};

use crate::decode::{invalid, money, parsed, storable, unsigned};
use crate::handler::FOLLOWER;
use crate::page::{AsOf, Cursor, Page, as_of, page};

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRow {
    /// Its id.
    pub id: PaymentId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// The merchant's own name for it.
    pub order_id: String,
    /// What is asked for.
    pub amount: Money,
    /// Of what.
    pub asset: Asset,
    /// On which chain.
    pub chain: ChainName,
    /// Where it stands.
    pub status: PaymentStatus,
    /// What else there is to say of its status.
    pub flags: Flags,
    /// Where to pay.
    pub payment_address: String,
    /// The transaction that last changed the status.
    pub transaction_hash: Option<String>,
    /// Confirmations of its least confirmed deposit that counts, by the chain's head as last processed: of a completed
    /// or refunded payment, among the confirmed ones. 0 without deposits.
    pub confirmations: u32,
    /// Confirmations that its policy asks for.
    pub required_confirmations: u32,
    /// Credited deposits in the canonical chain, confirmed or not.
    pub amount_received: Money,
    /// Credited deposits that are confirmed.
    pub amount_confirmed: Money,
    /// What was sent back of them, as recorded.
    pub amount_refunded: Money,
    /// Where changes are announced, besides the merchant's own URL.
    pub callback_url: Option<String>,
    /// The deadline.
    pub expires_at: Timestamp,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
    /// The ledger position of its last event.
    pub position: i64,
}

/// Which payments to list; empty means all of the merchant's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// Only those that stand so.
    pub status: Option<PaymentStatus>,
    /// Only those in this currency (letters of any case).
    pub currency: Option<String>,
    /// Only those on this chain.
    pub blockchain: Option<ChainName>,
    /// Only that of this order.
    pub order_id: Option<String>,
    /// Only those opened at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Only those opened before this moment.
    pub created_to: Option<Timestamp>,
}

// Amounts are held within 128 bits: between the events of one command, which a batch may part, a sum can lie outside.
const COLUMNS: &str = "
    payments.id, payments.merchant_id, payments.order_id, payments.amount_minor::text AS amount_minor, payments.currency,
    payments.decimals, payments.asset, payments.blockchain, payments.status, payments.flags, payments.payment_address,
    payments.transaction_hash, payments.required_confirmations,
    LEAST(GREATEST(payments.amount_received_minor, 0), 340282366920938463463374607431768211455)::text AS amount_received_minor,
    LEAST(GREATEST(payments.amount_confirmed_minor, 0), 340282366920938463463374607431768211455)::text AS amount_confirmed_minor,
    LEAST(payments.amount_refunded_minor, 340282366920938463463374607431768211455)::text AS amount_refunded_minor,
    payments.callback_url, payments.expires_at, payments.created_at, payments.updated_at, payments.position,
    CASE
        WHEN deposits.newest_block IS NULL THEN 0
        WHEN chain_heads.height IS NULL THEN payments.confirmations
        ELSE LEAST(GREATEST(chain_heads.height - deposits.newest_block + 1, 0), 2147483647)::integer
    END AS live_confirmations";

const JOINS: &str = "
    LEFT JOIN chain_heads ON chain_heads.chain = payments.blockchain
    LEFT JOIN LATERAL (
        SELECT max(block_number) AS newest_block
        FROM blockchain_transactions AS deposit
        WHERE deposit.payment_id = payments.id
          AND deposit.disposition = 'credit'
          AND (deposit.status = 'confirmed' OR (deposit.status = 'seen' AND payments.status NOT IN ('completed', 'refunded')))
    ) AS deposits ON true";

/// A merchant's payment; another merchant's is not found.
///
/// # Errors
/// When the database cannot be asked.
pub async fn find(pool: &PgPool, merchant: MerchantId, id: PaymentId) -> Result<Option<PaymentRow>, sqlx::Error> {
    let statement =
        format!("SELECT {COLUMNS} FROM payments {JOINS} WHERE payments.id = $1 AND payments.merchant_id = $2");
    let row = sqlx::query(&statement).bind(id.as_uuid()).bind(merchant.as_uuid()).fetch_optional(pool).await?;
    row.as_ref().map(payment).transpose()
}

/// A merchant's payments, newest first, at most `limit` of them after `cursor`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    merchant: MerchantId,
    filter: &PaymentFilter,
    cursor: Option<&Cursor>,
    limit: u16,
) -> Result<Page<PaymentRow>, sqlx::Error> {
    let rows = list_statement(merchant, filter, cursor, limit).build().fetch_all(pool).await?;
    let answer: AsOf<Vec<PaymentRow>> = as_of(&rows, "id", payment)?;
    Ok(page(answer, limit, |last| Cursor { created_at: last.created_at, id: last.id.as_uuid() }))
}

/// Only the conditions that are asked for, so that each kind of list is planned by itself; the page is cut before anything
/// is joined to it, so that a page costs the same however long the list is.
fn list_statement<'a>(
    merchant: MerchantId,
    filter: &'a PaymentFilter,
    cursor: Option<&Cursor>,
    limit: u16,
) -> QueryBuilder<'a, Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT head.as_of_position, listed.*
         FROM (SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = ",
    );
    query.push_bind(FOLLOWER).push("), 0) AS as_of_position) AS head LEFT JOIN LATERAL (SELECT ").push(COLUMNS);
    query.push(" FROM (SELECT * FROM payments WHERE merchant_id = ").push_bind(merchant.as_uuid());
    push_filter(&mut query, filter);
    if let Some(cursor) = cursor {
        query.push(" AND (created_at, id) < (").push_bind(cursor.created_at).push(", ").push_bind(cursor.id).push(")");
    }
    query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(limit).saturating_add(1));
    query.push(") AS payments ").push(JOINS);
    query.push(") AS listed ON true ORDER BY listed.created_at DESC, listed.id DESC");
    query
}

/// Whatever a caller asks for, Postgres can be asked: it has no NUL in texts and no time before 4713 BC.
fn push_filter<'a>(query: &mut QueryBuilder<'a, Postgres>, filter: &'a PaymentFilter) {
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(currency) = &filter.currency {
        query.push(" AND lower(currency) = lower(").push_bind(storable(currency)).push(")");
    }
    if let Some(blockchain) = &filter.blockchain {
        query.push(" AND blockchain = ").push_bind(blockchain.as_str());
    }
    if let Some(order_id) = &filter.order_id {
        query.push(" AND order_id = ").push_bind(storable(order_id));
    }
    if let Some(from) = filter.created_from {
        query.push(" AND created_at >= ").push_bind(from.max(Timestamp::UNIX_EPOCH));
    }
    if let Some(to) = filter.created_to {
        query.push(" AND created_at < ").push_bind(to.max(Timestamp::UNIX_EPOCH));
    }
}

/// Payments of any merchant whose deadline has passed without enough money, the longest overdue first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn due_for_expiry(pool: &PgPool, now: Timestamp, limit: u16) -> Result<Vec<PaymentId>, sqlx::Error> {
    let due: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id
         FROM payments
         WHERE status IN ('pending', 'partially_paid') AND expires_at <= $1
         ORDER BY expires_at, id
         LIMIT $2",
    )
    .bind(now)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    Ok(due.into_iter().map(PaymentId::from_uuid).collect())
}

fn payment(row: &PgRow) -> Result<PaymentRow, sqlx::Error> {
    let asset_id: AssetId = parsed(row, "asset")?;
    let asset = Asset {
        id: asset_id.clone(),
        symbol: row.try_get("currency")?,
        decimals: unsigned::<i16, u8>(row, "decimals")?,
    };
    let status: String = row.try_get("status")?;
    let status = PaymentStatus::parse(&status).ok_or_else(|| invalid("status", format!("no status: {status:?}")))?;
    Ok(PaymentRow {
        id: PaymentId::from_uuid(row.try_get("id")?),
        merchant_id: MerchantId::from_uuid(row.try_get("merchant_id")?),
        order_id: row.try_get("order_id")?,
        amount: money(row, "amount_minor", &asset_id)?,
        asset,
        chain: parsed(row, "blockchain")?,
        status,
        flags: flags(row)?,
        payment_address: row.try_get("payment_address")?,
        transaction_hash: row.try_get("transaction_hash")?,
        confirmations: unsigned::<i32, u32>(row, "live_confirmations")?,
        required_confirmations: unsigned::<i32, u32>(row, "required_confirmations")?,
        amount_received: money(row, "amount_received_minor", &asset_id)?,
        amount_confirmed: money(row, "amount_confirmed_minor", &asset_id)?,
        amount_refunded: money(row, "amount_refunded_minor", &asset_id)?,
        callback_url: row.try_get("callback_url")?,
        expires_at: row.try_get("expires_at")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        position: row.try_get("position")?,
    })
}

fn flags(row: &PgRow) -> Result<Flags, sqlx::Error> {
    let mut flags = Flags::default();
    for name in row.try_get::<Vec<String>, _>("flags")? {
        match name.as_str() {
            "underpaid" => flags.underpaid = true,
            "overpaid" => flags.overpaid = true,
            "paid_late" => flags.paid_late = true,
            "partially_refunded" => flags.partially_refunded = true,
            _ => return Err(invalid("flags", format!("no flag: {name:?}"))),
        }
    }
    Ok(flags)
}
