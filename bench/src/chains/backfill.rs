//! (j) Catching up: a chain of many blocks full of transfers, read by the watcher's process and by Ponder from the same
//! node into the same Postgres, one after the other. Both must come to the same deposits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sqlx::PgPool;

use super::node::{Logged, Node};
use super::ponder::{self, Indexed};
use super::{Plan, watched};
use crate::chain::CHAIN_ID;
use crate::cpu;
use crate::gateway::{self, Gateway};
use crate::history::Random;
use crate::measure::difference;
use crate::sample::{CHAIN, CONTRACT};
use crate::server::{Database, Server};

/// Transfers of a block, in one transaction.
const TRANSFERS: usize = 20;
/// Of so many blocks, one has a transfer to an address of ours.
const OURS_EVERY: u64 = 10;
const ADDRESSES: u64 = 10_000;
/// A block has room for one transaction of this gas, so that a call can make many blocks.
const GAS: u64 = 300_000;
/// Blocks made with one call.
const BLOCKS_AT_ONCE: u64 = 200;
/// Empty blocks on top: Ponder takes the newest 30 for not final, and reads them another way.
const EMPTY: u64 = 40;
const SEED: u64 = 20;
const CONNECTIONS: u32 = 2;
const POLL: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(1_800);

/// A deposit, however it was found: block hash, transaction, place, receiver, minor units.
pub(crate) type Found = (String, String, i32, String, String);

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Backfill {
    /// Blocks, each with transfers.
    pub(crate) blocks: u64,
    /// Transfers in all of them.
    pub(crate) transfers: u64,
    /// Of them to addresses of ours; each of the programs found these and no others.
    pub(crate) deposits: usize,
    /// How long `wopay serve --roles watchers` took from its start to the head.
    pub(crate) seconds: f64,
    /// CPU time of that process.
    pub(crate) cpu_seconds: Option<f64>,
    /// CPU time of Postgres meanwhile.
    pub(crate) postgres_seconds: Option<f64>,
    /// The most memory that it ever had resident.
    pub(crate) peak_kib: Option<u64>,
    /// Ponder, where it is installed.
    pub(crate) ponder: Option<Indexed>,
}

impl Backfill {
    /// Blocks a second of ours.
    pub(crate) fn rate_per_s(&self) -> f64 {
        self.blocks as f64 / self.seconds.max(1e-9)
    }

    /// Blocks a second of Ponder's, by its own clock.
    pub(crate) fn ponder_rate_per_s(&self) -> Option<f64> {
        Some(self.blocks as f64 / self.ponder.as_ref()?.seconds.max(1e-9))
    }
}

/// Measures it; `None` without anvil.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>) -> Result<Option<Backfill>> {
    let gas_limit = GAS.to_string();
    let args = ["--no-mining", "--prune-history", "--gas-limit", &gas_limit];
    let scratch = plan.scratch.join("backfill");
    let Some(mut node) = Node::start(&scratch, CHAIN_ID, &args).await? else { return Ok(None) };
    let database = server.create_database("bench_backfill").await?;
    gateway::migrate(&plan.place(&scratch), &database).await?;
    let pool = database.pool(CONNECTIONS).await?;
    watched::fill(&pool, CHAIN, ADDRESSES).await?;
    let ours = watched::some(&pool, ADDRESSES).await?;
    println!("== bench: making {} blocks of {TRANSFERS} transfers", plan.blocks);
    let sent = make(&mut node, plan.blocks, &ours).await?;

    server.checkpoint().await?;
    let mut measured = watch(server, &database, &pool, plan, &node).await?;
    let found = deposits(&pool).await?;
    let mut receivers: Vec<&str> = found.iter().map(|deposit| deposit.3.as_str()).collect();
    let mut expected: Vec<&str> = sent.iter().map(String::as_str).collect();
    receivers.sort_unstable();
    expected.sort_unstable();
    ensure!(receivers == expected, "{} transfers to us were sent, {} deposits found", expected.len(), receivers.len());
    measured.deposits = found.len();
    pool.close().await;
    server.drop_database(database).await?;

    if let Some(installed) = plan.ponder {
        println!("== bench: the same blocks by Ponder");
        let (indexed, theirs) = ponder::index(server, installed, &scratch, &node.url, CONTRACT, &ours).await?;
        let (missed, invented) = (found.difference(&theirs).count(), theirs.difference(&found).count());
        ensure!(
            missed == 0 && invented == 0,
            "the deposits differ: {missed} are only in ours, {invented} only in Ponder's"
        );
        measured.ponder = Some(indexed);
    } else {
        println!("== bench: NO PONDER HERE: npm could not install it, so there is nothing to compare with");
    }
    Ok(Some(measured))
}

