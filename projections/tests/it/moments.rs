//! What was answered for a moment that is over stays the answer.

use std::time::Duration;

use uuid::Uuid;
use wopay_domain::payment::PaymentCommand;
use wopay_domain::{PaymentId, Timestamp};
use wopay_projections::{AsOfPoint, QueryError, journal};
use wopay_testkit::eventually;

use crate::support::{TestLedger, at, create, merchant_id, settle};

fn pay(ledger: &mut TestLedger, number: u32) {
    let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
    let create = create(id, merchant_id(0), &format!("order {number}"), 1_000_000, at(number));
    ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
    settle(&mut ledger.book, id, number, 1_000_000);
}

fn recorded(moment: Timestamp) -> AsOfPoint {
    AsOfPoint { recorded: Some(moment), ..AsOfPoint::NOW }
}

async fn now(ledger: &TestLedger) -> Timestamp {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&ledger.pool).await.unwrap()
}

/// The append has read the clock and not committed when somebody asks for a moment after that.
#[tokio::test]
async fn an_append_under_way_belongs_to_its_moment() {
    let mut ledger = TestLedger::new().await;
    pay(&mut ledger, 1);
    ledger.project().await;
    let newest = ledger.events().await.last().unwrap().position;
    let mut append = ledger.pool.begin().await.unwrap();
    let recorded_at: Timestamp = sqlx::query_scalar(
        "WITH head AS (
             UPDATE ledger_head
             SET position = position + 1, recorded_at = greatest(recorded_at, clock_timestamp())
             RETURNING position, recorded_at
         )
         INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             recorded_at)
         SELECT head.position, aggregate_type, $1, sequence, event_type, event_version, payload, metadata, head.recorded_at
         FROM head CROSS JOIN (SELECT * FROM events WHERE position = 1) AS first
         RETURNING recorded_at",
    )
    .bind(Uuid::from_u128(7).to_string())
    .fetch_one(&mut *append)
    .await
    .unwrap();
    let moment = now(&ledger).await;
    assert!(recorded_at < moment);
    let pool = ledger.pool.clone();
    let asked = tokio::spawn(async move { journal::trial_balance(&pool, recorded(moment)).await });
    eventually("the question waits, or is answered", Duration::from_secs(10), async || {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
            .fetch_one(&ledger.pool)
            .await
            .unwrap();
        (waiting > 0 || asked.is_finished()).then_some(())
    })
    .await;
    append.commit().await.unwrap();
    let answer = asked.await.unwrap();
    assert!(matches!(answer, Err(QueryError::NotReached { position, .. }) if position == newest + 1), "{answer:?}");
}

/// Nothing is recorded any more in a moment that was answered, though the clock is set back.
#[tokio::test]
async fn an_answered_moment_is_closed() {
    let mut ledger = TestLedger::new().await;
    pay(&mut ledger, 1);
    ledger.project().await;
    let moment = now(&ledger).await;
    let answer = journal::trial_balance(&ledger.pool, recorded(moment)).await.unwrap();
    let head: Timestamp =
        sqlx::query_scalar("SELECT recorded_at FROM ledger_head").fetch_one(&ledger.pool).await.unwrap();
    assert!(moment < head, "the next event could be recorded at {head}, within {moment}");
    assert_eq!(journal::trial_balance(&ledger.pool, recorded(moment)).await.unwrap(), answer);
    // One that is not over closes nothing: appends would run ahead of the clock.
    let ahead = now(&ledger).await + Duration::from_secs(3_600);
    journal::trial_balance(&ledger.pool, recorded(ahead)).await.unwrap();
    let after: Timestamp =
        sqlx::query_scalar("SELECT recorded_at FROM ledger_head").fetch_one(&ledger.pool).await.unwrap();
    assert_eq!(after, head);
}
