//! A check finds what was tampered with, and nothing else.

use std::sync::Arc;

use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_domain::merchant::{MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::payment::{DepositStage, PaymentCommand};
use wopay_domain::{ApiKeyId, SecretRef};
use wopay_domain::{DepositId, Money, PaymentId};
use wopay_eventbus::{Bus, Follower};
use wopay_projections::{Checked, Found, ReadModel, TableCheck, check, rebuild};

use crate::support::{
    NoProfiles, TestLedger, asset, at, block, create, merchant_id, report, run, settle, snapshot, steps, unmatched,
};

/// A merchant with a key, and payments of which every third is settled.
fn trade(ledger: &mut TestLedger, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
        let create = create(id, merchant_id(0), &format!("order {number}"), 1_000_000, at(number));
        ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
        if number % 3 == 0 {
            settle(&mut ledger.book, id, number, 1_000_000);
        }
    }
}

fn register(ledger: &mut TestLedger) {
    let (id, secret) = (merchant_id(0), SecretRef::from_uuid(Uuid::from_u128(1)));
    let register = RegisterMerchant { merchant_id: id, profile: secret, policy: MerchantPolicy::default(), at: at(0) };
    ledger.book.merchant(id, MerchantCommand::Register(register)).unwrap();
    let key_id = ApiKeyId::from_uuid(Uuid::from_u128(2));
    let issue = MerchantCommand::IssueApiKey { key_id, prefix: "wp_1".to_owned(), secret, at: at(1) };
    ledger.book.merchant(id, issue).unwrap();
}

async fn checked(pool: &PgPool) -> Checked {
    check(pool, &NoProfiles, None, 3, |_| {}).await.unwrap()
}

async fn execute(pool: &PgPool, statement: &str) {
    sqlx::query(statement).execute(pool).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The columns of a table and their types: those of the primary key last.
async fn columns(pool: &PgPool, table: &str) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT attribute.attname::text, format_type(attribute.atttypid, NULL)
         FROM pg_attribute AS attribute
         LEFT JOIN pg_index AS key
             ON key.indrelid = attribute.attrelid AND key.indisprimary AND attribute.attnum = ANY (key.indkey)
         WHERE attribute.attrelid = to_regclass($1) AND attribute.attnum > 0 AND NOT attribute.attisdropped
         ORDER BY key.indrelid IS NOT NULL, attribute.attnum",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Changes a column of one row that is not part of the key, and says which.
async fn alter(pool: &PgPool, table: &str) -> String {
    for (column, kind) in columns(pool, table).await {
        let changed = match kind.as_str() {
            "bigint" | "integer" | "smallint" | "numeric" => format!("{column} + 1"),
            "timestamp with time zone" => format!("{column} + interval '1 second'"),
            _ => continue,
        };
        let statement = format!(
            "UPDATE {table} SET {column} = {changed}
             WHERE ctid = (SELECT ctid FROM {table} WHERE {column} IS NOT NULL LIMIT 1)"
        );
        if sqlx::query(&statement).execute(pool).await.unwrap().rows_affected() == 1 {
            return column;
        }
    }
    panic!("no column of {table} can be altered");
}

fn of<'a>(checked: &'a Checked, table: &str) -> &'a TableCheck {
    checked.tables.iter().find(|found| found.table == table).unwrap()
}

