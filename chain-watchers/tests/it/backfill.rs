//! Far behind the head: blocks in bulk, with nodes that give little at once, or lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wopay_chain_watchers::WatcherConfig;
use wopay_domain::PaymentId;
use wopay_domain::payment::PaymentStatus;

use crate::support::book::live;
use crate::support::proxy::{BATCH, Instead, Proxy};
use crate::support::{World, native};

const HOUR: Duration = Duration::from_secs(3600);

fn behind(world: &World, proxy: &Proxy) -> WatcherConfig {
    let mut config = world.config();
    config.rpc = vec![proxy.url.parse().unwrap()];
    config.start_block = Some(1);
    config.reorg_window = 16;
    config
}

/// Payments of tokens and native money, strewn over a few hundred blocks.
async fn history(world: &World) -> Vec<PaymentId> {
    rounds(world, 8).await
}

/// Two payments in each round of about forty blocks.
async fn rounds(world: &World, rounds: u64) -> Vec<PaymentId> {
    let mut payments = Vec::new();
    for round in 0..rounds {
        let (payment, address) = world.payment(10, 3).await;
        payments.push(payment);
        world.pay(&address, 10).await;
        world.anvil.mine(37 + round).await;
        let (payment, address) = world.book.open(&native(), 5_000, 3, HOUR).await;
        payments.push(payment);
        world.anvil.send_native(&world.anvil.accounts[1], &address, 5_000).await;
    }
    world.anvil.mine(20).await;
    payments
}

async fn all_completed(world: &World, payments: &[PaymentId]) {
    for payment in payments {
        let state = world.book.until_status(*payment, PaymentStatus::Completed).await;
        assert_eq!(live(&state).len(), 1);
    }
}

fn quantity(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Blocks that a range of logs names, if it is one.
fn span(params: &Value) -> Option<u64> {
    let filter = &params[0];
    (!filter["fromBlock"].is_null()).then(|| quantity(&filter["toBlock"]) - quantity(&filter["fromBlock"]) + 1)
}

fn error(code: i32, message: &str) -> Instead {
    Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}))
}

#[tokio::test]
async fn a_long_outage_is_read_in_bulk_with_few_calls() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = history(&world).await;
    let height = world.anvil.height().await;
    let _watching = world.watch_with(&behind(&world, &proxy));
    all_completed(&world, &payments).await;
    world.caught_up().await;
    let calls = proxy.calls();
    let count = |name: &str| calls.iter().filter(|method| *method == name).count() as u64;
    assert!(count("eth_getLogs") < height / 4, "{} ranges of logs for {height} blocks", count("eth_getLogs"));
    assert!(count("eth_getBlockByNumber") < height * 5 / 4, "each block once, and the heads");
    let stored: i64 = sqlx::query_scalar("SELECT max(height) - min(height) FROM chain_blocks WHERE height > $1")
        .bind(i64::try_from(height).unwrap() - 30)
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(stored, 29, "the window is whole");
}

#[tokio::test]
async fn nodes_that_give_little_at_once_are_asked_for_less() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = history(&world).await;
    let mut refusals = 0;
    proxy.script(move |method, params, _| match method {
        "eth_getLogs" if span(params).is_some_and(|blocks| blocks > 10) => {
            refusals += 1;
            match refusals % 3 {
                0 => error(-32005, "query returned more than 10000 results"),
                1 => error(-32602, "Log response size exceeded. Try a smaller block range"),
                _ => Instead::Html(503),
            }
        }
        BATCH if params.as_array().unwrap().len() > 5 => error(-32600, "batch too large"),
        _ => Instead::Nothing,
    });
    let _watching = world.watch_with(&behind(&world, &proxy));
    all_completed(&world, &payments).await;
    world.caught_up().await;
}

#[tokio::test]
async fn a_node_that_takes_neither_ranges_nor_batches_is_read_block_by_block() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = history(&world).await;
    proxy.script(move |method, params, _| match method {
        "eth_getLogs" if span(params).is_some() => error(-32601, "not here"),
        BATCH => error(-32600, "no batches"),
        _ => Instead::Nothing,
    });
    let _watching = world.watch_with(&behind(&world, &proxy));
    all_completed(&world, &payments).await;
}

#[tokio::test]
async fn ranges_without_the_logs_that_blooms_show_are_not_believed() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = history(&world).await;
    proxy.script(|method, _, mut answer| {
        if method != "eth_getLogs" {
            return Instead::Nothing;
        }
        answer["result"] = json!([]);
        Instead::Json(answer)
    });
    let watching = world.watch_with(&behind(&world, &proxy));
    let lies = |health: &wopay_chain_watchers::ChainHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("no token transfers"))
    };
    watching.until("the lie noticed", lies).await;
    proxy.honest();
    all_completed(&world, &payments).await;
}

