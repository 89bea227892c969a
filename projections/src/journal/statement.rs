//! Statements: what an account held at the beginning of a period, each line with what it held then, and at the end.

use sqlx::{PgPool, Row};
use wopay_domain::ledger::{Account, Layer};
use wopay_domain::{AssetId, Timestamp};

use super::accounts::until;
use super::balance::{AssetInfo, Balance};
use super::cursor::LineCursor;
use super::entries::{EntryRow, LINES_END, entry, lines_query};
use super::sql::{Until, hour};
use crate::as_of::{AsOfPoint, Moment, Period, QueryError, TimeAxis, just_before, last_before, resolve};
use crate::minor::MinorTotal;
use crate::page::{AsOf, page};

/// What a statement is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRequest {
    /// The account.
    pub account: Account,
    /// The asset.
    pub asset: AssetId,
    /// From when until when, and by which clock. Lines come in the order of that clock.
    pub period: Period,
    /// Only lines of this layer. The totals beside them are those of both layers.
    pub layer: Option<Layer>,
    /// As of when. An effective time goes with a period of effective time only.
    pub as_of: AsOfPoint,
}

/// Opening plus lines is closing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Every event up to this position counts, none after it does.
    pub as_of_position: i64,
    /// The account.
    pub account: Account,
    /// The asset.
    pub asset: AssetInfo,
    /// Before the period; the same on each page.
    pub opening: Balance,
    /// At most as many as were asked for, each with the balance after it.
    pub lines: Vec<EntryRow>,
    /// After the period; the same on each page.
    pub closing: Balance,
    /// Where the next page begins; `None` after the last.
    pub next: Option<LineCursor>,
}

/// The statement of an account in one asset, at most `limit` lines of it after `cursor`.
///
/// # Errors
/// See [`QueryError`].
pub async fn statement(
    pool: &PgPool,
    request: &StatementRequest,
    cursor: Option<&LineCursor>,
    limit: u16,
) -> Result<Statement, QueryError> {
    let moment = resolve(pool, request.as_of).await?;
    let (balance_id, asset) = find(pool, request).await?;
    let (first, last) = match request.period.axis {
        TimeAxis::Recorded => recorded(pool, &request.period, moment).await?,
        TimeAxis::Effective => effective(&request.period, moment),
    };
    let mut statement = Statement {
        as_of_position: moment.position,
        account: request.account.clone(),
        asset,
        opening: until(pool, &request.account, &request.asset, &first.into()).await?,
        lines: Vec::new(),
        closing: until(pool, &request.account, &request.asset, &last.into()).await?,
        next: None,
    };
    let Some(balance_id) = balance_id else { return Ok(statement) };
    let wanted = usize::from(limit).saturating_add(1);
    let lines = match request.period.axis {
        TimeAxis::Recorded => {
            let after = cursor.map_or((first.position, i16::MAX), |cursor| (cursor.position, cursor.line));
            by_position(pool, balance_id, after, last.position, request.layer, wanted).await?
        }
        TimeAxis::Effective => {
            let walk = Walk { pool, request, balance_id, last, wanted };
            walk.lines(cursor, &first, statement.opening).await?
        }
    };
    let page = page(AsOf { as_of_position: moment.position, value: lines }, limit, EntryRow::cursor);
    statement.lines = page.items;
    statement.next = page.next;
    Ok(statement)
}

/// The balance's id, if anything was ever booked, and how to show the asset.
async fn find(pool: &PgPool, request: &StatementRequest) -> Result<(Option<i64>, AssetInfo), sqlx::Error> {
    let statement = "
        SELECT balance.id, asked.asset, assets.symbol, assets.decimals
        FROM (SELECT $1::text AS account, $2::text AS asset) AS asked
        LEFT JOIN account_balances AS balance ON balance.account = asked.account AND balance.asset = asked.asset
        LEFT JOIN assets ON assets.asset = asked.asset";
    let query = sqlx::query(statement).bind(request.account.to_string()).bind(request.asset.to_string());
    let row = query.fetch_one(pool).await?;
    Ok((row.try_get("id")?, AssetInfo::of(&row)?))
}

/// The moments before the period and at its end.
async fn recorded(pool: &PgPool, period: &Period, moment: Moment) -> Result<(Moment, Moment), QueryError> {
    if moment.effective.is_some() {
        return Err(QueryError::MixedAxes);
    }
    let first = match period.from {
        Some(from) => last_before(pool, from).await?.min(moment.position),
        None => 0,
    };
    let last = match period.to {
        Some(to) => last_before(pool, to).await?.clamp(first, moment.position),
        None => moment.position,
    };
    Ok((Moment { position: first, ..moment }, Moment { position: last, ..moment }))
}

