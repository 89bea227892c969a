//! Several endpoints of one chain: who is asked, who is left alone, and what people are told of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wopay_chain_watchers::{Agreement, ChainHealth, ChainState, EndpointState, WatcherConfig};
use wopay_domain::payment::PaymentStatus;
use wopay_testkit::eventually;

use crate::support::proxy::{Instead, Proxy};
use crate::support::{SOON, World, token_asset};

/// Endpoints are compared several times a second.
fn behind(world: &World, urls: &[&str]) -> WatcherConfig {
    let mut config = world.config();
    config.rpc = urls.iter().map(|url| url.parse().unwrap()).collect();
    config.rpc_options.compare_every = Duration::from_millis(200);
    config
}

fn host(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// The state of that endpoint.
fn state<'a>(health: &'a ChainHealth, url: &str) -> Option<&'a EndpointState> {
    health.endpoints.iter().find(|endpoint| endpoint.endpoint == host(url)).map(|endpoint| &endpoint.state)
}

fn is_in_use(health: &ChainHealth, url: &str) -> bool {
    health.endpoints.iter().any(|endpoint| endpoint.in_use && endpoint.endpoint == host(url))
}

/// The block of that height instead of the newest one.
fn stuck_at(block: Value) -> impl FnMut(&str, &Value, Value) -> Instead + Send + 'static {
    move |method, params, _| match (method, params[0].as_str()) {
        ("eth_getBlockByNumber", Some("latest")) => Instead::Json(block.clone()),
        _ => Instead::Nothing,
    }
}

