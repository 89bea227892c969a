//! The parts of statements that several questions share.
//!
//! They speak of `moment`, one row made by [`push_moment`], and of `balance`, rows of `account_balances`; the totals of each
//! balance at that moment come out as `totals`.

use sqlx::{Postgres, QueryBuilder};
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, ChainName, MerchantId, Timestamp};

use super::cursor::LineCursor;
use crate::as_of::{Moment, Scope};

/// What a line does to the totals, as `posted_debit`, `posted_credit`, `pending_debit`, `pending_credit`. A line that
/// releases takes away what is pending on the other side.
const DONE_BY_LINE: &str = "
    CASE WHEN line.layer = 'posted' AND line.side = 'debit' THEN line.amount_minor ELSE 0 END,
    CASE WHEN line.layer = 'posted' AND line.side = 'credit' THEN line.amount_minor ELSE 0 END,
    CASE
        WHEN line.layer = 'pending' AND line.side = 'debit' AND NOT line.releases THEN line.amount_minor
        WHEN line.layer = 'pending' AND line.side = 'credit' AND line.releases THEN -line.amount_minor
        ELSE 0
    END,
    CASE
        WHEN line.layer = 'pending' AND line.side = 'credit' AND NOT line.releases THEN line.amount_minor
        WHEN line.layer = 'pending' AND line.side = 'debit' AND line.releases THEN -line.amount_minor
        ELSE 0
    END";

/// The totals after the last line up to the position: those of `account_balances` if it stands there, else one probe.
const TOTALS_KNOWN: &str = "
    LEFT JOIN LATERAL (
        SELECT posted_debit_minor, posted_credit_minor, pending_debit_minor, pending_credit_minor
        FROM ledger_postings AS line
        WHERE balance.position > moment.position
          AND line.balance_id = balance.id AND line.position <= moment.position
        ORDER BY line.position DESC, line.line DESC
        LIMIT 1
    ) AS earlier ON true
    CROSS JOIN LATERAL (
        SELECT
            COALESCE(earlier.posted_debit_minor, balance.posted_debit_minor) AS posted_debit,
            COALESCE(earlier.posted_credit_minor, balance.posted_credit_minor) AS posted_credit,
            COALESCE(earlier.pending_debit_minor, balance.pending_debit_minor) AS pending_debit,
            COALESCE(earlier.pending_credit_minor, balance.pending_credit_minor) AS pending_credit
    ) AS totals";

/// The sums of whole days; of whole hours in days that are cut, by the effective time or by the position; and of the lines
/// in hours that are cut.
fn totals_effective() -> String {
    format!(
        "
    CROSS JOIN LATERAL (
        WITH days AS MATERIALIZED (
            SELECT
                day,
                day < moment.effective_day AND max(last_position) <= moment.position AS whole,
                sum(posted_debit_minor) AS posted_debit,
                sum(posted_credit_minor) AS posted_credit,
                sum(pending_debit_minor) AS pending_debit,
                sum(pending_credit_minor) AS pending_credit
            FROM account_days
            WHERE balance_id = balance.id AND day <= moment.effective_day AND first_position <= moment.position
            GROUP BY day
        ),
        hours AS MATERIALIZED (
            SELECT hour.*, hour.hour < moment.effective_hour AND hour.last_position <= moment.position AS whole
            FROM days
            CROSS JOIN LATERAL (
                SELECT *
                FROM account_hours AS hour
                WHERE hour.balance_id = balance.id
                  AND hour.hour >= days.day AND hour.hour < days.day + interval '24 hours'
                  AND hour.hour <= moment.effective_hour AND hour.first_position <= moment.position
                OFFSET 0
            ) AS hour
            WHERE NOT days.whole
        )
        SELECT
            COALESCE(sum(part.posted_debit), 0) AS posted_debit,
            COALESCE(sum(part.posted_credit), 0) AS posted_credit,
            COALESCE(sum(part.pending_debit), 0) AS pending_debit,
            COALESCE(sum(part.pending_credit), 0) AS pending_credit
        FROM (
            SELECT posted_debit, posted_credit, pending_debit, pending_credit
            FROM days
            WHERE whole
            UNION ALL
            SELECT posted_debit_minor, posted_credit_minor, pending_debit_minor, pending_credit_minor
            FROM hours
            WHERE whole
            UNION ALL
            SELECT line.*
            FROM hours
            CROSS JOIN LATERAL (
                SELECT {DONE_BY_LINE}
                FROM ledger_postings AS line
                WHERE line.balance_id = balance.id
                  AND line.position BETWEEN hours.first_position AND LEAST(hours.last_position, moment.position)
                  AND line.effective_at >= hours.hour AND line.effective_at < hours.hour + interval '1 hour'
                  AND (line.effective_at, line.position, line.line)
                      <= (moment.effective_at, moment.effective_position, moment.effective_line)
                OFFSET 0
            ) AS line
            WHERE NOT hours.whole
        ) AS part (posted_debit, posted_credit, pending_debit, pending_credit)
    ) AS totals"
    )
}

