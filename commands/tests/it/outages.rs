//! The database goes away during commits: nothing that was acknowledged is lost, nothing is written twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use wopay_commands::{Created, ExecuteError, Ledger};
use wopay_domain::PaymentId;
use wopay_domain::payment::{PaymentCommand, PaymentError};
use wopay_testkit::eventually;

use crate::support::{assert_whole, count, create, ledger, merchant_id, metadata, seen};

/// Ends the committer's backend once, if it is at work. Whether it was.
async fn kill_committer(pool: &PgPool) -> bool {
    let killed: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'wopay-committer' AND state = 'active'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    !killed.is_empty()
}

#[derive(Default)]
struct Tally {
    acknowledged: Vec<PaymentId>,
    deposits: u64,
    unknown: u64,
}

async fn write(ledger: Ledger, stop: Arc<AtomicBool>, writer: u64, hot: Vec<PaymentId>) -> Tally {
    let merchant = merchant_id();
    let mut tally = Tally::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let wanted = create(merchant, &number.to_string());
        let id = wanted.payment_id;
        match ledger.create_payment(wanted, &metadata(), None).await {
            Ok(Created::New { payment, .. }) => tally.acknowledged.push(payment.id),
            Ok(Created::Existing { .. }) => panic!("an order of its own"),
            Err(ExecuteError::Domain(PaymentError::AlreadyExists)) => panic!("{id} was written twice"),
            Err(error) if error.is_transient() => tally.unknown += 1,
            Err(error) => panic!("{error:?}"),
        }
        let report = PaymentCommand::ObserveDeposit(Box::new(seen(writer * 1_000_000 + number, 1, 1)));
        let shared = hot[usize::try_from(number).unwrap() % hot.len()];
        match ledger.execute_payment(shared, report, &metadata()).await {
            Ok(executed) => {
                assert!(executed.position.is_some(), "it was new");
                tally.deposits += 1;
            }
            Err(error) if error.is_transient() => tally.unknown += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backends_killed_in_commits_lose_nothing_and_double_nothing() {
    let database = wopay_testkit::database().await;
    let killer = database.extra_pool(1).await;
    // Two processes, so that others write between a kill and the answer to it.
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(4).await)];
    let mut hot = Vec::new();
    for number in 0..16 {
        let wanted = create(merchant_id(), &number.to_string());
        hot.push(wanted.payment_id);
        ledgers[0].create_payment(wanted, &metadata(), None).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let ledger = ledgers[usize::try_from(writer % 2).unwrap()].clone();
            tokio::spawn(write(ledger, Arc::clone(&stop), writer, hot.clone()))
        })
        .collect();
    let mut last = 0;
    for _ in 0..40 {
        eventually("a kill after some progress", Duration::from_secs(20), async || {
            let head = count(&killer, "SELECT position FROM ledger_head").await;
            if head < last + 20 || !kill_committer(&killer).await {
                return None;
            }
            last = head;
            Some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut deposits, mut unknown) = (0, 0, 0);
    for writer in writers {
        let tally = writer.await.unwrap();
        for id in &tally.acknowledged {
            assert!(ledgers[0].payment(*id).await.unwrap().is_some(), "an acknowledged payment is lost");
        }
        acknowledged += tally.acknowledged.len();
        deposits += tally.deposits;
        unknown += tally.unknown;
    }
    println!("{acknowledged} payments, {deposits} deposits acknowledged, {unknown} told to try again");
    let recorded = "SELECT count(*) FROM events WHERE event_type = 'DepositDetected'";
    let recorded = u64::try_from(count(&database.pool, recorded).await).unwrap();
    assert!((deposits..=deposits + unknown).contains(&recorded), "{recorded} recorded, {deposits} acknowledged");
    let doubled = "SELECT count(*) FROM (
        SELECT payload #>> '{DepositDetected,deposit}' FROM events WHERE event_type = 'DepositDetected'
        GROUP BY 1 HAVING count(*) > 1) AS doubled";
    assert_eq!(count(&database.pool, doubled).await, 0);
    assert_whole(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_never_reaches_its_database_says_so_and_recovers() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let admin = database.extra_pool(1).await;
    ledger.create_payment(create(merchant_id(), "before"), &metadata(), None).await.unwrap();
    // The table is away: every append fails for certain, by no fault of the commands.
    sqlx::query("ALTER TABLE ledger_head RENAME TO away").execute(&admin).await.unwrap();
    let error = ledger.create_payment(create(merchant_id(), "during"), &metadata(), None).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    sqlx::query("ALTER TABLE away RENAME TO ledger_head").execute(&admin).await.unwrap();
    ledger.create_payment(create(merchant_id(), "after"), &metadata(), None).await.unwrap();
    assert_eq!(count(&database.pool, "SELECT count(*) FROM events").await, 2);
    assert_whole(&database.pool).await;
}
