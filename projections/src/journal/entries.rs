//! The lines of the journal.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use wopay_domain::ledger::{Account, Layer, Side};
use wopay_domain::{AssetId, ChainName, MerchantId, Money, Timestamp};

use super::balance::{AssetInfo, Balance};
use super::cursor::LineCursor;
use super::sql::{Which, push_which};
use crate::as_of::{AsOfPoint, Moment, Period, QueryError, Scope, TimeAxis, askable, last_before, resolve};
use crate::decode::{invalid, money, parsed, storable};
use crate::page::{AsOf, Page, page};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// The event that made it.
    pub position: i64,
    /// Its number among the lines of that event: 1, 2, 3 …
    pub line: i16,
    /// The account.
    pub account: Account,
    /// The asset.
    pub asset: AssetInfo,
    /// Whether it happened or is expected.
    pub layer: Layer,
    /// The side.
    pub side: Side,
    /// Whether a pending line takes away an earlier one on the other side.
    pub releases: bool,
    /// The amount.
    pub amount: Money,
    /// The event's name.
    pub event_type: String,
    /// Whose event it is.
    pub aggregate: AggregateRef,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it took effect.
    pub effective_at: Timestamp,
    /// What the account holds of the asset after this line, in the order of the list.
    pub balance: Balance,
}

/// An aggregate, as in the columns of `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateRef {
    /// `payment`, `merchant` …
    pub aggregate_type: String,
    /// Its id.
    pub aggregate_id: String,
}

/// Which lines a list shows. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Of this account.
    pub account: Option<Account>,
    /// Of the accounts of this merchant.
    pub merchant: Option<MerchantId>,
    /// In this asset.
    pub asset: Option<AssetId>,
    /// In assets on this chain.
    pub chain: Option<ChainName>,
    /// Made by events of this aggregate.
    pub aggregate: Option<AggregateRef>,
    /// Of this layer.
    pub layer: Option<Layer>,
    /// At this position or later.
    pub from_position: Option<i64>,
    /// At this position or earlier.
    pub to_position: Option<i64>,
    /// Recorded, or in effect, in this period.
    pub period: Period,
}

/// Lines in the order of the ledger, at most `limit` of them after `cursor`, up to the moment.
///
/// # Errors
/// See [`QueryError`].
pub async fn entries(
    pool: &PgPool,
    scope: Scope,
    filter: &EntryFilter,
    point: AsOfPoint,
    cursor: Option<&LineCursor>,
    limit: u16,
) -> Result<Page<EntryRow, LineCursor>, QueryError> {
    let moment = resolve(pool, point).await?;
    let bounds = Bounds::of(pool, filter, &moment).await?;
    let mut query = statement(scope, filter, &bounds, cursor, limit);
    let rows = query.build().fetch_all(pool).await?;
    let value = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    Ok(page(AsOf { as_of_position: moment.position, value }, limit, EntryRow::cursor))
}

impl EntryRow {
    /// The place right after this line.
    pub(super) const fn cursor(&self) -> LineCursor {
        LineCursor { position: self.position, line: self.line, effective_at: self.effective_at }
    }
}

/// What of the journal a list can hold.
struct Bounds {
    after_position: i64,
    last_position: i64,
    effective_from: Option<Timestamp>,
    effective_before: Option<Timestamp>,
    effective_last: Option<Timestamp>,
    layer: Option<Layer>,
}

impl Bounds {
    async fn of(pool: &PgPool, filter: &EntryFilter, moment: &Moment) -> Result<Self, QueryError> {
        let mut bounds = Self {
            after_position: filter.from_position.unwrap_or(0).saturating_sub(1),
            last_position: filter.to_position.unwrap_or(i64::MAX).min(moment.position),
            effective_from: None,
            effective_before: None,
            effective_last: moment.effective,
            layer: filter.layer,
        };
        let Period { axis, from, to } = filter.period;
        match axis {
            TimeAxis::Recorded => {
                if let Some(from) = from {
                    bounds.after_position = bounds.after_position.max(last_before(pool, from).await?);
                }
                if let Some(to) = to {
                    bounds.last_position = bounds.last_position.min(last_before(pool, to).await?);
                }
            }
            TimeAxis::Effective => {
                bounds.effective_from = from.map(askable);
                bounds.effective_before = to.map(askable);
            }
        }
        Ok(bounds)
    }

