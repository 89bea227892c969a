//! Writes `blockchain_transactions`: one INSERT for the deposits that a batch detects, one UPDATE for those it changes.

use std::borrow::Cow;

use sqlx::PgConnection;
use uuid::Uuid;
use wopay_domain::payment::Disposition;
use wopay_domain::{DepositKey, DepositLeg, Timestamp};

use super::decisions;
use super::fold::{Change, Detected, Identity, fold};
use super::opening::{Opening, openings};
use crate::batch::Batch;
use crate::decode::{count, storable};
use crate::error::{ApplyError, PoisonError};

/// Folds a batch into `blockchain_transactions`.
pub(crate) async fn apply(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), ApplyError> {
    let changes = fold(batch);
    if changes.is_empty() {
        // A deposit may also be decided about alone.
        return Ok(decisions::apply(connection, batch).await?);
    }
    let payments = changes.keys().map(|(payment_id, _)| *payment_id).collect();
    let openings = openings(connection, batch, &payments).await?;
    let mut detected = New::default();
    let mut changed = Deposits::default();
    for (identity, change) in &changes {
        let payment_id = identity.0;
        let opening = openings
            .get(&payment_id)
            .ok_or_else(|| ApplyError::poison(change.position, PoisonError::NotOpened(payment_id.to_string())))?;
        match change.detected {
            Some(first) => detected.push(*identity, change, first, opening),
            None => changed.push(*identity, change, opening),
        }
    }
    if !detected.deposits.position.is_empty() {
        insert(connection, detected).await?;
    }
    let expected = u64::try_from(changed.position.len()).unwrap_or(u64::MAX);
    if expected > 0 {
        let changed = update(connection, changed).await?;
        if changed != expected {
            let source = PoisonError::RowsMissing { table: "blockchain_transactions", expected, changed };
            return Err(ApplyError::poison(batch.first_position(), source));
        }
    }
    decisions::apply(connection, batch).await?;
    Ok(())
}

/// What an event can change, a vector per column.
#[derive(Default)]
struct Deposits<'a> {
    payment_id: Vec<Uuid>,
    blockchain: Vec<&'a str>,
    transaction_hash: Vec<&'a str>,
    leg: Vec<Cow<'a, str>>,
    amount: Vec<Option<String>>,
    block_number: Vec<Option<i64>>,
    block_hash: Vec<Cow<'a, str>>,
    block_time: Vec<Timestamp>,
    confirmations: Vec<i32>,
    status: Vec<&'static str>,
    asset: Vec<&'a str>,
    decimals: Vec<Option<i16>>,
    amount_minor: Vec<String>,
    disposition: Vec<&'static str>,
    hold_reason: Vec<Option<&'static str>>,
    updated_at: Vec<Timestamp>,
    position: Vec<i64>,
}

impl<'a> Deposits<'a> {
    fn push(&mut self, (payment_id, key): Identity<'a>, change: &Change<'a>, opening: &Opening) {
        let now = &change.now;
        let known = (now.amount.asset() == &opening.asset.id).then_some(&opening.asset);
        let (disposition, hold_reason) = match now.disposition {
            Disposition::Credit => ("credit", None),
            Disposition::Hold(reason) => ("hold", Some(reason.as_str())),
        };
        self.payment_id.push(payment_id.as_uuid());
        self.blockchain.push(key.chain.as_str());
        self.transaction_hash.push(&key.transaction);
        self.leg.push(leg(key));
        self.amount.push(known.map(|asset| asset.format(now.amount.minor())));
        self.block_number.push(i64::try_from(now.block.number).ok());
        self.block_hash.push(storable(&now.block.hash));
        self.block_time.push(now.block.time);
        self.confirmations.push(count(now.confirmations));
        self.status.push(now.status.as_str());
        self.asset.push(now.amount.asset().as_str());
        self.decimals.push(known.map(|asset| i16::from(asset.decimals)));
        self.amount_minor.push(now.amount.minor().to_string());
        self.disposition.push(disposition);
        self.hold_reason.push(hold_reason);
        self.updated_at.push(change.updated_at);
        self.position.push(change.position);
    }
}

/// Rows that did not exist before.
#[derive(Default)]
struct New<'a> {
    deposits: Deposits<'a>,
    merchant_id: Vec<Uuid>,
    from_address: Vec<Option<Cow<'a, str>>>,
    to_address: Vec<String>,
    created_at: Vec<Timestamp>,
}

