//! What we read of a node's answers, and no more: what a later version adds must not keep a block from being read.

use serde::Deserialize;
use serde_json::Value;
use wopay_domain::{BlockRef, Timestamp};

use crate::source::BlockHeader;

/// How sure a cluster is of what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commitment {
    /// Two thirds of the stake voted for it.
    Confirmed,
    /// 31 confirmed blocks stand on it; it is never taken back.
    Finalized,
}

impl Commitment {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Finalized => "finalized",
        }
    }
}

/// Of `getBlock`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeBlock {
    pub(super) blockhash: String,
    pub(super) previous_blockhash: String,
    /// Unix seconds.
    pub(super) block_time: Option<i64>,
    #[serde(default)]
    pub(super) transactions: Vec<NodeTransaction>,
}

/// A transaction with `transactionDetails: "accounts"`.
#[derive(Debug, Deserialize)]
pub(super) struct NodeTransaction {
    pub(super) transaction: NodeAccounts,
    pub(super) meta: Option<NodeMeta>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeAccounts {
    pub(super) signatures: Vec<String>,
    /// Also those of lookup tables, in the order of the balances.
    pub(super) account_keys: Vec<NodeAccountKey>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeAccountKey {
    pub(super) pubkey: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeMeta {
    /// `null`: it succeeded.
    pub(super) err: Option<Value>,
    #[serde(default)]
    pub(super) fee: u64,
    pub(super) pre_balances: Vec<u64>,
    pub(super) post_balances: Vec<u64>,
    pub(super) pre_token_balances: Option<Vec<NodeTokenBalance>>,
    pub(super) post_token_balances: Option<Vec<NodeTokenBalance>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeTokenBalance {
    pub(super) account_index: usize,
    pub(super) mint: String,
    pub(super) owner: Option<String>,
    pub(super) ui_token_amount: NodeTokenAmount,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeTokenAmount {
    /// Minor units.
    pub(super) amount: String,
}

/// Of `getTransaction` with `encoding: "json"`.
#[derive(Debug, Deserialize)]
pub(super) struct NodeFound {
    pub(super) slot: u64,
    transaction: NodeSigned,
    meta: Option<NodeFoundMeta>,
}

#[derive(Debug, Deserialize)]
struct NodeSigned {
    signatures: Vec<String>,
    message: NodeMessage,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeMessage {
    account_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeFoundMeta {
    #[serde(flatten)]
    balances: NodeMeta,
    loaded_addresses: Option<NodeLoaded>,
}

/// Accounts of lookup tables; they come after the message's own.
#[derive(Debug, Default, Deserialize)]
struct NodeLoaded {
    writable: Vec<String>,
    readonly: Vec<String>,
}

impl NodeFound {
    /// As a block shows it.
    pub(super) fn into_transaction(self) -> NodeTransaction {
        let (balances, loaded) = match self.meta {
            Some(meta) => (Some(meta.balances), meta.loaded_addresses.unwrap_or_default()),
            None => (None, NodeLoaded::default()),
        };
        let own = self.transaction.message.account_keys.into_iter();
        let account_keys = own.chain(loaded.writable).chain(loaded.readonly).map(|pubkey| NodeAccountKey { pubkey });
        let signatures = self.transaction.signatures;
        NodeTransaction {
            transaction: NodeAccounts { signatures, account_keys: account_keys.collect() },
            meta: balances,
        }
    }
}

impl NodeBlock {
    /// `None` without a time that can be one.
    pub(super) fn to_header(&self, slot: u64) -> Option<BlockHeader> {
        let time = Timestamp::from_timestamp(self.block_time?, 0)?;
        Some(BlockHeader {
            block: BlockRef { number: slot, hash: self.blockhash.clone(), time },
            parent_hash: self.previous_blockhash.clone(),
        })
    }
}
