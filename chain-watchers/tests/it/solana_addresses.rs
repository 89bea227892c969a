//! Solana followed by the addresses of payments, on a real runtime (surfpool).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use wopay_chain_watchers::{ByAddress, ChainWatcher, ConfigError, OutboxSignal, WatcherConfig, check};
use wopay_domain::payment::{DepositStage, DepositState, PaymentStatus};
use wopay_domain::{Asset, PaymentId};
use wopay_testkit::{TokenProgram, database, eventually};

use crate::solana::{SOL, World, asset, fresh_address, sol};
use crate::support::book::{Book, live};
use crate::support::proxy::{Instead, Proxy};
use crate::support::{SOON, World as EvmWorld};

const HOUR: Duration = Duration::from_secs(3600);
/// Far fewer than the transactions of these tests' addresses.
const SMALL_PAGE: usize = 3;

fn by_address(world: &World, tokens: Vec<Asset>) -> WatcherConfig {
    let mut config = world.config(tokens);
    config.by_address = Some(ByAddress { every: Duration::from_millis(20), ..ByAddress::default() });
    config
}

/// Waits until the cursor has passed that slot.
async fn passed(world: &World, slot: u64) {
    eventually("the cursor beyond", SOON, async || (world.height().await? > slot).then_some(())).await;
}

/// Everything that is known of deposits, but of which payment they are and how they were reported.
async fn deposits(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT to_jsonb(o)::text
         FROM (
             SELECT tx_hash, leg, address, asset, amount_minor, from_address, block_number, block_hash, block_time, stage, kind
             FROM deposit_observations
         ) o
         ORDER BY tx_hash, leg",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn sol_and_tokens_of_both_programs_are_found_and_what_failed_is_not() {
    let world = World::new().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let fee = world.network.mint(6, TokenProgram::WithFee).await;
    let (of_usdc, of_fee) = (asset(&usdc, "USDC", 6), asset(&fee, "FEE", 6));
    let watching = world.watch(&by_address(&world, vec![of_usdc.clone(), of_fee.clone()]));
    world.begun().await;
    let (in_sol, sol_address) = world.open(&sol(), 2 * SOL).await;
    let (in_usdc, usdc_address) = world.open(&of_usdc, 2_500_000).await;
    let (in_fee, fee_address) = world.open(&of_fee, 990_000).await;
    world.network.pay_in_vain(&sol_address, 2 * SOL).await;
    let paid = world.network.pay(&sol_address, 2 * SOL).await;
    // The second names the token account only: it is there already, and its owner is in no instruction.
    world.network.pay_token(&usdc, &usdc_address, 1_500_000).await;
    passed(&world, world.network.slot().await).await;
    world.network.pay_token(&usdc, &usdc_address, 1_000_000).await;
    world.network.pay_token(&fee, &fee_address, 1_000_000).await;
    let state = world.book.until_status(in_sol, PaymentStatus::Completed).await;
    let (key, deposit) = state.deposits.first_key_value().unwrap();
    assert_eq!(key.to_string(), format!("solana:{paid}:account:{sol_address}/native"));
    assert_eq!((state.deposits.len(), deposit.from.as_deref()), (1, Some(world.network.payer().as_str())));
    let state = world.book.until_status(in_usdc, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), 2);
    assert!(state.deposits.keys().all(|key| key.to_string().ends_with(&format!("/{}", usdc.mint))));
    world.book.until_status(in_fee, PaymentStatus::Completed).await;
    // What is not final is not looked at, so nothing is shown before it counts.
    for report in world.book.reports() {
        let DepositStage::Confirmed { confirmations } = report.stage else { panic!("{report:?}") };
        assert!(confirmations >= 31, "{confirmations}");
    }
    watching.until_following().await;
}

