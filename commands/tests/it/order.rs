//! Positions: dense, without a double, and in the order in which appends become visible.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use wopay_commands::{Created, Ledger};
use wopay_domain::PaymentId;
use wopay_domain::payment::{Payment, PaymentCommand};
use wopay_testkit::eventually;

use crate::support::{Row, assert_whole, create, ledger, merchant_id, metadata, rows_after, seen};

const WRITERS: u64 = 64;
const COMMANDS: u64 = 50;
const HOT_PAYMENTS: usize = 4;

/// Follows the ledger by `position > last` alone. Panics at the first position that is not the next.
async fn follow(pool: PgPool, mut until: watch::Receiver<Option<i64>>) -> Vec<Row> {
    let mut seen: Vec<Row> = Vec::new();
    loop {
        let target = *until.borrow_and_update();
        let last = seen.last().map_or(0, |row| row.position);
        let rows = rows_after(&pool, last).await;
        for (row, expected) in rows.iter().zip(last + 1..) {
            assert_eq!(row.position, expected, "a reader saw a later position before this one");
        }
        if rows.is_empty() && target.is_some_and(|target| target <= last) {
            return seen;
        }
        seen.extend(rows);
        tokio::task::yield_now().await;
    }
}

/// Half of a writer's commands open payments, half report deposits on payments that all writers share.
async fn write(ledger: Ledger, writer: u64, hot: Vec<PaymentId>) {
    let merchant = merchant_id();
    for number in 0..COMMANDS {
        if number % 2 == 0 {
            let wanted = create(merchant, &format!("{writer}-{number}"));
            let created = ledger.create_payment(wanted, &metadata(), None).await.unwrap();
            assert!(matches!(created, Created::New { .. }));
        } else {
            let transaction = writer * COMMANDS + number;
            let payment = hot[usize::try_from(transaction).unwrap() % hot.len()];
            let report = PaymentCommand::ObserveDeposit(Box::new(seen(transaction, 1, 1)));
            // With so many on one stream a command may run out of tries; who sends it repeats it, as the inbox does.
            let executed = loop {
                match ledger.execute_payment(payment, report.clone(), &metadata()).await {
                    Err(error) if error.is_transient() => {}
                    outcome => break outcome.unwrap(),
                }
            };
            assert!(executed.position.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_dense_positions_in_order_while_64_writers_append() {
    let database = wopay_testkit::database().await;
    // Two write sides, as in two processes: they meet only in the database.
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(4).await)];
    let (stop, until) = watch::channel(None);
    let reader = tokio::spawn(follow(database.extra_pool(1).await, until));
    let mut hot = Vec::new();
    for number in 0..HOT_PAYMENTS {
        let wanted = create(merchant_id(), &format!("hot-{number}"));
        hot.push(wanted.payment_id);
        ledgers[0].create_payment(wanted, &metadata(), None).await.unwrap();
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(ledgers[usize::try_from(writer % 2).unwrap()].clone(), writer, hot.clone())))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let head: i64 = sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(&database.pool).await.unwrap();
    stop.send(Some(head)).unwrap();
    let rows = reader.await.unwrap();
    assert_eq!(i64::try_from(rows.len()).unwrap(), head);
    assert_streams_follow_positions(&rows);
    assert_whole(&database.pool).await;
    let deposits = rows.iter().filter(|row| row.event_type == "DepositDetected").count();
    assert_eq!(u64::try_from(deposits).unwrap(), WRITERS * COMMANDS / 2, "every deposit once");
    for ledger in ledgers {
        for payment in &hot {
            // What the ledger answers is what the stream says.
            let loaded = ledger.store().load::<Payment>(&payment.to_string()).await.unwrap();
            let (state, sequence) = ledger.payment(*payment).await.unwrap().unwrap();
            assert_eq!((loaded.state().state(), loaded.sequence()), (Some(&state), sequence));
        }
        ledger.shutdown().await;
    }
}

fn assert_streams_follow_positions(rows: &[Row]) {
    let mut last: HashMap<&str, i64> = HashMap::new();
    for row in rows {
        let before = last.insert(&row.aggregate_id, row.sequence).unwrap_or(0);
        assert_eq!(row.sequence, before + 1, "a stream's events have rising positions");
    }
}

#[tokio::test]
async fn recorded_times_follow_positions() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let merchant = merchant_id();
    for number in 0..20 {
        ledger.create_payment(create(merchant, &number.to_string()), &metadata(), None).await.unwrap();
    }
    let backwards = "SELECT count(*) FROM events a JOIN events b ON b.position = a.position + 1
        WHERE b.recorded_at < a.recorded_at";
    assert_eq!(crate::support::count(&database.pool, backwards).await, 0);
}

#[tokio::test]
async fn shutting_down_writes_what_waits_and_refuses_what_comes() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let merchant = merchant_id();
    let waiting: Vec<_> = (0..300)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                ledger.create_payment(create(merchant, &number.to_string()), &metadata(), None).await
            })
        })
        .collect();
    let some = eventually("the first payments", Duration::from_secs(10), async || {
        let written = crate::support::count(&database.pool, "SELECT count(*) FROM events").await;
        (written > 0).then_some(written)
    });
    some.await;
    ledger.shutdown().await;
    let (mut written, mut refused) = (0_i64, 0);
    for outcome in waiting {
        match outcome.await.unwrap() {
            Ok(_) => written += 1,
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                refused += 1;
            }
        }
    }
    assert_eq!(written + refused, 300);
    assert_eq!(crate::support::count(&database.pool, "SELECT count(*) FROM events").await, written);
    let late = ledger.create_payment(create(merchant, "late"), &metadata(), None).await;
    assert!(late.is_err_and(|error| error.is_transient()));
}

/// So that a moment is found among positions by halving, whatever the clock does.
#[tokio::test]
async fn times_of_recording_never_go_back() {
    let pool = wopay_testkit::database().await.pool;
    let ledger = ledger(&pool);
    // A clock that was an hour ahead and has been set right.
    sqlx::query("UPDATE ledger_head SET recorded_at = now() + interval '1 hour'").execute(&pool).await.unwrap();
    let ahead: wopay_domain::Timestamp =
        sqlx::query_scalar("SELECT recorded_at FROM ledger_head").fetch_one(&pool).await.unwrap();
    let merchant = merchant_id();
    for number in 0..20 {
        ledger.create_payment(create(merchant, &format!("order {number}")), &metadata(), None).await.unwrap();
        // One that loses: its group is appended with care.
        let mut other = create(merchant, &format!("order {number}"));
        other.terms.callback_url = Some("https://other.example".to_owned());
        ledger.create_payment(other, &metadata(), None).await.unwrap_err();
    }
    let times: Vec<wopay_domain::Timestamp> =
        sqlx::query_scalar("SELECT recorded_at FROM events ORDER BY position").fetch_all(&pool).await.unwrap();
    assert_eq!((times.len(), times.iter().all(|time| *time == ahead)), (20, true), "{times:?}");
    assert_whole(&pool).await;
}
