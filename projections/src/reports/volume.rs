//! What merchants took in: deposits that were credited, what reorganizations took back, refunds.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use wopay_domain::{MerchantId, Timestamp};

use super::request::{Bounds, GroupBy, ReportCursor, ReportRequest, merchant};
use crate::as_of::{QueryError, TimeAxis};
use crate::decode::{total, unsigned};
use crate::journal::AssetInfo;
use crate::minor::MinorTotal;
use crate::page::{AsOf, Page, page};

/// The volume of one period. Money that was held, and so belongs to nobody yet, is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRow {
    /// When the period begins.
    pub starts_at: Timestamp,
    /// The merchant; `None` if the report is not by merchant.
    pub merchant: Option<MerchantId>,
    /// The asset.
    pub asset: AssetInfo,
    /// Deposits credited: confirmed, or assigned by an operator, who took them out of suspense. By effective time an
    /// assignment counts in the period in which it was decided.
    pub deposits: u64,
    /// Their sum, in minor units as all amounts here.
    pub gross: MinorTotal,
    /// Deposits that were credited and then orphaned by a reorganization. By effective time they count in the period of
    /// their block, as the confirmed deposits that they take back.
    pub orphaned: u64,
    /// Their sum.
    pub taken_back: MinorTotal,
    /// Refunds completed.
    pub refunds: u64,
    /// Their sum.
    pub refunded: MinorTotal,
    /// `gross` less `taken_back` less `refunded`, which is what merchants' payables grew by; below zero where more went
    /// than came.
    pub net: MinorTotal,
}

/// The volume by period, merchant and asset, in this order: at most `limit` rows after `cursor`. Periods without any are
/// left out.
///
/// # Errors
/// See [`QueryError`].
pub async fn volume(
    pool: &PgPool,
    request: &ReportRequest,
    cursor: Option<&ReportCursor>,
    limit: u16,
) -> Result<Page<VolumeRow, ReportCursor>, QueryError> {
    let bounds = Bounds::of(pool, request).await?;
    let mut query = statement(request, &bounds, cursor, limit);
    let rows = query.build().persistent(false).fetch_all(pool).await?;
    let value = rows.iter().map(volume_row).collect::<Result<Vec<_>, _>>()?;
    Ok(page(AsOf { as_of_position: bounds.as_of_position, value }, limit, |last| ReportCursor {
        starts_at: last.starts_at,
        merchant: last.merchant,
        asset: last.asset.id.clone(),
    }))
}

/// The events that move money of merchants: every event that posts to what is owed to them.
const EVENTS: &str = "('DepositConfirmed', 'DepositAssigned', 'DepositOrphaned', 'RefundCompleted')";
/// Those of them that credit it.
const CREDITS: &str = "('DepositConfirmed', 'DepositAssigned')";

fn statement<'a>(
    request: &ReportRequest,
    bounds: &Bounds,
    cursor: Option<&ReportCursor>,
    limit: u16,
) -> QueryBuilder<'a, Postgres> {
    let mut query = QueryBuilder::new(format!(
        "SELECT
             report.starts_at, report.merchant, report.asset, assets.symbol, assets.decimals, report.deposits,
             report.gross::text AS gross, report.orphaned, report.taken_back::text AS taken_back, report.refunds,
             report.refunded::text AS refunded
         FROM (
             SELECT
                 part.starts_at, part.merchant, part.asset,
                 COALESCE(sum(part.lines) FILTER (WHERE part.event_type IN {CREDITS}), 0)::bigint AS deposits,
                 COALESCE(sum(part.amount) FILTER (WHERE part.event_type IN {CREDITS}), 0) AS gross,
                 COALESCE(sum(part.lines) FILTER (WHERE part.event_type = 'DepositOrphaned'), 0)::bigint AS orphaned,
                 COALESCE(sum(part.amount) FILTER (WHERE part.event_type = 'DepositOrphaned'), 0) AS taken_back,
                 COALESCE(sum(part.lines) FILTER (WHERE part.event_type = 'RefundCompleted'), 0)::bigint AS refunds,
                 COALESCE(sum(part.amount) FILTER (WHERE part.event_type = 'RefundCompleted'), 0) AS refunded
             FROM (",
    ));
    match request.period.axis {
        TimeAxis::Effective => {
            push_whole_days(&mut query, request, bounds);
            query.push(" UNION ALL ");
            push_cut_days(&mut query, request, bounds);
        }
        TimeAxis::Recorded => push_positions(&mut query, request, bounds),
    }
    query.push(
        ") AS part (starts_at, merchant, asset, event_type, lines, amount)
             WHERE part.lines > 0
             GROUP BY part.starts_at, part.merchant, part.asset
         ) AS report",
    );
    ReportRequest::push_page(&mut query, cursor, limit);
    query
}

