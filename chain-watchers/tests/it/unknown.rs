//! Tokens that nobody configured, on a chain that is read for the configured ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use wopay_chain_watchers::{
    ChainWatcher, Finality, FinalityTag, OddError, Progress, SightingKind, WatcherConfig, find_sighting, take_up,
};
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{Asset, AssetId, DepositKey};
use wopay_testkit::{Call, Token, TokenKind, eventually};

use crate::support::book::live;
use crate::support::proxy::{Instead, Proxy};
use crate::support::{SOON, World, chain_name, fresh_address, native};

/// So many blocks below the head are searched, once there are so many of them.
const WINDOW: u32 = 4;
const DUE: u64 = 64 + 4;
const HOUR: Duration = Duration::from_secs(3600);

/// `keccak256("Transfer(address,address,uint256)")`
const TRANSFER: &str = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// A row as a tuple: asset, address, amount, kind, stage.
type Row = (String, String, String, String, String);

fn config(world: &World) -> WatcherConfig {
    let mut config = world.config();
    config.reorg_window = WINDOW;
    config.start_block = Some(1);
    config
}

fn through(world: &World, proxies: &[&Proxy]) -> WatcherConfig {
    let rpc = proxies.iter().map(|proxy| proxy.url.parse().unwrap()).collect();
    WatcherConfig { rpc, ..config(world) }
}

async fn stranger(world: &World) -> Token {
    world.anvil.deploy_token(TokenKind::Plain, "STRANGE", 9).await
}

fn asset_id(token: &Token) -> AssetId {
    AssetId::token(&chain_name(), &token.address).unwrap()
}

fn asset(token: &Token) -> Asset {
    Asset { id: asset_id(token), symbol: "STRANGE".to_owned(), decimals: token.decimals }
}

async fn rows(world: &World) -> Vec<Row> {
    sqlx::query_as(
        "SELECT asset, address, amount_minor::text, kind, stage FROM deposit_observations
         ORDER BY block_number, tx_hash, leg",
    )
    .fetch_all(world.pool())
    .await
    .unwrap()
}

async fn unknown(world: &World) -> Vec<Row> {
    rows(world).await.into_iter().filter(|row| row.3 == "unknown_token").collect()
}

fn row(token: &Token, address: &str, amount: u128, stage: &str) -> Row {
    let asset = asset_id(token).to_string();
    (asset, address.to_owned(), amount.to_string(), "unknown_token".to_owned(), stage.to_owned())
}

async fn swept(world: &World) -> Option<u64> {
    let height: Option<Option<i64>> =
        sqlx::query_scalar("SELECT swept_height FROM chain_cursors").fetch_optional(world.pool()).await.unwrap();
    height.flatten().map(|height| u64::try_from(height).unwrap())
}

async fn until_swept(world: &World, height: u64) {
    eventually("the sweep there", SOON, async || swept(world).await.filter(|swept| *swept >= height)).await;
}

/// Mines until the blocks so far are searched.
async fn sweep_all(world: &World) {
    let height = world.anvil.height().await;
    world.anvil.mine(DUE).await;
    until_swept(world, height).await;
}

/// Another step after what was found, so that it is confirmed.
async fn until_confirmed(world: &World, expected: &[Row]) {
    world.anvil.mine(1).await;
    eventually("what was found, confirmed", SOON, async || (unknown(world).await == expected).then_some(())).await;
}

fn error(code: i32, message: &str) -> Instead {
    Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}))
}

fn is_search(method: &str, params: &Value) -> bool {
    method == "eth_getLogs" && params[0]["address"].is_null()
}

#[tokio::test]
async fn an_unknown_token_is_seen_once_and_is_in_no_book() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 2).await;
    let token = stranger(&world).await;
    world.anvil.mint(&token, &address, 5).await;
    world.pay(&address, 100).await;
    world.anvil.mint(&token, &fresh_address(), 6).await;
    let watching = world.watch_with(&config(&world));
    sweep_all(&world).await;
    let expected = [row(&token, &address, 5, "confirmed")];
    until_confirmed(&world, &expected).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    world.outbox_empty().await;
    assert_eq!(live(&world.book.payment(payment)).len(), 1);
    assert!(world.book.unmatched().is_empty());
    let (payment_id, asked): (uuid::Uuid, i32) = sqlx::query_as(
        "SELECT payment_id, required_confirmations FROM deposit_observations WHERE kind = 'unknown_token'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!((payment_id, asked), (payment.as_uuid(), 2));
    watching.stop().await;
    // Once more from the beginning, as if nothing had been written down.
    sqlx::query("UPDATE chain_cursors SET swept_height = 0").execute(world.pool()).await.unwrap();
    let _watching = world.watch_with(&config(&world));
    world.anvil.mint(&token, &address, 7).await;
    sweep_all(&world).await;
    until_confirmed(&world, &[expected[0].clone(), row(&token, &address, 7, "confirmed")]).await;
    assert_eq!(rows(&world).await.len(), 3, "the payment's own is there once, too");
}

