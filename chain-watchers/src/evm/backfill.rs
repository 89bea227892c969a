//! Many blocks at once, for catching up: blocks in batches, logs by range.
//!
//! Nothing is believed more easily than one block at a time: every block is read and stands on the one below it, every log
//! names the hash of the block it is in, and a block without logs whose bloom filter shows some is looked into. Only the
//! number of requests is another: one for the logs of a thousand blocks, one for the blocks of some dozens.
//!
//! How much a node gives in one answer is nobody's standard. So it is found out for each endpoint: what fails is asked
//! again by halves, what succeeds lets the next ask for more. No request reaches past the head of the endpoint that is
//! asked.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use ethers::types::{H256, U64};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::error::{CallError, EvmError};
use super::transfers::{Assets, gather, transfer_topic};
use super::types::{NodeBareBlock, NodeBlock, NodeLog, NodeReceipt, hash_text};
use crate::pool::Node as _;
use crate::source::BlockData;

/// Blocks whose logs are asked for in one call, at most.
const SPAN_MAX: u64 = 2_000;
const SPAN_FIRST: u64 = 256;
/// Calls in one request, at most.
const BATCH_MAX: u64 = 128;
const BATCH_FIRST: u64 = 32;
/// Blocks in one go, at most; less when they are full, so that memory stays small.
const WINDOW_MAX: u64 = 2_048;
const WINDOW_FIRST: u64 = 256;
const WINDOW_MIN: u64 = 32;
const CANDIDATES_IN_WINDOW: u64 = 20_000;
const TRANSACTIONS_IN_BATCH: u64 = 4_000;

/// How much each endpoint gives at once, by its label.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<String, Pace>>);

#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Blocks, for logs.
    span: u64,
    /// Calls in a request.
    batch: u64,
    /// Blocks in one go.
    window: u64,
}

impl Paces {
    fn of(&self, endpoint: &Endpoint) -> Pace {
        let first = Pace { span: SPAN_FIRST, batch: BATCH_FIRST, window: WINDOW_FIRST };
        self.0.lock().map_or(first, |paces| paces.get(endpoint.label()).copied().unwrap_or(first))
    }

    fn change(&self, endpoint: &Endpoint, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.of(endpoint);
        change(&mut pace);
        if let Ok(mut paces) = self.0.lock() {
            paces.insert(endpoint.label().to_owned(), pace);
        }
    }
}

/// The next blocks above `after`, in order, none above `upto`; at least one.
pub(crate) async fn read(
    endpoint: &Endpoint,
    assets: &Assets,
    paces: &Paces,
    concurrency: usize,
    after: u64,
    upto: u64,
) -> Result<Vec<BlockData>, EvmError> {
    let first = after.saturating_add(1);
    let head: U64 = endpoint.call("eth_blockNumber", json!([])).await?;
    if head.as_u64() < first {
        return Err(endpoint.inconsistent(format!("its head is {head}, below block {first} that others have")));
    }
    let window = paces.of(endpoint).window;
    let last = upto.min(head.as_u64()).min(after.saturating_add(window));
    // Up to a fork blocks are looked at in one way, above it in another.
    let last = assets.native_logged_from().filter(|from| first < *from).map_or(last, |from| last.min(from - 1));
    let (blocks, logs) = futures::future::try_join(
        read_blocks(endpoint, paces, concurrency, assets.native_value(first).is_some(), first, last),
        read_logs(endpoint, assets, paces, concurrency, first, last),
    )
    .await?;
    let logs = by_block(endpoint, &blocks, logs)?;
    let gathered = blocks.iter().zip(&logs).map(|(block, logs)| to_data(endpoint, assets, block, logs));
    let gathered: Vec<_> = gathered.collect();
    let read: Vec<BlockData> = stream::iter(gathered).buffered(concurrency).try_collect().await?;
    let found: usize = read.iter().map(|block| block.candidates.len()).sum();
    paces.change(endpoint, |pace| {
        let found = u64::try_from(found).unwrap_or(u64::MAX).max(1);
        let fitting = CANDIDATES_IN_WINDOW.saturating_mul(window) / found;
        pace.window = fitting.min(window.saturating_mul(2)).clamp(WINDOW_MIN, WINDOW_MAX);
    });
    Ok(read)
}

async fn to_data(
    endpoint: &Endpoint,
    assets: &Assets,
    block: &NodeBlock,
    logs: &[NodeLog],
) -> Result<BlockData, EvmError> {
    let header = block.to_header().ok_or_else(|| endpoint.inconsistent("a block's time is out of range"))?;
    Ok(BlockData { header, candidates: gather(endpoint, assets, block, logs).await? })
}

/// A block with the hashes of its transactions.
pub(crate) async fn bare_block(endpoint: &Endpoint, height: u64) -> Result<Option<NodeBlock>, EvmError> {
    let block: Option<NodeBareBlock> = endpoint.call("eth_getBlockByNumber", json!([U64::from(height), false])).await?;
    let block = block.map(NodeBlock::from);
    match block {
        Some(block) if block.number.as_u64() != height => Err(another(endpoint, height, &block)),
        block => Ok(block),
    }
}

