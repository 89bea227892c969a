//! A page of odd money costs what it shows, however much there is.

use std::collections::BTreeSet;

use sqlx::PgPool;
use wopay_projections::deposits::{DepositFilter, DepositState, list};

use crate::support::TestLedger;

/// Rows in each of the three tables. A page shows so many, and every branch of the list reads at most one more.
const ROWS: i64 = 20_000;
const PAGE: u16 = 50;
const BRANCHES: i64 = 11;
/// What the watchers keep is ordered by block: all rows of a page's last block are read.
const ROWS_PER_BLOCK: i64 = 10;

/// Much of everything; an orphaned one is rare, and money that is not odd is most of a table.
async fn fill(pool: &PgPool) {
    for statement in [
        "INSERT INTO deposit_observations (chain, tx_hash, leg, address, asset, amount_minor, block_number, block_hash,
                                           block_time, stage, kind)
         SELECT 'ethereum', 'd' || n, 'native', 'ours', 'ethereum/native', 1, n / $2, 'b',
                '2026-01-01T00:00:00Z'::timestamptz + n / $2 * interval '1 second',
                CASE WHEN n % 998 = 0 THEN 'orphaned' ELSE 'confirmed' END,
                (ARRAY['money', 'dust', 'dust', 'unknown_token'])[n % 4 + 1]
         FROM generate_series(1, $1) AS n",
        "INSERT INTO unmatched_deposits (id, blockchain, transaction_hash, leg, to_address, asset, amount_minor, block_hash,
                                         block_time, status, decision, payment_id, is_counted, created_at, updated_at, position)
         SELECT gen_random_uuid(), 'ethereum', 'u' || n, 'native', 'ours', 'ethereum/native', 1, 'b',
                '2026-01-01T00:00:00Z'::timestamptz + n / $2 * interval '1 second',
                CASE WHEN n % 998 = 0 THEN 'orphaned' ELSE 'recorded' END,
                decision, CASE WHEN decision = 'assigned' THEN gen_random_uuid() END,
                decision IS NOT DISTINCT FROM 'assigned' AND n % 500 <> 1, now(), now(), n
         FROM generate_series(1, $1) AS n
         CROSS JOIN LATERAL (SELECT (ARRAY[NULL, 'assigned', 'refunded'])[n % 3 + 1] AS decision) AS decided",
        "INSERT INTO blockchain_transactions (id, payment_id, merchant_id, blockchain, transaction_hash, leg, to_address,
                                              asset, amount_minor, block_hash, block_time, status, disposition, hold_reason,
                                              decision, created_at, updated_at, position)
         SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'ethereum', 't' || n, 'native', 'ours',
                'ethereum/native', 1, 'b', '2026-01-01T00:00:00Z'::timestamptz + n / $2 * interval '1 second',
                CASE WHEN n % 998 = 0 THEN 'orphaned' ELSE 'confirmed' END,
                CASE WHEN n % 4 > 1 THEN 'hold' ELSE 'credit' END, CASE WHEN n % 4 > 1 THEN 'late' END,
                (ARRAY[NULL, 'assigned', NULL, 'refunded'])[n % 4 + 1], now(), now(), n
         FROM generate_series(1, $1) AS n",
    ] {
        sqlx::query(statement).bind(ROWS).bind(ROWS_PER_BLOCK).execute(pool).await.unwrap();
    }
    sqlx::query("ANALYZE").execute(pool).await.unwrap();
}

/// Rows that the connection has read of the three tables so far.
async fn rows_read(pool: &PgPool) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_scalar(
        "SELECT sum(seq_tup_read + COALESCE(idx_tup_fetch, 0))::bigint
         FROM pg_stat_user_tables
         WHERE relname IN ('deposit_observations', 'unmatched_deposits', 'blockchain_transactions')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_page_reads_what_it_shows() {
    let ledger = TestLedger::new().await;
    // Counters of other connections would come late.
    let pool = ledger.pool_of_one().await;
    fill(&pool).await;
    let states = DepositState::ALL.map(|state| vec![state]).into_iter().chain([Vec::new()]);
    for states in states {
        let filter = DepositFilter { states, ..DepositFilter::default() };
        let (mut seen, mut after) = (BTreeSet::new(), None);
        for page_number in 1..=3 {
            let before = rows_read(&pool).await;
            let page = list(&pool, &filter, after.as_ref(), PAGE).await.unwrap();
            let read = rows_read(&pool).await - before;
            let branches = if filter.states.is_empty() { BRANCHES } else { 3 };
            let most = branches * (i64::from(PAGE) + 1 + 4 * ROWS_PER_BLOCK);
            assert!(read > 0 && read <= most, "{filter:?}, page {page_number}: {read} rows");
            assert!(page.items.iter().all(|it| seen.insert(it.id)), "{filter:?}");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(!seen.is_empty(), "{filter:?}");
    }
}
