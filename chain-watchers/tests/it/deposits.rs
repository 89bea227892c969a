//! What counts as a deposit, and what does not.

use std::time::{Duration, Instant};

use wopay_domain::payment::{DepositStage, DepositState, PaymentStatus};
use wopay_domain::{DepositKey, DepositLeg};
use wopay_testkit::{Call, Contract, TokenKind};

use crate::support::book::live;
use crate::support::{SOON, World, chain_name, fresh_address, native, token_asset};

#[tokio::test]
async fn a_token_deposit_is_seen_at_once_and_confirmed_by_depth() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 3).await;
    let _watching = world.watch();
    world.caught_up().await;

    let receipt = world.pay(&address, 100).await;
    let state = world.book.until_status(payment, PaymentStatus::Confirming).await;
    let (key, deposit) = state.deposits.first_key_value().unwrap();
    let leg = DepositLeg::Log(0);
    assert_eq!(*key, DepositKey { chain: chain_name(), transaction: receipt.hash.clone(), leg });
    assert_eq!((deposit.block.number, deposit.block.hash.as_str()), (receipt.block, receipt.block_hash.as_str()));
    assert_eq!(deposit.amount.minor(), world.usdt.whole(100));
    assert_eq!(deposit.from.as_deref(), Some(world.anvil.accounts[0].as_str()));

    world.anvil.mine(1).await;
    world.caught_up().await;
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Confirming, "two confirmations of three");
    world.anvil.mine(1).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    let stages: Vec<_> = world.book.reports().into_iter().map(|report| report.stage).collect();
    assert_eq!(stages, [DepositStage::Seen { confirmations: 1 }, DepositStage::Confirmed { confirmations: 3 }]);
}

#[tokio::test]
async fn a_native_deposit_counts_whatever_its_calldata() {
    let world = World::new().await;
    let hour = Duration::from_secs(3600);
    let (payment, address) = world.book.open(&native(), 5_000, 1, hour).await;
    let _watching = world.watch();
    let call = Call::native(&address, 5_000).with_data("0xdeadbeef");
    let receipt = world.anvil.transact(&world.anvil.accounts[1], &call).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    let (key, deposit) = state.deposits.first_key_value().unwrap();
    assert_eq!(key.to_string(), format!("ethereum:{}:native", receipt.hash));
    assert_eq!(deposit.from.as_deref(), Some(world.anvil.accounts[1].as_str()));
}

#[tokio::test]
async fn a_report_follows_its_block() {
    let world = World::new().await;
    let mut config = world.config();
    config.poll_interval = Duration::from_millis(100);
    let _watching = world.watch_with(&config);
    world.caught_up().await;
    let mut waits = Vec::new();
    for _ in 0..100 {
        let (payment, address) = world.payment(1, 1).await;
        let transaction = world.anvil.submit(&world.anvil.accounts[0], &world.usdt.transfer(&address, 1_000_000)).await;
        world.anvil.mine(1).await;
        let mined = Instant::now();
        world.book.until_status(payment, PaymentStatus::Completed).await;
        let reported = world.book.first_report_at(&transaction).unwrap();
        waits.push(reported.saturating_duration_since(mined));
    }
    waits.sort_unstable();
    // For who wants to know (`--nocapture`): how long it takes is the machine's matter, not this test's.
    eprintln!("from block to report, polling every 100 ms: p50 {:?}, p99 {:?}", waits[50], waits[98]);
}

#[tokio::test]
async fn reverted_zero_and_fake_transfers_are_nothing() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 1).await;
    let fake = world.anvil.deploy_token(TokenKind::Plain, "USDT", 6).await;
    let reverter = world.anvil.deploy_contract(Contract::Reverter).await;
    let _watching = world.watch();
    let rich = world.anvil.accounts[0].clone();

    world.anvil.mint(&fake, &address, fake.whole(100)).await;
    assert!(world.pay(&address, 0).await.succeeded);
    assert!(world.anvil.send_native(&rich, &address, 0).await.succeeded);
    let announced = Call::reverting_transfer(&reverter, &address, world.usdt.whole(100));
    assert!(!world.anvil.transact(&rich, &announced).await.succeeded);
    // More than the sender has: the token itself reverts.
    let poor = world.anvil.accounts[2].clone();
    let reverted = world.anvil.transfer(&world.usdt, &poor, &address, world.usdt.whole(100)).await;
    assert!(!reverted.succeeded);
    world.anvil.mine(5).await;
    world.caught_up().await;

    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM deposit_observations").fetch_one(world.pool()).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Pending);
}

