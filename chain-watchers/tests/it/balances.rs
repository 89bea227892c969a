//! Balances at one block, and of the present.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use wopay_chain_watchers::{BalanceBlock, BalanceError, BalanceReader, WatcherConfig};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, ChainSpec};
use wopay_testkit::{TokenKind, TokenProgram, eventually, surfpool};

use crate::support::proxy::{BATCH, Instead, Proxy};
use crate::support::{SOON, World, chain_name, fresh_address, native, token_asset};

fn behind(world: &World, urls: &[&str]) -> WatcherConfig {
    let mut config = world.config();
    config.rpc = urls.iter().map(|url| url.parse().unwrap()).collect();
    config
}

fn error(code: i64, message: &str) -> Instead {
    Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}))
}

/// Two addresses: 10 USDT and 7 wei at the first, 20 USDT at the second; then a block with more for both.
async fn funded(world: &World) -> (Vec<String>, u64) {
    let addresses = vec![fresh_address(), fresh_address()];
    world.pay(&addresses[0], 10).await;
    world.anvil.send_native(&world.anvil.accounts[1], &addresses[0], 7).await;
    let receipt = world.pay(&addresses[1], 20).await;
    world.pay(&addresses[0], 1).await;
    world.anvil.send_native(&world.anvil.accounts[1], &addresses[1], 1).await;
    (addresses, receipt.block)
}

async fn read(world: &World, reader: &BalanceReader, addresses: &[String]) -> Result<Vec<u128>, BalanceError> {
    let (native, usdt) = (native().id, token_asset(&world.usdt).id);
    let accounts: Vec<(&str, &AssetId)> =
        addresses.iter().flat_map(|address| [(address.as_str(), &native), (address.as_str(), &usdt)]).collect();
    minors(reader, &accounts).await
}

/// Without the heights, which are all the reader's.
async fn minors(reader: &BalanceReader, accounts: &[(&str, &AssetId)]) -> Result<Vec<u128>, BalanceError> {
    let balances = reader.read(accounts).await?;
    assert!(reader.is_pinned() && balances.iter().all(|balance| balance.height == reader.block().number));
    Ok(balances.iter().map(|balance| balance.minor).collect())
}

#[tokio::test]
async fn balances_are_those_of_the_block() {
    let world = World::new().await;
    let (mut addresses, block) = funded(&world).await;
    addresses.extend((0..150).map(|_| fresh_address()));
    let reader = BalanceReader::at(&world.config(), BalanceBlock::Height(block)).await.unwrap();
    assert_eq!(Some(reader.block().hash.clone()), world.anvil.block_hash(block).await);
    let balances = read(&world, &reader, &addresses).await.unwrap();
    assert_eq!(balances[..4], [7, world.usdt.whole(10), 0, world.usdt.whole(20)]);
    assert!(balances.len() == 304 && balances[4..].iter().all(|minor| *minor == 0));
    reader.check_canonical().await.unwrap();

    let later = world.anvil.deploy_token(TokenKind::Plain, "LATER", 6).await;
    world.anvil.mint(&later, &addresses[0], 5).await;
    let asset = AssetId::token(&chain_name(), &later.address).unwrap();
    let account: [(&str, &AssetId); 1] = [(&addresses[0], &asset)];
    assert_eq!(minors(&reader, &account).await.unwrap(), [0], "the contract did not exist then");
    let now = BalanceReader::at(&world.config(), BalanceBlock::Height(world.anvil.height().await)).await.unwrap();
    assert_eq!(minors(&now, &account).await.unwrap(), [5]);
}

