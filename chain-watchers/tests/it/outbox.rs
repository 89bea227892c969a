//! Reports on their way: NATS may be down, or lose what it acknowledged.

use std::time::Duration;

use wopay_chain_watchers::OutboxOptions;
use wopay_domain::payment::PaymentStatus;
use wopay_testkit::eventually;

use crate::support::{SOON, World};

async fn rows(world: &World, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM watcher_outbox WHERE {condition}");
    sqlx::query_scalar(&sql).fetch_one(world.pool()).await.unwrap()
}

#[tokio::test]
async fn deposits_while_nats_is_down_are_reported_when_it_is_back() {
    let mut world = World::new().await;
    let watching = world.watch();
    world.caught_up().await;
    world.nats.crash().await;
    let mut payments = Vec::new();
    for _ in 0..5 {
        let (payment, address) = world.payment(10, 2).await;
        world.pay(&address, 10).await;
        payments.push(payment);
    }
    world.anvil.mine(2).await;
    world.caught_up().await;
    assert!(watching.health().is_well(), "the watcher does not need NATS");
    let waiting = rows(&world, "sent_at IS NULL").await;
    assert!((5..=10).contains(&waiting), "seen and confirmed, or confirmed at once: {waiting}");
    world.nats.start_again().await;
    for payment in payments {
        world.book.until_status(payment, PaymentStatus::Completed).await;
    }
    world.outbox_empty().await;
}

#[tokio::test]
async fn reports_lost_with_the_stream_are_sent_again() {
    let quick = OutboxOptions {
        poll_interval: Duration::from_millis(50),
        settle_interval: Duration::from_millis(100),
        resend_after: Duration::from_secs(1),
    };
    let mut world = World::without_inbox(quick).await;
    let _watching = world.watch();
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.caught_up().await;
    eventually("acknowledged", SOON, async || (rows(&world, "sent_at IS NOT NULL").await == 1).then_some(())).await;
    world.nats.wipe().await;
    world.nats.start_again().await;
    world.start_inbox().await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    eventually("settled", SOON, async || (rows(&world, "true").await == 0).then_some(())).await;
}

#[tokio::test]
async fn executed_reports_leave_the_outbox() {
    let quick = OutboxOptions { settle_interval: Duration::from_millis(100), ..OutboxOptions::default() };
    let world = World::with_outbox(quick).await;
    let _watching = world.watch();
    let (payment, address) = world.payment(10, 2).await;
    world.pay(&address, 10).await;
    world.anvil.mine(1).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    eventually("an empty table", SOON, async || (rows(&world, "true").await == 0).then_some(())).await;
    let revision: Option<i64> =
        sqlx::query_scalar("SELECT revision FROM deposit_observations").fetch_one(world.pool()).await.unwrap();
    assert!(revision.is_some(), "the observation keeps its revision");
}

/// The ledger never refuses what a watcher reports, but a row may still wait for ever: its payment is not in this ledger.
#[tokio::test]
async fn reports_that_are_never_executed_do_not_keep_others_in_the_outbox() {
    let quick = OutboxOptions { settle_interval: Duration::from_millis(100), ..OutboxOptions::default() };
    let world = World::with_outbox(quick).await;
    let statement = "INSERT INTO watcher_outbox (chain, payment_id, deposit, message_id, body, sent_at)
                     SELECT 'nowhere', gen_random_uuid(), 'nowhere:0x' || n || ':native', n::text, '{}', now()
                     FROM generate_series(1, 1500) n";
    sqlx::query(statement).execute(world.pool()).await.unwrap();
    let _watching = world.watch();
    let (payment, address) = world.payment(10, 2).await;
    world.pay(&address, 10).await;
    world.anvil.mine(1).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    eventually("its reports settled", SOON, async || (rows(&world, "chain <> 'nowhere'").await == 0).then_some(()))
        .await;
    assert_eq!(rows(&world, "true").await, 1500);
}
