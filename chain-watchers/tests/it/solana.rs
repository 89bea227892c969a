//! The watcher against a real Solana runtime (surfpool).

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_chain_watchers::{
    ChainState, ChainWatcher, OutboxOptions, OutboxPublisher, OutboxSignal, WatcherConfig, check,
};
use wopay_domain::payment::{DepositStage, DepositState, PaymentStatus};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, ChainSpec, PaymentId};
use wopay_eventbus::Bus;
use wopay_testkit::{SplToken, Surfpool, TestDatabase, TestNats, TokenProgram, database, eventually, nats, surfpool};

use crate::support::book::{Book, live};
use crate::support::proxy::{Instead, Proxy};
use crate::support::{Running, SOON, Watching};

const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SOL: u64 = 1_000_000_000;

pub(crate) struct World {
    pub(crate) database: TestDatabase,
    _nats: TestNats,
    pub(crate) network: Surfpool,
    pub(crate) book: Book,
    pub(crate) signal: OutboxSignal,
    _background: Vec<Running>,
}

pub(crate) fn chain_name() -> ChainName {
    "solana".parse().unwrap()
}

pub(crate) fn sol() -> Asset {
    Asset { id: AssetId::native(&chain_name()), symbol: "SOL".to_owned(), decimals: 9 }
}

pub(crate) fn asset(token: &SplToken, symbol: &str, decimals: u8) -> Asset {
    Asset { id: AssetId::token(&chain_name(), &token.mint).unwrap(), symbol: symbol.to_owned(), decimals }
}

/// An address of nobody: any 32 bytes do.
pub(crate) fn fresh_address() -> String {
    bs58::encode([Uuid::new_v4().as_bytes().as_slice(), Uuid::new_v4().as_bytes()].concat()).into_string()
}

impl World {
    pub(crate) async fn new() -> Self {
        let (database, nats, network) = tokio::join!(database(), nats(), surfpool());
        let bus = Bus::connect(&nats.url, "main").await.unwrap();
        let book = Book::new(database.pool.clone());
        let signal = OutboxSignal::default();
        let options = OutboxOptions { poll_interval: Duration::from_millis(200), ..OutboxOptions::default() };
        let publisher = OutboxPublisher::new(database.pool.clone(), bus.clone(), signal.clone()).with_options(options);
        let inbox = book.clone();
        let background =
            vec![Running::spawn(|token| publisher.run(token)), Running::spawn(|token| inbox.run(bus, token))];
        Self { database, _nats: nats, network, book, signal, _background: background }
    }

    pub(crate) fn config(&self, tokens: Vec<Asset>) -> WatcherConfig {
        let spec = ChainSpec {
            min_deposits: std::collections::BTreeMap::new(),
            name: chain_name(),
            family: ChainFamily::Solana,
            chain_id: None,
            required_confirmations: 1,
            assets: std::iter::once(sol()).chain(tokens).collect(),
        };
        let mut config = WatcherConfig::new(spec, vec![self.network.url.parse().unwrap()]);
        config.poll_interval = Duration::from_millis(20);
        config.lookback = 8;
        config.rpc_options.request_timeout = Duration::from_secs(2);
        config
    }

    pub(crate) fn watch(&self, config: &WatcherConfig) -> Watching {
        let watcher = ChainWatcher::new(config, self.database.pool.clone(), self.signal.clone()).unwrap();
        Watching::spawn(watcher.status(), |token: CancellationToken| watcher.run(token))
    }

    pub(crate) async fn open(&self, asset: &Asset, minor: u64) -> (PaymentId, String) {
        let address = fresh_address();
        (self.book.open_at(asset, minor.into(), 1, HOUR, &address).await, address)
    }

    pub(crate) async fn height(&self) -> Option<u64> {
        let height: Option<i64> = sqlx::query_scalar("SELECT height FROM chain_cursors WHERE chain = 'solana'")
            .fetch_optional(&self.database.pool)
            .await
            .unwrap();
        height.map(|height| u64::try_from(height).unwrap())
    }