/// Begins one source of lines: the row `bounds`, and `starts_at`, `merchant` and `asset` of each line.
fn push_source(query: &mut QueryBuilder<'_, Postgres>, request: &ReportRequest, time: &str) {
    query.push("SELECT date_trunc(").push_bind(request.granularity.as_str());
    query.push(format!(", {time}, 'UTC'), "));
    query.push(match request.by {
        GroupBy::Merchant => "split_part(balance.account, ':', 2)::uuid",
        GroupBy::Chain | GroupBy::Asset => "'00000000-0000-0000-0000-000000000000'::uuid",
    });
    query.push(", balance.asset, ");
}

fn push_bounds(query: &mut QueryBuilder<'_, Postgres>, bounds: &Bounds) {
    query.push(" FROM (SELECT ").push_bind(bounds.after_position).push("::bigint AS after_position, ");
    query.push_bind(bounds.last_position).push("::bigint AS last_position, ");
    query.push_bind(bounds.effective_from).push("::timestamptz AS effective_from, COALESCE(");
    query.push_bind(bounds.effective_last).push("::timestamptz, 'infinity') AS effective_last) AS bounds ");
}

/// Conditions on `balance`: what is owed to merchants.
fn push_balances(query: &mut QueryBuilder<'_, Postgres>, request: &ReportRequest) {
    query
        .push(" balance.account >= 'merchant:' AND balance.account < 'merchant;' AND balance.account LIKE '%:payable'");
    for merchant in request.merchants() {
        query.push(" AND balance.account = ").push_bind(format!("merchant:{merchant}:payable"));
    }
    request.push_assets(query);
}

/// A day that lies in the period as a whole, and whose lines all stand before the moment.
const WHOLE: &str = "day.day >= bounds.effective_from
    AND day.day + interval '24 hours' - interval '1 microsecond' <= bounds.effective_last
    AND day.last_position <= bounds.last_position";

fn push_whole_days(query: &mut QueryBuilder<'_, Postgres>, request: &ReportRequest, bounds: &Bounds) {
    push_source(query, request, "day.day");
    query.push("day.event_type, day.posted_lines, day.posted_debit_minor + day.posted_credit_minor");
    push_bounds(query, bounds);
    query.push("JOIN account_balances AS balance ON");
    push_balances(query, request);
    query.push(format!(
        " JOIN account_days AS day ON day.balance_id = balance.id
          WHERE day.event_type IN {EVENTS} AND {WHOLE}"
    ));
}

fn push_cut_days(query: &mut QueryBuilder<'_, Postgres>, request: &ReportRequest, bounds: &Bounds) {
    push_source(query, request, "line.effective_at");
    query.push("day.event_type, 1, line.amount_minor");
    push_bounds(query, bounds);
    query.push("JOIN account_balances AS balance ON");
    push_balances(query, request);
    query.push(format!(
        " JOIN account_days AS day ON day.balance_id = balance.id
          CROSS JOIN LATERAL (
              SELECT line.effective_at, line.amount_minor
              FROM ledger_postings AS line
              WHERE line.balance_id = day.balance_id
                AND line.position BETWEEN day.first_position AND LEAST(day.last_position, bounds.last_position)
                AND line.event_type = day.event_type AND line.layer = 'posted'
                AND line.effective_at >= GREATEST(day.day, bounds.effective_from)
                AND line.effective_at < day.day + interval '24 hours'
                AND line.effective_at <= bounds.effective_last
              OFFSET 0
          ) AS line
          WHERE day.event_type IN {EVENTS} AND day.posted_lines > 0
            AND day.day > bounds.effective_from - interval '24 hours' AND day.day <= bounds.effective_last
            AND day.first_position <= bounds.last_position AND NOT ({WHOLE})"
    ));
}

fn push_positions(query: &mut QueryBuilder<'_, Postgres>, request: &ReportRequest, bounds: &Bounds) {
    push_source(query, request, "line.recorded_at");
    query.push("line.event_type, 1, line.amount_minor");
    push_bounds(query, bounds);
    query.push("JOIN account_balances AS balance ON");
    push_balances(query, request);
    query.push(format!(
        " JOIN ledger_postings AS line ON line.balance_id = balance.id
          WHERE line.position > bounds.after_position AND line.position <= bounds.last_position
            AND line.layer = 'posted' AND line.event_type IN {EVENTS}"
    ));
}

fn volume_row(row: &PgRow) -> Result<VolumeRow, sqlx::Error> {
    let (gross, taken_back) = (total(row, "gross")?, total(row, "taken_back")?);
    let refunded = total(row, "refunded")?;
    Ok(VolumeRow {
        starts_at: row.try_get("starts_at")?,
        merchant: merchant(row)?,
        asset: AssetInfo::of(row)?,
        deposits: unsigned::<i64, u64>(row, "deposits")?,
        gross,
        orphaned: unsigned::<i64, u64>(row, "orphaned")?,
        taken_back,
        refunds: unsigned::<i64, u64>(row, "refunds")?,
        refunded,
        net: gross.minus(taken_back).minus(refunded),
    })
}
