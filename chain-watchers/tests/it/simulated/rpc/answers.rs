//! The methods of a node: what its view of the chain implies, and what it makes of that when it is wrong.

use serde_json::{Value, json};
use wopay_chain_watchers::Traces;

use super::super::chain::{Block, at};
use super::super::nodes::{Faults, Nodes};
use super::super::plan::{CHAIN_ID, TOKEN, TOKEN_DECIMALS};
use super::super::random::Random;
use super::blocks::{quantity, sent, shown};

/// The code in front of the addresses whose balances one call asks for.
const PROGRAM_BYTES: usize = 0x25;
const WORD: usize = 32;
const DECIMALS: &str = "0x313ce567";
/// Blocks whose logs a node gives in one answer.
const SPAN_MAX: u64 = 24;

pub(super) type Answer = Result<Value, (i64, &'static str)>;

const UNKNOWN_BLOCK: (i64, &str) = (-32000, "unknown block");

/// One node, for one answer.
pub(super) struct Answerer<'a> {
    pub(super) nodes: &'a mut Nodes,
    pub(super) node: usize,
    pub(super) faults: Faults,
    pub(super) random: &'a mut Random,
    pub(super) traces: Traces,
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

impl Answerer<'_> {
    pub(super) fn answer(&mut self, method: &str, params: &Value) -> Answer {
        match method {
            "eth_chainId" => {
                let is_elsewhere = self.nodes.nodes[self.node].is_elsewhere;
                Ok(json!(quantity(if is_elsewhere { CHAIN_ID + 55 } else { CHAIN_ID })))
            }
            "eth_blockNumber" => Ok(json!(quantity(self.view().last().unwrap().height()))),
            "eth_getBlockByNumber" => Ok(self.block(&params[0], params[1] == json!(true))),
            "eth_getLogs" => self.logs(&params[0]),
            "eth_getTransactionReceipt" => Ok(self.receipt(params[0].as_str().unwrap())),
            "eth_getBlockReceipts" => self.receipts(params[0]["blockHash"].as_str().unwrap()),
            "eth_getCode" => Ok(json!(if params[0] == json!(TOKEN) { "0x60" } else { "0x" })),
            "eth_call" if params[0]["to"] == json!(TOKEN) && params[0]["data"] == json!(DECIMALS) => {
                Ok(json!(format!("0x{TOKEN_DECIMALS:064x}")))
            }
            "eth_call" => self.balances(params[0]["data"].as_str().unwrap(), &params[1]),
            "eth_getBalance" => Ok(json!(format!("{:#x}", self.balance(params[0].as_str().unwrap(), &params[1])?))),
            "debug_traceBlockByHash" if self.traces == Traces::Debug => {
                let block = self.known(params[0].as_str().unwrap())?;
                let mut frames: Vec<Value> = sent(&block).iter().map(super::blocks::Sent::frame).collect();
                self.lose(&mut frames);
                Ok(json!(frames))
            }
            "trace_block" if self.traces == Traces::Parity => {
                let Some(block) = self.at(number(&params[0]).unwrap()) else { return Ok(Value::Null) };
                let mut traces: Vec<Vec<Value>> = sent(&block).iter().map(|sent| sent.traces(&block)).collect();
                self.lose(&mut traces);
                Ok(json!(traces.concat()))
            }
            _ => Err((-32601, "the method does not exist or is not available")),
        }
    }

    fn view(&self) -> &[Block] {
        self.nodes.view_of(self.node).0
    }

    fn is_missing(&mut self) -> bool {
        self.random.chance(self.faults.missing)
    }

    /// Sometimes the last of a list is not there yet.
    fn lose<T>(&mut self, list: &mut Vec<T>) {
        if self.is_missing() {
            list.pop();
        }
    }

    fn at(&self, height: u64) -> Option<Block> {
        at(self.view(), height).cloned()
    }

    /// A block by its hash: of the node's chain, or one that it once made up, which it may know.
    fn known(&mut self, hash: &str) -> Result<Block, (i64, &'static str)> {
        if let Some(block) = self.view().iter().find(|block| block.hash() == hash) {
            return Ok(block.clone());
        }
        let block = if self.random.chance(50) { self.nodes.chain.known.get(hash) } else { None };
        block.cloned().ok_or(UNKNOWN_BLOCK)
    }

    fn block(&mut self, which: &Value, is_full: bool) -> Value {
        let block = match which.as_str().unwrap() {
            "latest" => self.view().last().cloned(),
            "finalized" if self.random.chance(self.faults.speechless) => None,
            "finalized" => {
                let finalized = self.nodes.view_of(self.node).1;
                self.nodes.told_final = self.nodes.told_final.max(finalized);
                self.at(finalized)
            }
            _ if self.is_missing() => None,
            _ => self.at(number(which).unwrap()),
        };
        let Some(mut block) = block else { return Value::Null };
        if which != &json!("finalized") && self.random.chance(self.faults.forged) {
            block = self.nodes.forge(&block);
        }
        self.nodes.named.entry(block.hash().to_owned()).or_default().insert(self.node);
        shown(&block, is_full)
    }

    fn logs(&mut self, filter: &Value) -> Answer {
        let blocks = match filter["blockHash"].as_str() {
            Some(hash) => vec![self.known(hash)?],
            None => {
                let (from, to) = (number(&filter["fromBlock"]).unwrap(), number(&filter["toBlock"]).unwrap());
                if to - from >= SPAN_MAX {
                    return Err((-32005, "query returned more than 10000 results"));
                }
                self.view().iter().filter(|block| (from..=to).contains(&block.height())).cloned().collect()
            }
        };
        if self.is_missing() {
            return Ok(json!([]));
        }
        let logs = blocks.iter().flat_map(sent).flat_map(|sent| sent.logs);
        let receivers = filter["topics"][2].as_array();
        let contracts = filter["address"].as_array();
        let is_asked_for = |log: &Value| {
            filter["topics"][0] == log["topics"][0]
                && contracts.is_none_or(|contracts| contracts.contains(&log["address"]))
                && receivers.is_none_or(|receivers| receivers.contains(&log["topics"][2]))
        };
        let mut logs: Vec<Value> = logs.filter(is_asked_for).collect();
        if self.random.chance(self.faults.forged)
            && let Some(log) = logs.last().cloned()
        {
            match self.random.below(3) {
                0 => logs.push(log),
                1 => logs.last_mut().unwrap()["removed"] = json!(true),
                _ => logs.last_mut().unwrap()["blockHash"] = json!(self.nodes.chain.name()),
            }
        }
        Ok(json!(logs))
    }

    fn receipt(&mut self, transaction: &str) -> Value {
        if self.is_missing() {
            return Value::Null;
        }
        let holds = |block: &&Block| block.movements.iter().any(|movement| movement.transaction == transaction);
        let mut block = self.view().iter().find(holds).cloned();
        if block.is_none() && self.random.chance(50) {
            block = self
                .nodes
                .chain
                .made_up
                .iter()
                .find_map(|hash| self.nodes.chain.known.get(hash).filter(holds))
                .cloned();
        }
        let Some(block) = block else { return Value::Null };
        let sent = sent(&block);
        let mut receipt = sent.iter().find(|sent| sent.hash == transaction).unwrap().receipt(&block);
        if self.random.chance(self.faults.forged) {
            receipt["blockHash"] = json!(self.nodes.chain.name());
        }
        receipt
    }

    fn receipts(&mut self, hash: &str) -> Answer {
        let block = self.known(hash)?;
        if self.is_missing() {
            return Ok(Value::Null);
        }
        let mut receipts: Vec<Value> = sent(&block).iter().map(|sent| sent.receipt(&block)).collect();
        self.lose(&mut receipts);
        Ok(json!(receipts))
    }

    fn balance(&mut self, address: &str, pin: &Value) -> Result<u128, (i64, &'static str)> {
        let block = self.known(pin["blockHash"].as_str().unwrap())?;
        if self.is_missing() {
            return Err((-32000, "missing trie node"));
        }
        Ok(self.nodes.chain.held(block.hash(), address, super::super::chain::Movement::is_native))
    }

    /// What the program for many balances returns: a word for each address behind it.
    fn balances(&mut self, data: &str, pin: &Value) -> Answer {
        let addresses = &data.trim_start_matches("0x")[2 * PROGRAM_BYTES..];
        let mut words = String::from("0x");
        for start in (0..addresses.len()).step_by(2 * WORD) {
            let address = format!("0x{}", &addresses[start + 24..start + 2 * WORD]);
            words.push_str(&format!("{:064x}", self.balance(&address, pin)?));
        }
        Ok(json!(words))
    }
}
