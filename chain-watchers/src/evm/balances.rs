//! Balances at one block of an EVM chain: `eth_getBalance` and `balanceOf` in batches, pinned to the block's hash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use ethers::types::{Address, Bytes, H256, U64, U256};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use wopay_domain::{AssetId, BlockRef, ChainName};

use super::EvmSource;
use super::endpoint::Endpoint;
use super::error::{CallError, EvmError};
use super::transfers::parse_hash;
use super::types::{address_text, minor};
use crate::balances::{BalanceBlock, BalanceError};
use crate::config::WatcherConfig;
use crate::source::{ChainSource as _, Final, Head};

/// Calls in one request, at first. Fewer once a node has refused as many.
const BATCH_CALLS_MAX: usize = 100;
/// Selector of `balanceOf(address)`.
const BALANCE_OF: &str = "70a08231";

/// See [`crate::BalanceReader`].
#[derive(Debug)]
pub(crate) struct EvmBalances {
    source: EvmSource,
    name: ChainName,
    block: BlockRef,
    concurrency: usize,
    /// Calls in one request: halved when a node refuses a batch.
    batch_calls: AtomicUsize,
    /// Whether a contract existed at the block.
    existed: Mutex<HashMap<Address, bool>>,
}

/// What is held by whom.
#[derive(Clone, Copy, Debug)]
struct Account {
    holder: Address,
    /// `None`: the native coin.
    contract: Option<Address>,
}

/// How a node is told which block is meant.
#[derive(Clone, Debug)]
struct Pin(Value);

impl EvmBalances {
    pub(crate) async fn at(config: &WatcherConfig, block: BalanceBlock) -> Result<Self, BalanceError> {
        let source = EvmSource::new(config)?;
        let name = config.chain.name.clone();
        let height = match block {
            BalanceBlock::Height(height) => height,
            BalanceBlock::Latest => source.head().await?.newest.block.number,
            BalanceBlock::Finalized => {
                let depth = u64::from(config.chain.required_confirmations);
                final_height(&source.head().await?, depth)
                    .ok_or_else(|| BalanceError::NothingFinal { chain: name.clone() })?
            }
        };
        let Some(header) = source.header(height).await? else {
            let newest = source.head().await?.newest.block.number;
            return Err(BalanceError::NoSuchBlock { chain: name, block: height, newest });
        };
        Ok(Self {
            source,
            name,
            block: header.block,
            concurrency: config.rpc_options.concurrency.max(1),
            batch_calls: AtomicUsize::new(BATCH_CALLS_MAX),
            existed: Mutex::default(),
        })
    }

    pub(crate) const fn block(&self) -> &BlockRef {
        &self.block
    }

    pub(crate) async fn check_canonical(&self) -> Result<(), BalanceError> {
        match self.source.header(self.block.number).await? {
            Some(header) if header.block.hash == self.block.hash => Ok(()),
            _ => Err(BalanceError::Replaced { chain: self.name.clone(), block: self.block.number }),
        }
    }

    /// All of `accounts` from one endpoint after the other until one has answered everything.
    pub(crate) async fn read(&self, accounts: &[(&str, &AssetId)]) -> Result<Vec<u128>, BalanceError> {
        let parsed =
            accounts.iter().map(|(address, asset)| self.parse(address, asset)).collect::<Result<Vec<_>, _>>()?;
        let mut attempt = self.source.pool.attempt();
        let mut pruned = None;
        let amounts = loop {
            let endpoint = match attempt.next().await {
                Ok(endpoint) => endpoint,
                Err(failure) => return Err(pruned.unwrap_or(BalanceError::Chain(failure))),
            };
            match self.read_from(endpoint, &parsed).await {
                Ok(amounts) => break amounts,
                Err(failure) => {
                    if let Some(said) = failure.pruned() {
                        let (chain, block, said) = (self.name.clone(), self.block.number, said.to_owned());
                        pruned = Some(BalanceError::Pruned { chain, block, said });
                    }
                    attempt.failed(endpoint, failure).await;
                }
            }
        };
        let counted = accounts.iter().zip(amounts).map(|((address, asset), amount)| {
            minor(amount)
                .ok_or_else(|| BalanceError::TooMuch { address: (*address).to_owned(), asset: (*asset).clone() })
        });
        counted.collect()
    }

    fn parse(&self, address: &str, asset: &AssetId) -> Result<Account, BalanceError> {
        let of_text = |text: &str| text.parse().ok().filter(|parsed| address_text(*parsed) == text);
        let contract = match asset.contract() {
            None => Some(None),
            Some(contract) => of_text(contract).map(Some),
        };
        match (of_text(address), contract) {
            (Some(holder), Some(contract)) if asset.chain() == self.name.as_str() => Ok(Account { holder, contract }),
            _ => Err(BalanceError::NotAnAccount {
                chain: self.name.clone(),
                address: address.to_owned(),
                asset: asset.clone(),
            }),
        }
    }

