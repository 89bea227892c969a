//! (m) From a block to the ledger: how long after a block was made the event `DepositDetected` of its deposit is recorded,
//! with the whole gateway in one process, looking at the chain every 100 ms.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;

use super::Plan;
use super::node::{Logged, Node};
use crate::chain::CHAIN_ID;
use crate::gateway::{ALL_ROLES, Gateway};
use crate::history::Random;
use crate::http::wait_for_signer;
use crate::latency::{Latencies, Percentiles};
use crate::sample::{AMOUNT, CHAIN, CONFIRMATIONS, CONTRACT};
use crate::server::Server;

const DEPOSITS: usize = 250;
const POLL_INTERVAL_MS: u64 = 100;
/// Between two blocks, so that they come at every moment of the pause between two looks.
const PAUSE_MS: (u64, u64) = (60, 160);
/// `sample::AMOUNT` in minor units.
const MINOR: u64 = 100_500_000;
const GAS: u64 = 100_000;
const FIRST_BLOCKS: u64 = 5;
const POLL: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(60);
const SEED: u64 = 300;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Detected {
    /// Deposits, each in a block of its own.
    pub(crate) deposits: usize,
    /// From just before the node was told to make the block, to `recorded_at` of the event.
    pub(crate) latency: Percentiles,
    /// The longest, in milliseconds.
    pub(crate) longest_ms: f64,
}

#[derive(Deserialize)]
struct Created {
    id: String,
    payment_address: String,
}

/// Measures it; `None` without anvil.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>, http: &reqwest::Client) -> Result<Option<Detected>> {
    let scratch = plan.scratch.join("detect");
    let Some(mut node) = Node::start(&scratch, CHAIN_ID, &["--no-mining"]).await? else { return Ok(None) };
    node.put_token(CONTRACT, 6).await?;
    node.mine(FIRST_BLOCKS).await?;
    let tables = format!(
        r#"[chains.{CHAIN}]
kind = "evm"
chain_id = {CHAIN_ID}
rpc = ["{}"]
poll_interval_ms = {POLL_INTERVAL_MS}
finality = {{ mode = "depth", confirmations = {CONFIRMATIONS} }}
native = {{ symbol = "ETH", decimals = 18 }}
tokens = [{{ symbol = "USDT", contract = "{CONTRACT}", decimals = 6 }}]
"#,
        node.url
    );
    let database = server.create_database("bench_detect").await?;
    let mut gateway = Gateway::launch(plan.place(&scratch), &database, &tables, ALL_ROLES).await?;
    gateway.wait_until_ready(http).await?;
    let pool = database.pool(1).await?;
    wait_for_signer(&pool).await?;
    let payments = create(&gateway, http).await?;
    let made = pay(&mut node, &payments).await?;
    let measured = recorded(&pool, &made).await;
    pool.close().await;
    gateway.stop().await?;
    server.drop_database(database).await?;
    measured.map(Some)
}

async fn create(gateway: &Gateway, http: &reqwest::Client) -> Result<Vec<Created>> {
    let mut payments = Vec::with_capacity(DEPOSITS);
    for number in 0..DEPOSITS {
        let order = json!({
            "order_id": format!("detect-{number}"), "amount": AMOUNT, "currency": "USDT", "blockchain": CHAIN,
            "expires_in": 3600,
        });
        let url = format!("{}/api/v1/payments", gateway.url);
        let answer = http.post(url).bearer_auth(&gateway.api_key).json(&order).send().await?;
        ensure!(answer.status().is_success(), "a payment is refused: {}", answer.text().await?);
        payments.push(answer.json().await?);
    }
    Ok(payments)
}

/// Pays each in a block of its own; when each block was asked for, by payment.
async fn pay(node: &mut Node, payments: &[Created]) -> Result<HashMap<String, DateTime<Utc>>> {
    let mut random = Random::new(SEED);
    let mut made = HashMap::with_capacity(payments.len());
    let (least, most) = PAUSE_MS;
    for payment in payments {
        let transfer = Logged { to: payment.payment_address.to_lowercase(), minor: MINOR };
        node.send(CONTRACT, &[vec![transfer]], GAS).await?;
        tokio::time::sleep(Duration::from_millis(least + random.below(most - least))).await;
        made.insert(payment.id.clone(), Utc::now());
        node.mine(1).await?;
    }
    Ok(made)
}

/// Waits until all of them are in the ledger. Its clock is this machine's, where the server runs here.
async fn recorded(pool: &PgPool, made: &HashMap<String, DateTime<Utc>>) -> Result<Detected> {
    let deadline = Instant::now() + WITHIN;
    let rows = loop {
        let rows = first_detections(pool).await?;
        if rows.len() >= made.len() {
            break rows;
        }
        ensure!(Instant::now() < deadline, "of {} deposits {} are detected", made.len(), rows.len());
        tokio::time::sleep(POLL).await;
    };
    let (mut latencies, mut longest) = (Latencies::default(), Duration::ZERO);
    for (payment, at) in rows {
        let made = made.get(&payment).context("a deposit of another payment was detected")?;
        let latency = at.signed_duration_since(*made).to_std().unwrap_or_default();
        longest = longest.max(latency);
        latencies.record(latency);
    }
    let deposits = latencies.count();
    let latency = latencies.percentiles().context("deposits were detected")?;
    Ok(Detected { deposits, latency, longest_ms: longest.as_secs_f64() * 1e3 })
}

async fn first_detections(pool: &PgPool) -> Result<Vec<(String, DateTime<Utc>)>> {
    let rows = sqlx::query_as(
        "SELECT aggregate_id, min(recorded_at)
         FROM events
         WHERE aggregate_type = 'payment' AND event_type = 'DepositDetected'
         GROUP BY aggregate_id",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
