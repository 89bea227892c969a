//! The gateway as an operator runs it: the binary `wopay`, every role in one process, its NATS beside it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;
use wopay_private_services::{
    BinarySearch, NatsOptions, PrivateNats, Signal, SuperviseOptions, Supervised, SyncInterval, free_port, start_nats,
};

use crate::chain::{CHAIN_ID, Chain};
use crate::cpu;
use crate::sample::{CHAIN, CONFIRMATIONS, CONTRACT};
use crate::server::Database;

const READY_WITHIN: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// How much of a log an error shows.
const LOG_TAIL_CHARACTERS: usize = 2_000;
/// An endpoint for a chain that nobody watches.
const NO_ENDPOINT: &str = "http://127.0.0.1:9";
const ROLES_WITHOUT_WATCHERS: &str = "api,relay,projections,webhooks,scheduler,signer";

/// Where the gateway comes from and works.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    /// The binary.
    pub(crate) wopay: &'a Path,
    /// Folder for keys, logs and streams.
    pub(crate) scratch: &'a Path,
    /// Where to look for nats-server.
    pub(crate) search: BinarySearch,
    /// How often nats-server forces its files to the disk.
    pub(crate) nats_sync: SyncInterval,
}

/// A running `wopay serve`; ends with this value.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// `http://127.0.0.1:<port>`.
    pub(crate) url: String,
    /// A merchant's key.
    pub(crate) api_key: String,
    /// The process.
    pub(crate) pid: u32,
    /// Its nats-server.
    pub(crate) nats_pid: Option<u32>,
    /// Whether it watches a chain.
    pub(crate) watches: bool,
    server: Supervised,
    nats: PrivateNats,
    _chain: Option<Chain>,
}

#[derive(Deserialize)]
struct Merchant {
    api_key: String,
}

impl Gateway {
    /// Starts it on this database, with a merchant; returns when it is ready.
    pub(crate) async fn start(place: Place<'_>, database: &Database, http: &reqwest::Client) -> Result<Self> {
        let Place { wopay, scratch, search, nats_sync } = place;
        std::fs::create_dir_all(scratch)?;
        // As `wopay serve` starts its own.
        let options = NatsOptions { sync_interval: nats_sync, ..NatsOptions::new(scratch.join("nats"), search) };
        let nats = start_nats(options).await?;
        let nats_pid = cpu::find_below(std::process::id(), "nats-server");
        let chain = Chain::start(scratch, http).await?;
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let config = write_config(scratch, &url, chain.as_ref())?;
        let env = vec![
            ("WOPAY_DATABASE_URL".into(), database.url().into()),
            ("WOPAY_NATS_URL".into(), nats.url().into()),
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
        ];
        command(wopay, &config, &env, &["migrate"]).await?;
        let merchant = ["merchant", "create", "--name", "Bench", "--email", "bench@shop.example", "--json"];
        let merchant: Merchant = serde_json::from_str(&command(wopay, &config, &env, &merchant).await?)?;
        let log = scratch.join("wopay.log");
        let mut server = spawn(wopay, &config, env, &log, chain.is_some())?;
        wait_until_ready(&mut server, &url, http, &log).await?;
        let pid = cpu::find_below(std::process::id(), "wopay").context("the gateway is not in the process table")?;
        let watches = chain.is_some();
        Ok(Self { url, api_key: merchant.api_key, pid, nats_pid, watches, server, nats, _chain: chain })
    }

    /// Stops it as an operator does, then its nats-server.
    pub(crate) async fn stop(self) -> Result<()> {
        let mut server = self.server;
        tokio::task::spawn_blocking(move || server.stop_blocking()).await??;
        Ok(self.nats.stop().await?)
    }
}

/// The settings of a default installation; only chains and paths are ours.
fn write_config(scratch: &Path, url: &str, chain: Option<&Chain>) -> Result<PathBuf> {
    let listen = url.trim_start_matches("http://");
    let rpc = chain.map_or(NO_ENDPOINT, |chain| &chain.url);
    let data_dir = scratch.display();
    let text = format!(
        r#"environment = "development"
listen = "{listen}"
data_dir = "{data_dir}"

[chains.{CHAIN}]
kind = "evm"
chain_id = {CHAIN_ID}
rpc = ["{rpc}"]
finality = {{ mode = "depth", confirmations = {CONFIRMATIONS} }}
native = {{ symbol = "ETH", decimals = 18 }}

[[chains.{CHAIN}.tokens]]
symbol = "USDT"
contract = "{CONTRACT}"
decimals = 6
"#
    );
    let path = scratch.join("wopay.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Runs a command of the binary and returns what it prints.
async fn command(wopay: &Path, config: &Path, env: &[(OsString, OsString)], args: &[&str]) -> Result<String> {
    let mut command = Command::new(wopay);
    command.arg("--config").arg(config).args(args).envs(env.iter().cloned()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot run {}", wopay.display()))?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "wopay {} ended with {}: {text}{errors}", args.join(" "), output.status);
    Ok(text.into_owned())
}

fn spawn(
    wopay: &Path,
    config: &Path,
    env: Vec<(OsString, OsString)>,
    log: &Path,
    with_watchers: bool,
) -> Result<Supervised> {
    let mut args: Vec<OsString> = vec!["--config".into(), config.into(), "serve".into()];
    if !with_watchers {
        args.extend(["--roles".into(), ROLES_WITHOUT_WATCHERS.into()]);
    }
    let log = File::create(log)?;
    Ok(Supervised::spawn(SuperviseOptions {
        program: std::path::absolute(wopay)?,
        args,
        env,
        stdout: log.try_clone()?,
        stderr: log,
        stop: Signal::Terminate,
        grace: GRACE,
        remove_when_stopped: None,
    })?)
}

async fn wait_until_ready(server: &mut Supervised, url: &str, http: &reqwest::Client, log: &Path) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if is_ready(url, http).await.unwrap_or(false) {
            return Ok(());
        }
        let ended = server.try_wait()?;
        if ended.is_some() || Instant::now() >= deadline {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let skipped = text.chars().count().saturating_sub(LOG_TAIL_CHARACTERS);
            let tail: String = text.chars().skip(skipped).collect();
            bail!("wopay serve is not ready ({ended:?}): {tail}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether it is, and has its NATS: without it would be ready too, and measure something else.
async fn is_ready(url: &str, http: &reqwest::Client) -> Result<bool> {
    let answer = http.get(format!("{url}/readyz")).send().await?;
    let ready = answer.status().is_success();
    Ok(ready && !answer.text().await?.contains("not connected"))
}
