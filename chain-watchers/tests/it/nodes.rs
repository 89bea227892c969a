//! Nodes that are not what they should be.

use serde_json::{Value, json};
use wopay_chain_watchers::{ChainState, ConfigError, WatcherConfig, check};
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{Asset, AssetId};

use crate::support::book::live;
use crate::support::proxy::{Instead, Proxy};
use crate::support::{World, chain_name, fresh_address, native};

fn is_refused(health: &wopay_chain_watchers::ChainHealth) -> bool {
    matches!(health.state, ChainState::Refused { .. })
}

fn behind(world: &World, urls: &[&str]) -> WatcherConfig {
    let mut config = world.config();
    config.rpc = urls.iter().map(|url| url.parse().unwrap()).collect();
    config
}

#[tokio::test]
async fn another_chain_id_is_refused() {
    let world = World::new().await;
    let mut config = world.config();
    config.chain.chain_id = Some(56);
    let watching = world.watch_with(&config);
    let health = watching.until("refused", is_refused).await;
    assert!(health.last_error.unwrap().contains("chain id is 31337, configured is 56"));
    assert_eq!(world.cursor().await, None);
}

#[tokio::test]
async fn other_decimals_and_missing_contracts_are_refused() {
    let world = World::new().await;
    let mut config = world.config();
    config.chain.assets[1].decimals = 18;
    let watching = world.watch_with(&config);
    let health = watching.until("refused", is_refused).await;
    assert!(health.last_error.unwrap().contains("decimals are 6, configured are 18"));

    let mut config = world.config();
    let id = AssetId::token(&chain_name(), &fresh_address()).unwrap();
    config.chain.assets.push(Asset { id, symbol: "GONE".to_owned(), decimals: 6 });
    let watching = world.watch_with(&config);
    let health = watching.until("refused", is_refused).await;
    assert!(health.last_error.unwrap().contains("there is no contract"));
    assert_eq!(world.cursor().await, None);
}

#[tokio::test]
async fn configurations_that_make_no_sense_are_errors() {
    let world = World::new().await;
    let refused = |change: fn(&mut WatcherConfig)| {
        let mut config = world.config();
        change(&mut config);
        wopay_chain_watchers::ChainWatcher::new(&config, world.pool().clone(), world.signal.clone()).err().unwrap()
    };
    assert!(matches!(refused(|config| config.rpc.clear()), ConfigError::NoEndpoint { .. }));
    assert!(matches!(refused(|config| config.chain.chain_id = None), ConfigError::NoChainId { .. }));
    assert!(matches!(refused(|config| config.reorg_window = 0), ConfigError::NoWindow { .. }));
    let odd = |config: &mut WatcherConfig| {
        config.chain.assets[1].id = AssetId::token(&chain_name(), "EPjFWdd5Auf").unwrap();
    };
    assert!(matches!(refused(odd), ConfigError::NotAContract { .. }));
}

#[tokio::test]
async fn the_second_endpoint_takes_over_and_a_wrong_one_never_does() {
    let world = World::new().await;
    let wrong = Proxy::new(&world.anvil.url).await;
    wrong.script(|method, _, _| match method {
        "eth_chainId" => Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": "0x38"})),
        _ => Instead::Nothing,
    });
    let first = Proxy::new(&world.anvil.url).await;
    // Nobody listens on the port of a proxy that was dropped.
    let dead = Proxy::new(&world.anvil.url).await.url.clone();
    let watching = world.watch_with(&behind(&world, &[&dead, &wrong.url, &first.url, &world.anvil.url]));
    let (payment, address) = world.payment(10, 3).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Confirming).await;
    assert!(!first.calls().is_empty());

    first.script(|_, _, _| Instead::Html(503));
    world.anvil.mine(2).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    watching.until("well", wopay_chain_watchers::ChainHealth::is_well).await;
    assert!(wrong.calls().iter().all(|method| method == "eth_chainId"), "{:?}", wrong.calls());
}

