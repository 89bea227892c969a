//! The writes of the journal: no joins, so that no plan can go wrong however large a batch is.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};

use super::balance::Balance;
use super::lines::{Booking, Span};

/// A balance as it stands after a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) after: Balance,
}

/// Totals, a vector per column.
#[derive(Default)]
struct Totals {
    posted_debit: Vec<String>,
    posted_credit: Vec<String>,
    pending_debit: Vec<String>,
    pending_credit: Vec<String>,
}

impl FromIterator<Balance> for Totals {
    fn from_iter<I: IntoIterator<Item = Balance>>(balances: I) -> Self {
        let mut totals = Self::default();
        for balance in balances {
            totals.posted_debit.push(balance.posted_debit.to_string());
            totals.posted_credit.push(balance.posted_credit.to_string());
            totals.pending_debit.push(balance.pending_debit.to_string());
            totals.pending_credit.push(balance.pending_credit.to_string());
        }
        totals
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl Totals {
    /// Binds the next four parameters.
    fn bind(self, query: Query<'_>) -> Query<'_> {
        query.bind(self.posted_debit).bind(self.posted_credit).bind(self.pending_debit).bind(self.pending_credit)
    }
}

/// Adds a batch to the balances and gives them back, in the batch's order. `None`: one is missing, which cannot be.
pub(super) async fn add_to_balances(
    connection: &mut PgConnection,
    booking: &Booking<'_>,
) -> Result<Option<Vec<Stored>>, sqlx::Error> {
    let statement = "
        INSERT INTO account_balances AS stored (
            account, asset, id, position,
            posted_debit_minor, posted_credit_minor, pending_debit_minor, pending_credit_minor)
        SELECT account, asset, id, position,
               posted_debit::numeric, posted_credit::numeric, pending_debit::numeric, pending_credit::numeric
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[])
        AS changed (account, asset, id, position, posted_debit, posted_credit, pending_debit, pending_credit)
        ON CONFLICT (account, asset) DO UPDATE
        SET position             = EXCLUDED.position,
            posted_debit_minor   = stored.posted_debit_minor + EXCLUDED.posted_debit_minor,
            posted_credit_minor  = stored.posted_credit_minor + EXCLUDED.posted_credit_minor,
            pending_debit_minor  = stored.pending_debit_minor + EXCLUDED.pending_debit_minor,
            pending_credit_minor = stored.pending_credit_minor + EXCLUDED.pending_credit_minor
        RETURNING
            account, asset, id, posted_debit_minor::text AS posted_debit, posted_credit_minor::text AS posted_credit,
            pending_debit_minor::text AS pending_debit, pending_credit_minor::text AS pending_credit";
    let changed = &booking.balances;
    let query = sqlx::query(statement)
        .bind(changed.iter().map(|changed| changed.account.as_str()).collect::<Vec<_>>())
        .bind(changed.iter().map(|changed| changed.asset.as_str()).collect::<Vec<_>>())
        .bind(changed.iter().map(|changed| changed.id).collect::<Vec<_>>())
        .bind(changed.iter().map(|changed| changed.position).collect::<Vec<_>>());
    let totals: Totals = changed.iter().map(|changed| changed.change).collect();
    let rows = totals.bind(query).fetch_all(connection).await?;
    let mut stored = HashMap::with_capacity(rows.len());
    for row in &rows {
        let key: (&str, &str) = (row.try_get("account")?, row.try_get("asset")?);
        stored.insert(key, Stored { id: row.try_get("id")?, after: Balance::of(row)? });
    }
    Ok(changed.iter().map(|changed| stored.get(&(&*changed.account, &*changed.asset)).copied()).collect())
}

/// Writes the lines, with the totals after each.
pub(super) async fn insert_lines(
    connection: &mut PgConnection,
    booking: &Booking<'_>,
    ids: &[i64],
    totals: impl Iterator<Item = Balance>,
) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO ledger_postings (
            position, balance_id, recorded_at, effective_at, line, releases, layer, side, event_type, amount_minor,
            posted_debit_minor, posted_credit_minor, pending_debit_minor, pending_credit_minor)
        SELECT position, balance_id, recorded_at, effective_at, line, releases, layer, side, event_type, amount::numeric,
               posted_debit::numeric, posted_credit::numeric, pending_debit::numeric, pending_credit::numeric
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::smallint[], $6::boolean[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[])
        AS line (
            position, balance_id, recorded_at, effective_at, line, releases, layer, side, event_type, amount,
            posted_debit, posted_credit, pending_debit, pending_credit)";
    let lines = &booking.lines;
    let query = sqlx::query(statement)
        .bind(lines.iter().map(|line| line.position).collect::<Vec<_>>())
        .bind(ids)
        .bind(lines.iter().map(|line| line.recorded_at).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.effective_at).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.line).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.releases).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.layer.as_str()).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.side.as_str()).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.event_type).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.amount.to_string()).collect::<Vec<_>>());
    totals.collect::<Totals>().bind(query).execute(connection).await?;
    Ok(())
}

