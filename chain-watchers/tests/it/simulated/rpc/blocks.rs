//! A simulated block as a node shows it: transactions, receipts, logs, the bloom filter over them, traces.

use ethers::abi::ethereum_types::BloomInput;
use ethers::types::{Address, Bloom, H256};
use serde_json::{Value, json};
use wopay_domain::DepositLeg;

use super::super::chain::{Block, Movement};
use super::super::plan::TOKEN;

const SENDER: &str = "0x00000000000000000000000000000000005e17d5";
/// Sends on what it is sent.
const CONTRACT: &str = "0x00000000000000000000000000000000c0117ac7";
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
const APPROVAL: &str = "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c03f7b9891e5f0e6d6f8d3f9c2";

/// A transaction in its block.
pub(super) struct Sent<'a> {
    pub(super) hash: &'a str,
    pub(super) movements: Vec<&'a Movement>,
    pub(super) logs: Vec<Value>,
}

pub(super) fn quantity(value: u64) -> String {
    format!("{value:#x}")
}

fn word(value: &str) -> String {
    format!("0x{:0>64}", value.trim_start_matches("0x"))
}

/// The transactions of a block, in order.
pub(super) fn sent(block: &Block) -> Vec<Sent<'_>> {
    let mut all: Vec<Sent<'_>> = Vec::new();
    for movement in &block.movements {
        match all.iter_mut().find(|sent| sent.hash == movement.transaction) {
            Some(sent) => sent.movements.push(movement),
            None => all.push(Sent { hash: &movement.transaction, movements: vec![movement], logs: Vec::new() }),
        }
    }
    let mut index = 0;
    for sent in &mut all {
        sent.logs = logs(block, sent, &mut index);
    }
    all
}

/// The logs of a transaction: those of its transfers where these say, something else in between.
fn logs(block: &Block, sent: &Sent<'_>, index: &mut u64) -> Vec<Value> {
    let of_ordinal = |movement: &&Movement| match movement.leg {
        DepositLeg::Log(ordinal) if movement.succeeded => Some(ordinal),
        _ => None,
    };
    let count = sent.movements.iter().filter_map(of_ordinal).max().map_or(0, |last| last + 1);
    let log = |ordinal: u32| {
        let transfer = sent.movements.iter().find(|movement| of_ordinal(movement) == Some(ordinal));
        // So many of one token would be too many.
        let stray = transfer.map_or_else(String::new, |transfer| format!("0x57a7{:036x}", transfer.minor));
        let (address, topic, to, minor) = match transfer {
            Some(transfer) if transfer.is_stray() => (stray.as_str(), TRANSFER, transfer.to.as_str(), transfer.minor),
            Some(transfer) => (TOKEN, TRANSFER, transfer.to.as_str(), transfer.minor),
            None => (CONTRACT, APPROVAL, SENDER, 1),
        };
        let log = json!({
            "address": address, "topics": [topic, word(SENDER), word(to)], "data": word(&quantity(minor)),
            "blockHash": block.hash(), "blockNumber": quantity(block.height()), "transactionHash": sent.hash,
            "logIndex": quantity(*index), "removed": false,
        });
        *index += 1;
        log
    };
    (0..count).map(log).collect()
}

impl Sent<'_> {
    fn succeeded(&self) -> bool {
        self.movements.iter().all(|movement| movement.succeeded)
    }

    /// Receiver and value.
    fn top(&self) -> (&str, u64) {
        let with_value = self.movements.iter().find(|movement| movement.is_native() && !movement.is_unseen());
        match with_value {
            Some(Movement { leg: DepositLeg::Native, to, minor, .. }) => (to, *minor),
            Some(movement) => (CONTRACT, movement.minor),
            None => (TOKEN, 0),
        }
    }

    pub(super) fn full(&self) -> Value {
        let (to, value) = self.top();
        json!({"hash": self.hash, "from": SENDER, "to": to, "value": quantity(value)})
    }

    pub(super) fn receipt(&self, block: &Block) -> Value {
        let status = quantity(u64::from(self.succeeded()));
        json!({"transactionHash": self.hash, "blockHash": block.hash(), "status": status, "logs": self.logs})
    }

    /// What the contract sends on.
    fn inner(&self) -> impl Iterator<Item = &&Movement> {
        let is_inner = |movement: &&&Movement| matches!(&movement.leg, DepositLeg::Trace(path) if path == "0");
        self.movements.iter().filter(is_inner)
    }

    /// As geth's tracer shows it.
    pub(super) fn frame(&self) -> Value {
        let call = |from: &str, to: &str, value: u64| json!({"type": "CALL", "from": from, "to": to, "value": quantity(value)});
        let (to, value) = self.top();
        let mut frame = call(SENDER, to, value);
        frame["calls"] = self.inner().map(|inner| call(CONTRACT, &inner.to, inner.minor)).collect();
        if !self.succeeded() {
            frame["error"] = json!("execution reverted");
        }
        json!({"txHash": self.hash, "result": frame})
    }

    /// As Parity's does.
    pub(super) fn traces(&self, block: &Block) -> Vec<Value> {
        let trace = |from: &str, to: &str, value: u64, path: Vec<u32>| {
            json!({
                "type": "call", "action": {"callType": "call", "from": from, "to": to, "value": quantity(value)},
                "blockHash": block.hash(), "transactionHash": self.hash, "traceAddress": path,
            })
        };
        let (to, value) = self.top();
        let mut top = trace(SENDER, to, value, Vec::new());
        if !self.succeeded() {
            top["error"] = json!("Reverted");
        }
        let inner = self.inner().map(|inner| trace(CONTRACT, &inner.to, inner.minor, vec![0]));
        std::iter::once(top).chain(inner).collect()
    }
}

/// A block, with its transactions or with their hashes.
pub(super) fn shown(block: &Block, is_full: bool) -> Value {
    let sent = sent(block);
    let transactions: Vec<Value> =
        sent.iter().map(|sent| if is_full { sent.full() } else { json!(sent.hash) }).collect();
    json!({
        "number": quantity(block.height()), "hash": block.hash(), "parentHash": block.header.parent_hash,
        "timestamp": quantity(u64::try_from(block.header.block.time.timestamp()).unwrap()),
        "logsBloom": bloom(sent.iter().flat_map(|sent| &sent.logs)), "transactions": transactions,
    })
}

fn bloom<'a>(logs: impl Iterator<Item = &'a Value>) -> Bloom {
    let mut bloom = Bloom::default();
    for log in logs {
        let address: Address = serde_json::from_value(log["address"].clone()).unwrap();
        let topics: Vec<H256> = serde_json::from_value(log["topics"].clone()).unwrap();
        bloom.accrue(BloomInput::Raw(address.as_bytes()));
        for topic in &topics {
            bloom.accrue(BloomInput::Raw(topic.as_bytes()));
        }
    }
    bloom
}
