//! What counts as delivered, and what happens otherwise.

use std::time::Duration;

use wopay_domain::payment::{PaymentEvent, PaymentStatus};
use wopay_testkit::{Answer, eventually, http_receiver};
use wopay_webhooks::{DelivererConfig, RetrySchedule};

use crate::world::{SOON, World, fast, standing, verify};

#[tokio::test]
async fn a_failed_attempt_is_repeated_with_the_same_id_and_bytes() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_next(Answer::status(500).body("out of \u{1b}order\0"));
    receiver.answer_next(Answer::broken());
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(fast());
    let delivery = world.wait_for_state(&payment, "delivered").await.remove(0);
    assert!(delivery.settled_at.is_some() && delivery.next_attempt_at.is_none());

    let received = receiver.received();
    for repeated in &received {
        verify(repeated, &merchant.secret);
        assert_eq!(repeated.body, received[0].body);
        assert_eq!(repeated.header("webhook-id"), received[0].header("webhook-id"));
    }
    let attempts = world.attempts(&payment).await;
    let shape: Vec<_> =
        attempts.iter().map(|entry| (entry.attempt, entry.http_status, entry.error.is_none())).collect();
    // The broken answer had begun with 16 KiB, which is all that is read: its status stands.
    assert_eq!(shape, [(1, Some(500), false), (2, Some(200), true)]);
    assert_eq!(attempts[0].error.as_deref(), Some("the receiver answered 500"));
    assert_eq!(attempts[0].response_excerpt.as_deref(), Some("out of order"));
    assert_eq!(attempts[0].url, receiver.url);
    assert_eq!(delivery.attempts, 2);
}

#[tokio::test]
async fn only_2xx_is_success() {
    let world = World::new().await;
    for (status, state) in [(204, "delivered"), (299, "delivered"), (304, "failed"), (404, "failed"), (503, "failed")] {
        let receiver = http_receiver().await;
        receiver.answer_always(Answer::status(status));
        let merchant = world.merchant(Some(&receiver.url)).await;
        let payment = world.completed(&merchant, None).await;
        let config = DelivererConfig { schedule: RetrySchedule::new(vec![Duration::ZERO; 2]), ..fast() };
        let running = world.deliver(config);
        world.wait_for_state(&payment, state).await;
        running.stop().await;
        assert_eq!(receiver.received().len(), if state == "failed" { 2 } else { 1 }, "{status}");
    }
}

#[tokio::test]
async fn the_schedule_ends_in_failure() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_always(Answer::status(500));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(fast());
    let delivery = world.wait_for_state(&payment, "failed").await.remove(0);
    assert_eq!(delivery.attempts, 10);
    let numbers: Vec<_> = world.attempts(&payment).await.iter().map(|entry| entry.attempt).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_next(Answer::status(429).header("retry-after", "1"));
    receiver.answer_next(Answer::status(503).header("retry-after", "999999999"));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(fast());
    let received = receiver.wait_for(2, SOON).await;
    assert!(received[1].instant.duration_since(received[0].instant) >= Duration::from_millis(990));
    let waits = eventually("the second failure", SOON, async || {
        let row = world.deliveries(&payment).await.remove(0);
        (row.attempts == 2).then(|| row.next_attempt_at.unwrap() - chrono::Utc::now())
    })
    .await;
    let day = chrono::TimeDelta::hours(24);
    assert!(waits <= day && waits > day - chrono::TimeDelta::minutes(5), "{waits}");
}

#[tokio::test]
async fn gone_disables_the_merchants_endpoint() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_always(Answer::status(410));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let (first, second) = (world.payment(&merchant, None).await, world.payment(&merchant, None).await);
    for payment in [&first, &second] {
        world.happened(payment, &PaymentEvent::PaymentCompleted(standing(PaymentStatus::Completed))).await;
    }
    world.follow(0).await;
    let one_at_a_time = DelivererConfig { in_flight_lane_max: 1, ..fast() };
    let _running = world.deliver(one_at_a_time);
    world.wait_for_state(&first, "disabled").await;
    world.wait_for_state(&second, "disabled").await;
    assert_eq!(receiver.received().len(), 1);
    // Nothing is planned for it any more, until it is configured anew.
    let later = world.completed(&merchant, None).await;
    assert_eq!(world.deliveries(&later).await, []);
    receiver.answer_always(Answer::ok());
    world.configure(merchant.id, Some(&receiver.url)).await;
    let after = world.completed(&merchant, None).await;
    world.wait_for_state(&after, "delivered").await;
    assert_eq!(world.deliveries(&later).await, []);
}

#[tokio::test]
async fn gone_at_a_callback_ends_that_payments_messages_only() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let (callback, endpoint) = (format!("{}/callback", receiver.url), format!("{}/endpoint", receiver.url));
    let merchant = world.merchant(Some(&endpoint)).await;
    receiver.answer_with(|request| match request.uri.path() {
        "/callback" => Answer::status(410),
        _ => Answer::ok(),
    });
    let payment = world.completed(&merchant, Some(&callback)).await;
    let _running = world.deliver(fast());
    let states = eventually("both settled", SOON, async || {
        let rows = world.deliveries(&payment).await;
        let settled = rows.iter().all(|row| row.state != "pending");
        settled.then(|| rows.into_iter().map(|row| (row.target, row.state)).collect::<Vec<_>>())
    })
    .await;
    assert_eq!(states, [("callback".into(), "disabled".into()), ("endpoint".into(), "delivered".into())]);
    let other = world.completed(&merchant, None).await;
    world.wait_for_state(&other, "delivered").await;
}

#[tokio::test]
async fn without_a_secret_a_delivery_waits_and_is_made_when_it_comes() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(None).await;
    sqlx::query("DELETE FROM secrets").execute(world.pool()).await.unwrap();
    let payment = world.completed(&merchant, Some(&receiver.url)).await;
    let config = DelivererConfig { schedule: RetrySchedule::new(vec![Duration::from_millis(20); 1_000]), ..fast() };
    let _running = world.deliver(config);
    eventually("a failed attempt", SOON, async || {
        let error = world.attempts(&payment).await.first()?.error.clone();
        (error.as_deref() == Some("the signing secret is not available")).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 0);
    let secret = world.configure(merchant.id, None).await;
    world.follow(0).await;
    world.wait_for_state(&payment, "delivered").await;
    verify(&receiver.received()[0], &secret);
}
