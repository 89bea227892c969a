//! Native money that arrives from contracts: by traces, or by balances where there are none.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use wopay_chain_watchers::{Traces, WatcherConfig};
use wopay_domain::payment::{PaymentState, PaymentStatus};
use wopay_domain::{DepositLeg, PaymentId};
use wopay_testkit::{Call, Contract, eventually};

use crate::support::book::live;
use crate::support::proxy::{Instead, Proxy};
use crate::support::{SOON, World, chain_name, fresh_address, native};

const HOUR: Duration = Duration::from_secs(3600);

fn config(world: &World, traces: Traces) -> WatcherConfig {
    let mut config = world.config();
    config.evm.traces = traces;
    config.evm.balances_every = Duration::ZERO;
    config
}

/// A payment of native money, as the read model shows it.
pub(crate) async fn open(world: &World, wei: u128) -> (PaymentId, String) {
    let (id, address) = world.book.open(&native(), wei, 2, HOUR).await;
    sqlx::query(
        "INSERT INTO payments (id, merchant_id, order_id, amount, currency, blockchain, payment_address, expires_at,
                               created_at, updated_at, asset, decimals, amount_minor, required_confirmations, position)
         VALUES ($1, $1, $1::text, 1, 'ETH', 'ethereum', $2, now() + interval '1 hour', now(), now(), 'ethereum', 18, 1, 2, 1)",
    )
    .bind(id.as_uuid())
    .bind(&address)
    .execute(world.pool())
    .await
    .unwrap();
    (id, address)
}

fn legs(payment: &PaymentState) -> Vec<(String, u128)> {
    live(payment)
        .into_iter()
        .map(|(key, minor, _)| {
            let leg = match &key.leg {
                DepositLeg::Native => "native".to_owned(),
                DepositLeg::Log(ordinal) => format!("log:{ordinal}"),
                DepositLeg::Trace(path) => path.clone(),
                DepositLeg::Account(account) => account.clone(),
            };
            (leg, minor)
        })
        .collect()
}

/// `CALL` of that address with so much money, whatever comes of it.
fn call(to: &str, wei: u16) -> String {
    format!("600060006000600061{wei:04x}73{}5af150", &to[2..])
}

async fn set_code(world: &World, code: &str) -> String {
    let address = fresh_address();
    world.anvil.rpc("anvil_setCode", json!([address, format!("0x{code}")])).await;
    address
}

async fn money_from_contracts_is_seen(traces: Traces) {
    let world = World::new().await;
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (payment, address) = world.book.open(&native(), 600, 2, HOUR).await;
    let _watching = world.watch_with(&config(&world, traces));
    let payer = world.anvil.accounts[1].clone();
    let natives = [(address.as_str(), 100), (fresh_address().as_str(), 5), (address.as_str(), 200)]
        .map(|(a, v)| (a.to_owned(), v));
    let natives: Vec<(&str, u128)> = natives.iter().map(|(to, wei)| (to.as_str(), *wei)).collect();
    let inside = world.anvil.transact(&payer, &Call::batch(&batch, &world.usdt.address, &[], &natives)).await;
    assert!(inside.succeeded);
    let direct = world.anvil.send_native(&payer, &address, 300).await;
    world.anvil.mine(1).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    let mut found = legs(&state);
    found.sort();
    assert_eq!(found, [("0".to_owned(), 100), ("2".to_owned(), 200), ("native".to_owned(), 300)]);
    let key = state.deposits.keys().find(|key| key.leg == DepositLeg::Trace("0".to_owned())).unwrap();
    assert_eq!(key.to_string(), format!("{}:{}:trace:0", chain_name(), inside.hash));
    assert_eq!(state.deposits[key].from.as_deref(), Some(batch.as_str()));
    assert!(state.deposits.keys().any(|key| key.transaction == direct.hash));
    assert_eq!(world.anvil.native_balance(&address).await, 600);
}

