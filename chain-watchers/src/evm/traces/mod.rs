//! Native money that contracts send: what a node's tracer shows below the surface of a block's transactions.
//!
//! A call inside a transaction that carries money, made an account or destroyed one is a transfer, named by its path of
//! call indexes (`0.1`: the second call of the first). What failed, and everything below it, is nothing. The transaction's
//! own value is not in here: it is counted as such. Neither are calls that only run another's code (`DELEGATECALL`, whose
//! frames repeat a value that does not move, `CALLCODE`, `STATICCALL`).

#[cfg(test)]
mod tests;
mod walk;

use std::collections::{HashMap, HashSet};

use ethers::types::{Address, H256, U256};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use wopay_domain::{AssetId, DepositLeg};

use super::endpoint::Endpoint;
use super::error::{CallError, EvmError};
use super::types::{NodeBlock, address_text, hash_text, minor};
use crate::config::Traces;
use crate::source::{Candidate, Place};

/// For one transaction, as geth's tracer understands it.
const TRACE_WITHIN: &str = "10s";

/// What `debug_traceBlockByHash` says of one transaction.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traced {
    /// Older nodes leave it out.
    #[serde(default)]
    tx_hash: Option<H256>,
    /// Read by [`walk`].
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<String>,
}

/// A call as `trace_block` shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    action: Action,
    #[serde(default)]
    result: Option<Made>,
    block_hash: H256,
    /// None for what miners are given.
    #[serde(default)]
    transaction_hash: Option<H256>,
    trace_address: Vec<u32>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    #[serde(default)]
    call_type: Option<String>,
    #[serde(default)]
    from: Option<Address>,
    #[serde(default)]
    to: Option<Address>,
    #[serde(default)]
    value: Option<U256>,
    /// Of an account that destroys itself.
    #[serde(default)]
    address: Option<Address>,
    #[serde(default)]
    refund_address: Option<Address>,
    #[serde(default)]
    balance: Option<U256>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    #[serde(default)]
    address: Option<Address>,
}

/// Money on its way inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    path: String,
    from: Option<Address>,
    to: Address,
    value: U256,
}

/// The native transfers inside the block's transactions, in order. One call.
pub(crate) async fn inside(
    endpoint: &Endpoint,
    traces: Traces,
    native: &AssetId,
    block: &NodeBlock,
) -> Result<Vec<Candidate>, EvmError> {
    if block.transactions.is_empty() {
        return Ok(Vec::new());
    }
    let inner = match traces {
        Traces::None => return Ok(Vec::new()),
        Traces::Debug => by_debug(endpoint, block).await,
        Traces::Parity => by_parity(endpoint, block).await,
    };
    let inner = inner.map_err(|failure| if is_beyond(&failure) { untraced(block, failure) } else { failure })?;
    let candidates = inner.into_iter().map(|(transaction, inner)| Candidate {
        transaction: hash_text(transaction),
        place: Place::Settled(DepositLeg::Trace(inner.path)),
        to: address_text(inner.to),
        from: inner.from.map(address_text),
        asset: native.clone(),
        minor: minor(inner.value),
    });
    Ok(candidates.collect())
}

/// Whether it is the block that the endpoint cannot trace, as opposed to: tracing.
fn is_beyond(failure: &EvmError) -> bool {
    match failure {
        EvmError::Call(CallError::TooLarge { .. } | CallError::Status { status: 504 | 524, .. }) => true,
        EvmError::Call(CallError::Transport { source, .. }) => source.is_timeout(),
        EvmError::Call(CallError::Node { said, .. }) => {
            let is_unknown = matches!(said.code, -32601 | -32600 | -32602 | -32004) || said.message.contains("method");
            failure.is_answer() && !is_unknown
        }
        _ => false,
    }
}

fn untraced(block: &NodeBlock, failure: EvmError) -> EvmError {
    EvmError::Untraced { block: block.number.as_u64(), failure: Box::new(failure) }
}

async fn by_debug(endpoint: &Endpoint, block: &NodeBlock) -> Result<Vec<(H256, Inner)>, EvmError> {
    let options = json!({"tracer": "callTracer", "timeout": TRACE_WITHIN});
    let traced: Vec<Traced> = endpoint.call("debug_traceBlockByHash", json!([block.hash, options])).await?;
    if traced.iter().any(|traced| traced.tx_hash.is_none()) && traced.len() != block.transactions.len() {
        return Err(not_all(endpoint, block));
    }
    let hashes: Vec<H256> = traced
        .iter()
        .zip(block.transactions.iter().map(|transaction| Some(transaction.hash)).chain(std::iter::repeat(None)))
        .filter_map(|(traced, by_order)| traced.tx_hash.or(by_order))
        .collect();
    let distinct: HashSet<H256> = hashes.iter().copied().collect();
    if distinct.len() != hashes.len() {
        return Err(twice(endpoint, block));
    }
    expect_all(endpoint, block, &distinct)?;
    let mut found = Vec::new();
    for (traced, hash) in traced.into_iter().zip(hashes) {
        let Some(frame) = traced.result else {
            let error = traced.error.as_deref().map(|error| endpoint.clean(error)).unwrap_or_default();
            let failure = endpoint.inconsistent(format!("it does not trace transaction {}: {error}", hash_text(hash)));
            return Err(if error.is_empty() { failure } else { untraced(block, failure) });
        };
        let odd = |error: serde_json::Error| endpoint.clean(&error.to_string());
        let inner = walk::below(frame.get());
        let inner = inner.map_err(|error| endpoint.inconsistent(format!("an odd trace: {}", odd(error))))?;
        found.extend(inner.into_iter().map(|inner| (hash, inner)));
    }
    Ok(found)
}

