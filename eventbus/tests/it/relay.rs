//! The relay: killed, doubled, cut off from its lock.

use std::time::Duration;

use sqlx::Executor;
use wopay_testkit::eventually;

use crate::support::{SOON, Tracer, World};

fn assert_gapless(positions: &[i64]) {
    let gap = positions.windows(2).find(|pair| pair[0] + 1 != pair[1]);
    assert_eq!(gap, None, "the stream is not in order, or not whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn announces_every_event_once_and_in_order() {
    let world = World::new().await;
    let relay = world.relay();
    world.wait_until_led().await;
    world.load(3_000, 7).await.unwrap();
    world.append(2_500).await;
    world.wait_until_announced().await;
    assert_gapless(&world.announced().await);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_batches_loses_and_repeats_nothing() {
    let world = World::new().await;
    let tracer = Tracer::new("tracer");
    let (follower, _) = world.follower(&tracer);
    // So that the first relay finds a stream to continue.
    let relay = world.relay();
    world.wait_until_led().await;
    relay.kill().await;
    let load = world.load(20_000, 100);
    let mut last = world.last_announced().await;
    while !load.is_finished() {
        let relay = world.relay();
        last = eventually("more announcements", SOON, async || {
            let now = world.last_announced().await;
            (now > last || load.is_finished()).then_some(now)
        })
        .await;
        relay.kill().await;
    }
    load.await.unwrap();
    let relay = world.relay();
    world.wait_until_announced().await;
    assert_gapless(&world.announced().await);
    world.assert_applied_exactly_once("tracer").await;
    follower.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_announce_as_one_also_when_the_lock_changes_hands() {
    let world = World::new().await;
    let tracer = Tracer::new("tracer");
    let (follower, _) = world.follower(&tracer);
    let relays = [world.relay(), world.relay()];
    let load = world.load(10_000, 20);
    while !load.is_finished() {
        // The leader's session ends under it, while it has messages in flight.
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_locks
                     WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        world.pool().execute(ended).await.unwrap();
        let progress = world.last_announced().await;
        eventually("another leader", SOON, async || {
            (world.last_announced().await > progress || load.is_finished()).then_some(())
        })
        .await;
    }
    load.await.unwrap();
    world.wait_until_announced().await;
    assert_gapless(&world.announced().await);
    world.assert_applied_exactly_once("tracer").await;
    for relay in relays {
        relay.stop().await;
    }
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_not_announced() {
    let world = World::new().await;
    let relay = world.relay();
    world.wait_until_led().await;
    relay.stop().await;
    let before = world.announced().await.len();
    world.load(30_000, 1_000).await.unwrap();
    let tracer = Tracer::new("tracer");
    let (follower, _) = world.follower(&tracer);
    let relay = world.relay();
    eventually("the relay to go on at the head", SOON, async || {
        world.append(1).await;
        tokio::time::timeout(Duration::from_secs(1), world.wait_until_announced()).await.ok()
    })
    .await;
    let announced = world.announced().await.len() - before;
    assert!(announced < 10_000, "announced {announced} events that followers had read long ago");
    world.assert_applied_exactly_once("tracer").await;
    assert!(tracer.batch_max.load(std::sync::atomic::Ordering::SeqCst) > 500, "catching up takes large batches");
    follower.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledgers_on_one_nats_do_not_meet() {
    let main = World::new().await;
    let other = main.beside("other").await;
    let relays = [main.relay(), other.relay()];
    let (first, first_status) = main.follower(&Tracer::new("tracer"));
    let (second, second_status) = other.follower(&Tracer::new("tracer"));
    for (world, status) in [(&main, &first_status), (&other, &second_status)] {
        world.wait_until_fed(status).await;
        world.wait_until_led().await;
    }
    let loads = [main.load(2_000, 10), other.load(3_000, 10)];
    for load in loads {
        load.await.unwrap();
    }
    for (world, status) in [(&main, &first_status), (&other, &second_status)] {
        world.assert_applied_exactly_once("tracer").await;
        world.wait_until_announced().await;
        assert_gapless(&world.announced().await);
        let (from_log, from_nats) = status.applied_from_log_and_nats();
        assert!(from_nats > from_log, "{from_nats} events came from NATS, {from_log} from the log");
    }
    for running in relays.into_iter().chain([first, second]) {
        running.stop().await;
    }
}
