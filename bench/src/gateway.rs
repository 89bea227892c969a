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
const PID_POLL: Duration = Duration::from_millis(2);
/// How much of a log an error shows.
const LOG_TAIL_CHARACTERS: usize = 2_000;
/// An endpoint for a chain that nobody watches.
const NO_ENDPOINT: &str = "http://127.0.0.1:9";
/// What `wopay serve` does by itself.
pub(crate) const ALL_ROLES: &str = "api,relay,projections,webhooks,watchers,scheduler,signer";
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
    /// When the process was started.
    pub(crate) spawned_at: Instant,
    /// Whether it watches a chain.
    pub(crate) watches: bool,
    server: Supervised,
    log: PathBuf,
    nats: PrivateNats,
    chain: Option<Chain>,
}

#[derive(Deserialize)]
struct Merchant {
    api_key: String,
}

impl Gateway {
    /// Starts every role on this database, with a merchant and a chain to watch; returns when it is ready.
    pub(crate) async fn start(place: Place<'_>, database: &Database, http: &reqwest::Client) -> Result<Self> {
        std::fs::create_dir_all(place.scratch)?;
        let chain = Chain::start(place.scratch, http).await?;
        let tables = chain_table(chain.as_ref());
        let roles = if chain.is_some() { ALL_ROLES } else { ROLES_WITHOUT_WATCHERS };
        let mut gateway = Self::launch(place, database, &tables, roles).await?;
        gateway.wait_until_ready(http).await?;
        gateway.watches = chain.is_some();
        gateway.chain = chain;
        Ok(gateway)
    }

    /// Starts these roles on this database, with these chains' tables of the configuration, and a merchant; returns when
    /// the process runs.
    pub(crate) async fn launch(place: Place<'_>, database: &Database, tables: &str, roles: &str) -> Result<Self> {
        let Place { wopay, scratch, search, nats_sync } = place;
        std::fs::create_dir_all(scratch)?;
        // As `wopay serve` starts its own.
        let options = NatsOptions { sync_interval: nats_sync, ..NatsOptions::new(scratch.join("nats"), search) };
        let nats = start_nats(options).await?;
        let nats_pid = cpu::find_below(std::process::id(), "nats-server");
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let config = write_config(scratch, &url, tables)?;
        let env = vec![
            ("WOPAY_DATABASE_URL".into(), database.url().into()),
            ("WOPAY_NATS_URL".into(), nats.url().into()),
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
        ];
        command(wopay, &config, &env, &["migrate"]).await?;
        let merchant = ["merchant", "create", "--name", "Bench", "--email", "bench@shop.example", "--json"];
        let merchant: Merchant = serde_json::from_str(&command(wopay, &config, &env, &merchant).await?)?;
        let log = scratch.join("wopay.log");
        let spawned_at = Instant::now();
        let server = spawn(wopay, &config, env, &log, &url, roles)?;
        let (pid, api_key) = (own_pid().await?, merchant.api_key);
        Ok(Self { url, api_key, pid, spawned_at, nats_pid, watches: true, server, log, nats, chain: None })
    }

    /// Waits until it is ready for work.
    pub(crate) async fn wait_until_ready(&mut self, http: &reqwest::Client) -> Result<()> {
        wait_until_ready(&mut self.server, &self.url, http, &self.log).await
    }

    /// Stops it as an operator does, then its nats-server.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { mut server, nats, chain, .. } = self;
        tokio::task::spawn_blocking(move || server.stop_blocking()).await??;
        drop(chain);
        Ok(nats.stop().await?)
    }
}

/// Brings a database to the schema of the binary that is measured.
pub(crate) async fn migrate(place: &Place<'_>, database: &Database) -> Result<()> {
    std::fs::create_dir_all(place.scratch)?;
    let config = write_config(place.scratch, NO_ENDPOINT, &chain_table(None))?;
    let env = [("WOPAY_DATABASE_URL".into(), database.url().into())];
    command(place.wopay, &config, &env, &["migrate"]).await.map(|_| ())
}

/// The chain that is watched while something else is measured.
fn chain_table(chain: Option<&Chain>) -> String {
    let rpc = chain.map_or(NO_ENDPOINT, |chain| &chain.url);
    format!(
        r#"[chains.{CHAIN}]
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
    )
}

/// The settings of a default installation; only chains and paths are ours.
fn write_config(scratch: &Path, url: &str, tables: &str) -> Result<PathBuf> {
    let listen = url.trim_start_matches("http://");
    let data_dir = scratch.display();
    let text = format!("environment = \"development\"\nlisten = \"{listen}\"\ndata_dir = \"{data_dir}\"\n\n{tables}");
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

/// The process, as soon as it is one: until then it is the shell that supervises it.
async fn own_pid() -> Result<u32> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(pid) = cpu::find_below(std::process::id(), "wopay") {
            return Ok(pid);
        }
        ensure!(Instant::now() < deadline, "the gateway is not in the process table");
        tokio::time::sleep(PID_POLL).await;
    }
}

fn spawn(
    wopay: &Path,
    config: &Path,
    env: Vec<(OsString, OsString)>,
    log: &Path,
    url: &str,
    roles: &str,
) -> Result<Supervised> {
    // A role alone would listen on a port of its own.
    let listen = url.trim_start_matches("http://");
    let args = ["--config".into(), config.into(), "serve".into(), "--roles".into(), roles.into()];
    let args: Vec<OsString> = args.into_iter().chain(["--listen".into(), listen.into()]).collect();
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
