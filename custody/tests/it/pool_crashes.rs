//! Fillers that are killed at any moment, and several at once.

use std::time::Duration;

use futures::future::join_all;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wopay_custody::{KeyStore, PoolError};
use wopay_testkit::{database, eventually};

use crate::pool::{assert_exact, end, filler, set_cursor, wallet};

const FILLERS: usize = 4;
const ROUNDS: usize = 32;
const TARGET: u32 = 300;
const SOON: Duration = Duration::from_secs(60);

type Running = JoinHandle<Result<(), PoolError>>;

fn start(pool: &PgPool, wallet: &KeyStore) -> Running {
    tokio::spawn(filler(pool, wallet, TARGET).run(CancellationToken::new()))
}

/// Ends every other connection to this database, whatever it is doing.
async fn cut_connections(pool: &PgPool) {
    let statement = "
        SELECT pg_terminate_backend(pid)
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(statement).execute(pool).await.unwrap();
}

/// Waits until a batch is under way, or was and is done; says whether it is under way.
async fn mid_batch(pool: &PgPool, before: i64) -> bool {
    let statement = "
        SELECT EXISTS (
            SELECT
            FROM pg_locks
            WHERE locktype = 'advisory' AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let look = async || {
        let under_way: bool = sqlx::query_scalar(statement).fetch_one(pool).await.unwrap();
        (under_way || end(pool).await > before).then_some(under_way)
    };
    eventually("a batch", SOON, look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_index_is_skipped_or_used_twice_while_fillers_are_killed() {
    let database = database().await;
    let pool = &database.pool;
    let wallet = wallet(pool).await;
    let pools = join_all((0..FILLERS).map(|_| database.extra_pool(2))).await;
    let mut running: Vec<Running> = pools.iter().map(|pool| start(pool, &wallet)).collect();
    let mut killed_mid_batch = 0;
    for round in 0..ROUNDS {
        let before = end(pool).await;
        // All is taken at once, so that every filler wants to work.
        set_cursor(pool, before).await;
        let victims = match round % 4 {
            0 => 0..0,
            1 => round % FILLERS..round % FILLERS + 1,
            _ => 0..FILLERS,
        };
        if mid_batch(pool, before).await && victims.len() == FILLERS {
            killed_mid_batch += 1;
        }
        for victim in victims.clone() {
            running[victim].abort();
        }
        if round % 8 == 4 {
            cut_connections(pool).await;
        }
        for victim in victims {
            running[victim] = start(&pools[victim], &wallet);
        }
        eventually("the pool to grow", SOON, async || (end(pool).await > before).then_some(())).await;
    }
    for task in running {
        task.abort();
        let ended = task.await;
        assert!(ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled), "none gave up: {ended:?}");
    }
    assert!(killed_mid_batch > 0, "no kill met a batch: the test proves too little");
    assert_exact(pool, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fillers_at_once_share_the_work() {
    let database = database().await;
    let wallet = wallet(&database.pool).await;
    let pools = join_all((0..FILLERS).map(|_| database.extra_pool(2))).await;
    let fillers: Vec<_> = pools.iter().map(|pool| filler(pool, &wallet, 0)).collect();
    let added = join_all(fillers.iter().map(|filler| filler.fill_to(2600))).await;
    let added: u64 = added.into_iter().map(Result::unwrap).sum();
    assert_eq!(added, 2600, "nothing is derived twice");
    assert_exact(&database.pool, &wallet).await;
}
