//! One endpoint of a chain: the calls that watching needs, each checked against what was asked.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ethers::types::{Address, H256, U64};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::RpcClient;
use super::error::{CallError, EvmError};
use super::inspect::Expected;
use super::types::{NodeBlock, NodeHeader, NodeLog, NodeReceipt, hash_text};
use crate::config::FinalityTag;
use crate::pool::{Meter, Node, Patience, Standing};
use crate::source::BlockHeader;

/// So far below its head a node has every block: one that it lacks is not just late.
const OLD_BLOCKS: u64 = 128;

/// One endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    client: Arc<RpcClient>,
    expected: Arc<Expected>,
    standing: Arc<Mutex<Standing>>,
    patience: Patience,
}

#[async_trait]
impl Node for Endpoint {
    type Failure = EvmError;

    fn label(&self) -> &str {
        self.client.endpoint()
    }

    fn standing(&self) -> &Mutex<Standing> {
        &self.standing
    }

    fn meter(&self) -> &Meter {
        self.client.meter()
    }

    async fn verify(&self) -> Result<(), EvmError> {
        self.expected.verify(self).await
    }

    async fn look_at_head(&self) -> Result<(), EvmError> {
        self.newest().await.map(|_| ())
    }
}

impl Endpoint {
    pub(crate) fn new(client: RpcClient, expected: Arc<Expected>) -> Self {
        let standing = Arc::new(Mutex::new(Standing::Unknown));
        Self { client: Arc::new(client), expected, standing, patience: Patience::Short }
    }

    /// The same endpoint for work that can wait: where it takes few calls, each waits for its turn.
    pub(crate) fn patient(&self) -> Self {
        Self { patience: Patience::Long, ..self.clone() }
    }

    /// What the configuration says.
    pub(crate) fn expected(&self) -> &Expected {
        &self.expected
    }

