//! What cannot be applied stops the follower, and says which event it was.

use uuid::Uuid;
use wopay_domain::payment::PaymentCommand;
use wopay_domain::{PaymentId, RawJson, RecordedEvent};
use wopay_eventbus::HandlerError;

use crate::support::{TestLedger, at, create, merchant_id, settle, snapshot};

async fn history() -> (TestLedger, Vec<RecordedEvent>) {
    let mut ledger = TestLedger::new().await;
    for number in 1..=2_u32 {
        let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
        let create = create(id, merchant_id(0), &format!("order {number}"), 5, at(0));
        ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
        settle(&mut ledger.book, id, number, 5);
    }
    ledger.write().await;
    let events = ledger.events().await;
    (ledger, events)
}

async fn assert_poisoned(ledger: &TestLedger, events: &[RecordedEvent], at_position: i64, why: &str) {
    match ledger.apply(events).await {
        Err(HandlerError::Poison { position, source }) => {
            assert_eq!(position, at_position);
            assert!(source.to_string().contains(why), "{source}");
        }
        other => panic!("wanted poison at {at_position}, got {other:?}"),
    }
    assert_eq!(snapshot(&ledger.pool).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_hole_between_positions() {
    let (ledger, mut events) = history().await;
    events.remove(2);
    assert_poisoned(&ledger, &events, 4, "position 3 had to follow").await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read() {
    let (ledger, mut events) = history().await;
    events[3].payload = RawJson::parse(r#"{ "PaymentTeleported": {} }"#.to_owned()).unwrap();
    assert_poisoned(&ledger, &events, 4, "cannot be read").await;
    events[3].aggregate_type = "unicorn".to_owned();
    assert_poisoned(&ledger, &events, 4, "cannot be read").await;
}

#[tokio::test]
async fn a_change_of_a_row_that_is_not_there() {
    let (ledger, events) = history().await;
    assert_poisoned(&ledger, &events[1..2], 2, "1 rows of payments had to change, 0 did").await;
}

#[tokio::test]
async fn a_row_that_the_database_refuses() {
    let (ledger, mut events) = history().await;
    let mut twin = events[0].clone();
    twin.aggregate_id = Uuid::from_u128(77).to_string();
    twin.position = 2;
    events.truncate(1);
    events.push(twin);
    assert_poisoned(&ledger, &events, 1, "refuses a row").await;
}
