//! (i) What a block costs the watcher, by how many addresses are watched: the engine itself on the real database, one step
//! for each block, reading a chain that is in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sqlx::{Executor as _, PgPool};
use wopay_chain_watchers::{ChainWatcher, OutboxSignal, Progress, WatcherConfig};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, ChainSpec};

use super::synthetic::{Synthetic, transfers};
use super::watched;
use crate::history::Random;
use crate::in_repository;
use crate::latency::{Latencies, Percentiles};
use crate::measure::Counters;
use crate::sample::{CHAIN, CONTRACT};
use crate::server::Server;

/// Watched addresses, growing: one database is filled further and further.
const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
/// (transfers of a block, of these to addresses of ours)
const KINDS: [(usize, usize); 4] = [(0, 0), (TRANSFERS, 0), (TRANSFERS, 1), (TRANSFERS, 10)];
const TRANSFERS: usize = 1_000;
const WARM_UP_BLOCKS: usize = 20;
const BLOCKS: usize = 100;
/// What the engine takes in one transaction while it catches up.
const BLOCKS_AT_ONCE: usize = 64;
const CATCH_UPS: usize = 3;
const CONNECTIONS: u32 = 4;
const SEED: u64 = 31;

/// What was found with one number of addresses.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Matched {
    /// Watched addresses.
    pub(crate) addresses: u64,
    /// One block a step, as at the chain's head.
    pub(crate) steps: Vec<Steps>,
    /// 64 full blocks in one step, as while catching up: milliseconds for each block.
    pub(crate) catching_up_ms: f64,
}

/// Steps over blocks of one kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Steps {
    /// Transfers in each block.
    pub(crate) transfers: usize,
    /// Of them to addresses of ours.
    pub(crate) ours: usize,
    /// How long a step took, its transaction on the disk.
    pub(crate) latency: Percentiles,
    /// CPU time of this process for each block, in microseconds.
    pub(crate) process_us: Option<f64>,
    /// CPU time of Postgres for each block, in microseconds.
    pub(crate) postgres_us: Option<f64>,
}

impl Matched {
    /// The median step over a full block with that many of ours, in milliseconds.
    pub(crate) fn full_ms(&self, ours: usize) -> Option<f64> {
        let steps = self.steps.iter().find(|steps| steps.transfers == TRANSFERS && steps.ours == ours)?;
        Some(f64::from(steps.latency.p50_us) / 1e3)
    }
}

/// Measures it.
pub(crate) async fn measure(server: &Server) -> Result<Vec<Matched>> {
    let database = server.create_database("bench_match").await?;
    database.migrate(in_repository("migrations")).await?;
    let pool = database.pool(CONNECTIONS).await?;
    let mut bench = Bench::new(&pool)?;
    let mut found = Vec::with_capacity(SIZES.len());
    for addresses in SIZES {
        watched::fill(&pool, CHAIN, addresses).await?;
        bench.ours = watched::some(&pool, addresses).await?;
        // As autovacuum does within a minute; until then plans are those for empty tables.
        bench.catch_up().await?;
        pool.execute("VACUUM (ANALYZE)").await?;
        server.checkpoint().await?;
        let mut steps = Vec::with_capacity(KINDS.len());
        for (transfers, ours) in KINDS {
            steps.push(bench.steps(server, transfers, ours).await?);
        }
        found.push(Matched { addresses, steps, catching_up_ms: bench.catch_up().await? });
    }
    pool.close().await;
    server.drop_database(database).await?;
    Ok(found)
}

struct Bench {
    source: Arc<Synthetic>,
    watcher: ChainWatcher,
    asset: AssetId,
    random: Random,
    ours: Vec<String>,
}

impl Bench {
    fn new(pool: &PgPool) -> Result<Self> {
        let name: ChainName = CHAIN.parse()?;
        let asset = AssetId::token(&name, CONTRACT).context("the sample's contract is an address")?;
        let spec = ChainSpec {
            assets: vec![Asset { id: asset.clone(), symbol: "USDT".to_owned(), decimals: 6 }],
            min_deposits: BTreeMap::new(),
            name,
            family: ChainFamily::Evm,
            chain_id: Some(1),
            required_confirmations: 12,
        };
        let mut config = WatcherConfig::new(spec, Vec::new());
        config.start_block = Some(1);
        let source = Arc::new(Synthetic::new(SEED));
        let watcher =
            ChainWatcher::with_source(&config, Arc::clone(&source) as _, pool.clone(), OutboxSignal::default());
        Ok(Self { source, watcher, asset, random: Random::new(SEED), ours: Vec::new() })
    }

    async fn steps(&mut self, server: &Server, transfers: usize, ours: usize) -> Result<Steps> {
        self.settle().await?;
        for _ in 0..WARM_UP_BLOCKS + BLOCKS {
            self.make(transfers, ours)?;
        }
        let mut latencies = Latencies::default();
        let mut counters = Counters::read(server).await?;
        for block in 0..WARM_UP_BLOCKS + BLOCKS {
            if block == WARM_UP_BLOCKS {
                counters = Counters::read(server).await?;
            }
            self.source.show();
            let started = Instant::now();
            let progress = self.watcher.advance_once().await;
            let elapsed = started.elapsed();
            ensure!(progress == Progress::Again, "the watcher does not go on: {progress:?}");
            if block >= WARM_UP_BLOCKS {
                latencies.record(elapsed);
            }
        }
        let spent = counters.spent(server).await?;
        let blocks = u64::try_from(BLOCKS)?;
        let latency = latencies.percentiles().context("blocks were measured")?;
        let process_us = crate::measure::per(spent.own, blocks);
        let postgres_us = crate::measure::per(spent.postgres, blocks);
        Ok(Steps { transfers, ours, latency, process_us, postgres_us })
    }

    /// Milliseconds for each of many blocks that are taken at once; the best of several goes.
    async fn catch_up(&mut self) -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..CATCH_UPS {
            self.settle().await?;
            for _ in 0..BLOCKS_AT_ONCE {
                self.make(TRANSFERS, 1)?;
                self.source.show();
            }
            let started = Instant::now();
            let progress = self.watcher.advance_once().await;
            ensure!(progress == Progress::Again, "the watcher does not catch up: {progress:?}");
            best = best.min(started.elapsed().as_secs_f64() * 1e3 / BLOCKS_AT_ONCE as f64);
        }
        Ok(best)
    }

    /// A block to come, some of its transfers to addresses of ours.
    fn make(&mut self, count: usize, ours: usize) -> Result<()> {
        let mut paid = Vec::with_capacity(ours);
        for _ in 0..ours {
            let index = self.random.below(u64::try_from(self.ours.len())?);
            paid.push(self.ours.get(usize::try_from(index)?).context("some addresses are ours")?.clone());
        }
        let asset = &self.asset;
        self.source.make(|random| transfers(random, asset, count - ours, &paid));
        Ok(())
    }

    /// Lets the watcher come to rest at the head.
    async fn settle(&mut self) -> Result<()> {
        loop {
            match self.watcher.advance_once().await {
                Progress::Again => {}
                Progress::Idle => return Ok(()),
                progress => anyhow::bail!("the watcher does not come to rest: {progress:?}"),
            }
        }
    }
}