#[tokio::test]
async fn one_transaction_can_pay_two_payments_and_nodes_without_history_are_named() {
    let world = World::new().await;
    let mut config = by_address(&world, vec![]);
    config.genesis_hash = Some(world.network.genesis_hash().await);
    let reports = check(std::slice::from_ref(&config)).await.unwrap();
    assert!(reports[0].is_ok(), "{reports:?}");
    let proxy = Proxy::new(&world.network.url).await;
    proxy.script(|method, _, answer| match method {
        "getSignaturesForAddress" => {
            let error = json!({ "code": -32011, "message": "Transaction history is not available from this node" });
            Instead::Json(json!({ "jsonrpc": "2.0", "id": answer["id"], "error": error }))
        }
        _ => Instead::Nothing,
    });
    let without_history = WatcherConfig { rpc: vec![proxy.url.parse().unwrap()], ..config.clone() };
    let reports = check(&[without_history]).await.unwrap();
    let problems = reports[0].endpoints[0].problems.join("; ");
    assert!(problems.contains("about addresses") && problems.contains("history is not available"), "{problems}");
    let _watching = world.watch(&config);
    world.begun().await;
    let (first, first_address) = world.open(&sol(), 2 * SOL).await;
    let (second, second_address) = world.open(&sol(), SOL).await;
    let both = [(first_address.as_str(), SOL), (second_address.as_str(), SOL), (first_address.as_str(), SOL)];
    let signature = world.network.pay_many(&both).await;
    for payment in [first, second] {
        let state = world.book.until_status(payment, PaymentStatus::Completed).await;
        let keys: Vec<_> = live(&state).into_iter().map(|(key, _, state)| (key.transaction.clone(), state)).collect();
        assert_eq!(keys, [(signature.clone(), DepositState::Confirmed)]);
    }
}

#[tokio::test]
async fn an_address_that_is_claimed_later_is_read_from_its_beginning_page_by_page() {
    let world = World::new().await;
    let mut config = by_address(&world, vec![]);
    config.by_address = config.by_address.map(|options| ByAddress { page: SMALL_PAGE, ..options });
    let _watching = world.watch(&config);
    world.begun().await;
    let address = fresh_address();
    // A multiple of what a page brings, and one more or less, and failed ones in between.
    let count = u64::try_from(4 * SMALL_PAGE).unwrap();
    for _ in 0..count {
        world.network.pay(&address, SOL).await;
        world.network.pay_in_vain(&address, SOL).await;
    }
    passed(&world, world.network.slot().await).await;
    let payment = world.book.open_at(&sol(), u128::from(count * SOL), 1, HOUR, &address).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), usize::try_from(count).unwrap());
    assert!(state.flags.names().is_empty(), "{:?}", state.flags);
}

#[tokio::test]
async fn both_modes_see_the_same_deposits() {
    let world = World::new().await;
    let other = database().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let pyusd = world.network.mint(6, TokenProgram::Token2022).await;
    let tokens = vec![asset(&usdc, "USDC", 6), asset(&pyusd, "PYUSD", 6)];
    let mut addresses = Vec::new();
    let other_book = Book::new(other.pool.clone());
    for _ in 0..4 {
        let (_, address) = world.open(&sol(), SOL).await;
        other_book.open_at(&sol(), SOL.into(), 1, HOUR, &address).await;
        addresses.push(address);
    }
    let _blocks = world.watch(&world.config(tokens.clone()));
    let addresses_config = by_address(&world, tokens);
    let watcher = ChainWatcher::new(&addresses_config, other.pool.clone(), OutboxSignal::default()).unwrap();
    let _addresses = crate::support::Watching::spawn(watcher.status(), |token| watcher.run(token));
    world.begun().await;
    for (round, address) in addresses.iter().cycle().take(12).enumerate() {
        let minor = u64::try_from(round).unwrap() + 1;
        world.network.pay(address, SOL * minor).await;
        world.network.pay_token(&usdc, address, 1000 * minor).await;
        world.network.pay_token(&pyusd, address, 1000 * minor).await;
        world.network.pay_in_vain(address, SOL).await;
        let all: Vec<_> = addresses.iter().map(|address| (address.as_str(), SOL)).collect();
        world.network.pay_many(&all).await;
    }
    let expected = 12 * 3 + 12 * addresses.len();
    let all_confirmed = async |pool: &PgPool| {
        let deposits = deposits(pool).await;
        let is_all = deposits.len() >= expected && deposits.iter().all(|one| one.contains("\"confirmed\""));
        is_all.then_some(deposits)
    };
    let by_block = eventually("all by block", SOON, async || all_confirmed(&world.database.pool).await).await;
    let by_address = eventually("all by address", SOON, async || all_confirmed(&other.pool).await).await;
    assert_eq!(by_block.len(), expected);
    assert_eq!(by_block, by_address);
}

