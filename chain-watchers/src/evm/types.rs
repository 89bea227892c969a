//! What is read of a node's answers, and no more: a field that is missing or odd in something we do not need must not
//! make a block unreadable (the types of `ethers` require, for example, a signature on every transaction).

use chrono::DateTime;
use ethers::types::{Address, Bloom, Bytes, H256, U64, U256};
use serde::{Deserialize, Serialize};
use wopay_domain::BlockRef;

use crate::source::BlockHeader;

/// A block without its transactions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeHeader {
    pub(crate) number: U64,
    pub(crate) hash: H256,
    pub(crate) parent_hash: H256,
    pub(crate) timestamp: U256,
}

/// A block with its transactions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeBlock {
    pub(crate) number: U64,
    pub(crate) hash: H256,
    pub(crate) parent_hash: H256,
    pub(crate) timestamp: U256,
    #[serde(default)]
    pub(crate) logs_bloom: Option<Bloom>,
    pub(crate) transactions: Vec<NodeTransaction>,
}

/// A block with the hashes of its transactions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeBareBlock {
    number: U64,
    hash: H256,
    parent_hash: H256,
    timestamp: U256,
    #[serde(default)]
    logs_bloom: Option<Bloom>,
    transactions: Vec<H256>,
}

impl From<NodeBareBlock> for NodeBlock {
    fn from(block: NodeBareBlock) -> Self {
        let bare = |hash| NodeTransaction { hash, from: None, to: None, value: U256::zero() };
        Self {
            number: block.number,
            hash: block.hash,
            parent_hash: block.parent_hash,
            timestamp: block.timestamp,
            logs_bloom: block.logs_bloom,
            transactions: block.transactions.into_iter().map(bare).collect(),
        }
    }
}

/// A transaction inside a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeTransaction {
    pub(crate) hash: H256,
    #[serde(default)]
    pub(crate) from: Option<Address>,
    #[serde(default)]
    pub(crate) to: Option<Address>,
    #[serde(default)]
    pub(crate) value: U256,
}

/// What became of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeReceipt {
    pub(crate) transaction_hash: H256,
    pub(crate) block_hash: H256,
    #[serde(default)]
    pub(crate) status: Option<U64>,
    pub(crate) logs: Vec<NodeLog>,
}

/// A log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeLog {
    pub(crate) address: Address,
    pub(crate) topics: Vec<H256>,
    pub(crate) data: Bytes,
    #[serde(default)]
    pub(crate) block_number: Option<U64>,
    pub(crate) block_hash: Option<H256>,
    pub(crate) transaction_hash: Option<H256>,
    pub(crate) log_index: Option<U256>,
    #[serde(default)]
    pub(crate) removed: Option<bool>,
}

impl NodeHeader {
    /// As the engine knows it; `None` when the time is not one.
    pub(crate) fn to_header(&self) -> Option<BlockHeader> {
        header(self.number, self.hash, self.parent_hash, self.timestamp)
    }
}

impl NodeBlock {
    /// As the engine knows it; `None` when the time is not one.
    pub(crate) fn to_header(&self) -> Option<BlockHeader> {
        header(self.number, self.hash, self.parent_hash, self.timestamp)
    }
}

fn header(number: U64, hash: H256, parent_hash: H256, timestamp: U256) -> Option<BlockHeader> {
    let seconds = u64::try_from(timestamp).ok().and_then(|seconds| i64::try_from(seconds).ok())?;
    let time = DateTime::from_timestamp(seconds, 0)?;
    let block = BlockRef { number: number.as_u64(), hash: hash_text(hash), time };
    Some(BlockHeader { block, parent_hash: hash_text(parent_hash) })
}

/// `0x` and lower-case hex.
pub(crate) fn hash_text(hash: H256) -> String {
    format!("{hash:#x}")
}

/// `0x` and lower-case hex.
pub(crate) fn address_text(address: Address) -> String {
    format!("{address:#x}")
}

/// `None`: more than 128 bits.
pub(crate) fn minor(value: U256) -> Option<u128> {
    u128::try_from(value).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn odd_transactions_do_not_make_a_block_unreadable() {
        let block = serde_json::json!({
            "number": "0x1", "hash": H256::repeat_byte(1), "parentHash": H256::zero(), "timestamp": "0x65",
            "transactions": [
                {"hash": H256::repeat_byte(2), "type": "0x7e", "mint": "0x0"},
                {"hash": H256::repeat_byte(3), "to": null, "value": "0x0", "from": Address::zero()},
                {"hash": H256::repeat_byte(4), "to": Address::repeat_byte(5), "value": "0x7", "yParity": "0x1"},
            ],
        });
        let block: NodeBlock = serde_json::from_value(block).unwrap();
        assert_eq!(block.transactions.len(), 3);
        let header = block.to_header().unwrap();
        assert_eq!((header.block.number, header.block.time.timestamp()), (1, 0x65));
        assert_eq!(header.parent_hash, format!("0x{}", "0".repeat(64)));
    }

    #[test]
    fn times_beyond_the_calendar_are_refused() {
        let header =
            NodeHeader { number: U64::one(), hash: H256::zero(), parent_hash: H256::zero(), timestamp: U256::MAX };
        assert_eq!(header.to_header(), None);
    }
}