impl<'a> New<'a> {
    fn push(&mut self, identity: Identity<'a>, change: &Change<'a>, first: Detected<'a>, opening: &Opening) {
        self.deposits.push(identity, change, opening);
        self.merchant_id.push(opening.merchant_id.as_uuid());
        self.from_address.push(first.from.map(storable));
        self.to_address.push(storable(first.address.unwrap_or(&opening.address)).into_owned());
        self.created_at.push(first.at);
    }
}

/// The last part of the key's text form.
pub(super) fn leg(key: &DepositKey) -> Cow<'_, str> {
    match &key.leg {
        DepositLeg::Native => Cow::Borrowed("native"),
        DepositLeg::Log(ordinal) => Cow::Owned(format!("log:{ordinal}")),
        DepositLeg::Trace(path) => Cow::Owned(storable(&format!("trace:{path}")).into_owned()),
        DepositLeg::Account(account) => Cow::Owned(storable(&format!("account:{account}")).into_owned()),
    }
}

async fn insert(connection: &mut PgConnection, rows: New<'_>) -> Result<(), sqlx::Error> {
    // The id is the head of a digest of the deposit's identity: the same whenever and however often the row is made.
    let statement = "
        INSERT INTO blockchain_transactions (
            id, payment_id, merchant_id, blockchain, transaction_hash, leg, from_address, to_address, amount,
            block_number, block_hash, block_time, confirmations, status, asset, decimals, amount_minor, disposition,
            hold_reason, created_at, updated_at, position)
        SELECT
            left(encode(sha256(convert_to(
                concat_ws(':', payment_id, blockchain, transaction_hash, leg), 'UTF8')), 'hex'), 32)::uuid,
            payment_id, merchant_id, blockchain, transaction_hash, leg, from_address, to_address, amount::numeric,
            block_number, block_hash, block_time, confirmations, status, asset, decimals, amount_minor::numeric,
            disposition, hold_reason, created_at, updated_at, position
        FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::integer[],
            $9::text[], $10::text[], $11::smallint[], $12::text[], $13::text[], $14::text[], $15::timestamptz[],
            $16::bigint[], $17::uuid[], $18::uuid[], $19::text[], $20::text[], $21::timestamptz[])
        AS detected (
            blockchain, transaction_hash, leg, amount, block_number, block_hash, block_time, confirmations, status, asset,
            decimals, amount_minor, disposition, hold_reason, updated_at, position, payment_id, merchant_id,
            from_address, to_address, created_at)";
    bind(sqlx::query(statement), rows.deposits)
        .bind(rows.merchant_id)
        .bind(rows.from_address)
        .bind(rows.to_address)
        .bind(rows.created_at)
        .execute(connection)
        .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, rows: Deposits<'_>) -> Result<u64, sqlx::Error> {
    let statement = "
        UPDATE blockchain_transactions AS stored
        SET amount        = changed.amount::numeric,
            block_number  = changed.block_number,
            block_hash    = changed.block_hash,
            block_time    = changed.block_time,
            confirmations = changed.confirmations,
            status        = changed.status,
            asset         = changed.asset,
            decimals      = changed.decimals,
            amount_minor  = changed.amount_minor::numeric,
            disposition   = changed.disposition,
            hold_reason   = changed.hold_reason,
            updated_at    = changed.updated_at,
            position      = changed.position
        FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::integer[],
            $9::text[], $10::text[], $11::smallint[], $12::text[], $13::text[], $14::text[], $15::timestamptz[],
            $16::bigint[], $17::uuid[])
        AS changed (
            blockchain, transaction_hash, leg, amount, block_number, block_hash, block_time, confirmations, status, asset,
            decimals, amount_minor, disposition, hold_reason, updated_at, position, payment_id)
        WHERE (stored.blockchain, stored.transaction_hash, stored.leg, stored.payment_id)
            = (changed.blockchain, changed.transaction_hash, changed.leg, changed.payment_id)";
    Ok(bind(sqlx::query(statement), rows).execute(connection).await?.rows_affected())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Binds `$1` to `$17`.
fn bind<'q>(query: Query<'q>, rows: Deposits<'q>) -> Query<'q> {
    query
        .bind(rows.blockchain)
        .bind(rows.transaction_hash)
        .bind(rows.leg)
        .bind(rows.amount)
        .bind(rows.block_number)
        .bind(rows.block_hash)
        .bind(rows.block_time)
        .bind(rows.confirmations)
        .bind(rows.status)
        .bind(rows.asset)
        .bind(rows.decimals)
        .bind(rows.amount_minor)
        .bind(rows.disposition)
        .bind(rows.hold_reason)
        .bind(rows.updated_at)
        .bind(rows.position)
        .bind(rows.payment_id)
}
