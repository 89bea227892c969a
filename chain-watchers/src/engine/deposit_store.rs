//! SQL: deposits and the reports about them.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use wopay_domain::{BlockRef, ChainFamily, ChainName, Timestamp};
use wopay_eventbus::begin;

use super::agreement_store;
use super::store::{Cursor, StoreError, from_sql, to_sql};
use crate::config::Agreement;
use crate::source::Transfer;

/// So far behind the clock, in milliseconds, the ids of reports may be.
const REPORT_IDS_BEHIND_MAX: i64 = 60_000;

/// A deposit as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Observation {
    pub(super) tx_hash: String,
    pub(super) leg: String,
    pub(super) payment_id: Option<Uuid>,
    pub(super) address: String,
    pub(super) asset: String,
    /// `numeric` as text: up to 39 digits.
    pub(super) amount_minor: String,
    pub(super) from_address: Option<String>,
    pub(super) block_number: i64,
    pub(super) block_hash: String,
    pub(super) block_time: Timestamp,
    pub(super) stage: String,
    /// `money`, `dust` or `unknown_token`.
    pub(super) kind: String,
    /// Of the newest report, if there was one.
    pub(super) revision: Option<i64>,
}

impl Observation {
    /// Whether the ledger is to be told of it as it is now. Of money that no payment claims it is told once that is
    /// confirmed, and of everything after that.
    pub(super) fn is_reported(&self) -> bool {
        let is_told = self.payment_id.is_some() || self.stage == "confirmed" || self.revision.is_some();
        self.kind == MONEY && is_told
    }
}

/// Of a configured asset, at least the least that counts.
pub(super) const MONEY: &str = "money";
/// Of a configured asset, less than that.
pub(super) const DUST: &str = "dust";
/// Of a contract or mint that is not configured.
pub(super) const UNKNOWN_TOKEN: &str = "unknown_token";

/// The columns of [`Observation`], for `RETURNING`.
macro_rules! returning {
    ($statement:literal) => {
        concat!(
            $statement,
            " RETURNING o.tx_hash, o.leg, o.payment_id, o.address, o.asset, o.amount_minor::text AS amount_minor,
                o.from_address, o.block_number, o.block_hash, o.block_time, o.stage, o.kind, o.revision"
        )
    };
}

/// A report to be sent.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) id: i64,
    pub(super) aggregate_type: &'static str,
    pub(super) aggregate_id: Uuid,
    pub(super) tx_hash: String,
    pub(super) leg: String,
    pub(super) deposit: String,
    pub(super) message_id: String,
    pub(super) body: String,
}

/// Which of these addresses are in the address pool. Of which family is not asked: addresses of two families never look
/// alike, and so the index by address alone is the one that is used.
pub(super) async fn pooled(pool: &PgPool, addresses: &[&str]) -> Result<Vec<String>, StoreError> {
    let addresses = sqlx::query_scalar("SELECT address FROM address_pool WHERE address = ANY($1)")
        .bind(addresses)
        .fetch_all(pool)
        .await?;
    Ok(addresses)
}

/// Which of these addresses are claimed by payments.
pub(super) async fn claimed(pool: &PgPool, family: ChainFamily, addresses: &[&str]) -> Result<Vec<String>, StoreError> {
    let addresses = sqlx::query_scalar("SELECT key FROM claims WHERE kind = $1 AND key = ANY($2)")
        .bind(claim_kind(family))
        .bind(addresses)
        .fetch_all(pool)
        .await?;
    Ok(addresses)
}

/// An address that a payment claims and that is not in the address pool. Reads both tables: at start only.
pub(super) async fn claimed_beside_pool(pool: &PgPool, family: ChainFamily) -> Result<Option<String>, StoreError> {
    let address = sqlx::query_scalar(
        "SELECT c.key
         FROM claims c
         WHERE c.kind = $1 AND NOT EXISTS (SELECT FROM address_pool p WHERE p.address = c.key)
         LIMIT 1",
    )
    .bind(claim_kind(family))
    .fetch_optional(pool)
    .await?;
    Ok(address)
}