fn another(endpoint: &Endpoint, height: u64, block: &NodeBlock) -> EvmError {
    endpoint.inconsistent(format!("asked for block {height}, got {}", block.number))
}

/// The blocks between two heights, both included, each standing on the one before.
async fn read_blocks(
    endpoint: &Endpoint,
    paces: &Paces,
    concurrency: usize,
    full: bool,
    first: u64,
    last: u64,
) -> Result<Vec<NodeBlock>, EvmError> {
    let calls: Vec<Value> = (first..=last).map(|height| json!([U64::from(height), full])).collect();
    let blocks: Vec<Option<NodeBlock>> = if full {
        batched(endpoint, paces, concurrency, "eth_getBlockByNumber", &calls).await?
    } else {
        let bare: Vec<Option<NodeBareBlock>> =
            batched(endpoint, paces, concurrency, "eth_getBlockByNumber", &calls).await?;
        bare.into_iter().map(|block| block.map(NodeBlock::from)).collect()
    };
    let mut read: Vec<NodeBlock> = Vec::with_capacity(blocks.len());
    let mut transactions: usize = 0;
    for (height, block) in (first..).zip(blocks) {
        let missing = || endpoint.inconsistent(format!("it has no block {height}, which is below its head"));
        let block = block.ok_or_else(missing)?;
        if block.number.as_u64() != height {
            return Err(another(endpoint, height, &block));
        }
        if read.last().is_some_and(|below| below.hash != block.parent_hash) {
            return Err(endpoint.inconsistent(format!("block {height} does not stand on the block below it")));
        }
        transactions = transactions.saturating_add(block.transactions.len());
        read.push(block);
    }
    if full {
        let mean = u64::try_from(transactions / read.len().max(1)).unwrap_or(u64::MAX).max(1);
        paces.change(endpoint, |pace| pace.batch = pace.batch.min((TRANSACTIONS_IN_BATCH / mean).max(1)));
    }
    Ok(read)
}

/// The transfers' logs between two heights, both included, in no order.
async fn read_logs(
    endpoint: &Endpoint,
    assets: &Assets,
    paces: &Paces,
    concurrency: usize,
    first: u64,
    last: u64,
) -> Result<Vec<NodeLog>, EvmError> {
    if assets.contracts(first).is_empty() {
        return Ok(Vec::new());
    }
    let span = paces.of(endpoint).span.max(1);
    let step = usize::try_from(span).unwrap_or(usize::MAX);
    let spans: Vec<_> =
        (first..=last).step_by(step).map(|from| (from, last.min(from.saturating_add(span - 1)))).collect();
    let reads: Vec<_> = spans.into_iter().map(|(from, to)| read_span(endpoint, assets, paces, from, to)).collect();
    let logs: Vec<Vec<NodeLog>> = stream::iter(reads).buffered(concurrency).try_collect().await?;
    Ok(logs.into_iter().flatten().collect())
}

