//! Chains that speak Ethereum's JSON-RPC.
//!
//! Tokens are found by the logs of a block's hash, one call however many addresses are ours; the native coin by the
//! block's transactions. Only what is ours costs more: the receipt of each matched transaction says whether it succeeded
//! and which of its logs the transfer is.
//!
//! Everything that belongs to a block is asked of one endpoint and by the block's hash, or compared with it. The native
//! coin is in the transactions *or*, from the block of EIP-7708's fork, in the logs, never in both: money must not count
//! twice. Native money that a contract sends is in the traces, where nodes have them; elsewhere the engine compares
//! balances (`docs/decisions/0021-native-from-contracts.md`). Tokens that nobody configured are searched for by their receivers,
//! behind what is final ([`unknown`]). Far below the head, many blocks are read at once
//! ([`backfill`]). `ethers` stays inside this folder.

mod backfill;
mod balances;
pub(crate) mod client;
mod discretion;
mod endpoint;
pub(crate) mod error;
mod inspect;
mod report;
mod standing;
mod traces;
mod transfers;
mod types;
mod unknown;
mod untraced;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ethers::types::{Address, H256};
use wopay_domain::{Asset, BlockRef, ChainName};

use self::backfill::Paces;
pub(crate) use self::balances::EvmBalances;
use self::client::RpcClient;
use self::endpoint::Endpoint;
use self::error::EvmError;
use self::inspect::Expected;
pub(crate) use self::report::report;
use self::transfers::{Assets, find, parse_hash, settle};
use self::untraced::{Round, Untraced};
use crate::config::{ConfigError, EvmOptions, Finality, FinalityTag, Traces, WatcherConfig};
use crate::pool::{Pool, Testimony};
use crate::source::{
    BlockData, BlockHeader, Candidate, ChainSource, Claims, Compared, Final, Found, Head, Search, SourceError,
    Transfer, Witnesses,
};
use crate::status::EndpointHealth;

/// Blocks after EIP-7708's fork in which balances are still compared.
const FORK_MARGIN: u64 = 1024;
/// An endpoint that is asked about a block reads it, its logs and its receipts one after the other.
const TESTIFY_WITHIN: Duration = Duration::from_secs(4);
/// While the head stands still.
const ASK_FINAL_EVERY: Duration = Duration::from_secs(5);

/// One EVM chain.
#[derive(Debug)]
pub(crate) struct EvmSource {
    chain: ChainName,
    pool: Pool<Endpoint>,
    assets: Assets,
    options: EvmOptions,
    concurrency: usize,
    paces: Paces,
    /// Of searches by receiver, of which endpoints give more or less than of others.
    search_paces: Paces,
    untraced: Untraced,
    finality: Finality,
    last_final: Mutex<Option<LastFinal>>,
}

/// What a tag's block was, asked at that head.
#[derive(Debug)]
struct LastFinal {
    head_hash: String,
    finality: Final,
    asked_at: Instant,
}

impl EvmSource {
    pub(crate) fn new(config: &WatcherConfig) -> Result<Self, ConfigError> {
        let name = config.chain.name.clone();
        let chain_id = config.chain.chain_id.ok_or(ConfigError::NoChainId { chain: name })?;
        let tokens = tokens(config)?;
        let native = config.chain.assets.iter().find(|asset| asset.id.contract().is_none());
        let assets = Assets::new(
            native.map(|asset| asset.id.clone()),
            tokens.iter().map(|(contract, asset)| (*contract, asset.id.clone())).collect::<HashMap<_, _>>(),
            &config.evm,
        );
        let expected = tokens.into_iter().filter(|(_, asset)| !config.verified.contains(&asset.id)).collect();
        let expected = Arc::new(Expected { chain_id, tokens: expected });
        let endpoints = RpcClient::of(config)?.into_iter();
        let endpoints = endpoints.map(|client| Endpoint::new(client, Arc::clone(&expected))).collect();
        Ok(Self {
            chain: config.chain.name.clone(),
            pool: Pool::new(config, endpoints),
            assets,
            options: config.evm,
            concurrency: config.rpc_options.concurrency.max(1),
            paces: Paces::default(),
            search_paces: Paces::default(),
            untraced: Untraced::new(config.chain.name.clone()),
            finality: config.finality,
            last_final: Mutex::new(None),
        })
    }

    async fn read_head(&self, endpoint: &Endpoint) -> Result<Head, EvmError> {
        let newest = endpoint.newest().await?;
        let finality = match self.finality {
            Finality::Depth => Final::ByDepth,
            Finality::Tag(tag) => self.read_final(endpoint, tag, &newest.block.hash).await?,
        };
        Ok(Head { newest, finality })
    }

