//! The engine on a simulated chain that does whatever chains and nodes do, in any order: the end is always what the
//! canonical chain implies. A real node cannot be driven through thousands of such histories in a test's time; here only
//! the chain is simulated, the database is real.

mod chain;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wopay_chain_watchers::{ChainSource, ChainWatcher, OutboxSignal, WatcherConfig};
use wopay_domain::payment::{DepositState, PaymentCommand, decide, evolve};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, ChainSpec, PaymentId};
use wopay_eventbus::ObserveDeposit;
use wopay_testkit::{database, eventually};

use self::chain::{Chain, Simulated, Tx};
use crate::support::book::Book;

const CASES: u32 = 60;
const PAYMENTS: usize = 3;
const SOON: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Op {
    /// A block with these deposits: (payment, minor units).
    Mine(Vec<(usize, u64)>),
    /// Replaces the newest blocks; each transaction in them goes into the new block of that number, or nowhere.
    Reorg { depth: usize, places: Vec<usize> },
    /// The newest blocks disappear without replacement, and their transactions with them.
    Shrink(usize),
    /// The node shows a head that many blocks too low.
    Lag(usize),
    /// The next calls fail.
    Fail(u32),
    /// The watchers are dropped wherever they are and others begin.
    Restart,
    /// The watchers reach the head.
    CatchUp,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => vec((0..PAYMENTS, 1..1000_u64), 0..3).prop_map(Op::Mine),
        3 => (1..7_usize, vec(0..9_usize, 8)).prop_map(|(depth, places)| Op::Reorg { depth, places }),
        1 => (1..4_usize).prop_map(Op::Shrink),
        1 => (0..4_usize).prop_map(Op::Lag),
        1 => (1..4_u32).prop_map(Op::Fail),
        2 => Just(Op::Restart),
        3 => Just(Op::CatchUp),
    ]
}

/// One history.
struct Case {
    chain: Arc<Simulated>,
    name: ChainName,
    config: WatcherConfig,
    pool: PgPool,
    watchers: Vec<JoinHandle<()>>,
    book: Book,
    payments: Vec<(PaymentId, String)>,
}

impl Case {
    async fn new(number: u32, pool: PgPool) -> Self {
        let name: ChainName = format!("sim-{number}").parse().unwrap();
        let asset = Asset { id: AssetId::native(&name), symbol: "SIM".to_owned(), decimals: 0 };
        let spec = ChainSpec {
            name: name.clone(),
            family: ChainFamily::Evm,
            chain_id: Some(1),
            required_confirmations: 1,
            assets: vec![asset.clone()],
        };
        let mut config = WatcherConfig::new(spec, Vec::new());
        config.poll_interval = Duration::from_millis(1);
        config.start_block = Some(0);
        config.reorg_window = 500;
        let book = Book::new(pool.clone());
        let mut payments = Vec::new();
        for confirmations in 1..=u32::try_from(PAYMENTS).unwrap() {
            payments.push(book.open(&asset, 1500, confirmations * 2 - 1, Duration::from_secs(3600)).await);
        }
        let chain = Arc::new(Simulated(Mutex::new(Chain::new(asset.id))));
        let mut case = Self { chain, name, config, pool, watchers: Vec::new(), book, payments };
        case.restart();
        case
    }

    /// Two watchers of the same chain, always.
    fn restart(&mut self) {
        self.stop();
        for _ in 0..2 {
            let source = Arc::clone(&self.chain) as Arc<dyn ChainSource>;
            let signal = OutboxSignal::default();
            let watcher = ChainWatcher::with_source(&self.config, source, self.pool.clone(), signal);
            self.watchers.push(tokio::spawn(watcher.run(CancellationToken::new())));
        }
    }

    fn stop(&mut self) {
        for watcher in self.watchers.drain(..) {
            watcher.abort();
        }
    }

