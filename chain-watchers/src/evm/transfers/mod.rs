//! Finding transfers in a block, and settling which of them took place.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

use ethers::abi::ethereum_types::BloomInput;
use ethers::abi::{Event, EventParam, ParamType, RawLog};
use ethers::types::{Address, Bloom, H160, H256, U256};
use wopay_domain::{AssetId, DepositLeg};

use super::endpoint::Endpoint;
use super::error::EvmError;
use super::traces;
use super::types::{NodeBlock, NodeLog, NodeReceipt, NodeTransaction, address_text, hash_text, minor};
use crate::config::{EvmOptions, Traces};
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

/// Who logs native transfers, on chains that have EIP-7708.
pub(super) const NATIVE_LOGGER: Address = H160([
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xfe,
]);

/// The assets of a chain by what identifies them there, and how the native one is found.
#[derive(Clone, Debug)]
pub(crate) struct Assets {
    native: Option<AssetId>,
    tokens: HashMap<Address, AssetId>,
    /// The keys of `tokens`.
    contracts: Vec<Address>,
    /// The keys of `tokens`, and who logs native transfers.
    contracts_and_native: Vec<Address>,
    native_logged_from: Option<u64>,
    traces: Traces,
}

impl Assets {
    pub(crate) fn new(native: Option<AssetId>, tokens: HashMap<Address, AssetId>, options: &EvmOptions) -> Self {
        let contracts: Vec<Address> = tokens.keys().copied().collect();
        let native_logger = native.iter().map(|_| NATIVE_LOGGER);
        let contracts_and_native = contracts.iter().copied().chain(native_logger).collect();
        let (native_logged_from, traces) = (options.eip7708_block, options.traces);
        Self { native, tokens, contracts, contracts_and_native, native_logged_from, traces }
    }

    /// The same where contracts are not looked into.
    pub(crate) fn without_traces(&self) -> Self {
        Self { traces: Traces::None, ..self.clone() }
    }

    /// The native coin, if it is accepted.
    pub(crate) fn native(&self) -> Option<&AssetId> {
        self.native.as_ref()
    }

    /// The first block whose native transfers are in its logs.
    pub(crate) const fn native_logged_from(&self) -> Option<u64> {
        self.native_logged_from
    }

    /// Whether that block's native transfers are in its logs, and so in nothing else.
    fn is_native_logged(&self, height: u64) -> bool {
        self.native_logged_from.is_some_and(|from| height >= from)
    }

    /// The native coin, if that block's transactions have to be looked at for it.
    pub(crate) fn native_value(&self, height: u64) -> Option<&AssetId> {
        self.native.as_ref().filter(|_| !self.is_native_logged(height))
    }

    /// Whose logs count in that block.
    pub(crate) fn contracts(&self, height: u64) -> &[Address] {
        if self.is_native_logged(height) { &self.contracts_and_native } else { &self.contracts }
    }

    /// What that contract's transfers move in that block.
    fn logged(&self, contract: Address, height: u64) -> Option<&AssetId> {
        match self.native.as_ref() {
            Some(native) if contract == NATIVE_LOGGER && self.is_native_logged(height) => Some(native),
            _ => self.tokens.get(&contract),
        }
    }
}

/// The topic that transfers have.
pub(crate) fn transfer_topic() -> H256 {
    TRANSFER.signature()
}

/// Everything in the block that may be a transfer of ours, in the order of the block. One call, plus one for traces where
/// they are read, plus one when the bloom filter disagrees with an empty list of logs. (Logs are asked for whatever the
/// filter says: some chains leave logs of the protocol itself out of it.)
pub(crate) async fn find(endpoint: &Endpoint, assets: &Assets, block: &NodeBlock) -> Result<Vec<Candidate>, EvmError> {
    let contracts = assets.contracts(block.number.as_u64());
    let logs = if contracts.is_empty() || block.transactions.is_empty() {
        Vec::new()
    } else {
        endpoint.logs(block.hash, contracts, TRANSFER.signature()).await?
    };
    gather(endpoint, assets, block, &logs).await
}

