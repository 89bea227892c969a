//! Ponder, an indexer of EVM chains in Node.js, on the project in `bench/ponder`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::process::{Child, Command};
use wopay_private_services::free_port;

use super::backfill::Found;
use crate::chain::CHAIN_ID;
use crate::cpu;
use crate::measure::difference;
use crate::server::Server;

const SCHEMA: &str = "bench";
const POLL: Duration = Duration::from_millis(200);
const WITHIN: Duration = Duration::from_secs(3_600);
/// How the log's messages about the beginning and the end begin.
const BEGAN: &str = "Started backfill indexing";
const ENDED: &str = "Completed backfill indexing";
const LOG_TAIL_BYTES: usize = 2_000;

/// What it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Indexed {
    /// Its version.
    pub(crate) version: String,
    /// From the beginning of its backfill to the end, by its own log: without its start.
    pub(crate) seconds: f64,
    /// From the start of the process until it said that it is ready.
    pub(crate) seconds_with_start: f64,
    /// CPU time of its processes.
    pub(crate) cpu_seconds: Option<f64>,
    /// CPU time of Postgres meanwhile.
    pub(crate) postgres_seconds: Option<f64>,
    /// The most memory that its process ever had resident.
    pub(crate) peak_kib: Option<u64>,
}

/// Indexes the contract's transfers from the first block; which of them are to these addresses.
pub(crate) async fn index(
    server: &Server,
    installed: &Path,
    scratch: &Path,
    rpc: &str,
    contract: &str,
    ours: &[String],
) -> Result<(Indexed, BTreeSet<Found>)> {
    let addresses = std::path::absolute(scratch.join("addresses.json"))?;
    std::fs::write(&addresses, serde_json::to_string(ours)?)?;
    let package = std::fs::read_to_string(installed.join("node_modules/ponder/package.json"))?;
    let package: serde_json::Value = serde_json::from_str(&package)?;
    let version = package["version"].as_str().context("Ponder's package has a version")?.to_owned();
    let database = server.create_database("bench_ponder").await?;
    server.checkpoint().await?;
    let (url, postgres) = (format!("http://127.0.0.1:{}", free_port()?), server.cpu());
    let log = scratch.join("ponder.log");
    let started = Instant::now();
    let mut child = Command::new("node");
    child
        .arg("node_modules/ponder/dist/esm/bin/ponder.js")
        .args(["--log-format", "json", "start", "--schema", SCHEMA, "--hostname", "127.0.0.1", "--port"])
        .arg(url.rsplit(':').next().unwrap_or_default())
        .current_dir(installed)
        .env("DATABASE_URL", database.url())
        .env("BENCH_RPC", rpc)
        .env("BENCH_CHAIN_ID", CHAIN_ID.to_string())
        .env("BENCH_TOKEN", contract)
        .env("BENCH_ADDRESSES", &addresses)
        .env("PONDER_TELEMETRY_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = child.spawn().context("cannot run node")?;
    let pid = child.id().context("it runs")?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    wait_until_ready(&mut child, &http, &url, &log).await?;
    let seconds_with_start = started.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(&log)?;
    let indexed = Indexed {
        version,
        seconds: (logged_ms(&text, ENDED)? - logged_ms(&text, BEGAN)?) / 1e3,
        seconds_with_start,
        cpu_seconds: cpu::of_tree(pid).map(|time| time.as_secs_f64()),
        postgres_seconds: difference(postgres, server.cpu()).map(|time| time.as_secs_f64()),
        peak_kib: cpu::memory_kib(pid).map(|(_, peak)| peak),
    };
    child.kill().await?;
    let pool = database.pool(1).await?;
    let rows: Vec<Found> =
        sqlx::query_as(r#"SELECT block_hash, transaction, log_index, lower("to"), value::text FROM bench.deposit"#)
            .fetch_all(&pool)
            .await?;
    pool.close().await;
    server.drop_database(database).await?;
    Ok((indexed, rows.into_iter().collect()))
}

/// When a message was logged, in milliseconds.
fn logged_ms(log: &str, message: &str) -> Result<f64> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut said = lines.filter(|line| line["msg"].as_str().is_some_and(|text| text.starts_with(message)));
    let time = said.next().and_then(|line| line["time"].as_f64());
    time.with_context(|| format!("Ponder did not log {message:?}"))
}

/// It says that it is ready when all that is final has been indexed.
async fn wait_until_ready(child: &mut Child, http: &reqwest::Client, url: &str, log: &Path) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let ready = http.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status().is_success());
        if ready {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read(log).unwrap_or_default();
            let tail = text.get(text.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
            bail!("Ponder ended with {status}: {}", String::from_utf8_lossy(tail));
        }
        ensure!(Instant::now() < deadline, "Ponder is not ready after {} s", WITHIN.as_secs());
        tokio::time::sleep(POLL).await;
    }
}
