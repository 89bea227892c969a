//! Reorganizations: whatever the chain does, payments end as the canonical chain implies.

use std::time::Duration;

use serde_json::{Value, json};
use wopay_chain_watchers::ChainState;
use wopay_domain::PaymentId;
use wopay_domain::payment::{DepositStage, DepositState, PaymentStatus};

use crate::support::World;
use crate::support::book::live;

/// What becomes of a deposit whose block is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is in the new block of the same height.
    Reincluded,
    /// It is in another block, higher up.
    Moved,
    /// It is gone.
    Dropped,
}

const FATES: [Fate; 3] = [Fate::Reincluded, Fate::Moved, Fate::Dropped];

async fn raw(world: &World, transaction: &str) -> Value {
    world.anvil.rpc("eth_getRawTransactionByHash", json!([transaction])).await
}

/// Replaces the newest `depth` blocks, of which the first holds a deposit, and checks everything that follows.
async fn replace(world: &World, depth: u64, confirmed_before: bool, fate: Fate) {
    let case = format!("depth {depth}, confirmed before: {confirmed_before}, {fate:?}");
    let required = u32::try_from(if confirmed_before { depth } else { depth + 2 }).unwrap();
    let (payment, address) = world.payment(10, required).await;
    let receipt = world.pay(&address, 10).await;
    if depth > 1 {
        world.anvil.mine(depth - 1).await;
    }
    let before = if confirmed_before { PaymentStatus::Completed } else { PaymentStatus::Confirming };
    world.book.until_status(payment, before).await;
    world.caught_up().await;

    let raw = raw(world, &receipt.hash).await;
    match fate {
        Fate::Reincluded => world.anvil.reorg_with(depth, &[(raw, 0)]).await,
        Fate::Moved if depth > 1 => world.anvil.reorg_with(depth, &[(raw, depth - 1)]).await,
        Fate::Moved => {
            world.anvil.reorg(depth).await;
            world.anvil.rpc("eth_sendRawTransaction", json!([raw])).await;
        }
        Fate::Dropped => world.anvil.reorg(depth).await,
    }
    world.anvil.mine(u64::from(required) + 2).await;
    world.caught_up().await;
    check_end(world, payment, &address, &receipt.hash, fate, confirmed_before, &case).await;
}

async fn check_end(
    world: &World,
    payment: PaymentId,
    address: &str,
    transaction: &str,
    fate: Fate,
    confirmed_before: bool,
    case: &str,
) {
    let canonical = world.anvil.receipt(transaction).await;
    assert_eq!(canonical.is_some(), fate != Fate::Dropped, "{case}");
    let expected = match (fate, confirmed_before) {
        (Fate::Reincluded | Fate::Moved, _) => PaymentStatus::Completed,
        (Fate::Dropped, true) => PaymentStatus::Reversed,
        (Fate::Dropped, false) => PaymentStatus::Pending,
    };
    let settled = |payment: &wopay_domain::payment::PaymentState| {
        payment.status == expected
            && payment.deposits.values().all(|deposit| match &canonical {
                Some(receipt) => deposit.block.hash == receipt.block_hash && deposit.state == DepositState::Confirmed,
                None => deposit.state == DepositState::Orphaned,
            })
    };
    let state = world.book.until(payment, &format!("{case}: {expected:?}"), settled).await;
    let on_chain = world.anvil.token_balance(&world.usdt, address).await;
    assert_eq!(state.totals().unwrap().confirmed.minor(), on_chain, "{case}: books and chain");
    assert_eq!(state.deposits.len(), 1, "{case}: one deposit, whatever its blocks");
    let mine: Vec<_> =
        world.book.reports().into_iter().filter(|report| report.deposit.transaction == transaction).collect();
    assert!(mine.iter().any(|report| report.stage == DepositStage::Orphaned), "{case}: {mine:?}");
    let mut revisions: Vec<u64> = mine.iter().map(|report| report.revision).collect();
    revisions.dedup();
    assert!(revisions.is_sorted(), "{case}: {revisions:?}");
}

async fn every_fate(depth: u64) {
    let world = World::new().await;
    world.anvil.mine(20).await;
    let watching = world.watch();
    for confirmed_before in [false, true] {
        for fate in FATES {
            replace(&world, depth, confirmed_before, fate).await;
        }
    }
    assert!(watching.health().is_well());
}

#[tokio::test]
async fn one_block() {
    every_fate(1).await;
}

#[tokio::test]
async fn three_blocks() {
    every_fate(3).await;
}

#[tokio::test]
async fn twelve_blocks() {
    every_fate(12).await;
}

