//! What the service earned and what the networks took.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use wopay_domain::ledger::Account;
use wopay_domain::{MerchantId, Timestamp};

use super::request::{Bounds, GroupBy, ReportCursor, ReportRequest, merchant};
use crate::as_of::{QueryError, TimeAxis};
use crate::decode::{total, unsigned};
use crate::journal::AssetInfo;
use crate::minor::MinorTotal;
use crate::page::{AsOf, Page, page};

/// The fees of one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeRow {
    /// When the period begins.
    pub starts_at: Timestamp,
    /// The merchant for whom they were charged or paid; `None` if the report is not by merchant, or for nobody's: what the
    /// network took for money that was sent back from suspense, say.
    pub merchant: Option<MerchantId>,
    /// The asset.
    pub asset: AssetInfo,
    /// Journal lines that they are the sum of.
    pub lines: u64,
    /// What merchants paid for the service (`platform:fees`), in minor units.
    pub service_fees: MinorTotal,
    /// What the networks took for our transactions (`platform:gas`), in minor units.
    pub network_fees: MinorTotal,
}

/// Fees by period, merchant and asset, in this order: at most `limit` rows after `cursor`. Periods without any are left
/// out.
///
/// # Errors
/// See [`QueryError`].
pub async fn fees(
    pool: &PgPool,
    request: &ReportRequest,
    cursor: Option<&ReportCursor>,
    limit: u16,
) -> Result<Page<FeeRow, ReportCursor>, QueryError> {
    let bounds = Bounds::of(pool, request).await?;
    let mut query = statement(request, &bounds, cursor, limit);
    let rows = query.build().persistent(false).fetch_all(pool).await?;
    let value = rows.iter().map(fee_row).collect::<Result<Vec<_>, _>>()?;
    Ok(page(AsOf { as_of_position: bounds.as_of_position, value }, limit, |last| ReportCursor {
        starts_at: last.starts_at,
        merchant: last.merchant,
        asset: last.asset.id.clone(),
    }))
}

/// The merchant of a line is the one whose account the same event touches.
const MERCHANT: &str = "
    LEFT JOIN LATERAL (
        SELECT split_part(own.account, ':', 2)::uuid AS id
        FROM ledger_postings AS other
        JOIN account_balances AS own ON own.id = other.balance_id
        WHERE other.position = line.position AND own.account >= 'merchant:' AND own.account < 'merchant;'
        LIMIT 1
    ) AS merchant ON true";

fn statement<'a>(
    request: &ReportRequest,
    bounds: &Bounds,
    cursor: Option<&ReportCursor>,
    limit: u16,
) -> QueryBuilder<'a, Postgres> {
    let time = match request.period.axis {
        TimeAxis::Recorded => "line.recorded_at",
        TimeAxis::Effective => "line.effective_at",
    };
    let grouped = match request.by {
        GroupBy::Merchant => "COALESCE(merchant.id, '00000000-0000-0000-0000-000000000000'::uuid)",
        GroupBy::Chain | GroupBy::Asset => "'00000000-0000-0000-0000-000000000000'::uuid",
    };
    let mut query = QueryBuilder::new(
        "SELECT
             report.starts_at, report.merchant, report.asset, assets.symbol, assets.decimals, report.lines,
             report.service_fees::text AS service_fees, report.network_fees::text AS network_fees
         FROM (
             SELECT part.starts_at, part.merchant, part.asset, count(*) AS lines,
                    COALESCE(sum(-part.debit) FILTER (WHERE part.account = ",
    );
    query.push_bind(Account::PlatformFees.to_string());
    query.push("), 0) AS service_fees, COALESCE(sum(part.debit) FILTER (WHERE part.account = ");
    query.push_bind(Account::PlatformGas.to_string()).push("), 0) AS network_fees FROM (SELECT date_trunc(");
    query.push_bind(request.granularity.as_str());
    query.push(format!(", {time}, 'UTC') AS starts_at, {grouped} AS merchant, balance.asset, balance.account,"));
    query.push(
        " CASE WHEN line.side = 'debit' THEN line.amount_minor ELSE -line.amount_minor END AS debit
          FROM account_balances AS balance
          JOIN ledger_postings AS line ON line.balance_id = balance.id",
    );
    query.push(MERCHANT).push(" WHERE line.layer = 'posted' AND balance.account IN (");
    query.push_bind(Account::PlatformFees.to_string()).push(", ");
    query.push_bind(Account::PlatformGas.to_string()).push(")");
    for merchant in request.merchants() {
        query.push(" AND merchant.id = ").push_bind(merchant.as_uuid());
    }
    request.push_assets(&mut query);
    query.push(" AND line.position > ").push_bind(bounds.after_position);
    query.push(" AND line.position <= ").push_bind(bounds.last_position);
    query.push(" AND line.effective_at >= ").push_bind(bounds.effective_from);
    if let Some(last) = bounds.effective_last {
        query.push(" AND line.effective_at <= ").push_bind(last);
    }
    query.push(") AS part GROUP BY part.starts_at, part.merchant, part.asset) AS report");
    ReportRequest::push_page(&mut query, cursor, limit);
    query
}

fn fee_row(row: &PgRow) -> Result<FeeRow, sqlx::Error> {
    Ok(FeeRow {
        starts_at: row.try_get("starts_at")?,
        merchant: merchant(row)?,
        asset: AssetInfo::of(row)?,
        lines: unsigned::<i64, u64>(row, "lines")?,
        service_fees: total(row, "service_fees")?,
        network_fees: total(row, "network_fees")?,
    })
}