    /// What is final seldom moves without the head: it is asked for again when the head has moved, or after a while.
    async fn read_final(&self, endpoint: &Endpoint, tag: FinalityTag, head_hash: &str) -> Result<Final, EvmError> {
        if let Ok(last) = self.last_final.lock()
            && let Some(last) = last.as_ref()
            && last.head_hash == head_hash
            && last.asked_at.elapsed() < ASK_FINAL_EVERY
        {
            return Ok(last.finality);
        }
        let finality = endpoint.tagged_height(tag).await?.map_or(Final::Unknown, Final::UpTo);
        if let Ok(mut last) = self.last_final.lock() {
            *last = Some(LastFinal { head_hash: head_hash.to_owned(), finality, asked_at: Instant::now() });
        }
        Ok(finality)
    }

    async fn read_block(&self, endpoint: &Endpoint, height: u64) -> Result<Option<BlockData>, EvmError> {
        self.read_block_of(&self.assets, endpoint, height).await
    }

    async fn read_block_of(
        &self,
        assets: &Assets,
        endpoint: &Endpoint,
        height: u64,
    ) -> Result<Option<BlockData>, EvmError> {
        let block = match self.assets.native_value(height) {
            Some(_) => endpoint.block_at(height).await?,
            None => backfill::bare_block(endpoint, height).await?,
        };
        let Some(block) = block else { return Ok(None) };
        let header = block.to_header().ok_or_else(|| endpoint.inconsistent("a block's time is out of range"))?;
        let candidates = find(endpoint, assets, &block).await?;
        Ok(Some(BlockData { header, candidates }))
    }