#[tokio::test]
async fn native_money_in_a_reverted_transaction_is_nothing() {
    let world = World::new().await;
    // The claimed address holds code that refuses money, so the transaction has value, goes to us, and fails.
    let address = world.anvil.deploy_contract(Contract::Reverter).await;
    let payment = world.book.open_at(&native(), 7, 1, Duration::from_secs(3600), &address).await;
    let _watching = world.watch();
    let receipt = world.anvil.send_native(&world.anvil.accounts[1], &address, 7).await;
    assert!(!receipt.succeeded);
    world.caught_up().await;
    assert!(world.book.payment(payment).deposits.is_empty());
}

#[tokio::test]
async fn every_transfer_of_a_transaction_counts_by_itself() {
    let world = World::new().await;
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    world.pay(&batch, 1_000).await;
    let (first, first_address) = world.payment(30, 2).await;
    let (second, second_address) = world.payment(5, 2).await;
    let _watching = world.watch();
    let stranger = fresh_address();
    let one = |count: u128| world.usdt.whole(count);
    let transfers = [
        (stranger.as_str(), one(9)),
        (first_address.as_str(), one(10)),
        (second_address.as_str(), one(5)),
        (first_address.as_str(), one(10)),
        (first_address.as_str(), one(10)),
    ];
    let call = Call::batch(&batch, &world.usdt.address, &transfers, &[]);
    // Another transfer earlier in the same block: ordinals count from the transaction's own first log.
    world.anvil.submit(&world.anvil.accounts[0], &world.usdt.transfer(&stranger, 1)).await;
    let receipt = world.anvil.transact(&world.anvil.accounts[3], &call).await;
    assert!(receipt.succeeded);
    world.anvil.mine(1).await;

    let state = world.book.until_status(first, PaymentStatus::Completed).await;
    let legs: Vec<_> = state.deposits.keys().map(|key| key.leg.clone()).collect();
    assert_eq!(legs, [DepositLeg::Log(1), DepositLeg::Log(3), DepositLeg::Log(4)]);
    assert!(!state.flags.overpaid && state.deposits.keys().all(|key| key.transaction == receipt.hash));
    let state = world.book.until_status(second, PaymentStatus::Completed).await;
    assert_eq!(state.deposits.first_key_value().unwrap().0.leg, DepositLeg::Log(2));
}

#[tokio::test]
async fn a_deposit_from_before_the_first_run_is_found() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 3).await;
    world.pay(&address, 100).await;
    world.anvil.mine(100).await;
    let _watching = world.watch();
    world.book.until_status(payment, PaymentStatus::Completed).await;
    let reports = world.book.reports();
    assert_eq!(reports.len(), 1, "deep enough when first seen: {reports:?}");
}

/// Addresses are handed out also while no node can be reached for the first time.
#[tokio::test]
async fn the_first_run_begins_before_the_oldest_payment() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 3).await;
    world.pay(&address, 100).await;
    world.anvil.mine(300).await;
    let mut config = world.config();
    config.lookback = 2;
    let _watching = world.watch_with(&config);
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn the_first_run_begins_where_the_configuration_says() {
    let world = World::new().await;
    let (before, before_address) = world.payment(1, 1).await;
    let (after, after_address) = world.payment(1, 1).await;
    world.pay(&before_address, 1).await;
    let paid_at = world.pay(&after_address, 1).await.block;
    world.anvil.mine(200).await;
    let mut config = world.config();
    config.start_block = Some(paid_at);
    let _watching = world.watch_with(&config);
    world.book.until_status(after, PaymentStatus::Completed).await;
    world.caught_up().await;
    assert_eq!(world.book.payment(before).status, PaymentStatus::Pending);
}

#[tokio::test]
async fn a_start_block_ahead_is_waited_for() {
    let world = World::new().await;
    let (payment, address) = world.payment(1, 1).await;
    let mut config = world.config();
    config.start_block = Some(world.anvil.height().await + 10);
    let watching = world.watch_with(&config);
    world.pay(&address, 1).await;
    world.anvil.mine(20).await;
    watching.until_following().await;
    world.caught_up().await;
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Pending, "it was paid before the start");
}

#[tokio::test]
async fn an_expired_payments_address_is_still_watched() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 2).await;
    let _watching = world.watch();
    world.caught_up().await;
    world.book.expire(payment);
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Expired);
    // The block's own time decides what is late.
    world.anvil.rpc("evm_increaseTime", serde_json::json!([7200])).await;
    world.pay(&address, 100).await;
    world.anvil.mine(1).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert!(state.flags.paid_late);
}