/// The same, with the logs read already: all of the block's that [`Assets::contracts`] and [`transfer_topic`] select.
pub(crate) async fn gather(
    endpoint: &Endpoint,
    assets: &Assets,
    block: &NodeBlock,
    logs: &[NodeLog],
) -> Result<Vec<Candidate>, EvmError> {
    let height = block.number.as_u64();
    let mut candidates = Vec::new();
    if let Some(native) = assets.native_value(height) {
        candidates.extend(block.transactions.iter().filter_map(|transaction| value(transaction, native)));
        candidates.extend(traces::inside(endpoint, assets.traces, native, block).await?);
    }
    if logs.is_empty() {
        check_absence(endpoint, assets, block).await?;
    }
    for log in logs {
        candidates.extend(logged(endpoint, assets, height, log)?);
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

fn logged(endpoint: &Endpoint, assets: &Assets, height: u64, log: &NodeLog) -> Result<Option<Candidate>, EvmError> {
    let Some(asset) = assets.logged(log.address, height) else {
        return Err(endpoint.inconsistent("asked for logs of our tokens, got logs of another contract"));
    };
    to_candidate(endpoint, log, asset)
}

/// A log as a transfer of that asset; `None` for what is no ERC-20 transfer of more than nothing (an NFT's event of the same
/// name has a fourth topic).
pub(super) fn to_candidate(endpoint: &Endpoint, log: &NodeLog, asset: &AssetId) -> Result<Option<Candidate>, EvmError> {
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
/// that one of our tokens may have moved, the receipts decide, and these have to account for the whole filter. (A second
/// node's empty list would cost less. But the indexes of two nodes can lag at the same time, as simulated worlds show.)
async fn check_absence(endpoint: &Endpoint, assets: &Assets, block: &NodeBlock) -> Result<(), EvmError> {
    let height = block.number.as_u64();
    if block.transactions.is_empty() || !may_hold_any(block, assets.contracts(height)) {
        return Ok(());
    }
    let receipts = endpoint.receipts(block).await?;
    let shown = || receipts.iter().flat_map(|receipt| &receipt.logs);
    if shown()
        .any(|log| assets.logged(log.address, height).is_some() && log.topics.first() == Some(&TRANSFER.signature()))
    {
        return Err(endpoint.inconsistent(format!(
            "it gives no token transfers for block {} although its receipts hold some",
            hash_text(block.hash)
        )));
    }
    // Logs of the protocol itself need not be in the filter, so the receipts may show more than it says, never less.
    if block.logs_bloom.is_some_and(|bloom| !covers(&bloom_of(shown()), &bloom)) {
        return Err(endpoint.inconsistent(format!(
            "the receipts of block {} lack logs that its bloom filter shows",
            hash_text(block.hash)
        )));
    }
    Ok(())
}

/// Whether a block may hold transfers logged by one of these, as its bloom filter says.
pub(crate) fn may_hold_any(block: &NodeBlock, contracts: &[Address]) -> bool {
    block.logs_bloom.is_none_or(|bloom| contracts.iter().any(|contract| may_hold(&bloom, contract)))
}

fn may_hold(bloom: &Bloom, contract: &Address) -> bool {
    bloom.contains_input(BloomInput::Raw(contract.as_bytes()))
        && bloom.contains_input(BloomInput::Raw(TRANSFER.signature().as_bytes()))
}

fn bloom_of<'a>(logs: impl Iterator<Item = &'a NodeLog>) -> Bloom {
    let mut bloom = Bloom::default();
    for log in logs {
        bloom.accrue(BloomInput::Raw(log.address.as_bytes()));
        for topic in &log.topics {
            bloom.accrue(BloomInput::Raw(topic.as_bytes()));
        }
    }
    bloom
}

fn covers(bloom: &Bloom, part: &Bloom) -> bool {
    bloom.0.iter().zip(part.0).all(|(bits, part)| bits & part == part)
}

/// Which candidates of one transaction took place: all that its receipt shows, or none if it failed.
pub(crate) fn settle(
    endpoint: &Endpoint,
    assets: &Assets,
    height: u64,
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
                let shown = shown.filter(|log| assets.logged(log.address, height) == Some(&candidate.asset));
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