/// Makes the chain; the receivers that are ours, in order.
async fn make(node: &mut Node, blocks: u64, ours: &[String]) -> Result<Vec<String>> {
    node.put_token(CONTRACT, 6).await?;
    let mut random = Random::new(SEED);
    let mut sent = Vec::new();
    let mut next = 1;
    while next <= blocks {
        let count = BLOCKS_AT_ONCE.min(blocks + 1 - next);
        let mut transactions = Vec::new();
        for height in next..next + count {
            let mut transfers: Vec<Logged> =
                (0..TRANSFERS).map(|_| Logged { to: random.hex(40), minor: 1 + random.below(1_000_000_000) }).collect();
            if height % OURS_EVERY == 0 {
                let receiver = random.below(u64::try_from(ours.len())?);
                let place = random.below(u64::try_from(TRANSFERS)?);
                let receiver = ours.get(usize::try_from(receiver)?).context("some addresses are ours")?;
                let paid = transfers.get_mut(usize::try_from(place)?).context("a place is below their number")?;
                paid.to.clone_from(receiver);
                sent.push(receiver.clone());
            }
            transactions.push(transfers);
        }
        node.send(CONTRACT, &transactions, GAS).await?;
        node.mine(count).await?;
        next += count;
    }
    node.mine(EMPTY).await?;
    let height = node.height().await?;
    ensure!(height == blocks + EMPTY, "{} blocks were to be made, there are {height}", blocks + EMPTY);
    Ok(sent)
}

/// Lets the watcher's process come to the head.
async fn watch(server: &Server, database: &Database, pool: &PgPool, plan: &Plan<'_>, node: &Node) -> Result<Backfill> {
    let tables = format!(
        r#"[chains.{CHAIN}]
kind = "evm"
chain_id = {CHAIN_ID}
rpc = ["{}"]
start_block = 1
finality = {{ mode = "depth", confirmations = 12 }}
native = {{ symbol = "ETH", decimals = 18 }}
tokens = [{{ symbol = "USDT", contract = "{CONTRACT}", decimals = 6 }}]
"#,
        node.url
    );
    let head = i64::try_from(node.height().await?)?;
    let scratch = plan.scratch.join("backfill");
    let postgres = server.cpu();
    let gateway = Gateway::launch(plan.place(&scratch), database, &tables, "watchers").await?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let height: Option<i64> = sqlx::query_scalar("SELECT height FROM chain_cursors WHERE chain = $1")
            .bind(CHAIN)
            .fetch_optional(pool)
            .await?;
        if height == Some(head) {
            break;
        }
        ensure!(Instant::now() < deadline, "the watcher came to {height:?} of {head}");
        tokio::time::sleep(POLL).await;
    }
    let seconds = gateway.spawned_at.elapsed().as_secs_f64();
    let measured = Backfill {
        blocks: plan.blocks,
        transfers: plan.blocks * u64::try_from(TRANSFERS)?,
        deposits: 0,
        seconds,
        cpu_seconds: cpu::of_process(gateway.pid).map(|time| time.as_secs_f64()),
        postgres_seconds: difference(postgres, server.cpu()).map(|time| time.as_secs_f64()),
        peak_kib: cpu::memory_kib(gateway.pid).map(|(_, peak)| peak),
        ponder: None,
    };
    gateway.stop().await?;
    Ok(measured)
}

/// What the watcher recorded. Blocks have one transaction, so a log has the same place in both.
async fn deposits(pool: &PgPool) -> Result<BTreeSet<Found>> {
    let rows: Vec<Found> = sqlx::query_as(
        "SELECT block_hash, tx_hash, split_part(leg, ':', 2)::int, address, amount_minor::text
         FROM deposit_observations
         WHERE chain = $1 AND stage <> 'orphaned' AND kind = 'money'",
    )
    .bind(CHAIN)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().collect())
}