async fn reverted_calls_are_nothing(traces: Traces) {
    let world = World::new().await;
    let (payment, address) = world.book.open(&native(), 16, 1, HOUR).await;
    // Sends all it is given to us, then reverts; destroys itself in our favour; does both and more.
    let undone =
        set_code(&world, &format!("600060006000600034{}5af15060006000fd", format_args!("73{}", &address[2..]))).await;
    let generous = set_code(&world, &format!("73{}ff", &address[2..])).await;
    let outer = format!("{}{}{}00", call(&undone, 1000), call(&address, 7), call(&generous, 9));
    let outer = set_code(&world, &outer).await;
    let _watching = world.watch_with(&config(&world, traces));
    let receipt = world.anvil.transact(&world.anvil.accounts[1], &Call::native(&outer, 1016)).await;
    assert!(receipt.succeeded);
    // A transaction that fails as a whole, with a call to us inside.
    let failed = world.anvil.transact(&world.anvil.accounts[1], &Call::native(&undone, 50)).await;
    assert!(!failed.succeeded);
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    world.caught_up().await;
    let mut found = legs(&world.book.payment(payment));
    found.sort();
    assert_eq!(found.iter().map(|(_, wei)| *wei).collect::<Vec<_>>(), [7, 9], "{found:?}");
    assert_eq!(found[0].0, "1");
    assert!(found[1].0.starts_with("2"));
    assert_eq!(state.status, PaymentStatus::Completed);
    assert_eq!(world.anvil.native_balance(&address).await, 16);
}

#[tokio::test]
async fn debug_traces_show_money_from_contracts() {
    money_from_contracts_is_seen(Traces::Debug).await;
}

#[tokio::test]
async fn parity_traces_show_money_from_contracts() {
    money_from_contracts_is_seen(Traces::Parity).await;
}

#[tokio::test]
async fn reverted_calls_are_nothing_by_debug_traces() {
    reverted_calls_are_nothing(Traces::Debug).await;
}

#[tokio::test]
async fn reverted_calls_are_nothing_by_parity_traces() {
    reverted_calls_are_nothing(Traces::Parity).await;
}

#[tokio::test]
async fn a_node_that_has_not_traced_a_block_yet_holds_it_up() {
    for (traces, method) in [(Traces::Debug, "debug_traceBlockByHash"), (Traces::Parity, "trace_block")] {
        let world = World::new().await;
        let proxy = Proxy::new(&world.anvil.url).await;
        let mut config = config(&world, traces);
        config.rpc = vec![proxy.url.parse().unwrap()];
        let watching = world.watch_with(&config);
        world.caught_up().await;
        proxy.script(move |called, _, mut answer| {
            if called != method {
                return Instead::Nothing;
            }
            answer["result"] = json!([]);
            Instead::Json(answer)
        });
        let (payment, address) = world.book.open(&native(), 5, 1, HOUR).await;
        let batch = world.anvil.deploy_contract(Contract::Batch).await;
        let call = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 5)]);
        world.anvil.transact(&world.anvil.accounts[1], &call).await;
        let held = |health: &wopay_chain_watchers::ChainHealth| {
            health.last_error.as_ref().is_some_and(|error| error.contains("traces not all transactions"))
        };
        watching.until("held up", held).await;
        assert!(world.book.payment(payment).deposits.is_empty());
        proxy.honest();
        world.book.until_status(payment, PaymentStatus::Completed).await;
    }
}

