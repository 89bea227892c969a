//! Reads balances.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, ChainName, MerchantId};

use crate::decode::{invalid, parsed, unsigned};
use crate::handler::FOLLOWER;
use crate::minor::MinorTotal;
use crate::page::{AsOf, as_of};

/// What a merchant has of one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceRow {
    /// The asset.
    pub asset: AssetId,
    /// What people call it.
    pub symbol: String,
    /// Its digits after the point.
    pub decimals: u8,
    /// The chain it lives on.
    pub chain: ChainName,
    /// Posted: what we owe the merchant, in minor units.
    pub available: MinorTotal,
    /// Seen on the chain and not yet confirmed, in minor units. Never part of `available`.
    pub pending: MinorTotal,
}

/// The sums of the whole journal in one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalanceRow {
    /// The asset.
    pub asset: AssetId,
    /// All debits, in minor units.
    pub debit: MinorTotal,
    /// All credits, in minor units. Equal to the debits, or the books are wrong.
    pub credit: MinorTotal,
}

/// What a merchant has, by asset: every asset in which money was ever booked for it, or is on its way.
///
/// # Errors
/// When the database cannot be asked.
pub async fn of_merchant(pool: &PgPool, merchant: MerchantId) -> Result<AsOf<Vec<BalanceRow>>, sqlx::Error> {
    let statement = "
        WITH posted AS (
            SELECT asset, credit_minor - debit_minor AS minor
            FROM account_balances
            WHERE account = $1
        ),
        pending AS (
            SELECT asset, sum(amount_minor) AS minor
            FROM blockchain_transactions
            WHERE merchant_id = $2 AND status = 'seen' AND disposition = 'credit'
            GROUP BY asset
        )
        SELECT head.as_of_position, balance.*
        FROM (SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = $3), 0) AS as_of_position) AS head
        LEFT JOIN LATERAL (
            SELECT
                asset,
                assets.blockchain,
                assets.symbol,
                assets.decimals,
                COALESCE(posted.minor, 0)::text AS available,
                COALESCE(pending.minor, 0)::text AS pending
            FROM posted
            FULL JOIN pending USING (asset)
            JOIN assets USING (asset)
        ) AS balance ON true
        ORDER BY balance.asset";
    let rows = sqlx::query(statement)
        .bind(Account::MerchantPayable(merchant).to_string())
        .bind(merchant.as_uuid())
        .bind(FOLLOWER)
        .fetch_all(pool)
        .await?;
    as_of(&rows, "asset", balance)
}

/// The sums of the journal, by asset, of all merchants together: debits equal credits.
///
/// # Errors
/// When the database cannot be asked.
pub async fn trial_balance(pool: &PgPool) -> Result<AsOf<Vec<TrialBalanceRow>>, sqlx::Error> {
    let statement = "
        SELECT head.as_of_position, total.*
        FROM (SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = $1), 0) AS as_of_position) AS head
        LEFT JOIN LATERAL (
            SELECT asset, sum(debit_minor)::text AS debit, sum(credit_minor)::text AS credit
            FROM account_balances
            GROUP BY asset
        ) AS total ON true
        ORDER BY total.asset";
    let rows = sqlx::query(statement).bind(FOLLOWER).fetch_all(pool).await?;
    as_of(&rows, "asset", |row| {
        Ok(TrialBalanceRow { asset: parsed(row, "asset")?, debit: total(row, "debit")?, credit: total(row, "credit")? })
    })
}

fn balance(row: &PgRow) -> Result<BalanceRow, sqlx::Error> {
    Ok(BalanceRow {
        asset: parsed(row, "asset")?,
        symbol: row.try_get("symbol")?,
        decimals: unsigned::<i16, u8>(row, "decimals")?,
        chain: parsed(row, "blockchain")?,
        available: total(row, "available")?,
        pending: total(row, "pending")?,
    })
}

fn total(row: &PgRow, column: &str) -> Result<MinorTotal, sqlx::Error> {
    let text: String = row.try_get(column)?;
    MinorTotal::parse(&text).ok_or_else(|| invalid(column, format!("no whole number: {text:?}")))
}
