//! Finding transfers in a block, and settling which of them took place.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

use ethers::abi::ethereum_types::BloomInput;
use ethers::abi::{Event, EventParam, ParamType, RawLog};
use ethers::types::{Address, Bloom, H256, U256};
use wopay_domain::{AssetId, DepositLeg};

use super::endpoint::Endpoint;
use super::error::EvmError;
use super::types::{NodeBlock, NodeLog, NodeReceipt, NodeTransaction, address_text, hash_text, minor};
use crate::source::{Candidate, Place, Transfer};

/// `Transfer(address indexed from, address indexed to, uint256 value)` of ERC-20.
static TRANSFER: LazyLock<Event> = LazyLock::new(|| {
    let input = |name: &str, kind, indexed| EventParam { name: name.to_owned(), kind, indexed };
    Event {
        name: "Transfer".to_owned(),
        inputs: vec![
            input("from", ParamType::Address, true),
            input("to", ParamType::Address, true),
            input("value", ParamType::Uint(256), false),
        ],
        anonymous: false,
    }
});

/// The assets of a chain by what identifies them there.
#[derive(Clone, Debug)]
pub(crate) struct Assets {
    pub(crate) native: Option<AssetId>,
    pub(crate) tokens: HashMap<Address, AssetId>,
    /// The keys of `tokens`.
    pub(crate) contracts: Vec<Address>,
}

/// Everything in the block that may be a transfer of ours, in the order of the block. Two calls at most, plus one when the
/// bloom filter disagrees with an empty list of logs.
pub(crate) async fn find(endpoint: &Endpoint, assets: &Assets, block: &NodeBlock) -> Result<Vec<Candidate>, EvmError> {
    let mut candidates: Vec<Candidate> = match &assets.native {
        Some(native) => block.transactions.iter().filter_map(|transaction| value(transaction, native)).collect(),
        None => Vec::new(),
    };
    if !assets.contracts.is_empty() {
        let logs = endpoint.logs(block.hash, &assets.contracts, TRANSFER.signature()).await?;
        if logs.is_empty() {
            check_absence(endpoint, assets, block).await?;
        }
        for log in &logs {
            candidates.extend(token(endpoint, assets, log)?);
        }
    }
    Ok(candidates)
}

fn value(transaction: &NodeTransaction, native: &AssetId) -> Option<Candidate> {
    let to = transaction.to.filter(|_| !transaction.value.is_zero())?;
    Some(Candidate {
        transaction: hash_text(transaction.hash),
        place: Place::Value,
        to: address_text(to),
        from: transaction.from.map(address_text),
        asset: native.clone(),
        minor: minor(transaction.value),
    })
}

/// `None` for what is no ERC-20 transfer of more than nothing (an NFT's event of the same name has a fourth topic).
fn token(endpoint: &Endpoint, assets: &Assets, log: &NodeLog) -> Result<Option<Candidate>, EvmError> {
    let Some(asset) = assets.tokens.get(&log.address) else {
        return Err(endpoint.inconsistent("asked for logs of our tokens, got logs of another contract"));
    };
    let (Some(transaction), Some(index)) = (log.transaction_hash, log.log_index) else {
        return Err(endpoint.inconsistent("a log names no transaction or index"));
    };
    let index = u64::try_from(index).map_err(|_| endpoint.inconsistent("a log's index is out of range"))?;
    let Some((from, to, amount)) = decode_transfer(log) else { return Ok(None) };
    Ok((!amount.is_zero()).then(|| Candidate {
        transaction: hash_text(transaction),
        place: Place::Log(index),
        to: address_text(to),
        from: Some(address_text(from)),
        asset: asset.clone(),
        minor: minor(amount),
    }))
}

fn decode_transfer(log: &NodeLog) -> Option<(Address, Address, U256)> {
    let raw = RawLog { topics: log.topics.clone(), data: log.data.to_vec() };
    let mut values = TRANSFER.parse_log(raw).ok()?.params.into_iter().map(|param| param.value);
    Some((values.next()?.into_address()?, values.next()?.into_address()?, values.next()?.into_uint()?))
}

/// A node that lags behind its own index answers with no logs. The block's bloom filter never misses a log: when it says
/// that one of our tokens may have moved, the receipts decide.
async fn check_absence(endpoint: &Endpoint, assets: &Assets, block: &NodeBlock) -> Result<(), EvmError> {
    let may_hold = block.logs_bloom.is_none_or(|bloom| assets.contracts.iter().any(|token| may_hold(&bloom, token)));
    if !may_hold || block.transactions.is_empty() {
        return Ok(());
    }
    let receipts = endpoint.receipts(block).await?;
    let moved = receipts
        .iter()
        .flat_map(|receipt| &receipt.logs)
        .any(|log| assets.tokens.contains_key(&log.address) && log.topics.first() == Some(&TRANSFER.signature()));
    if moved {
        return Err(endpoint.inconsistent(format!(
            "it gives no token transfers for block {} although its receipts hold some",
            hash_text(block.hash)
        )));
    }
    Ok(())
}

fn may_hold(bloom: &Bloom, token: &Address) -> bool {
    bloom.contains_input(BloomInput::Raw(token.as_bytes()))
        && bloom.contains_input(BloomInput::Raw(TRANSFER.signature().as_bytes()))
}

/// Which candidates of one transaction took place: all that its receipt shows, or none if it failed.
pub(crate) fn settle(
    endpoint: &Endpoint,
    receipt: &NodeReceipt,
    candidates: &[&Candidate],
) -> Result<Vec<Transfer>, EvmError> {
    let transaction = hash_text(receipt.transaction_hash);
    match receipt.status {
        Some(status) if status.is_zero() => return Ok(Vec::new()),
        Some(_) => {}
        None => return Err(endpoint.inconsistent(format!("the receipt of {transaction} has no status"))),
    }
    let first = receipt.logs.first().and_then(|log| log.log_index);
    let mut transfers = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let Some(amount) = candidate.minor else { continue };
        let leg = match &candidate.place {
            Place::Value => DepositLeg::Native,
            Place::Settled(leg) => leg.clone(),
            Place::Log(index) => {
                let index = U256::from(*index);
                let shown = receipt.logs.iter().find(|log| log.log_index == Some(index));
                let ordinal = first.and_then(|first| index.checked_sub(first));
                let ordinal = ordinal.and_then(|ordinal| u32::try_from(ordinal).ok());
                match (shown.and_then(decode_transfer), ordinal) {
                    (Some((_, to, value)), Some(ordinal))
                        if address_text(to) == candidate.to && minor(value) == Some(amount) =>
                    {
                        DepositLeg::Log(ordinal)
                    }
                    _ => {
                        return Err(endpoint
                            .inconsistent(format!("log {index} is not in the receipt of {transaction}, or another")));
                    }
                }
            }
        };
        transfers.push(Transfer {
            transaction: transaction.clone(),
            leg,
            to: candidate.to.clone(),
            from: candidate.from.clone(),
            asset: candidate.asset.clone(),
            minor: amount,
        });
    }
    Ok(transfers)
}

/// A hash from its text.
pub(crate) fn parse_hash(endpoint: &Endpoint, text: &str) -> Result<H256, EvmError> {
    text.parse().map_err(|_| endpoint.inconsistent(format!("{text:?} is not a hash")))
}
