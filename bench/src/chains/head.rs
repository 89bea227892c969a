//! (k) Watching the head of a chain like BSC: a block of 500 transfers every 450 ms, the chain's own preset.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::calls::{Calls, Metrics};
use super::node::{Logged, Node};
use super::{Plan, watched};
use crate::cpu;
use crate::gateway::{self, Gateway};
use crate::history::Random;
use crate::measure::difference;
use crate::server::Server;

/// As in the gateway's preset.
const CHAIN: &str = "bsc";
const CHAIN_ID: u64 = 56;
const TOKENS: [&str; 2] = ["0x55d398326f99059ff775485246999027b3197955", "0x8ac76a51cc950d9822d68b83fe1ad97b32cd580d"];
const DECIMALS: u8 = 18;
/// `finalized` is two of these below the head: two blocks, as on BSC.
const EPOCH: &str = "1";
const BLOCK_EVERY: Duration = Duration::from_millis(450);
/// A block's transactions, and the transfers of each.
const TRANSACTIONS: usize = 100;
const TRANSFERS_EACH: usize = 5;
const GAS: u64 = 120_000;
const ADDRESSES: u64 = 10_000;
const CONNECTIONS: u32 = 2;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(30);
const FIRST_BLOCKS: u64 = 5;
const SEED: u64 = 56;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Head {
    /// How long it was measured.
    pub(crate) seconds: f64,
    /// Blocks made meanwhile.
    pub(crate) blocks: u64,
    /// CPU time of `wopay serve --roles watchers`, in percent of one core.
    pub(crate) cpu_percent: Option<f64>,
    /// CPU time of Postgres, in percent of one core.
    pub(crate) postgres_percent: Option<f64>,
    /// Resident memory of the process at the end, in KiB.
    pub(crate) memory_kib: Option<u64>,
    /// The most it ever was.
    pub(crate) memory_peak_kib: Option<u64>,
    /// Blocks behind the head at the end.
    pub(crate) lag_blocks: Option<f64>,
    /// What the node was asked.
    pub(crate) calls: Calls,
}

/// Measures it; `None` without anvil.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>, http: &reqwest::Client) -> Result<Option<Head>> {
    let scratch = plan.scratch.join("head");
    let args = ["--no-mining", "--slots-in-an-epoch", EPOCH];
    let Some(node) = Node::start(&scratch, CHAIN_ID, &args).await? else { return Ok(None) };
    for token in TOKENS {
        node.put_token(token, DECIMALS).await?;
    }
    node.mine(FIRST_BLOCKS).await?;
    let database = server.create_database("bench_head").await?;
    gateway::migrate(&plan.place(&scratch), &database).await?;
    let pool = database.pool(CONNECTIONS).await?;
    watched::fill(&pool, CHAIN, ADDRESSES).await?;
    let ours = watched::some(&pool, ADDRESSES).await?;
    pool.close().await;
    let tables = format!("[chains.{CHAIN}]\npreset = \"{CHAIN}\"\nrpc = [\"{}\"]\n", node.url);
    let mut gateway = Gateway::launch(plan.place(&scratch), &database, &tables, "watchers").await?;
    gateway.wait_until_ready(http).await?;
    let miner = Miner::start(node, ours);
    let measured = watch(server, &gateway, &miner, http, &scratch).await;
    miner.stop().await?;
    gateway.stop().await?;
    server.drop_database(database).await?;
    measured.map(Some)
}

async fn watch(
    server: &Server,
    gateway: &Gateway,
    miner: &Miner,
    http: &reqwest::Client,
    scratch: &Path,
) -> Result<Head> {
    tokio::time::sleep(WARM_UP).await;
    let (before, mined) = (Metrics::read(gateway, http).await?, miner.mined());
    let (process, postgres) = (cpu::of_process(gateway.pid), server.cpu());
    tokio::time::sleep(MEASURED).await;
    let process = difference(process, cpu::of_process(gateway.pid));
    let postgres = difference(postgres, server.cpu());
    let (after, blocks) = (Metrics::read(gateway, http).await?, miner.mined() - mined);
    let log = || std::fs::read_to_string(scratch.join("wopay.log")).unwrap_or_default();
    let calls = after.calls_since(&before, CHAIN).with_context(log)?;
    let memory = cpu::memory_kib(gateway.pid);
    let percent = |time: Option<Duration>| Some(100.0 * time?.as_secs_f64() / calls.seconds);
    Ok(Head {
        seconds: calls.seconds,
        blocks,
        cpu_percent: percent(process),
        postgres_percent: percent(postgres),
        memory_kib: memory.map(|(now, _)| now),
        memory_peak_kib: memory.map(|(_, peak)| peak),
        lag_blocks: after.gauge("wopay_chain_watchers_lag_blocks", CHAIN),
        calls,
    })
}

/// Makes blocks by the clock.
struct Miner {
    stop: Arc<AtomicBool>,
    mined: Arc<std::sync::atomic::AtomicU64>,
    task: JoinHandle<Result<()>>,
}

impl Miner {
    fn start(mut node: Node, ours: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mined = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&mined));
        let task = tokio::spawn(async move {
            let mut random = Random::new(SEED);
            let mut clock = tokio::time::interval(BLOCK_EVERY);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stopped.load(Ordering::Relaxed) {
                let transactions = block(&mut random, &ours)?;
                node.send(TOKENS[0], &transactions, GAS).await?;
                clock.tick().await;
                node.mine(1).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { stop, mined, task }
    }

    fn mined(&self) -> u64 {
        self.mined.load(Ordering::Relaxed)
    }

    async fn stop(self) -> Result<()> {
        ensure!(!self.task.is_finished(), "no more blocks were made: {:?}", self.task.await);
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// A block's transactions; one of its transfers is to an address of ours.
fn block(random: &mut Random, ours: &[String]) -> Result<Vec<Vec<Logged>>> {
    let stranger = |random: &mut Random| Logged { to: random.hex(40), minor: 1 + random.below(1_000_000_000) };
    let mut transactions: Vec<Vec<Logged>> =
        (0..TRANSACTIONS).map(|_| (0..TRANSFERS_EACH).map(|_| stranger(random)).collect()).collect();
    let receiver = usize::try_from(random.below(u64::try_from(ours.len())?))?;
    let paid = transactions.first_mut().and_then(|first| first.first_mut()).context("a block has transfers")?;
    paid.to.clone_from(ours.get(receiver).context("some addresses are ours")?);
    Ok(transactions)
}