#[tokio::test]
async fn another_asset_than_asked_for_is_reported_too() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 1).await;
    let _watching = world.watch();
    world.anvil.send_native(&world.anvil.accounts[1], &address, 123).await;
    let state = world.book.until(payment, "a deposit", |payment| !payment.deposits.is_empty()).await;
    assert_eq!(state.status, PaymentStatus::Pending);
    assert_eq!(live(&state)[0].1, 123);
}

#[tokio::test]
async fn a_payment_on_another_chain_is_confirmed_by_the_stricter_of_both() {
    let world = World::new().await;
    let mut asset = token_asset(&world.usdt);
    asset.id = wopay_domain::AssetId::token(&"bsc".parse().unwrap(), &world.usdt.address).unwrap();
    let (payment, address) = world.book.open(&asset, 5, 1, Duration::from_secs(3600)).await;
    let _watching = world.watch();
    world.pay(&address, 5).await;
    let state = world.book.until(payment, "a deposit", |payment| !payment.deposits.is_empty()).await;
    assert_eq!(live(&state)[0].2, DepositState::Seen, "this chain asks for three confirmations");
    world.anvil.mine(2).await;
    world.book.until(payment, "confirmed", |payment| live(payment)[0].2 == DepositState::Confirmed).await;
}

#[tokio::test]
async fn money_at_an_address_of_the_pool_waits_for_its_claim() {
    let world = World::new().await;
    let address = fresh_address();
    sqlx::query("INSERT INTO address_pool (family, idx, address) VALUES ('evm', 0, $1)")
        .bind(&address)
        .execute(world.pool())
        .await
        .unwrap();
    let _watching = world.watch();
    world.pay(&address, 100).await;
    world.caught_up().await;
    assert!(world.book.reports().is_empty());
    let asset = token_asset(&world.usdt);
    let hour = Duration::from_secs(3600);
    let payment = world.book.open_at(&asset, world.usdt.whole(100), 2, hour, &address).await;
    world.anvil.mine(1).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

/// Half a backup, perhaps: claims came back, the pool did not.
#[tokio::test]
async fn claims_that_are_not_in_the_pool_are_searched_as_well() {
    let world = World::new().await;
    let (asset, address, hour) = (token_asset(&world.usdt), fresh_address(), Duration::from_secs(3600));
    let payment = world.book.open_at(&asset, world.usdt.whole(100), 1, hour, &address).await;
    sqlx::query("DELETE FROM address_pool").execute(world.pool()).await.unwrap();
    let _watching = world.watch();
    world.pay(&address, 100).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn the_published_head_is_the_block_processed() {
    let world = World::new().await;
    let watching = world.watch();
    world.anvil.mine(3).await;
    world.caught_up().await;
    let head: (i64, String, Option<i64>) =
        sqlx::query_as("SELECT height, hash, finalized_height FROM chain_heads WHERE chain = 'ethereum'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    let height = world.anvil.height().await;
    assert_eq!(head, (i64::try_from(height).unwrap(), world.anvil.block_hash(height).await.unwrap(), None));
    let health = watching.until("no lag", |health| health.lag_blocks() == Some(0)).await;
    assert!(health.is_well() && health.last_block_at.is_some());
    let stopped = tokio::time::timeout(SOON, watching.stop()).await;
    assert!(stopped.is_ok(), "it ends when its token is cancelled");
}

#[tokio::test]
async fn the_finalized_tag_clamps_confirmations() {
    use wopay_chain_watchers::{Finality, FinalityTag};

    let world = World::new().await;
    let (payment, address) = world.payment(100, 2).await;
    let mut config = world.config();
    config.finality = Finality::Tag(FinalityTag::Finalized);
    let _watching = world.watch_with(&config);
    let paid = world.pay(&address, 100).await.block;
    world.anvil.mine(10).await;
    world.caught_up().await;
    assert_eq!(world.book.until_status(payment, PaymentStatus::Confirming).await.status, PaymentStatus::Confirming);
    // Anvil's finalized block is 64 behind its head.
    world.anvil.mine(64).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    let finalized: i64 =
        sqlx::query_scalar("SELECT finalized_height FROM chain_heads").fetch_one(world.pool()).await.unwrap();
    assert!(finalized >= i64::try_from(paid).unwrap());
}