/// The moments before the period and at its end.
fn effective(period: &Period, moment: Moment) -> (Moment, Moment) {
    let cut = |end: Option<Timestamp>| {
        let ends = [end.map(just_before), moment.effective];
        ends.into_iter().flatten().min()
    };
    let first = period.from.and_then(|from| cut(Some(from))).unwrap_or(Timestamp::UNIX_EPOCH);
    let last = cut(period.to).map(|last| last.max(first));
    (Moment { effective: Some(first), ..moment }, Moment { effective: last, ..moment })
}

async fn by_position(
    pool: &PgPool,
    balance_id: i64,
    after: (i64, i16),
    last_position: i64,
    layer: Option<Layer>,
    wanted: usize,
) -> Result<Vec<EntryRow>, sqlx::Error> {
    let mut query = lines_query();
    query.push("SELECT * FROM ledger_postings AS line WHERE line.balance_id = ").push_bind(balance_id);
    query.push(" AND (line.position, line.line) > (").push_bind(after.0).push(", ").push_bind(after.1);
    query.push(") AND line.position <= ").push_bind(last_position);
    if let Some(layer) = layer {
        query.push(" AND line.layer = ").push_bind(layer.as_str());
    }
    query.push(" ORDER BY line.position, line.line LIMIT ").push_bind(i64::try_from(wanted).unwrap_or(i64::MAX));
    query.push(LINES_END).push(" ORDER BY line.position, line.line");
    query.build().fetch_all(pool).await?.iter().map(entry).collect()
}

/// A walk along the lines of a balance in the order in which they took effect. The totals stored with a line are those of
/// the ledger's order, so they are added up again on the way.
struct Walk<'a> {
    pool: &'a PgPool,
    request: &'a StatementRequest,
    balance_id: i64,
    last: Moment,
    wanted: usize,
}

impl Walk<'_> {
    async fn lines(
        &self,
        cursor: Option<&LineCursor>,
        first: &Moment,
        opening: Balance,
    ) -> Result<Vec<EntryRow>, sqlx::Error> {
        let (mut after, mut balance) = match cursor {
            Some(cursor) => (*cursor, self.balance_after(cursor).await?),
            None => (after_all_of(first.effective.unwrap_or(Timestamp::UNIX_EPOCH)), opening),
        };
        let mut lines = Vec::new();
        loop {
            let chunk = self.chunk(&after).await?;
            let end = chunk.len() < self.wanted;
            for mut line in chunk {
                after = line.cursor();
                balance.book(line.layer, line.side, line.releases, MinorTotal::from(line.amount.minor()));
                line.balance = balance;
                if self.request.layer.is_none_or(|layer| layer == line.layer) {
                    lines.push(line);
                }
            }
            if end || lines.len() >= self.wanted {
                return Ok(lines);
            }
        }
    }

    async fn balance_after(&self, cursor: &LineCursor) -> Result<Balance, sqlx::Error> {
        let moment = Moment { effective: Some(cursor.effective_at), ..self.last };
        let line = Until { moment, line: Some(*cursor) };
        until(self.pool, &self.request.account, &self.request.asset, &line).await
    }

    /// The next lines: hour by hour, and of each hour only between the positions where its lines stand.
    async fn chunk(&self, after: &LineCursor) -> Result<Vec<EntryRow>, sqlx::Error> {
        let limit = i64::try_from(self.wanted).unwrap_or(i64::MAX);
        let mut query = lines_query();
        query
            .push("SELECT line.* FROM account_hours AS hour CROSS JOIN LATERAL (SELECT * FROM ledger_postings AS line");
        query.push(" WHERE line.balance_id = ").push_bind(self.balance_id);
        query.push(" AND line.position BETWEEN hour.first_position AND LEAST(hour.last_position, ");
        query.push_bind(self.last.position).push(") AND line.effective_at >= hour.hour");
        query.push(" AND line.effective_at < hour.hour + interval '1 hour'");
        if let Some(last) = self.last.effective {
            query.push(" AND line.effective_at <= ").push_bind(last);
        }
        query.push(" AND (line.effective_at, line.position, line.line) > (").push_bind(after.effective_at);
        query.push(", ").push_bind(after.position).push(", ").push_bind(after.line);
        query.push(") ORDER BY line.effective_at, line.position, line.line LIMIT ").push_bind(limit);
        query.push(") AS line WHERE hour.balance_id = ").push_bind(self.balance_id);
        query.push(" AND hour.hour >= ").push_bind(hour(after.effective_at));
        if let Some(last) = self.last.effective {
            query.push(" AND hour.hour <= ").push_bind(last);
        }
        query.push(" AND hour.first_position <= ").push_bind(self.last.position);
        query.push(" ORDER BY hour.hour, line.effective_at, line.position, line.line LIMIT ");
        query.push_bind(limit).push(LINES_END).push(" ORDER BY line.effective_at, line.position, line.line");
        query.build().fetch_all(self.pool).await?.iter().map(entry).collect()
    }
}

/// The place after everything that took effect at this moment.
const fn after_all_of(effective_at: Timestamp) -> LineCursor {
    LineCursor { position: i64::MAX, line: i16::MAX, effective_at }
}