    async fn read_from(&self, endpoint: &Endpoint, accounts: &[Account]) -> Result<Vec<U256>, EvmError> {
        let hash = parse_hash(endpoint, &self.block.hash)?;
        let by_hash = Pin(json!({ "blockHash": hash, "requireCanonical": true }));
        match self.read_pinned(endpoint, accounts, &by_hash).await {
            // A node that does not know EIP-1898: by number, with the block's hash compared before and after.
            Err(error) if error.is_invalid_request() => {
                self.expect_block(endpoint, hash).await?;
                let by_number = Pin(json!(U64::from(self.block.number)));
                let amounts = self.read_pinned(endpoint, accounts, &by_number).await?;
                self.expect_block(endpoint, hash).await?;
                Ok(amounts)
            }
            result => result,
        }
    }

    async fn expect_block(&self, endpoint: &Endpoint, hash: H256) -> Result<(), EvmError> {
        let header = endpoint.header_at(self.block.number).await?;
        match header {
            Some(header) if parse_hash(endpoint, &header.block.hash)? == hash => Ok(()),
            _ => Err(endpoint.inconsistent(format!("block {} is not {}", self.block.number, self.block.hash))),
        }
    }

    async fn read_pinned(&self, endpoint: &Endpoint, accounts: &[Account], pin: &Pin) -> Result<Vec<U256>, EvmError> {
        let mut natives = Vec::new();
        let mut tokens = Vec::new();
        for (index, account) in accounts.iter().enumerate() {
            match account.contract {
                None => natives.push((index, json!([account.holder, pin.0]))),
                Some(contract) if self.existed(endpoint, contract, pin).await? => {
                    let data = format!("0x{BALANCE_OF}{:0>64}", format!("{:x}", account.holder));
                    tokens.push((index, json!([{ "to": contract, "data": data }, pin.0])));
                }
                Some(_) => {}
            }
        }
        let mut amounts = vec![U256::zero(); accounts.len()];
        let read: Vec<(usize, U256)> = self.call_all(endpoint, "eth_getBalance", &natives).await?;
        let words: Vec<(usize, Bytes)> = self.call_all(endpoint, "eth_call", &tokens).await?;
        for (index, amount) in read {
            amounts[index] = amount;
        }
        for (index, word) in words {
            if word.len() != 32 {
                return Err(endpoint.inconsistent(format!("balanceOf answers {} bytes", word.len())));
            }
            amounts[index] = U256::from_big_endian(&word);
        }
        Ok(amounts)
    }

    /// Whether a contract existed at the block; asked once.
    async fn existed(&self, endpoint: &Endpoint, contract: Address, pin: &Pin) -> Result<bool, EvmError> {
        let mut existed = self.existed.lock().await;
        if let Some(existed) = existed.get(&contract) {
            return Ok(*existed);
        }
        let code: Bytes = endpoint.call("eth_getCode", json!([contract, pin.0])).await?;
        existed.insert(contract, !code.is_empty());
        Ok(!code.is_empty())
    }

    /// Many calls of one method, in batches, several at a time.
    async fn call_all<R>(
        &self,
        endpoint: &Endpoint,
        method: &str,
        calls: &[(usize, Value)],
    ) -> Result<Vec<(usize, R)>, EvmError>
    where
        R: serde::de::DeserializeOwned + Send,
    {
        let batches = calls.chunks(self.batch_calls.load(Ordering::Relaxed).max(1));
        // Made first: a stream that makes them on its way could not be sent between threads.
        let batches: Vec<_> = batches.map(|batch| self.call_batch(endpoint, method, batch)).collect();
        let read: Vec<Vec<(usize, R)>> =
            futures::stream::iter(batches).buffered(self.concurrency).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }

    /// One batch; halved for as long as the node refuses it as a whole.
    async fn call_batch<R>(
        &self,
        endpoint: &Endpoint,
        method: &str,
        calls: &[(usize, Value)],
    ) -> Result<Vec<(usize, R)>, EvmError>
    where
        R: serde::de::DeserializeOwned + Send,
    {
        let mut answered = Vec::with_capacity(calls.len());
        let mut size = calls.len().max(1);
        while answered.len() < calls.len() {
            let rest = &calls[answered.len()..];
            let part = &rest[..size.min(rest.len())];
            let params: Vec<&Value> = part.iter().map(|(_, params)| params).collect();
            match endpoint.batch(method, &params).await {
                Ok(results) => {
                    for ((index, _), result) in part.iter().zip(results) {
                        answered.push((*index, result.map_err(EvmError::Call)?));
                    }
                }
                Err(EvmError::Call(error)) if part.len() > 1 && error.refuses_batch() => {
                    size = part.len().div_ceil(2);
                    self.batch_calls.fetch_min(size, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answered)
    }
}

/// The newest height that is final: as the chain says, or by the depth that the configuration asks for.
fn final_height(head: &Head, depth: u64) -> Option<u64> {
    match head.finality {
        Final::UpTo(height) => Some(height),
        Final::ByDepth => head.newest.block.number.saturating_add(1).checked_sub(depth.max(1)),
        Final::Unknown => None,
    }
}

impl CallError {
    /// Whether a smaller batch may be taken.
    fn refuses_batch(&self) -> bool {
        match self {
            Self::Node { .. } | Self::TooLarge { .. } | Self::Unanswered { .. } | Self::NotJsonRpc { .. } => true,
            Self::Status { status, .. } => matches!(status, 400 | 413 | 422),
            Self::Transport { .. }
            | Self::Shape { .. }
            | Self::NotAsked { .. }
            | Self::Misaddressed { .. }
            | Self::Unauthorized { .. } => false,
        }
    }
}