    pub(crate) async fn begun(&self) {
        eventually("the first cursor", SOON, async || self.height().await).await;
    }
}

#[tokio::test]
async fn sol_is_seen_when_confirmed_and_credited_when_finalized() {
    let world = World::new().await;
    let _watching = world.watch(&world.config(vec![]));
    world.begun().await;
    let (payment, address) = world.open(&sol(), 3 * SOL).await;
    let signature = world.network.pay(&address, 3 * SOL).await;
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    let (key, deposit) = state.deposits.first_key_value().unwrap();
    assert_eq!(key.to_string(), format!("solana:{signature}:account:{address}/native"));
    assert_eq!(deposit.from.as_deref(), Some(world.network.payer().as_str()));
    let stages: Vec<_> = world.book.reports().into_iter().map(|report| report.stage).collect();
    let [DepositStage::Seen { .. }, DepositStage::Confirmed { confirmations }] = stages[..] else {
        panic!("{stages:?}");
    };
    // Final is 31 blocks deep. What is final may be asked for a slot or two after the head that confirmations are counted from.
    assert!(confirmations >= 28, "not as deep as what is final: {confirmations}");
}

#[tokio::test]
async fn only_a_node_that_itself_calls_the_slot_final_has_money_credited() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.network.url).await;
    // One that knows what is final elsewhere, and has not come as far itself.
    proxy.script(|method, params, answer| match (method, params[1]["commitment"].as_str()) {
        ("getBlock", Some("finalized")) => {
            let error = json!({ "code": -32004, "message": "Block not available for slot" });
            Instead::Json(json!({ "jsonrpc": "2.0", "id": answer["id"], "error": error }))
        }
        _ => Instead::Nothing,
    });
    let mut config = world.config(vec![]);
    config.rpc = vec![proxy.url.parse().unwrap()];
    let _watching = world.watch(&config);
    world.begun().await;
    let (payment, address) = world.open(&sol(), SOL).await;
    world.network.pay(&address, SOL).await;
    world.book.until(payment, "a deposit", |payment| !payment.deposits.is_empty()).await;
    let seen_at = world.height().await.unwrap();
    eventually("a hundred slots more", SOON, async || (world.height().await? > seen_at + 100).then_some(())).await;
    assert_eq!(live(&world.book.payment(payment))[0].2, DepositState::Seen);
    proxy.honest();
    world.book.until_status(payment, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn tokens_of_both_programs_are_credited_to_the_owner_of_the_account() {
    let world = World::new().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let pyusd = world.network.mint(6, TokenProgram::Token2022).await;
    let unknown = world.network.mint(6, TokenProgram::Token).await;
    let (of_usdc, of_pyusd) = (asset(&usdc, "USDC", 6), asset(&pyusd, "PYUSD", 6));
    let _watching = world.watch(&world.config(vec![of_usdc.clone(), of_pyusd.clone()]));
    world.begun().await;
    let (first, first_address) = world.open(&of_usdc, 2_500_000).await;
    let (second, second_address) = world.open(&of_pyusd, 7).await;
    world.network.pay_token(&unknown, &first_address, 9).await;
    world.network.pay_token(&usdc, &first_address, 1_500_000).await;
    world.network.pay_token(&pyusd, &second_address, 7).await;
    let paid = world.network.pay_token(&usdc, &first_address, 1_000_000).await;
    let state = world.book.until_status(first, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), 2, "the unknown mint is nothing");
    let (key, _) = state.deposits.iter().find(|(key, _)| key.transaction == paid).unwrap();
    assert!(key.to_string().ends_with(&format!("/{}", usdc.mint)), "{key}");
    world.book.until_status(second, PaymentStatus::Completed).await;
}

