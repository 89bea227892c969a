//! The trial balance: all accounts together. If its sides differ, the books are wrong.

use sqlx::{PgPool, QueryBuilder, Row};

use super::balance::{AssetInfo, Balance};
use super::sql::{BEGUN, push_moment, push_totals};
use crate::as_of::{AsOfPoint, QueryError, resolve};
use crate::page::AsOf;

/// The books of one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    /// The asset.
    pub asset: AssetInfo,
    /// The accounts, by name.
    pub lines: Vec<TrialBalanceLine>,
    /// Their sum.
    pub total: Balance,
}

impl TrialBalance {
    /// Whether debits equal credits, posted and pending.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.total.posted_debit == self.total.posted_credit && self.total.pending_debit == self.total.pending_credit
    }
}

/// An account, or all of one kind that merchants have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalanceLine {
    /// The account's name; `merchant:*:payable` stands for that of every merchant.
    pub accounts: String,
    /// What it holds.
    pub balance: Balance,
}

/// The trial balance of the whole ledger, by asset.
///
/// # Errors
/// See [`QueryError`].
pub async fn trial_balance(pool: &PgPool, point: AsOfPoint) -> Result<AsOf<Vec<TrialBalance>>, QueryError> {
    let moment = resolve(pool, point).await?;
    let mut query = QueryBuilder::new(
        "SELECT asset, accounts, symbol, decimals,
                sum(posted_debit)::text AS posted_debit, sum(posted_credit)::text AS posted_credit,
                sum(pending_debit)::text AS pending_debit, sum(pending_credit)::text AS pending_credit
         FROM (
             SELECT balance.asset, totals.*,
                    CASE
                        WHEN balance.account LIKE 'merchant:%'
                        THEN 'merchant:*:' || split_part(balance.account, ':', 3)
                        ELSE balance.account
                    END AS accounts
             FROM ",
    );
    push_moment(&mut query, &moment.into());
    query.push(" JOIN account_balances AS balance ON ").push(BEGUN);
    push_totals(&mut query, &moment);
    query.push(
        ") AS balance
         LEFT JOIN assets USING (asset)
         GROUP BY asset, accounts, symbol, decimals
         ORDER BY asset, accounts",
    );
    let mut value: Vec<TrialBalance> = Vec::new();
    for row in query.build().fetch_all(pool).await? {
        let asset = AssetInfo::of(&row)?;
        let line = TrialBalanceLine { accounts: row.try_get("accounts")?, balance: Balance::of(&row)? };
        if line.balance == Balance::default() {
            continue;
        }
        match value.last_mut().filter(|last| last.asset.id == asset.id) {
            Some(books) => {
                books.total = books.total.plus(&line.balance);
                books.lines.push(line);
            }
            None => value.push(TrialBalance { asset, total: line.balance, lines: vec![line] }),
        }
    }
    Ok(AsOf { as_of_position: moment.position, value })
}
