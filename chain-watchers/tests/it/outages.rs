//! Everything that stops for a while: the watcher, the node, NATS, and two watchers at once.

use std::time::{Duration, Instant};

use wopay_domain::payment::PaymentStatus;
use wopay_testkit::eventually;

use crate::support::book::live;
use crate::support::{SOON, World};

#[tokio::test]
async fn two_thousand_blocks_are_caught_up_without_a_hole() {
    let world = World::new().await;
    let watching = world.watch();
    world.caught_up().await;
    watching.stop().await;

    let mut payments = Vec::new();
    for _ in 0..4 {
        let (payment, address) = world.payment(10, 3).await;
        world.pay(&address, 10).await;
        world.anvil.mine(499).await;
        payments.push(payment);
    }
    let (last, last_address) = world.payment(10, 1).await;
    world.pay(&last_address, 10).await;

    let begun = Instant::now();
    let watching = world.watch();
    let waited = eventually("2,000 blocks", Duration::from_secs(120), async || {
        let head = world.anvil.height().await;
        world.cursor().await.filter(|(height, _)| *height == head).map(|_| head)
    });
    waited.await;
    eprintln!("2,000 blocks in {:?}", begun.elapsed());
    for payment in payments {
        world.book.until_status(payment, PaymentStatus::Completed).await;
    }
    world.book.until_status(last, PaymentStatus::Completed).await;
    assert!(watching.health().is_well());
}

#[tokio::test]
async fn a_watcher_aborted_at_any_moment_loses_and_doubles_nothing() {
    let world = World::new().await;
    let mut payments = Vec::new();
    for round in 0..40_u64 {
        let (payment, address) = world.payment(10, 2).await;
        let watching = world.watch();
        world.pay(&address, 10).await;
        payments.push((payment, address));
        // A different moment of a step each time.
        tokio::time::sleep(Duration::from_micros(700 * round)).await;
        watching.abort().await;
    }
    // A connection given back inside a transaction would swallow what others write with it.
    eventually("no connection left inside a transaction", SOON, async || {
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        (left == 0).then_some(())
    })
    .await;
    world.anvil.mine(3).await;
    let _watching = world.watch();
    for (payment, address) in payments {
        let state = world.book.until_status(payment, PaymentStatus::Completed).await;
        assert_eq!(live(&state).len(), 1);
        let on_chain = world.anvil.token_balance(&world.usdt, &address).await;
        assert_eq!(state.totals().unwrap().confirmed.minor(), on_chain);
    }
    let broken: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM chain_blocks upper JOIN chain_blocks lower ON lower.height = upper.height - 1
         WHERE upper.parent_hash <> lower.hash",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(broken, 0);
}

#[tokio::test]
async fn a_node_that_goes_away_is_waited_for() {
    let mut world = World::new().await;
    let watching = world.watch();
    let (payment, address) = world.payment(10, 2).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Confirming).await;
    world.caught_up().await;
    world.anvil.stop().await;
    let health = watching.until("an error", |health| health.last_error.is_some()).await;
    assert!(health.last_error.unwrap().contains("Connection refused"), "the cause is named");
    world.anvil.start_again().await;
    world.anvil.mine(1).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    watching.until("well again", wopay_chain_watchers::ChainHealth::is_well).await;
}

#[tokio::test]
async fn a_node_that_hangs_is_waited_for() {
    let mut world = World::new().await;
    let watching = world.watch();
    world.caught_up().await;
    let (payment, address) = world.payment(10, 1).await;
    world.anvil.pause();
    let health = watching.until("an error", |health| health.last_error.is_some()).await;
    assert!(health.last_error.unwrap().contains("did not answer"));
    world.anvil.resume();
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn two_watchers_of_one_chain_are_one() {
    let world = World::new().await;
    let pair = [world.watch(), world.watch()];
    let mut payments = Vec::new();
    for round in 0..15 {
        let (payment, address) = world.payment(10, 2).await;
        let paid = world.pay(&address, 10).await;
        payments.push((payment, paid.hash));
        if round % 5 == 4 {
            world.caught_up().await;
            world.anvil.reorg(2).await;
        }
    }
    world.anvil.mine(4).await;
    world.caught_up().await;
    for (payment, transaction) in payments {
        let expected = match world.anvil.receipt(&transaction).await {
            Some(_) => PaymentStatus::Completed,
            None => PaymentStatus::Pending,
        };
        let settled = move |payment: &wopay_domain::payment::PaymentState| {
            let lost = expected == PaymentStatus::Pending && payment.status == PaymentStatus::Reversed;
            payment.status == expected || lost
        };
        world.book.until(payment, "its canonical end", settled).await;
    }
    // Each change was reported once, by one of the two.
    let doubled: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (
             SELECT deposit, body -> 'report' -> 'block' ->> 'hash' AS block, (body -> 'report' -> 'stage')::text AS stage
             FROM watcher_outbox
         ) report
         GROUP BY deposit, block, stage
         HAVING count(*) > 1",
    )
    .fetch_optional(world.pool())
    .await
    .unwrap()
    .unwrap_or(0);
    assert_eq!(doubled, 0);
    eventually("both well", SOON, async || pair.iter().all(|watching| watching.health().is_well()).then_some(())).await;
}

/// Its reports from before are known to the payment, but not to the sequence that numbers them.
#[tokio::test]
async fn reports_after_the_database_was_set_back_are_not_taken_for_old_ones() {
    let set_back = async |world: &World, to: i64| {
        let statement = "SELECT setval(pg_get_serial_sequence('watcher_outbox', 'id'), $1)";
        sqlx::query(statement).bind(to).execute(world.pool()).await.unwrap();
    };
    let world = World::new().await;
    set_back(&world, 1000).await;
    let watching = world.watch();
    let (payment, address) = world.payment(10, 3).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Confirming).await;
    watching.stop().await;
    set_back(&world, 5).await;
    let _watching = world.watch();
    world.anvil.mine(3).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}