#[tokio::test]
async fn crashes_lose_and_double_nothing() {
    let world = World::new().await;
    let token = stranger(&world).await;
    let (_, address) = world.payment(100, 2).await;
    for round in 0..12_u32 {
        let watching = world.watch_with(&config(&world));
        world.anvil.mint(&token, &address, 100 + u128::from(round) % 3).await;
        let (other, to) = world.payment(100, 2).await;
        world.pay(&to, 100).await;
        world.anvil.mine(DUE).await;
        let before = swept(&world).await;
        let patience = Duration::from_millis(8 * u64::from(round));
        let moved = async || {
            while swept(&world).await == before {
                tokio::task::yield_now().await;
            }
        };
        let _moved = tokio::time::timeout(patience, moved()).await;
        watching.abort().await;
        assert_eq!(world.book.payment(other).deposits.len() / 2, 0);
    }
    // A sum of ten of one contract and address is what is kept: see `a_flood_is_bounded`.
    let _watching = world.watch_with(&config(&world));
    sweep_all(&world).await;
    world.anvil.mine(1).await;
    let confirmed = async || {
        let unknown = unknown(&world).await;
        unknown.iter().all(|row| row.4 == "confirmed").then_some(unknown)
    };
    let unknown = eventually("all confirmed", SOON, confirmed).await;
    let amounts: Vec<&str> = unknown.iter().map(|row| row.2.as_str()).collect();
    assert_eq!(amounts, ["100", "101", "102", "100", "101", "102", "100", "101", "102", "100"]);
    assert_eq!(rows(&world).await.len(), 10 + 12);
}

/// Steps until the sweep has come so far.
async fn step_until_swept(world: &World, watcher: &mut ChainWatcher, height: u64) {
    eventually("the sweep there", SOON, async || {
        let progress = watcher.advance_once().await;
        assert!(matches!(progress, Progress::Again | Progress::Idle), "{:?}", watcher.status().health());
        (swept(world).await? >= height).then_some(())
    })
    .await;
}

/// Steps until there is nothing to do.
async fn step_to_rest(watcher: &mut ChainWatcher) {
    while watcher.advance_once().await == Progress::Again {}
}

fn watcher(world: &World) -> ChainWatcher {
    ChainWatcher::new(&config(world), world.pool().clone(), world.signal.clone()).unwrap()
}

/// The sweep is behind when the token is added: what came before is an unknown token's, what comes after is money, and
/// nothing is both or neither.
#[tokio::test]
async fn a_token_that_is_added_while_the_sweep_is_behind_is_seen_once_throughout() {
    let world = World::new().await;
    let token = stranger(&world).await;
    let mut watcher = watcher(&world);
    let (first, address) = world.book.open(&native(), 1, 1, HOUR).await;
    step_to_rest(&mut watcher).await;
    world.anvil.mint(&token, &address, 5).await;
    step_to_rest(&mut watcher).await;
    assert!(unknown(&world).await.is_empty());
    let before = world.anvil.height().await;
    watcher.added_tokens().set(vec![asset(&token)], std::collections::BTreeMap::new());
    step_to_rest(&mut watcher).await;
    let (second, address) = world.book.open(&asset(&token), 7, 1, HOUR).await;
    world.anvil.mint(&token, &address, 7).await;
    step_to_rest(&mut watcher).await;
    world.anvil.mine(DUE).await;
    step_until_swept(&world, &mut watcher, before + 2).await;
    world.anvil.mine(1).await;
    step_to_rest(&mut watcher).await;
    let found: Vec<(String, String, String)> =
        rows(&world).await.into_iter().map(|(_, _, amount, kind, stage)| (amount, kind, stage)).collect();
    let of = |amount: &str, kind: &str| (amount.to_owned(), kind.to_owned(), "confirmed".to_owned());
    assert_eq!(found, [of("5", "unknown_token"), of("7", "money")]);
    world.book.until_status(second, PaymentStatus::Completed).await;
    assert_eq!(world.book.payment(first).status, PaymentStatus::Pending);
}