#[tokio::test]
async fn several_deposits_are_orphaned_newest_first() {
    let world = World::new().await;
    let _watching = world.watch();
    let (payment, address) = world.payment(30, 10).await;
    for _ in 0..3 {
        world.pay(&address, 10).await;
    }
    world.book.until_status(payment, PaymentStatus::Confirming).await;
    world.anvil.reorg(3).await;
    world.book.until(payment, "no live deposit", |payment| live(payment).is_empty()).await;
    let orphaned: Vec<(u64, u64)> = world
        .book
        .reports()
        .into_iter()
        .filter(|report| report.stage == DepositStage::Orphaned)
        .map(|report| (report.revision, report.block.number))
        .collect();
    assert_eq!(orphaned.len(), 3);
    let mut by_revision = orphaned.clone();
    by_revision.sort_unstable();
    assert!(by_revision.windows(2).all(|pair| pair[0].1 > pair[1].1), "{by_revision:?}");
}

#[tokio::test]
async fn a_chain_that_became_shorter_is_followed_down() {
    let world = World::new().await;
    let _watching = world.watch();
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.anvil.mine(2).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    world.caught_up().await;
    world.anvil.rollback(3).await;
    // A shorter chain alone may be a node that lags; other blocks at the same heights are not.
    world.anvil.rpc("evm_increaseTime", json!([60])).await;
    world.anvil.mine(1).await;
    world.book.until_status(payment, PaymentStatus::Reversed).await;
    world.caught_up().await;
}

#[tokio::test]
async fn a_reorganization_while_nobody_watched_is_found_at_start() {
    let world = World::new().await;
    let watching = world.watch();
    let (payment, address) = world.payment(10, 2).await;
    world.pay(&address, 10).await;
    world.anvil.mine(3).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    world.caught_up().await;
    watching.stop().await;
    world.anvil.reorg(4).await;
    world.anvil.mine(5).await;
    let _watching = world.watch();
    world.book.until_status(payment, PaymentStatus::Reversed).await;
    world.caught_up().await;
}

#[tokio::test]
async fn deeper_than_the_window_halts_loudly_and_changes_nothing() {
    let world = World::new().await;
    world.anvil.mine(30).await;
    let mut config = world.config();
    config.reorg_window = 5;
    let watching = world.watch_with(&config);
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    // Enough for everything older to leave the stored blocks.
    world.anvil.mine(12).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    world.caught_up().await;
    let cursor = world.cursor().await;

    world.anvil.reorg(13).await;
    world.anvil.mine(1).await;
    let health = watching.until("halted", |health| matches!(health.state, ChainState::Halted { .. })).await;
    let ChainState::Halted { reason } = &health.state else { unreachable!() };
    assert!(reason.contains("more than 5 blocks"), "{reason}");
    assert!(!health.is_well());
    assert_eq!(world.cursor().await, cursor, "nothing is skipped");
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Completed);

    // A restart comes to the same conclusion.
    watching.abort().await;
    let watching = world.watch_with(&config);
    watching.until("halted again", |health| matches!(health.state, ChainState::Halted { .. })).await;
    assert_eq!(world.cursor().await, cursor);
}

#[tokio::test]
async fn a_reorganization_just_after_the_first_run_finds_its_ancestor() {
    let world = World::new().await;
    world.anvil.mine(20).await;
    let mut config = world.config();
    config.lookback = 0;
    let watching = world.watch_with(&config);
    world.caught_up().await;
    let (payment, address) = world.payment(10, 2).await;
    let paid = world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Confirming).await;
    let raw = raw(&world, &paid.hash).await;
    world.anvil.reorg_with(6, &[(raw, 1)]).await;
    world.anvil.mine(4).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), 1);
    assert!(watching.health().is_well());
}

#[tokio::test]
async fn contradicting_stored_blocks_halt() {
    let world = World::new().await;
    let watching = world.watch();
    world.anvil.mine(10).await;
    world.caught_up().await;
    watching.stop().await;
    sqlx::query("UPDATE chain_blocks SET hash = '0xbad' WHERE height = (SELECT max(height) - 2 FROM chain_blocks)")
        .execute(world.pool())
        .await
        .unwrap();
    let watching = world.watch();
    let waited = tokio::time::timeout(
        Duration::from_secs(20),
        watching.until("halted", |health| matches!(health.state, ChainState::Halted { .. })),
    );
    let health = waited.await.unwrap();
    assert!(health.last_error.unwrap().contains("does not stand on"));
}

#[tokio::test]
async fn a_locator_that_the_node_does_not_have_halts() {
    let world = World::new().await;
    world.anvil.mine(1100).await;
    let mut config = world.config();
    config.reorg_window = 5;
    config.start_block = Some(1);
    let watching = world.watch_with(&config);
    world.caught_up().await;
    watching.stop().await;
    let heights: Vec<i64> =
        sqlx::query_scalar("SELECT height FROM chain_blocks ORDER BY height").fetch_all(world.pool()).await.unwrap();
    assert!(heights.contains(&1024) && heights.len() < 20, "a window and a locator: {heights:?}");
    sqlx::query("UPDATE chain_blocks SET hash = '0xbad' WHERE height = 1024").execute(world.pool()).await.unwrap();
    let watching = world.watch_with(&config);
    let health = watching.until("halted", |health| matches!(health.state, ChainState::Halted { .. })).await;
    assert!(health.last_error.unwrap().contains("another one than ours at 1024"));
}
