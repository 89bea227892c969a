//! Many blocks at once, for catching up: blocks in batches, logs by range.
//!
//! Nothing is believed more easily than one block at a time: every block is read and stands on the one below it, every log
//! names the hash of the block it is in, and a block without logs whose bloom filter shows some is looked into. Only the
//! number of requests is another: one for the logs of a thousand blocks, one for the blocks of some dozens.
//!
//! How much a node gives in one answer is nobody's standard. So it is found out for each endpoint: what fails is asked
//! again by halves, what succeeds lets the next ask for more. No request reaches past the head of the endpoint that is
//! asked. Where a provider takes few calls a second, a request holds no more of them than that, each waits for its turn, and
//! what was read before the provider took no more is kept.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Mutex;

use ethers::types::{H256, U64};
use futures::{Stream, StreamExt as _, stream};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::error::{CallError, EvmError};
use super::transfers::{Assets, gather, transfer_topic};
use super::types::{NodeBareBlock, NodeBlock, NodeLog, NodeReceipt, hash_text};
use crate::pool::{Failure as _, Node as _};
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
/// Blocks in one go are at most the calls that the endpoint takes in so many seconds: the head is looked at in between.
const SECONDS_IN_WINDOW: u32 = 10;
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
    /// No more than the endpoint takes: in a request the calls of a second, in one go those of some seconds.
    fn of(&self, endpoint: &Endpoint) -> Pace {
        let mut pace = self.noted(endpoint);
        pace.batch = pace.batch.min(at_once(endpoint));
        pace.window = pace.window.min(endpoint.meter().calls_in(SECONDS_IN_WINDOW).unwrap_or(u64::MAX));
        pace
    }

    fn noted(&self, endpoint: &Endpoint) -> Pace {
        let first = Pace { span: SPAN_FIRST, batch: BATCH_FIRST, window: WINDOW_FIRST };
        self.0.lock().map_or(first, |paces| paces.get(endpoint.label()).copied().unwrap_or(first))
    }

    fn change(&self, endpoint: &Endpoint, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.noted(endpoint);
        change(&mut pace);
        if let Ok(mut paces) = self.0.lock() {
            paces.insert(endpoint.label().to_owned(), pace);
        }
    }
}

/// Calls in one request, at most, as the endpoint's rate is now.
fn at_once(endpoint: &Endpoint) -> u64 {
    endpoint.meter().calls_in(1).unwrap_or(u64::MAX)
}