/// The same by a restart with the token in the configuration, after the sweep: the old row stays what it was until an
/// operator takes it up.
#[tokio::test]
async fn a_token_that_is_configured_later_leaves_its_older_rows_to_be_taken_up() {
    let world = World::new().await;
    let token = stranger(&world).await;
    let (_, address) = world.payment(100, 1).await;
    let watching = world.watch_with(&config(&world));
    let transaction = world.anvil.mint(&token, &address, 5).await.hash;
    sweep_all(&world).await;
    until_confirmed(&world, &[row(&token, &address, 5, "confirmed")]).await;
    watching.stop().await;

    let mut config = config(&world);
    config.chain.assets.push(asset(&token));
    let _watching = world.watch_with(&config);
    world.anvil.mint(&token, &address, 6).await;
    sweep_all(&world).await;
    assert_eq!(unknown(&world).await, [row(&token, &address, 5, "confirmed")]);
    assert_eq!(rows(&world).await.len(), 2, "the second is money, once");

    let key: DepositKey = format!("ethereum:{transaction}:log:0").parse().unwrap();
    let sighting = find_sighting(world.pool(), &key).await.unwrap().unwrap();
    assert_eq!((sighting.kind, sighting.is_confirmed), (SightingKind::UnknownToken, true));
    let told = take_up(world.pool(), &key, &world.signal).await.unwrap();
    assert_eq!((told.report.amount.minor(), told.address), (5, address));
    world.outbox_empty().await;
    let again = take_up(world.pool(), &key, &world.signal).await;
    assert!(matches!(again, Err(OddError::NotOdd)), "{again:?}");
    sweep_all(&world).await;
    assert!(unknown(&world).await.is_empty() && rows(&world).await.len() == 2, "and it is not found again");
}

#[tokio::test]
async fn a_flood_is_bounded_and_hides_no_other_token() {
    let world = World::new().await;
    let (payment, address) = world.payment(100, 1).await;
    let (flood, token) = (stranger(&world).await, stranger(&world).await);
    for _ in 0..30 {
        world.anvil.submit(&world.anvil.accounts[0], &flood.mint(&address, 1)).await;
    }
    world.anvil.mint(&token, &address, 5).await;
    world.pay(&address, 100).await;
    let _watching = world.watch_with(&config(&world));
    sweep_all(&world).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    let of = |rows: &[Row], token: &Token| rows.iter().filter(|row| row.0 == asset_id(token).as_str()).count();
    let found = unknown(&world).await;
    assert_eq!((of(&found, &flood), of(&found, &token)), (10, 1));
    world.anvil.mint(&flood, &address, 1).await;
    sweep_all(&world).await;
    let found = unknown(&world).await;
    assert_eq!((of(&found, &flood), of(&found, &token)), (10, 1), "also of another sweep");
}

/// Logs a transfer of 2^256 - 1 and one of an NFT to the address in its calldata.
fn odd_logger() -> String {
    let to_and_from = "60003533";
    let large = format!("7f{}600052{to_and_from}7f{TRANSFER}60206000a3", "ff".repeat(32));
    let nft = format!("6001{to_and_from}7f{TRANSFER}60006000a4");
    format!("0x{large}{nft}00")
}

#[tokio::test]
async fn what_is_no_amount_of_a_token_is_not_recorded_and_holds_nothing_up() {
    let world = World::new().await;
    let (_, address) = world.payment(100, 1).await;
    let (logger, token) = (fresh_address(), stranger(&world).await);
    world.anvil.rpc("anvil_setCode", json!([logger, odd_logger()])).await;
    let word = format!("0x{:0>64}", address.trim_start_matches("0x"));
    let receipt = world.anvil.transact(&world.anvil.accounts[0], &Call::native(&logger, 0).with_data(&word)).await;
    assert!(receipt.succeeded);
    world.anvil.mint(&token, &address, 5).await;
    let _watching = world.watch_with(&config(&world));
    sweep_all(&world).await;
    until_confirmed(&world, &[row(&token, &address, 5, "confirmed")]).await;
}

