//! A local chain for the gateway to watch while it is measured, so that the watchers work as they do in production: idle
//! blocks, no deposits.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wopay_private_services::{Signal, SuperviseOptions, Supervised, free_port};

use crate::in_repository;
use crate::sample::CONTRACT;

/// The chain's id.
pub(crate) const CHAIN_ID: u64 = 31_337;

const READY_WITHIN: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
const BLOCK_SECONDS: &str = "1";
/// A contract that answers 6 to whatever it is asked, also to `decimals()`.
const ALWAYS_SIX: &str = "0x600660005260206000f3";

/// A running anvil; ends with this value.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Its JSON-RPC.
    pub(crate) url: String,
    _server: Supervised,
}

impl Chain {
    /// Starts one if anvil is to be found, with the sample's token on it.
    pub(crate) async fn start(scratch: &Path, http: &reqwest::Client) -> Result<Option<Self>> {
        let Some(program) = find_anvil() else { return Ok(None) };
        let port = free_port()?.to_string();
        let url = format!("http://127.0.0.1:{port}");
        let log = File::create(scratch.join("anvil.log"))?;
        let chain_id = CHAIN_ID.to_string();
        let args = ["--port", &port, "--chain-id", &chain_id, "--block-time", BLOCK_SECONDS, "--silent"];
        let server = Supervised::spawn(SuperviseOptions {
            program,
            args: args.map(Into::into).to_vec(),
            env: vec![("HOME".into(), scratch.into())],
            stdout: log.try_clone()?,
            stderr: log,
            stop: Signal::Terminate,
            grace: GRACE,
            remove_when_stopped: None,
        })?;
        let deadline = Instant::now() + READY_WITHIN;
        while rpc(http, &url, "eth_chainId", json!([])).await.is_err() {
            ensure!(Instant::now() < deadline, "anvil is not ready after {} s", READY_WITHIN.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rpc(http, &url, "anvil_setCode", json!([CONTRACT, ALWAYS_SIX])).await?;
        Ok(Some(Self { url, _server: server }))
    }
}

/// Calls a JSON-RPC method.
pub(crate) async fn rpc(http: &reqwest::Client, url: &str, method: &str, params: Value) -> Result<Value> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut answer: Value = http.post(url).json(&body).send().await?.json().await?;
    answer.get_mut("result").map(Value::take).with_context(|| format!("{method}: {answer}"))
}

/// Where anvil is, if it is installed.
pub(crate) fn find_anvil() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("anvil"));
    // There is a package for each platform, with the binary inside.
    let packages = std::fs::read_dir(in_repository("tools/node_modules/@foundry-rs"));
    let packages = packages.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/anvil"));
    on_path.chain(packages).find(|candidate| candidate.is_file())
}