#[tokio::test]
async fn switching_between_the_modes_loses_and_doubles_nothing() {
    let world = World::new().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let of_usdc = asset(&usdc, "USDC", 6);
    let (blocks, addresses) = (world.config(vec![of_usdc.clone()]), by_address(&world, vec![of_usdc.clone()]));
    let rounds = 6_u64;
    let (in_sol, sol_address) = world.open(&sol(), 2 * rounds * SOL).await;
    let (in_usdc, usdc_address) = world.open(&of_usdc, rounds * 1000).await;
    for config in [&blocks, &addresses].into_iter().cycle().take(usize::try_from(rounds).unwrap()) {
        let watching = world.watch(config);
        world.begun().await;
        world.network.pay(&sol_address, SOL).await;
        world.network.pay_token(&usdc, &usdc_address, 1000).await;
        passed(&world, world.height().await.unwrap()).await;
        world.network.pay(&sol_address, SOL).await;
        watching.abort().await;
    }
    let _watching = world.watch(&addresses);
    for (payment, count) in [(in_sol, 2 * rounds), (in_usdc, rounds)] {
        let state = world.book.until_status(payment, PaymentStatus::Completed).await;
        assert_eq!(live(&state).len(), usize::try_from(count).unwrap());
    }
    let orphaned = world.book.reports().into_iter().filter(|report| report.stage == DepositStage::Orphaned).count();
    let reports = world.book.reports().len();
    assert!(orphaned == 0 && reports <= usize::try_from(2 * 3 * rounds).unwrap(), "{reports} reports");
}

#[tokio::test]
async fn a_watcher_that_is_cut_off_anywhere_goes_on_where_it_was() {
    let world = World::new().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let of_usdc = asset(&usdc, "USDC", 6);
    let config = by_address(&world, vec![of_usdc.clone()]);
    let rounds: u64 = 16;
    let (in_sol, sol_address) = world.open(&sol(), rounds * SOL).await;
    let (in_usdc, usdc_address) = world.open(&of_usdc, rounds * 1000).await;
    for round in 0..rounds {
        let watching = world.watch(&config);
        world.network.pay(&sol_address, SOL).await;
        world.network.pay_token(&usdc, &usdc_address, 1000).await;
        // Another moment each time.
        let until = world.network.slot().await + 2 * round;
        eventually("some slots", SOON, async || (world.network.slot().await >= until).then_some(())).await;
        watching.abort().await;
    }
    let _watching = world.watch(&config);
    for payment in [in_sol, in_usdc] {
        let state = world.book.until_status(payment, PaymentStatus::Completed).await;
        assert_eq!(live(&state).len(), usize::try_from(rounds).unwrap());
        assert!(state.flags.names().is_empty(), "{:?}", state.flags);
    }
}

#[tokio::test]
async fn what_a_node_lists_late_or_cannot_give_yet_is_found_later() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.network.url).await;
    let mut config = by_address(&world, vec![]);
    config.rpc = vec![proxy.url.parse().unwrap()];
    // These slots are twenty times as short as those of a real cluster.
    config.by_address = config.by_address.map(|options| ByAddress { listed_within: 10_000, ..options });
    let _watching = world.watch(&config);
    world.begun().await;
    let (payment, address) = world.open(&sol(), 3 * SOL).await;
    world.network.pay(&address, SOL).await;
    world.book.until_status(payment, PaymentStatus::PartiallyPaid).await;
    let hidden = Arc::new(AtomicBool::new(true));
    let is_hidden = Arc::clone(&hidden);
    let late = world.network.pay(&address, SOL).await;
    let listed = late.clone();
    proxy.script(move |method, _, mut answer| {
        if method != "getSignaturesForAddress" || !is_hidden.load(Ordering::SeqCst) {
            return Instead::Nothing;
        }
        if let Some(list) = answer["result"].as_array_mut() {
            list.retain(|one| one["signature"] != json!(listed));
        }
        Instead::Json(answer)
    });
    let newest = world.network.pay(&address, SOL).await;
    world
        .book
        .until(payment, "the newest", |payment| payment.deposits.keys().any(|key| key.transaction == newest))
        .await;
    assert_eq!(live(&world.book.payment(payment)).len(), 2);
    hidden.store(false, Ordering::SeqCst);
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), 3);

    // It lists a transaction and does not have it.
    let (second, address) = world.open(&sol(), SOL).await;
    proxy.script(|method, _, mut answer| match method {
        "getTransaction" => {
            answer["result"] = json!(null);
            Instead::Json(answer)
        }
        _ => Instead::Nothing,
    });
    world.network.pay(&address, SOL).await;
    let (slot, asked) = (world.network.slot().await, proxy.calls().len());
    eventually("a question for it", SOON, async || {
        proxy.calls()[asked..].iter().any(|call| call == "getTransaction").then_some(())
    })
    .await;
    assert!(world.height().await.unwrap() <= slot, "the cursor waits for it");
    proxy.honest();
    world.book.until_status(second, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn pages_that_do_not_follow_each_other_are_not_taken_for_the_end() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.network.url).await;
    let mut config = by_address(&world, vec![]);
    config.by_address = config.by_address.map(|options| ByAddress { page: SMALL_PAGE, ..options });
    config.rpc = vec![proxy.url.parse().unwrap()];
    let address = fresh_address();
    let count = u64::try_from(2 * SMALL_PAGE).unwrap();
    for _ in 0..count {
        world.network.pay(&address, SOL).await;
    }
    // As of a node behind the same name that does not know the transaction to go on from.
    proxy.script(|method, params, mut answer| match (method, params[1].get("before")) {
        ("getSignaturesForAddress", Some(_)) => {
            answer["result"] = json!([]);
            Instead::Json(answer)
        }
        _ => Instead::Nothing,
    });
    let watching = world.watch(&config);
    world.begun().await;
    let payment = world.book.open_at(&sol(), u128::from(count * SOL), 1, HOUR, &address).await;
    let said = watching.until("an error", |health| health.last_error.is_some()).await.last_error.unwrap();
    assert!(said.contains(&address) && said.contains("do not begin there"), "{said}");
    proxy.honest();
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), usize::try_from(count).unwrap());
}

