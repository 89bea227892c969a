//! An anvil that makes blocks when it is told to, full of token transfers.
//!
//! Transfers come from a contract that does nothing but log them, many in a transaction, so that a node on the same
//! machine can make twenty thousand blocks of them. To who reads the chain they are transfers like any other.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wopay_private_services::{Signal, SuperviseOptions, Supervised, free_port};

use crate::chain::{find_anvil, rpc};

const READY_WITHIN: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
/// Hexadecimal, of `keccak256("Transfer(address,address,uint256)")`.
const TRANSFER_TOPIC: &str = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// More than the fee of anything sent here.
const GAS_PRICE: &str = "0xb2d05e00";
const MUCH_MONEY: &str = "0xffffffffffffffffffffffffffffff";
/// Calls in one request, few enough for the node's limit of a request's size.
const BATCH: usize = 200;

/// A transfer to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Receiver, `0x` and 40 hex digits in lower case.
    pub(crate) to: String,
    /// Minor units.
    pub(crate) minor: u64,
}

/// A running anvil; ends with this value.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its JSON-RPC.
    pub(crate) url: String,
    http: reqwest::Client,
    account: String,
    sent: u64,
    _server: Supervised,
}

impl Node {
    /// Starts one with these arguments besides chain id and port; `None` where there is no anvil.
    pub(crate) async fn start(scratch: &Path, chain_id: u64, args: &[&str]) -> Result<Option<Self>> {
        let Some(program) = find_anvil() else { return Ok(None) };
        std::fs::create_dir_all(scratch)?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build()?;
        let (port, chain_id) = (free_port()?.to_string(), chain_id.to_string());
        let url = format!("http://127.0.0.1:{port}");
        let log = File::create(scratch.join("anvil.log"))?;
        let always = ["--port", &port, "--chain-id", &chain_id, "--accounts", "1", "--order", "fifo", "--silent"];
        let server = Supervised::spawn(SuperviseOptions {
            program,
            args: always.iter().chain(args).map(Into::into).collect(),
            env: vec![("HOME".into(), scratch.into())],
            stdout: log.try_clone()?,
            stderr: log,
            stop: Signal::Kill,
            grace: GRACE,
            remove_when_stopped: None,
        })?;
        let deadline = Instant::now() + READY_WITHIN;
        while rpc(&http, &url, "eth_chainId", json!([])).await.is_err() {
            ensure!(Instant::now() < deadline, "anvil is not ready after {} s", READY_WITHIN.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let accounts = rpc(&http, &url, "eth_accounts", json!([])).await?;
        let account = accounts.get(0).and_then(Value::as_str).context("anvil has no account")?.to_owned();
        rpc(&http, &url, "anvil_setBalance", json!([account, MUCH_MONEY])).await?;
        Ok(Some(Self { url, http, account, sent: 0, _server: server }))
    }

    /// Calls a JSON-RPC method.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value> {
        rpc(&self.http, &self.url, method, params).await
    }

    /// Puts a token there that logs what it is told to.
    pub(crate) async fn put_token(&self, contract: &str, decimals: u8) -> Result<()> {
        self.call("anvil_setCode", json!([contract, token_code(decimals)])).await?;
        Ok(())
    }

    /// Sends transactions that log these transfers, one for each list; a block is still to be made.
    pub(crate) async fn send(&mut self, contract: &str, transactions: &[Vec<Logged>], gas: u64) -> Result<()> {
        for some in transactions.chunks(BATCH) {
            let mut calls = Vec::with_capacity(some.len());
            for transfers in some {
                let transaction = json!({
                    "from": self.account, "to": contract, "data": calldata(transfers), "nonce": hex(self.sent),
                    "gas": hex(gas), "gasPrice": GAS_PRICE,
                });
                let method = "eth_sendTransaction";
                calls.push(json!({"jsonrpc": "2.0", "id": self.sent, "method": method, "params": [transaction]}));
                self.sent += 1;
            }
            let answers: Vec<Value> = self.http.post(&self.url).json(&calls).send().await?.json().await?;
            let refused = answers.iter().find(|answer| answer.get("result").is_none());
            ensure!(answers.len() == some.len() && refused.is_none(), "anvil refuses transactions: {refused:?}");
        }
        Ok(())
    }

    /// Makes that many blocks.
    pub(crate) async fn mine(&self, blocks: u64) -> Result<()> {
        self.call("anvil_mine", json!([hex(blocks)])).await?;
        Ok(())
    }

    /// The height of the newest block.
    pub(crate) async fn height(&self) -> Result<u64> {
        let height = self.call("eth_blockNumber", json!([])).await?;
        let digits = height.as_str().and_then(|text| text.strip_prefix("0x")).context("a height is a quantity")?;
        Ok(u64::from_str_radix(digits, 16)?)
    }
}

/// Each word of the calldata holds an amount (12 bytes) and a receiver (20 bytes), as [`token_code`] reads it.
fn calldata(transfers: &[Logged]) -> String {
    let words: String =
        transfers.iter().map(|one| format!("{:024x}{}", one.minor, one.to.trim_start_matches("0x"))).collect();
    format!("0x{words}")
}

/// A contract that logs a transfer from the caller for each word of its calldata. What is shorter than a word is taken for
/// `decimals()`.
fn token_code(decimals: u8) -> String {
    let code = [
        "36602011605a57",       // calldatasize < 32: go to `decimals`
        "6000",                 // offset = 0
        "5b80358060a01c600052", // loop: word at offset; its upper 12 bytes into memory
        "73",                   // mask of an address …
        "ffffffffffffffffffffffffffffffffffffffff",
        "1633", // … applied to the word: receiver; caller: sender
        "7f",
        TRANSFER_TOPIC,
        "60206000a3",         // log it
        "602001803611600957", // offset += 32; while offset < calldatasize
        "00",
        "5b60", // decimals: return them
        &format!("{decimals:02x}"),
        "60005260206000f3",
    ];
    format!("0x{}", code.concat())
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests {
    use super::{Logged, calldata, token_code};

    #[test]
    fn a_transfer_is_a_word() {
        let to = format!("0x{}", "ab".repeat(20));
        let data = calldata(&[Logged { to: to.clone(), minor: 255 }]);
        assert_eq!(data, format!("0x{}ff{}", "0".repeat(22), "ab".repeat(20)));
    }

    /// The jumps of the code are to fixed places.
    #[test]
    fn jumps_go_to_their_destinations() {
        let code = token_code(6);
        let byte = |index: usize| &code[2 + 2 * index..4 + 2 * index];
        assert_eq!((byte(0x09), byte(0x5a)), ("5b", "5b"));
    }
}
