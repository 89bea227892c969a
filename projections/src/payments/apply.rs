//! Writes `payments`: one INSERT for the payments that a batch opens, one UPDATE for those it changes.

use std::borrow::Cow;

use sqlx::PgConnection;
use uuid::Uuid;
use wopay_domain::payment::{Flags, PaymentCreated, PaymentStatus};
use wopay_domain::{PaymentId, Timestamp};

use super::fold::{Change, fold};
use crate::batch::Batch;
use crate::decode::{count, storable};
use crate::error::{ApplyError, PoisonError};

/// Folds a batch into `payments`.
pub(crate) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), ApplyError> {
    let mut opened = Opened::default();
    let mut changed = Changed::default();
    for (id, change) in fold(batch) {
        match change.created {
            Some(created) => opened.push(id, created, &change),
            None => changed.push(id, &change),
        }
    }
    if !opened.id.is_empty() {
        insert(connection, opened).await?;
    }
    let expected = u64::try_from(changed.id.len()).unwrap_or(u64::MAX);
    if expected > 0 {
        let changed = update(connection, changed).await?;
        if changed != expected {
            let source = PoisonError::RowsMissing { table: "payments", expected, changed };
            return Err(ApplyError::poison(batch.first_position(), source));
        }
    }
    Ok(())
}

/// New rows, a vector per column.
#[derive(Default)]
struct Opened<'a> {
    id: Vec<Uuid>,
    merchant_id: Vec<Uuid>,
    order_id: Vec<Cow<'a, str>>,
    amount: Vec<String>,
    currency: Vec<Cow<'a, str>>,
    blockchain: Vec<&'a str>,
    status: Vec<&'static str>,
    payment_address: Vec<Cow<'a, str>>,
    transaction_hash: Vec<Option<&'a str>>,
    confirmations: Vec<i32>,
    expires_at: Vec<Timestamp>,
    created_at: Vec<Timestamp>,
    updated_at: Vec<Timestamp>,
    asset: Vec<&'a str>,
    decimals: Vec<i16>,
    amount_minor: Vec<String>,
    received: Vec<String>,
    confirmed: Vec<String>,
    refunded: Vec<String>,
    flags: Vec<String>,
    callback_url: Vec<Option<Cow<'a, str>>>,
    required_confirmations: Vec<i32>,
    position: Vec<i64>,
}

impl<'a> Opened<'a> {
    fn push(&mut self, id: PaymentId, created: &'a PaymentCreated, change: &Change<'a>) {
        let terms = &created.terms;
        let standing = change.standing;
        self.id.push(id.as_uuid());
        self.merchant_id.push(created.merchant_id.as_uuid());
        self.order_id.push(storable(&created.order_id));
        self.amount.push(terms.asset.format(terms.amount.minor()));
        self.currency.push(storable(&terms.asset.symbol));
        self.blockchain.push(terms.chain.as_str());
        self.status.push(standing.map_or(PaymentStatus::Pending, |standing| standing.status).as_str());
        self.payment_address.push(storable(&terms.address));
        self.transaction_hash.push(change.transaction_hash);
        self.confirmations.push(change.confirmations.map_or(0, count));
        self.expires_at.push(terms.expires_at);
        self.created_at.push(created.created_at);
        self.updated_at.push(change.updated_at);
        self.asset.push(terms.asset.id.as_str());
        self.decimals.push(i16::from(terms.asset.decimals));
        self.amount_minor.push(terms.amount.minor().to_string());
        self.received.push(change.received.to_string());
        self.confirmed.push(change.confirmed.to_string());
        self.refunded.push(change.refunded.to_string());
        self.flags.push(flags(standing.map_or_else(Flags::default, |standing| standing.flags)));
        self.callback_url.push(terms.callback_url.as_deref().map(storable));
        self.required_confirmations.push(count(terms.policy.required_confirmations));
        self.position.push(change.position);
    }
}

/// Changes of rows that exist, a vector per column. NULL leaves a column as it is.
#[derive(Default)]
struct Changed<'a> {
    id: Vec<Uuid>,
    status: Vec<Option<&'static str>>,
    flags: Vec<Option<String>>,
    transaction_hash: Vec<Option<&'a str>>,
    confirmations: Vec<Option<i32>>,
    received: Vec<String>,
    confirmed: Vec<String>,
    refunded: Vec<String>,
    updated_at: Vec<Timestamp>,
    position: Vec<i64>,
}

