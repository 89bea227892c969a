//! Writes `ledger_postings`, `account_balances` and `assets`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sqlx::PgConnection;
use wopay_domain::ledger::Layer;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{Asset, AssetId, Timestamp, ledger};

use crate::batch::Batch;
use crate::decode::storable;
use crate::error::ApplyError;

/// Folds a batch into the journal, its sums and the known assets.
pub(crate) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), ApplyError> {
    let lines = Lines::of(batch);
    if !lines.position.is_empty() {
        book(connection, lines).await?;
    }
    let assets = assets(batch);
    if !assets.is_empty() {
        name_assets(connection, &assets).await?;
    }
    Ok(())
}

/// Journal lines, a vector per column.
#[derive(Default)]
struct Lines<'a> {
    position: Vec<i64>,
    line: Vec<i16>,
    aggregate_type: Vec<&'a str>,
    aggregate_id: Vec<&'a str>,
    account: Vec<String>,
    side: Vec<&'static str>,
    asset: Vec<String>,
    amount: Vec<String>,
    recorded_at: Vec<Timestamp>,
}

impl<'a> Lines<'a> {
    fn of(batch: &Batch<'a>) -> Self {
        let mut lines = Self::default();
        for entry in batch.entries() {
            let posted = ledger::postings(&entry.event).into_iter().filter(|line| line.layer == Layer::Posted);
            for (line, posting) in (1..).zip(posted) {
                lines.position.push(entry.recorded.position);
                lines.line.push(line);
                lines.aggregate_type.push(&entry.recorded.aggregate_type);
                lines.aggregate_id.push(&entry.recorded.aggregate_id);
                lines.account.push(posting.account.to_string());
                lines.side.push(posting.side.as_str());
                lines.asset.push(posting.amount.asset().to_string());
                lines.amount.push(posting.amount.minor().to_string());
                lines.recorded_at.push(entry.recorded.recorded_at);
            }
        }
        lines
    }
}

/// Writes the lines and adds them to the sums: one statement, so that no sum can miss a line. Postgres adds, in NUMERIC:
/// sums over many payments may be wider than 128 bits.
async fn book(connection: &mut PgConnection, lines: Lines<'_>) -> Result<(), sqlx::Error> {
    let statement = "
        WITH booked AS (
            INSERT INTO ledger_postings (
                position, line, aggregate_type, aggregate_id, account, side, asset, amount_minor, recorded_at)
            SELECT position, line, aggregate_type, aggregate_id, account, side, asset, amount::numeric, recorded_at
            FROM unnest(
                $1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::timestamptz[])
            AS posted (position, line, aggregate_type, aggregate_id, account, side, asset, amount, recorded_at)
            RETURNING position, account, side, asset, amount_minor
        )
        INSERT INTO account_balances AS stored (account, asset, debit_minor, credit_minor, position)
        SELECT
            account,
            asset,
            COALESCE(sum(amount_minor) FILTER (WHERE side = 'debit'), 0),
            COALESCE(sum(amount_minor) FILTER (WHERE side = 'credit'), 0),
            max(position)
        FROM booked
        GROUP BY account, asset
        ON CONFLICT (account, asset) DO UPDATE
        SET debit_minor  = stored.debit_minor + EXCLUDED.debit_minor,
            credit_minor = stored.credit_minor + EXCLUDED.credit_minor,
            position     = EXCLUDED.position";
    sqlx::query(statement)
        .bind(lines.position)
        .bind(lines.line)
        .bind(lines.aggregate_type)
        .bind(lines.aggregate_id)
        .bind(lines.account)
        .bind(lines.side)
        .bind(lines.asset)
        .bind(lines.amount)
        .bind(lines.recorded_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// The assets that payments of the batch ask for, as the newest of them says.
fn assets<'a>(batch: &'a Batch<'_>) -> BTreeMap<&'a AssetId, &'a Asset> {
    let created = batch.payments().filter_map(|(_, _, event)| match event {
        PaymentEvent::PaymentCreated(created) => Some(&created.terms.asset),
        _ => None,
    });
    created.map(|asset| (&asset.id, asset)).collect()
}

async fn name_assets(connection: &mut PgConnection, assets: &BTreeMap<&AssetId, &Asset>) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO assets AS stored (asset, blockchain, symbol, decimals)
        SELECT asset, blockchain, symbol, decimals
        FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[]) AS named (asset, blockchain, symbol, decimals)
        ON CONFLICT (asset) DO UPDATE
        SET symbol   = EXCLUDED.symbol,
            decimals = EXCLUDED.decimals
        WHERE (stored.symbol, stored.decimals) IS DISTINCT FROM (EXCLUDED.symbol, EXCLUDED.decimals)";
    let ids: Vec<&str> = assets.keys().map(|id| id.as_str()).collect();
    let chains: Vec<&str> = assets.keys().map(|id| id.chain()).collect();
    let symbols: Vec<Cow<'_, str>> = assets.values().map(|asset| storable(&asset.symbol)).collect();
    let decimals: Vec<i16> = assets.values().map(|asset| i16::from(asset.decimals)).collect();
    sqlx::query(statement).bind(ids).bind(chains).bind(symbols).bind(decimals).execute(connection).await?;
    Ok(())
}