async fn by_parity(endpoint: &Endpoint, block: &NodeBlock) -> Result<Vec<(H256, Inner)>, EvmError> {
    // By number: the method knows no hashes. Its answer names the block of each trace.
    let traces: Option<Vec<Trace>> = endpoint.call("trace_block", json!([block.number])).await?;
    let traces = traces.unwrap_or_default();
    if traces.iter().any(|trace| trace.block_hash != block.hash) {
        return Err(endpoint.inconsistent(format!("traces of {} belong to another block", hash_text(block.hash))));
    }
    let mut paths = HashSet::with_capacity(traces.len());
    // What miners are given has no transaction, and moves nothing here.
    let mut named = traces.iter().filter_map(|trace| Some((trace.transaction_hash?, trace.trace_address.as_slice())));
    if !named.all(|path| paths.insert(path)) {
        return Err(twice(endpoint, block));
    }
    expect_all(endpoint, block, &traces.iter().filter_map(|trace| trace.transaction_hash).collect())?;
    Ok(standing(&traces))
}

/// A node that has not got as far as tracing the block answers with nothing.
fn expect_all(endpoint: &Endpoint, block: &NodeBlock, traced: &HashSet<H256>) -> Result<(), EvmError> {
    // What the protocol itself puts into a block (from nobody) is not executed like the rest, nor always traced.
    let mut executed =
        block.transactions.iter().filter(|transaction| transaction.from.is_none_or(|from| !from.is_zero()));
    if executed.all(|transaction| traced.contains(&transaction.hash)) { Ok(()) } else { Err(not_all(endpoint, block)) }
}

fn twice(endpoint: &Endpoint, block: &NodeBlock) -> EvmError {
    endpoint.inconsistent(format!("it traces something in block {} twice", hash_text(block.hash)))
}

fn not_all(endpoint: &Endpoint, block: &NodeBlock) -> EvmError {
    endpoint.inconsistent(format!("it traces not all transactions of block {}", hash_text(block.hash)))
}

/// What moves below the transactions' own calls. A call that failed says so; those below it do not.
fn standing(traces: &[Trace]) -> Vec<(H256, Inner)> {
    let mut failed: HashMap<H256, Vec<&[u32]>> = HashMap::new();
    for trace in traces.iter().filter(|trace| trace.error.is_some()) {
        let Some(transaction) = trace.transaction_hash else { continue };
        failed.entry(transaction).or_default().push(&trace.trace_address);
    }
    for paths in failed.values_mut() {
        // What lies below another one is left out: then the last one that is not above an address is the only one that it
        // may lie below.
        paths.sort_unstable();
        paths.dedup_by(|lower, upper| lower.starts_with(upper));
    }
    let moved = traces.iter().filter_map(|trace| {
        let transaction = trace.transaction_hash?;
        let address = trace.trace_address.as_slice();
        let undone = failed.get(&transaction).is_some_and(|failed| {
            let not_above = failed.partition_point(|path| *path <= address);
            failed.get(..not_above).and_then(<[_]>::last).is_some_and(|path| address.starts_with(path))
        });
        if address.is_empty() || undone {
            return None;
        }
        let action = &trace.action;
        let (from, to, value) = match (trace.kind.as_str(), action.call_type.as_deref()) {
            ("call", None | Some("call")) => (action.from, action.to, action.value),
            ("create", _) => (action.from, trace.result.as_ref().and_then(|made| made.address), action.value),
            ("suicide", _) => (action.address, action.refund_address, action.balance),
            _ => return None,
        };
        let path = address.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        Some((transaction, inner(path, from, to, value)?))
    });
    moved.collect()
}

/// `None`: nothing moves.
fn inner(path: String, from: Option<Address>, to: Option<Address>, value: Option<U256>) -> Option<Inner> {
    let value = value.filter(|value| !value.is_zero())?;
    let to = to.filter(|to| Some(*to) != from)?;
    Some(Inner { path, from, to, value })
}