/// Adds a batch to the days.
pub(super) async fn add_to_days(
    connection: &mut PgConnection,
    booking: &Booking<'_>,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO account_days AS stored (
            balance_id, first_position, last_position, day, event_type, posted_lines,
            posted_debit_minor, posted_credit_minor, pending_debit_minor, pending_credit_minor)
        SELECT balance_id, first_position, last_position, day, event_type, posted_lines,
               posted_debit::numeric, posted_credit::numeric, pending_debit::numeric, pending_credit::numeric
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
            $9::text[], $10::bigint[])
        AS changed (
            balance_id, first_position, last_position, posted_debit, posted_credit, pending_debit, pending_credit, day,
            event_type, posted_lines)
        ON CONFLICT (balance_id, day, event_type) DO UPDATE
        SET last_position        = EXCLUDED.last_position,
            posted_lines         = stored.posted_lines + EXCLUDED.posted_lines,
            posted_debit_minor   = stored.posted_debit_minor + EXCLUDED.posted_debit_minor,
            posted_credit_minor  = stored.posted_credit_minor + EXCLUDED.posted_credit_minor,
            pending_debit_minor  = stored.pending_debit_minor + EXCLUDED.pending_debit_minor,
            pending_credit_minor = stored.pending_credit_minor + EXCLUDED.pending_credit_minor";
    let days = &booking.days;
    bind_spans(sqlx::query(statement), ids, days.values())
        .bind(days.keys().map(|(_, day, _)| *day).collect::<Vec<_>>())
        .bind(days.keys().map(|(_, _, event_type)| *event_type).collect::<Vec<_>>())
        .bind(days.values().map(|day| day.posted_lines).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds a batch to the hours.
pub(super) async fn add_to_hours(
    connection: &mut PgConnection,
    booking: &Booking<'_>,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO account_hours AS stored (
            balance_id, first_position, last_position, hour,
            posted_debit_minor, posted_credit_minor, pending_debit_minor, pending_credit_minor)
        SELECT balance_id, first_position, last_position, hour,
               posted_debit::numeric, posted_credit::numeric, pending_debit::numeric, pending_credit::numeric
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
        AS changed (
            balance_id, first_position, last_position, posted_debit, posted_credit, pending_debit, pending_credit, hour)
        ON CONFLICT (balance_id, hour) DO UPDATE
        SET last_position        = EXCLUDED.last_position,
            posted_debit_minor   = stored.posted_debit_minor + EXCLUDED.posted_debit_minor,
            posted_credit_minor  = stored.posted_credit_minor + EXCLUDED.posted_credit_minor,
            pending_debit_minor  = stored.pending_debit_minor + EXCLUDED.pending_debit_minor,
            pending_credit_minor = stored.pending_credit_minor + EXCLUDED.pending_credit_minor";
    let hours = &booking.hours;
    bind_spans(sqlx::query(statement), ids, hours.values())
        .bind(hours.keys().map(|(_, hour)| *hour).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Binds `$1` to `$7`.
fn bind_spans<'q>(query: Query<'q>, ids: &'q [i64], spans: impl Iterator<Item = &'q Span> + Clone) -> Query<'q> {
    let query = query
        .bind(ids)
        .bind(spans.clone().map(|span| span.first_position).collect::<Vec<_>>())
        .bind(spans.clone().map(|span| span.last_position).collect::<Vec<_>>());
    spans.map(|span| span.change).collect::<Totals>().bind(query)
}