#[tokio::test]
async fn without_traces_a_surplus_is_found_and_counted_once() {
    let world = World::new().await;
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (payment, address) = open(&world, 1_000).await;
    // More than a few, so that one call reads them all.
    for _ in 0..9 {
        open(&world, 1_000).await;
    }
    let watching = world.watch_with(&config(&world, Traces::None));
    world.caught_up().await;
    let payer = world.anvil.accounts[1].clone();
    let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
    let came = world.anvil.transact(&payer, &inside).await;
    let state = world.book.until(payment, "the surplus", |payment| !payment.deposits.is_empty()).await;
    let (key, deposit) = state.deposits.first_key_value().unwrap();
    assert_eq!(key.to_string(), format!("ethereum:{}:trace:balance/{address}", came.block_hash));
    assert_eq!((deposit.amount.minor(), deposit.block.number), (100, came.block));

    // What comes openly, alone or with more that does not, is counted once.
    world.anvil.send_native(&payer, &address, 200).await;
    world.anvil.submit(&payer, &inside).await;
    world.anvil.send_native(&payer, &address, 300).await;
    world.anvil.mine(1).await;
    world.caught_up().await;
    let sum = |payment: &PaymentState| live(payment).iter().map(|(_, minor, _)| minor).sum::<u128>();
    world.book.until(payment, "all of it", |payment| sum(payment) == 700).await;

    // A restart looks at everything again and finds nothing more.
    watching.stop().await;
    let _watching = world.watch_with(&config(&world, Traces::None));
    world.anvil.mine(3).await;
    world.caught_up().await;
    world.anvil.mine(1).await;
    world.caught_up().await;
    world.outbox_empty().await;
    let state = world.book.payment(payment);
    assert_eq!((sum(&state), live(&state).len()), (700, 4), "{:?}", live(&state));
    assert_eq!(world.anvil.native_balance(&address).await, 700);
    assert!(world.book.whole_payment(payment).state().is_some());
}

#[tokio::test]
async fn a_surplus_leaves_with_its_block_and_traces_do_not_count_it_again() {
    let world = World::new().await;
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (payment, address) = open(&world, 1_000).await;
    let watching = world.watch_with(&config(&world, Traces::None));
    world.caught_up().await;
    let payer = world.anvil.accounts[1].clone();
    let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
    let kept = world.anvil.transact(&payer, &inside).await;
    world.book.until(payment, "the first", |payment| live(payment).len() == 1).await;
    let lost = world.anvil.transact(&payer, &inside).await;
    world.book.until(payment, "the second", |payment| live(payment).len() == 2).await;

    world.anvil.reorg_with(1, &[]).await;
    world.anvil.mine(1).await;
    world.caught_up().await;
    let balance = world.anvil.native_balance(&address).await;
    let state = world.book.until(payment, "what the chain holds", |payment| {
        live(payment).iter().map(|(_, minor, _)| minor).sum::<u128>() == balance
    });
    let state = state.await;
    assert!(!live(&state).iter().any(|(key, ..)| key.transaction == lost.block_hash));

    // From now on with traces: the blocks that are read again, and only those, show the money by its call.
    watching.stop().await;
    let before = live(&state).len();
    let _watching = world.watch_with(&config(&world, Traces::Debug));
    world.anvil.transact(&payer, &inside).await;
    let state = world.book.until(payment, "by its trace", |payment| live(payment).len() == before + 1).await;
    let all = legs(&state);
    assert_eq!(all.iter().map(|(_, wei)| wei).sum::<u128>(), world.anvil.native_balance(&address).await);
    assert!(live(&state).iter().any(|(key, ..)| key.transaction == kept.block_hash), "{all:?}");
    assert!(all.iter().any(|(leg, _)| leg == "0"), "{all:?}");
}

#[tokio::test]
async fn a_surplus_is_of_the_block_in_which_it_came() {
    let world = World::new().await;
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (payment, address) = open(&world, 1_000).await;
    let watching = world.watch_with(&config(&world, Traces::None));
    world.caught_up().await;
    watching.stop().await;
    world.anvil.mine(5).await;
    let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
    let came = world.anvil.transact(&world.anvil.accounts[1], &inside).await;
    world.anvil.mine(5).await;
    let _watching = world.watch_with(&config(&world, Traces::None));
    let state = world.book.until(payment, "the surplus", |payment| !payment.deposits.is_empty()).await;
    assert_eq!(state.deposits.first_key_value().unwrap().1.block.number, came.block);
}

