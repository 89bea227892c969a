//! SQL of the worlds: what others than the watchers write, and what is read to judge.

use serde::Deserialize;
use sqlx::PgPool;

use super::plan::{Payer, Plan};

/// Puts the addresses into the pool: those of open payments are claimed, the others ready to be.
pub(super) async fn register(pool: &PgPool, plan: &Plan, payers: &[Payer]) {
    let of = |value: fn(&Payer) -> String| payers.iter().map(value).collect::<Vec<_>>();
    sqlx::query(
        "WITH payer AS (
             SELECT *
             FROM unnest($3::text[], $4::text[], $5::int[], $6::boolean[]) AS p(address, id, confirmations, claimed)
         ), pooled AS (
             INSERT INTO address_pool (family, idx, address)
             SELECT $1, (SELECT count(*) FROM address_pool) + row_number() OVER (), address
             FROM payer
         )
         INSERT INTO claims (kind, key, aggregate_id, detail)
         SELECT 'deposit:' || $1, address, id,
                json_build_object('required_confirmations', confirmations, 'chain', $2::text)
         FROM payer
         WHERE claimed",
    )
    .bind(plan.family.as_str())
    .bind(plan.name.as_str())
    .bind(of(|payer| payer.address.clone()))
    .bind(of(|payer| payer.id.to_string()))
    .bind(payers.iter().map(|payer| i32::try_from(payer.confirmations).unwrap()).collect::<Vec<_>>())
    .bind(payers.iter().map(|payer| payer.claimed).collect::<Vec<_>>())
    .execute(pool)
    .await
    .unwrap();
    for payer in payers.iter().filter(|payer| payer.claimed && plan.compares) {
        show_open(pool, plan, payer).await;
    }
}

/// The read model of payments shows one that is open: its balance is compared.
async fn show_open(pool: &PgPool, plan: &Plan, payer: &Payer) {
    sqlx::query(
        "INSERT INTO payments (id, merchant_id, order_id, amount, currency, blockchain, payment_address, expires_at,
                               created_at, updated_at, asset, decimals, amount_minor, required_confirmations, position)
         VALUES ($1::uuid, $1::uuid, $1, 1, 'SIM', $2, $3, 'infinity', now(), now(), $4, 0, 1, 1, 0)",
    )
    .bind(payer.id.to_string())
    .bind(plan.name.as_str())
    .bind(&payer.address)
    .bind(plan.asset.id.as_str())
    .execute(pool)
    .await
    .unwrap();
}

/// A payment is opened at an address that was ready.
pub(super) async fn claim(pool: &PgPool, plan: &Plan, payer: &Payer) {
    sqlx::query(
        "INSERT INTO claims (kind, key, aggregate_id, detail)
         VALUES ('deposit:' || $1, $2, $3, json_build_object('required_confirmations', $4::int, 'chain', $5::text))",
    )
    .bind(plan.family.as_str())
    .bind(&payer.address)
    .bind(payer.id.to_string())
    .bind(i32::try_from(payer.confirmations).unwrap())
    .bind(plan.name.as_str())
    .execute(pool)
    .await
    .unwrap();
    if plan.compares {
        show_open(pool, plan, payer).await;
    }
}

/// Where the cursor stands, for people.
pub(super) async fn cursor(pool: &PgPool, plan: &Plan) -> String {
    sqlx::query_scalar(
        "SELECT COALESCE(max('at ' || height || ' ' || hash), 'nowhere') FROM chain_cursors WHERE chain = $1",
    )
    .bind(plan.name.as_str())
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Whether the watchers have come as far as that block and nothing waits to be confirmed.
pub(super) async fn is_at_rest(pool: &PgPool, plan: &Plan, head: &str) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM chain_cursors WHERE chain = $1 AND hash = $2)
            AND NOT EXISTS (SELECT 1 FROM deposit_observations WHERE chain = $1 AND stage = 'seen')",
    )
    .bind(plan.name.as_str())
    .bind(head)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// The height up to which blocks were searched for unknown tokens, once all that was found is confirmed.
pub(super) async fn swept(pool: &PgPool, plan: &Plan) -> Option<u64> {
    let swept: Option<i64> = sqlx::query_scalar(
        "SELECT swept_height
         FROM chain_cursors
         WHERE chain = $1
           AND NOT EXISTS (
               SELECT 1
               FROM deposit_observations
               WHERE chain = $1 AND kind = 'unknown_token' AND stage = 'seen'
           )",
    )
    .bind(plan.name.as_str())
    .fetch_optional(pool)
    .await
    .unwrap();
    swept.map(|swept| u64::try_from(swept).unwrap())
}

/// The reports that wait in the outbox: id and body.
pub(super) async fn reports(pool: &PgPool, plan: &Plan, after: i64) -> Vec<(i64, String)> {
    sqlx::query_as("SELECT id, body::text FROM watcher_outbox WHERE id > $2 AND chain = $1 ORDER BY id")
        .bind(plan.name.as_str())
        .bind(after)
        .fetch_all(pool)
        .await
        .unwrap()
}

pub(super) async fn delete_reports(pool: &PgPool, ids: &[i64]) {
    sqlx::query("DELETE FROM watcher_outbox WHERE id = ANY($1)").bind(ids).execute(pool).await.unwrap();
}

/// What the database holds of a world in the end.
#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    /// Height, hash, and the height below the first block that was to be processed.
    pub(super) cursor: (u64, String, u64),
    /// Height, hash, what is final.
    pub(super) head: (u64, String, Option<u64>),
    /// Height, hash, hash of the block below; upwards.
    pub(super) blocks: Vec<(u64, String, String)>,
    /// Transaction, leg, address, minor units, block hash, stage, whether a payment has it; of those not orphaned.
    pub(super) deposits: Vec<(String, String, String, u64, String, String, bool)>,
    /// The same of transfers of unknown tokens.
    pub(super) strays: Vec<(String, String, String, u64, String, String, bool)>,
    /// Up to where blocks were searched for them.
    pub(super) swept: u64,
    /// The greatest id of a report.
    pub(super) last_report: i64,
}

pub(super) async fn stored(pool: &PgPool, plan: &Plan) -> Stored {
    let text: String = sqlx::query_scalar(
        "SELECT json_build_object(
             'cursor', (SELECT json_build_array(height, hash, base_height) FROM chain_cursors WHERE chain = $1),
             'head', (SELECT json_build_array(height, hash, finalized_height) FROM chain_heads WHERE chain = $1),
             'blocks', (
                 SELECT json_agg(json_build_array(height, hash, parent_hash) ORDER BY height)
                 FROM chain_blocks
                 WHERE chain = $1
             ),
             'deposits', (
                 SELECT COALESCE(json_agg(json_build_array(
                     tx_hash, leg, address, amount_minor, block_hash, stage, payment_id IS NOT NULL
                 )), '[]')
                 FROM deposit_observations
                 WHERE chain = $1 AND stage <> 'orphaned' AND kind = 'money'
             ),
             'strays', (
                 SELECT COALESCE(json_agg(json_build_array(
                     tx_hash, leg, address, amount_minor, block_hash, stage, payment_id IS NOT NULL
                 )), '[]')
                 FROM deposit_observations
                 WHERE chain = $1 AND stage <> 'orphaned' AND kind <> 'money'
             ),
             'swept', (SELECT swept_height FROM chain_cursors WHERE chain = $1),
             'last_report', (SELECT last_value FROM watcher_outbox_id_seq)
         )::text",
    )
    .bind(plan.name.as_str())
    .fetch_one(pool)
    .await
    .unwrap();
    serde_json::from_str(&text).unwrap()
}
