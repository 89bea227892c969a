//! SQL: large deposits that only agreement keeps from being confirmed.

use sqlx::PgPool;
use wopay_domain::{AssetId, BlockRef, ChainName, DepositKey, Timestamp};

use super::store::{StoreError, from_sql, to_sql};
use crate::config::Agreement;
use crate::source::Transfer;

/// Deposits looked at, at most.
const DEPOSITS_MAX: i64 = 4096;

/// A block with large deposits that are due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) block: BlockRef,
    pub(super) transfers: Vec<Transfer>,
    /// Of each transfer in this block; see [`identity`].
    pub(super) identities: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    block_number: i64,
    block_hash: String,
    block_time: Timestamp,
    tx_hash: String,
    leg: String,
    address: String,
    asset: String,
    amount_minor: String,
}

/// All that is to be agreed on about a deposit, as one text.
fn identity(row: &Row) -> String {
    let Row { block_hash, tx_hash, leg, address, asset, amount_minor, .. } = row;
    format!("{block_hash} {tx_hash} {leg} {address} {asset} {amount_minor}")
}

/// The assets of a rule and the amounts above which it holds, as arrays of text.
pub(super) fn amounts(rule: Option<&Agreement>) -> (Vec<&str>, Vec<String>) {
    rule.into_iter().flat_map(|rule| &rule.above).map(|(asset, minor)| (asset.as_str(), minor.to_string())).unzip()
}

/// The blocks that hold large deposits which are deep enough and final, with these deposits, oldest first.
pub(super) async fn due(
    pool: &PgPool,
    chain: &ChainName,
    rule: &Agreement,
    height: u64,
    final_height: u64,
    confirmations_default: u32,
) -> Result<Vec<Due>, StoreError> {
    let (assets, above) = amounts(Some(rule));
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT o.block_number, o.block_hash, o.block_time, o.tx_hash, o.leg, o.address, o.asset,
                o.amount_minor::text AS amount_minor
         FROM deposit_observations o
         JOIN unnest($4::text[], $5::text[]) AS large(asset, above)
              ON large.asset = o.asset AND o.amount_minor > large.above::numeric
         WHERE o.chain = $1 AND o.stage = 'seen'
           AND o.block_number <= $2 - COALESCE(o.required_confirmations, $7) + 1
           AND o.block_number <= $3
         ORDER BY o.block_number, o.block_hash, o.tx_hash, o.leg
         LIMIT $6",
    )
    .bind(chain.as_str())
    .bind(to_sql(height))
    .bind(to_sql(final_height))
    .bind(assets)
    .bind(above)
    .bind(DEPOSITS_MAX)
    .bind(i32::try_from(confirmations_default).unwrap_or(i32::MAX))
    .fetch_all(pool)
    .await?;
    let mut blocks: Vec<Due> = Vec::new();
    for row in rows {
        let (transfer, identity) = (to_transfer(chain, &row)?, identity(&row));
        match blocks.last_mut().filter(|last| last.block.hash == row.block_hash) {
            Some(last) => {
                last.transfers.push(transfer);
                last.identities.push(identity);
            }
            None => {
                let number = from_sql(row.block_number);
                let block = BlockRef { number, hash: row.block_hash, time: row.block_time };
                blocks.push(Due { block, transfers: vec![transfer], identities: vec![identity] });
            }
        }
    }
    Ok(blocks)
}

fn to_transfer(chain: &ChainName, row: &Row) -> Result<Transfer, StoreError> {
    let corrupt = |what: &dyn std::fmt::Display| StoreError::Corrupt(format!("deposit {}: {what}", row.tx_hash));
    let key: Result<DepositKey, _> = format!("{chain}:{}:{}", row.tx_hash, row.leg).parse();
    Ok(Transfer {
        transaction: row.tx_hash.clone(),
        leg: key.map_err(|error| corrupt(&error))?.leg,
        to: row.address.clone(),
        from: None,
        asset: row.asset.parse().map_err(|error| corrupt(&error))?,
        minor: row.amount_minor.parse().map_err(|error| corrupt(&error))?,
    })
}

/// How much of the asset was recorded for an address in blocks up to that height; what is orphaned did not arrive.
pub(super) async fn recorded_upto(
    pool: &PgPool,
    chain: &ChainName,
    asset: &AssetId,
    address: &str,
    height: u64,
) -> Result<u128, StoreError> {
    let sum: String = sqlx::query_scalar(
        "SELECT COALESCE(sum(amount_minor), 0)::text
         FROM deposit_observations
         WHERE chain = $1 AND asset = $2 AND address = $3 AND block_number <= $4 AND stage <> 'orphaned'",
    )
    .bind(chain.as_str())
    .bind(asset.to_string())
    .bind(address)
    .bind(to_sql(height))
    .fetch_one(pool)
    .await?;
    sum.parse().map_err(|_| StoreError::Corrupt(format!("an amount of {sum:?}")))
}