#[tokio::test]
async fn nodes_that_know_no_block_hashes_or_no_batches_are_asked_otherwise() {
    let world = World::new().await;
    let (addresses, block) = funded(&world).await;
    let expected = [7, world.usdt.whole(10), 0, world.usdt.whole(20)];
    let proxy = Proxy::new(&world.anvil.url).await;
    proxy.script(|_, params, _| {
        let by_hash =
            params.as_array().is_some_and(|params| params.iter().any(|param| param.get("blockHash").is_some()));
        if by_hash { error(-32602, "invalid argument 1: json: cannot unmarshal object") } else { Instead::Nothing }
    });
    let reader = BalanceReader::at(&behind(&world, &[&proxy.url]), BalanceBlock::Height(block)).await.unwrap();
    assert_eq!(read(&world, &reader, &addresses).await.unwrap(), expected);

    for refusal in [|| error(-32600, "batch requests are not allowed"), || Instead::Html(413)] {
        proxy.script(move |method, params, _| match params {
            Value::Array(calls) if method == BATCH && calls.len() > 1 => refusal(),
            _ => Instead::Nothing,
        });
        let reader = BalanceReader::at(&behind(&world, &[&proxy.url]), BalanceBlock::Height(block)).await.unwrap();
        assert_eq!(read(&world, &reader, &addresses).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_pruned_node_is_named_and_an_archive_node_takes_over() {
    let world = World::new().await;
    let (addresses, block) = funded(&world).await;
    let pruned = Proxy::new(&world.anvil.url).await;
    pruned.script(|method, _, _| match method {
        "eth_getBalance" => error(-32000, "missing trie node 5f3a (path )"),
        _ => Instead::Nothing,
    });
    let reader = BalanceReader::at(&behind(&world, &[&pruned.url]), BalanceBlock::Height(block)).await.unwrap();
    let failed = read(&world, &reader, &addresses).await.unwrap_err();
    assert!(matches!(&failed, BalanceError::Pruned { block: at, .. } if *at == block), "{failed:?}");
    let text = failed.to_string();
    assert!(text.contains("archive node") && text.contains("missing trie node"), "{text}");

    let reader = BalanceReader::at(&behind(&world, &[&pruned.url, &world.anvil.url]), BalanceBlock::Height(block))
        .await
        .unwrap();
    assert_eq!(read(&world, &reader, &addresses).await.unwrap()[0], 7);
}

#[tokio::test]
async fn blocks_and_accounts_that_do_not_exist_are_refused() {
    let world = World::new().await;
    let newest = world.anvil.height().await;
    let missing = BalanceReader::at(&world.config(), BalanceBlock::Height(newest + 1)).await.unwrap_err();
    assert!(matches!(missing, BalanceError::NoSuchBlock { newest: at, .. } if at == newest), "{missing:?}");

    let reader = BalanceReader::at(&world.config(), BalanceBlock::Height(newest)).await.unwrap();
    let elsewhere = AssetId::native(&"bsc".parse().unwrap());
    let (address, native) = (fresh_address(), native().id);
    for account in [("0x12", &native), (address.as_str(), &elsewhere)] {
        assert!(matches!(reader.read(&[account]).await, Err(BalanceError::NotAnAccount { .. })), "{account:?}");
    }

    world.anvil.reorg(1).await;
    assert!(matches!(reader.check_canonical().await, Err(BalanceError::Replaced { .. })));
}

#[tokio::test]
async fn a_solana_node_tells_the_present_of_both_token_programs_and_is_asked_again_when_it_lags() {
    let network = surfpool().await;
    let (old, new) = (network.mint(6, TokenProgram::Token).await, network.mint(2, TokenProgram::Token2022).await);
    let chain: ChainName = "solana".parse().unwrap();
    let sol = AssetId::native(&chain);
    let (old_id, new_id) = (AssetId::token(&chain, &old.mint).unwrap(), AssetId::token(&chain, &new.mint).unwrap());
    let spec = ChainSpec {
        name: chain,
        family: ChainFamily::Solana,
        chain_id: None,
        required_confirmations: 1,
        assets: vec![Asset { id: sol.clone(), symbol: "SOL".to_owned(), decimals: 9 }],
        min_deposits: BTreeMap::new(),
    };
    let proxy = Proxy::new(&network.url).await;
    let config = WatcherConfig::new(spec, vec![proxy.url.parse().unwrap()]);
    let [first, second] = [1, 2].map(|byte: u8| bs58::encode([byte; 32]).into_string());
    network.pay(&first, 2_000_000).await;
    network.pay_token(&old, &first, 30).await;
    network.pay_token_aside(&old, &first, 4).await;
    network.pay_token(&new, &second, 5).await;
    let lagged = AtomicUsize::new(0);
    proxy.script(move |method, _, _| {
        let is_first = method == "getTokenAccountsByOwner" && lagged.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { error(-32016, "Minimum context slot has not been reached") } else { Instead::Nothing }
    });
    // The first slots of the network are made up, and no blocks.
    let finalized = async || BalanceReader::at(&config, BalanceBlock::Finalized).await.ok();
    let reader = eventually("a finalized block", SOON, finalized).await;
    let accounts: Vec<(&str, &AssetId)> = [&first, &second]
        .into_iter()
        .flat_map(|owner| [&sol, &old_id, &new_id].map(|asset| (owner.as_str(), asset)))
        .collect();
    let balances = reader.read(&accounts).await.unwrap();
    assert_eq!(balances.iter().map(|balance| balance.minor).collect::<Vec<_>>(), [2_000_000, 34, 0, 0, 0, 5]);
    assert!(!reader.is_pinned() && balances.iter().all(|balance| balance.height >= reader.block().number));
    reader.check_canonical().await.unwrap();
    let past = BalanceReader::at(&config, BalanceBlock::Height(1)).await.unwrap_err();
    assert!(matches!(past, BalanceError::NoPast { .. }), "{past:?}");
    let elsewhere = AssetId::native(&"bsc".parse().unwrap());
    for account in [("0x12", &sol), (first.as_str(), &elsewhere)] {
        assert!(matches!(reader.read(&[account]).await, Err(BalanceError::NotAnAccount { .. })), "{account:?}");
    }
}
