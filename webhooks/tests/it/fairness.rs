//! A receiver that is slow or dead delays nobody else.

use std::time::{Duration, Instant};

use wopay_domain::payment::{PaymentEvent, PaymentStatus};
use wopay_testkit::{Answer, HttpReceiver, http_receiver};
use wopay_webhooks::DelivererConfig;

use crate::world::{SOON, TestMerchant, World, fast, standing};

/// What a delivery may take while others are in trouble. An attempt at a dead receiver takes ten times as long.
const PROMPTLY: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(20);

fn config() -> DelivererConfig {
    DelivererConfig { attempt_timeout: DEAD, ..fast() }
}

async fn many(world: &World, merchant: &TestMerchant, deliveries: usize) {
    let payment = world.payment(merchant, None).await;
    for _ in 0..deliveries {
        world.happened(&payment, &PaymentEvent::PaymentAdjusted(standing(PaymentStatus::Completed))).await;
    }
    world.follow(0).await;
}

async fn dead(world: &World) -> (HttpReceiver, TestMerchant) {
    let receiver = http_receiver().await;
    receiver.answer_always(Answer::hang());
    let merchant = world.merchant(Some(&receiver.url)).await;
    (receiver, merchant)
}

#[tokio::test]
async fn a_thousand_deliveries_to_a_dead_receiver_delay_nobody() {
    let world = World::new().await;
    let (dead, its_merchant) = dead(&world).await;
    let alive = http_receiver().await;
    let merchant = world.merchant(Some(&alive.url)).await;
    many(&world, &its_merchant, 1_000).await;
    let _running = world.deliver(config());
    dead.wait_for(1, SOON).await;
    for count in 1..=5 {
        let started = Instant::now();
        world.completed(&merchant, None).await;
        alive.wait_for(count, PROMPTLY).await;
        assert!(started.elapsed() < PROMPTLY);
    }
    // Its lane's limit, and no more.
    assert!(dead.received().len() <= 32, "{}", dead.received().len());
}

#[tokio::test]
async fn two_merchants_at_one_host_do_not_share_a_lane() {
    let world = World::new().await;
    let receiver = http_receiver().await;
    receiver.answer_with(|request| if request.uri.path() == "/dead" { Answer::hang() } else { Answer::ok() });
    let dead = world.merchant(Some(&format!("{}/dead", receiver.url))).await;
    let alive = world.merchant(Some(&format!("{}/alive", receiver.url))).await;
    many(&world, &dead, 100).await;
    let _running = world.deliver(config());
    receiver.wait_for(1, SOON).await;
    let payment = world.completed(&alive, None).await;
    wopay_testkit::eventually("a delivery", PROMPTLY, async || {
        (world.deliveries(&payment).await[0].state == "delivered").then_some(())
    })
    .await;
}

/// Even when there are more dead receivers than attempts may be in flight.
#[tokio::test]
async fn a_crowd_of_suspects_leaves_room_for_the_others() {
    let world = World::new().await;
    let limits = DelivererConfig {
        attempt_timeout: Duration::from_millis(500),
        in_flight_max: 8,
        in_flight_suspect_max: 4,
        in_flight_lane_max: 2,
        ..fast()
    };
    let mut crowd = Vec::new();
    for _ in 0..12 {
        let (receiver, merchant) = dead(&world).await;
        many(&world, &merchant, 20).await;
        crowd.push(receiver);
    }
    let _running = world.deliver(limits);
    // Every one of them has been found dead once.
    for receiver in &crowd {
        receiver.wait_for(1, SOON).await;
    }
    let alive = http_receiver().await;
    let merchant = world.merchant(Some(&alive.url)).await;
    for count in 1..=5 {
        world.completed(&merchant, None).await;
        alive.wait_for(count, PROMPTLY).await;
    }
}

/// One merchant cannot take everything by spreading over hosts.
#[tokio::test]
async fn one_merchant_with_many_hosts_has_one_share() {
    let world = World::new().await;
    let limits = DelivererConfig { in_flight_max: 8, in_flight_merchant_max: 4, ..config() };
    let greedy = world.merchant(None).await;
    let mut crowd = Vec::new();
    for _ in 0..10 {
        let receiver = http_receiver().await;
        receiver.answer_always(Answer::hang());
        world.completed(&greedy, Some(&receiver.url)).await;
        crowd.push(receiver);
    }
    let _running = world.deliver(limits);
    let alive = http_receiver().await;
    let merchant = world.merchant(Some(&alive.url)).await;
    world.completed(&merchant, None).await;
    alive.wait_for(1, PROMPTLY).await;
    let reached = crowd.iter().filter(|receiver| !receiver.received().is_empty()).count();
    assert!(reached <= 4, "{reached}");
}