#[tokio::test]
async fn html_and_nonsense_are_clear_errors_without_secrets() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    proxy.script(|_, _, _| Instead::Html(200));
    let url = format!("{}/v3/SECRET-KEY?token=SECRET", proxy.url).replace("http://", "http://user:SECRET@");
    let config = behind(&world, &[&url]);
    assert!(!format!("{config:?}").contains("SECRET"));
    let watching = world.watch_with(&config);
    let health = watching.until("an error", |health| health.last_error.is_some()).await;
    let error = health.last_error.unwrap();
    assert!(error.contains("not JSON-RPC") && error.contains("text/html"), "{error}");
    assert!(!error.contains("SECRET"), "{error}");
    assert_eq!(health.state, ChainState::Starting);

    proxy.script(|_, _, _| Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": {"odd": true}})));
    watching
        .until("another error", |health| health.last_error.as_ref().is_some_and(|e| e.contains("unexpected result")))
        .await;
    proxy.script(|_, _, _| {
        Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "limit exceeded"}}))
    });
    watching.until("the node's error", |health| health.last_error.as_ref().is_some_and(|e| e.contains("-32005"))).await;
    // A result that somebody else asked for, as a cache or a proxy mixes them up.
    proxy.script(|_, _, _| Instead::Astray);
    let says = |health: &wopay_chain_watchers::ChainHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("answered another call than our eth_"))
    };
    watching.until("the other's answer", says).await;
    proxy.honest();
    watching.until("well", wopay_chain_watchers::ChainHealth::is_well).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let mut config = behind(&world, &[&proxy.url]);
    config.rpc_options.response_bytes_max = 20_000;
    let watching = world.watch_with(&config);
    watching.until("well", wopay_chain_watchers::ChainHealth::is_well).await;
    proxy.script(|_, _, mut answer| {
        answer["result"]["padding"] = Value::String("x".repeat(30_000));
        Instead::Json(answer)
    });
    let error = |health: &wopay_chain_watchers::ChainHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("more than 20000 bytes"))
    };
    watching.until("cut off", error).await;
}

#[tokio::test]
async fn a_refused_chain_is_watched_once_its_node_is_the_right_one() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    proxy.script(|method, _, _| match method {
        "eth_chainId" => Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": "0x38"})),
        _ => Instead::Nothing,
    });
    let watching = world.watch_with(&behind(&world, &[&proxy.url]));
    watching.until("refused", is_refused).await;
    proxy.honest();
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    watching.until("well", wopay_chain_watchers::ChainHealth::is_well).await;
}

#[tokio::test]
async fn an_endpoint_that_stands_still_is_left_for_one_that_moves() {
    let world = World::new().await;
    let stuck = Proxy::new(&world.anvil.url).await;
    world.anvil.mine(10).await;
    let old = world.anvil.rpc("eth_getBlockByNumber", json!(["0x5", false])).await;
    stuck.script(move |_, params, _| match params[0].as_str() {
        Some("latest") => Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": old})),
        _ => Instead::Nothing,
    });
    let mut config = behind(&world, &[&stuck.url, &world.anvil.url]);
    config.rpc_options.head_age_max = std::time::Duration::ZERO;
    let _watching = world.watch_with(&config);
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

/// A node whose log index lags behind answers with no logs.
fn no_logs(method: &str, _params: &Value, mut answer: Value) -> Instead {
    if method != "eth_getLogs" {
        return Instead::Nothing;
    }
    answer["result"] = json!([]);
    Instead::Json(answer)
}

#[tokio::test]
async fn missing_logs_are_noticed_by_the_bloom_filter() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let watching = world.watch_with(&behind(&world, &[&proxy.url]));
    world.caught_up().await;
    proxy.script(no_logs);
    let (payment, address) = world.payment(10, 1).await;
    let paid = world.pay(&address, 10).await;
    let lies = |health: &wopay_chain_watchers::ChainHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("no token transfers"))
    };
    watching.until("the lie noticed", lies).await;
    assert_eq!(world.cursor().await.unwrap().0, paid.block - 1, "the block is not passed over");
    assert_eq!(world.book.payment(payment).status, PaymentStatus::Pending);
    proxy.honest();
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn missing_logs_are_noticed_without_block_receipts_and_answered_elsewhere() {
    for alone in [true, false] {
        missing_logs_are_noticed_without_block_receipts(alone).await;
    }
}

