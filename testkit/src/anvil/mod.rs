//! A real local EVM chain.

mod transactions;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use wopay_private_services::{Signal, SuperviseOptions, Supervised, free_port};

use crate::tools::anvil_binary;

const READY_WITHIN: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);
const CALL_WITHIN: Duration = Duration::from_secs(30);
const PORT_TRIES_MAX: usize = 5;

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// Each transaction gets a block at once.
    PerTransaction,
    /// Only when told to ([`Anvil::mine`]); helpers that return a [`Receipt`](crate::Receipt) mine one block.
    OnDemand,
    /// Every so often, in whole milliseconds.
    Every(Duration),
}

/// What chain to run.
#[derive(Debug, Clone)]
pub struct AnvilOptions {
    /// The chain's id.
    pub chain_id: u64,
    /// When blocks are made.
    pub mining: Mining,
    /// Unlocked accounts with 10,000 of native money each, derived from the well-known test mnemonic.
    pub accounts: u8,
    /// More command line arguments.
    pub extra_args: Vec<String>,
}

impl Default for AnvilOptions {
    fn default() -> Self {
        Self { chain_id: 31_337, mining: Mining::PerTransaction, accounts: 10, extra_args: Vec::new() }
    }
}

/// A running chain; dies with this value or with the test process.
#[derive(Debug)]
pub struct Anvil {
    /// `http://127.0.0.1:<port>`; a websocket on `ws://` of the same address.
    pub url: String,
    /// The unlocked accounts, `0x…` in lower case.
    pub accounts: Vec<String>,
    options: AnvilOptions,
    port: u16,
    client: reqwest::Client,
    /// `None` while it is down.
    server: Option<Supervised>,
    dir: TempDir,
}

/// Starts a chain with only its genesis block.
pub async fn anvil(options: AnvilOptions) -> Anvil {
    let dir = tempfile::Builder::new().prefix("wopay-test-anvil-").tempdir().unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(CALL_WITHIN).build().unwrap();
    let mut anvil = Anvil { url: String::new(), accounts: Vec::new(), options, port: 0, client, server: None, dir };
    for _ in 0..PORT_TRIES_MAX {
        anvil.port = free_port().unwrap();
        anvil.url = format!("http://127.0.0.1:{}", anvil.port);
        if anvil.launch().await {
            let accounts = anvil.rpc("eth_accounts", json!([])).await;
            anvil.accounts = accounts.as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_lowercase()).collect();
            return anvil;
        }
    }
    panic!("anvil did not start: {}", anvil.log());
}

impl Anvil {
    /// Calls a JSON-RPC method.
    ///
    /// # Panics
    /// The node is down or answers with an error.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        self.try_rpc(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a JSON-RPC method.
    ///
    /// # Errors
    /// What the node said, or why it could not be asked.
    pub async fn try_rpc(&self, method: &str, params: Value) -> Result<Value, String> {
        let mut body = json!({"jsonrpc": "2.0", "id": 1, "method": method});
        body["params"] = params;
        let response = self.client.post(&self.url).json(&body).send().await.map_err(|error| error.to_string())?;
        let mut answer: Value = response.json().await.map_err(|error| error.to_string())?;
        match answer.get_mut("result").map(Value::take) {
            Some(result) => Ok(result),
            None => Err(answer["error"].to_string()),
        }
    }

    /// Makes that many blocks; waiting transactions go into the first.
    pub async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// The height of the newest block.
    pub async fn height(&self) -> u64 {
        quantity(&self.rpc("eth_blockNumber", json!([])).await)
    }

    /// The hash of the block at a height, `0x…`; `None` if there is none.
    pub async fn block_hash(&self, height: u64) -> Option<String> {
        let block = self.rpc("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await;
        block["hash"].as_str().map(str::to_owned)
    }

    /// Replaces the newest `depth` blocks by as many others, without the transactions they had. The height stays, the
    /// hashes change.
    pub async fn reorg(&self, depth: u64) {
        self.rpc("anvil_reorg", json!([depth, []])).await;
    }

    /// Replaces the newest `depth` blocks; each (raw signed transaction or transaction object, offset) is put into the
    /// new block that many blocks above the fork.
    pub async fn reorg_with(&self, depth: u64, transactions: &[(Value, u64)]) {
        self.rpc("anvil_reorg", json!([depth, transactions])).await;
    }

    /// Takes the newest `depth` blocks away: the chain is shorter until it grows again.
    pub async fn rollback(&self, depth: u64) {
        self.rpc("anvil_rollback", json!([depth])).await;
    }

    /// Remembers the whole state under the id returned.
    pub async fn snapshot(&self) -> Value {
        self.rpc("evm_snapshot", json!([])).await
    }

    /// Goes back to a snapshot, which is used up.
    pub async fn revert(&self, snapshot: Value) {
        let reverted = self.rpc("evm_revert", Value::Array(vec![snapshot])).await;
        assert_eq!(reverted, Value::Bool(true), "the snapshot was not known");
    }

    /// Stops the node; the chain is kept for [`start_again`](Self::start_again).
    pub async fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            tokio::task::spawn_blocking(move || server.stop_blocking().unwrap()).await.unwrap();
        }
    }

    /// Starts the node again at the same address with the chain it had.
    pub async fn start_again(&mut self) {
        assert!(self.server.is_none(), "anvil is running");
        assert!(self.launch().await, "anvil did not start: {}", self.log());
    }

    /// Lets the node hang: connections are accepted and nothing answers.
    pub fn pause(&mut self) {
        self.server.as_mut().expect("anvil is running").signal(Signal::Stop).unwrap();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.server.as_mut().expect("anvil is running").signal(Signal::Continue).unwrap();
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("anvil.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_else(|error| error.to_string())
    }

    /// Whether it came up; it does not when the port was taken meanwhile.
    async fn launch(&mut self) -> bool {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut server = Supervised::spawn(SuperviseOptions {
            program: anvil_binary(),
            args: self.arguments().into_iter().map(Into::into).collect(),
            // It keeps states below its home.
            env: vec![("HOME".into(), self.dir.path().into())],
            stdout: log.try_clone().unwrap(),
            stderr: log,
            stop: Signal::Terminate,
            grace: GRACE,
            remove_when_stopped: None,
        })
        .unwrap();
        let deadline = Instant::now() + READY_WITHIN;
        while self.try_rpc("eth_chainId", json!([])).await != Ok(json!(format!("{:#x}", self.options.chain_id))) {
            if server.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "anvil is not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.server = Some(server);
        true
    }

    fn arguments(&self) -> Vec<String> {
        let state = self.dir.path().join("state.json");
        let mut args: Vec<String> = ["--host", "127.0.0.1", "--preserve-historical-states"].map(str::to_owned).into();
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        option("--port", self.port.to_string());
        option("--chain-id", self.options.chain_id.to_string());
        option("--accounts", self.options.accounts.to_string());
        option("--state", state.display().to_string());
        match self.options.mining {
            Mining::PerTransaction => {}
            Mining::OnDemand => args.push("--no-mining".to_owned()),
            Mining::Every(interval) => option("--block-time", format!("{:.3}", interval.as_secs_f64())),
        }
        args.extend(self.options.extra_args.iter().cloned());
        args
    }
}

impl Drop for Anvil {
    /// Waits until it is gone, or it would write into the folder that is removed next.
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take()
            && let Err(error) = server.kill_blocking()
        {
            eprintln!("{error}");
        }
    }
}

/// A JSON-RPC quantity (`0x…`) as a number.
pub(crate) fn quantity(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("not a quantity: {value}"));
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("not a quantity: {text}"))
}