/// The next blocks above `after`, in order, none above `upto`; at least one. Where the endpoint takes few calls, each waits
/// for its turn, and what was read before it takes no more is not read again.
pub(crate) async fn read(
    endpoint: &Endpoint,
    assets: &Assets,
    paces: &Paces,
    concurrency: usize,
    after: u64,
    upto: u64,
) -> Result<Vec<BlockData>, EvmError> {
    let endpoint = &endpoint.patient();
    let first = after.saturating_add(1);
    let head: U64 = endpoint.call("eth_blockNumber", json!([])).await?;
    if head.as_u64() < first {
        return Err(endpoint.inconsistent(format!("its head is {head}, below block {first} that others have")));
    }
    let window = paces.of(endpoint).window;
    let last = upto.min(head.as_u64()).min(after.saturating_add(window));
    // Up to a fork blocks are looked at in one way, above it in another.
    let last = assets.native_logged_from().filter(|from| first < *from).map_or(last, |from| last.min(from - 1));
    let (mut blocks, logs) = futures::future::try_join(
        read_blocks(endpoint, paces, concurrency, assets.native_value(first).is_some(), first, last),
        read_logs(endpoint, assets, paces, concurrency, first, last),
    )
    .await?;
    let whole = usize::try_from(logs.upto.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
    blocks.read.truncate(whole);
    let logs_sorted = by_block(endpoint, &blocks.read, logs.read)?;
    let gathered = blocks.read.iter().zip(&logs_sorted).map(|(block, logs)| to_data(endpoint, assets, block, logs));
    let gathered: Vec<_> = gathered.collect();
    let data = in_order(stream::iter(gathered).buffered(concurrency)).await?;
    let stopped = blocks.stopped.or(logs.stopped).or(data.stopped);
    paces.change(endpoint, |pace| pace.window = next_window(window, &data.read, stopped.is_some()));
    match stopped {
        Some(failure) if data.read.is_empty() => Err(failure),
        Some(failure) => {
            let (endpoint, blocks) = (endpoint.label(), data.read.len());
            tracing::debug!(endpoint, blocks, %failure, "going on with what was read");
            Ok(data.read)
        }
        None => Ok(data.read),
    }
}

/// How many blocks to ask for next, after so many were asked for and these were read.
fn next_window(window: u64, read: &[BlockData], was_stopped: bool) -> u64 {
    let found: usize = read.iter().map(|block| block.candidates.len()).sum();
    let found = u64::try_from(found).unwrap_or(u64::MAX).max(1);
    let fitting = CANDIDATES_IN_WINDOW.saturating_mul(window) / found;
    let wanted = if was_stopped { window / 2 } else { window.saturating_mul(2) };
    fitting.min(wanted).clamp(WINDOW_MIN, WINDOW_MAX)
}

/// What was read in order, before the endpoint wanted to be asked no more (or could not trace a block).
struct Begun<T> {
    read: Vec<T>,
    stopped: Option<EvmError>,
}

/// The logs of all blocks up to a height.
struct BegunLogs {
    read: Vec<NodeLog>,
    upto: u64,
    stopped: Option<EvmError>,
}

/// What comes before the first call that the endpoint did not take, or the first block that it cannot trace. All other failures are failures of the whole.
async fn in_order<T>(results: impl Stream<Item = Result<T, EvmError>>) -> Result<Begun<T>, EvmError> {
    let mut results = pin!(results);
    let mut read = Vec::new();
    while let Some(result) = results.next().await {
        match result {
            Ok(item) => read.push(item),
            Err(failure) if failure.is_not_asked() || matches!(failure, EvmError::Untraced { .. }) => {
                return Ok(Begun { read, stopped: Some(failure) });
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Begun { read, stopped: None })
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
    block.map(|block| endpoint.expect_block(height, block.into())).transpose()
}

/// The blocks between two heights, both included, each standing on the one before.
async fn read_blocks(
    endpoint: &Endpoint,
    paces: &Paces,
    concurrency: usize,
    full: bool,
    first: u64,
    last: u64,
) -> Result<Begun<NodeBlock>, EvmError> {
    let calls: Vec<Value> = (first..=last).map(|height| json!([U64::from(height), full])).collect();
    let Begun { read: blocks, stopped } = if full {
        begun(endpoint, paces, concurrency, "eth_getBlockByNumber", &calls).await?
    } else {
        let bare: Begun<Option<NodeBareBlock>> =
            begun(endpoint, paces, concurrency, "eth_getBlockByNumber", &calls).await?;
        let read = bare.read.into_iter().map(|block| block.map(NodeBlock::from)).collect();
        Begun { read, stopped: bare.stopped }
    };
    let mut read: Vec<NodeBlock> = Vec::with_capacity(blocks.len());
    let mut transactions: usize = 0;
    for (height, block) in (first..).zip(blocks) {
        let missing = || endpoint.inconsistent(format!("it has no block {height}, which is below its head"));
        let block = endpoint.expect_block(height, block.ok_or_else(missing)?)?;
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
    Ok(Begun { read, stopped })
}

/// The transfers' logs between two heights, both included, in no order.
async fn read_logs(
    endpoint: &Endpoint,
    assets: &Assets,
    paces: &Paces,
    concurrency: usize,
    first: u64,
    last: u64,
) -> Result<BegunLogs, EvmError> {
    if assets.contracts(first).is_empty() {
        return Ok(BegunLogs { read: Vec::new(), upto: last, stopped: None });
    }
    let span = span(endpoint, paces);
    let step = usize::try_from(span).unwrap_or(usize::MAX);
    let spans: Vec<_> =
        (first..=last).step_by(step).map(|from| (from, last.min(from.saturating_add(span - 1)))).collect();
    let read = async |from, to| {
        let mut logs = Vec::new();
        let filter = |from| json!({"address": assets.contracts(from), "topics": [transfer_topic()]});
        read_span(endpoint, paces, (from, to), filter, asks_for_less, |found| {
            logs.extend(found);
            Ok(())
        })
        .await
        .map(|()| logs)
    };
    let reads: Vec<_> = spans.iter().map(|(from, to)| read(*from, *to)).collect();
    let logs = in_order(stream::iter(reads).buffered(concurrency)).await?;
    let upto = spans.get(..logs.read.len()).and_then(<[_]>::last).map_or(first.saturating_sub(1), |(_, to)| *to);
    Ok(BegunLogs { read: logs.read.into_iter().flatten().collect(), upto, stopped: logs.stopped })
}

/// Blocks whose logs that endpoint is asked for in one call now.
pub(crate) fn span(endpoint: &Endpoint, paces: &Paces) -> u64 {
    paces.of(endpoint).span.max(1)
}

/// The logs of one span, by halves if the endpoint does not give it as a whole; which failures are taken for that, is the
/// caller's to say. `filter`: address and topics for blocks from that height on. What was found is given to `take`, part
/// by part.
pub(crate) async fn read_span(
    endpoint: &Endpoint,
    paces: &Paces,
    (from, to): (u64, u64),
    filter: impl Fn(u64) -> Value,
    is_too_much: impl Fn(&EvmError) -> bool,
    mut take: impl FnMut(Vec<NodeLog>) -> Result<(), EvmError>,
) -> Result<(), EvmError> {
    // The next span lies on top.
    let mut waiting = vec![(from, to)];
    while let Some((from, to)) = waiting.pop() {
        let mut asked = filter(from);
        asked["fromBlock"] = json!(U64::from(from));
        asked["toBlock"] = json!(U64::from(to));
        let blocks = to.saturating_sub(from).saturating_add(1);
        match endpoint.call::<_, Vec<NodeLog>>("eth_getLogs", json!([asked])).await {
            Ok(found) => {
                take(found)?;
                paces.change(endpoint, |pace| {
                    if blocks >= pace.span {
                        pace.span = pace.span.saturating_mul(2).min(SPAN_MAX);
                    }
                });
            }
            Err(error) if blocks > 1 && asks_for_less(&error) => {
                paces.change(endpoint, |pace| pace.span = pace.span.min(blocks / 2).max(1));
                if !is_too_much(&error) {
                    return Err(error);
                }
                let middle = from.saturating_add(blocks / 2);
                tracing::debug!(endpoint = endpoint.label(), from, to, %error, "asking for the logs by halves");
                waiting.push((middle, to));
                waiting.push((from, middle - 1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

/// Whether the endpoint was asked and refused: of a batch it may take a part. (How soon, its meter knows.)
fn is_refusal(error: &EvmError) -> bool {
    matches!(error, EvmError::Call(error) if error.refusal().is_some())
}

/// The logs of each block, in the order of the blocks; those of blocks above them are left out. A log in another block than
/// its height's, taken back, or given twice is an error.
fn by_block(endpoint: &Endpoint, blocks: &[NodeBlock], logs: Vec<NodeLog>) -> Result<Vec<Vec<NodeLog>>, EvmError> {
    let places: HashMap<H256, usize> = blocks.iter().enumerate().map(|(place, block)| (block.hash, place)).collect();
    let mut sorted = vec![Vec::new(); blocks.len()];
    let mut given = HashSet::with_capacity(logs.len());
    let last = blocks.last().map(|block| block.number);
    for log in logs {
        if log.block_number.is_some_and(|number| last.is_none_or(|last| number > last)) {
            continue;
        }
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
    // All or nothing, and there may be many.
    let endpoint = &endpoint.patient();
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
    R: DeserializeOwned + Send,
{
    let Begun { read, stopped } = begun(endpoint, paces, concurrency, method, calls).await?;
    stopped.map_or(Ok(read), Err)
}

/// The same, as far as the endpoint takes the calls.
async fn begun<R>(
    endpoint: &Endpoint,
    paces: &Paces,
    concurrency: usize,
    method: &str,
    calls: &[Value],
) -> Result<Begun<R>, EvmError>
where
    R: DeserializeOwned + Send,
{
    let size = usize::try_from(paces.of(endpoint).batch.max(1)).unwrap_or(1);
    let reads: Vec<_> = calls.chunks(size).map(|chunk| batch(endpoint, paces, method, chunk)).collect();
    let Begun { read, stopped } = in_order(stream::iter(reads).buffered(concurrency)).await?;
    Ok(Begun { read: read.into_iter().flatten().collect(), stopped })
}

/// One request, by halves if the endpoint does not answer it as a whole, and at last without a batch.
async fn batch<R>(endpoint: &Endpoint, paces: &Paces, method: &str, calls: &[Value]) -> Result<Vec<R>, EvmError>
where
    R: DeserializeOwned + Send,
{
    let mut results = Vec::with_capacity(calls.len());
    // The next one lies on top.
    let mut waiting = vec![calls];
    while let Some(calls) = waiting.pop() {
        if let [call] = calls {
            results.push(endpoint.call(method, call).await?);
            continue;
        }
        // The rate may have fallen since the calls were put together.
        let most = usize::try_from(at_once(endpoint)).unwrap_or(usize::MAX);
        if let Some((now, later)) = calls.split_at_checked(most).filter(|(_, later)| !later.is_empty()) {
            waiting.push(later);
            waiting.push(now);
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
            Err(error) if asks_for_less(&error) || is_refusal(&error) => {
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
