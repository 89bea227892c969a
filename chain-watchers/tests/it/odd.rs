//! Odd money on a real chain: nobody's, dust, and dust that an operator takes up.

use std::time::Duration;

use wopay_chain_watchers::{OddError, SightingKind, WatcherConfig, find_sighting, take_up};
use wopay_domain::DepositKey;
use wopay_domain::deposit::UnmatchedDepositState;
use wopay_domain::payment::PaymentStatus;
use wopay_testkit::eventually;

use crate::support::{SOON, World, fresh_address, token_asset};

async fn pooled(world: &World) -> String {
    let address = fresh_address();
    sqlx::query("INSERT INTO address_pool (family, idx, address) VALUES ('evm', 0, $1)")
        .bind(&address)
        .execute(world.pool())
        .await
        .unwrap();
    address
}

/// What the ledger was told of as nobody's, once it is this.
async fn until_unmatched(
    world: &World,
    what: &str,
    condition: impl Fn(&UnmatchedDepositState) -> bool,
) -> UnmatchedDepositState {
    eventually(what, SOON, async || world.book.unmatched().into_iter().find(|deposit| condition(deposit))).await
}

/// Less than 10 USDT is dust.
fn with_dust(world: &World) -> WatcherConfig {
    let mut config = world.config();
    config.chain.min_deposits.insert(token_asset(&world.usdt).id, world.usdt.whole(10));
    config
}

async fn key_of(world: &World, transaction: &str) -> DepositKey {
    let leg: String = sqlx::query_scalar("SELECT leg FROM deposit_observations WHERE tx_hash = $1")
        .bind(transaction)
        .fetch_one(world.pool())
        .await
        .unwrap();
    format!("ethereum:{transaction}:{leg}").parse().unwrap()
}

#[tokio::test]
async fn money_that_nobody_claims_is_reported_once_it_is_confirmed_and_stays_the_ledger_s() {
    let world = World::new().await;
    let address = pooled(&world).await;
    let _watching = world.watch();
    world.pay(&address, 100).await;
    world.caught_up().await;
    assert!(world.book.unmatched().is_empty(), "this chain asks for three confirmations");
    world.anvil.mine(2).await;
    let known = until_unmatched(&world, "recorded", |deposit| deposit.is_live).await;
    assert_eq!((known.address, known.amount.minor()), (address.clone(), world.usdt.whole(100)));
    // A payment that claims the address now does not get it by itself.
    let asset = token_asset(&world.usdt);
    let hour = Duration::from_secs(3600);
    let payment = world.book.open_at(&asset, world.usdt.whole(100), 2, hour, &address).await;
    world.anvil.mine(3).await;
    world.caught_up().await;
    world.outbox_empty().await;
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Pending);
}

#[tokio::test]
async fn nobody_s_money_that_leaves_the_chain_is_reported_gone() {
    let world = World::new().await;
    let address = pooled(&world).await;
    let _watching = world.watch();
    world.pay(&address, 100).await;
    world.anvil.mine(2).await;
    until_unmatched(&world, "recorded", |deposit| deposit.is_live).await;
    world.caught_up().await;
    world.anvil.reorg(3).await;
    world.anvil.mine(2).await;
    until_unmatched(&world, "gone", |deposit| !deposit.is_live).await;
    world.outbox_empty().await;
}

#[tokio::test]
async fn dust_counts_for_nothing_until_it_is_taken_up() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 1).await;
    let _watching = world.watch_with(&with_dust(&world));
    let dust = world.pay(&address, 9).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::PartiallyPaid).await;
    world.caught_up().await;
    let deposits = world.book.payment(payment).deposits;
    assert_eq!(deposits.len(), 1, "{deposits:?}");
    let key = key_of(&world, &dust.hash).await;
    let sighting = find_sighting(world.pool(), &key).await.unwrap().unwrap();
    assert_eq!((sighting.kind, sighting.payment_id, sighting.is_confirmed), (SightingKind::Dust, Some(payment), true));
    let told = take_up(world.pool(), &key, &world.signal).await.unwrap();
    assert_eq!((told.report.amount.minor(), &told.address), (world.usdt.whole(9), &address));
    until_unmatched(&world, "taken up", |deposit| deposit.deposit == key && deposit.is_live).await;
    world.outbox_empty().await;
    let again = take_up(world.pool(), &key, &world.signal).await;
    assert!(matches!(again, Err(OddError::NotOdd)), "{again:?}");
    assert_eq!(world.book.payment(payment).deposits.len(), 1, "it is nobody's until it is assigned");
}

#[tokio::test]
async fn a_shower_of_dust_is_no_event() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 1).await;
    let _watching = world.watch_with(&with_dust(&world));
    for _ in 0..20 {
        world.pay(&address, 1).await;
    }
    world.caught_up().await;
    let (rows, sum): (i64, String) = sqlx::query_as(
        "SELECT count(*), sum(amount_minor)::text FROM deposit_observations WHERE kind = 'dust' AND stage = 'confirmed'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!((rows, sum), (20, world.usdt.whole(20).to_string()));
    assert!(world.book.reports().is_empty() && world.book.unmatched().is_empty());
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Pending);
}