#[tokio::test]
async fn logs_of_other_blocks_and_receipts_without_logs_are_not_believed() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = history(&world).await;
    proxy.script(|method, _, mut answer| {
        let pointer = "/result/0/blockHash";
        match answer.pointer_mut(pointer).filter(|_| method == "eth_getLogs") {
            Some(hash) => *hash = json!(format!("0x{}", "ab".repeat(32))),
            None => return Instead::Nothing,
        }
        Instead::Json(answer)
    });
    let watching = world.watch_with(&behind(&world, &proxy));
    let told = |text: &'static str| {
        move |health: &wopay_chain_watchers::ChainHealth| {
            health.last_error.as_ref().is_some_and(|error| error.contains(text))
        }
    };
    watching.until("another block", told("belong to another block")).await;
    // No logs, and receipts that agree with that: only the bloom filter knows better.
    proxy.script(|method, _, mut answer| {
        match method {
            "eth_getLogs" => answer["result"] = json!([]),
            "eth_getBlockReceipts" => {
                for receipt in answer["result"].as_array_mut().unwrap() {
                    receipt["logs"] = json!([]);
                }
            }
            _ => return Instead::Nothing,
        }
        Instead::Json(answer)
    });
    watching.until("the bloom filter", told("lack logs that its bloom filter shows")).await;
    proxy.honest();
    all_completed(&world, &payments).await;
}

#[tokio::test]
async fn no_range_reaches_past_the_head_of_the_node_that_is_asked() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = history(&world).await;
    let head = Arc::new(AtomicU64::new(100));
    let beyond = Arc::new(AtomicU64::new(0));
    let (own_head, too_far) = (Arc::clone(&head), Arc::clone(&beyond));
    // A provider whose log servers stand behind its head: ranges past theirs are answered without what they lack.
    proxy.script(move |method, params, mut answer| {
        let own = own_head.load(Ordering::SeqCst);
        match method {
            "eth_blockNumber" => answer["result"] = json!(format!("{own:#x}")),
            "eth_getLogs" if span(params).is_some() => {
                if quantity(&params[0]["toBlock"]) > own {
                    too_far.fetch_add(1, Ordering::SeqCst);
                }
                let known = |log: &Value| quantity(&log["blockNumber"]) <= own;
                answer["result"].as_array_mut().unwrap().retain(known);
                own_head.fetch_add(50, Ordering::SeqCst);
            }
            _ => return Instead::Nothing,
        }
        Instead::Json(answer)
    });
    let _watching = world.watch_with(&behind(&world, &proxy));
    all_completed(&world, &payments).await;
    assert_eq!(beyond.load(Ordering::SeqCst), 0);
    assert!(head.load(Ordering::SeqCst) > 100);
}

/// `cargo test -p wopay-chain-watchers --test it -- --ignored --nocapture backfill::how_fast`
#[tokio::test]
#[ignore = "a measurement"]
async fn how_fast() {
    let world = World::new().await;
    let blocks: u64 = std::env::var("BACKFILL_BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let mut addresses = Vec::new();
    for _ in 0..20 {
        addresses.push(world.payment(1, 3).await);
    }
    for round in 0..blocks {
        let (_, address) = &addresses[usize::try_from(round % 20).unwrap()];
        let to = if round % 10 == 0 { address.clone() } else { crate::support::fresh_address() };
        world.anvil.submit(&world.anvil.accounts[0], &world.usdt.transfer(&to, 1_000)).await;
        world.anvil.mine(1).await;
    }
    world.anvil.mine(20).await;
    let proxied = std::env::var("BACKFILL_PROXY").is_ok();
    let proxy = Proxy::new(&world.anvil.url).await;
    let mut config = behind(&world, &proxy);
    if !proxied {
        config.rpc = vec![world.anvil.url.parse().unwrap()];
    }
    let begun = Instant::now();
    let _watching = world.watch_with(&config);
    let height = world.anvil.height().await;
    loop {
        if world.cursor().await.is_some_and(|(cursor, _)| cursor + 16 >= height) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    eprintln!("{height} blocks in {took:?}: {:.0} blocks/s", height as f64 / took.as_secs_f64());
    if proxied {
        let mut counts = std::collections::BTreeMap::new();
        for call in proxy.calls() {
            *counts.entry(call).or_insert(0) += 1;
        }
        eprintln!("{counts:?}");
    }
}

/// Takes so many calls in a second, each call of a batch being one, and refuses the rest.
fn taking(per_second: usize) -> impl FnMut(&str, &Value, Value) -> Instead + Send + 'static {
    let mut taken: Vec<Instant> = Vec::new();
    let mut of_batches: usize = 0;
    move |method, params, _| {
        if method != BATCH && of_batches > 0 {
            of_batches -= 1;
            return Instead::Nothing;
        }
        let calls = if method == BATCH { params.as_array().unwrap().len() } else { 1 };
        taken.retain(|at| at.elapsed() < Duration::from_secs(1));
        if taken.len() + calls > per_second {
            return Instead::TooMany(None);
        }
        taken.extend(std::iter::repeat_n(Instant::now(), calls));
        if method == BATCH {
            of_batches += calls;
        }
        Instead::Nothing
    }
}

#[tokio::test]
async fn a_provider_that_takes_few_calls_a_second_is_caught_up_with() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payments = rounds(&world, 5).await;
    proxy.script(taking(25));
    let _watching = world.watch_with(&behind(&world, &proxy));
    all_completed(&world, &payments).await;
    let calls = proxy.calls();
    let height = world.anvil.height().await;
    let blocks = calls.iter().filter(|method| *method == "eth_getBlockByNumber").count() as u64;
    assert!(blocks < height * 3, "{blocks} asked for, of {height}");
}
