//! Writes `account_balances`, `ledger_postings`, `account_days`, `account_hours` and `assets`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sqlx::PgConnection;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{Asset, AssetId};

use super::balance::Balance;
use super::lines::Booking;
use super::store::{Stored, add_to_balances, add_to_days, add_to_hours, insert_lines};
use crate::batch::Batch;
use crate::decode::storable;
use crate::error::{ApplyError, PoisonError};

/// Folds a batch into the journal, its sums and the known assets.
pub(crate) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), ApplyError> {
    let booking = Booking::of(batch);
    if !booking.lines.is_empty() {
        book(connection, batch, &booking).await?;
    }
    let assets = assets(batch);
    if !assets.is_empty() {
        name_assets(connection, &assets).await?;
    }
    Ok(())
}

/// The balances first: what they were before the batch, and what it has added up to a line, is what they are after the line.
async fn book(connection: &mut PgConnection, batch: &Batch<'_>, booking: &Booking<'_>) -> Result<(), ApplyError> {
    let stored = add_to_balances(connection, booking).await?;
    let stored = stored.filter(|stored| stored.len() == booking.balances.len()).ok_or_else(|| {
        let expected = u64::try_from(booking.balances.len()).unwrap_or(u64::MAX);
        let source = PoisonError::RowsMissing { table: "account_balances", expected, changed: 0 };
        ApplyError::poison(batch.first_position(), source)
    })?;
    let before: Vec<Balance> =
        stored.iter().zip(&booking.balances).map(|(stored, changed)| stored.after.minus(&changed.change)).collect();
    let id = |balance: usize| stored.get(balance).map_or(0, |stored: &Stored| stored.id);
    let ids: Vec<i64> = booking.lines.iter().map(|line| id(line.balance)).collect();
    let totals = booking.lines.iter().filter_map(|line| Some(before.get(line.balance)?.plus(&line.change)));
    insert_lines(connection, booking, &ids, totals).await?;
    let ids: Vec<i64> = booking.days.keys().map(|(balance, _, _)| id(*balance)).collect();
    add_to_days(connection, booking, &ids).await?;
    let ids: Vec<i64> = booking.hours.keys().map(|(balance, _)| id(*balance)).collect();
    add_to_hours(connection, booking, &ids).await?;
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