#[tokio::test]
async fn a_tampered_row_of_each_table_is_found() {
    let mut ledger = TestLedger::new().await;
    register(&mut ledger);
    trade(&mut ledger, 0..10);
    let stray =
        report((99, 0), 1, Money::new(5, asset().id), block(5, 0), DepositStage::Confirmed { confirmations: 12 });
    ledger.book.deposit(DepositId::of(&stray.deposit), unmatched(stray)).unwrap();
    ledger.project().await;
    let clean = checked(&ledger.pool).await;
    assert_eq!(clean.differences(), 0, "{clean:?}");
    let rows = snapshot(&ledger.pool).await;
    for model in ReadModel::ALL {
        for table in model.tables() {
            assert!(of(&clean, table).rows > 0, "{table} has no row to tamper with");
            let column = alter(&ledger.pool, table).await;
            let altered = checked(&ledger.pool).await;
            assert_eq!((altered.differences(), of(&altered, table).altered), (1, 1), "{altered:?}");
            let [difference] = &of(&altered, table).first[..] else { panic!("{altered:?}") };
            assert!(!difference.key.is_empty(), "{difference:?}");
            let Found::Altered(columns) = &difference.found else { panic!("{difference:?}") };
            assert_eq!(columns.iter().map(|(stored, _)| &stored.name).collect::<Vec<_>>(), [&column]);
            assert_ne!(columns[0].0.value, columns[0].1.value);

            execute(&ledger.pool, &format!("DELETE FROM {table}")).await;
            let emptied = checked(&ledger.pool).await;
            assert_eq!(of(&emptied, table).missing, of(&clean, table).rows);
            assert_eq!(emptied.differences(), of(&clean, table).rows);
            assert!(of(&emptied, table).first.iter().all(|difference| difference.found == Found::Missing));
            rebuild(&ledger.pool, &NoProfiles, Some(model.as_str()), |_| {}).await.unwrap();
            assert_eq!(snapshot(&ledger.pool).await, rows);
        }
    }
}

#[tokio::test]
async fn a_row_from_nowhere_and_a_number_of_another_scale_are_found() {
    let mut ledger = TestLedger::new().await;
    trade(&mut ledger, 0..4);
    ledger.project().await;
    execute(
        &ledger.pool,
        "INSERT INTO payments
         SELECT (jsonb_populate_record(payments, '{\"id\": \"99999999-0000-0000-0000-000000000000\", \"order_id\": \"x\"}')).*
         FROM payments
         LIMIT 1",
    )
    .await;
    execute(&ledger.pool, "UPDATE payments SET amount_received_minor = 1000000.0 WHERE order_id = 'order 3'").await;
    let found = checked(&ledger.pool).await;
    assert_eq!((of(&found, "payments").unexpected, of(&found, "payments").altered, found.differences()), (1, 1, 2));
    let [altered, unexpected] = &of(&found, "payments").first[..] else { panic!("{found:?}") };
    let Found::Altered(columns) = &altered.found else { panic!("{altered:?}") };
    assert_eq!((columns[0].0.value.as_str(), columns[0].1.value.as_str()), ("1000000.0", "1000000"));
    assert_eq!(unexpected.found, Found::Unexpected);
    assert_eq!(unexpected.key[0].value, "\"99999999-0000-0000-0000-000000000000\"");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%rebuild%'")
        .fetch_one(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn whatever_happens_the_live_rows_are_what_a_check_makes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let property = |(steps, size): (Vec<_>, i64)| {
        runtime.block_on(async {
            let mut ledger = TestLedger::new().await;
            run(&mut ledger.book, &steps);
            ledger.write().await;
            ledger.project_in(&[size]).await;
            let found = checked(&ledger.pool).await;
            assert_eq!(found.differences(), 0, "{found:?}");
        });
        Ok(())
    };
    runner.run(&(steps(), 1_i64..9), property).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_a_live_follower_finds_nothing() {
    let nats = wopay_testkit::nats().await;
    let mut ledger = TestLedger::new().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let token = CancellationToken::new();
    let follower = Follower::new(ledger.pool.clone(), bus, Arc::new(ledger.handler()));
    let status = follower.status();
    let running = tokio::spawn(follower.run(token.clone()));
    let mut positions = Vec::new();
    for round in 0..6 {
        // Not waited for: the follower is at work during the check.
        trade(&mut ledger, round * 400..(round + 1) * 400);
        ledger.write().await;
        let found = checked(&ledger.pool).await;
        assert_eq!(found.differences(), 0, "{found:?}");
        positions.push(found.position);
    }
    assert!(positions.is_sorted() && positions[0] < positions[5], "{positions:?}");
    assert_eq!(status.poisoned(), None);
    token.cancel();
    running.await.unwrap();
}