    /// The block without what contracts send in it.
    async fn untraced_block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        let assets = self.assets.without_traces();
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match self.read_block_of(&assets, endpoint, height).await {
                Ok(block) => return Ok(block),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    /// What an endpoint says of a block: it reads the block as if it were the one in use.
    async fn testify(&self, endpoint: &Endpoint, block: &BlockRef, claims: &Claims) -> Result<Testimony, EvmError> {
        let Some(header) = endpoint.header_at(block.number).await? else { return Ok(Testimony::NoBlock) };
        if header.block.hash != block.hash {
            return Ok(Testimony::Other(format!("has {}", header.block.hash)));
        }
        if !claims.transfers.is_empty() {
            let Some(mut data) = self.read_block(endpoint, block.number).await? else { return Ok(Testimony::NoBlock) };
            let is_claimed = |candidate: &Candidate| claims.transfers.iter().any(|claimed| claimed.to == candidate.to);
            data.candidates.retain(|candidate| candidate.minor.is_some() && is_claimed(candidate));
            let settled =
                self.read_settlement(endpoint, &self.assets, &[(block.clone(), data.candidates)]).await?.concat();
            if let Some(contradiction) = claims.contradicted_by(&settled) {
                return Ok(Testimony::Other(contradiction));
            }
        }
        if !claims.holdings.is_empty() {
            let addresses: Vec<String> = claims.holdings.iter().map(|(address, _)| address.clone()).collect();
            let held = self.read_holdings(endpoint, std::slice::from_ref(block), &addresses).await?.concat();
            for ((address, claimed), held) in claims.holdings.iter().zip(held) {
                if held < *claimed {
                    return Ok(Testimony::Other(format!("says that {address} holds {held}, less than {claimed}")));
                }
            }
        }
        Ok(Testimony::Same)
    }

    async fn read_settlement(
        &self,
        endpoint: &Endpoint,
        assets: &Assets,
        blocks: &[(BlockRef, Vec<Candidate>)],
    ) -> Result<Vec<Vec<Transfer>>, EvmError> {
        let mut transactions: Vec<(usize, H256, H256, Vec<&Candidate>)> = Vec::new();
        for (index, (block, candidates)) in blocks.iter().enumerate() {
            let block = parse_hash(endpoint, &block.hash)?;
            let mut places: HashMap<&str, usize> = HashMap::new();
            for candidate in candidates {
                if let Some((_, _, _, known)) =
                    places.get(candidate.transaction.as_str()).and_then(|place| transactions.get_mut(*place))
                {
                    known.push(candidate);
                    continue;
                }
                places.insert(&candidate.transaction, transactions.len());
                let transaction = parse_hash(endpoint, &candidate.transaction)?;
                transactions.push((index, block, transaction, vec![candidate]));
            }
        }
        let wanted: Vec<(H256, H256)> = transactions.iter().map(|(_, block, hash, _)| (*hash, *block)).collect();
        let receipts = backfill::receipts(endpoint, &self.paces, self.concurrency, &wanted).await?;
        let mut settled = vec![Vec::new(); blocks.len()];
        for ((index, _, _, candidates), receipt) in transactions.iter().zip(receipts) {
            if let (Some((block, _)), Some(settled)) = (blocks.get(*index), settled.get_mut(*index)) {
                settled.extend(settle(endpoint, assets, block.number, &receipt, candidates)?);
            }
        }
        Ok(settled)
    }
}

#[async_trait]
impl ChainSource for EvmSource {
    async fn head(&self) -> Result<Head, SourceError> {
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match self.read_head(endpoint).await {
                Ok(head) => return Ok(head),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match endpoint.header_at(height).await {
                Ok(header) => return Ok(header),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    async fn final_header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        let Finality::Tag(tag) = self.finality else { return self.header(height).await };
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match read_final_header(endpoint, tag, height).await {
                Ok(header) => return Ok(header),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        let mut attempt = self.pool.attempt();
        let mut round = Round::default();
        loop {
            let endpoint = match attempt.next().await {
                Ok(endpoint) => endpoint,
                Err(_) if self.untraced.give_up(height, &round) => return self.untraced_block(height).await,
                Err(exhausted) => return Err(exhausted),
            };
            match self.read_block(endpoint, height).await {
                Ok(block) => return Ok(block),
                Err(failure) => {
                    round.note(&failure);
                    attempt.failed(endpoint, failure).await;
                }
            }
        }
    }

    async fn settle(&self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        let settled = self.settle_all(&[(block.clone(), candidates.to_vec())]).await?;
        Ok(settled.into_iter().flatten().collect())
    }

    async fn settle_all(&self, blocks: &[(BlockRef, Vec<Candidate>)]) -> Result<Vec<Vec<Transfer>>, SourceError> {
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match self.read_settlement(endpoint, &self.assets, blocks).await {
                Ok(transfers) => return Ok(transfers),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    async fn bulk(&self, after: u64, upto: u64) -> Result<Option<Vec<BlockData>>, SourceError> {
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match backfill::read(endpoint, &self.assets, &self.paces, self.concurrency, after, upto).await {
                Ok(blocks) => return Ok(Some(blocks)),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    fn is_searched(&self) -> bool {
        self.options.unknown_tokens
    }

    async fn search(&self, search: &Search) -> Result<Found, SourceError> {
        // Many providers refuse such questions, or do not know their answer: that speaks against none of them.
        let mut attempt = self.pool.attempt_aside();
        loop {
            let endpoint = attempt.next().await?;
            match self.read_arrivals(endpoint, search).await {
                Ok(found) => return Ok(found),
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }

    fn doubt(&self, reason: &str) {
        self.pool.doubt(reason);
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.health()
    }

    async fn witnesses(&self, block: &BlockRef, claims: &Claims, enough: usize) -> Witnesses {
        self.pool.witnesses(TESTIFY_WITHIN, enough, |endpoint| self.testify(endpoint, block, claims)).await
    }

    fn compared(&self, height: u64) -> Option<Compared<'_>> {
        let asset = self.assets.native()?;
        // For some blocks after the fork: what came just before it may not have been looked for yet.
        let is_logged = self.options.eip7708_block.is_some_and(|from| height >= from.saturating_add(FORK_MARGIN));
        let wanted = (self.options.traces == Traces::None || self.untraced.is_compared(height)) && !is_logged;
        wanted.then_some(Compared { asset, every: self.options.balances_every })
    }

    async fn holdings(&self, blocks: &[BlockRef], addresses: &[String]) -> Result<Vec<Vec<u128>>, SourceError> {
        let mut attempt = self.pool.attempt();
        loop {
            let endpoint = attempt.next().await?;
            match self.read_holdings(endpoint, blocks, addresses).await {
                Ok(holdings) => {
                    if let Some(last) = blocks.last() {
                        self.untraced.note_compared(last.number);
                    }
                    return Ok(holdings);
                }
                Err(failure) => attempt.failed(endpoint, failure).await,
            }
        }
    }
}

/// The block at that height, if this very endpoint calls it final.
async fn read_final_header(
    endpoint: &Endpoint,
    tag: FinalityTag,
    height: u64,
) -> Result<Option<BlockHeader>, EvmError> {
    match endpoint.tagged_height(tag).await? {
        Some(finalized) if finalized >= height => endpoint.header_at(height).await,
        Some(_) | None => Ok(None),
    }
}

/// The tokens by their contracts.
fn tokens(config: &WatcherConfig) -> Result<Vec<(Address, Asset)>, ConfigError> {
    let tokens = config.chain.assets.iter().filter_map(|asset| asset.id.contract().map(|contract| (contract, asset)));
    tokens
        .map(|(contract, asset)| {
            let parsed = contract.parse().ok().filter(|address| types::address_text(*address) == contract);
            let not_a_contract =
                || ConfigError::NotAContract { chain: config.chain.name.clone(), contract: contract.to_owned() };
            Ok((parsed.ok_or_else(not_a_contract)?, asset.clone()))
        })
        .collect()
}