/// Records transfers to addresses of ours as seen, with the payment that claims the address. One that is known in the
/// same block already is left as it is and not returned. In another block a transaction may come out otherwise, with
/// another amount to another address: then it is another payment's.
pub(super) async fn record_transfers(
    conn: &mut PgConnection,
    chain: &ChainName,
    family: ChainFamily,
    confirmations_default: u32,
    transfers: &[(&BlockRef, &Transfer, String)],
    kinds: &[&'static str],
) -> Result<Vec<Observation>, StoreError> {
    let column = |value: fn(&(&BlockRef, &Transfer, String)) -> String| transfers.iter().map(value).collect::<Vec<_>>();
    let from: Vec<Option<&str>> = transfers.iter().map(|(_, transfer, _)| transfer.from.as_deref()).collect();
    let numbers: Vec<i64> = transfers.iter().map(|(block, ..)| to_sql(block.number)).collect();
    let times: Vec<Timestamp> = transfers.iter().map(|(block, ..)| block.time).collect();
    let rows = sqlx::query_as(returning!(
        "INSERT INTO deposit_observations AS o
             (chain, tx_hash, leg, payment_id, address, asset, amount_minor, from_address,
              block_number, block_hash, block_time, required_confirmations, stage, kind)
         SELECT $1, t.tx_hash, t.leg, c.aggregate_id::uuid, t.address, t.asset, t.amount_minor::numeric, t.from_address,
                t.block_number, t.block_hash, t.block_time,
                CASE
                    WHEN c.key IS NULL THEN NULL
                    WHEN c.detail ->> 'chain' = $1 THEN GREATEST(COALESCE((c.detail ->> 'required_confirmations')::int, $3), 1)
                    ELSE GREATEST((c.detail ->> 'required_confirmations')::int, $3)
                END,
                'seen', t.kind
         FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                     $10::bigint[], $11::text[], $12::timestamptz[], $13::text[])
              AS t(tx_hash, leg, address, asset, amount_minor, from_address, block_number, block_hash, block_time, kind)
         LEFT JOIN claims c ON c.kind = $2 AND c.key = t.address
         ON CONFLICT (chain, tx_hash, leg) DO UPDATE
         SET payment_id = CASE WHEN o.revision IS NULL OR o.address <> EXCLUDED.address THEN EXCLUDED.payment_id
                               ELSE o.payment_id END,
             required_confirmations =
                 CASE WHEN o.revision IS NULL OR o.address <> EXCLUDED.address THEN EXCLUDED.required_confirmations
                      ELSE o.required_confirmations END,
             kind = CASE WHEN o.revision IS NULL THEN EXCLUDED.kind ELSE o.kind END,
             address = EXCLUDED.address, asset = EXCLUDED.asset, amount_minor = EXCLUDED.amount_minor,
             from_address = EXCLUDED.from_address, block_number = EXCLUDED.block_number,
             block_hash = EXCLUDED.block_hash, block_time = EXCLUDED.block_time, stage = 'seen'
         WHERE o.stage = 'orphaned' OR o.block_hash <> EXCLUDED.block_hash"
    ))
    .bind(chain.as_str())
    .bind(claim_kind(family))
    .bind(i32::try_from(confirmations_default).unwrap_or(i32::MAX))
    .bind(column(|(_, transfer, _)| transfer.transaction.clone()))
    .bind(column(|(_, _, leg)| leg.clone()))
    .bind(column(|(_, transfer, _)| transfer.to.clone()))
    .bind(column(|(_, transfer, _)| transfer.asset.to_string()))
    .bind(column(|(_, transfer, _)| transfer.minor.to_string()))
    .bind(from)
    .bind(numbers)
    .bind(column(|(block, ..)| block.hash.clone()))
    .bind(times)
    .bind(kinds)
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Matches deposits that came before their payment claimed the address. Not those that the ledger has been told of as
/// nobody's: whose they are is its to say.
pub(super) async fn match_unmatched(
    conn: &mut PgConnection,
    chain: &ChainName,
    family: ChainFamily,
    confirmations_default: u32,
) -> Result<Vec<Observation>, StoreError> {
    let rows = sqlx::query_as(returning!(
        "UPDATE deposit_observations AS o
         SET payment_id = c.aggregate_id::uuid,
             required_confirmations = CASE
                 WHEN c.detail ->> 'chain' = $1 THEN GREATEST(COALESCE((c.detail ->> 'required_confirmations')::int, $3), 1)
                 ELSE GREATEST((c.detail ->> 'required_confirmations')::int, $3)
             END
         FROM claims c
         WHERE o.chain = $1 AND o.payment_id IS NULL AND o.revision IS NULL AND o.stage <> 'orphaned'
           AND c.kind = $2 AND c.key = o.address"
    ))
    .bind(chain.as_str())
    .bind(claim_kind(family))
    .bind(i32::try_from(confirmations_default).unwrap_or(i32::MAX))
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The highest block not above that height with a deposit that waits to be confirmed.
pub(super) async fn newest_waiting(
    pool: &PgPool,
    chain: &ChainName,
    height: u64,
) -> Result<Option<Cursor>, StoreError> {
    let block: Option<(i64, String)> = sqlx::query_as(
        "SELECT block_number, block_hash
         FROM deposit_observations
         WHERE chain = $1 AND stage = 'seen' AND block_number <= $2
         ORDER BY block_number DESC
         LIMIT 1",
    )
    .bind(chain.as_str())
    .bind(to_sql(height))
    .fetch_optional(pool)
    .await?;
    Ok(block.map(|(height, hash)| Cursor { height: from_sql(height), hash }))
}

/// Confirms the seen deposits that are deep enough below `height` and not above `final_height`; money that no payment
/// claims is deep enough with `confirmations_default`. Those above the amounts of
/// `rule` only if they are `agreed`, each as [`agreement_store::identity`] says.
pub(super) async fn confirm(
    conn: &mut PgConnection,
    chain: &ChainName,
    height: u64,
    final_height: u64,
    confirmations_default: u32,
    rule: Option<&Agreement>,
    agreed: &[&str],
) -> Result<Vec<Observation>, StoreError> {
    let (assets, above) = agreement_store::amounts(rule);
    let rows = sqlx::query_as(returning!(
        "UPDATE deposit_observations AS o
         SET stage = 'confirmed'
         WHERE o.chain = $1 AND o.stage = 'seen'
           AND o.block_number <= $2 - COALESCE(o.required_confirmations, $7) + 1
           AND o.block_number <= $3
           AND (
               concat_ws(' ', o.block_hash, o.tx_hash, o.leg, o.address, o.asset, o.amount_minor::text) = ANY($6::text[])
               OR NOT EXISTS (
                   SELECT 1
                   FROM unnest($4::text[], $5::text[]) AS large(asset, above)
                   WHERE large.asset = o.asset AND o.amount_minor > large.above::numeric
               )
           )"
    ))
    .bind(chain.as_str())
    .bind(to_sql(height))
    .bind(to_sql(final_height))
    .bind(assets)
    .bind(above)
    .bind(agreed)
    .bind(i32::try_from(confirmations_default).unwrap_or(i32::MAX))
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Orphans the deposits in blocks above `height`.
pub(super) async fn orphan_above(
    conn: &mut PgConnection,
    chain: &ChainName,
    height: u64,
) -> Result<Vec<Observation>, StoreError> {
    let rows = sqlx::query_as(returning!(
        "UPDATE deposit_observations AS o
         SET stage = 'orphaned'
         WHERE o.chain = $1 AND o.block_number > $2 AND o.stage <> 'orphaned'"
    ))
    .bind(chain.as_str())
    .bind(to_sql(height))
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Sees to it that the ids of reports lie above all that were ever given out, also by a database that has since been set
/// back to a backup: its reports may still be in the command stream, and payments would take ours for older ones. So a
/// sequence that is far behind the clock's milliseconds is moved there; one that is not is left alone, for others use it.
pub(super) async fn raise_report_ids(pool: &PgPool) -> Result<(), StoreError> {
    let mut tx = begin(pool).await?;
    // Of watchers that start together, one moves it.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.watcher_outbox', 0))")
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "SELECT setval(sequence.name, sequence.now_ms)
         FROM (
             SELECT pg_get_serial_sequence('watcher_outbox', 'id')::regclass AS name,
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
         ) sequence
         WHERE nextval(sequence.name) < sequence.now_ms - $1",
    )
    .bind(REPORT_IDS_BEHIND_MAX)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Ids for that many reports, growing. To be called under the cursor's lock.
pub(super) async fn next_report_ids(conn: &mut PgConnection, count: usize) -> Result<Vec<i64>, StoreError> {
    let mut ids: Vec<i64> = sqlx::query_scalar(
        "SELECT nextval(pg_get_serial_sequence('watcher_outbox', 'id')) FROM generate_series(1, $1)",
    )
    .bind(i64::try_from(count).unwrap_or(i64::MAX))
    .fetch_all(conn)
    .await?;
    ids.sort_unstable();
    Ok(ids)
}

/// Puts the reports into the outbox and notes their revisions.
pub(super) async fn insert_reports(
    conn: &mut PgConnection,
    chain: &ChainName,
    reports: &[Report],
) -> Result<(), StoreError> {
    let column = |value: fn(&Report) -> &str| reports.iter().map(value).collect::<Vec<_>>();
    let ids: Vec<i64> = reports.iter().map(|report| report.id).collect();
    let aggregates: Vec<Uuid> = reports.iter().map(|report| report.aggregate_id).collect();
    sqlx::query(
        "WITH report AS (
             SELECT * FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                                  $9::text[])
                 AS r(id, aggregate_id, tx_hash, leg, deposit, message_id, body, aggregate_type)
         ), sent AS (
             INSERT INTO watcher_outbox (id, chain, aggregate_type, payment_id, deposit, message_id, body)
             SELECT id, $1, aggregate_type, aggregate_id, deposit, message_id, body::json FROM report
         )
         UPDATE deposit_observations o
         SET revision = report.id
         FROM report
         WHERE o.chain = $1 AND o.tx_hash = report.tx_hash AND o.leg = report.leg",
    )
    .bind(chain.as_str())
    .bind(ids)
    .bind(aggregates)
    .bind(column(|report| &report.tx_hash))
    .bind(column(|report| &report.leg))
    .bind(column(|report| &report.deposit))
    .bind(column(|report| &report.message_id))
    .bind(column(|report| &report.body))
    .bind(column(|report| report.aggregate_type))
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) fn claim_kind(family: ChainFamily) -> String {
    format!("deposit:{family}")
}

/// Turns a confirmed odd deposit into money that no payment claims. `None`: it is not confirmed, or no longer odd.
pub(super) async fn take_up(
    conn: &mut PgConnection,
    chain: &ChainName,
    tx_hash: &str,
    leg: &str,
) -> Result<Option<Observation>, StoreError> {
    let row = sqlx::query_as(returning!(
        "UPDATE deposit_observations AS o
         SET kind = 'money', payment_id = NULL, required_confirmations = NULL
         WHERE o.chain = $1 AND o.tx_hash = $2 AND o.leg = $3 AND o.kind <> 'money' AND o.stage = 'confirmed'"
    ))
    .bind(chain.as_str())
    .bind(tx_hash)
    .bind(leg)
    .fetch_optional(conn)
    .await?;
    Ok(row)
}
