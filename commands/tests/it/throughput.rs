//! Measures, for those who work on the append: `cargo test -p wopay-commands --release -- --ignored throughput --nocapture`.
//! The figures that count come from `bench/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use wopay_commands::store::CommitterOptions;
use wopay_commands::{Created, Ledger, LedgerOptions};
use wopay_eventbus::AppendSignal;

use crate::support::{assert_whole, count, create, merchant_id, metadata};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn throughput_of_new_payments() {
    let database = wopay_testkit::database().await;
    let pool = PgPoolOptions::new().max_connections(4).test_before_acquire(false).connect(&database.url).await.unwrap();
    for (callers, lanes) in [(64, 1), (64, 2), (1024, 1), (1024, 2)] {
        let committer = CommitterOptions { lanes, ..CommitterOptions::default() };
        let options = LedgerOptions { committer, ..LedgerOptions::default() };
        let ledger = Ledger::start(pool.clone(), AppendSignal::new(), options);
        let created = Arc::new(AtomicU64::new(0));
        let appends_before = count(&database.pool, "SELECT count(DISTINCT recorded_at) FROM events").await;
        let deadline = Instant::now() + Duration::from_secs(4);
        let started = Instant::now();
        let tasks = (0..callers).map(|caller| {
            let (ledger, created) = (ledger.clone(), Arc::clone(&created));
            tokio::spawn(async move {
                let merchant = merchant_id();
                for order in 0.. {
                    if Instant::now() > deadline {
                        return;
                    }
                    let create = create(merchant, &format!("order-{caller}-{order}"));
                    let answer = ledger.create_payment(create, &metadata(), None).await.unwrap();
                    assert!(matches!(answer, Created::New { .. }));
                    created.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        ledger.shutdown().await;
        let created = created.load(Ordering::Relaxed);
        let rate = u128::from(created) * 1000 / started.elapsed().as_millis();
        let appends = count(&database.pool, "SELECT count(DISTINCT recorded_at) FROM events").await - appends_before;
        println!("{callers} callers, {lanes} lanes: {created} payments, {rate}/s, {appends} appends");
    }
    assert_whole(&database.pool).await;
}