    /// Conditions on `line`.
    fn push(&self, query: &mut QueryBuilder<'_, Postgres>, cursor: Option<&LineCursor>) {
        query.push(" line.position > ").push_bind(self.after_position);
        query.push(" AND line.position <= ").push_bind(self.last_position);
        if let Some(LineCursor { position, line, .. }) = cursor {
            query.push(" AND (line.position, line.line) > (").push_bind(*position);
            query.push(", ").push_bind(*line).push(")");
        }
        for (comparison, bound) in
            [(">=", self.effective_from), ("<", self.effective_before), ("<=", self.effective_last)]
        {
            if let Some(bound) = bound {
                query.push(format!(" AND line.effective_at {comparison} ")).push_bind(bound);
            }
        }
        if let Some(layer) = self.layer {
            query.push(" AND line.layer = ").push_bind(layer.as_str());
        }
    }
}

/// The page is cut before anything is joined to it. Where few accounts are meant, each gives its own first lines, by the
/// index of accounts; else the journal is read in its order.
fn statement<'a>(
    scope: Scope,
    filter: &'a EntryFilter,
    bounds: &Bounds,
    cursor: Option<&LineCursor>,
    limit: u16,
) -> QueryBuilder<'a, Postgres> {
    let which = Which {
        account: filter.account.as_ref(),
        merchant: filter.merchant,
        asset: filter.asset.as_ref(),
        chain: filter.chain.as_ref(),
    };
    let of_few = which.account.is_some() || which.merchant.is_some() || scope.merchant().is_some();
    let limit = i64::from(limit).saturating_add(1);
    let mut query = lines_query();
    if let (true, None) = (of_few, &filter.aggregate) {
        query.push(
            "SELECT line.* FROM account_balances AS balance
             CROSS JOIN LATERAL (
                 SELECT * FROM ledger_postings AS line WHERE line.balance_id = balance.id AND",
        );
        bounds.push(&mut query, cursor);
        query.push(" ORDER BY line.position, line.line LIMIT ").push_bind(limit).push(") AS line WHERE true");
    } else {
        query.push(
            "SELECT line.* FROM ledger_postings AS line
             JOIN account_balances AS balance ON balance.id = line.balance_id WHERE",
        );
        bounds.push(&mut query, cursor);
    }
    if let Some(AggregateRef { aggregate_type, aggregate_id }) = &filter.aggregate {
        query.push(" AND line.position IN (SELECT position FROM events WHERE aggregate_type = ");
        query.push_bind(storable(aggregate_type)).push(" AND aggregate_id = ");
        query.push_bind(storable(aggregate_id)).push(")");
    }
    push_which(&mut query, scope, which);
    query.push(" ORDER BY line.position, line.line LIMIT ").push_bind(limit);
    query.push(LINES_END).push(" ORDER BY line.position, line.line");
    query
}

/// Begins a statement that gives [`EntryRow`]s: a statement that selects lines follows, then [`LINES_END`] and an order.
pub(super) fn lines_query<'a>() -> QueryBuilder<'a, Postgres> {
    QueryBuilder::new(
        "SELECT
             line.position, line.line, line.layer, line.side, line.releases, line.event_type, line.recorded_at,
             line.effective_at, line.amount_minor::text AS amount, line.posted_debit_minor::text AS posted_debit,
             line.posted_credit_minor::text AS posted_credit, line.pending_debit_minor::text AS pending_debit,
             line.pending_credit_minor::text AS pending_credit, balance.account, balance.asset, assets.symbol,
             assets.decimals, events.aggregate_type, events.aggregate_id
         FROM (",
    )
}

/// See [`lines_query`].
pub(super) const LINES_END: &str = "
    ) AS line
    JOIN account_balances AS balance ON balance.id = line.balance_id
    LEFT JOIN assets ON assets.asset = balance.asset
    JOIN events ON events.position = line.position";

/// Reads a line.
pub(super) fn entry(row: &PgRow) -> Result<EntryRow, sqlx::Error> {
    let asset = AssetInfo::of(row)?;
    let layer: &str = row.try_get("layer")?;
    let side: &str = row.try_get("side")?;
    Ok(EntryRow {
        position: row.try_get("position")?,
        line: row.try_get("line")?,
        account: parsed(row, "account")?,
        layer: Layer::parse(layer).ok_or_else(|| invalid("layer", format!("no layer: {layer:?}")))?,
        side: Side::parse(side).ok_or_else(|| invalid("side", format!("no side: {side:?}")))?,
        releases: row.try_get("releases")?,
        amount: money(row, "amount", &asset.id)?,
        event_type: row.try_get("event_type")?,
        aggregate: AggregateRef {
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
        },
        recorded_at: row.try_get("recorded_at")?,
        effective_at: row.try_get("effective_at")?,
        balance: Balance::of(row)?,
        asset,
    })
}