#[tokio::test]
async fn a_node_without_the_means_is_asked_for_each_balance() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let mut config = config(&world, Traces::None);
    config.rpc = vec![proxy.url.parse().unwrap()];
    let refused =
        |id: &Value| json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "no such code"}});
    proxy.script(move |method, params, answer| match method {
        // The tokens' views have a receiver.
        "eth_call" if params[0]["to"].is_null() => Instead::Json(refused(&answer["id"])),
        _ => Instead::Nothing,
    });
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (payment, address) = open(&world, 100).await;
    for _ in 0..9 {
        open(&world, 1_000).await;
    }
    let _watching = world.watch_with(&config);
    world.caught_up().await;
    let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
    world.anvil.transact(&world.anvil.accounts[1], &inside).await;
    world.book.until(payment, "the surplus", |payment| !payment.deposits.is_empty()).await;
    let asked = eventually("balances asked for", SOON, async || {
        Some(proxy.calls()).filter(|calls| calls.iter().any(|method| method == "eth_getBalance"))
    });
    asked.await;
}

#[tokio::test]
async fn a_trace_given_twice_is_answered_elsewhere() {
    for (traces, method) in [(Traces::Debug, "debug_traceBlockByHash"), (Traces::Parity, "trace_block")] {
        let world = World::new().await;
        let twice = Proxy::new(&world.anvil.url).await;
        twice.script(move |called, _, mut answer| {
            if called != method {
                return Instead::Nothing;
            }
            if let Some(all) = answer["result"].as_array_mut() {
                let again = all.clone();
                all.extend(again);
            }
            Instead::Json(answer)
        });
        let mut config = config(&world, traces);
        config.rpc = vec![twice.url.parse().unwrap(), world.anvil.url.parse().unwrap()];
        let (payment, address) = world.book.open(&native(), 5, 1, HOUR).await;
        let batch = world.anvil.deploy_contract(Contract::Batch).await;
        let _watching = world.watch_with(&config);
        let call = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 5)]);
        world.anvil.transact(&world.anvil.accounts[1], &call).await;
        let state = world.book.until_status(payment, PaymentStatus::Completed).await;
        assert_eq!(legs(&state), [("0".to_owned(), 5)]);
    }
}

#[tokio::test]
async fn a_node_that_knows_no_call_without_a_receiver_is_asked_for_each_balance() {
    let error = |code: i32, message: &str| json!({"error": {"code": code, "message": message}});
    let nothing = json!({"result": "0x"});
    for instead in [error(-32602, "missing field `to`"), error(-32600, "missing to"), nothing] {
        let world = World::new().await;
        let proxy = Proxy::new(&world.anvil.url).await;
        let mut config = config(&world, Traces::None);
        config.rpc = vec![proxy.url.parse().unwrap()];
        proxy.script(move |method, params, _| match method {
            "eth_call" if params[0]["to"].is_null() => Instead::Json(instead.clone()),
            _ => Instead::Nothing,
        });
        let batch = world.anvil.deploy_contract(Contract::Batch).await;
        let (payment, address) = open(&world, 100).await;
        for _ in 0..9 {
            open(&world, 1_000).await;
        }
        let _watching = world.watch_with(&config);
        world.caught_up().await;
        let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
        world.anvil.transact(&world.anvil.accounts[1], &inside).await;
        world.book.until(payment, "the surplus", |payment| !payment.deposits.is_empty()).await;
    }
}