    async fn play(&mut self, op: &Op) {
        match op {
            Op::Mine(deposits) => {
                let mut chain = self.chain.0.lock().unwrap();
                let transactions = deposits
                    .iter()
                    .map(|(payment, minor)| {
                        let to = self.payments[*payment].1.clone();
                        Tx { hash: chain.name(), to, minor: *minor }
                    })
                    .collect();
                chain.mine(transactions);
            }
            Op::Reorg { depth, places } => self.chain.0.lock().unwrap().reorg(*depth, places),
            Op::Shrink(depth) => {
                self.chain.0.lock().unwrap().shrink(*depth);
            }
            Op::Lag(blocks) => self.chain.0.lock().unwrap().lag = *blocks,
            Op::Fail(calls) => self.chain.0.lock().unwrap().failures = *calls,
            Op::Restart => self.restart(),
            Op::CatchUp => self.catch_up().await,
        }
    }

    async fn catch_up(&self) {
        {
            let mut chain = self.chain.0.lock().unwrap();
            chain.lag = 0;
            // A chain that only became shorter looks like a node that lags: it takes a block to tell.
            chain.mine(Vec::new());
        }
        let name = self.name.as_str();
        eventually("the watchers at the head", SOON, async || {
            let cursor: Option<String> = sqlx::query_scalar("SELECT hash FROM chain_cursors WHERE chain = $1")
                .bind(name)
                .fetch_optional(&self.pool)
                .await
                .unwrap();
            let head = self.chain.0.lock().unwrap().blocks.last().map(|block| block.header.block.hash.clone());
            (cursor == head).then_some(())
        })
        .await;
    }

    /// Every report of this history, in the order of their revisions.
    async fn reports(&self) -> Vec<ObserveDeposit> {
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body::text FROM watcher_outbox WHERE chain = $1 ORDER BY id")
                .bind(self.name.as_str())
                .fetch_all(&self.pool)
                .await
                .unwrap();
        bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    /// Folds the reports, in an order of the seed's, and compares with the canonical chain.
    async fn check(&self, seed: u64) {
        let mut reports = self.reports().await;
        let scrambled = |report: &ObserveDeposit| (report.report.revision ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        reports.sort_by_key(scrambled);
        let canonical = self.chain.0.lock().unwrap().blocks.clone();
        for (id, address) in &self.payments {
            let mut payment = self.book.whole_payment(*id);
            for report in reports.iter().filter(|report| report.payment_id == *id) {
                let command = PaymentCommand::ObserveDeposit(Box::new(report.report.clone()));
                for event in decide(&payment, command).unwrap() {
                    evolve(&mut payment, event);
                }
            }
            let paid: BTreeMap<&str, (&str, u64)> = canonical
                .iter()
                .flat_map(|block| block.transactions.iter().map(move |tx| (block, tx)))
                .filter(|(_, tx)| tx.to == *address)
                .map(|(block, tx)| (tx.hash.as_str(), (block.header.block.hash.as_str(), tx.minor)))
                .collect();
            let state = payment.state().unwrap();
            let live: BTreeMap<&str, (&str, u64)> = state
                .deposits
                .iter()
                .filter(|(_, deposit)| deposit.is_live())
                .map(|(key, deposit)| {
                    assert_eq!(deposit.state, DepositState::Confirmed, "{key}");
                    let minor = u64::try_from(deposit.amount.minor()).unwrap();
                    (key.transaction.as_str(), (deposit.block.hash.as_str(), minor))
                })
                .collect();
            assert_eq!(live, paid);
        }
    }
}

#[test]
fn any_history_ends_as_the_canonical_chain_implies() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let pool = runtime.block_on(async { database().await.extra_pool(10).await });
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, max_shrink_iters: 24, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let number = Mutex::new(0_u32);
    let histories = (vec(op(), 1..40), any::<u64>());
    let outcome = runner.run(&histories, |(ops, seed)| {
        let number = {
            let mut number = number.lock().unwrap();
            *number += 1;
            *number
        };
        runtime.block_on(async {
            let mut case = Case::new(number, pool.clone()).await;
            for op in &ops {
                case.play(op).await;
            }
            case.play(&Op::Fail(0)).await;
            for _ in 0..=2 * PAYMENTS {
                case.play(&Op::Mine(Vec::new())).await;
            }
            case.catch_up().await;
            case.stop();
            case.check(seed).await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