#[tokio::test]
async fn a_provider_that_wants_an_address_is_left_alone_and_as_good_as_before() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let refusals = Arc::new(AtomicU64::new(0));
    let refused = Arc::clone(&refusals);
    let refuse = move |method: &str, params: &Value, _: Value| {
        if !is_search(method, params) {
            return Instead::Nothing;
        }
        refused.fetch_add(1, Ordering::SeqCst);
        error(-32602, "please specify an address in your request")
    };
    proxy.script(refuse.clone());
    let token = stranger(&world).await;
    let (payment, address) = world.payment(100, 1).await;
    world.anvil.mint(&token, &address, 5).await;
    world.anvil.mine(DUE).await;
    let watching = world.watch_with(&through(&world, &[&proxy]));
    eventually("a refusal", SOON, async || (refusals.load(Ordering::SeqCst) > 0).then_some(())).await;
    let mut payments = vec![(payment, address.clone())];
    for _ in 0..5 {
        payments.push(world.payment(100, 1).await);
    }
    for (payment, address) in &payments {
        world.pay(address, 100).await;
        world.anvil.mine(DUE).await;
        world.book.until_status(*payment, PaymentStatus::Completed).await;
        assert!(watching.health().is_well(), "{:?}", watching.health());
    }
    let count = refusals.load(Ordering::SeqCst);
    assert!(count <= 9, "asked {count} times: by halves once, and not again soon");
    assert!(unknown(&world).await.is_empty());
    assert_eq!(swept(&world).await, Some(0));
    watching.stop().await;

    // Another endpoint answers: nothing was lost, and the first one stays the one in use.
    let other = Proxy::new(&world.anvil.url).await;
    let watching = world.watch_with(&through(&world, &[&proxy, &other]));
    sweep_all(&world).await;
    until_confirmed(&world, &[row(&token, &address, 5, "confirmed")]).await;
    let health = watching.health();
    assert!(health.endpoints[0].in_use, "{health:?}");
    assert!(other.calls().iter().filter(|method| *method == "eth_getBlockByNumber").count() < 20);
}

#[tokio::test]
async fn it_can_be_turned_off_and_on_again() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let searched = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&searched);
    proxy.script(move |method, params, _| {
        seen.fetch_or(is_search(method, params), Ordering::SeqCst);
        Instead::Nothing
    });
    let token = stranger(&world).await;
    let (payment, address) = world.payment(100, 1).await;
    world.anvil.mint(&token, &address, 5).await;
    let mut config = through(&world, &[&proxy]);
    config.evm.unknown_tokens = false;
    let watching = world.watch_with(&config);
    world.anvil.mine(DUE).await;
    world.pay(&address, 100).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    world.anvil.mine(DUE).await;
    world.caught_up().await;
    watching.stop().await;
    assert!(!searched.load(Ordering::SeqCst) && unknown(&world).await.is_empty());
    config.evm.unknown_tokens = true;
    let _watching = world.watch_with(&config);
    sweep_all(&world).await;
    until_confirmed(&world, &[row(&token, &address, 5, "confirmed")]).await;
}

/// A database of an older program: what is final when it is first looked at is not searched, everything after it is.
#[tokio::test]
async fn a_chain_that_was_watched_before_begins_with_what_is_final() {
    let world = World::new().await;
    let (token, (_, address)) = (stranger(&world).await, world.payment(100, 1).await);
    let mut off = config(&world);
    off.evm.unknown_tokens = false;
    world.anvil.mint(&token, &address, 5).await;
    world.anvil.mine(10).await;
    let watching = world.watch_with(&off);
    world.caught_up().await;
    watching.stop().await;
    sqlx::query("UPDATE chain_cursors SET swept_height = NULL").execute(world.pool()).await.unwrap();
    let final_height = world.anvil.height().await - u64::from(WINDOW);
    let _watching = world.watch_with(&config(&world));
    until_swept(&world, final_height).await;
    world.anvil.mint(&token, &address, 6).await;
    sweep_all(&world).await;
    until_confirmed(&world, &[row(&token, &address, 6, "confirmed")]).await;
}