async fn missing_logs_are_noticed_without_block_receipts(alone: bool) {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let urls = [proxy.url.as_str(), world.anvil.url.as_str()];
    let watching = world.watch_with(&behind(&world, if alone { &urls[..1] } else { &urls }));
    world.caught_up().await;
    proxy.script(|method, params, answer| match method {
        "eth_getBlockReceipts" => {
            Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}))
        }
        _ => no_logs(method, params, answer),
    });
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    if alone {
        let lies = |health: &wopay_chain_watchers::ChainHealth| {
            health.last_error.as_ref().is_some_and(|error| error.contains("no token transfers"))
        };
        watching.until("the lie noticed", lies).await;
        assert!(proxy.calls().iter().any(|method| method == "eth_getTransactionReceipt"));
        proxy.honest();
    }
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn logs_and_receipts_of_another_block_are_not_believed() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let watching = world.watch_with(&behind(&world, &[&proxy.url]));
    world.caught_up().await;
    let other_block = |method: &'static str, pointer: &'static str| {
        move |called: &str, _: &Value, mut answer: Value| {
            if called != method {
                return Instead::Nothing;
            }
            if let Some(hash) = answer.pointer_mut(pointer) {
                *hash = json!(format!("0x{}", "ab".repeat(32)));
            }
            Instead::Json(answer)
        }
    };
    proxy.script(other_block("eth_getLogs", "/result/0/blockHash"));
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    let contradicts = |text: &'static str| {
        move |health: &wopay_chain_watchers::ChainHealth| {
            health.last_error.as_ref().is_some_and(|error| error.contains(text))
        }
    };
    watching.until("logs not believed", contradicts("belong to another block")).await;
    proxy.script(other_block("eth_getTransactionReceipt", "/result/blockHash"));
    watching.until("receipt not believed", contradicts("is of another block")).await;
    assert!(world.book.payment(payment).deposits.is_empty());
    proxy.honest();
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn a_lagging_node_is_waited_for() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let watching = world.watch_with(&behind(&world, &[&proxy.url]));
    world.anvil.mine(10).await;
    world.caught_up().await;
    let cursor = world.cursor().await;
    let old = world.anvil.rpc("eth_getBlockByNumber", json!(["0x5", false])).await;
    proxy.script(move |_, params, _| match params[0].as_str() {
        Some("latest") => Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": old})),
        _ => Instead::Nothing,
    });
    watching.until("the lagging head", |health| matches!(health.state, ChainState::Following { head: 5, .. })).await;
    assert_eq!(world.cursor().await, cursor, "it waits");
    proxy.honest();
    world.anvil.mine(1).await;
    world.caught_up().await;
}

#[tokio::test]
async fn an_amount_beyond_128_bits_is_not_recorded_and_holds_nothing_up() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let _watching = world.watch_with(&behind(&world, &[&proxy.url]));
    world.caught_up().await;
    proxy.script(|method, _, mut answer| {
        if method != "eth_getLogs" || answer["result"] == json!([]) {
            return Instead::Nothing;
        }
        answer["result"][0]["data"] = json!(format!("0x{}", "ff".repeat(32)));
        Instead::Json(answer)
    });
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.caught_up().await;
    assert!(world.book.payment(payment).deposits.is_empty());
    proxy.honest();
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn check_reports_what_the_nodes_say() {
    let world = World::new().await;
    let dead = Proxy::new(&world.anvil.url).await.url.clone();
    let mut config = behind(&world, &[&world.anvil.url, &dead]);
    config.chain.assets[1].decimals = 18;
    let reports = check(&[config, world.config()]).await.unwrap();
    let good = &reports[0].endpoints[0];
    assert_eq!((good.chain_id, good.head), (Some(31_337), Some(world.anvil.height().await)));
    let token = &good.tokens[0];
    assert!(token.has_code && !token.ok);
    assert_eq!((token.decimals, token.decimals_expected), (Some(6), 18));
    assert_eq!(token.symbol_on_chain.as_deref(), Some("USDT"));
    assert_eq!(good.problems.len(), 1, "{:?}", good.problems);
    assert!(reports[0].endpoints[1].problems[0].contains("did not answer"));
    assert!(!reports[0].is_ok() && reports[1].is_ok());
}