    pub(crate) async fn call<P, R>(&self, method: &str, params: P) -> Result<R, EvmError>
    where
        P: Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        let answered = self.client.ask_with(self.patience, method, &params).await;
        answered.map_err(|error| self.explain(method, EvmError::Call(error)))
    }

    /// Calls one method many times in one request; see [`RpcClient::batch`].
    pub(crate) async fn batch<P, R>(&self, method: &str, params: &[P]) -> Result<Vec<Result<R, CallError>>, EvmError>
    where
        P: Serialize,
        R: DeserializeOwned,
    {
        self.client.batch(self.patience, method, params).await.map_err(EvmError::Call)
    }

    /// A node that has forgotten says so in words of its own: ours name the remedy.
    fn explain(&self, method: &str, error: EvmError) -> EvmError {
        match error {
            EvmError::Call(said) if said.is_pruned() => EvmError::Pruned {
                endpoint: self.label().to_owned(),
                what: format!("what {method} asks for"),
                said: Some(Box::new(said)),
            },
            error => error,
        }
    }

    /// A node that has no block far below its own head has forgotten it, or never had it.
    fn expect_old_block(&self, height: u64) -> Result<(), EvmError> {
        let head = self.meter().head().map_or(0, |head| head.height);
        if head.saturating_sub(height) <= OLD_BLOCKS {
            return Ok(());
        }
        let what = format!("block {height}, though its head is {head}");
        Err(EvmError::Pruned { endpoint: self.label().to_owned(), what, said: None })
    }

    /// What the node says, as it may be shown.
    pub(crate) fn clean(&self, said: &str) -> String {
        self.client.clean(said)
    }

    pub(crate) fn inconsistent(&self, what: impl Into<String>) -> EvmError {
        EvmError::Inconsistent { endpoint: self.label().to_owned(), what: what.into() }
    }

    pub(crate) async fn chain_id(&self) -> Result<u64, EvmError> {
        let id: U64 = self.call("eth_chainId", json!([])).await?;
        Ok(id.as_u64())
    }

    /// The newest block.
    pub(crate) async fn newest(&self) -> Result<BlockHeader, EvmError> {
        let header = self.header("latest".into()).await?;
        let header = header.ok_or_else(|| self.inconsistent("it has no newest block"))?;
        self.meter().note_head(header.block.number, header.block.time);
        Ok(header)
    }

    /// The canonical block at a height.
    pub(crate) async fn header_at(&self, height: u64) -> Result<Option<BlockHeader>, EvmError> {
        let header = self.header(json!(U64::from(height))).await?;
        match header {
            Some(header) if header.block.number != height => {
                Err(self.inconsistent(format!("asked for block {height}, got {}", header.block.number)))
            }
            None => self.expect_old_block(height).map(|()| None),
            header => Ok(header),
        }
    }

    /// The height of a tag's block. A node without such a block says so by `null` or by an error of its own.
    pub(crate) async fn tagged_height(&self, tag: FinalityTag) -> Result<Option<u64>, EvmError> {
        match self.header(tag.as_str().into()).await {
            Ok(header) => Ok(header.map(|header| header.block.number)),
            Err(error) if error.is_answer() => {
                tracing::warn!(endpoint = self.label(), tag = tag.as_str(), %error, "the node gives no block for the tag");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The canonical block at a height, with its transactions: one answer, so one block.
    pub(crate) async fn block_at(&self, height: u64) -> Result<Option<NodeBlock>, EvmError> {
        let block: Option<NodeBlock> = self.call("eth_getBlockByNumber", json!([U64::from(height), true])).await?;
        match block {
            Some(block) => self.expect_block(height, block).map(Some),
            None => self.expect_old_block(height).map(|()| None),
        }
    }

    /// The block, if it is of that height and none of its transactions is given twice.
    pub(crate) fn expect_block(&self, height: u64, block: NodeBlock) -> Result<NodeBlock, EvmError> {
        if block.number.as_u64() != height {
            return Err(self.inconsistent(format!("asked for block {height}, got {}", block.number)));
        }
        let mut hashes = HashSet::with_capacity(block.transactions.len());
        if !block.transactions.iter().all(|transaction| hashes.insert(transaction.hash)) {
            return Err(self.inconsistent(format!("a transaction of block {height} is given twice")));
        }
        Ok(block)
    }

    /// The logs of exactly that block. Logs of another block, taken back, or given twice are an error.
    pub(crate) async fn logs(&self, block: H256, contracts: &[Address], topic: H256) -> Result<Vec<NodeLog>, EvmError> {
        let filter = json!([{"blockHash": block, "address": contracts, "topics": [topic]}]);
        let logs: Vec<NodeLog> = self.call("eth_getLogs", filter).await?;
        if logs.iter().any(|log| log.removed == Some(true) || log.block_hash != Some(block)) {
            return Err(self.inconsistent(format!("logs of {} belong to another block", hash_text(block))));
        }
        let mut indexes = HashSet::with_capacity(logs.len());
        if !logs.iter().all(|log| indexes.insert(log.log_index)) {
            return Err(self.inconsistent(format!("a log of {} is given twice", hash_text(block))));
        }
        Ok(logs)
    }

    /// What became of a transaction that stands in that block.
    pub(crate) async fn receipt(&self, transaction: H256, block: H256) -> Result<NodeReceipt, EvmError> {
        let receipt: Option<NodeReceipt> = self.call("eth_getTransactionReceipt", json!([transaction])).await?;
        let text = hash_text(transaction);
        match receipt {
            None => Err(self.inconsistent(format!("no receipt of transaction {text}"))),
            Some(receipt) if receipt.transaction_hash != transaction || receipt.block_hash != block => {
                Err(self.inconsistent(format!("the receipt of transaction {text} is of another block")))
            }
            Some(receipt) => Ok(receipt),
        }
    }

    /// All receipts of a block, in one call or, where the node does not know it, one by one.
    pub(crate) async fn receipts(&self, block: &NodeBlock) -> Result<Vec<NodeReceipt>, EvmError> {
        let mut all: Result<Option<Vec<NodeReceipt>>, _> =
            self.call("eth_getBlockReceipts", json!([{"blockHash": block.hash}])).await;
        // Some nodes know a block's hash as text only.
        if all.as_ref().is_err_and(EvmError::is_invalid_request) {
            all = self.call("eth_getBlockReceipts", json!([block.hash])).await;
        }
        match all {
            Ok(Some(receipts)) if receipts.iter().all(|receipt| receipt.block_hash == block.hash) => Ok(receipts),
            Ok(_) => Err(self.inconsistent(format!("no receipts of block {}", hash_text(block.hash)))),
            Err(error) if error.is_answer() => {
                let mut receipts = Vec::with_capacity(block.transactions.len());
                for transaction in &block.transactions {
                    receipts.push(self.receipt(transaction.hash, block.hash).await?);
                }
                Ok(receipts)
            }
            Err(error) => Err(error),
        }
    }

    async fn header(&self, which: Value) -> Result<Option<BlockHeader>, EvmError> {
        let header: Option<NodeHeader> = self.call("eth_getBlockByNumber", json!([which, false])).await?;
        header
            .map(|header| header.to_header().ok_or_else(|| self.inconsistent("a block's time is out of range")))
            .transpose()
    }
}
