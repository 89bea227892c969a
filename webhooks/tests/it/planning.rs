//! Which event is told to whom, and that replays tell nobody anything again.

use wopay_domain::payment::{PaymentEvent, PaymentStatus, Standing};
use wopay_eventbus::{EventHandler, HandlerError};
use wopay_testkit::{http_receiver, lift_protection};

use crate::world::{SOON, TestPayment, World, fast, standing};

async fn planned(world: &World, payment: &TestPayment) -> Vec<(String, i64, String, String)> {
    let rows = world.deliveries(payment).await;
    rows.into_iter().map(|row| (row.event, row.sequence, row.target, row.url)).collect()
}

fn row(event: &str, sequence: i64, target: &str, url: &str) -> (String, i64, String, String) {
    (event.to_owned(), sequence, target.to_owned(), url.to_owned())
}

type StatusEvent = fn(Standing) -> PaymentEvent;

const SHOP: &str = "https://shop.example/hook";
const OTHER: &str = "https://other.example/hook";

#[tokio::test]
async fn every_status_event_is_planned_in_its_name() {
    let world = World::new().await;
    let merchant = world.merchant(Some(SHOP)).await;
    let payment = world.payment(&merchant, None).await;
    let events: [(StatusEvent, PaymentStatus, &str); 10] = [
        (PaymentEvent::PaymentPartiallyPaid, PaymentStatus::PartiallyPaid, "payment.partially_paid"),
        (PaymentEvent::PaymentReopened, PaymentStatus::Pending, "payment.reopened"),
        (PaymentEvent::PaymentConfirming, PaymentStatus::Confirming, "payment.confirming"),
        (PaymentEvent::PaymentCompleted, PaymentStatus::Completed, "payment.completed"),
        (PaymentEvent::PaymentAdjusted, PaymentStatus::Completed, "payment.adjusted"),
        (PaymentEvent::PaymentReversed, PaymentStatus::Reversed, "payment.reversed"),
        (PaymentEvent::PaymentExpired, PaymentStatus::Expired, "payment.expired"),
        (PaymentEvent::PaymentCancelled, PaymentStatus::Cancelled, "payment.cancelled"),
        (PaymentEvent::PaymentHeld, PaymentStatus::Held, "payment.held"),
        (PaymentEvent::PaymentRefunded, PaymentStatus::Refunded, "payment.refunded"),
    ];
    for (event, status, _) in events {
        world.happened(&payment, &event(standing(status))).await;
    }
    world.follow(0).await;
    let expected: Vec<_> =
        (2..).zip(events).map(|(sequence, (_, _, name))| row(name, sequence, "endpoint", SHOP)).collect();
    assert_eq!(planned(&world, &payment).await, expected);
}

#[tokio::test]
async fn both_targets_are_told_and_equal_ones_once() {
    let world = World::new().await;
    let merchant = world.merchant(Some(SHOP)).await;
    let silent = world.merchant(None).await;
    let both = world.completed(&merchant, Some(OTHER)).await;
    let equal = world.completed(&merchant, Some(SHOP)).await;
    let callback = world.completed(&silent, Some(OTHER)).await;
    let nobody = world.completed(&silent, None).await;
    let event = "payment.completed";
    assert_eq!(planned(&world, &both).await, [row(event, 2, "callback", OTHER), row(event, 2, "endpoint", SHOP)]);
    assert_eq!(planned(&world, &equal).await, [row(event, 2, "callback", SHOP)]);
    assert_eq!(planned(&world, &callback).await, [row(event, 2, "callback", OTHER)]);
    assert_eq!(planned(&world, &nobody).await, []);
    let ids: std::collections::HashSet<_> = world.deliveries(&both).await.into_iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 2);
}

/// Also under settings that came later, and with events of before and after in one batch.
#[tokio::test]
async fn a_replay_plans_nothing_again() {
    let world = World::new().await;
    let merchant = world.merchant(Some(SHOP)).await;
    let silent = world.merchant(None).await;
    let payments = [
        world.payment(&merchant, None).await,
        world.payment(&merchant, Some(SHOP)).await,
        world.payment(&merchant, Some(OTHER)).await,
        world.payment(&silent, None).await,
    ];
    let complete = async |event: StatusEvent| {
        for payment in &payments {
            world.happened(payment, &event(standing(PaymentStatus::Completed))).await;
        }
    };
    complete(PaymentEvent::PaymentCompleted).await;
    world.configure(merchant.id, Some(OTHER)).await;
    world.configure(silent.id, Some(SHOP)).await;
    complete(PaymentEvent::PaymentAdjusted).await;
    world.follow(0).await;
    let mut before = Vec::new();
    for payment in &payments {
        before.push(world.deliveries(payment).await);
    }
    let targets: Vec<Vec<(i64, &str)>> =
        before.iter().map(|rows| rows.iter().map(|row| (row.sequence, row.url.as_str())).collect()).collect();
    assert_eq!(
        targets,
        [
            vec![(2, SHOP), (3, OTHER)],
            vec![(2, SHOP), (3, SHOP), (3, OTHER)],
            vec![(2, OTHER), (2, SHOP), (3, OTHER)],
            vec![(3, SHOP)],
        ]
    );
    for after in [0, 0, 3, 7] {
        world.follow(after).await;
    }
    for (payment, before) in payments.iter().zip(&before) {
        assert_eq!(&world.deliveries(payment).await, before);
    }
}

#[tokio::test]
async fn a_forgotten_merchant_is_told_nothing_more() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let other = world.merchant(Some(SHOP)).await;
    let told = world.completed(&merchant, None).await;
    let open = world.payment(&merchant, Some(OTHER)).await;
    world.forget(merchant.id).await;
    let complete = PaymentEvent::PaymentCompleted(standing(PaymentStatus::Completed));
    world.happened(&open, &complete).await;
    for _ in 0..2 {
        world.follow(0).await;
        let states: Vec<_> = world.deliveries(&told).await.into_iter().map(|row| row.state).collect();
        assert_eq!(states, ["disabled"]);
        assert_eq!(planned(&world, &open).await, []);
    }
    let elsewhere = world.completed(&other, None).await;
    assert_eq!(planned(&world, &elsewhere).await, [row("payment.completed", 2, "endpoint", SHOP)]);
}

#[tokio::test]
async fn what_is_rolled_back_was_never_planned() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.payment(&merchant, None).await;
    world.happened(&payment, &PaymentEvent::PaymentCompleted(standing(PaymentStatus::Completed))).await;
    let events = wopay_eventbus::log::read(world.pool(), 0, 100).await.unwrap();
    let mut tx = world.pool().begin().await.unwrap();
    world.planner.apply(&mut tx, &events).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(planned(&world, &payment).await, []);
    world.follow(0).await;
    let _running = world.deliver(fast());
    receiver.wait_for(1, SOON).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_planned_stops_the_planner() {
    let world = World::new().await;
    let merchant = world.merchant(Some(SHOP)).await;
    world.completed(&merchant, None).await;
    lift_protection(world.pool()).await;
    sqlx::query("DELETE FROM events WHERE event_type = 'PaymentCreated'").execute(world.pool()).await.unwrap();
    let events = wopay_eventbus::log::read(world.pool(), 2, 100).await.unwrap();
    let mut tx = world.pool().begin().await.unwrap();
    let error = world.planner.apply(&mut tx, &events).await.unwrap_err();
    assert!(matches!(error, HandlerError::Poison { position: 3, .. }), "{error:?}");
}
