//! The EVM chain and its contracts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wopay_testkit::{Anvil, AnvilOptions, Call, Contract, Mining, Token, TokenKind, anvil, eventually};

/// Keccak-256 of `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
const RECEIVER: &str = "0x00000000000000000000000000000000000000aa";

async fn transfers(chain: &Anvil, token: &Token) -> Vec<Value> {
    let filter = json!([{"fromBlock": "0x0", "toBlock": "latest", "address": token.address, "topics": [TRANSFER]}]);
    chain.rpc("eth_getLogs", filter).await.as_array().unwrap().clone()
}

#[test]
fn committed_artefacts_belong_to_their_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts");
    let mut sources = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sol") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let artefact = fs::read(folder.join("build").join(format!("{name}.json"))).unwrap();
            let artefact: Value = serde_json::from_slice(&artefact).unwrap();
            let hash = hex::encode(Sha256::digest(fs::read(&path).unwrap()));
            assert_eq!(artefact["source_sha256"], json!(hash), "{name}: run node testkit/contracts/build.mjs");
            sources += 1;
        }
    }
    assert_eq!(sources, 4);
}

#[tokio::test]
async fn tokens_of_both_kinds_move() {
    let chain = anvil(AnvilOptions::default()).await;
    for (kind, decimals) in [(TokenKind::Plain, 18), (TokenKind::Silent, 6)] {
        let token =
            chain.deploy_token(kind, "A symbol longer than thirty-two bytes, which takes two words", decimals).await;
        let (alice, bob) = (chain.accounts[1].clone(), chain.accounts[2].clone());
        assert!(chain.mint(&token, &alice, token.whole(10)).await.succeeded);
        let receipt = chain.transfer(&token, &alice, RECEIVER, token.whole(3)).await;
        assert!(receipt.succeeded);
        assert_eq!(chain.token_balance(&token, RECEIVER).await, token.whole(3));
        assert!(!chain.transfer(&token, &alice, RECEIVER, token.whole(8)).await.succeeded);
        assert!(chain.transact(&alice, &token.approve(&bob, 5)).await.succeeded);
        assert!(chain.transact(&bob, &token.transfer_from(&alice, RECEIVER, 5)).await.succeeded);

        let logs = transfers(&chain, &token).await;
        assert_eq!(logs.len(), 3, "a mint and two transfers");
        assert_eq!(logs[1]["transactionHash"], json!(receipt.hash));
        assert_eq!(logs[1]["blockHash"], json!(receipt.block_hash));
    }
}

#[tokio::test]
async fn one_transaction_carries_many_transfers() {
    let chain = anvil(AnvilOptions { chain_id: 56, ..AnvilOptions::default() }).await;
    let token = chain.deploy_token(TokenKind::Silent, "USDT", 6).await;
    let batch = chain.deploy_contract(Contract::Batch).await;
    chain.mint(&token, &batch, 100).await;
    let call = Call::batch(&batch, &token.address, &[(RECEIVER, 10), (RECEIVER, 20)], &[(RECEIVER, 7)]);
    let receipt = chain.transact(&chain.accounts[1], &call).await;
    assert!(receipt.succeeded);
    let logs = transfers(&chain, &token).await;
    assert_eq!(logs.iter().filter(|log| log["transactionHash"] == json!(receipt.hash)).count(), 2);
    assert_eq!(chain.token_balance(&token, RECEIVER).await, 30);
    assert_eq!(chain.native_balance(RECEIVER).await, 7);
}

#[tokio::test]
async fn what_reverts_is_mined_and_counts_for_nothing() {
    let chain = anvil(AnvilOptions::default()).await;
    let reverter = chain.deploy_contract(Contract::Reverter).await;
    let token = Token { address: reverter.clone(), decimals: 0 };
    let call = Call::reverting_transfer(&reverter, RECEIVER, 5);
    assert!(!chain.transact(&chain.accounts[0], &call).await.succeeded);
    assert!(!chain.send_native(&chain.accounts[0], &reverter, 5).await.succeeded);
    assert!(transfers(&chain, &token).await.is_empty());
}

#[tokio::test]
async fn a_reorg_keeps_the_height_and_loses_the_transactions() {
    let chain = anvil(AnvilOptions { mining: Mining::OnDemand, ..AnvilOptions::default() }).await;
    chain.mine(3).await;
    let receipt = chain.send_native(&chain.accounts[0], RECEIVER, 5).await;
    chain.mine(1).await;
    let (height, fork) = (chain.height().await, chain.block_hash(3).await);
    chain.reorg(2).await;
    assert_eq!(chain.height().await, height);
    assert_eq!(chain.block_hash(3).await, fork);
    assert_ne!(chain.block_hash(receipt.block).await, Some(receipt.block_hash));
    assert_eq!(chain.receipt(&receipt.hash).await, None);
    assert_eq!(chain.native_balance(RECEIVER).await, 0);

    let again = json!({"from": chain.accounts[0], "to": RECEIVER, "value": "0x9"});
    chain.reorg_with(2, &[(again, 1)]).await;
    assert_eq!(chain.height().await, height);
    assert_eq!(chain.native_balance(RECEIVER).await, 9);

    chain.rollback(1).await;
    assert_eq!(chain.height().await, height - 1);
}

#[tokio::test]
async fn an_interval_makes_blocks_by_itself() {
    let mining = Mining::Every(Duration::from_millis(100));
    let mut chain = anvil(AnvilOptions { mining, ..AnvilOptions::default() }).await;
    let receipt = chain.send_native(&chain.accounts[0], RECEIVER, 5).await;
    let deadline = Duration::from_secs(10);
    eventually("two blocks more", deadline, async || (chain.height().await >= receipt.block + 2).then_some(())).await;
    chain.pause();
    // A signal takes effect a moment after it was sent.
    eventually("the paused node to fall silent", deadline, async || {
        tokio::time::timeout(Duration::from_millis(300), chain.height()).await.is_err().then_some(())
    })
    .await;
    chain.resume();
    assert!(chain.height().await >= receipt.block + 2);
}

#[tokio::test]
async fn a_snapshot_is_gone_back_to() {
    let chain = anvil(AnvilOptions::default()).await;
    let snapshot = chain.snapshot().await;
    chain.send_native(&chain.accounts[0], RECEIVER, 5).await;
    chain.revert(snapshot).await;
    assert_eq!((chain.height().await, chain.native_balance(RECEIVER).await), (0, 0));
}

#[tokio::test]
async fn a_stopped_chain_comes_back_as_it_was() {
    let mut chain = anvil(AnvilOptions::default()).await;
    let token = chain.deploy_token(TokenKind::Plain, "USDC", 6).await;
    let receipt = chain.mint(&token, RECEIVER, 7).await;
    chain.stop().await;
    assert!(chain.try_rpc("eth_chainId", json!([])).await.is_err());
    chain.start_again().await;
    assert_eq!(chain.height().await, receipt.block);
    assert_eq!(chain.block_hash(receipt.block).await.as_ref(), Some(&receipt.block_hash));
    assert_eq!(chain.receipt(&receipt.hash).await.as_ref(), Some(&receipt));
    assert_eq!(chain.token_balance(&token, RECEIVER).await, 7);
    assert_eq!(transfers(&chain, &token).await.len(), 1);
}
