//! Tokens that are added while watchers run: from which block they are watched, and what watchers do that were not told.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgPool;
use wopay_chain_watchers::{ChainWatcher, Progress};
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{Asset, AssetId};
use wopay_testkit::{Token, TokenKind};

use crate::support::{World, chain_name};

fn asset(token: &Token, decimals: u8) -> Asset {
    let id = AssetId::token(&chain_name(), &token.address).unwrap();
    Asset { id, symbol: "USDC".to_owned(), decimals }
}

fn watcher(world: &World) -> ChainWatcher {
    ChainWatcher::new(&world.config(), world.pool().clone(), world.signal.clone()).unwrap()
}

/// Steps until there is nothing to do.
async fn settle(watcher: &mut ChainWatcher) {
    for _ in 0..100 {
        match watcher.advance_once().await {
            Progress::Again => {}
            Progress::Idle => return,
            other => panic!("{other:?}: {:?}", watcher.status().health()),
        }
    }
    panic!("always something to do");
}

async fn noted(pool: &PgPool) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT asset, from_block FROM watched_assets").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn an_added_token_is_watched_from_the_next_block_by_every_watcher() {
    let world = World::new().await;
    let usdc = world.anvil.deploy_token(TokenKind::Silent, "USDC", 6).await;
    let payer = world.anvil.accounts[0].clone();
    world.anvil.mint(&usdc, &payer, usdc.whole(1_000)).await;
    let (mut told, mut not_told) = (watcher(&world), watcher(&world));
    settle(&mut told).await;
    settle(&mut not_told).await;

    let asset = asset(&usdc, 6);
    told.added_tokens().set(vec![asset.clone()], BTreeMap::new());
    settle(&mut told).await;
    let next = i64::try_from(world.anvil.height().await + 1).unwrap();
    assert_eq!(noted(world.pool()).await, [(asset.id.to_string(), next)]);

    // Others take payments from now on, so nobody may step over money in the token.
    let (payment, address) = world.book.open(&asset, usdc.whole(5), 1, Duration::from_secs(3600)).await;
    world.anvil.transfer(&usdc, &payer, &address, usdc.whole(5)).await;
    let before = world.cursor().await;
    settle(&mut not_told).await;
    assert_eq!(world.cursor().await, before, "a watcher that was not told of the token has moved the cursor");
    settle(&mut told).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;

    not_told.added_tokens().set(vec![asset.clone()], BTreeMap::new());
    let (second, address) = world.book.open(&asset, usdc.whole(7), 1, Duration::from_secs(3600)).await;
    world.anvil.transfer(&usdc, &payer, &address, usdc.whole(7)).await;
    settle(&mut not_told).await;
    world.book.until_status(second, PaymentStatus::Completed).await;
    assert_eq!(noted(world.pool()).await.len(), 1);

    // After a restart the watcher is told before its first step, and takes the token before its first block.
    let (third, address) = world.book.open(&asset, usdc.whole(9), 1, Duration::from_secs(3600)).await;
    world.anvil.transfer(&usdc, &payer, &address, usdc.whole(9)).await;
    let mut restarted = watcher(&world);
    restarted.added_tokens().set(vec![asset], BTreeMap::new());
    settle(&mut restarted).await;
    world.book.until_status(third, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn of_an_added_token_dust_counts_for_nobody() {
    let world = World::new().await;
    let usdc = world.anvil.deploy_token(TokenKind::Silent, "USDC", 6).await;
    let payer = world.anvil.accounts[0].clone();
    world.anvil.mint(&usdc, &payer, usdc.whole(1_000)).await;
    let mut watcher = watcher(&world);
    settle(&mut watcher).await;
    let asset = asset(&usdc, 6);
    let least = BTreeMap::from([(asset.id.clone(), usdc.whole(2))]);
    watcher.added_tokens().set(vec![asset.clone()], least);
    settle(&mut watcher).await;
    let (payment, address) = world.book.open(&asset, usdc.whole(5), 1, Duration::from_secs(3600)).await;
    world.anvil.transfer(&usdc, &payer, &address, usdc.whole(2) - 1).await;
    world.anvil.transfer(&usdc, &payer, &address, usdc.whole(5)).await;
    settle(&mut watcher).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(world.book.payment(payment).deposits.len(), 1, "the ledger was told of dust");
    let dust: i64 = sqlx::query_scalar("SELECT count(*) FROM deposit_observations WHERE kind = 'dust'")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(dust, 1);
}

#[tokio::test]
async fn a_token_that_the_node_describes_otherwise_is_not_watched_and_the_chain_goes_on() {
    let world = World::new().await;
    let usdc = world.anvil.deploy_token(TokenKind::Silent, "USDC", 6).await;
    let mut watcher = watcher(&world);
    watcher.added_tokens().set(vec![asset(&usdc, 18)], BTreeMap::new());
    settle(&mut watcher).await;
    let (payment, address) = world.payment(100, 1).await;
    world.pay(&address, 100).await;
    settle(&mut watcher).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(noted(world.pool()).await, []);
}

/// As in a rolling upgrade: the old watcher, whose configuration lacks a token, and the new one are both at work. Payments in
/// the token are taken once the cursor's row names it; from then on the old one steps over nothing.
#[tokio::test]
async fn a_watcher_with_an_older_configuration_leaves_the_cursor_to_a_newer_one() {
    let world = World::new().await;
    let usdc = world.anvil.deploy_token(TokenKind::Silent, "USDC", 6).await;
    let payer = world.anvil.accounts[0].clone();
    world.anvil.mint(&usdc, &payer, usdc.whole(1_000)).await;
    let mut old = watcher(&world);
    settle(&mut old).await;
    let named = async || {
        let assets: Vec<String> =
            sqlx::query_scalar("SELECT assets FROM chain_cursors").fetch_one(world.pool()).await.unwrap();
        assets
    };
    let asset = asset(&usdc, 6);
    assert!(!named().await.contains(&asset.id.to_string()));

    let mut config = world.config();
    config.chain.assets.push(asset.clone());
    let mut new = ChainWatcher::new(&config, world.pool().clone(), world.signal.clone()).unwrap();
    settle(&mut new).await;
    assert!(named().await.contains(&asset.id.to_string()), "it is said before the next block is there");

    let (payment, address) = world.book.open(&asset, usdc.whole(5), 1, Duration::from_secs(3600)).await;
    world.anvil.transfer(&usdc, &payer, &address, usdc.whole(5)).await;
    let before = world.cursor().await;
    settle(&mut old).await;
    assert_eq!(world.cursor().await, before, "the old watcher has stepped over the block");
    settle(&mut new).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;

    // Nobody looks for the token any more, as its table says, and the row is not fresh: the chain goes on.
    sqlx::query("UPDATE chain_cursors SET updated_at = clock_timestamp() - interval '2 minutes'")
        .execute(world.pool())
        .await
        .unwrap();
    world.anvil.mine(1).await;
    settle(&mut old).await;
    assert_ne!(world.cursor().await, before);
    assert!(!named().await.contains(&asset.id.to_string()));
}