#[tokio::test]
async fn who_wants_to_be_asked_less_is_not_asked_for_each_balance() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let mut config = config(&world, Traces::None);
    config.rpc = vec![proxy.url.parse().unwrap()];
    let (refused, refusing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, still) = (Arc::clone(&refused), Arc::clone(&refusing));
    let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let asked_one_by_one = Arc::clone(&asked);
    proxy.script(move |method, params, _| match method {
        "eth_call" if params[0]["to"].is_null() && still.load(Ordering::SeqCst) => {
            counted.fetch_add(1, Ordering::SeqCst);
            Instead::Json(json!({"error": {"code": -32602, "message": "rate limit of your plan is reached"}}))
        }
        "eth_getBalance" => {
            asked_one_by_one.lock().unwrap().insert(params[0].as_str().unwrap().to_owned());
            Instead::Nothing
        }
        _ => Instead::Nothing,
    });
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (payment, address) = open(&world, 100).await;
    for _ in 0..9 {
        open(&world, 1_000).await;
    }
    let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
    world.anvil.transact(&world.anvil.accounts[1], &inside).await;
    let _watching = world.watch_with(&config);
    eventually("refused often", SOON, async || (refused.load(Ordering::SeqCst) >= 3).then_some(())).await;
    refusing.store(false, Ordering::SeqCst);
    // The next comparison is of the next block.
    world.anvil.mine(1).await;
    world.book.until(payment, "the surplus", |payment| !payment.deposits.is_empty()).await;
    let asked = asked.lock().unwrap().clone();
    assert!(asked.iter().all(|one| *one == address), "the one that came is looked for in the blocks: {asked:?}");
}

#[tokio::test]
async fn a_block_that_cannot_be_traced_is_compared_and_holds_nothing_up() {
    type Change = fn(Value) -> Value;
    let failing: [(Traces, &str, Change); 3] = [
        (Traces::Debug, "debug_traceBlockByHash", |_| json!({"result": "0".repeat(3 << 20)})),
        (Traces::Parity, "trace_block", |_| json!({"error": {"code": -32000, "message": "execution timeout"}})),
        (Traces::Debug, "debug_traceBlockByHash", |mut answer| {
            let hash = answer["result"][0]["txHash"].take();
            answer["result"][0] = json!({"txHash": hash, "error": "tracing was cancelled: timed out"});
            answer
        }),
    ];
    for (traces, method, instead) in failing {
        let world = World::new().await;
        let proxy = Proxy::new(&world.anvil.url).await;
        let mut config = config(&world, traces);
        config.rpc = vec![proxy.url.parse().unwrap()];
        config.rpc_options.response_bytes_max = 2 << 20;
        let batch = world.anvil.deploy_contract(Contract::Batch).await;
        let (payment, address) = open(&world, 1_000).await;
        let watching = world.watch_with(&config);
        world.caught_up().await;
        proxy.script(
            move |called, _, answer| {
                if called == method { Instead::Json(instead(answer)) } else { Instead::Nothing }
            },
        );
        let payer = world.anvil.accounts[1].clone();
        let inside = Call::batch(&batch, &world.usdt.address, &[], &[(&address, 100)]);
        let untraced = world.anvil.transact(&payer, &inside).await;
        let state = world.book.until(payment, "by its balance", |payment| !payment.deposits.is_empty()).await;
        assert_eq!(legs(&state), [(format!("balance/{address}"), 100)]);
        assert!(live(&state).iter().all(|(key, ..)| key.transaction == untraced.block_hash));

        // The next one is traced again, and the comparison that goes on counts nothing twice.
        proxy.honest();
        let traced = world.anvil.transact(&payer, &inside).await;
        world.book.until(payment, "by its trace", |payment| live(payment).len() == 2).await;
        world.anvil.mine(3).await;
        world.caught_up().await;
        world.outbox_empty().await;
        let state = world.book.payment(payment);
        assert_eq!(live(&state).iter().map(|(_, minor, _)| minor).sum::<u128>(), 200, "{:?}", live(&state));
        assert!(live(&state).iter().any(|(key, ..)| key.transaction == traced.hash));
        watching.stop().await;
    }
}
