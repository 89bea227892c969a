//! Rows of another version are never added to, and a rebuild makes them this version's.

use uuid::Uuid;
use wopay_domain::PaymentId;
use wopay_domain::payment::PaymentCommand;
use wopay_eventbus::HandlerError;
use wopay_projections::{PoisonError, ReadModel, Standing, rebuild, standings};

use crate::support::{NoProfiles, TestLedger, at, create, merchant_id, project_once};

async fn open(ledger: &mut TestLedger, number: u32) {
    let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
    let create = create(id, merchant_id(0), &format!("order {number}"), 1_000_000, at(number));
    ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
    ledger.write().await;
}

async fn standing(ledger: &TestLedger, model: ReadModel) -> Standing {
    let versions = standings(&ledger.pool).await.unwrap();
    versions.into_iter().find(|version| version.model == model).unwrap().standing
}

async fn execute(ledger: &TestLedger, statement: &str) {
    sqlx::query(statement).execute(&ledger.pool).await.unwrap();
}

/// What the handler says to the next batch, and how many payments there are then.
async fn next(ledger: &TestLedger) -> (Result<bool, HandlerError>, i64) {
    let done = project_once(&ledger.pool, &ledger.handler(), 100).await;
    (done, sqlx::query_scalar("SELECT count(*) FROM payments").fetch_one(&ledger.pool).await.unwrap())
}

fn is_about_version(done: &Result<bool, HandlerError>) -> bool {
    let Err(HandlerError::Poison { source, .. }) = done else { return false };
    matches!(source.downcast_ref(), Some(PoisonError::Version { model: "payments", .. }))
}

#[tokio::test]
async fn the_first_event_writes_the_versions_down() {
    let mut ledger = TestLedger::new().await;
    for model in ReadModel::ALL {
        assert_eq!(standing(&ledger, model).await, Standing::Empty);
    }
    open(&mut ledger, 1).await;
    assert!(matches!(next(&ledger).await, (Ok(true), 1)));
    for model in ReadModel::ALL {
        assert_eq!(standing(&ledger, model).await, Standing::Current);
    }
}

#[tokio::test]
async fn rows_of_another_version_are_left_alone_until_they_are_rebuilt() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 1).await;
    assert!(matches!(next(&ledger).await, (Ok(true), 1)));
    open(&mut ledger, 2).await;
    for (statement, expected) in [
        ("UPDATE projection_versions SET version = 0 WHERE model = 'payments'", Standing::Outdated { stored: Some(0) }),
        ("UPDATE projection_versions SET version = 99 WHERE model = 'payments'", Standing::Newer { stored: 99 }),
        ("DELETE FROM projection_versions WHERE model = 'payments'", Standing::Outdated { stored: None }),
    ] {
        execute(&ledger, statement).await;
        assert_eq!(standing(&ledger, ReadModel::Payments).await, expected);
        assert_eq!(standing(&ledger, ReadModel::Merchants).await, Standing::Current);
        let (done, payments) = next(&ledger).await;
        assert!(is_about_version(&done), "{done:?}");
        assert_eq!(payments, 1);
    }
    let rebuilt = rebuild(&ledger.pool, &NoProfiles, Some("payments"), |_| {}).await.unwrap();
    assert_eq!((rebuilt.position, standing(&ledger, ReadModel::Payments).await), (1, Standing::Current));
    let versions = standings(&ledger.pool).await.unwrap();
    let last = versions.iter().find(|version| version.model == ReadModel::Payments).unwrap().rebuilt.unwrap();
    assert_eq!(last.position, 1);
    assert!(matches!(next(&ledger).await, (Ok(true), 2)));
}
