//! (l) How often nodes are asked at the head of other chains: one with Ethereum's preset, and a Solana network.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wopay_private_services::{Signal, SuperviseOptions, Supervised};

use super::Plan;
use super::calls::{Calls, Metrics};
use super::node::{Logged, Node};
use crate::gateway::Gateway;
use crate::history::Random;
use crate::in_repository;
use crate::server::Server;

const ETHEREUM: &str = "ethereum";
const ETHEREUM_ID: u64 = 1;
/// USDT and USDC, as in the gateway's preset.
const TOKENS: [&str; 2] = ["0xdac17f958d2ee523a2206206994597c13d831ec7", "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"];
const DECIMALS: u8 = 6;
const BLOCK_SECONDS: &str = "12";
const SEND_EVERY: Duration = Duration::from_secs(2);
const TRANSFERS: usize = 50;
const GAS: u64 = 500_000;
const SOLANA: &str = "solana";
const SLOT_MS: &str = "400";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Of Ethereum's; where there is none, as many of Solana's as fit into their time.
const BLOCKS: f64 = 2.0;
const SLOTS_IN_A_BLOCK: f64 = 30.0;
const POLL: Duration = Duration::from_millis(100);
const MEASURED_WITHIN: Duration = Duration::from_secs(120);
const SEED: u64 = 12;

/// Measures it; chains without a node are left out.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>, http: &reqwest::Client) -> Result<Vec<Calls>> {
    let scratch = plan.scratch.join("families");
    std::fs::create_dir_all(&scratch)?;
    let node = Node::start(&scratch, ETHEREUM_ID, &["--block-time", BLOCK_SECONDS]).await?;
    let network = Solana::start(&scratch).await?;
    let (mut tables, mut chains) = (String::new(), Vec::new());
    if let Some(node) = &node {
        for token in TOKENS {
            node.put_token(token, DECIMALS).await?;
        }
        tables.push_str(&format!("[chains.{ETHEREUM}]\npreset = \"{ETHEREUM}\"\nrpc = [\"{}\"]\n", node.url));
        chains.push(ETHEREUM);
    }
    if let Some(network) = &network {
        // The preset names the main network; this one has no tokens.
        tables.push_str(&format!(
            "[chains.{SOLANA}]\nkind = \"solana\"\nrpc = [\"{}\"]\nnative = {{ symbol = \"SOL\", decimals = 9 }}\n\
             finality = {{ confirmations = 32, reorg_window = 150 }}\npoll_interval_ms = 400\n",
            network.url
        ));
        chains.push(SOLANA);
    }
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    let database = server.create_database("bench_families").await?;
    let mut gateway = Gateway::launch(plan.place(&scratch), &database, &tables, "watchers").await?;
    gateway.wait_until_ready(http).await?;
    let calls = watch(&gateway, http, node, &chains).await;
    gateway.stop().await?;
    server.drop_database(database).await?;
    calls
}

/// From the moment a block of the first chain was processed to that of a later one, so that whole blocks are counted.
async fn watch(
    gateway: &Gateway,
    http: &reqwest::Client,
    mut node: Option<Node>,
    chains: &[&str],
) -> Result<Vec<Calls>> {
    let mut random = Random::new(SEED);
    let chain = *chains.first().context("a chain is watched")?;
    let wanted = if node.is_some() { BLOCKS } else { BLOCKS * SLOTS_IN_A_BLOCK };
    let (deadline, mut sent_at) = (Instant::now() + MEASURED_WITHIN, None::<Instant>);
    let mut newest = Metrics::read(gateway, http).await?;
    let mut began: Option<Metrics> = None;
    loop {
        if let Some(node) = &mut node
            && sent_at.is_none_or(|sent_at| sent_at.elapsed() > SEND_EVERY)
        {
            // So that Ethereum's blocks are not empty.
            let transfers = (0..TRANSFERS).map(|_| Logged { to: random.hex(40), minor: 1 }).collect();
            node.send(TOKENS[0], &[transfers], GAS).await?;
            sent_at = Some(Instant::now());
        }
        let now = Metrics::read(gateway, http).await?;
        match &began {
            None if now.blocks(chain) > newest.blocks(chain) => began = Some(now),
            Some(began) if now.blocks(chain) >= began.blocks(chain) + wanted => {
                return chains.iter().map(|chain| now.calls_since(began, chain)).collect();
            }
            Some(_) => {}
            None => newest = now,
        }
        ensure!(Instant::now() < deadline, "{chain} does not move");
        tokio::time::sleep(POLL).await;
    }
}

/// A running local Solana network; ends with this value.
struct Solana {
    url: String,
    _server: Supervised,
}

impl Solana {
    /// Starts one where `make tools` has built it.
    async fn start(scratch: &Path) -> Result<Option<Self>> {
        let program = in_repository(".wopay/tools/surfpool/wopay-surfpool");
        if !program.is_file() {
            return Ok(None);
        }
        let out = scratch.join("surfpool.out");
        let mut server = Supervised::spawn(SuperviseOptions {
            program,
            args: vec![SLOT_MS.into()],
            env: vec![("HOME".into(), scratch.into())],
            stdout: File::create(&out)?,
            stderr: File::create(scratch.join("surfpool.log"))?,
            stop: Signal::Kill,
            grace: Duration::from_secs(2),
            remove_when_stopped: None,
        })?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let text = std::fs::read_to_string(&out)?;
            if text.ends_with('\n') {
                let ready: Value = serde_json::from_str(&text)?;
                let url = ready["rpc"].as_str().context("surfpool names its endpoint")?.to_owned();
                return Ok(Some(Self { url, _server: server }));
            }
            ensure!(server.try_wait()?.is_none() && Instant::now() < deadline, "surfpool does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
