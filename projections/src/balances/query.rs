//! Reads a merchant's balances.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, ChainName, MerchantId};

use crate::decode::{parsed, total, unsigned};
use crate::handler::FOLLOWER;
use crate::minor::MinorTotal;
use crate::model::ReadModel;
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
    /// What we owe the merchant less what it has promised to give back (refunds on their way), in minor units.
    pub available: MinorTotal,
    /// Seen on the chain and not yet confirmed, in minor units. Never part of `available`.
    pub pending: MinorTotal,
}

/// What a merchant has, by asset: every asset in which money was ever booked for it, or is on its way.
///
/// # Errors
/// When the database cannot be asked.
pub async fn of_merchant(pool: &PgPool, merchant: MerchantId) -> Result<AsOf<Vec<BalanceRow>>, sqlx::Error> {
    let statement = "
        WITH posted AS (
            SELECT asset, posted_credit_minor - posted_debit_minor - pending_debit_minor AS minor
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
        FROM (
            SELECT COALESCE((
                SELECT position
                FROM follower_checkpoints
                WHERE name = $3 AND EXISTS (SELECT FROM projection_versions WHERE model = $4)
            ), 0) AS as_of_position
        ) AS head
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
        .bind(ReadModel::Journal.as_str())
        .fetch_all(pool)
        .await?;
    as_of(&rows, "asset", balance)
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
