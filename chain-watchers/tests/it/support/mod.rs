//! A chain, a ledger that executes what is reported, and a watcher between them.

pub(crate) mod book;
pub(crate) mod proxy;
pub(crate) mod told;

use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_chain_watchers::{
    ChainHealth, ChainState, ChainStatus, ChainWatcher, OutboxOptions, OutboxPublisher, OutboxSignal, WatcherConfig,
};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, ChainSpec, PaymentId};
use wopay_eventbus::Bus;
use wopay_testkit::{
    Anvil, AnvilOptions, Mining, TestDatabase, TestNats, Token, TokenKind, anvil, database, eventually, nats,
};

use self::book::Book;

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const CHAIN_ID: u64 = 31_337;
pub(crate) const USDT_DECIMALS: u8 = 6;

/// Everything a test needs. The chain mines on demand; account 0 holds a million of the token.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) nats: TestNats,
    pub(crate) anvil: Anvil,
    pub(crate) usdt: Token,
    pub(crate) book: Book,
    pub(crate) signal: OutboxSignal,
    background: Vec<Running>,
}

/// A task that is stopped with its token, or aborted when dropped.
pub(crate) struct Running {
    token: CancellationToken,
    task: JoinHandle<()>,
}

/// A watcher at work.
pub(crate) struct Watching {
    pub(crate) status: ChainStatus,
    running: Running,
}

pub(crate) fn chain_name() -> ChainName {
    "ethereum".parse().unwrap()
}

pub(crate) fn native() -> Asset {
    Asset { id: AssetId::native(&chain_name()), symbol: "ETH".to_owned(), decimals: 18 }
}

pub(crate) fn token_asset(token: &Token) -> Asset {
    let id = AssetId::token(&chain_name(), &token.address).unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: token.decimals }
}