/// Has the read model show the payment as that.
async fn show(world: &World, payment: PaymentId, address: &str, status: &str) {
    sqlx::query(
        "INSERT INTO payments (id, merchant_id, order_id, amount, currency, blockchain, status, payment_address, expires_at,
                               created_at, updated_at, asset, decimals, amount_minor, required_confirmations, position)
         VALUES ($1, $1, 'order', 1, 'SOL', 'solana', $3, $2, now(), now(), now(), 'solana/native', 9, 1, 1, 1)",
    )
    .bind(payment.as_uuid())
    .bind(address)
    .bind(status)
    .execute(&world.database.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn late_money_is_seen_for_as_long_as_addresses_are_kept() {
    let world = World::new().await;
    let config = by_address(&world, vec![]);
    let (late, late_address) = world.open(&sol(), SOL).await;
    let (open, open_address) = world.open(&sol(), SOL).await;
    show(&world, late, &late_address, "expired").await;
    show(&world, open, &open_address, "pending").await;
    for address in [&late_address, &open_address] {
        world.network.pay(address, SOL).await;
    }
    let mut forgets = config.clone();
    forgets.by_address = config.by_address.map(|options| ByAddress { kept_for: Duration::ZERO, ..options });
    let watching = world.watch(&forgets);
    world.book.until_status(open, PaymentStatus::Completed).await;
    passed(&world, world.network.slot().await).await;
    assert!(world.book.payment(late).deposits.is_empty(), "its address is no longer looked at");
    watching.stop().await;
    let _watching = world.watch(&config);
    world.book.until_status(late, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn a_look_costs_what_the_documentation_says() {
    let world = World::new().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let proxy = Proxy::new(&world.network.url).await;
    let mut config = by_address(&world, vec![asset(&usdc, "USDC", 6)]);
    config.rpc = vec![proxy.url.parse().unwrap()];
    let (payment, address) = world.open(&asset(&usdc, "USDC", 6), 1000).await;
    for _ in 0..2 {
        world.open(&sol(), SOL).await;
    }
    world.network.pay_token(&usdc, &address, 1000).await;
    let _watching = world.watch(&config);
    world.book.until_status(payment, PaymentStatus::Completed).await;
    let count = |method: &str| proxy.calls().iter().filter(|call| *call == method).count();
    let (lists, owners) = (count("getSignaturesForAddress"), count("getTokenAccountsByOwner"));
    // Three addresses, one of which has a token account: seven calls a look (and perhaps one look cut off by this count).
    let looks = owners / 3;
    assert!(looks > 1 && lists.abs_diff(looks * 4) <= 8, "{looks} looks, {lists} lists");
    assert_eq!(count("getBlocks"), 0);
    // Transactions that brought nothing are not asked for again.
    assert!(count("getTransaction") <= 4, "{}", count("getTransaction"));
}

#[tokio::test]
async fn an_evm_chain_is_not_followed_by_addresses() {
    let world = EvmWorld::new().await;
    let mut config = world.config();
    config.by_address = Some(ByAddress::default());
    let error = ChainWatcher::new(&config, world.pool().clone(), world.signal.clone()).err();
    assert!(matches!(error, Some(ConfigError::NotByAddress { .. })), "{error:?}");
}