#[tokio::test]
async fn answers_without_what_is_known_or_of_other_blocks_are_not_believed() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let token = stranger(&world).await;
    let (payment, address) = world.payment(100, 1).await;
    world.anvil.mint(&token, &address, 5).await;
    world.pay(&address, 100).await;
    world.anvil.mine(DUE).await;
    let lies: [fn(&mut Value); 5] = [
        |answer| answer["result"] = json!([]),
        |answer| answer["result"][0]["blockHash"] = json!(format!("0x{}", "ab".repeat(32))),
        |answer| answer["result"][0]["topics"][2] = json!(format!("0x{}", "00".repeat(32))),
        |answer| {
            let twice = answer["result"][0].clone();
            answer["result"].as_array_mut().unwrap().push(twice);
        },
        |answer| answer["result"][0]["transactionHash"] = answer["result"][1]["transactionHash"].clone(),
    ];
    for lie in lies {
        let answered = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answered);
        proxy.script(move |method, params, mut answer| {
            if !is_search(method, params) {
                return Instead::Nothing;
            }
            assert_eq!(answer["result"].as_array().unwrap().len(), 2);
            counted.fetch_add(1, Ordering::SeqCst);
            lie(&mut answer);
            Instead::Json(answer)
        });
        let watching = world.watch_with(&through(&world, &[&proxy]));
        eventually("a lie", SOON, async || (answered.load(Ordering::SeqCst) > 0).then_some(())).await;
        world.book.until_status(payment, PaymentStatus::Completed).await;
        let (next, to) = world.payment(100, 1).await;
        world.pay(&to, 100).await;
        world.book.until_status(next, PaymentStatus::Completed).await;
        assert_eq!(swept(&world).await, Some(0));
        assert!(unknown(&world).await.is_empty());
        watching.stop().await;
        // Nothing more is in the blocks that the next one is asked about.
        world.anvil.reorg(1).await;
    }
    proxy.honest();
    let _watching = world.watch_with(&through(&world, &[&proxy]));
    sweep_all(&world).await;
    until_confirmed(&world, &[row(&token, &address, 5, "confirmed")]).await;
}

#[tokio::test]
async fn a_node_that_gives_little_at_once_is_asked_for_less() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let (token, (_, address)) = (stranger(&world).await, world.payment(100, 1).await);
    let quantity = |value: &Value| u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    proxy.script(move |method, params, _| {
        let filter = &params[0];
        if is_search(method, params) && quantity(&filter["toBlock"]) - quantity(&filter["fromBlock"]) >= 10 {
            return error(-32005, "query returned more than 10000 results");
        }
        Instead::Nothing
    });
    for round in 0..5 {
        world.anvil.mint(&token, &address, 5 + round).await;
        world.anvil.mine(40).await;
    }
    let _watching = world.watch_with(&through(&world, &[&proxy]));
    sweep_all(&world).await;
    let expected: Vec<Row> = (0..5).map(|round| row(&token, &address, 5 + round, "confirmed")).collect();
    until_confirmed(&world, &expected).await;
}

/// A node that calls its newest block final, and then has another one there: nothing was proven to be final, so it is
/// walked back like any other.
#[tokio::test]
async fn a_reorganization_below_what_was_swept_sets_the_sweep_back() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let (token, (_, address)) = (stranger(&world).await, world.payment(100, 1).await);
    let newest = Arc::new(std::sync::Mutex::new(Value::Null));
    proxy.script(move |method, params, mut answer| {
        if method == "eth_getBlockByNumber" && params[0] == json!("latest") {
            *newest.lock().unwrap() = answer["result"].clone();
        }
        if method == "eth_getBlockByNumber" && params[0] == json!("finalized") {
            answer["result"] = newest.lock().unwrap().clone();
            return Instead::Json(answer);
        }
        Instead::Nothing
    });
    let mut config = through(&world, &[&proxy]);
    config.finality = Finality::Tag(FinalityTag::Finalized);
    config.reorg_window = 128;
    let _watching = world.watch_with(&config);
    world.caught_up().await;
    world.anvil.mine(DUE).await;
    until_swept(&world, world.anvil.height().await).await;
    // The other branch has a transfer, no higher than what was swept.
    let call = token.mint(&address, 6);
    let other = json!({"from": world.anvil.accounts[1], "to": call.to, "data": call.data, "gas": "0x30d40"});
    world.anvil.reorg_with(DUE - 2, &[(other, 1)]).await;
    world.anvil.mine(DUE).await;
    let found = [row(&token, &address, 6, "confirmed")];
    eventually("the new branch swept", SOON, async || (unknown(&world).await == found).then_some(())).await;
}