/// The balances that have a line at the moment. See `account_balances.id`.
pub(super) const BEGUN: &str = "balance.id < (moment.position + 1) * 256";

/// The totals as texts, named as [`Balance::of`](super::Balance::of) reads them.
pub(super) const TOTALS: &str = "
    totals.posted_debit::text AS posted_debit,
    totals.posted_credit::text AS posted_credit,
    totals.pending_debit::text AS pending_debit,
    totals.pending_credit::text AS pending_credit";

/// A moment that may stand in the middle of what took effect at one time.
pub(super) struct Until {
    pub(super) moment: Moment,
    /// The last line that counts, of those that took effect at `moment.effective`; `None`: all.
    pub(super) line: Option<LineCursor>,
}

impl From<Moment> for Until {
    fn from(moment: Moment) -> Self {
        Self { moment, line: None }
    }
}

/// Pushes the row `moment`: `position`, and what the totals by effective time compare with.
pub(super) fn push_moment(query: &mut QueryBuilder<'_, Postgres>, until: &Until) {
    let Until { moment, line } = until;
    query.push("(SELECT ").push_bind(moment.position).push("::bigint AS position, ");
    query.push_bind(moment.effective).push("::timestamptz AS effective_at, ");
    query.push("date_trunc('day', ").push_bind(moment.effective).push("::timestamptz, 'UTC') AS effective_day, ");
    query.push("date_trunc('hour', ").push_bind(moment.effective).push("::timestamptz, 'UTC') AS effective_hour, ");
    query.push_bind(line.map_or(i64::MAX, |line| line.position)).push("::bigint AS effective_position, ");
    query.push_bind(line.map_or(i16::MAX, |line| line.line)).push("::smallint AS effective_line) AS moment");
}

/// Pushes what makes `totals` of `moment` and `balance`.
pub(super) fn push_totals(query: &mut QueryBuilder<'_, Postgres>, moment: &Moment) {
    if moment.effective.is_some() {
        query.push(totals_effective());
    } else {
        query.push(TOTALS_KNOWN);
    }
}

/// Which balances a question is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Which<'a> {
    pub(super) account: Option<&'a Account>,
    pub(super) merchant: Option<MerchantId>,
    pub(super) asset: Option<&'a AssetId>,
    pub(super) chain: Option<&'a ChainName>,
}

/// Pushes conditions on `balance`, each with `AND` before it. The scope holds whatever else is asked for.
pub(super) fn push_which(query: &mut QueryBuilder<'_, Postgres>, scope: Scope, which: Which<'_>) {
    for merchant in scope.merchant().into_iter().chain(which.merchant) {
        push_merchant(query, merchant);
    }
    if let Some(account) = which.account {
        query.push(" AND balance.account = ").push_bind(account.to_string());
    }
    if let Some(asset) = which.asset {
        query.push(" AND balance.asset = ").push_bind(asset.to_string());
    }
    if let Some(chain) = which.chain {
        query.push(" AND split_part(balance.asset, '/', 1) = ").push_bind(chain.to_string());
    }
}

/// All accounts of a merchant: a range of names.
fn push_merchant(query: &mut QueryBuilder<'_, Postgres>, merchant: MerchantId) {
    query.push(" AND balance.account >= ").push_bind(format!("merchant:{merchant}:"));
    query.push(" AND balance.account < ").push_bind(format!("merchant:{merchant};"));
}

/// The hour (UTC) of a moment.
pub(super) fn hour(moment: Timestamp) -> Timestamp {
    truncated(moment, 3600)
}

/// The day (UTC) of a moment.
pub(super) fn day(moment: Timestamp) -> Timestamp {
    truncated(moment, 24 * 3600)
}

fn truncated(moment: Timestamp, seconds: i64) -> Timestamp {
    let start = moment.timestamp().div_euclid(seconds).saturating_mul(seconds);
    Timestamp::from_timestamp(start, 0).unwrap_or(moment)
}
