//! Processes that die, and processes that share the work.

use std::time::Duration;

use wopay_domain::payment::{PaymentEvent, PaymentStatus};
use wopay_testkit::{Answer, eventually, http_receiver};
use wopay_webhooks::DelivererConfig;

use crate::world::{SOON, World, fast, standing, verify};

#[tokio::test]
async fn a_crash_between_claim_and_settlement_delivers_again() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_next(Answer::hang());
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let config = DelivererConfig {
        attempt_timeout: Duration::from_millis(400),
        lease_margin: Duration::from_millis(100),
        ..fast()
    };
    let dying = world.deliver(config.clone());
    receiver.wait_for(1, SOON).await;
    dying.crash().await;
    let row = world.deliveries(&payment).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("pending", 0));

    let _running = world.deliver(config);
    world.wait_for_state(&payment, "delivered").await;
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(received[0].body, received[1].body);
    verify(&received[1], &merchant.secret);
}

/// The claim runs out while the receiver still thinks, and a second attempt begins. The answer to the first one, which
/// comes while the second is in flight, is logged and settles nothing.
#[tokio::test]
async fn a_lost_claim_settles_nothing() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_next(Answer::status(500).after(Duration::from_millis(500)));
    receiver.answer_next(Answer::ok().after(Duration::from_millis(1_500)));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(fast());
    receiver.wait_for(1, SOON).await;
    // As if the lease had been shorter than the attempt.
    sqlx::query("UPDATE webhook_deliveries SET due_at = now()").execute(world.pool()).await.unwrap();
    world.wait_for_state(&payment, "delivered").await;
    let row = world.deliveries(&payment).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("delivered", 1));
    let attempts = world.attempts(&payment).await;
    let statuses: Vec<_> = attempts.iter().map(|entry| (entry.attempt, entry.http_status)).collect();
    assert_eq!(statuses, [(1, Some(500)), (1, Some(200))]);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn two_deliverers_share_the_work_and_settle_each_delivery_once() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payments: i64 = 300;
    for _ in 0..payments {
        let payment = world.payment(&merchant, None).await;
        world.happened(&payment, &PaymentEvent::PaymentCompleted(standing(PaymentStatus::Completed))).await;
    }
    world.follow(0).await;
    let _both = [world.deliver(fast()), world.deliver(fast())];
    eventually("everything delivered", SOON, async || {
        let left = world.count("SELECT count(*) FROM webhook_deliveries WHERE state <> 'delivered'").await;
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM webhook_logs").await, payments);
    assert_eq!(world.count("SELECT count(DISTINCT delivery_id) FROM webhook_logs").await, payments);
    let received = receiver.received();
    let ids: std::collections::HashSet<_> = received.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!((ids.len(), received.len()), (300, 300));
}

#[tokio::test]
async fn stopping_lets_attempts_in_flight_end() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_always(Answer::ok().after(Duration::from_millis(300)));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let running = world.deliver(fast());
    receiver.wait_for(1, SOON).await;
    running.stop().await;
    assert_eq!(world.deliveries(&payment).await[0].state, "delivered");
}