async fn block(world: &World, height: u64) -> Value {
    let block = world.anvil.rpc("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await;
    json!({"jsonrpc": "2.0", "id": 1, "result": block})
}

#[tokio::test]
async fn an_endpoint_that_lags_behind_another_is_not_asked() {
    let world = World::new().await;
    let (lagging, other) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    world.anvil.mine(40).await;
    lagging.script(stuck_at(block(&world, 5).await));
    let watching = world.watch_with(&behind(&world, &[&lagging.url, &other.url]));
    let health = watching
        .until("the other in use", |health| {
            is_in_use(health, &other.url) && matches!(state(health, &lagging.url), Some(EndpointState::Behind { .. }))
        })
        .await;
    let reason = state(&health, &lagging.url).and_then(EndpointState::reason).unwrap();
    assert!(reason.contains("its head 5 is") && reason.contains("blocks below that of others"), "{reason}");
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;

    lagging.honest();
    watching.until("good again", |health| state(health, &lagging.url) == Some(&EndpointState::Good)).await;
}

#[tokio::test]
async fn a_head_that_is_old_everywhere_is_said() {
    let world = World::new().await;
    let mut config = behind(&world, &[&world.anvil.url]);
    config.rpc_options.head_age_max = Duration::from_secs(1);
    let watching = world.watch_with(&config);
    let health = watching.until("behind", |health| matches!(health.state, ChainState::Behind { .. })).await;
    let ChainState::Behind { reason, .. } = &health.state else { unreachable!() };
    assert!(reason.contains("the newest block that the endpoint in use has is"), "{reason}");
    assert!(!health.is_well() && health.lag_blocks().is_some());
    // It goes on all the same.
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn retry_after_is_honoured_and_others_are_asked_meanwhile() {
    let world = World::new().await;
    let (busy, other) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    let watching = world.watch_with(&behind(&world, &[&busy.url, &other.url]));
    world.caught_up().await;
    busy.script(|_, _, _| Instead::TooMany(Some(600)));
    let health = watching
        .until("refusing", |health| matches!(state(health, &busy.url), Some(EndpointState::Withheld { .. })))
        .await;
    let reason = state(&health, &busy.url).and_then(EndpointState::reason).unwrap();
    assert!(reason.contains("it takes no more calls for") && reason.contains("refused some as too many"), "{reason}");
    // What was on its way when it refused has arrived.
    let (payment, address) = world.payment(10, 3).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Confirming).await;
    let asked = busy.calls().len();
    world.anvil.mine(2).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(busy.calls().len(), asked, "it is left alone for as long as it says");
}

#[tokio::test]
async fn a_rate_limit_without_advice_slows_calls_down_and_loses_nothing() {
    let world = World::new().await;
    let busy = Proxy::new(&world.anvil.url).await;
    // Twenty calls in a second, as a provider counts them.
    let mut window = (Instant::now(), 0);
    busy.script(move |_, _, _| {
        if window.0.elapsed() > Duration::from_secs(1) {
            window = (Instant::now(), 0);
        }
        window.1 += 1;
        match window.1 {
            ..=20 => Instead::Nothing,
            many if many % 2 == 0 => Instead::TooMany(None),
            _ => Instead::Json(json!({"jsonrpc": "2.0", "id": 1,
                "error": {"code": -32005, "message": "daily request count exceeded, request rate limited"}})),
        }
    });
    let mut payments = Vec::new();
    for _ in 0..5 {
        let (payment, address) = world.payment(10, 2).await;
        world.pay(&address, 10).await;
        payments.push(payment);
    }
    world.anvil.mine(2).await;
    let _watching = world.watch_with(&behind(&world, &[&busy.url]));
    for payment in payments {
        world.book.until_status(payment, PaymentStatus::Completed).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_left_alone_and_tried_again() {
    let world = World::new().await;
    let (broken, other) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    broken.script(|_, _, _| Instead::Html(500));
    let watching = world.watch_with(&behind(&world, &[&broken.url, &other.url]));
    let health = watching
        .until("left alone", |health| {
            state(health, &broken.url)
                .and_then(EndpointState::reason)
                .is_some_and(|reason| reason.contains("left alone"))
        })
        .await;
    let reason = state(&health, &broken.url).and_then(EndpointState::reason).unwrap();
    assert!(reason.contains("HTTP 500 and an HTML page"), "{reason}");
    watching.until("well with the other", |health| health.is_well() && is_in_use(health, &other.url)).await;
    // Left alone: a probe now and then.
    let (from, begun) = (broken.calls().len(), Instant::now());
    eventually("three probes", SOON, async || (broken.calls().len() >= from + 3).then_some(())).await;
    assert!(begun.elapsed() > Duration::from_secs(1), "they are apart");
    broken.honest();
    watching.until("good again", |health| state(health, &broken.url) == Some(&EndpointState::Good)).await;
}

#[tokio::test]
async fn a_faster_endpoint_is_preferred() {
    let world = World::new().await;
    let (slow, fast) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    slow.script(|_, _, _| Instead::Late(Duration::from_millis(150)));
    let watching = world.watch_with(&behind(&world, &[&slow.url, &fast.url]));
    watching.until("the fast one in use", |health| is_in_use(health, &fast.url) && health.is_well()).await;
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    // It is not left again soon, even when the other becomes as fast.
    slow.honest();
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    assert!(is_in_use(&watching.health(), &fast.url));
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_left_for_another() {
    let world = World::new().await;
    let (hanging, other) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    let watching = world.watch_with(&behind(&world, &[&hanging.url, &other.url]));
    world.caught_up().await;
    hanging.script(|_, _, _| Instead::Late(Duration::from_secs(60)));
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
    assert!(is_in_use(&watching.health(), &other.url));
}

#[tokio::test]
async fn a_budget_is_not_overdrawn() {
    let world = World::new().await;
    let (metered, other) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    let mut config = behind(&world, &[&metered.url]);
    config.rpc_options.budget_per_hour = Some(60);
    let watching = world.watch_with(&config);
    let health = watching
        .until("spent", |health| {
            health.last_error.as_ref().is_some_and(|error| error.contains("its budget of 60 calls an hour is spent"))
        })
        .await;
    assert!(health.last_error.unwrap().contains(&format!("chain ethereum: {} is not asked", host(&metered.url))));
    assert!(metered.calls().len() <= 60, "{}", metered.calls().len());
    watching.stop().await;

    // With another endpoint, that one is asked while this one has little left.
    let mut config = behind(&world, &[&metered.url, &other.url]);
    config.rpc_options.budget_per_hour = Some(400);
    config.rpc_options.compare_every = Duration::from_secs(60);
    let watching = world.watch_with(&config);
    watching.until("the other in use", |health| is_in_use(health, &other.url)).await;
    let (payment, address) = world.payment(10, 1).await;
    world.pay(&address, 10).await;
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn a_key_that_is_refused_and_a_pruned_node_are_named() {
    let world = World::new().await;
    world.anvil.mine(200).await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let mut config = behind(&world, &[&proxy.url]);
    config.start_block = Some(1);
    proxy.script(|_, _, _| Instead::Html(401));
    let watching = world.watch_with(&config);
    let says = |text: &'static str| {
        move |health: &ChainHealth| health.last_error.as_ref().is_some_and(|error| error.contains(text))
    };
    let health = watching.until("the key", says("refuses us (HTTP 401 to eth_chainId): the key in its URL")).await;
    let error = health.last_error.unwrap();
    assert!(error.contains("chain ethereum: ") && error.contains(host(&proxy.url)), "{error}");

    // A node that keeps the newest hundred blocks.
    let is_old = |params: &Value| {
        let height = params[0].as_str().and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        height.is_some_and(|height| (1..50).contains(&height))
    };
    proxy.script(move |method, params, _| match method {
        "eth_getBlockByNumber" if is_old(params) => Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": null})),
        _ => Instead::Nothing,
    });
    watching.until("the missing block", says("it is pruned (or not synced yet), an endpoint with older blocks")).await;
    proxy.script(move |method, params, _| match method {
        "eth_getBlockByNumber" if is_old(params) => Instead::Json(
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 4444, "message": "pruned history unavailable"}}),
        ),
        _ => Instead::Nothing,
    });
    watching.until("the node's words", says("pruned history unavailable")).await;
    proxy.honest();
    watching.until("well", ChainHealth::is_well).await;
}

/// The chain runs on the good endpoint, and the other is shown.
#[tokio::test]
async fn a_wrong_endpoint_beside_a_good_one_is_shown() {
    let world = World::new().await;
    let wrong = Proxy::new(&world.anvil.url).await;
    wrong.script(|method, _, _| match method {
        "eth_chainId" => Instead::Json(json!({"jsonrpc": "2.0", "id": 1, "result": "0x38"})),
        _ => Instead::Nothing,
    });
    let watching = world.watch_with(&behind(&world, &[&world.anvil.url, &wrong.url]));
    let health = watching
        .until("the wrong one shown", |health| matches!(state(health, &wrong.url), Some(EndpointState::Wrong { .. })))
        .await;
    let reason = state(&health, &wrong.url).and_then(EndpointState::reason).unwrap();
    assert_eq!(reason, "chain id is 56, configured is 31337");
    watching.until("well", ChainHealth::is_well).await;
}

fn agreeing(world: &World, urls: &[&str]) -> WatcherConfig {
    let mut config = behind(world, urls);
    let above = vec![(token_asset(&world.usdt).id, world.usdt.whole(100))];
    config.agreement = Some(Agreement { providers: 2, above });
    config
}

#[tokio::test]
async fn a_large_deposit_waits_until_two_endpoints_name_the_same_hash() {
    let world = World::new().await;
    let (first, second) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    let watching = world.watch_with(&agreeing(&world, &[&first.url, &second.url]));
    world.caught_up().await;
    second.script(|method, params, mut answer| match (method, params[0].as_str()) {
        ("eth_getBlockByNumber", Some(height)) if height.starts_with("0x") => {
            answer["result"]["hash"] = json!(format!("0x{}", "ab".repeat(32)));
            Instead::Json(answer)
        }
        _ => Instead::Nothing,
    });
    let (large, large_address) = world.payment(101, 2).await;
    let (small, small_address) = world.payment(100, 2).await;
    world.pay(&large_address, 101).await;
    world.pay(&small_address, 100).await;
    world.anvil.mine(3).await;
    world.book.until_status(small, PaymentStatus::Completed).await;
    let health = watching.until("held", |health| health.held.is_some()).await;
    let held = health.held.unwrap();
    assert!(held.contains("wait for 2 endpoints to name its hash") && held.contains("1 of 2 do"), "{held}");
    assert!(held.contains(&format!("{} has 0xabab", host(&second.url))), "{held}");
    assert_eq!(world.book.payment(large).status, PaymentStatus::Confirming);

    second.honest();
    world.book.until_status(large, PaymentStatus::Completed).await;
    watching.until("nothing held", |health| health.held.is_none()).await;
}

#[tokio::test]
async fn with_too_few_endpoints_a_large_deposit_is_held_and_said_so() {
    let world = World::new().await;
    // The same address twice is one endpoint.
    let watching = world.watch_with(&agreeing(&world, &[&world.anvil.url, &world.anvil.url]));
    let (large, address) = world.payment(500, 1).await;
    world.pay(&address, 500).await;
    let health = watching.until("held", |health| health.held.is_some()).await;
    assert!(health.held.unwrap().ends_with("1 of 1 do, and no more are configured"));
    world.anvil.mine(5).await;
    world.caught_up().await;
    assert_eq!(world.book.payment(large).status, PaymentStatus::Confirming);
}