/// One span, by halves if the endpoint does not give it as a whole.
async fn read_span(
    endpoint: &Endpoint,
    assets: &Assets,
    paces: &Paces,
    from: u64,
    to: u64,
) -> Result<Vec<NodeLog>, EvmError> {
    let mut logs = Vec::new();
    // The next span lies on top.
    let mut waiting = vec![(from, to)];
    while let Some((from, to)) = waiting.pop() {
        let filter = json!([{
            "fromBlock": U64::from(from), "toBlock": U64::from(to),
            "address": assets.contracts(from), "topics": [transfer_topic()],
        }]);
        let blocks = to.saturating_sub(from).saturating_add(1);
        match endpoint.call::<_, Vec<NodeLog>>("eth_getLogs", filter).await {
            Ok(mut found) => {
                logs.append(&mut found);
                paces.change(endpoint, |pace| {
                    if blocks >= pace.span {
                        pace.span = pace.span.saturating_mul(2).min(SPAN_MAX);
                    }
                });
            }
            Err(error) if blocks > 1 && asks_for_less(&error) => {
                let middle = from.saturating_add(blocks / 2);
                tracing::debug!(endpoint = endpoint.label(), from, to, %error, "asking for the logs by halves");
                paces.change(endpoint, |pace| pace.span = pace.span.min(blocks / 2).max(1));
                waiting.push((middle, to));
                waiting.push((from, middle - 1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(logs)
}

/// Whether a smaller question may be answered where this one was not: the words for "too much" are each provider's own,
/// so everything counts but contradictions, dead
/// connections and the wish for a pause.
fn asks_for_less(error: &EvmError) -> bool {
    match error {
        EvmError::Call(CallError::Transport { source, .. }) => source.is_timeout(),
        EvmError::Call(error) if error.is_not_asked() => false,
        EvmError::Call(CallError::Unauthorized { .. }) => false,
        EvmError::Call(_) => true,
        _ => false,
    }
}

/// The logs of each block, in the order of the blocks. A log in another block than its height's, taken back, or given
/// twice is an error.
fn by_block(endpoint: &Endpoint, blocks: &[NodeBlock], logs: Vec<NodeLog>) -> Result<Vec<Vec<NodeLog>>, EvmError> {
    let places: HashMap<H256, usize> = blocks.iter().enumerate().map(|(place, block)| (block.hash, place)).collect();
    let mut sorted = vec![Vec::new(); blocks.len()];
    let mut given = HashSet::with_capacity(logs.len());
    for log in logs.into_iter() {
        let place = log.block_hash.and_then(|hash| places.get(&hash)).filter(|_| log.removed != Some(true));
        let Some(of_block) = place.and_then(|place| sorted.get_mut(*place)) else {
            let hash = log.block_hash.map(hash_text).unwrap_or_default();
            return Err(
                endpoint.inconsistent(format!("a log belongs to block {hash}, which is none of those asked for"))
            );
        };
        if !given.insert((log.block_hash, log.log_index)) {
            return Err(endpoint.inconsistent("a log is given twice"));
        }
        of_block.push(log);
    }
    for of_block in &mut sorted {
        of_block.sort_by_key(|log| log.log_index);
    }
    Ok(sorted)
}

/// The receipts of transactions, each given with its block.
pub(crate) async fn receipts(
    endpoint: &Endpoint,
    paces: &Paces,
    concurrency: usize,
    wanted: &[(H256, H256)],
) -> Result<Vec<NodeReceipt>, EvmError> {
    if let [(transaction, block)] = wanted {
        return Ok(vec![endpoint.receipt(*transaction, *block).await?]);
    }
    let calls: Vec<Value> = wanted.iter().map(|(transaction, _)| json!([transaction])).collect();
    let receipts: Vec<Option<NodeReceipt>> =
        batched(endpoint, paces, concurrency, "eth_getTransactionReceipt", &calls).await?;
    let checked = wanted.iter().zip(receipts).map(|((transaction, block), receipt)| match receipt {
        None => Err(endpoint.inconsistent(format!("no receipt of transaction {}", hash_text(*transaction)))),
        Some(receipt) if receipt.transaction_hash != *transaction || receipt.block_hash != *block => Err(endpoint
            .inconsistent(format!("the receipt of transaction {} is of another block", hash_text(*transaction)))),
        Some(receipt) => Ok(receipt),
    });
    checked.collect()
}

/// Many calls of one method, several requests at a time, as many calls in each as the endpoint takes. Results are in the
/// order of the calls.
pub(crate) async fn batched<R>(
    endpoint: &Endpoint,
    paces: &Paces,
    concurrency: usize,
    method: &str,
    calls: &[Value],
) -> Result<Vec<R>, EvmError>
where
    R: Serialize + DeserializeOwned + std::fmt::Debug + Send,
{
    let size = usize::try_from(paces.of(endpoint).batch.max(1)).unwrap_or(1);
    let reads: Vec<_> = calls.chunks(size).map(|chunk| batch(endpoint, paces, method, chunk)).collect();
    let results: Vec<Vec<R>> = stream::iter(reads).buffered(concurrency).try_collect().await?;
    Ok(results.into_iter().flatten().collect())
}

/// One request, by halves if the endpoint does not answer it as a whole, and at last without a batch.
async fn batch<R>(endpoint: &Endpoint, paces: &Paces, method: &str, calls: &[Value]) -> Result<Vec<R>, EvmError>
where
    R: Serialize + DeserializeOwned + std::fmt::Debug + Send,
{
    let mut results = Vec::with_capacity(calls.len());
    // The next one lies on top.
    let mut waiting = vec![calls];
    while let Some(calls) = waiting.pop() {
        if let [call] = calls {
            results.push(endpoint.call(method, call).await?);
            continue;
        }
        let answers = endpoint
            .batch(method, calls)
            .await
            .and_then(|answers| answers.into_iter().collect::<Result<Vec<R>, _>>().map_err(EvmError::Call));
        let count = u64::try_from(calls.len()).unwrap_or(u64::MAX);
        match answers {
            Ok(mut answers) => {
                results.append(&mut answers);
                paces.change(endpoint, |pace| {
                    if count >= pace.batch {
                        pace.batch = pace.batch.saturating_mul(2).min(BATCH_MAX);
                    }
                });
            }
            Err(error) if asks_for_less(&error) => {
                let (left, right) = calls.split_at(calls.len() / 2);
                tracing::debug!(endpoint = endpoint.label(), method, count, %error, "asking by halves");
                paces.change(endpoint, |pace| pace.batch = pace.batch.min(count / 2).max(1));
                waiting.push(right);
                waiting.push(left);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}