/// An address nobody has used.
pub(crate) fn fresh_address() -> String {
    let digits = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    format!("0x{}", &digits[..40])
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_outbox(OutboxOptions { poll_interval: Duration::from_millis(200), ..OutboxOptions::default() }).await
    }

    pub(crate) async fn with_outbox(options: OutboxOptions) -> Self {
        let mut world = Self::without_inbox(options).await;
        world.start_inbox().await;
        world
    }

    /// Reports are published and nobody executes them yet.
    pub(crate) async fn without_inbox(options: OutboxOptions) -> Self {
        Self::of_chain(options, Mining::OnDemand, &[]).await
    }

    /// On a chain that mines so, of an anvil with these arguments.
    pub(crate) async fn on_chain(mining: Mining, extra_args: &[&str]) -> Self {
        let outbox = OutboxOptions { poll_interval: Duration::from_millis(200), ..OutboxOptions::default() };
        let mut world = Self::of_chain(outbox, mining, extra_args).await;
        world.start_inbox().await;
        world
    }

    async fn of_chain(options: OutboxOptions, mining: Mining, extra_args: &[&str]) -> Self {
        let extra_args = extra_args.iter().map(|arg| (*arg).to_owned()).collect();
        let (database, nats, anvil) = tokio::join!(
            database(),
            nats(),
            anvil(AnvilOptions { chain_id: CHAIN_ID, mining, extra_args, ..AnvilOptions::default() })
        );
        let usdt = anvil.deploy_token(TokenKind::Silent, "USDT", USDT_DECIMALS).await;
        anvil.mint(&usdt, &anvil.accounts[0], usdt.whole(1_000_000)).await;
        let bus = Bus::connect(&nats.url, "main").await.unwrap();
        let book = Book::new(database.pool.clone());
        let signal = OutboxSignal::default();
        let publisher = OutboxPublisher::new(database.pool.clone(), bus, signal.clone()).with_options(options);
        let background = vec![Running::spawn(|token| publisher.run(token))];
        Self { database, nats, anvil, usdt, book, signal, background }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub(crate) async fn start_inbox(&mut self) {
        let bus = Bus::connect(&self.nats.url, "main").await.unwrap();
        let book = self.book.clone();
        self.background.push(Running::spawn(|token| book.run(bus, token)));
    }

    pub(crate) fn spec(&self) -> ChainSpec {
        ChainSpec {
            min_deposits: std::collections::BTreeMap::new(),
            name: chain_name(),
            family: ChainFamily::Evm,
            chain_id: Some(CHAIN_ID),
            required_confirmations: 3,
            assets: vec![native(), token_asset(&self.usdt)],
        }
    }

    /// The chain's watcher, looking every 20 ms.
    pub(crate) fn config(&self) -> WatcherConfig {
        let mut config = WatcherConfig::new(self.spec(), vec![self.anvil.url.parse().unwrap()]);
        config.poll_interval = Duration::from_millis(20);
        config.rpc_options.request_timeout = Duration::from_secs(2);
        config
    }

    pub(crate) fn watch(&self) -> Watching {
        self.watch_with(&self.config())
    }

    pub(crate) fn watch_with(&self, config: &WatcherConfig) -> Watching {
        let watcher = ChainWatcher::new(config, self.pool().clone(), self.signal.clone()).unwrap();
        Watching::spawn(watcher.status(), |token| watcher.run(token))
    }

    /// An open payment of that many whole USDT to an address of its own.
    pub(crate) async fn payment(&self, usdt: u128, confirmations: u32) -> (PaymentId, String) {
        let asset = token_asset(&self.usdt);
        self.book.open(&asset, self.usdt.whole(usdt), confirmations, Duration::from_secs(3600)).await
    }

    /// Sends USDT and makes the block that holds it.
    pub(crate) async fn pay(&self, address: &str, usdt: u128) -> wopay_testkit::Receipt {
        self.anvil.transfer(&self.usdt, &self.anvil.accounts[0], address, self.usdt.whole(usdt)).await
    }

    /// Waits until the watcher has processed the chain's head.
    pub(crate) async fn caught_up(&self) {
        eventually("the watcher at the head", SOON, async || {
            let height = self.anvil.height().await;
            let hash = self.anvil.block_hash(height).await;
            (hash.is_some() && self.cursor().await == hash.map(|hash| (height, hash))).then_some(())
        })
        .await;
    }

    /// Height and hash of the last block processed.
    pub(crate) async fn cursor(&self) -> Option<(u64, String)> {
        let row: Option<(i64, String)> =
            sqlx::query_as("SELECT height, hash FROM chain_cursors WHERE chain = 'ethereum'")
                .fetch_optional(self.pool())
                .await
                .unwrap();
        row.map(|(height, hash)| (u64::try_from(height).unwrap(), hash))
    }

    /// Waits until every report has been acknowledged by the stream.
    pub(crate) async fn outbox_empty(&self) {
        eventually("an empty outbox", SOON, async || {
            let unsent: i64 = sqlx::query_scalar("SELECT count(*) FROM watcher_outbox WHERE sent_at IS NULL")
                .fetch_one(self.pool())
                .await
                .unwrap();
            (unsent == 0).then_some(())
        })
        .await;
    }
}

impl Running {
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(CancellationToken) -> F) -> Self {
        let token = CancellationToken::new();
        Self { task: tokio::spawn(work(token.clone())), token }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Watching {
    /// A test that fails says how the watcher was doing.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the watcher: {:#?}", self.health());
        }
    }
}

impl Watching {
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        status: ChainStatus,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        Self { status, running: Running::spawn(work) }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.running.token.cancel();
        (&mut self.running.task).await.unwrap();
    }

    /// Drops it wherever it is, as a crash would, as far as a task can.
    pub(crate) async fn abort(mut self) {
        self.running.task.abort();
        let _aborted = (&mut self.running.task).await;
    }

    pub(crate) fn health(&self) -> ChainHealth {
        self.status.health()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&ChainHealth) -> bool) -> ChainHealth {
        eventually(what, SOON, async || Some(self.status.health()).filter(|health| condition(health))).await
    }

    pub(crate) async fn until_following(&self) {
        self.until("the watcher following", |health| matches!(health.state, ChainState::Following { .. })).await;
    }
}