#[tokio::test]
async fn what_a_node_says_is_cut_short_and_shows_no_credentials() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let mut config = behind(&world, &[&format!("{}/v3/0123456789abcdef?apikey=topsecretkey", proxy.url)]);
    config.rpc[0].set_username("somebody").unwrap();
    config.rpc[0].set_password(Some("hunter22")).unwrap();
    let spoken = "POST /v3/0123456789abcdef?apikey=topsecretkey of somebody:hunter22\u{1b}[31m is no more";
    let watching = world.watch_with(&config);
    for long in [false, true] {
        proxy.script(move |_, _, _| {
            let message = if long { format!("{} {spoken}", "so ".repeat(100_000)) } else { spoken.to_owned() };
            let error = json!({"code": -32007, "message": message, "data": "topsecretkey"});
            Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "error": error}))
        });
        let begins = if long { "so so so" } else { "POST /v3/…?apikey=… of …:…[31m is no more" };
        let said = |health: &wopay_chain_watchers::ChainHealth| {
            health.last_error.as_ref().is_some_and(|error| error.contains(begins))
        };
        let told = watching.until("what it says", said).await.last_error.unwrap();
        for secret in ["0123456789abcdef", "topsecretkey", "somebody", "hunter22", "\u{1b}", "data"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.chars().count() < 600, "{told}");
        assert_eq!(told.matches("-32007").count(), 1, "{told}");
    }
    // Another shape than expected is shown with what is there instead.
    proxy.script(move |_, _, _| Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": spoken.repeat(1000)})));
    let shape = |health: &wopay_chain_watchers::ChainHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("unexpected result"))
    };
    let told = watching.until("the shape", shape).await.last_error.unwrap();
    assert!(!told.contains("topsecretkey") && told.chars().count() < 600, "{told}");
}

#[tokio::test]
async fn a_transaction_given_twice_is_answered_elsewhere() {
    let world = World::new().await;
    let twice = Proxy::new(&world.anvil.url).await;
    twice.script(|method, params, mut answer| {
        if method != "eth_getBlockByNumber" || params[0] == "latest" || params[0] == "finalized" {
            return Instead::Nothing;
        }
        if let Some(transactions) = answer.pointer_mut("/result/transactions").and_then(Value::as_array_mut)
            && let Some(first) = transactions.first().cloned()
        {
            transactions.push(first);
        }
        Instead::Json(answer)
    });
    let (payment, address) = world.book.open(&native(), 500, 1, std::time::Duration::from_secs(3600)).await;
    let _watching = world.watch_with(&behind(&world, &[&twice.url, &world.anvil.url]));
    world.caught_up().await;
    world.anvil.send_native(&world.anvil.accounts[1], &address, 500).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), 1);
}

#[tokio::test]
async fn a_node_that_wants_a_blocks_hash_as_text_gets_it_so() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    proxy.script(|method, params, mut answer| {
        match method {
            "eth_getLogs" => answer["result"] = json!([]),
            "eth_getBlockReceipts" if params[0].is_object() => {
                answer = json!({"error": {"code": -32602, "message": "invalid argument 0: expected a string"}});
            }
            _ => return Instead::Nothing,
        }
        Instead::Json(answer)
    });
    let (payment, address) = world.payment(5, 1).await;
    world.pay(&address, 5).await;
    let watching = world.watch_with(&behind(&world, &[&proxy.url]));
    let lies = |health: &wopay_chain_watchers::ChainHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("no token transfers"))
    };
    watching.until("the lie noticed", lies).await;
    assert!(!proxy.calls().iter().any(|method| method == "eth_getTransactionReceipt"));
    proxy.honest();
    world.book.until_status(payment, PaymentStatus::Completed).await;
}
