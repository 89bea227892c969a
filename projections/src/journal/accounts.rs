//! What accounts hold.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder};
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, ChainName, MerchantId};

use super::balance::{AssetInfo, Balance};
use super::cursor::AccountCursor;
use super::sql::{BEGUN, TOTALS, Until, Which, push_moment, push_totals, push_which};
use crate::as_of::{AsOfPoint, QueryError, Scope, resolve};
use crate::decode::parsed;
use crate::page::{AsOf, Page, page};

/// An account in one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub account: Account,
    /// The asset.
    pub asset: AssetInfo,
    /// What it holds, in minor units.
    pub balance: Balance,
}

/// Which accounts a list shows. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// This account.
    pub account: Option<Account>,
    /// The accounts of this merchant.
    pub merchant: Option<MerchantId>,
    /// This asset.
    pub asset: Option<AssetId>,
    /// Assets on this chain.
    pub chain: Option<ChainName>,
}

impl AccountFilter {
    const fn which(&self) -> Which<'_> {
        Which {
            account: self.account.as_ref(),
            merchant: self.merchant,
            asset: self.asset.as_ref(),
            chain: self.chain.as_ref(),
        }
    }
}

/// Accounts by name and asset, at most `limit` of them after `cursor`: all in which a line was booked up to the moment. A
/// page may hold fewer than `limit` although another follows.
///
/// # Errors
/// See [`QueryError`].
pub async fn accounts(
    pool: &PgPool,
    scope: Scope,
    filter: &AccountFilter,
    point: AsOfPoint,
    cursor: Option<&AccountCursor>,
    limit: u16,
) -> Result<Page<AccountRow, AccountCursor>, QueryError> {
    let moment = resolve(pool, point).await?;
    let mut query = statement(&moment.into(), |query| {
        push_which(query, scope, filter.which());
        if let Some(AccountCursor { account, asset }) = cursor {
            query.push(" AND (balance.account, balance.asset) > (").push_bind(account.to_string());
            query.push(", ").push_bind(asset.to_string()).push(")");
        }
        query.push(" ORDER BY balance.account, balance.asset LIMIT ").push_bind(i64::from(limit).saturating_add(1));
    });
    let rows = query.build().fetch_all(pool).await?;
    let value = rows.iter().map(account).collect::<Result<Vec<_>, _>>()?;
    let mut page = page(AsOf { as_of_position: moment.position, value }, limit, |last| AccountCursor {
        account: last.account.clone(),
        asset: last.asset.id.clone(),
    });
    // Begun, but nothing of it had taken effect.
    page.items.retain(|row| row.balance != Balance::default());
    Ok(page)
}

/// What one account holds of one asset; zeros where nothing was booked. Without an effective time: one probe of an index.
///
/// # Errors
/// See [`QueryError`].
pub async fn balance(
    pool: &PgPool,
    account: &Account,
    asset: &AssetId,
    point: AsOfPoint,
) -> Result<AsOf<Balance>, QueryError> {
    let moment = resolve(pool, point).await?;
    let value = until(pool, account, asset, &moment.into()).await?;
    Ok(AsOf { as_of_position: moment.position, value })
}

/// As [`balance`], up to any line.
pub(super) async fn until(
    pool: &PgPool,
    account: &Account,
    asset: &AssetId,
    until: &Until,
) -> Result<Balance, sqlx::Error> {
    let which = Which { account: Some(account), asset: Some(asset), ..Which::default() };
    let mut query = statement(until, |query| push_which(query, Scope::All, which));
    let row = query.build().fetch_optional(pool).await?;
    row.as_ref().map_or_else(|| Ok(Balance::default()), Balance::of)
}

/// The balances that `choose` lets through, with their totals. They are chosen first: a page costs the same however many
/// accounts there are.
fn statement<'a>(until: &Until, choose: impl FnOnce(&mut QueryBuilder<'a, Postgres>)) -> QueryBuilder<'a, Postgres> {
    let mut query = QueryBuilder::new("SELECT balance.account, balance.asset, assets.symbol, assets.decimals,");
    query.push(TOTALS).push(" FROM ");
    push_moment(&mut query, until);
    query.push(" CROSS JOIN LATERAL (SELECT * FROM account_balances AS balance WHERE ").push(BEGUN);
    choose(&mut query);
    query.push(") AS balance");
    push_totals(&mut query, &until.moment);
    query.push(" LEFT JOIN assets ON assets.asset = balance.asset ORDER BY balance.account, balance.asset");
    query
}

fn account(row: &PgRow) -> Result<AccountRow, sqlx::Error> {
    Ok(AccountRow { account: parsed(row, "account")?, asset: AssetInfo::of(row)?, balance: Balance::of(row)? })
}