impl<'a> Changed<'a> {
    fn push(&mut self, id: PaymentId, change: &Change<'a>) {
        self.id.push(id.as_uuid());
        self.status.push(change.standing.map(|standing| standing.status.as_str()));
        self.flags.push(change.standing.map(|standing| flags(standing.flags)));
        self.transaction_hash.push(change.transaction_hash);
        self.confirmations.push(change.confirmations.map(count));
        self.received.push(change.received.to_string());
        self.confirmed.push(change.confirmed.to_string());
        self.refunded.push(change.refunded.to_string());
        self.updated_at.push(change.updated_at);
        self.position.push(change.position);
    }
}

/// The set flags as one text, for `string_to_array`: Postgres has no arrays of arrays of different lengths.
fn flags(flags: Flags) -> String {
    flags.names().join(",")
}

async fn insert(connection: &mut PgConnection, rows: Opened<'_>) -> Result<(), sqlx::Error> {
    let statement = "
        INSERT INTO payments (
            id, merchant_id, order_id, amount, currency, blockchain, status, payment_address, transaction_hash,
            confirmations, expires_at, created_at, updated_at, asset, decimals, amount_minor, amount_received_minor,
            amount_confirmed_minor, amount_refunded_minor, flags, callback_url, required_confirmations, position)
        SELECT
            id, merchant_id, order_id, amount::numeric, currency, blockchain, status, payment_address, transaction_hash,
            confirmations, expires_at, created_at, updated_at, asset, decimals, amount_minor::numeric, received::numeric,
            confirmed::numeric, refunded::numeric, string_to_array(flags, ','), callback_url, required_confirmations,
            position
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::integer[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::text[], $15::smallint[],
            $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::integer[], $23::bigint[])
        AS opened (
            id, merchant_id, order_id, amount, currency, blockchain, status, payment_address, transaction_hash,
            confirmations, expires_at, created_at, updated_at, asset, decimals, amount_minor, received, confirmed, refunded,
            flags, callback_url, required_confirmations, position)";
    sqlx::query(statement)
        .bind(rows.id)
        .bind(rows.merchant_id)
        .bind(rows.order_id)
        .bind(rows.amount)
        .bind(rows.currency)
        .bind(rows.blockchain)
        .bind(rows.status)
        .bind(rows.payment_address)
        .bind(rows.transaction_hash)
        .bind(rows.confirmations)
        .bind(rows.expires_at)
        .bind(rows.created_at)
        .bind(rows.updated_at)
        .bind(rows.asset)
        .bind(rows.decimals)
        .bind(rows.amount_minor)
        .bind(rows.received)
        .bind(rows.confirmed)
        .bind(rows.refunded)
        .bind(rows.flags)
        .bind(rows.callback_url)
        .bind(rows.required_confirmations)
        .bind(rows.position)
        .execute(connection)
        .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, rows: Changed<'_>) -> Result<u64, sqlx::Error> {
    let statement = "
        UPDATE payments
        SET status                 = COALESCE(changed.status, payments.status),
            flags                  = COALESCE(string_to_array(changed.flags, ','), payments.flags),
            transaction_hash       = COALESCE(changed.transaction_hash, payments.transaction_hash),
            confirmations          = COALESCE(changed.confirmations, payments.confirmations),
            amount_received_minor  = payments.amount_received_minor + changed.received::numeric,
            amount_confirmed_minor = payments.amount_confirmed_minor + changed.confirmed::numeric,
            amount_refunded_minor  = payments.amount_refunded_minor + changed.refunded::numeric,
            updated_at             = changed.updated_at,
            position               = changed.position
        FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[],
            $9::timestamptz[], $10::bigint[])
        AS changed (
            id, status, flags, transaction_hash, confirmations, received, confirmed, refunded, updated_at, position)
        WHERE payments.id = changed.id";
    let done = sqlx::query(statement)
        .bind(rows.id)
        .bind(rows.status)
        .bind(rows.flags)
        .bind(rows.transaction_hash)
        .bind(rows.confirmations)
        .bind(rows.received)
        .bind(rows.confirmed)
        .bind(rows.refunded)
        .bind(rows.updated_at)
        .bind(rows.position)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
