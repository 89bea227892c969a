//! SQL: what stands beside the books, as the watchers noted it.

use sqlx::PgPool;
use wopay_domain::ChainName;

use super::ReconcileError;
use super::work::Account;

/// Adds to accounts what the watchers noted beside the books: dust and tokens that were not configured, and money of nobody
/// that waits to be confirmed before the ledger is told.
pub(super) async fn add(pool: &PgPool, chain: &ChainName, accounts: &mut [Account<'_>]) -> Result<(), ReconcileError> {
    let addresses: Vec<&str> = accounts.iter().map(Account::address).collect();
    let assets: Vec<&str> = accounts.iter().map(|account| account.asset.as_str()).collect();
    let heights: Vec<i64> =
        accounts.iter().map(|account| i64::try_from(account.found.height).unwrap_or(i64::MAX)).collect();
    let sums: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT given.place - 1,
                COALESCE(sum(beside.amount_minor) FILTER (WHERE beside.is_dust), 0)::text,
                COALESCE(sum(beside.amount_minor) FILTER (WHERE NOT beside.is_dust), 0)::text
         FROM unnest($2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS given (address, asset, height, place)
         JOIN (
             SELECT address, asset, block_number, amount_minor, true AS is_dust
             FROM deposit_observations
             WHERE chain = $1 AND kind <> 'money' AND stage <> 'orphaned'
             UNION ALL
             SELECT address, asset, block_number, amount_minor, false
             FROM deposit_observations
             WHERE chain = $1 AND kind = 'money' AND stage <> 'orphaned' AND payment_id IS NULL AND revision IS NULL
         ) AS beside
           ON beside.address = given.address AND beside.asset = given.asset AND beside.block_number <= given.height
         GROUP BY given.place",
    )
    .bind(chain.as_str())
    .bind(addresses)
    .bind(assets)
    .bind(heights)
    .fetch_all(pool)
    .await?;
    for (place, dust, waiting) in sums {
        let Some(account) = usize::try_from(place).ok().and_then(|place| accounts.get_mut(place)) else { continue };
        let asset = account.asset.clone();
        let overflow = || ReconcileError::Overflow(asset.clone());
        let (dust, waiting): (u128, u128) =
            (dust.parse().map_err(|_| overflow())?, waiting.parse().map_err(|_| overflow())?);
        let sums = &mut account.held_mut().sums;
        sums.dust = dust;
        sums.seen = sums.seen.checked_add(waiting).ok_or_else(overflow)?;
    }
    Ok(())
}
