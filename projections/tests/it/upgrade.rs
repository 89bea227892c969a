//! A ledger of the version before journals: migrated with its events, rebuilt, and gone on with.

use std::path::Path;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use uuid::Uuid;
use wopay_domain::payment::{DepositStage, PaymentCommand};
use wopay_domain::{Money, PaymentId};
use wopay_eventbus::checkpoint;
use wopay_projections::{
    AsOfPoint, FOLLOWER, QueryError, ReadModel, Standing, balances, check, feed, journal, rebuild, rebuild_models,
    standings,
};

use crate::support::{
    NoProfiles, TestLedger, assert_projected, asset, at, block, create, merchant_id, project_once, report, settle,
};

/// The last migration before journals.
const BEFORE: i64 = 8;

fn id(number: u32) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(u128::from(number)))
}

fn open(ledger: &mut TestLedger, number: u32) {
    let create = create(id(number), merchant_id(0), &format!("order {number}"), 1_000_000, at(number));
    ledger.book.payment(id(number), PaymentCommand::Create(Box::new(create))).unwrap();
}

fn observe(ledger: &mut TestLedger, number: u32, revision: u64, stage: DepositStage) {
    let amount = Money::new(1_000_000, asset().id);
    let report = report((number, 0), revision, amount, block(5, 0), stage);
    ledger.book.payment(id(number), PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
}

/// Paid and confirmed; seen; confirmed and orphaned.
fn history(ledger: &mut TestLedger) {
    (1..=3).for_each(|number| open(ledger, number));
    settle(&mut ledger.book, id(1), 1, 1_000_000);
    observe(ledger, 2, 1, DepositStage::Seen { confirmations: 1 });
    observe(ledger, 3, 1, DepositStage::Confirmed { confirmations: 12 });
    observe(ledger, 3, 2, DepositStage::Orphaned);
}

async fn migrate(pool: &PgPool, upto: i64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut migrator = Migrator::new(folder).await.unwrap();
    migrator.migrations.to_mut().retain(|migration| migration.version <= upto);
    migrator.run(pool).await.unwrap();
}

/// The events that are not written yet, in the shapes of 1.0.
async fn write_as_before(ledger: &mut TestLedger) {
    ledger.write().await;
    sqlx::query(
        "UPDATE events
         SET event_version = '1.0',
             payload = json_build_object(event_type, (payload -> event_type)::jsonb - 'merchant_id' - 'releases_pending')
         WHERE event_type IN ('DepositDetected', 'DepositReincluded')",
    )
    .execute(&ledger.pool)
    .await
    .unwrap();
    sqlx::query(
        "UPDATE events
         SET event_version = '1.0',
             payload = json_build_object(event_type, (payload -> event_type)::jsonb - 'releases_pending')
         WHERE event_version <> '1.0'",
    )
    .execute(&ledger.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_ledger_without_a_journal_gets_one() {
    let database = wopay_testkit::empty_database().await;
    migrate(&database.pool, BEFORE).await;
    let mut ledger = TestLedger::on(database);
    history(&mut ledger);
    write_as_before(&mut ledger).await;
    let events = ledger.events().await;
    let head = events.last().unwrap().position;
    let mut tx = ledger.pool.begin().await.unwrap();
    checkpoint::lock(&mut tx, FOLLOWER).await.unwrap();
    checkpoint::advance(&mut tx, FOLLOWER, head).await.unwrap();
    tx.commit().await.unwrap();
    migrate(&ledger.pool, i64::MAX).await;

    // Nobody is told that the books are empty: they are not made yet.
    let empty = journal::trial_balance(&ledger.pool, AsOfPoint::NOW).await.unwrap();
    assert_eq!((empty.as_of_position, empty.value), (0, Vec::new()));
    let asked = journal::trial_balance(&ledger.pool, AsOfPoint::position(head)).await;
    assert!(matches!(asked, Err(QueryError::NotReached { reached: 0, .. })), "{asked:?}");
    let merchant = merchant_id(0);
    assert_eq!(balances::of_merchant(&ledger.pool, merchant).await.unwrap().as_of_position, 0);
    assert_eq!(feed::after(&ledger.pool, merchant, 0, 10).await.unwrap().as_of_position, 0);
    assert!(project_once(&ledger.pool, &ledger.handler(), 10).await.is_ok_and(|applied| !applied));
    rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    for version in standings(&ledger.pool).await.unwrap() {
        assert_eq!(version.standing, Standing::Current, "{:?}", version.model);
    }

    // What was seen before is confirmed now, what was confirmed before is orphaned now.
    ledger.reload(&events);
    assert_projected(&ledger.pool, &ledger.book).await;
    observe(&mut ledger, 2, 2, DepositStage::Confirmed { confirmations: 12 });
    let amount = Money::new(1_000_000, asset().id);
    let gone = report((1, 0), 2, amount, block(5, 0), DepositStage::Orphaned);
    ledger.book.payment(id(1), PaymentCommand::ObserveDeposit(Box::new(gone))).unwrap();
    open(&mut ledger, 4);
    settle(&mut ledger.book, id(4), 4, 1_000_000);
    ledger.project().await;
    assert_projected(&ledger.pool, &ledger.book).await;
    for position in 0..=ledger.events().await.last().unwrap().position {
        let books = journal::trial_balance(&ledger.pool, AsOfPoint::position(position)).await.unwrap();
        assert!(books.value.iter().all(journal::TrialBalance::is_balanced), "{books:?}");
    }
    let checked = check(&ledger.pool, &NoProfiles, Some(ReadModel::Journal.as_str()), 5, |_| {}).await.unwrap();
    assert_eq!(checked.differences(), 0, "{checked:?}");
}

/// The last migration before a deposit's row was of a payment.
const BEFORE_PAYMENTS_IN_KEYS: i64 = 25;

#[tokio::test]
async fn rows_that_were_of_deposits_alone_are_made_again() {
    let database = wopay_testkit::empty_database().await;
    migrate(&database.pool, BEFORE_PAYMENTS_IN_KEYS).await;
    let mut ledger = TestLedger::on(database);
    history(&mut ledger);
    ledger.project().await;
    for statement in [
        "UPDATE projection_versions SET version = 1 WHERE model IN ('blockchain_transactions', 'unmatched_deposits')",
        "UPDATE blockchain_transactions
         SET id = left(encode(sha256(convert_to(concat_ws(':', blockchain, transaction_hash, leg), 'UTF8')), 'hex'), 32)::uuid",
    ] {
        sqlx::query(statement).execute(&ledger.pool).await.unwrap();
    }
    migrate(&ledger.pool, i64::MAX).await;

    let outdated: Vec<ReadModel> = standings(&ledger.pool)
        .await
        .unwrap()
        .into_iter()
        .filter(|version| version.standing == Standing::Outdated { stored: Some(1) })
        .map(|version| version.model)
        .collect();
    assert_eq!(outdated, [ReadModel::BlockchainTransactions, ReadModel::UnmatchedDeposits]);
    // What was there is shown meanwhile.
    assert_projected(&ledger.pool, &ledger.book).await;
    rebuild_models(&ledger.pool, &NoProfiles, &outdated, |_| {}).await.unwrap();
    // The orphaned deposit comes again, as another payment's.
    let again =
        report((3, 0), 9, Money::new(1_000_000, asset().id), block(6, 1), DepositStage::Seen { confirmations: 1 });
    ledger.book.payment(id(1), PaymentCommand::ObserveDeposit(Box::new(again))).unwrap();
    ledger.project().await;
    assert_projected(&ledger.pool, &ledger.book).await;
    assert_eq!(check(&ledger.pool, &NoProfiles, None, 5, |_| {}).await.unwrap().differences(), 0);
}