#[tokio::test]
async fn what_a_transfer_fee_leaves_is_what_is_credited() {
    let world = World::new().await;
    let token = world.network.mint(6, TokenProgram::WithFee).await;
    let of_token = asset(&token, "FEE", 6);
    let _watching = world.watch(&world.config(vec![of_token.clone()]));
    world.begun().await;
    let (payment, address) = world.open(&of_token, 1_000_000).await;
    world.network.pay_token(&token, &address, 1_000_000).await;
    let state = world.book.until(payment, "a deposit", |payment| !payment.deposits.is_empty()).await;
    assert_eq!(live(&state)[0].1, 990_000, "one percent is withheld at the destination");
    world.book.until_status(payment, PaymentStatus::PartiallyPaid).await;
}

#[tokio::test]
async fn a_failed_transaction_pays_nothing_and_one_that_pays_several_pays_each() {
    let world = World::new().await;
    let _watching = world.watch(&world.config(vec![]));
    world.begun().await;
    let (first, first_address) = world.open(&sol(), 2 * SOL).await;
    let (second, second_address) = world.open(&sol(), SOL).await;
    world.network.pay_in_vain(&first_address, 2 * SOL).await;
    let both = [(first_address.as_str(), SOL), (second_address.as_str(), SOL), (first_address.as_str(), SOL)];
    let signature = world.network.pay_many(&both).await;
    for payment in [first, second] {
        let state = world.book.until_status(payment, PaymentStatus::Completed).await;
        let keys: Vec<_> = live(&state).into_iter().map(|(key, _, state)| (key.transaction.clone(), state)).collect();
        assert_eq!(keys, [(signature.clone(), DepositState::Confirmed)]);
    }
}

#[tokio::test]
async fn what_came_while_nobody_watched_is_seen_and_nothing_twice() {
    let mut world = World::new().await;
    let config = world.config(vec![]);
    let (payment, address) = world.open(&sol(), 5 * SOL).await;
    let watching = world.watch(&config);
    world.begun().await;
    world.network.pay(&address, SOL).await;
    watching.abort().await;
    for _ in 0..3 {
        world.network.pay(&address, SOL).await;
        let watching = world.watch(&config);
        world.network.pause();
        watching.abort().await;
        world.network.resume();
    }
    world.network.pay(&address, SOL).await;
    let _watching = world.watch(&config);
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    assert_eq!(live(&state).len(), 5);
    assert!(state.flags.names().is_empty(), "{:?}", state.flags);
}

#[tokio::test]
async fn another_cluster_or_a_mint_that_can_be_taken_back_is_refused_by_name() {
    let world = World::new().await;
    let usdc = world.network.mint(6, TokenProgram::Token).await;
    let held = world.network.mint(6, TokenProgram::WithDelegate).await;
    let refused = async |config: &WatcherConfig, why: &str| {
        let watching = world.watch(config);
        let health = watching.until(why, |health| matches!(health.state, ChainState::Refused { .. })).await;
        let ChainState::Refused { reason } = health.state else { unreachable!() };
        assert!(reason.contains(why) && reason.contains("127.0.0.1"), "{reason}");
        let reports = check(std::slice::from_ref(config)).await.unwrap();
        assert!(!reports[0].is_ok(), "{reports:?}");
        watching.stop().await;
    };
    refused(&world.config(vec![asset(&held, "HELD", 6)]), "a permanent delegate").await;
    refused(&world.config(vec![asset(&usdc, "USDC", 9)]), "decimals are 6, configured are 9").await;
    let mut other = world.config(vec![]);
    other.genesis_hash = Some("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d".to_owned());
    refused(&other, "genesis hash is").await;

    let mut good = world.config(vec![asset(&usdc, "USDC", 6)]);
    good.genesis_hash = Some(world.network.genesis_hash().await);
    let reports = check(&[good]).await.unwrap();
    assert!(reports[0].is_ok(), "{reports:?}");
    assert!(reports[0].endpoints[0].finalized.is_some());
}
